/* SPDX-License-Identifier: Apache-2.0
 * Consumers that are ahead of their stream. After a power cut the file of a consumer may be younger than those of the
 * stream. A server of version 2.9 then gives that consumer nothing until the stream has come as far as it was: what is
 * published meanwhile is silently passed over. So every connection looks for such consumers before it publishes
 * anything, and deletes them; those who need them make them anew, from the beginning on. */
#include <stdio.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/bus/jetstream/jetstream.h"

enum {
    PAGE_MAX = 64, /* pages of consumers; a server gives 256 at once */
    LOOKS = 3,     /* in a cluster, what leads the consumer may know of messages before what leads the stream does */
    LOOK_PAUSE_MS = 200,
    LIST_MS = 5000, /* a cluster waits 4 s for what leads consumers, before it lists without those that do not answer */
    REQUEST_NAME_MAX = 64 + BUS_PATH_MAX + JETSTREAM_NAME_MAX,
};

static uint64_t last_delivered(struct json consumer)
{
    struct json delivered, value;
    uint64_t sequence = 0;
    bool is_there = json_member(consumer, "delivered", &delivered) && json_member(delivered, "stream_seq", &value) &&
                    json_to_uint64(value, &sequence);
    return is_there ? sequence : 0;
}

static bool is_ours(struct json consumer)
{
    struct json config, value;
    char subject[sizeof("turnstile.deliver.")];
    if (!json_member(consumer, "config", &config) || !json_member(config, "deliver_subject", &value)) {
        return false;
    }
    json_copy_cut(value, subject, sizeof(subject));
    return text_equal(subject, "turnstile.deliver.");
}

static bool is_still_ahead(struct jetstream_connection *connection, const char *name)
{
    char request[REQUEST_NAME_MAX];
    struct error error = ERROR_INIT;
    snprintf(request, sizeof(request), "CONSUMER.INFO.%s.%s", connection->stream, name);
    for (unsigned i = 0; i < LOOKS; i++) {
        CLEANUP(free_pointer) char *text = NULL;
        struct json answer;
        if (!jetstream_request(connection, JETSTREAM_REQUEST_MS, request, "", &text, &answer, NULL, &error) ||
            !jetstream_read_stream(connection, JETSTREAM_REQUEST_MS, &error) || !connection->stream_text ||
            last_delivered(answer) <= connection->last_sequence) {
            return false;
        }
        usleep(LOOK_PAUSE_MS * 1000);
    }
    return true;
}

static void forget(struct jetstream_connection *connection, const char *name)
{
    char request[REQUEST_NAME_MAX];
    CLEANUP(free_pointer) char *text = NULL;
    struct json answer;
    struct error error = ERROR_INIT;
    snprintf(request, sizeof(request), "CONSUMER.DELETE.%s.%s", connection->stream, name);
    if (jetstream_request(connection, JETSTREAM_REQUEST_MS, request, "", &text, &answer, NULL, &error)) {
        bus_link_complain(connection->link,
                          "the consumer \"%s\" was ahead of its stream, which has lost history: it begins anew", name);
    } else {
        bus_link_complain(connection->link, "the consumer \"%s\" is ahead of its stream, and cannot be deleted: %s",
                          name, error.message);
    }
}

/* *ret_count: how many consumers there are in the page, 0 at the end. */
static bool look_through(struct jetstream_connection *connection, size_t offset, size_t *ret_count, struct error *error)
{
    CLEANUP(free_pointer) char *text = NULL;
    char request[REQUEST_NAME_MAX], body[64], name_text[JETSTREAM_NAME_MAX];
    struct json answer, consumers, consumer, name;
    struct json_cursor cursor = JSON_CURSOR_INIT;
    size_t count = 0;
    uint64_t last_sequence = connection->last_sequence;
    snprintf(request, sizeof(request), "CONSUMER.LIST.%s", connection->stream);
    snprintf(body, sizeof(body), "{\"offset\":%zu}", offset);
    if (!jetstream_request(connection, LIST_MS, request, body, &text, &answer, NULL, error)) {
        return false;
    }
    if (!json_member(answer, "consumers", &consumers)) {
        *ret_count = 0;
        return true;
    }
    for (; json_next(consumers, &cursor, NULL, &consumer); count++) {
        if (last_delivered(consumer) > last_sequence && is_ours(consumer) && json_member(consumer, "name", &name)) {
            json_copy_cut(name, name_text, sizeof(name_text));
            if (is_still_ahead(connection, name_text)) {
                forget(connection, name_text);
            }
        }
    }
    *ret_count = count;
    return true;
}

/* A list that cannot be had keeps nobody from connecting: consumers are ahead after a power cut, which is rare, and
 * clusters in which nobody can tell of some of them are not. */
bool jetstream_forget_ahead(struct jetstream_connection *connection, struct error *error)
{
    size_t offset = 0, count = 1;
    for (unsigned i = 0; i < PAGE_MAX && count > 0 && connection->stream_text; i++) {
        struct error failure = ERROR_INIT;
        if (!look_through(connection, offset, &count, &failure)) {
            if (failure.code == ERROR_UNAVAILABLE) {
                *error = failure;
                return false;
            }
            bus_link_complain(connection->link, "whether consumers are ahead of the stream cannot be told: %s",
                              failure.message);
            return true;
        }
        offset += count;
    }
    return true;
}
