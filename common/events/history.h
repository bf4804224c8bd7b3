/* SPDX-License-Identifier: Apache-2.0
 * What the bus is known to have of a service's own events, and what to do when it comes back with less.
 *
 * DESIGN
 * For each subject that the service publishes, the fact "position/<subject>" is the sequence that its last message has
 * at least. It is raised before anything that was confirmed is removed from the outbox: what the outbox does not have
 * any more, the facts know of. A bus that comes back with a lower sequence, because it kept its messages in memory or
 * an older copy of its files was put back, has lost events that are nowhere else. Then the service publishes the
 * present state of everything (see wish.h and republish.h), from which every replica is right again.
 *
 * Each new connection is compared with the facts before anything is published by it, so that new events do not hide
 * what is missing: with the facts as they were before it looked, since other instances publish and raise them all the
 * time. A loss is noted in this order: the wish to publish everything, then the lower position. A crash
 * between the two means that the loss is noted again. Of several instances the first one notes it; the others find the
 * position lowered already. An instance may still raise it to what was true before the loss: then the next connection
 * finds a loss that is none, and everything is published once more, which harms nobody. */
#ifndef TURNSTILE_EVENTS_HISTORY_H
#define TURNSTILE_EVENTS_HISTORY_H

#include "common/bus/bus.h"
#include "common/store/store.h"

struct history;

struct history_config {
    const char *service;                         /* whose subjects; borrowed */
    const struct collection *const *collections; /* what it publishes; NULL-terminated; borrowed */
    struct store *store;                         /* borrowed */
    const struct clock *clock;                   /* NULL: the system's */
    /* Whether anything may be published now: from the moment on at which a connection was compared with the facts. Must
     * not block, nor call back. May be NULL. */
    void (*may_publish)(bool allowed, void *context);
    void *context;
};

/* Reads the facts; blocks. */
bool history_new(const struct history_config *config, struct history **ret_history, struct error *error) MUST_CHECK;
void history_free(struct history **history);
/* The positions for bus_config, which stay the history's. `*ret_positions` is NULL if it publishes nothing. */
size_t history_positions(const struct history *history, const struct bus_position **ret_positions);

/* Makes durable what the bus has confirmed on one subject, for who publishes without a history of its own. Blocks. */
bool history_note(struct store *store, struct bus *bus, const char *subject, struct error *error) MUST_CHECK;

/* Starts its thread; `bus` is borrowed until history_stop. */
void history_start(struct history *history, struct bus *bus);
/* Ends the thread: what it has not saved yet is still in the outbox. */
void history_stop(struct history *history);

/* From bus_config's callbacks of the same names. Reads the facts; blocks. */
bool history_will_look(struct history *history, struct bus *bus, struct error *error) MUST_CHECK;
/* These never block. */
void history_state_changed(struct history *history, struct bus *bus, enum bus_state state);
void history_lost(struct history *history, const char *subject, uint64_t expected, uint64_t found);

/* Compares a new connection with the facts, and makes durable what the bus has confirmed. Blocks. Any thread. */
bool history_save(struct history *history, struct bus *bus, struct error *error) MUST_CHECK;
/* Compares a new connection with the facts, and learns what other instances have published; writes only if something
 * was lost. Blocks. Any thread. */
bool history_look(struct history *history, struct bus *bus, struct error *error) MUST_CHECK;

#endif
