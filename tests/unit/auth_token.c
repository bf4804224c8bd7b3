/* SPDX-License-Identifier: Apache-2.0
 * Tests of tokens: what was issued verifies until it expires, and nothing else does. */
#include <pthread.h>

#include "tests/unit/auth_fixture.h"

enum {
    MUTATIONS = 100000,
    THREADS = 8,
    ROUNDS = 1000,
    USERS = 16,
};

static void an_issued_token_names_its_user(void **state)
{
    struct fixture *fixture = *state;
    char token[AUTH_TOKEN_MAX];
    issue(fixture->auth, &ann, token);
    assert_verifies(fixture->auth, token, &ann);
    assert_verifies(fixture->auth, token, &ann); /* from the cache */
}

static void an_issued_token_carries_id_email_iat_and_exp(void **state)
{
    struct fixture *fixture = *state;
    char token[AUTH_TOKEN_MAX];
    atomic_store(&fixture->moment, START_MS + 999);
    issue(fixture->auth, &ann, token);

    CLEANUP(free_pointer) char *copy = xstrdup(token);
    char *claims = strchr(copy, '.') + 1;
    *strchr(claims, '.') = '\0';
    CLEANUP(free_pointer) char *json = NULL;
    size_t length;
    assert_true(text_from_base64(claims, &json, &length));
    assert_non_null(strstr(json, "\"id\":\"" USER_ID "\""));
    assert_non_null(strstr(json, "\"email\":\"" EMAIL "\""));
    assert_non_null(strstr(json, "\"iat\":1767225600"));
    assert_non_null(strstr(json, "\"exp\":1767312000"));
}

static void a_token_made_by_node_verifies(void **state)
{
    struct fixture *fixture = *state;
    assert_verifies(fixture->auth, NODE_TOKEN, &ann);
    CLEANUP(free_pointer) char *own = sign(HEADER, CLAIMS, KEY, EVP_sha256());
    assert_string_equal(own, NODE_TOKEN);
}

