/* SPDX-License-Identifier: Apache-2.0
 * The relay: brings what waits in the store's outboxes to the bus, and removes what the bus has confirmed. */
#ifndef TURNSTILE_EVENTS_RELAY_H
#define TURNSTILE_EVENTS_RELAY_H

#include "common/bus/bus.h"
#include "common/store/store.h"

struct relay;

struct relay_config {
    const char *service;       /* for the names of failpoints; borrowed */
    struct store *store;       /* borrowed */
    const struct clock *clock; /* of the store: which entries are old; NULL: the system's */
    size_t memory_max;         /* bytes of payload */
    size_t records_max;        /* records that are looked after at once; the others wait for a sweep */
    size_t in_flight_max;      /* publishes at once */
    int64_t sweep_ms;          /* how often to look for what was left behind */
    int64_t sweep_age_ms;      /* and how old that must be */
    /* Called by a thread of the relay before it removes what the bus has confirmed; blocks; false: it is not to be
     * removed yet. May be NULL. */
    bool (*before_removal)(void *context, struct error *error);
    void *context;
};

struct relay *relay_new(const struct relay_config *config);
/* Starts the threads, once; `bus` is borrowed until relay_free. */
void relay_start(struct relay *relay, struct bus *bus);

/* What was just written: record->version waits in the outbox, and so does everything from record->unconfirmed. Copies
 * what it needs; never blocks for I/O. */
void relay_add(struct relay *relay, const struct collection *collection, const struct record *record,
               const struct outbox_entry *entry);
/* The bus's state has changed. Any thread, also before relay_start. */
void relay_wake(struct relay *relay);

/* Held: what is to be published waits until it is held no more. Any thread, also before relay_start. */
void relay_hold(struct relay *relay, bool held);

/* Any thread; does not block for I/O. */
struct relay_figures {
    size_t records;   /* that it looks after */
    size_t bytes;     /* of payload, in memory */
    size_t removals;  /* confirmed, and not yet removed from the outbox */
    size_t in_flight; /* published, and not yet confirmed */
};
void relay_figures(struct relay *relay, struct relay_figures *ret_figures);

/* Publishes nothing more, waits up to `timeout_ms` for what is in flight, removes what was confirmed, ends the threads.
 * relay_add is still allowed, and leaves it to the next process. */
void relay_stop(struct relay *relay, int64_t timeout_ms);
/* After bus_close, which ends the publishes that are still in flight. */
void relay_free(struct relay **relay);

#endif
