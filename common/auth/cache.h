/* SPDX-License-Identifier: Apache-2.0
 * Tokens that have been verified, so that each is verified once and not with every request. */
#ifndef TURNSTILE_AUTH_CACHE_H
#define TURNSTILE_AUTH_CACHE_H

#include "common/auth/auth.h"

/* What a token says, as far as it matters here. */
struct auth_claims {
    struct http_identity identity;
    int64_t not_before_s; /* seconds since 1970 UTC; 0: at once */
    int64_t expires_s;
};

struct auth_cache;

struct auth_cache *auth_cache_new(void);
void auth_cache_free(struct auth_cache **cache);

/* True if exactly this token was put and is still there. Whether it is valid at this moment is for the caller to see
 * from the claims. `length` is that of the text, below AUTH_TOKEN_MAX. Thread-safe, as auth_cache_put is. */
bool auth_cache_get(struct auth_cache *cache, const char *token, size_t length,
                    struct auth_claims *ret_claims) MUST_CHECK;
/* Only for tokens whose signature has been verified. */
void auth_cache_put(struct auth_cache *cache, const char *token, size_t length, const struct auth_claims *claims);

#endif
