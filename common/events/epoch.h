/* SPDX-License-Identifier: Apache-2.0
 * The epoch of a store: 0 at first, and raised when an older backup was restored. Every event and snapshot carries it,
 * so that replicas follow the restored store whatever versions they have. */
#ifndef TURNSTILE_EVENTS_EPOCH_H
#define TURNSTILE_EVENTS_EPOCH_H

#include "common/events/events.h"

bool epoch_read(struct store *store, uint64_t *ret_epoch, struct error *error) MUST_CHECK;

/* What `<service> --restored` does: raises the epoch, and wishes that everything the service publishes be published
 * again, and that those it listens to do the same. The new epoch is the present moment, ms since 1970, and so larger
 * than any before, of which the backup need not know. To be done again if it fails. `listeners` may be NULL. */
bool epoch_raise(struct store *store, const char *service, const struct collection *const *collections,
                 const struct listener *listeners, const struct clock *clock, uint64_t *ret_epoch,
                 struct error *error) MUST_CHECK;

#endif
