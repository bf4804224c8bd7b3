/* SPDX-License-Identifier: Apache-2.0
 * The wish to publish everything again, and the lease of whoever fulfils it. */
#include "common/events/wish.h"

#define WANTED "republish.wanted"
#define DONE   "republish.done"
#define LEASE  "republish.lease"

/* Larger than any wish before, also if the clock was turned back: an equal one would count as fulfilled. */
bool wish_make(struct store *store, int64_t now, struct error *error)
{
    int64_t wanted = 0, done = 0;
    if (!store_fact_get(store, WANTED, &wanted, error) || !store_fact_get(store, DONE, &done, error)) {
        return false;
    }
    int64_t latest = wanted > done ? wanted : done;
    return store_fact_raise(store, WANTED, now > latest ? now : latest + 1, error);
}

bool wish_pending(struct store *store, int64_t *ret_wish, struct error *error)
{
    int64_t wanted = 0, done = 0;
    if (!store_fact_get(store, WANTED, &wanted, error) || !store_fact_get(store, DONE, &done, error)) {
        return false;
    }
    *ret_wish = wanted > done ? wanted : 0;
    return true;
}

bool wish_fulfilled(struct store *store, int64_t wish, struct error *error)
{
    return store_fact_raise(store, DONE, wish, error);
}

static bool replace_lease(struct store *store, int64_t expected, int64_t value, int64_t *ret_lease, struct error *error)
{
    bool replaced = false;
    if (!store_fact_replace(store, LEASE, expected, value, &replaced, error)) {
        return false;
    }
    *ret_lease = replaced ? value : 0;
    return true;
}

bool wish_take_lease(struct store *store, int64_t now, int64_t *ret_lease, struct error *error)
{
    int64_t ends = 0;
    if (!store_fact_get(store, LEASE, &ends, error)) {
        return false;
    }
    /* One that ends in a far future was taken while a clock was wrong. */
    if (ends > now && ends <= now + 2 * WISH_LEASE_MS) {
        *ret_lease = 0;
        return true;
    }
    return replace_lease(store, ends, now + WISH_LEASE_MS, ret_lease, error);
}

bool wish_renew_lease(struct store *store, int64_t now, int64_t *lease, struct error *error)
{
    int64_t ends = now + WISH_LEASE_MS;
    return ends == *lease || replace_lease(store, *lease, ends, lease, error);
}

void wish_drop_lease(struct store *store, int64_t *lease)
{
    struct error error = ERROR_INIT;
    int64_t ignored = 0;
    if (*lease != 0) {
        (void)!replace_lease(store, *lease, 0, &ignored, &error);
        *lease = 0;
    }
}
