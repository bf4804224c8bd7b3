/* SPDX-License-Identifier: Apache-2.0
 * The events that are held, by the record of ours that must change first. Owned by one thread. */
#ifndef TURNSTILE_EVENTS_HELD_H
#define TURNSTILE_EVENTS_HELD_H

#include "common/events/arrival.h"

struct held;

struct held *held_new(void);
/* What is still in it is not freed: see held_take_any. */
void held_free(struct held **held);

/* Adds to the events of its record, which are looked at again at `look_at`; of all records, the one put last is looked
 * at last. */
void held_put(struct held *held, struct arrival *arrival, int64_t look_at);
/* All events of a record, lowest version first; NULL if there are none. */
struct arrival *held_take(struct held *held, const char *key);
/* The same of a record that is to be looked at now. */
struct arrival *held_take_due(struct held *held, int64_t now);
struct arrival *held_take_any(struct held *held);
size_t held_count(const struct held *held);
/* When the next record is to be looked at; -1 if there is none. */
int64_t held_look_at(const struct held *held);
void held_each(struct held *held, void (*visit)(struct arrival *arrival, void *context), void *context);

#endif
