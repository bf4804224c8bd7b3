/* SPDX-License-Identifier: Apache-2.0
 * Opening, writing and closing: the store, the relay, the listener and the bus put together. */
#include "common/events/events.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/events/answering.h"
#include "common/events/commit.h"
#include "common/events/epoch.h"
#include "common/events/history.h"
#include "common/events/listener.h"
#include "common/events/message.h"
#include "common/events/metrics.h"
#include "common/events/relay.h"
#include "common/events/upkeep.h"

enum {
    RELAY_RECORDS_MAX = 16384,
    RELAY_IN_FLIGHT_MAX = 1024,
    PUBLISH_LIMIT = 2 * RELAY_IN_FLIGHT_MAX, /* dead letters need not wait for the relay */
    FAILPOINT_SIZE = 96,
};

struct events {
    struct events_config config;
    char committed[FAILPOINT_SIZE];
    atomic_uint_fast64_t epoch; /* of the store */
    struct relay *relay;
    struct history *history;
    struct bus *bus;
    struct listeners *listeners;
    struct answering *answering;
    struct upkeep *upkeep;
};

static void on_state_changed(struct bus *bus, enum bus_state state, void *context)
{
    struct events *events = context;
    history_state_changed(events->history, bus, state);
    if (state == BUS_UP) {
        relay_wake(events->relay);
    }
}

static bool on_will_look(struct bus *bus, void *context, struct error *error)
{
    struct events *events = context;
    return history_will_look(events->history, bus, error);
}

static void on_history_lost(struct bus *bus UNUSED, const char *subject, uint64_t expected, uint64_t found,
                            void *context)
{
    struct events *events = context;
    history_lost(events->history, subject, expected, found);
}

static void may_publish(bool allowed, void *context)
{
    struct events *events = context;
    relay_hold(events->relay, !allowed);
}

static bool before_removal(void *context, struct error *error)
{
    struct events *events = context;
    return history_save(events->history, events->bus, error);
}

static bool open_history(struct events *events, struct error *error)
{
    const struct history_config config = {
        .service = events->config.service,
        .collections = events->config.collections,
        .store = events->config.store,
        .clock = events->config.clock,
        .may_publish = may_publish,
        .context = events,
    };
    uint64_t epoch = 0;
    if (!epoch_read(events->config.store, &epoch, error)) {
        return false;
    }
    atomic_store(&events->epoch, epoch);
    return history_new(&config, &events->history, error);
}

static bool open_bus(struct events *events, struct error *error)
{
    struct bus_config config = {
        .uri = events->config.bus_uri,
        .client_id = events->config.client_id,
        .publish_limit = PUBLISH_LIMIT,
        .state_changed = on_state_changed,
        .subjects = catalogue_bus_subjects,
        .will_look = on_will_look,
        .history_lost = on_history_lost,
        .context = events,
    };
    config.position_count = history_positions(events->history, &config.positions);
    relay_hold(events->relay, config.position_count > 0);
    return bus_open(&config, &events->bus, error);
}

static bool open_answering(struct events *events, struct error *error)
{
    const struct answering_config config = {
        .service = events->config.service,
        .store = events->config.store,
        .bus = events->bus,
        .collections = events->config.collections,
        .clock = events->config.clock,
    };
    return answering_open(&config, &events->answering, error);
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
        .before_removal = before_removal,
        .context = events,
    };
    events->relay = relay_new(&relay);
    if (!open_history(events, error) || !open_bus(events, error)) {
        events_close(&events, 0);
        return false;
    }
    history_start(events->history, events->bus);
    relay_start(events->relay, events->bus);
    event_metrics_watch_relay(events->relay);
    if (!listeners_open(config, events, events->bus, &events->listeners, error) || !open_answering(events, error) ||
        !upkeep_open(&events->config, events->bus, events->history, &events->epoch, &events->upkeep, error)) {
        events_close(&events, 0);
        return false;
    }
    uint64_t epoch = atomic_load(&events->epoch);
    if (epoch > 0) {
        log_info("The store was restored from a backup once, and is of epoch %" PRIu64, epoch);
    }
    *ret_events = events;
    return true;
}

static int64_t left_until(int64_t deadline)
{
    int64_t left = deadline - clock_monotonic(NULL);
    return left > 0 ? left : 0;
}

/* All of them before any is waited for: each may be in a call to a store that takes seconds to give up. Not the relay,
 * which takes what the last effects have written, nor the history, which lets it publish on a new connection. */
static void tell_to_stop(struct events *events)
{
    listeners_tell_stop(events->listeners);
    answering_tell_stop(events->answering);
    upkeep_tell_stop(events->upkeep);
}

void events_close(struct events **events, int64_t timeout_ms)
{
    if (*events == NULL) {
        return;
    }
    struct events *closing = TAKE(*events);
    event_metrics_forget_relay(closing->relay);
    int64_t deadline = clock_monotonic(NULL) + timeout_ms;
    if (closing->bus != NULL) {
        bus_stop_receiving(closing->bus);
        tell_to_stop(closing);
        listeners_stop(closing->listeners);
        answering_stop(closing->answering);
        upkeep_stop(closing->upkeep);
        relay_stop(closing->relay, left_until(deadline));
        history_stop(closing->history);
        bus_close(&closing->bus, left_until(deadline));
    }
    upkeep_free(&closing->upkeep);
    listeners_free(&closing->listeners);
    answering_free(&closing->answering);
    history_free(&closing->history);
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
    assert(event.subject != NULL && !event.subject->is_snapshot);
    assert(is_relayed(events, collection));
    record->version = expected + 1;
    record->epoch = atomic_load(&events->epoch);
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
