/* SPDX-License-Identifier: Apache-2.0
 * Tests of the rate limits. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "services/auth/limiter.h"

enum {
    LIMIT = 10,
    STEP_MS = LIMITER_WINDOW_MS / LIMIT, /* one attempt comes back */
    FLOOD = 20 * LIMITER_ENTRIES,
    THREADS = 8,
    ROUNDS = 1000,
};

struct fixture {
    _Atomic int64_t moment;
    struct clock clock;
    struct limiter *limiter; /* LIMIT attempts a window */
};

static int64_t fixture_moment(void *context)
{
    struct fixture *fixture = context;
    return atomic_load(&fixture->moment);
}

static struct limiter *limiter_of(struct fixture *fixture, int64_t limit)
{
    const struct limiter_config config = {limit, LIMITER_WINDOW_MS, &fixture->clock};
    return limiter_new(&config);
}

static int setup(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));
    fixture->clock = (struct clock){.now = fixture_moment, .monotonic = fixture_moment, .context = fixture};
    atomic_store(&fixture->moment, 5000);
    fixture->limiter = limiter_of(fixture, LIMIT);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    limiter_free(&fixture->limiter);
    xfree(fixture);
    return 0;
}

/* The seconds to wait, 0 if an attempt is allowed. */
static int64_t wait_of(struct limiter *limiter, const char *key)
{
    int64_t wait = -1;
    if (limiter_allows(limiter, key, &wait)) {
        assert_int_equal(wait, -1);
        return 0;
    }
    assert_true(wait >= 1);
    return wait;
}

static void count_times(struct limiter *limiter, const char *key, int times)
{
    for (int i = 0; i < times; i++) {
        limiter_count(limiter, key);
    }
}

static void ten_failures_are_allowed_and_then_one_must_wait(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < LIMIT; i++) {
        assert_int_equal(wait_of(fixture->limiter, "ann"), 0);
        limiter_count(fixture->limiter, "ann");
    }
    assert_int_equal(wait_of(fixture->limiter, "ann"), STEP_MS / 1000);
    assert_int_equal(wait_of(fixture->limiter, "bob"), 0);
    assert_int_equal(wait_of(fixture->limiter, "an"), 0);
    assert_int_equal(wait_of(fixture->limiter, ""), 0);
}

static void asking_counts_nothing(void **state)
{
    struct fixture *fixture = *state;
    count_times(fixture->limiter, "ann", LIMIT - 1);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(wait_of(fixture->limiter, "ann"), 0);
    }
    count_times(fixture->limiter, "ann", 1);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(wait_of(fixture->limiter, "ann"), STEP_MS / 1000);
    }
}

static void the_wait_that_is_told_is_the_wait_that_is_needed(void **state)
{
    struct fixture *fixture = *state;
    count_times(fixture->limiter, "ann", LIMIT);
    atomic_fetch_add(&fixture->moment, STEP_MS - 1);
    assert_int_equal(wait_of(fixture->limiter, "ann"), 1);
    atomic_fetch_add(&fixture->moment, 1);
    assert_int_equal(wait_of(fixture->limiter, "ann"), 0);
    limiter_count(fixture->limiter, "ann");
    assert_int_equal(wait_of(fixture->limiter, "ann"), STEP_MS / 1000);
}

static void after_a_window_all_attempts_are_back(void **state)
{
    struct fixture *fixture = *state;
    count_times(fixture->limiter, "ann", LIMIT);
    atomic_fetch_add(&fixture->moment, LIMITER_WINDOW_MS);
    int allowed = 0;
    while (wait_of(fixture->limiter, "ann") == 0) {
        limiter_count(fixture->limiter, "ann");
        allowed++;
    }
    assert_int_equal(allowed, LIMIT);
}

static void whoever_keeps_trying_gets_the_limit_a_window(void **state)
{
    struct fixture *fixture = *state;
    int allowed = 0;
    int64_t wait;
    for (int second = 0; second < 60 * 60; second++) {
        for (int i = 0; i < 5; i++) {
            allowed += limiter_take(fixture->limiter, "ann", &wait);
        }
        atomic_fetch_add(&fixture->moment, 1000);
    }
    assert_in_range(allowed, 60 * LIMIT, 61 * LIMIT);
}