static void the_longest_email_fits_into_a_token(void **state)
{
    struct fixture *fixture = *state;
    struct http_identity identity = ann;
    char token[AUTH_TOKEN_MAX];
    char domain[EMAIL_MAX + 1];
    memset(domain, 'b', sizeof(domain));
    for (size_t i = 60; i < sizeof(domain); i += 61) {
        domain[i] = '.';
    }
    snprintf(identity.email, sizeof(identity.email), "%.64s@%.189s",
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", domain);
    assert_int_equal(strlen(identity.email), EMAIL_MAX);
    issue(fixture->auth, &identity, token);
    assert_verifies(fixture->auth, token, &identity);
}

static void what_does_not_fit_is_not_issued(void **state)
{
    struct fixture *fixture = *state;
    struct http_identity identity = ann;
    memset(identity.email, 1, EMAIL_MAX); /* six bytes each in JSON */
    char token[AUTH_TOKEN_MAX] = "untouched";
    struct error error = ERROR_INIT;
    assert_false(auth_token_issue(fixture->auth, &identity, token, &error));
    assert_int_equal(error.code, ERROR_INTERNAL);
    assert_string_equal(token, "untouched");
}

static void a_token_is_valid_until_the_moment_it_expires(void **state)
{
    struct fixture *fixture = *state;
    const int64_t end = START_MS + INT64_C(1000) * LIFETIME_S;
    for (int cached = 0; cached <= 1; cached++) {
        CLEANUP(auth_free) struct auth *auth = auth_with(fixture, KEY, NULL);
        if (cached) {
            assert_verifies(auth, NODE_TOKEN, &ann);
        }
        atomic_store(&fixture->moment, end);
        assert_refused(auth, NODE_TOKEN, "expired");
        atomic_store(&fixture->moment, end - 1);
        assert_verifies(auth, NODE_TOKEN, &ann);
        atomic_store(&fixture->moment, end);
        assert_refused(auth, NODE_TOKEN, "expired");
        atomic_store(&fixture->moment, START_MS);
    }
}

static void a_token_is_not_valid_before_its_nbf(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(free_pointer)
    char *token = sign(HEADER, "{\"id\":\"" USER_ID "\",\"email\":\"" EMAIL "\",\"nbf\":1767225601,\"exp\":1767312000}",
                       KEY, EVP_sha256());
    assert_refused(fixture->auth, token, "not valid yet");
    atomic_store(&fixture->moment, START_MS + 1000);
    assert_verifies(fixture->auth, token, &ann);
    atomic_store(&fixture->moment, START_MS + 999);
    assert_refused(fixture->auth, token, "not valid yet"); /* from the cache too */
}

static void iat_is_not_looked_at(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(free_pointer)
    char *token = sign(HEADER, "{\"id\":\"" USER_ID "\",\"email\":\"" EMAIL "\",\"iat\":\"soon\",\"exp\":1767312000}",
                       KEY, EVP_sha256());
    assert_verifies(fixture->auth, token, &ann);
}

static void refuses_claims_that_are_missing_or_wrong(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *claims, *reason;
    } cases[] = {
        {"{\"email\":\"" EMAIL "\",\"exp\":1767312000}", "id"},
        {"{\"id\":\"65a1b2c3d4e5f60718293a4\",\"email\":\"" EMAIL "\",\"exp\":1767312000}", "id"},
        {"{\"id\":\"65a1b2c3d4e5f60718293a4g\",\"email\":\"" EMAIL "\",\"exp\":1767312000}", "id"},
        {"{\"id\":7,\"email\":\"" EMAIL "\",\"exp\":1767312000}", "id"},
        {"{\"id\":\"" USER_ID "\",\"exp\":1767312000}", "email"},
        {"{\"id\":\"" USER_ID "\",\"email\":\"\",\"exp\":1767312000}", "email"},
        {"{\"id\":\"" USER_ID "\",\"email\":null,\"exp\":1767312000}", "email"},
        {"{\"id\":\"" USER_ID "\",\"email\":\"" EMAIL "\"}", "exp"},
        {"{\"id\":\"" USER_ID "\",\"email\":\"" EMAIL "\",\"exp\":\"1767312000\"}", "exp"},
        {"{\"id\":\"" USER_ID "\",\"email\":\"" EMAIL "\",\"exp\":0}", "exp"},
        {"{\"id\":\"" USER_ID "\",\"email\":\"" EMAIL "\",\"exp\":-1}", "exp"},
        {"{\"id\":\"" USER_ID "\",\"email\":\"" EMAIL "\",\"exp\":1767312000.5}", "exp"},
        {"{\"id\":\"" USER_ID "\",\"email\":\"" EMAIL "\",\"exp\":1767312000000}", "exp"},
        {"{\"id\":\"" USER_ID "\",\"email\":\"" EMAIL "\",\"nbf\":\"now\",\"exp\":1767312000}", "nbf"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(free_pointer) char *token = sign(HEADER, cases[i].claims, KEY, EVP_sha256());
        CLEANUP(free_pointer) char *reason = xasprintf("claims: %s:", cases[i].reason);
        assert_refused(fixture->auth, token, reason);
    }
}

static void refuses_claims_that_are_not_one_object(void **state)
{
    struct fixture *fixture = *state;
    static const char *const cases[] = {"[]", "7", "{", CLAIMS "{}",
                                        "{\"exp\":1767312000,"
                                        "\"exp\":1767312000}"};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(free_pointer) char *token = sign(HEADER, cases[i], KEY, EVP_sha256());
        CLEANUP(free_pointer) char *with_key = sign(HEADER, cases[i], OTHER_KEY, EVP_sha256());
        assert_refused(fixture->auth, token, "token");
        assert_refused(fixture->auth, with_key, "signature");
    }
}

static void refuses_every_algorithm_but_HS256(void **state)
{
    struct fixture *fixture = *state;
    static const char *const algorithms[] = {"none",  "None",  "NONE",  "HS384", "HS512",  "RS256", "RS384",
                                             "RS512", "ES256", "PS256", "hs256", "HS256 ", "",      "EdDSA"};
    for (size_t i = 0; i < ARRAY_LENGTH(algorithms); i++) {
        CLEANUP(free_pointer) char *header = xasprintf("{\"alg\":\"%s\",\"typ\":\"JWT\"}", algorithms[i]);
        CLEANUP(free_pointer) char *token = sign(header, CLAIMS, KEY, EVP_sha256());
        assert_refused(fixture->auth, token, "algorithm");
    }
}

