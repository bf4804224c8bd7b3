/* SPDX-License-Identifier: Apache-2.0
 * The catalogue: which subjects there are, and what each carries. Subject and payload are one type: an event is made
 * only by the constructor of its subject, which takes that entity and no other. */
#ifndef TURNSTILE_EVENTS_CATALOGUE_H
#define TURNSTILE_EVENTS_CATALOGUE_H

#include "common/events/entities.h"

struct collection;

/* X(name in C, subject, entity, struct) */
#define EVENT_CHANGES(X)                                                                                               \
    X(ticket_created, "ticket:created", ticket, struct ticket)                                                         \
    X(ticket_updated, "ticket:updated", ticket, struct ticket)                                                         \
    X(order_created, "order:created", order, struct order)                                                             \
    X(order_updated, "order:updated", order, struct order)                                                             \
    X(order_cancelled, "order:cancelled", order, struct order)                                                         \
    X(payment_requested, "payment:requested", payment, struct payment)                                                 \
    X(payment_created, "payment:created", payment, struct payment)                                                     \
    X(payment_failed, "payment:failed", payment, struct payment)                                                       \
    X(payment_refunded, "payment:refunded", payment, struct payment)                                                   \
    X(expiration_complete, "expiration:complete", expiration, struct expiration)

/* What owners publish of a record's present state, without a change: see snapshot.h. */
#define EVENT_SNAPSHOTS(X)                                                                                             \
    X(ticket_snapshot, "ticket:snapshot", ticket, struct ticket)                                                       \
    X(order_snapshot, "order:snapshot", order, struct order)                                                           \
    X(payment_snapshot, "payment:snapshot", payment, struct payment)

enum {
    ENTITY_SUBJECTS_MAX = 8,
};

struct entity {
    const char *name; /* "ticket" */
    const struct table *table;
    const char *publisher; /* the service that owns it: "tickets" */
};

extern const struct entity entity_ticket, entity_order, entity_payment, entity_expiration;

struct subject {
    const char *name; /* "ticket:created" */
    const struct entity *entity;
    bool is_snapshot; /* it tells a state, not a change: see snapshot.h */
};

/* What is published when a change is written; borrows the value, which is also what is stored. */
struct event {
    const struct subject *subject; /* NULL: none */
    const void *value;             /* the entity's struct */
};

#define EVENT_DECLARE(c_name, subject_name, entity_name, struct_type)                                                  \
    extern const struct subject subject_##c_name;                                                                      \
    static inline struct event event_##c_name(const struct_type *value)                                                \
    {                                                                                                                  \
        return (struct event){.subject = &subject_##c_name, .value = value};                                           \
    }
EVENT_CHANGES(EVENT_DECLARE)
#undef EVENT_DECLARE

#define EVENT_DECLARE(c_name, subject_name, entity_name, struct_type) extern const struct subject subject_##c_name;
EVENT_SNAPSHOTS(EVENT_DECLARE)
#undef EVENT_DECLARE

/* All subjects, the snapshots' too, NULL-terminated, in the order of the catalogue. */
extern const struct subject *const catalogue_subjects[];

/* NULL if there is none of that name. */
const struct subject *catalogue_find(const char *name);
/* "<entity>:snapshot"; NULL for an entity without versions. */
const struct subject *catalogue_snapshot(const struct entity *entity);
/* The entity that a service publishes from this collection; NULL: it keeps it to itself, or it is a replica. */
const struct entity *catalogue_published(const char *service, const struct collection *collection);
/* Every subject there can be on the bus, those of dead letters included, NULL-terminated. */
extern const char *const catalogue_bus_subjects[];

#endif
