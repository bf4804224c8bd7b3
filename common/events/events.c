/* SPDX-License-Identifier: Apache-2.0
 * Opening, writing and closing: the store, the relay, the listener and the bus put together. */
#include "common/events/events.h"

#include <assert.h>
#include <stdio.h>

#include "common/base/failpoint.h"
#include "common/base/memory.h"
#include "common/events/commit.h"
#include "common/events/listener.h"
#include "common/events/message.h"
#include "common/events/relay.h"

enum {
    RELAY_RECORDS_MAX = 16384,
    RELAY_IN_FLIGHT_MAX = 1024,
    PUBLISH_LIMIT = 2 * RELAY_IN_FLIGHT_MAX, /* dead letters need not wait for the relay */
    FAILPOINT_SIZE = 96,
};

struct events {
    struct events_config config;
    char committed[FAILPOINT_SIZE];
    struct relay *relay;
    struct bus *bus;
    struct listeners *listeners;
};

static void on_state_changed(struct bus *bus UNUSED, enum bus_state state, void *context)
{
    struct events *events = context;
    if (state == BUS_UP) {
        relay_wake(events->relay);
    }
}

bool events_open(const struct events_config *config, struct events **ret_events, struct error *error)
{
    struct events *events = xcalloc(1, sizeof(*events));
    events->config = *config;
    snprintf(events->committed, sizeof(events->committed), "%s.write.committed", config->service);
    const struct relay_config relay = {
        .service = config->service,
        .store = config->store,
        .clock = config->clock,
        .memory_max = RELAY_MEMORY_MAX,
        .records_max = RELAY_RECORDS_MAX,
        .in_flight_max = RELAY_IN_FLIGHT_MAX,
        .sweep_ms = EVENT_SWEEP_MS,
        .sweep_age_ms = EVENT_SWEEP_AGE_MS,
    };
    const struct bus_config bus = {
        .uri = config->bus_uri,
        .client_id = config->client_id,
        .publish_limit = PUBLISH_LIMIT,
        .state_changed = on_state_changed,
        .context = events,
    };
    events->relay = relay_new(&relay);
    if (!bus_open(&bus, &events->bus, error)) {
        events_close(&events, 0);
        return false;
    }
    relay_start(events->relay, events->bus);
    if (!listeners_open(config, events, events->bus, &events->listeners, error)) {
        events_close(&events, 0);
        return false;
    }
    *ret_events = events;
    return true;
}

static int64_t left_until(int64_t deadline)
{
    int64_t left = deadline - clock_monotonic(NULL);
    return left > 0 ? left : 0;
}

void events_close(struct events **events, int64_t timeout_ms)
{
    if (*events == NULL) {
        return;
    }
    struct events *closing = TAKE(*events);
    int64_t deadline = clock_monotonic(NULL) + timeout_ms;
    if (closing->bus != NULL) {
        bus_stop_receiving(closing->bus);
        if (closing->listeners != NULL) {
            listeners_stop(closing->listeners);
        }
        relay_stop(closing->relay, left_until(deadline));
        bus_close(&closing->bus, left_until(deadline));
    }
    listeners_free(&closing->listeners);
    relay_free(&closing->relay);
    xfree(closing);
}

enum bus_state events_bus_state(const struct events *events)
{
    return bus_state(events->bus);
}

static bool is_relayed(const struct events *events, const struct collection *collection)
{
    for (const struct collection *const *known = events->config.collections; known != NULL && *known != NULL; known++) {
        if (*known == collection) {
            return true;
        }
    }
    return false;
}

enum store_result events_commit(struct events *events, const struct collection *collection, uint64_t expected,
                                struct record *record, struct event event, struct error *error)
{
    assert(event.subject != NULL);
    assert(is_relayed(events, collection));
    record->version = expected + 1;
    CLEANUP(buffer_done) struct buffer payload = BUFFER_INIT(EVENT_PAYLOAD_MAX);
    message_print(event.subject, record, event.value, clock_now(events->config.clock), &payload);
    if (payload.overflowed) {
        error_set(error, ERROR_INTERNAL, "the event on %s is larger than %d bytes", event.subject->name,
                  EVENT_PAYLOAD_MAX);
        return STORE_UNAVAILABLE;
    }
    const struct outbox_entry entry = {
        .subject = event.subject->name, .payload = payload.data, .length = payload.length};
    enum store_result result =
        store_write(events->config.store, collection, expected, record, event.value, &entry, error);
    if (result == STORE_DONE) {
        failpoint(events->committed);
        relay_add(events->relay, collection, record, &entry);
    }
    return result;
}

enum store_result events_write(struct events *events, const struct collection *collection, uint64_t expected,
                               struct record *record, struct event event, struct error *error)
{
    enum store_result result = events_commit(events, collection, expected, record, event, error);
    if (result == STORE_DONE) {
        listeners_changed(events->listeners, collection, record);
    }
    return result;
}
