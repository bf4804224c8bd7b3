/* SPDX-License-Identifier: Apache-2.0
 * What the tests of auth share: a clock they set, and tokens that were not made by the code under test. */
#ifndef TURNSTILE_TESTS_AUTH_FIXTURE_H
#define TURNSTILE_TESTS_AUTH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/hmac.h>

#include "common/auth/auth.h"
#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    LIFETIME_S = 86400,
};

#define KEY       "0123456789abcdef0123456789abcdef"
#define OTHER_KEY "fedcba9876543210fedcba9876543210"
#define USER_ID   "65a1b2c3d4e5f60718293a4b"
#define EMAIL     "ann@example.com"
#define START_MS  INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define HEADER    "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define CLAIMS    "{\"id\":\"" USER_ID "\",\"email\":\"" EMAIL "\",\"iat\":1767225600,\"exp\":1767312000}"

/* Made by Node's crypto of HEADER, CLAIMS and KEY. */
#define NODE_TOKEN                                                                                                     \
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."                                                                            \
    "eyJpZCI6IjY1YTFiMmMzZDRlNWY2MDcxODI5M2E0YiIsImVtYWlsIjoiYW5uQGV4YW1wbGUuY29tIiwiaWF0IjoxNzY3MjI1NjAwLCJleHAiOjE3" \
    "NjczMTIwMDB9.xq5YzDwN7mcOfl3EIGfKDH5Fis2DL4uq42C642YI_-E"

static const struct http_identity ann = {.id = {USER_ID}, .email = EMAIL};

struct fixture {
    _Atomic int64_t moment;
    struct clock clock;
    struct auth *auth; /* signs with KEY, has no previous key */
};

static inline int64_t fixture_moment(void *context)
{
    struct fixture *fixture = context;
    return atomic_load(&fixture->moment);
}

static inline struct auth *auth_with(struct fixture *fixture, const char *key, const char *previous_key)
{
    struct auth *auth = NULL;
    struct error error = ERROR_INIT;
    const struct auth_config config = {key, previous_key, LIFETIME_S, &fixture->clock};
    if (!auth_new(&config, &auth, &error)) {
        fail_msg("%s", error.message);
    }
    return auth;
}

static inline int fixture_setup(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));
    atomic_store(&fixture->moment, START_MS);
    fixture->clock = (struct clock){.now = fixture_moment, .monotonic = fixture_moment, .context = fixture};
    fixture->auth = auth_with(fixture, KEY, NULL);
    *state = fixture;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    auth_free(&fixture->auth);
    xfree(fixture);
    return 0;
}

/* header.claims.signature, of any digest. Caller frees with xfree. */
static inline char *sign(const char *header, const char *claims, const char *key, const EVP_MD *digest)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned hash_length = 0;
    CLEANUP(free_pointer) char *first = text_to_base64url(header, strlen(header));
    CLEANUP(free_pointer) char *second = text_to_base64url(claims, strlen(claims));
    CLEANUP(free_pointer) char *signed_text = xasprintf("%s.%s", first, second);
    assert_non_null(HMAC(digest, key, (int)strlen(key), (const unsigned char *)signed_text, strlen(signed_text), hash,
                         &hash_length));
    CLEANUP(free_pointer) char *signature = text_to_base64url(hash, hash_length);
    return xasprintf("%s.%s", signed_text, signature);
}

static inline void issue(struct auth *auth, const struct http_identity *identity, char token[static AUTH_TOKEN_MAX])
{
    struct error error = ERROR_INIT;
    if (!auth_token_issue(auth, identity, token, &error)) {
        fail_msg("not issued: %s", error.message);
    }
}

static inline void assert_verifies(struct auth *auth, const char *token, const struct http_identity *expected)
{
    struct http_identity identity;
    struct error error = ERROR_INIT;
    if (!auth_token_verify(auth, token, &identity, &error)) {
        fail_msg("%s: refused: %s", token, error.message);
    }
    assert_string_equal(identity.id.hex, expected->id.hex);
    assert_string_equal(identity.email, expected->email);
}

/* Also that the outputs stay as they were, and that the reason contains `reason`. */
static inline void assert_refused(struct auth *auth, const char *token, const char *reason)
{
    struct http_identity identity, before;
    memset(&identity, 0x5a, sizeof(identity));
    before = identity;
    struct error error = ERROR_INIT;
    if (auth_token_verify(auth, token, &identity, &error)) {
        fail_msg("%s: verified", token);
    }
    assert_int_equal(error.code, ERROR_UNAUTHORIZED);
    if (strstr(error.message, reason) == NULL) {
        fail_msg("%s: refused because \"%s\", not \"%s\"", token, error.message, reason);
    }
    assert_memory_equal(&identity, &before, sizeof(identity));
}

#endif
