/* SPDX-License-Identifier: Apache-2.0
 * Tests of the cache of verified tokens. */
#include "common/auth/cache.h"
#include "tests/unit/auth_fixture.h"

enum {
    FEW = AUTH_CACHE_SIZE / 4,
    MANY = 4 * AUTH_CACHE_SIZE,
};

static struct auth_claims claims_of(unsigned number)
{
    struct auth_claims claims = {.identity = ann, .expires_s = 1000 + number};
    snprintf(claims.identity.id.hex, sizeof(claims.identity.id.hex), "%024x", number);
    return claims;
}

static size_t token_of(unsigned number, char token[static AUTH_TOKEN_MAX])
{
    return (size_t)snprintf(token, AUTH_TOKEN_MAX, "header.payload.%u", number);
}

static void put(struct auth_cache *cache, unsigned number)
{
    char token[AUTH_TOKEN_MAX];
    size_t length = token_of(number, token);
    struct auth_claims claims = claims_of(number);
    auth_cache_put(cache, token, length, &claims);
}

/* True if it is there; then it is the right one. */
static bool has(struct auth_cache *cache, unsigned number)
{
    char token[AUTH_TOKEN_MAX];
    size_t length = token_of(number, token);
    struct auth_claims expected = claims_of(number), found;
    if (!auth_cache_get(cache, token, length, &found)) {
        return false;
    }
    assert_string_equal(found.identity.id.hex, expected.identity.id.hex);
    assert_string_equal(found.identity.email, expected.identity.email);
    assert_int_equal(found.expires_s, expected.expires_s);
    return true;
}

static void what_was_put_is_found_and_nothing_else(void **state UNUSED)
{
    CLEANUP(auth_cache_free) struct auth_cache *cache = auth_cache_new();
    struct auth_claims found;
    assert_false(has(cache, 12));
    put(cache, 12);
    assert_true(has(cache, 12));
    assert_false(has(cache, 1));
    assert_false(has(cache, 123));
    assert_false(auth_cache_get(cache, "header.payload.12", strlen("header.payload.1"), &found));
    assert_false(auth_cache_get(cache, "Header.payload.12", strlen("header.payload.12"), &found));
    assert_false(auth_cache_get(cache, "", 0, &found));
}

static void what_is_put_again_replaces_what_was_there(void **state UNUSED)
{
    CLEANUP(auth_cache_free) struct auth_cache *cache = auth_cache_new();
    struct auth_claims claims = claims_of(1), found;
    for (int i = 0; i < 100; i++) {
        claims.expires_s = 5000 + i;
        auth_cache_put(cache, "token", strlen("token"), &claims);
    }
    assert_true(auth_cache_get(cache, "token", strlen("token"), &found));
    assert_int_equal(found.expires_s, 5099);
}

static void a_part_of_its_size_is_all_remembered(void **state UNUSED)
{
    /* The sets are chosen at random, so now and then one is full before the others. */
    CLEANUP(auth_cache_free) struct auth_cache *cache = auth_cache_new();
    unsigned found = 0;
    for (unsigned i = 0; i < FEW; i++) {
        put(cache, i);
    }
    for (unsigned i = 0; i < FEW; i++) {
        found += has(cache, i);
    }
    assert_in_range(found, FEW / 10 * 9, FEW);
}

static void never_holds_more_than_its_size(void **state UNUSED)
{
    CLEANUP(auth_cache_free) struct auth_cache *cache = auth_cache_new();
    unsigned found = 0;
    for (unsigned i = 0; i < MANY; i++) {
        put(cache, i);
        assert_true(has(cache, i));
    }
    for (unsigned i = 0; i < MANY; i++) {
        found += has(cache, i);
    }
    assert_in_range(found, AUTH_CACHE_SIZE / 10 * 9, AUTH_CACHE_SIZE);
}

static void what_is_in_use_stays_while_others_come_and_go(void **state UNUSED)
{
    CLEANUP(auth_cache_free) struct auth_cache *cache = auth_cache_new();
    put(cache, 0);
    for (unsigned i = 1; i < MANY; i++) {
        put(cache, i);
        assert_true(has(cache, 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_and_nothing_else),
        cmocka_unit_test(what_is_put_again_replaces_what_was_there),
        cmocka_unit_test(a_part_of_its_size_is_all_remembered),
        cmocka_unit_test(never_holds_more_than_its_size),
        cmocka_unit_test(what_is_in_use_stays_while_others_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
