/* SPDX-License-Identifier: Apache-2.0
 * The listener: from the bus's callbacks, which only parse and enqueue, to the shards and their threads. */
#include "common/events/listener.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/apply.h"
#include "common/events/asking.h"
#include "common/events/metrics.h"
#include "common/events/owner.h"
#include "common/events/shard.h"
#include "common/events/thread.h"

enum {
    ROUTES_MAX = LISTENERS_MAX * ENTITY_SUBJECTS_MAX,
};

struct worker {
    struct shard *shard;
    pthread_t thread;
};

/* The context of a subscription. */
struct lane {
    struct listeners *listeners;
    struct route route;
};

struct listeners {
    struct listening listening;
    struct lane lanes[ROUTES_MAX];
    size_t lane_count;
    const struct collection *collections[LISTENERS_MAX]; /* that signals may be about, in the order of the rows */
    const struct entity *entities[LISTENERS_MAX];        /* of the same rows */
    atomic_uint_fast64_t epochs[LISTENERS_MAX];
    size_t row_count;
    struct worker *workers;
    size_t worker_count;
    bool is_running;
};

/* ---- what comes from the bus ---- */

static struct shard *shard_for(const struct listeners *listeners, const void *data, size_t length)
{
    return listeners->workers[text_hash(data, length) % listeners->worker_count].shard;
}

static struct shard *shard_of(const struct listeners *listeners, const struct id *id)
{
    return shard_for(listeners, id->hex, strlen(id->hex));
}

static void on_message(struct delivery *delivery, void *context)
{
    struct lane *lane = context;
    bool is_again = delivery_redelivered(delivery);
    struct arrival *arrival = arrival_new(&lane->route, delivery);
    event_metrics_received(arrival, delivery_time(delivery), is_again);
    struct shard *shard = arrival->reason != NULL
                              ? shard_for(lane->listeners, &arrival->sequence, sizeof(arrival->sequence))
                              : shard_of(lane->listeners, &arrival->own_id);
    /* What waits here is delivered again every few seconds, which tells nobody anything. */
    bool is_news = !is_again || !shard_knows(shard, arrival);
    arrival_set_context(arrival);
    log_write(is_news ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "Message received: %s / %s (sequence %" PRIu64 "%s)",
              lane->route.subject->name, lane->listeners->listening.queue_group, arrival->sequence,
              is_again ? ", redelivered" : "");
    log_set_context(NULL, NULL);
    shard_push(shard, arrival);
}

static bool read_notice(const struct listeners *listeners, const void *data, size_t length, struct notice *ret_notice)
{
    bool is_valid = notice_parse(data, length, listeners->collections, listeners->row_count, ret_notice);
    if (!is_valid) {
        log_debug("A signal was not understood, and ignored");
    }
    return is_valid;
}

/* Everyone who has a replica of the entity gets every answer; most are to others. */
static void on_answer(const void *data, size_t length, void *context)
{
    const struct listeners *listeners = context;
    struct ask answer;
    struct notice notice;
    if (!answer_parse(data, length, listeners->entities, listeners->row_count, &answer) ||
        !asker_number(listeners->listening.asker, &answer.nonce, &notice.ask)) {
        return;
    }
    for (size_t i = 0; i < listeners->row_count; i++) {
        if (listeners->entities[i] == answer.entity) {
            notice.collection = listeners->collections[i];
        }
    }
    notice.id = answer.id;
    notice.version = answer.version;
    notice.epoch = answer.epoch;
    shard_tell_answer(shard_of(listeners, &notice.id), &notice);
}

static void on_lacking(const void *data, size_t length, void *context)
{
    const struct listeners *listeners = context;
    struct notice notice;
    if (read_notice(listeners, data, length, &notice)) {
        shard_tell_lacking(shard_of(listeners, &notice.id), &notice);
    }
}

static void on_applied(const void *data, size_t length, void *context)
{
    const struct listeners *listeners = context;
    struct notice notice;
    if (read_notice(listeners, data, length, &notice)) {
        shard_tell_changed(shard_of(listeners, &notice.id), &notice);
    }
}

void listeners_changed(struct listeners *listeners, const struct collection *collection, const struct record *record)
{
    const struct notice notice = {.collection = collection, .id = record->id, .version = record->version};
    if (listeners->worker_count > 0) {
        shard_tell_changed(shard_of(listeners, &notice.id), &notice);
    }
}

/* ---- the workers ---- */

static void *run_worker(void *context)
{
    struct shard *shard = context;
    while (!shard_wait(shard, shard_step(shard, clock_monotonic(NULL)))) {
    }
    return NULL;
}

static void start_workers(struct listeners *listeners, size_t count)
{
    listeners->workers = xcalloc(count, sizeof(*listeners->workers));
    listeners->worker_count = count;
    for (size_t i = 0; i < count; i++) {
        listeners->workers[i].shard = shard_new(&listeners->listening);
    }
    for (size_t i = 0; i < count; i++) {
        thread_start(&listeners->workers[i].thread, run_worker, listeners->workers[i].shard);
    }
    listeners->is_running = true;
}

void listeners_tell_stop(struct listeners *listeners)
{
    for (size_t i = 0; listeners != NULL && i < listeners->worker_count; i++) {
        shard_stop(listeners->workers[i].shard);
    }
}

void listeners_stop(struct listeners *listeners)
{
    if (listeners == NULL || !listeners->is_running) {
        return;
    }
    listeners_tell_stop(listeners);
    for (size_t i = 0; i < listeners->worker_count; i++) {
        pthread_join(listeners->workers[i].thread, NULL);
        shard_drop_all(listeners->workers[i].shard);
    }
    listeners->is_running = false;
}

