/* SPDX-License-Identifier: Apache-2.0
 * Rate limits in a table of fixed size.
 *
 * A bucket is one number, the moment at which it will be full again: each attempt moves that moment on by the time that
 * one attempt takes to come back. A moment that is past is a full bucket, which needs no entry. */
#include "services/auth/limiter.h"

#include <arpa/inet.h>
#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "common/base/id.h"
#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    LIMITER_WAYS = 8, /* entries of a set: a key lives in one set */
    LIMITER_SETS = LIMITER_ENTRIES / LIMITER_WAYS,
    SECRET_LENGTH = 32,   /* bytes that go in front of a key before it is hashed */
    KEY_HASHED_MAX = 512, /* bytes of a key that count */
    MICROSECONDS = 1000,  /* in a millisecond */
    SECOND_US = 1000000,
    IPV6_NETWORK = 8, /* bytes */
};

_Static_assert(LIMITER_ENTRIES % LIMITER_WAYS == 0, "the table is made of whole sets");

/* Times are microseconds of the monotonic clock, so that any limit divides a window well enough. */
struct limiter_entry {
    struct id key;   /* a hash */
    int64_t full_at; /* not later than now: the entry is free */
};

struct limiter {
    const struct clock *clock;
    int64_t window_us;
    int64_t attempt_us; /* in which one attempt comes back */
    int64_t bucket_us;  /* in which all of them do: the window, but for what the division left over */
    char secret[SECRET_LENGTH];
    pthread_mutex_t lock;
    struct limiter_entry entries[LIMITER_SETS][LIMITER_WAYS];
};

struct limiter *limiter_new(const struct limiter_config *config)
{
    struct limiter *limiter = xcalloc(1, sizeof(*limiter));
    assert(config->limit >= 1 && config->window_ms >= 1 && config->limit / MICROSECONDS <= config->window_ms);
    limiter->clock = config->clock;
    limiter->window_us = config->window_ms * MICROSECONDS;
    limiter->attempt_us = limiter->window_us / config->limit;
    limiter->bucket_us = limiter->attempt_us * config->limit;
    random_bytes(limiter->secret, sizeof(limiter->secret));
    pthread_mutex_init(&limiter->lock, NULL);
    for (size_t i = 0; i < LIMITER_ENTRIES; i++) {
        limiter->entries[i / LIMITER_WAYS][i % LIMITER_WAYS].full_at = INT64_MIN;
    }
    return limiter;
}

void limiter_free(struct limiter **limiter)
{
    if (*limiter != NULL) {
        pthread_mutex_destroy(&(*limiter)->lock);
        xfree(TAKE(*limiter));
    }
}

static struct id hash_of(const struct limiter *limiter, const char *key)
{
    char text[SECRET_LENGTH + KEY_HASHED_MAX];
    size_t length = strnlen(key, KEY_HASHED_MAX);
    memcpy(text, limiter->secret, SECRET_LENGTH);
    memcpy(text + SECRET_LENGTH, key, length);
    return id_derive(text, SECRET_LENGTH + length);
}

static struct limiter_entry *set_of(struct limiter *limiter, const struct id *hash)
{
    return limiter->entries[text_hash(hash->hex, ID_LENGTH) % LIMITER_SETS];
}

/* The entry of the key, or NULL. */
static struct limiter_entry *find(struct limiter *limiter, const struct id *hash)
{
    struct limiter_entry *set = set_of(limiter, hash);
    for (size_t way = 0; way < LIMITER_WAYS; way++) {
        if (id_equal(&set[way].key, hash)) {
            return &set[way];
        }
    }
    return NULL;
}

static int64_t now_us(const struct limiter *limiter)
{
    return clock_monotonic(limiter->clock) * MICROSECONDS;
}

/* How long the key has to wait; not positive: it need not. */
static int64_t wait_us(struct limiter *limiter, const struct id *hash, int64_t now)
{
    const struct limiter_entry *entry = find(limiter, hash);
    if (entry == NULL || entry->full_at <= now) {
        return 0;
    }
    return entry->full_at + limiter->attempt_us - limiter->bucket_us - now;
}

static void count(struct limiter *limiter, const struct id *hash, int64_t now)
{
    struct limiter_entry *entry = find(limiter, hash);
    if (entry == NULL) {
        entry = set_of(limiter, hash);
        struct limiter_entry *set = entry;
        for (size_t way = 1; way < LIMITER_WAYS; way++) {
            if (set[way].full_at < entry->full_at) {
                entry = &set[way];
            }
        }
        *entry = (struct limiter_entry){.key = *hash, .full_at = now};
    }
    int64_t from = entry->full_at > now ? entry->full_at : now;
    int64_t latest = now + LIMITER_DEBT_WINDOWS * limiter->window_us;
    entry->full_at = from + limiter->attempt_us < latest ? from + limiter->attempt_us : latest;
}

static bool refuse(int64_t wait, int64_t *ret_retry_after_s)
{
    *ret_retry_after_s = (wait + SECOND_US - 1) / SECOND_US;
    return false;
}

bool limiter_allows(struct limiter *limiter, const char *key, int64_t *ret_retry_after_s)
{
    struct id hash = hash_of(limiter, key);
    pthread_mutex_lock(&limiter->lock);
    int64_t wait = wait_us(limiter, &hash, now_us(limiter));
    pthread_mutex_unlock(&limiter->lock);
    return wait <= 0 || refuse(wait, ret_retry_after_s);
}

void limiter_count(struct limiter *limiter, const char *key)
{
    struct id hash = hash_of(limiter, key);
    pthread_mutex_lock(&limiter->lock);
    count(limiter, &hash, now_us(limiter));
    pthread_mutex_unlock(&limiter->lock);
}

bool limiter_take(struct limiter *limiter, const char *key, int64_t *ret_retry_after_s)
{
    struct id hash = hash_of(limiter, key);
    pthread_mutex_lock(&limiter->lock);
    int64_t now = now_us(limiter);
    int64_t wait = wait_us(limiter, &hash, now);
    if (wait <= 0) {
        count(limiter, &hash, now);
    }
    pthread_mutex_unlock(&limiter->lock);
    return wait <= 0 || refuse(wait, ret_retry_after_s);
}

void limiter_reset(struct limiter *limiter, const char *key)
{
    struct id hash = hash_of(limiter, key);
    pthread_mutex_lock(&limiter->lock);
    struct limiter_entry *entry = find(limiter, &hash);
    if (entry != NULL) {
        entry->full_at = INT64_MIN;
    }
    pthread_mutex_unlock(&limiter->lock);
}

void limiter_address_key(const char *address, char ret_key[static LIMITER_ADDRESS_KEY_MAX])
{
    struct in6_addr ipv6;
    if (inet_pton(AF_INET6, address, &ipv6) != 1) {
        text_copy_cut(ret_key, LIMITER_ADDRESS_KEY_MAX, address);
    } else if (IN6_IS_ADDR_V4MAPPED(&ipv6)) {
        inet_ntop(AF_INET, &ipv6.s6_addr[12], ret_key, LIMITER_ADDRESS_KEY_MAX);
    } else {
        memset(&ipv6.s6_addr[IPV6_NETWORK], 0, sizeof(ipv6) - IPV6_NETWORK);
        inet_ntop(AF_INET6, &ipv6, ret_key, LIMITER_ADDRESS_KEY_MAX);
    }
}
