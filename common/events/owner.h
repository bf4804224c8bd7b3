/* SPDX-License-Identifier: Apache-2.0
 * Asking the owners of what replicas copy, and what their answers mean for events that are held. */
#ifndef TURNSTILE_EVENTS_OWNER_H
#define TURNSTILE_EVENTS_OWNER_H

#include "common/events/arrival.h"
#include "common/events/dead_letter.h"
#include "common/events/verdict.h"

/* Shows what is counted of an entity's owner from 0 on. */
void owner_watch(const struct entity *entity);
/* Asks for the record of an event that is held in a gap, if it is time; `stored` is the version that is stored now. */
void owner_ask(const struct arrival *arrival, uint64_t stored, int64_t now);
/* What becomes of an event that was held before its owner was asked. For a stray `ret_reason` is why. */
enum held_verdict owner_judge(const struct arrival *arrival, const struct standing *answer,
                              char ret_reason[static DEAD_LETTER_REASON_MAX]);

#endif