static void refuses_longer_hashes_with_the_right_key(void **state)
{
    struct fixture *fixture = *state;
    const EVP_MD *digests[] = {EVP_sha384(), EVP_sha512(), EVP_sha224()};
    static const char *const headers[] = {"{\"alg\":\"HS384\",\"typ\":\"JWT\"}", "{\"alg\":\"HS512\",\"typ\":\"JWT\"}",
                                          HEADER};
    for (size_t i = 0; i < ARRAY_LENGTH(digests); i++) {
        CLEANUP(free_pointer) char *token = sign(headers[i], CLAIMS, KEY, digests[i]);
        assert_refused(fixture->auth, token, "token");
    }
}

static void refuses_an_unsigned_token(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(free_pointer) char *token = sign("{\"alg\":\"none\"}", CLAIMS, KEY, EVP_sha256());
    strrchr(token, '.')[1] = '\0';
    assert_refused(fixture->auth, token, "not a signed token");
    *strrchr(token, '.') = '\0';
    assert_refused(fixture->auth, token, "not a signed token");
}

static void refuses_headers_that_are_broken_or_demand_extensions(void **state)
{
    struct fixture *fixture = *state;
    static const char *const headers[] = {"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}",
                                          "{\"typ\":\"JWT\"}",
                                          "{\"alg\":256}",
                                          "{\"alg\":null}",
                                          "{\"alg\":\"none\",\"alg\":\"HS256\"}",
                                          "{\"alg\":\"HS256\",\"alg\":\"none\"}",
                                          "\"HS256\"",
                                          "{\"alg\":\"HS256\""};
    for (size_t i = 0; i < ARRAY_LENGTH(headers); i++) {
        CLEANUP(free_pointer) char *token = sign(headers[i], CLAIMS, KEY, EVP_sha256());
        assert_refused(fixture->auth, token, "token");
    }
    CLEANUP(free_pointer) char *without_typ = sign("{\"alg\":\"HS256\"}", CLAIMS, KEY, EVP_sha256());
    assert_verifies(fixture->auth, without_typ, &ann);
}

static void refuses_another_key(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(free_pointer) char *token = sign(HEADER, CLAIMS, OTHER_KEY, EVP_sha256());
    assert_refused(fixture->auth, token, "signature");
}

static void refuses_parts_of_two_tokens_put_together(void **state)
{
    struct fixture *fixture = *state;
    struct http_identity bob = {.id = {"65a1b2c3d4e5f60718293a4c"}, .email = "bob@example.com"};
    char token[AUTH_TOKEN_MAX];
    issue(fixture->auth, &bob, token);
    assert_verifies(fixture->auth, token, &bob);
    assert_verifies(fixture->auth, NODE_TOKEN, &ann);

    size_t length = (size_t)(strrchr(NODE_TOKEN, '.') - NODE_TOKEN);
    CLEANUP(free_pointer) char *mixed = xasprintf("%.*s%s", (int)length, NODE_TOKEN, strrchr(token, '.'));
    assert_refused(fixture->auth, mixed, "signature");
}

static void refuses_what_is_no_token(void **state)
{
    struct fixture *fixture = *state;
    static const char *const cases[] = {"",
                                        ".",
                                        "..",
                                        "...",
                                        "a.b",
                                        "a.b.c",
                                        "a.b.c.d",
                                        "null",
                                        "undefined",
                                        NODE_TOKEN ".",
                                        "." NODE_TOKEN,
                                        NODE_TOKEN " ",
                                        " " NODE_TOKEN,
                                        NODE_TOKEN "=",
                                        NODE_TOKEN "\n",
                                        "Bearer " NODE_TOKEN,
                                        "\xff\xfe.\x80.\x01"};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        assert_refused(fixture->auth, cases[i], "not a signed token");
    }
}

