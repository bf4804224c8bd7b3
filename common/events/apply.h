/* SPDX-License-Identifier: Apache-2.0
 * What becomes of one event: read our record, decide, write by compare-and-set. */
#ifndef TURNSTILE_EVENTS_APPLY_H
#define TURNSTILE_EVENTS_APPLY_H

#include "common/events/arrival.h"

enum outcome {
    OUTCOME_APPLIED, /* our record has changed */
    OUTCOME_DONE,    /* there was nothing to do, now and for ever after */
    OUTCOME_GAP,     /* not yet: our record must change first */
    OUTCOME_EPOCH,   /* not yet: its owner must say first that it has come to this epoch */
    OUTCOME_AWAY,    /* the store is away: not the event's fault */
    OUTCOME_BUSY,    /* the record is in too much demand just now: not the event's fault */
    OUTCOME_FAILED,  /* the event's own failure */
    OUTCOME_STRAY,   /* it can never be applied */
};

struct result {
    enum outcome outcome;
    uint64_t version;   /* of our record as it is now, for APPLIED, GAP and EPOCH; 0: there is none */
    struct error error; /* for AWAY, BUSY, FAILED and STRAY */
};

/* Shows what is counted of an entity's replicas from 0 on. */
void apply_watch(const struct entity *entity);
/* The owner has said that it has come to this epoch. */
bool apply_learn_epoch(const struct route *route, uint64_t epoch, struct error *error) MUST_CHECK;
/* Tries once; blocks for the store. Runs `applied`. */
void apply(const struct arrival *arrival, struct result *ret_result);

#endif
