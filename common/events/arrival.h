/* SPDX-License-Identifier: Apache-2.0
 * An event that arrived, on its way through the listener, and what the listener's threads share. */
#ifndef TURNSTILE_EVENTS_ARRIVAL_H
#define TURNSTILE_EVENTS_ARRIVAL_H

#include <stdatomic.h>

#include "common/events/events.h"
#include "common/events/message.h"

enum {
    LISTENER_NAME_SIZE = 96,
};

struct asker;
struct gap;

/* Does not change while the listener is open. */
struct listening {
    const char *service;
    struct events *events; /* effects are written through it */
    struct store *store;
    struct bus *bus;
    const struct clock *clock;
    struct asker *asker; /* by which owners are asked */
    void *context;       /* of `applied` */
    char queue_group[BUS_NAME_MAX];
    char before_write[LISTENER_NAME_SIZE]; /* failpoint: an effect is decided, but not yet written */
    char before_ack[LISTENER_NAME_SIZE];   /* failpoint: an event is applied, but not yet acknowledged */
    char lacking[LISTENER_NAME_SIZE];      /* topic: who holds an event tells what it lacks */
    char applied[LISTENER_NAME_SIZE];      /* topic: who applies it answers */
};

/* What is known of a subject for the metrics: metrics.h. */
struct route_metrics {
    atomic_uint_fast64_t first;    /* the sequence of the first new event, from which the lag counts; 0: none */
    atomic_uint_fast64_t received; /* the sequence of the last new event; 0: none */
    atomic_uint_fast64_t applied;  /* the highest sequence that was acknowledged; 0: none */
    struct arrival *first_held, *last_held;
    size_t held;
};

/* One subject that is listened to. */
struct route {
    const struct listening *listening;
    const struct listener *listener;
    const struct subject *subject;
    struct route_metrics metrics;
    size_t number;
    size_t held_max;             /* how many events may be held */
    atomic_size_t held;          /* by all shards together */
    atomic_uint_fast64_t *epoch; /* the highest that this process has put into the store; one for each listener */
};

/* What is known of an event for the metrics. */
struct arrival_metrics {
    int64_t stored_at;  /* when the bus stored it, ms since 1970; 0: unknown */
    int64_t held_since; /* monotonic ms; 0: it is not held */
    struct arrival *previous_held, *next_held;
};

struct arrival {
    struct arrival *next;
    struct route *route;
    struct arrival_metrics metrics;
    struct delivery *delivery; /* the newest handle of it; under the shard's lock; NULL while it is in use */
    uint64_t sequence;
    size_t length;
    uint64_t digest; /* of what was delivered */
    char *reason;    /* it cannot be applied: why; NULL otherwise, and then the following is set */
    struct record head;
    void *value; /* the entity's struct */
    struct event_meta meta;
    struct id own_id; /* of our record */

    bool is_held;       /* counts in route->held */
    struct gap *gap;    /* of a replica's record; set while it is held */
    uint64_t asks;      /* how many asks there had been when it was first held: later ones were made after it came */
    int64_t attempts;   /* failures of its own */
    int64_t not_before; /* when it may be tried again after one */
    int64_t tell_at;    /* when to tell the others again what it lacks; 0: they were not told yet */
    bool was_logged;    /* that it is held */
    int64_t extend_at;  /* when to ask the bus for more time */
};

/* Parses what was received; what cannot be parsed has a reason. Takes ownership of the delivery. */
struct arrival *arrival_new(struct route *route, struct delivery *delivery);
/* The delivery must have ended. */
void arrival_free(struct arrival *arrival);

enum {
    ARRIVAL_KEY_SIZE = 72,
};
/* What a redelivery is known by: subject, sequence and a digest of the text. The digest is there because a bus that has
 * lost its history counts from 1 again. */
void arrival_key(const struct arrival *arrival, char ret_key[static ARRIVAL_KEY_SIZE]);

/* "<collection>/<id>" of our own record, which is what lists are kept by. */
enum {
    RECORD_KEY_SIZE = 64 + 1 + ID_LENGTH + 1,
};
void record_key(const struct collection *collection, const struct id *id, char ret_key[static RECORD_KEY_SIZE]);

/* Sets the log's context to the event's, with its trace. */
void arrival_set_context(const struct arrival *arrival);

#endif
