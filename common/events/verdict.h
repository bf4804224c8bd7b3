/* SPDX-License-Identifier: Apache-2.0
 * The rule by which a replica follows the versions of what it copies. */
#ifndef TURNSTILE_EVENTS_VERDICT_H
#define TURNSTILE_EVENTS_VERDICT_H

#include "common/base/compiler.h"

/* Where a record stands in its owner's history: epochs follow each other, and so do the versions of one epoch. */
struct standing {
    uint64_t version; /* 0: there is no such record */
    uint64_t epoch;
};

enum verdict {
    VERDICT_APPLY,   /* it is the next one */
    VERDICT_GAP,     /* a predecessor is missing: not to be applied, not to be acknowledged */
    VERDICT_DONE,    /* its effect is in the store: only the earlier acknowledgement was lost */
    VERDICT_REPLACE, /* a snapshot: it takes the place of what is stored, whatever came between */
    VERDICT_REMOVE,  /* a snapshot: its owner does not have the record any more */
};

/* All of these are pure. Where nothing is stored, stored.epoch is the highest epoch that is known of the entity, so
 * that nothing of an earlier history brings back what was removed. */

/* What to do with an event. */
enum verdict verdict_of_event(struct standing stored, struct standing event);
/* What to do with a snapshot. Never VERDICT_APPLY or VERDICT_GAP. */
enum verdict verdict_of_snapshot(struct standing stored, struct standing snapshot);

enum held_verdict {
    HELD_WAIT,  /* its owner has got as far, or farther: a snapshot is on its way */
    HELD_STRAY, /* its owner never had it */
    HELD_LEFT,  /* of a history that its owner has left, together with the record */
};

/* What becomes of an event that is held, given what its owner, asked after the event had come, says it has. An event
 * exists only once it is in its owner's store, so the owner cannot say less than a true one. */
enum held_verdict verdict_of_answer(struct standing event, struct standing answer);

#endif
