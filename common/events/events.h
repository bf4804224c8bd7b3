/* SPDX-License-Identifier: Apache-2.0
 * Events between services: a change and its event in one write, the relay that brings it to the bus, and listeners
 * that apply what others published, in order and once.
 *
 * Publishing. events_write stores record and event together and hands them to the relay, which publishes and removes
 * from the outbox what the bus has confirmed. No instance publishes a version while a lower one of that record waits
 * in the outbox. The bus being away delays events and nothing else.
 *
 * Listening. A message is acknowledged exactly when its effect is in the store. */
#ifndef TURNSTILE_EVENTS_EVENTS_H
#define TURNSTILE_EVENTS_EVENTS_H

#include "common/bus/bus.h"
#include "common/events/catalogue.h"
#include "common/store/store.h"

enum {
    EVENT_PAYLOAD_MAX = 65536,   /* bytes of an event */
    EVENT_ACK_WAIT_MS = 5000,    /* until the bus delivers again what was not acknowledged */
    EVENT_RECHECK_MS = 250,      /* how often held events are looked at without a signal */
    EVENT_ASK_MS = 10000,        /* how long a version may be lacking before its owner is asked */
    EVENT_ASK_EARLY_MS = 250,    /* the same where so many events are held for it that others might have to wait */
    EVENT_ASK_AGAIN_MS = 4000,   /* how often it is asked again, as long as that lasts */
    EVENT_ATTEMPTS_MAX = 5,      /* failures of an event's own before it is dead-lettered */
    EVENT_SWEEP_MS = 2000,       /* how often the relay looks for what a crashed instance left behind */
    EVENT_SWEEP_AGE_MS = 3000,   /* and how old that must be */
    RELAY_MEMORY_MAX = 16 << 20, /* bytes of payload that wait in memory; the rest waits in the store */
    LISTENERS_MAX = 8,
};

struct events;

enum effect {
    EFFECT_CHANGED,   /* own_value was changed, ret_event says how */
    EFFECT_UNCHANGED, /* there is nothing to do, now and for ever after */
    EFFECT_GAP,       /* not before the own record has changed: hold the event */
    EFFECT_STRAY,     /* it cannot belong here: to the dead letters */
};

/* Decides what a source entity's state means for one record of our own. Pure: no clock, no I/O; order, doubles and late
 * arrivals of events must not matter to the end result. It may be called several times for one event. Changes
 * *own_value in place, and *own only to set the claim of a record that it creates (own->version is 0). */
typedef enum effect effect_handler(const struct record *source, const void *entity, struct record *own, void *own_value,
                                   struct event *ret_event);

/* One row says: this entity is listened to, and what becomes of it. All subjects of the entity are subscribed to. */
struct listener {
    const struct entity *entity;         /* NULL ends the list */
    const struct collection *collection; /* the replica's, or that of our own records */
    /* NULL: a replica, a copy of the record that follows its versions one by one, or jumps to those of a snapshot. */
    effect_handler *effect;
    size_t own_id; /* effect: offset, in the entity's struct, of the id of our own record */
    /* Called after an apply with what our record is now, on an event worker, before the event is acknowledged: a hint
     * to act, never the only way to find out. It should not block, and may come before events_open has returned. Not
     * called for a replica that is removed, because its owner does not have the record any more. May be NULL. */
    void (*applied)(const struct record *head, const void *value, void *context);
};

struct events_config {
    const char *service;   /* "tickets": the durable and the queue group are "<service>-service"; borrowed */
    const char *bus_uri;   /* copied */
    const char *client_id; /* copied */
    struct store *store;   /* borrowed until events_close */
    const struct collection *const *collections; /* those whose outbox is relayed, NULL-terminated; borrowed */
    const struct listener *listeners;            /* borrowed; may be NULL */
    size_t in_flight;                            /* unacknowledged messages per subject, 8 to 1024 */
    size_t workers;                              /* threads that apply events, sharded by record; 1 to 64 */
    const struct clock *clock;                   /* NULL: the system's */
    void *context;                               /* given to `applied` */
};

/* Opens the bus, starts the relay, the workers and the listeners; returns at once, whether the bus is there or not.
 * ERROR_INVALID for a malformed URI or client id. Everything below is thread-safe. */
bool events_open(const struct events_config *config, struct events **ret_events, struct error *error) MUST_CHECK;

/* Finishes and acknowledges what runs, waits for the relay's publishes in flight, closes the bus so that the server
 * drops the client at once; all within about `timeout_ms`. Where the store does not answer, or the bus's server, a
 * write or a dead letter at work may take up to 5 s more, and leaving the bus up to 4 s. What is left in the outbox is
 * published by whoever comes next. */
void events_close(struct events **events, int64_t timeout_ms);

enum bus_state events_bus_state(const struct events *events);

/* store_write of event.value with the event in the outbox, then handed to the relay. record->version is set to
 * expected + 1. event.subject may not be NULL: every version of a published entity emits exactly one event. */
enum store_result events_write(struct events *events, const struct collection *collection, uint64_t expected,
                               struct record *record, struct event event, struct error *error) MUST_CHECK;

#endif