static void taking_counts_only_what_is_allowed(void **state)
{
    struct fixture *fixture = *state;
    int64_t wait = -1;
    for (int i = 0; i < LIMIT; i++) {
        assert_true(limiter_take(fixture->limiter, "ann", &wait));
        assert_int_equal(wait, -1);
    }
    for (int i = 0; i < 100; i++) {
        assert_false(limiter_take(fixture->limiter, "ann", &wait));
        assert_int_equal(wait, STEP_MS / 1000);
    }
}

static void attempts_side_by_side_are_paid_for_afterwards(void **state)
{
    struct fixture *fixture = *state;
    count_times(fixture->limiter, "ann", 3 * LIMIT);
    assert_int_equal(wait_of(fixture->limiter, "ann"), (2 * LIMITER_WINDOW_MS + STEP_MS) / 1000);
    atomic_fetch_add(&fixture->moment, 2 * LIMITER_WINDOW_MS + STEP_MS);
    assert_int_equal(wait_of(fixture->limiter, "ann"), 0);
    limiter_count(fixture->limiter, "ann");
    assert_int_equal(wait_of(fixture->limiter, "ann"), STEP_MS / 1000);
}

static void nobody_is_shut_out_for_longer_than_a_few_windows(void **state)
{
    struct fixture *fixture = *state;
    count_times(fixture->limiter, "ann", 100000);
    atomic_fetch_add(&fixture->moment, LIMITER_DEBT_WINDOWS * LIMITER_WINDOW_MS);
    assert_int_equal(wait_of(fixture->limiter, "ann"), 0);
}

static void a_success_forgets_the_failures(void **state)
{
    struct fixture *fixture = *state;
    count_times(fixture->limiter, "ann", LIMIT);
    count_times(fixture->limiter, "bob", LIMIT);
    limiter_reset(fixture->limiter, "ann");
    limiter_reset(fixture->limiter, "nobody");
    assert_int_equal(wait_of(fixture->limiter, "ann"), 0);
    assert_int_equal(wait_of(fixture->limiter, "bob"), STEP_MS / 1000);
    count_times(fixture->limiter, "ann", LIMIT);
    assert_int_equal(wait_of(fixture->limiter, "ann"), STEP_MS / 1000);
}

static void limits_that_do_not_divide_a_window_hold_too(void **state)
{
    struct fixture *fixture = *state;
    static const int64_t limits[] = {1, 7, 300, 59999, 1000000};
    for (size_t i = 0; i < ARRAY_LENGTH(limits); i++) {
        CLEANUP(limiter_free) struct limiter *limiter = limiter_of(fixture, limits[i]);
        int64_t allowed = 0, wait;
        while (limiter_take(limiter, "ann", &wait)) {
            allowed++;
        }
        assert_int_equal(allowed, limits[i]);
        assert_in_range(wait, 1, LIMITER_WINDOW_MS / 1000);
    }
}

static void a_flood_of_new_keys_does_not_reset_who_is_at_the_limit(void **state)
{
    struct fixture *fixture = *state;
    char key[32];
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "limited-%d", i);
        count_times(fixture->limiter, key, LIMIT);
    }
    for (int i = 0; i < FLOOD; i++) {
        snprintf(key, sizeof(key), "flood-%d", i);
        limiter_count(fixture->limiter, key);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "limited-%d", i);
        if (wait_of(fixture->limiter, key) == 0) {
            fail_msg("%s was forgotten", key);
        }
    }
}

static void new_keys_are_counted_while_the_table_is_full(void **state)
{
    struct fixture *fixture = *state;
    char key[32];
    for (int i = 0; i < 4 * LIMITER_ENTRIES; i++) {
        snprintf(key, sizeof(key), "heavy-%d", i);
        count_times(fixture->limiter, key, LIMIT / 2);
    }
    int64_t wait;
    int allowed = 0;
    while (limiter_take(fixture->limiter, "ann", &wait)) {
        allowed++;
    }
    assert_int_equal(allowed, LIMIT);
}

