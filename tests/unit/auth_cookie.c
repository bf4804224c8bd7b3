/* SPDX-License-Identifier: Apache-2.0
 * Tests of the session cookie and of who a request comes from. */
#include "tests/unit/auth_fixture.h"

/* Made by Node: Buffer.from(JSON.stringify({jwt: NODE_TOKEN})).toString("base64"), as cookie-session does it. */
#define NODE_COOKIE                                                                                                    \
    "eyJqd3QiOiJleUpoYkdjaU9pSklVekkxTmlJc0luUjVjQ0k2SWtwWFZDSjkuZXlKcFpDSTZJalkxWVRGaU1tTXpaRFJsTldZMk1EY3hPREk1TTJF" \
    "MFlpSXNJbVZ0WVdsc0lqb2lZVzV1UUdWNFlXMXdiR1V1WTI5dElpd2lhV0YwSWpveE56WTNNakkxTmpBd0xDSmxlSEFpT2pFM05qY3pNVEl3TURC" \
    "OS54cTVZekR3TjdtY09mbDNFSUdmS0RINUZpczJETDR1cTQyQzY0MllJXy1FIn0="

static void a_cookie_is_what_node_makes_of_the_token(void **state UNUSED)
{
    char value[AUTH_COOKIE_MAX];
    assert_true(auth_cookie_print(NODE_TOKEN, value));
    assert_string_equal(value, NODE_COOKIE);
    assert_true(auth_cookie_print("a.b.c", value));
    assert_string_equal(value, "eyJqd3QiOiJhLmIuYyJ9");
}

static void a_cookie_gives_its_token_back(void **state UNUSED)
{
    char token[AUTH_TOKEN_MAX];
    assert_true(auth_cookie_parse(NODE_COOKIE, token));
    assert_string_equal(token, NODE_TOKEN);
}

static void the_longest_token_fits_into_a_cookie(void **state UNUSED)
{
    char longest[AUTH_TOKEN_MAX + 1], value[AUTH_COOKIE_MAX] = "untouched", token[AUTH_TOKEN_MAX];
    memset(longest, 'x', AUTH_TOKEN_MAX);
    longest[AUTH_TOKEN_MAX] = '\0';
    assert_false(auth_cookie_print(longest, value));
    assert_string_equal(value, "untouched");
    longest[AUTH_TOKEN_MAX - 1] = '\0';
    assert_true(auth_cookie_print(longest, value));
    assert_true(auth_cookie_parse(value, token));
    assert_string_equal(token, longest);
}

static void nothing_is_not_put_into_a_cookie(void **state UNUSED)
{
    char value[AUTH_COOKIE_MAX] = "untouched";
    assert_false(auth_cookie_print("", value));
    assert_string_equal(value, "untouched");
}

static void reads_both_alphabets_padded_or_not_and_ignores_other_members(void **state UNUSED)
{
    /* The note is where the alphabets differ. */
    static const char json[] = "{\"views\":7,\"note\":\"~?>~?>~?>\",\"jwt\":\"a.b.c\",\"more\":{\"x\":[1]}}";
    char token[AUTH_TOKEN_MAX];
    CLEANUP(free_pointer) char *standard = text_to_base64(json, strlen(json));
    CLEANUP(free_pointer) char *url = text_to_base64url(json, strlen(json));
    CLEANUP(free_pointer) char *unpadded = xstrndup(standard, strcspn(standard, "="));
    assert_true(strpbrk(standard, "+/") != NULL && strpbrk(url, "-_") != NULL);
    const char *const values[] = {standard, url, unpadded};
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        memset(token, 0, sizeof(token));
        assert_true(auth_cookie_parse(values[i], token));
        assert_string_equal(token, "a.b.c");
    }
}

static void reads_json_however_it_is_written(void **state UNUSED)
{
    static const char *const contents[] = {
        "{\"jwt\":\"a.b.c\"}",
        "{ \"jwt\": \"a.b.c\" }",
        "{\"jwt\":\"\\u0061.b.c\"}",
        "\n{\"jwt\":\"a.b.c\"}\n",
        "{\"jwt\":\"a.b.c\",\"x\":\"y\"}",
        "{\"\\u006awt\":\"a.b.c\"}",
        "{\"x\":\"y\",\"jwt\":\"a.b.c\"}",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(contents); i++) {
        CLEANUP(free_pointer) char *value = text_to_base64(contents[i], strlen(contents[i]));
        char token[AUTH_TOKEN_MAX] = "";
        if (!auth_cookie_parse(value, token)) {
            fail_msg("refused: %s", contents[i]);
        }
        assert_string_equal(token, "a.b.c");
    }
}

