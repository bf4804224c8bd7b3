/* SPDX-License-Identifier: Apache-2.0
 * The write of a record with its event, as the listener's own threads do it: for this module's own use. */
#ifndef TURNSTILE_EVENTS_COMMIT_H
#define TURNSTILE_EVENTS_COMMIT_H

#include "common/events/events.h"

/* events_write without telling the listener that the record has changed: it knows. */
enum store_result events_commit(struct events *events, const struct collection *collection, uint64_t expected,
                                struct record *record, struct event event, struct error *error) MUST_CHECK;

#endif
