/* SPDX-License-Identifier: Apache-2.0
 * Which gaps to ask their owners about, and when. */
#include "common/events/asking.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/hashmap.h"
#include "common/base/memory.h"

enum {
    SECOND_MS = 1000,
    BURST = ASKS_A_SECOND / 4,
    INSTANCE_DIGITS = ID_LENGTH / 2, /* of a nonce; the rest is the number */
    NUMBER_DIGITS = ID_LENGTH - INSTANCE_DIGITS,
    URGENT_ROUTE = 2, /* the part of what may be in flight that all gaps of a subject may take, one in so many */
    URGENT_GAP = 4,   /* and that one of them may */
    URGENT_AGAIN_MS = 1000,
};

struct asker {
    pthread_mutex_t lock;
    char instance[INSTANCE_DIGITS + 1];
    atomic_uint_fast64_t count;
    int64_t free_at; /* when the allowance of asks is full again */
};

struct asker *asker_new(void)
{
    struct asker *asker = xcalloc(1, sizeof(*asker));
    pthread_mutex_init(&asker->lock, NULL);
    random_hex(asker->instance, INSTANCE_DIGITS);
    return asker;
}

void asker_free(struct asker **asker)
{
    if (*asker == NULL) {
        return;
    }
    pthread_mutex_destroy(&(*asker)->lock);
    xfree(*asker);
    *asker = NULL;
}

uint64_t asker_count(const struct asker *asker)
{
    return atomic_load(&asker->count);
}

/* Each ask takes a share of a second; as much as BURST of them may be taken in advance. */
static bool is_allowed(struct asker *asker, int64_t now)
{
    enum { SHARE_MS = SECOND_MS / ASKS_A_SECOND };
    int64_t from = asker->free_at > now ? asker->free_at : now;
    if (from - now > (int64_t)(BURST - 1) * SHARE_MS) {
        return false;
    }
    asker->free_at = from + SHARE_MS;
    return true;
}

bool asker_next(struct asker *asker, int64_t now, uint64_t *ret_number, struct id *ret_nonce)
{
    pthread_mutex_lock(&asker->lock);
    bool is_free = is_allowed(asker, now);
    uint64_t number = is_free ? atomic_fetch_add(&asker->count, 1) + 1 : 0;
    pthread_mutex_unlock(&asker->lock);
    if (!is_free) {
        return false;
    }
    char nonce[ID_LENGTH + 8];
    snprintf(nonce, sizeof(nonce), "%s%0*" PRIx64, asker->instance, NUMBER_DIGITS, number);
    *ret_number = number;
    return id_from_text(nonce, ret_nonce);
}

bool asker_number(const struct asker *asker, const struct id *nonce, uint64_t *ret_number)
{
    if (strncmp(nonce->hex, asker->instance, INSTANCE_DIGITS) != 0) {
        return false;
    }
    uint64_t number = strtoull(nonce->hex + INSTANCE_DIGITS, NULL, 16);
    if (number == 0 || number > asker_count(asker)) {
        return false;
    }
    *ret_number = number;
    return true;
}

/* ---- gaps ---- */

struct gaps {
    struct hashmap *by_key;
};

struct gaps *gaps_new(void)
{
    struct gaps *gaps = xcalloc(1, sizeof(*gaps));
    gaps->by_key = hashmap_new();
    return gaps;
}

void gaps_free(struct gaps **gaps)
{
    if (*gaps == NULL) {
        return;
    }
    hashmap_free(&(*gaps)->by_key);
    xfree(*gaps);
    *gaps = NULL;
}

struct gap *gaps_find(const struct gaps *gaps, const char *key)
{
    return hashmap_get(gaps->by_key, key);
}

struct gap *gaps_hold(struct gaps *gaps, const char *key, uint64_t stored, int64_t now)
{
    struct gap *gap = gaps_find(gaps, key);
    if (gap == NULL) {
        gap = xcalloc(1, sizeof(*gap));
        memcpy(gap->key, key, strlen(key) + 1);
        gap->stored = stored;
        gap->since = now;
        hashmap_put(gaps->by_key, key, gap);
    }
    gap->held++;
    return gap;
}

void gaps_release(struct gaps *gaps, struct gap *gap)
{
    if (--gap->held == 0) {
        hashmap_remove(gaps->by_key, gap->key);
        xfree(gap);
    }
}

void gap_look(struct gap *gap, uint64_t stored, int64_t now)
{
    if (stored != gap->stored) {
        gap->stored = stored;
        gap->since = now;
        gap->asked_at = 0;
        gap->was_logged = false;
    }
}

bool gap_is_due(const struct gap *gap, size_t held, size_t held_max, int64_t now)
{
    bool is_urgent = held * URGENT_ROUTE > held_max || gap->held * URGENT_GAP > held_max;
    if (gap->lacks_epoch) {
        return gap->asked_at == 0 || now - gap->asked_at >= URGENT_AGAIN_MS;
    }
    if (gap->asked_at == 0) {
        return now - gap->since >= (is_urgent ? EVENT_ASK_EARLY_MS : EVENT_ASK_MS);
    }
    int64_t again = is_urgent ? (gap->had_strays ? EVENT_ASK_EARLY_MS : URGENT_AGAIN_MS) : EVENT_ASK_AGAIN_MS;
    return now - gap->asked_at >= again;
}

void gap_asked(struct gap *gap, uint64_t number, int64_t now)
{
    gap->asks[gap->ask_count++ % GAP_ASKS_MAX] = number;
    gap->asked_at = now;
    gap->had_strays = false;
}

bool gap_was_asked(const struct gap *gap, uint64_t number)
{
    for (size_t i = 0; i < GAP_ASKS_MAX; i++) {
        if (gap->asks[i] == number) {
            return true;
        }
    }
    return false;
}