/* ---- what is listened to ---- */

static void add_lanes(struct listeners *listeners, const struct listener *listener, size_t in_flight)
{
    assert(listener->effect != NULL || listener->entity->table->versioned);
    assert(listener->effect != NULL || listener->entity->table->size == listener->collection->table->size);
    for (size_t i = 0; i < listeners->lane_count; i++) {
        /* Two would share one queue group, and each miss what the other got. */
        assert(listeners->lanes[i].route.listener->entity != listener->entity);
    }
    if (listener->effect == NULL) {
        owner_watch(listener->entity);
        apply_watch(listener->entity);
    }
    atomic_uint_fast64_t *epoch = &listeners->epochs[listeners->row_count];
    listeners->entities[listeners->row_count] = listener->entity;
    listeners->collections[listeners->row_count++] = listener->collection;
    for (const struct subject *const *subject = catalogue_subjects; *subject != NULL; subject++) {
        if ((*subject)->entity != listener->entity) {
            continue;
        }
        assert(listeners->lane_count < ROUTES_MAX);
        struct lane *lane = &listeners->lanes[listeners->lane_count];
        lane->listeners = listeners;
        lane->route.listening = &listeners->listening;
        lane->route.listener = listener;
        lane->route.subject = *subject;
        lane->route.number = listeners->lane_count++;
        lane->route.epoch = epoch;
        lane->route.held_max = in_flight; /* a returning member may be given more than that at once */
        event_metrics_watch(&lane->route);
    }
}

static bool subscribe(struct listeners *listeners, struct lane *lane, size_t in_flight, struct error *error)
{
    const struct subscription subscription = {
        .subject = lane->route.subject->name,
        .queue_group = listeners->listening.queue_group,
        .durable = listeners->listening.queue_group,
        .start = BUS_START_ALL,
        .ack_wait_ms = EVENT_ACK_WAIT_MS,
        .in_flight = in_flight,
    };
    return bus_subscribe(listeners->listening.bus, &subscription, on_message, lane, error);
}

static void init_listening(struct listening *listening, const struct events_config *config, struct events *events,
                           struct bus *bus)
{
    listening->service = config->service;
    listening->events = events;
    listening->store = config->store;
    listening->bus = bus;
    listening->clock = config->clock;
    listening->context = config->context;
    listening->asker = asker_new();
    snprintf(listening->queue_group, sizeof(listening->queue_group), "%s-service", config->service);
    snprintf(listening->before_ack, sizeof(listening->before_ack), "%s.listener.before_ack", config->service);
    snprintf(listening->before_write, sizeof(listening->before_write), "%s.effect.before_write", config->service);
    snprintf(listening->lacking, sizeof(listening->lacking), "%s.lacking", config->service);
    snprintf(listening->applied, sizeof(listening->applied), "%s.applied", config->service);
}

static bool listen_for_answers(struct listeners *listeners, const struct listener *listener, struct error *error)
{
    char topic[LISTENER_NAME_SIZE];
    if (listener->effect != NULL) {
        return true;
    }
    snprintf(topic, sizeof(topic), "%s.answer", listener->entity->name);
    return bus_on_signal(listeners->listening.bus, topic, on_answer, listeners, error);
}

static bool listen_for_signals(struct listeners *listeners, const struct events_config *config, struct error *error)
{
    struct bus *bus = listeners->listening.bus;
    if (!bus_on_signal(bus, listeners->listening.lacking, on_lacking, listeners, error) ||
        !bus_on_signal(bus, listeners->listening.applied, on_applied, listeners, error)) {
        return false;
    }
    for (const struct listener *listener = config->listeners; listener->entity != NULL; listener++) {
        if (!listen_for_answers(listeners, listener, error)) {
            return false;
        }
    }
    return true;
}

bool listeners_open(const struct events_config *config, struct events *events, struct bus *bus,
                    struct listeners **ret_listeners, struct error *error)
{
    struct listeners *listeners = xcalloc(1, sizeof(*listeners));
    init_listening(&listeners->listening, config, events, bus);
    *ret_listeners = listeners; /* what has started is ended by listeners_stop and listeners_free in any case */
    if (config->listeners == NULL || config->listeners->entity == NULL) {
        return true;
    }
    for (const struct listener *listener = config->listeners; listener->entity != NULL; listener++) {
        assert(listeners->row_count < LISTENERS_MAX);
        add_lanes(listeners, listener, config->in_flight);
    }
    start_workers(listeners, config->workers);
    if (!listen_for_signals(listeners, config, error)) {
        return false;
    }
    for (size_t i = 0; i < listeners->lane_count; i++) {
        if (!subscribe(listeners, &listeners->lanes[i], config->in_flight, error)) {
            return error_prefix(error, "subscribing to %s", listeners->lanes[i].route.subject->name);
        }
    }
    return true;
}

void listeners_free(struct listeners **listeners)
{
    if (*listeners == NULL) {
        return;
    }
    for (size_t i = 0; i < (*listeners)->lane_count; i++) {
        event_metrics_forget(&(*listeners)->lanes[i].route);
    }
    for (size_t i = 0; i < (*listeners)->worker_count; i++) {
        shard_free(&(*listeners)->workers[i].shard);
    }
    asker_free(&(*listeners)->listening.asker);
    xfree((*listeners)->workers);
    xfree(*listeners);
    *listeners = NULL;
}
