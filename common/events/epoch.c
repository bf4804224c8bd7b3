/* SPDX-License-Identifier: Apache-2.0
 * Reading and raising a store's epoch. */
#include "common/events/epoch.h"

#include "common/base/clock.h"
#include "common/events/refresh.h"
#include "common/events/republish.h"
#include "common/events/wish.h"

#define EPOCH "epoch"

bool epoch_read(struct store *store, uint64_t *ret_epoch, struct error *error)
{
    int64_t epoch = 0;
    if (!store_fact_get(store, EPOCH, &epoch, error)) {
        return error_prefix(error, "reading the store's epoch");
    }
    *ret_epoch = (uint64_t)epoch;
    return true;
}

/* The epoch comes first: a wish may be fulfilled at once. */
bool epoch_raise(struct store *store, const char *service, const struct collection *const *collections,
                 const struct listener *listeners, const struct clock *clock, uint64_t *ret_epoch, struct error *error)
{
    int64_t now = clock_now(clock);
    uint64_t before = 0;
    bool is_replaced = false;
    if (!epoch_read(store, &before, error)) {
        return false;
    }
    uint64_t epoch = (uint64_t)now > before ? (uint64_t)now : before + 1;
    if (!store_fact_replace(store, EPOCH, (int64_t)before, (int64_t)epoch, &is_replaced, error)) {
        return false;
    }
    if (!is_replaced) {
        return error_set(error, ERROR_CONFLICT, "somebody else raises the epoch at the same time");
    }
    if ((republish_can(service, collections) && !wish_make(store, WISH_RESTORED, now, error)) ||
        !refresh_wish(store, listeners, now, error)) {
        return false;
    }
    *ret_epoch = epoch;
    return true;
}
