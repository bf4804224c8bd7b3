/* SPDX-License-Identifier: Apache-2.0
 * The wish to publish everything again, and the lease of whoever fulfils it. */
#include "common/events/wish.h"

#include "common/base/buffer.h"
#include "common/base/text.h"

#define WANTED "republish.wanted"
#define DONE   "republish.done"
#define LEASE  "republish.lease"

static const struct {
    const char *fact, *words;
} reasons[] = {
    [WISH_LOST] = {"republish.lost", "the event bus has lost history"},
    [WISH_RESTORED] = {"republish.restored", "the store was restored"},
    [WISH_ASKED] = {"republish.asked", "another service has asked for it"},
};

/* Larger than any wish before, also if the clock was turned back: an equal one would count as fulfilled. The reason
 * comes first: the wish may be fulfilled at once. */
bool wish_make(struct store *store, enum wish_reason reason, int64_t now, struct error *error)
{
    int64_t wanted = 0, done = 0;
    if (!store_fact_get(store, WANTED, &wanted, error) || !store_fact_get(store, DONE, &done, error)) {
        return false;
    }
    int64_t latest = wanted > done ? wanted : done;
    int64_t wish = now > latest ? now : latest + 1;
    return store_fact_raise(store, reasons[reason].fact, wish, error) && store_fact_raise(store, WANTED, wish, error);
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

bool wish_reasons(struct store *store, char ret_text[static WISH_REASONS_SIZE], struct error *error)
{
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(WISH_REASONS_SIZE - 1);
    int64_t wanted = 0, done = 0;
    if (!store_fact_get(store, DONE, &done, error)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(reasons); i++) {
        if (!store_fact_get(store, reasons[i].fact, &wanted, error)) {
            return false;
        }
        if (wanted > done) {
            buffer_printf(&text, "%s%s", text.length > 0 ? ", and " : "", reasons[i].words);
        }
    }
    text_copy_cut(ret_text, WISH_REASONS_SIZE, buffer_text(&text));
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
