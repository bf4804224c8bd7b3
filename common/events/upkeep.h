/* SPDX-License-Identifier: Apache-2.0
 * A thread for what a running service does about its replicas and those of others, besides each single event: publishes
 * everything again when that is wished for, asks owners to do so, looks for replicas of what is gone. */
#ifndef TURNSTILE_EVENTS_UPKEEP_H
#define TURNSTILE_EVENTS_UPKEEP_H

#include <stdatomic.h>

#include "common/events/events.h"
#include "common/events/history.h"

struct upkeep;

/* Starts it. Borrows config (whose clock, store and tables it uses), the bus, the history and the epoch, which it
 * raises when the store's is raised. `*ret_upkeep` is also set where it fails, and freed as usual. */
bool upkeep_open(const struct events_config *config, struct bus *bus, struct history *history,
                 atomic_uint_fast64_t *epoch, struct upkeep **ret_upkeep, struct error *error) MUST_CHECK;
/* Tells the thread to end, without waiting for it. NULL is fine, here and in upkeep_stop. */
void upkeep_tell_stop(struct upkeep *upkeep);
/* Ends the thread; what is left to do is found in the store by whoever comes next. */
void upkeep_stop(struct upkeep *upkeep);
/* After bus_stop_receiving. */
void upkeep_free(struct upkeep **upkeep);

#endif
