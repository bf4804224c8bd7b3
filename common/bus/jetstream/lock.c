/* SPDX-License-Identifier: Apache-2.0
 * A lock that all who change the stream share: a little stream beside it that takes one message at most, and forgets it
 * by itself if whoever has put it there does not come back. */
#include <poll.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/memory.h"
#include "common/bus/jetstream/jetstream.h"

enum {
    LOCK_WAIT_MS = 8000, /* for others to be done */
    LOCK_POLL_MS = 20,
    LOCK_HELD_SECONDS = 15, /* longer than changing the stream can take, unless something hangs */
    LOCK_NAME_MAX = sizeof("turnstile.lock.") + BUS_PATH_MAX,
    LOCK_BODY_MAX = 1024,
    LOCK_REQUEST_MAX = 64 + BUS_PATH_MAX,
};

static void name_lock(const struct jetstream_connection *connection, char ret_subject[static LOCK_NAME_MAX])
{
    snprintf(ret_subject, LOCK_NAME_MAX, "turnstile.lock.%s", connection->stream);
}

/* Everybody makes the same one, which the server takes for the one that is there; even if not, there is one. */
static bool make(struct jetstream_connection *connection, struct error *error)
{
    CLEANUP(buffer_done) struct buffer body = BUFFER_INIT(LOCK_BODY_MAX);
    CLEANUP(free_pointer) char *text = NULL;
    char subject[LOCK_NAME_MAX], request[LOCK_REQUEST_MAX];
    struct json answer;
    uint64_t code;
    name_lock(connection, subject);
    snprintf(request, sizeof(request), "STREAM.CREATE.%s-lock", connection->stream);
    buffer_printf(&body,
                  "{\"name\":\"%s-lock\",\"subjects\":[\"%s\"],\"retention\":\"limits\",\"storage\":\"memory\","
                  "\"discard\":\"new\",\"max_consumers\":-1,\"max_msgs\":1,\"max_bytes\":-1,\"max_msg_size\":-1,"
                  "\"max_msgs_per_subject\":-1,\"max_age\":%lld,\"duplicate_window\":%lld,\"num_replicas\":%llu}",
                  connection->stream, subject, (long long)LOCK_HELD_SECONDS * 1000 * 1000 * 1000,
                  (long long)LOCK_HELD_SECONDS * 1000 * 1000 * 1000, (unsigned long long)connection->replicas);
    return jetstream_request(connection, JETSTREAM_REQUEST_MS, request, buffer_text(&body), &text, &answer, &code,
                             error) ||
           code == JETSTREAM_STREAM_NAME_IN_USE;
}

bool jetstream_lock(struct jetstream_connection *connection, uint64_t *ret_ticket, struct error *error)
{
    char subject[LOCK_NAME_MAX];
    name_lock(connection, subject);
    int64_t deadline = clock_monotonic(NULL) + LOCK_WAIT_MS;
    bool locked = false;
    for (;;) {
        locked = jetstream_store(connection, subject, connection->target->client_id, ret_ticket, error);
        if (locked || error->code == ERROR_UNAVAILABLE || clock_monotonic(NULL) > deadline) {
            break;
        }
        if (error->code == ERROR_NOT_FOUND && !make(connection, error)) {
            break;
        }
        struct pollfd cancelled = {.fd = connection->target->cancel_descriptor, .events = POLLIN};
        if (poll(&cancelled, 1, (int)(LOCK_POLL_MS + random_below(LOCK_POLL_MS))) > 0) {
            break;
        }
    }
    return locked;
}

void jetstream_unlock(struct jetstream_connection *connection, uint64_t ticket)
{
    CLEANUP(free_pointer) char *text = NULL;
    char request[LOCK_REQUEST_MAX], body[64];
    struct json answer;
    struct error error = ERROR_INIT;
    snprintf(request, sizeof(request), "STREAM.MSG.DELETE.%s-lock", connection->stream);
    snprintf(body, sizeof(body), "{\"seq\":%llu,\"no_erase\":true}", (unsigned long long)ticket);
    if (!jetstream_request(connection, JETSTREAM_REQUEST_MS, request, body, &text, &answer, NULL, &error)) {
        bus_link_complain(connection->link, "the lock of the stream \"%s\" is held for %d s more: %s",
                          connection->stream, LOCK_HELD_SECONDS, error.message);
    }
}
