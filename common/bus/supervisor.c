/* SPDX-License-Identifier: Apache-2.0
 * The supervisor: connects, watches, and connects again, for ever, with backoff and jitter. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/bus/internal.h"
#include "common/bus/metrics.h"

enum {
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 5000,
    BACKOFF_RESET_MS = 5000, /* a connection that lasted as long was a good one */
    WATCH_INTERVAL_MS = 5000,
};

/* With the mutex held, which is released while the user is told. */
static void set_state(struct bus *bus, enum bus_state state)
{
    if (bus->state == state) {
        return;
    }
    bus->state = state;
    bus_metrics_state(state);
    pthread_cond_broadcast(&bus->idle);
    if (bus->state_changed) {
        pthread_mutex_unlock(&bus->mutex);
        bus->state_changed(bus, state, bus->context);
        pthread_mutex_lock(&bus->mutex);
    }
}

/* With the mutex held. */
static void wait_until(struct bus *bus, int64_t deadline_ms)
{
    int64_t now = clock_monotonic(NULL);
    struct timespec deadline = clock_deadline(deadline_ms > now ? deadline_ms - now : 0);
    pthread_cond_clockwait(&bus->supervise, &bus->mutex, CLOCK_MONOTONIC, &deadline);
}

/* When the call into the engine that is going on will count as hanging. */
static int64_t hangs_at(const struct bus *bus, struct bus_link *link)
{
    int64_t since = atomic_load(&link->busy_since);
    return since == 0 ? INT64_MAX : since + bus->hang_ms;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void bus_complain(struct bus *bus, const char *text, const char *next)
{
    int64_t now = clock_monotonic(NULL);
    pthread_mutex_lock(&bus->mutex);
    struct bus_complaint *place = &bus->complaints[0];
    bool repeated = false;
    for (size_t i = 0; i < ARRAY_LENGTH(bus->complaints) && !repeated; i++) {
        struct bus_complaint *complaint = &bus->complaints[i];
        repeated = text_equal(complaint->text, text) && now - complaint->time < BUS_COMPLAINT_INTERVAL_MS;
        if (text_equal(complaint->text, text) || complaint->time < place->time) {
            place = complaint;
        }
    }
    if (!repeated) {
        text_copy_cut(place->text, sizeof(place->text), text);
        place->time = now;
    }
    pthread_mutex_unlock(&bus->mutex);
    if (!repeated) {
        log_warning("%s%s", text, next);
    }
}

/* With the mutex held, which is released meanwhile. */
static void announce(struct bus *bus, const struct bus_link *link)
{
    memset(bus->complaints, 0, sizeof(bus->complaints));
    pthread_mutex_unlock(&bus->mutex);
    log_info("connected to NATS at %s:%u as %s", link->target.host->name, link->target.host->port, bus->client_id);
    pthread_mutex_lock(&bus->mutex);
    set_state(bus, BUS_UP);
}

/* With the mutex held, which is released meanwhile. */
static void report_loss(struct bus *bus, const struct bus_link *link)
{
    pthread_mutex_unlock(&bus->mutex);
    log_warning("the connection to NATS is lost: %s, connecting again", link->reason);
    bus_metrics_lost();
    pthread_mutex_lock(&bus->mutex);
    set_state(bus, BUS_CONNECTING);
}

/* With the mutex held. Returns when the link's thread has ended, or is to be given up; true if the state was up. */
static bool watch(struct bus *bus, struct bus_link *link)
{
    bool was_up = false;
    int64_t give_up_at = INT64_MAX;
    for (;;) {
        if (bus->ending && give_up_at == INT64_MAX) {
            give_up_at = clock_monotonic(NULL) + BUS_LEAVE_MAX_MS;
            bus_link_stop(link);
        }
        if (!was_up && link->phase == BUS_LINK_UP && !link->lost) {
            was_up = true;
            announce(bus, link);
        } else if (link->lost && bus->state == BUS_UP) {
            report_loss(bus, link);
        } else {
            int64_t now = clock_monotonic(NULL);
            int64_t limit = earlier(give_up_at, hangs_at(bus, link));
            if (link->finished || now >= limit) {
                return was_up;
            }
            wait_until(bus, earlier(now + WATCH_INTERVAL_MS, limit));
        }
    }
}

/* With the mutex held, which is released meanwhile. The thread goes on alone, and cleans up if it ever returns. */
static void abandon(struct bus *bus, struct bus_link *link)
{
    link->abandoned = true;
    bus->abandoned++;
    pthread_detach(link->thread);
    pthread_mutex_unlock(&bus->mutex);
    bus_link_end(link);
    pthread_mutex_lock(&bus->mutex);
}

/* With the mutex held. */
static void back_off(struct bus *bus, const char *reason, int64_t *backoff)
{
    int64_t delay = *backoff * 3 / 4 + (int64_t)random_below((uint64_t)*backoff / 2 + 1);
    *backoff = *backoff * 2 < BACKOFF_MAX_MS ? *backoff * 2 : BACKOFF_MAX_MS;
    if (reason[0] != '\0') {
        char next[64];
        snprintf(next, sizeof(next), ", retrying in %.1f s", (double)delay / 1000);
        pthread_mutex_unlock(&bus->mutex);
        bus_complain(bus, reason, next);
        pthread_mutex_lock(&bus->mutex);
    }
    int64_t deadline = clock_monotonic(NULL) + delay;
    while (!bus->ending && clock_monotonic(NULL) < deadline) {
        wait_until(bus, deadline);
    }
}

/* With the mutex held. One connection; returns what went wrong before it was up, "" if it was up. */
static void connect_once(struct bus *bus, char ret_reason[static ERROR_MESSAGE_MAX])
{
    struct bus_link *link = bus_link_start(bus);
    if (!link) {
        text_copy_cut(ret_reason, ERROR_MESSAGE_MAX, "cannot start a thread to connect to NATS");
        return;
    }
    bus->link = link;
    bool was_up = watch(bus, link);
    bus->link = NULL;
    if (link->finished) {
        pthread_mutex_unlock(&bus->mutex);
        pthread_join(link->thread, NULL);
        pthread_mutex_lock(&bus->mutex);
        text_copy_cut(ret_reason, ERROR_MESSAGE_MAX, was_up ? "" : link->reason);
    } else {
        abandon(bus, link);
        text_copy_cut(ret_reason, ERROR_MESSAGE_MAX, "the NATS client library does not return");
    }
    pthread_mutex_unlock(&bus->mutex);
    bus_link_release(&link);
    pthread_mutex_lock(&bus->mutex);
}

void *bus_supervise(void *argument)
{
    struct bus *bus = argument;
    int64_t backoff = BACKOFF_FIRST_MS;
    pthread_setname_np(pthread_self(), "bus");
    pthread_mutex_lock(&bus->mutex);
    while (!bus->ending) {
        char reason[ERROR_MESSAGE_MAX] = "";
        int64_t started = clock_monotonic(NULL);
        connect_once(bus, reason);
        if (bus->ending) {
            break;
        }
        set_state(bus, BUS_CONNECTING);
        bus->host_index = (bus->host_index + 1) % bus->uri.host_count;
        if (reason[0] == '\0' && clock_monotonic(NULL) - started > BACKOFF_RESET_MS) {
            backoff = BACKOFF_FIRST_MS;
        }
        back_off(bus, reason, &backoff);
        while (!bus->ending && bus->abandoned >= BUS_LINKS_ABANDONED_MAX) {
            wait_until(bus, clock_monotonic(NULL) + WATCH_INTERVAL_MS);
        }
    }
    set_state(bus, BUS_CLOSED);
    pthread_mutex_unlock(&bus->mutex);
    return NULL;
}