static void refuses_a_token_that_is_too_long(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(free_pointer) char *padding = xcalloc(1, 2 * AUTH_TOKEN_MAX);
    memset(padding, 'x', 2 * AUTH_TOKEN_MAX - 1);
    CLEANUP(free_pointer)
    char *claims =
        xasprintf("{\"x\":\"%s\",\"id\":\"" USER_ID "\",\"email\":\"" EMAIL "\",\"exp\":1767312000}", padding);
    CLEANUP(free_pointer) char *token = sign(HEADER, claims, KEY, EVP_sha256());
    assert_refused(fixture->auth, token, "longer");
}

static void the_previous_key_verifies_and_does_not_sign(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(auth_free) struct auth *rotated = auth_with(fixture, OTHER_KEY, KEY);
    CLEANUP(auth_free) struct auth *later = auth_with(fixture, OTHER_KEY, "");
    char before[AUTH_TOKEN_MAX], after[AUTH_TOKEN_MAX];
    issue(fixture->auth, &ann, before);
    issue(rotated, &ann, after);

    assert_verifies(rotated, before, &ann);
    assert_verifies(rotated, after, &ann);
    assert_verifies(later, after, &ann);
    assert_refused(later, before, "signature");
    assert_refused(fixture->auth, after, "signature");
}

static void short_keys_are_refused(void **state UNUSED)
{
    struct auth *auth = NULL;
    struct error error = ERROR_INIT;
    const struct auth_config cases[] = {
        {.key = NULL, .lifetime_s = LIFETIME_S},
        {.key = "", .lifetime_s = LIFETIME_S},
        {.key = "0123456789abcdef0123456789abcde", .lifetime_s = LIFETIME_S},
        {.key = KEY, .previous_key = "0123456789abcdef0123456789abcde", .lifetime_s = LIFETIME_S},
        {.key = KEY, .lifetime_s = 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        error = ERROR_INIT;
        assert_false(auth_new(&cases[i], &auth, &error));
        assert_int_equal(error.code, ERROR_INVALID);
        assert_null(auth);
    }
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* One change somewhere: another byte, a byte more or less, a cut, a piece repeated, two bytes swapped. */
static void mutate(char *text, size_t size, uint64_t *seed)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \x01\xc3";
    size_t length = strlen(text);
    size_t at = (size_t)(next_random(seed) % length);
    size_t other = (size_t)(next_random(seed) % length);
    char byte = alphabet[next_random(seed) % (sizeof(alphabet) - 1)];
    switch (next_random(seed) % 6) {
    case 0:
        text[at] = byte;
        break;
    case 1:
        text[at] = (char)(text[at] ^ (1 << next_random(seed) % 8));
        break;
    case 2:
        memmove(text + at, text + at + 1, length - at);
        break;
    case 3:
        if (length + 1 < size) {
            memmove(text + at + 1, text + at, length - at + 1);
            text[at] = byte;
        }
        break;
    case 4:
        text[at] = text[other];
        break;
    default:
        if (at > 0 && next_random(seed) % 8 == 0) {
            text[at] = '\0';
        } else {
            byte = text[at];
            text[at] = text[other];
            text[other] = byte;
        }
        break;
    }
}

static void no_mutation_of_a_token_verifies(void **state)
{
    struct fixture *fixture = *state;
    uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);
    size_t changed = 0;
    assert_verifies(fixture->auth, NODE_TOKEN, &ann);
    for (int i = 0; i < MUTATIONS; i++) {
        char token[AUTH_TOKEN_MAX] = NODE_TOKEN;
        struct http_identity identity;
        for (uint64_t count = 1 + next_random(&seed) % 3; count > 0 && token[0] != '\0'; count--) {
            mutate(token, sizeof(token), &seed);
        }
        bool same = text_equal(token, NODE_TOKEN);
        changed += !same;
        if (auth_token_verify(fixture->auth, token, &identity, NULL) != same) {
            fail_msg("mutation %d: %s: %s", i, same ? "refused" : "verified", token);
        }
    }
    assert_true(changed > MUTATIONS / 10 * 9);
}