static void what_ran_out_makes_room(void **state)
{
    struct fixture *fixture = *state;
    char key[32];
    for (int i = 0; i < FLOOD; i++) {
        snprintf(key, sizeof(key), "old-%d", i);
        count_times(fixture->limiter, key, 2);
    }
    atomic_fetch_add(&fixture->moment, LIMITER_WINDOW_MS);
    unsigned kept = 0;
    for (int i = 0; i < LIMITER_ENTRIES / 4; i++) {
        snprintf(key, sizeof(key), "new-%d", i);
        count_times(fixture->limiter, key, 1);
    }
    for (int i = 0; i < LIMITER_ENTRIES / 4; i++) {
        snprintf(key, sizeof(key), "new-%d", i);
        count_times(fixture->limiter, key, LIMIT - 1);
        kept += wait_of(fixture->limiter, key) != 0;
    }
    assert_in_range(kept, LIMITER_ENTRIES / 4 / 100 * 99, LIMITER_ENTRIES / 4);
}

struct worker {
    struct fixture *fixture;
    int allowed;
};

static void *take_and_reset(void *context)
{
    struct worker *worker = context;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t wait;
        char key[32];
        snprintf(key, sizeof(key), "other-%d", i);
        worker->allowed += limiter_take(worker->fixture->limiter, "shared", &wait);
        limiter_count(worker->fixture->limiter, key);
        limiter_reset(worker->fixture->limiter, key);
    }
    return NULL;
}

static void threads_share_one_limit(void **state)
{
    struct fixture *fixture = *state;
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    int allowed = 0;
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.fixture = fixture};
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_reset, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        allowed += workers[i].allowed;
    }
    assert_int_equal(allowed, LIMIT);
}

static void addresses_have_keys_by_who_owns_them(void **state UNUSED)
{
    static const struct {
        const char *address, *key;
    } cases[] = {
        {"192.0.2.7", "192.0.2.7"},
        {"::ffff:192.0.2.7", "192.0.2.7"},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
        {"2001:db8:1:2:ffff:4:5:6", "2001:db8:1:2::"},
        {"2001:DB8:1:3::1", "2001:db8:1:3::"},
        {"::1", "::"},
        {"unknown", "unknown"},
        {"", ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char key[LIMITER_ADDRESS_KEY_MAX];
        limiter_address_key(cases[i].address, key);
        assert_string_equal(key, cases[i].key);
    }
    char text[2 * LIMITER_ADDRESS_KEY_MAX] = "", key[LIMITER_ADDRESS_KEY_MAX];
    memset(text, 'x', sizeof(text) - 1);
    limiter_address_key(text, key);
    assert_int_equal(strlen(key), LIMITER_ADDRESS_KEY_MAX - 1);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(ten_failures_are_allowed_and_then_one_must_wait),
        WITH_FIXTURE(asking_counts_nothing),
        WITH_FIXTURE(the_wait_that_is_told_is_the_wait_that_is_needed),
        WITH_FIXTURE(after_a_window_all_attempts_are_back),
        WITH_FIXTURE(whoever_keeps_trying_gets_the_limit_a_window),
        WITH_FIXTURE(taking_counts_only_what_is_allowed),
        WITH_FIXTURE(attempts_side_by_side_are_paid_for_afterwards),
        WITH_FIXTURE(nobody_is_shut_out_for_longer_than_a_few_windows),
        WITH_FIXTURE(a_success_forgets_the_failures),
        WITH_FIXTURE(limits_that_do_not_divide_a_window_hold_too),
        WITH_FIXTURE(a_flood_of_new_keys_does_not_reset_who_is_at_the_limit),
        WITH_FIXTURE(new_keys_are_counted_while_the_table_is_full),
        WITH_FIXTURE(what_ran_out_makes_room),
        WITH_FIXTURE(threads_share_one_limit),
        cmocka_unit_test(addresses_have_keys_by_who_owns_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
