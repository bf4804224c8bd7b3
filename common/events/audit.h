/* SPDX-License-Identifier: Apache-2.0
 * Finding replicas of what an owner does not have any more.
 *
 * DESIGN
 * When an owner's store was restored from an older backup, it publishes everything again, under a later epoch, and each
 * replica follows; but of records that were made after the backup there is nothing to publish. So, once an epoch was
 * seen (the fact "epoch/<collection>"), and until a look at all replicas has found none of an earlier one (the fact
 * "audited/<collection>"), their owner is asked about those that are left: its answer is its present state, or that
 * there is no such record, and then the replica goes.
 *
 * The owner publishes in the order of the ids, and the look goes the same way: it stands at the first replica of an
 * earlier epoch. When it does not get on for a while, the owner has come to its end, and what is left is asked about.
 * Several instances may ask the same; the answers are the same, too. */
#ifndef TURNSTILE_EVENTS_AUDIT_H
#define TURNSTILE_EVENTS_AUDIT_H

#include "common/events/events.h"

struct audit;

/* Borrows all of it; `listeners` may be NULL. */
struct audit *audit_new(const struct listener *listeners, struct store *store, struct bus *bus);
void audit_free(struct audit **audit);

/* Does what is due at this moment (monotonic, ms); blocks for the store. One thread at a time. */
bool audit_step(struct audit *audit, int64_t now, struct error *error) MUST_CHECK;

#endif
