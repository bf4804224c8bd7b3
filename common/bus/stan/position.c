/* SPDX-License-Identifier: Apache-2.0
 * How far a channel of NATS Streaming has come. There is no request for that: a subscription of a moment, without a
 * durable, gets the channel's last message, and with it the sequence; it never acknowledges, so that it gets no other.
 *
 * An empty channel answers nothing. That is believed after a while in which the server was seen to be awake all the
 * time: a frozen one is silent as well, and history must not be taken for lost because of that. */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/bus/handle.h"
#include "common/bus/stan/stan.h"

enum {
    SILENCE_MS = 1500, /* after which a channel is empty */
    SLICE_MS = 250,    /* between signs of life that are asked for */
    SLOW_MS = 250,     /* for such a sign; a slice after which it took longer does not count as silence */
    FLUSH_MS = 3000,   /* for such a sign, at most */
    FIND_MS = 8000,    /* for all of it, but for a request that is going on */
    PROBE_ACK_WAIT_MS = 60000,
};

struct probed {
    void *handle; /* NULL: it was not asked for */
    struct bus_position *position;
    bool answered;
    uint64_t sequence;
};

struct finding {
    struct probed probed[BUS_POSITIONS_MAX];
    size_t count;
    int64_t deadline;
};

/* Of the process: callbacks may come when the finding they are for is over. They look up their handle and write with
 * this held, and handles end with it held. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;

/* Runs on the subscription's own thread, possibly before stanConnection_Subscribe has returned. */
static void on_last_message(stanConnection *streaming UNUSED, stanSubscription *subscription UNUSED,
                            const char *channel UNUSED, stanMsg *message, void *handle)
{
    struct bus_link *link = NULL;
    const void *object;
    pthread_mutex_lock(&mutex);
    if (bus_handle_find(handle, &link, &object)) {
        struct probed *probed = (struct probed *)(uintptr_t)object;
        probed->answered = true;
        probed->sequence = stanMsg_GetSequence(message);
        pthread_cond_broadcast(&answered);
    }
    pthread_mutex_unlock(&mutex);
    bus_link_release(&link);
    stanMsg_Destroy(message);
}

static natsStatus probe(struct stan_connection *connection, const struct probed *probed, stanSubscription **ret_probe)
{
    stanSubOptions *options = NULL;
    natsStatus status = stanSubOptions_Create(&options);
    status = status == NATS_OK ? stanSubOptions_StartWithLastReceived(options) : status;
    status = status == NATS_OK ? stanSubOptions_SetMaxInflight(options, 1) : status;
    status = status == NATS_OK ? stanSubOptions_SetAckWait(options, PROBE_ACK_WAIT_MS) : status;
    status = status == NATS_OK ? stanSubOptions_SetManualAckMode(options, true) : status;
    if (status == NATS_OK) {
        status = stanConnection_Subscribe(ret_probe, connection->streaming, probed->position->subject, on_last_message,
                                          probed->handle, options);
    }
    stanSubOptions_Destroy(options);
    return status;
}

static bool too_slow(struct error *error)
{
    return error_set(error, ERROR_UNAVAILABLE, "the streaming server is too slow to tell how far its channels are");
}

/* Asks for those where something is expected. */
static bool probe_all(struct stan_connection *connection, struct finding *finding, struct error *error)
{
    for (size_t i = 0; i < finding->count; i++) {
        struct probed *probed = &finding->probed[i];
        if (probed->position->sequence == 0) {
            continue;
        }
        if (clock_monotonic(NULL) > finding->deadline) {
            return too_slow(error);
        }
        probed->handle = bus_handle_new(connection->link, probed);
        natsStatus status = probe(connection, probed, &connection->probes[i]);
        if (status != NATS_OK) {
            /* Whatever it is: without an answer nothing can be said. */
            stan_fail(error, status, "cannot ask how far a channel is");
            error->code = ERROR_UNAVAILABLE;
            return false;
        }
    }
    return true;
}

/* With the mutex held. */
static bool all_answered(const struct finding *finding)
{
    for (size_t i = 0; i < finding->count; i++) {
        if (finding->probed[i].handle && !finding->probed[i].answered) {
            return false;
        }
    }
    return true;
}

/* True as soon as all have answered; false when the slice is over. */
static bool wait_a_slice(const struct finding *finding)
{
    struct timespec end = clock_deadline(SLICE_MS);
    int waited = 0;
    pthread_mutex_lock(&mutex);
    while (!all_answered(finding) && waited == 0) {
        waited = pthread_cond_clockwait(&answered, &mutex, CLOCK_MONOTONIC, &end);
    }
    bool all = all_answered(finding);
    pthread_mutex_unlock(&mutex);
    return all;
}

static bool is_cancelled(const struct stan_connection *connection)
{
    struct pollfd descriptor = {.fd = connection->target->cancel_descriptor, .events = POLLIN};
    return poll(&descriptor, 1, 0) > 0;
}

/* Until all have answered, or the others were silent for long enough. */
static bool wait_for_answers(struct stan_connection *connection, const struct finding *finding, struct error *error)
{
    int64_t silence = 0;
    while (!wait_a_slice(finding) && silence < SILENCE_MS) {
        int64_t start = clock_monotonic(NULL);
        natsStatus status = natsConnection_FlushTimeout(connection->nats, FLUSH_MS);
        if (status != NATS_OK) {
            return stan_fail(error, status, "cannot tell how far the channels are");
        }
        int64_t now = clock_monotonic(NULL);
        if (is_cancelled(connection) || now > finding->deadline) {
            return too_slow(error);
        }
        silence += now - start <= SLOW_MS ? SLICE_MS : 0;
    }
    return true;
}

/* Ends what was asked for; what still comes is thrown away. Each end is a request to the streaming server itself, which
 * so shows that it is there. */
static bool end_all(struct stan_connection *connection, struct finding *finding, struct error *error)
{
    natsStatus status = NATS_OK;
    for (size_t i = 0; i < finding->count && status == NATS_OK; i++) {
        if (connection->probes[i]) {
            status = stanSubscription_Close(connection->probes[i]);
        }
    }
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < finding->count; i++) {
        bus_handle_free(finding->probed[i].handle);
    }
    pthread_mutex_unlock(&mutex);
    return status == NATS_OK || stan_fail(error, status, "cannot tell how far the channels are");
}

bool stan_find_positions(void *pointer, struct bus_position *positions, size_t count, struct error *error)
{
    struct stan_connection *connection = pointer;
    struct finding finding = {.count = count, .deadline = clock_monotonic(NULL) + FIND_MS};
    for (size_t i = 0; i < count; i++) {
        finding.probed[i].position = &positions[i];
    }
    bool found = probe_all(connection, &finding, error) && wait_for_answers(connection, &finding, error);
    bool ended = end_all(connection, &finding, found ? error : NULL);
    if (!found || !ended) {
        error->code = ERROR_UNAVAILABLE;
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct probed *probed = &finding.probed[i];
        if (probed->handle && !probed->answered) {
            log_debug("nothing came on %s, where %" PRIu64 " was expected: it is empty", positions[i].subject,
                      positions[i].sequence);
        }
        positions[i].sequence = probed->sequence;
    }
    return true;
}
