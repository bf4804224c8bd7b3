/* SPDX-License-Identifier: Apache-2.0
 * The cache of verified tokens: a fixed number of small sets, each with a lock of its own.
 *
 * A token's set and tag come from a hash with a secret key, so nobody can aim at a set; the whole token is compared
 * only with entries of the same tag, so the time that takes says nothing about the tokens that are in there. */
#include "common/auth/cache.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"

enum {
    CACHE_WAYS = 8, /* entries of a set: the longest unused makes room */
    CACHE_SETS = AUTH_CACHE_SIZE / CACHE_WAYS,
};

_Static_assert(AUTH_CACHE_SIZE % CACHE_WAYS == 0, "the cache is made of whole sets");

struct cache_entry {
    struct auth_claims claims;
    size_t length; /* 0: empty */
    char token[AUTH_TOKEN_MAX];
};

struct cache_set {
    pthread_mutex_t lock;
    uint64_t uses; /* of this set: the clock of `used` */
    uint64_t tags[CACHE_WAYS];
    uint64_t used[CACHE_WAYS];
    struct cache_entry entries[CACHE_WAYS];
};

struct auth_cache {
    unsigned char key[crypto_shorthash_KEYBYTES];
    struct cache_set sets[CACHE_SETS];
};

struct auth_cache *auth_cache_new(void)
{
    struct auth_cache *cache = xcalloc(1, sizeof(*cache));
    random_bytes(cache->key, sizeof(cache->key));
    for (size_t i = 0; i < CACHE_SETS; i++) {
        pthread_mutex_init(&cache->sets[i].lock, NULL);
    }
    return cache;
}

void auth_cache_free(struct auth_cache **cache)
{
    if (*cache == NULL) {
        return;
    }
    for (size_t i = 0; i < CACHE_SETS; i++) {
        struct cache_set *set = &(*cache)->sets[i];
        pthread_mutex_destroy(&set->lock);
        for (size_t way = 0; way < CACHE_WAYS; way++) {
            memory_wipe(set->entries[way].token, set->entries[way].length);
        }
    }
    xfree(TAKE(*cache));
}

static uint64_t tag_of(const struct auth_cache *cache, const char *token, size_t length)
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t tag;
    _Static_assert(sizeof(hash) == sizeof(tag), "SipHash-2-4 gives 64 bits");
    crypto_shorthash(hash, (const unsigned char *)token, length, cache->key);
    memcpy(&tag, hash, sizeof(tag));
    return tag;
}

/* The way that holds the token, or CACHE_WAYS. The set is locked. */
static size_t find(const struct cache_set *set, uint64_t tag, const char *token, size_t length)
{
    for (size_t way = 0; way < CACHE_WAYS; way++) {
        const struct cache_entry *entry = &set->entries[way];
        if (set->tags[way] == tag && entry->length == length && memcmp(entry->token, token, length) == 0) {
            return way;
        }
    }
    return CACHE_WAYS;
}

bool auth_cache_get(struct auth_cache *cache, const char *token, size_t length, struct auth_claims *ret_claims)
{
    uint64_t tag = tag_of(cache, token, length);
    struct cache_set *set = &cache->sets[tag % CACHE_SETS];

    pthread_mutex_lock(&set->lock);
    size_t way = length == 0 ? CACHE_WAYS : find(set, tag, token, length);
    if (way < CACHE_WAYS) {
        set->used[way] = ++set->uses;
        *ret_claims = set->entries[way].claims;
    }
    pthread_mutex_unlock(&set->lock);
    return way < CACHE_WAYS;
}

void auth_cache_put(struct auth_cache *cache, const char *token, size_t length, const struct auth_claims *claims)
{
    uint64_t tag = tag_of(cache, token, length);
    struct cache_set *set = &cache->sets[tag % CACHE_SETS];

    pthread_mutex_lock(&set->lock);
    size_t way = find(set, tag, token, length);
    if (way == CACHE_WAYS) {
        way = 0;
        for (size_t i = 1; i < CACHE_WAYS; i++) {
            if (set->used[i] < set->used[way]) {
                way = i;
            }
        }
    }
    struct cache_entry *entry = &set->entries[way];
    set->tags[way] = tag;
    set->used[way] = ++set->uses;
    entry->claims = *claims;
    entry->length = length;
    memcpy(entry->token, token, length);
    pthread_mutex_unlock(&set->lock);
}