static void refuses_cookies_that_hold_no_token(void **state UNUSED)
{
    static const char *const contents[] = {"",
                                           "{}",
                                           "[]",
                                           "null",
                                           "a.b.c",
                                           "{\"jwt\":null}",
                                           "{\"jwt\":\"\"}",
                                           "{\"jwt\":7}",
                                           "{\"jwt\":[\"a.b.c\"]}",
                                           "{\"JWT\":\"a.b.c\"}",
                                           "{\"jwt\":\"a.b.c\"",
                                           "{\"jwt\":\"a.b.c\"}x",
                                           "{\"jwt\":\"a.b.c\\u0000\"}",
                                           "{\"jwt\":\"a.b.c\\n\"}",
                                           "{\"jwt\":\"a.b.c\",\"jwt\":\"d.e.f\"}",
                                           "{\"jwt\":\"\xff\"}"};
    char token[AUTH_TOKEN_MAX] = "untouched";
    for (size_t i = 0; i < ARRAY_LENGTH(contents); i++) {
        CLEANUP(free_pointer) char *value = text_to_base64(contents[i], strlen(contents[i]));
        if (auth_cookie_parse(value, token)) {
            fail_msg("accepted: %s", contents[i]);
        }
    }
    static const char *const values[] = {"%", "{\"jwt\":\"a.b.c\"}", "eyJqd3QiOiJhLmIuYyJ9 ",
                                         "eyJqd3QiOiJhLmIuYyJ9=", "\x01"};
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        if (auth_cookie_parse(values[i], token)) {
            fail_msg("accepted: %s", values[i]);
        }
    }
    assert_string_equal(token, "untouched");
}

static void refuses_cookies_that_are_too_long(void **state UNUSED)
{
    char token[AUTH_TOKEN_MAX] = "untouched";
    CLEANUP(free_pointer) char *filler = xcalloc(1, AUTH_COOKIE_MAX);
    memset(filler, 'x', AUTH_COOKIE_MAX - 1);
    CLEANUP(free_pointer) char *long_member = xasprintf("{\"x\":\"%s\",\"jwt\":\"a.b.c\"}", filler);
    filler[AUTH_TOKEN_MAX] = '\0';
    CLEANUP(free_pointer) char *long_token = xasprintf("{\"jwt\":\"%s\"}", filler);
    CLEANUP(free_pointer) char *first = text_to_base64(long_member, strlen(long_member));
    CLEANUP(free_pointer) char *second = text_to_base64(long_token, strlen(long_token));
    assert_false(auth_cookie_parse(first, token));
    assert_false(auth_cookie_parse(second, token));
    assert_string_equal(token, "untouched");
}

static void a_bearer_token_or_a_cookie_says_who_it_is(void **state)
{
    struct fixture *fixture = *state;
    struct http_identity identity;
    assert_true(auth_authenticate(NODE_TOKEN, NULL, &identity, fixture->auth));
    assert_string_equal(identity.id.hex, USER_ID);
    memset(&identity, 0, sizeof(identity));
    assert_true(auth_authenticate(NULL, NODE_COOKIE, &identity, fixture->auth));
    assert_string_equal(identity.id.hex, USER_ID);
    assert_string_equal(identity.email, EMAIL);
}

static void nobody_is_signed_in_without_either(void **state)
{
    struct fixture *fixture = *state;
    struct http_identity identity;
    assert_false(auth_authenticate(NULL, NULL, &identity, fixture->auth));
    assert_false(auth_authenticate(NULL, "", &identity, fixture->auth));
    assert_false(auth_authenticate(NULL, NODE_TOKEN, &identity, fixture->auth));
    assert_false(auth_authenticate(NODE_COOKIE, NULL, &identity, fixture->auth));
}

static void the_bearer_token_wins_over_the_cookie(void **state)
{
    struct fixture *fixture = *state;
    struct http_identity identity, bob = {.id = {"65a1b2c3d4e5f60718293a4c"}, .email = "bob@example.com"};
    char token[AUTH_TOKEN_MAX];
    issue(fixture->auth, &bob, token);
    assert_true(auth_authenticate(token, NODE_COOKIE, &identity, fixture->auth));
    assert_string_equal(identity.id.hex, bob.id.hex);
}

static void a_bad_bearer_token_is_not_made_good_by_a_cookie(void **state)
{
    struct fixture *fixture = *state;
    struct http_identity identity;
    CLEANUP(free_pointer) char *forged = sign(HEADER, CLAIMS, OTHER_KEY, EVP_sha256());
    assert_false(auth_authenticate("", NODE_COOKIE, &identity, fixture->auth));
    assert_false(auth_authenticate("nonsense", NODE_COOKIE, &identity, fixture->auth));
    assert_false(auth_authenticate(forged, NODE_COOKIE, &identity, fixture->auth));
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cookie_is_what_node_makes_of_the_token),
        cmocka_unit_test(a_cookie_gives_its_token_back),
        cmocka_unit_test(the_longest_token_fits_into_a_cookie),
        cmocka_unit_test(nothing_is_not_put_into_a_cookie),
        cmocka_unit_test(reads_both_alphabets_padded_or_not_and_ignores_other_members),
        cmocka_unit_test(reads_json_however_it_is_written),
        cmocka_unit_test(refuses_cookies_that_hold_no_token),
        cmocka_unit_test(refuses_cookies_that_are_too_long),
        WITH_FIXTURE(a_bearer_token_or_a_cookie_says_who_it_is),
        WITH_FIXTURE(nobody_is_signed_in_without_either),
        WITH_FIXTURE(the_bearer_token_wins_over_the_cookie),
        WITH_FIXTURE(a_bad_bearer_token_is_not_made_good_by_a_cookie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
