/* SPDX-License-Identifier: Apache-2.0
 * Tests of password hashing. */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "common/auth/auth.h"
#include "common/base/text.h"

enum {
    THREADS = 6,
    ROUNDS = 3,
    HASH_PASSES = 2,
    HASH_MEMORY_KIB = 19 * 1024,
};

static _Thread_local size_t verified_count;
static _Thread_local char verified[AUTH_PASSWORD_HASH_MAX];

/* Stands in the place of libsodium's, to see what it is given. */
int crypto_pwhash_str_verify(const char stored[crypto_pwhash_STRBYTES], const char *password, unsigned long long length)
{
    int (*real)(const char *, const char *, unsigned long long) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "crypto_pwhash_str_verify");
    if (real == NULL) {
        abort();
    }
    verified_count++;
    text_copy_cut(verified, sizeof(verified), stored);
    return real(stored, password, length);
}

static void hash(const char *password, char ret_hash[static AUTH_PASSWORD_HASH_MAX])
{
    struct error error = ERROR_INIT;
    if (!auth_password_hash(password, ret_hash, &error)) {
        fail_msg("%s", error.message);
    }
}

static void a_password_matches_its_hash_and_no_other(void **state UNUSED)
{
    char longest[4 * 128 + 1] = "", almost[sizeof(longest)];
    for (size_t i = 0; i < 128; i++) {
        memcpy(longest + 4 * i, "\xf0\x9f\x8e\xab", 4);
    }
    memcpy(almost, longest, sizeof(almost));
    almost[sizeof(almost) - 2] = '\xaa';
    const char *const cases[][2] = {
        {"abcd", "abce"},
        {"abcd", "ABCD"},
        {"correct horse battery staple", "correct horse battery stapl"},
        {" padded ", "padded"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbcss"},
        {longest, almost},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char stored[AUTH_PASSWORD_HASH_MAX];
        hash(cases[i][0], stored);
        assert_true(auth_password_verify(stored, cases[i][0]));
        assert_false(auth_password_verify(stored, cases[i][1]));
        assert_false(auth_password_verify(stored, ""));
    }
}

static void a_hash_says_argon2id_with_19_MiB_and_2_passes(void **state UNUSED)
{
    char stored[AUTH_PASSWORD_HASH_MAX];
    hash("abcd", stored);
    assert_true(text_starts_with(stored, "$argon2id$v=19$m=19456,t=2,p=1$"));
}

static void the_same_password_never_hashes_to_the_same(void **state UNUSED)
{
    char first[AUTH_PASSWORD_HASH_MAX], second[AUTH_PASSWORD_HASH_MAX];
    hash("abcd", first);
    hash("abcd", second);
    assert_string_not_equal(first, second);
}

static void a_hash_made_elsewhere_verifies(void **state UNUSED)
{
    /* The example of argon2-cffi's README. */
    static const char stored[] = "$argon2id$v=19$m=65536,t=3,p=4$MIIRqgvgQbgj220jfp0MPA$"
                                 "YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg";
    assert_true(auth_password_verify(stored, "correct horse battery staple"));
    assert_false(auth_password_verify(stored, "correct horse battery stable"));
}

static void what_is_no_hash_matches_nothing(void **state UNUSED)
{
    static const char *const cases[] = {"", "abcd", "$argon2id$", "$argon2id$v=19$m=19456,t=2,p=1$$",
                                        "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        assert_false(auth_password_verify(cases[i], "abcd"));
        assert_false(auth_password_verify(cases[i], ""));
    }
}

static void nobody_has_no_password_and_costs_as_much(void **state UNUSED)
{
    char stored[AUTH_PASSWORD_HASH_MAX];
    hash("abcd", stored);
    for (size_t i = 0; i < 2; i++) {
        verified_count = 0;
        assert_false(auth_password_verify(i == 0 ? stored : NULL, "wrong"));
        assert_int_equal(verified_count, 1);
        /* What the library takes its parameters from: well-formed, with the passes and the memory of our hashes. */
        assert_int_equal(crypto_pwhash_str_needs_rehash(verified, HASH_PASSES, (size_t)HASH_MEMORY_KIB * 1024), 0);
        assert_int_equal(strlen(verified), strlen(stored));
    }
    assert_string_not_equal(verified, stored);
    assert_false(auth_password_verify(NULL, ""));
}

static void *hash_and_verify(void *context)
{
    size_t *wrong = context;
    for (int i = 0; i < ROUNDS; i++) {
        char stored[AUTH_PASSWORD_HASH_MAX];
        struct error error = ERROR_INIT;
        *wrong += !auth_password_hash("abcd", stored, &error) || !auth_password_verify(stored, "abcd") ||
                  auth_password_verify(NULL, "abcd");
    }
    return NULL;
}

static int64_t most_memory_kib(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* The setup leaves one core to the process, so that two hashes at once would show in its memory. */
static void no_more_hashes_run_at_once_than_there_are_cores(void **state UNUSED)
{
    pthread_t threads[THREADS];
    size_t wrong[THREADS] = {0};
    char stored[AUTH_PASSWORD_HASH_MAX];
    hash("abcd", stored);
    int64_t before = most_memory_kib();
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hash_and_verify, &wrong[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
    assert_in_range(most_memory_kib() - before, 0, HASH_MEMORY_KIB * 3 / 4);
}

static void use_one_core(void)
{
    cpu_set_t all, one;
    int core = 0;
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    while (!CPU_ISSET(core, &all)) {
        core++;
    }
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static int setup(void **state UNUSED)
{
    use_one_core();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_password_matches_its_hash_and_no_other),
        cmocka_unit_test(a_hash_says_argon2id_with_19_MiB_and_2_passes),
        cmocka_unit_test(the_same_password_never_hashes_to_the_same),
        cmocka_unit_test(no_more_hashes_run_at_once_than_there_are_cores),
        cmocka_unit_test(a_hash_made_elsewhere_verifies),
        cmocka_unit_test(what_is_no_hash_matches_nothing),
        cmocka_unit_test(nobody_has_no_password_and_costs_as_much),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
