/* SPDX-License-Identifier: Apache-2.0
 * The wish that everything a service publishes be published again, as snapshots: kept in its store, so that it outlives
 * whoever had it, and fulfilled by one instance at a time.
 *
 * DESIGN
 * Three facts. "republish.wanted" is the moment of the newest wish, and larger than any before; "republish.done" is the
 * newest wish that was fulfilled: a wish is pending while it is lower. Whoever fulfils it takes a lease first: the fact
 * "republish.lease" is the moment at which it ends, replaced by compare-and-set, so that of two one is refused; it is
 * renewed meanwhile. If its owner dies, it ends by itself, and another instance begins again. A wish that comes while
 * an older one is being fulfilled is fulfilled after it. Clocks that differ by more than a lease mean only that two do
 * the same work.
 *
 * For each reason, the fact "republish.<reason>" is the newest wish that was made for it, so that whoever fulfils a
 * wish can tell why. */
#ifndef TURNSTILE_EVENTS_WISH_H
#define TURNSTILE_EVENTS_WISH_H

#include "common/store/store.h"

enum {
    WISH_LEASE_MS = 15000, /* how long an instance that died keeps the others waiting */
    WISH_REASONS_SIZE = 128,
};

enum wish_reason {
    WISH_LOST,     /* the bus has lost history */
    WISH_RESTORED, /* the store was restored */
    WISH_ASKED,    /* another service has asked */
};

/* Wishes for everything; durable when it returns. `now` in ms since 1970, as everywhere here. */
bool wish_make(struct store *store, enum wish_reason reason, int64_t now, struct error *error) MUST_CHECK;
/* The pending wish; 0: none. */
bool wish_pending(struct store *store, int64_t *ret_wish, struct error *error) MUST_CHECK;
/* Why there are wishes that are not fulfilled, in words; "" if that is not known. */
bool wish_reasons(struct store *store, char ret_text[static WISH_REASONS_SIZE], struct error *error) MUST_CHECK;
/* The wish is fulfilled. */
bool wish_fulfilled(struct store *store, int64_t wish, struct error *error) MUST_CHECK;

/* Takes the lease: *ret_lease is what it is known by; 0: another instance has it. */
bool wish_take_lease(struct store *store, int64_t now, int64_t *ret_lease, struct error *error) MUST_CHECK;
/* Extends it: *lease is 0 if it was lost meanwhile. */
bool wish_renew_lease(struct store *store, int64_t now, int64_t *lease, struct error *error) MUST_CHECK;
/* Lets the next one begin at once; best effort. */
void wish_drop_lease(struct store *store, int64_t *lease);

#endif