static void many_tokens_at_once_keep_their_users(void **state)
{
    struct fixture *fixture = *state;
    enum { TOKENS = 2 * AUTH_CACHE_SIZE };
    char(*tokens)[AUTH_TOKEN_MAX] = xcalloc(TOKENS, sizeof(*tokens));
    struct http_identity identity = ann;
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < TOKENS; i++) {
            snprintf(identity.id.hex, sizeof(identity.id.hex), "%024x", i);
            snprintf(identity.email, sizeof(identity.email), "user%u@example.com", i);
            if (round == 0) {
                issue(fixture->auth, &identity, tokens[i]);
            }
            assert_verifies(fixture->auth, tokens[i], &identity);
        }
    }
    xfree(tokens);
}

struct worker {
    struct fixture *fixture;
    char (*tokens)[AUTH_TOKEN_MAX];
    uint64_t seed;
    size_t wrong;
};

static void *verify_at_random(void *context)
{
    struct worker *worker = context;
    for (int i = 0; i < ROUNDS; i++) {
        size_t user = (size_t)(next_random(&worker->seed) % USERS);
        char token[AUTH_TOKEN_MAX], expected[ID_LENGTH + 1];
        struct http_identity identity;
        memcpy(token, worker->tokens[user], sizeof(token));
        bool broken = next_random(&worker->seed) % 8 == 0;
        if (broken) {
            token[0] = 'X';
        }
        snprintf(expected, sizeof(expected), "%024zx", user);
        bool verified = auth_token_verify(worker->fixture->auth, token, &identity, NULL);
        worker->wrong += verified == broken || (verified && !text_equal(identity.id.hex, expected));
        if (i % 100 == 0) {
            struct error error = ERROR_INIT;
            worker->wrong += !auth_token_issue(worker->fixture->auth, &ann, token, &error);
        }
    }
    return NULL;
}

static void threads_verify_and_issue_side_by_side(void **state)
{
    struct fixture *fixture = *state;
    static char tokens[USERS][AUTH_TOKEN_MAX];
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    struct http_identity identity = ann;
    for (size_t i = 0; i < USERS; i++) {
        snprintf(identity.id.hex, sizeof(identity.id.hex), "%024zx", i);
        issue(fixture->auth, &identity, tokens[i]);
    }
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.fixture = fixture, .tokens = tokens, .seed = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, verify_at_random, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(an_issued_token_names_its_user),
        WITH_FIXTURE(an_issued_token_carries_id_email_iat_and_exp),
        WITH_FIXTURE(a_token_made_by_node_verifies),
        WITH_FIXTURE(the_longest_email_fits_into_a_token),
        WITH_FIXTURE(what_does_not_fit_is_not_issued),
        WITH_FIXTURE(a_token_is_valid_until_the_moment_it_expires),
        WITH_FIXTURE(a_token_is_not_valid_before_its_nbf),
        WITH_FIXTURE(iat_is_not_looked_at),
        WITH_FIXTURE(refuses_claims_that_are_missing_or_wrong),
        WITH_FIXTURE(refuses_claims_that_are_not_one_object),
        WITH_FIXTURE(refuses_every_algorithm_but_HS256),
        WITH_FIXTURE(refuses_longer_hashes_with_the_right_key),
        WITH_FIXTURE(refuses_an_unsigned_token),
        WITH_FIXTURE(refuses_headers_that_are_broken_or_demand_extensions),
        WITH_FIXTURE(refuses_another_key),
        WITH_FIXTURE(refuses_parts_of_two_tokens_put_together),
        WITH_FIXTURE(refuses_what_is_no_token),
        WITH_FIXTURE(refuses_a_token_that_is_too_long),
        WITH_FIXTURE(the_previous_key_verifies_and_does_not_sign),
        cmocka_unit_test(short_keys_are_refused),
        WITH_FIXTURE(no_mutation_of_a_token_verifies),
        WITH_FIXTURE(many_tokens_at_once_keep_their_users),
        WITH_FIXTURE(threads_verify_and_issue_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
