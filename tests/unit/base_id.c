/* SPDX-License-Identifier: Apache-2.0
 * Tests of record ids and of random numbers. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/id.h"

enum {
    THREADS = 4,
    IDS_OF_A_THREAD = 5000,
};

static int64_t fixed(void *context)
{
    return *(const int64_t *)context;
}

static void an_id_begins_with_its_second_and_ends_with_a_counter(void **state UNUSED)
{
    int64_t moment = INT64_C(0x65432100) * 1000 + 999;
    const struct clock clock = {.now = fixed, .monotonic = fixed, .context = &moment};
    CLEANUP(id_source_free) struct id_source *source = id_source_new_seeded(&clock, 7);
    struct id previous = id_new(source);
    for (int i = 0; i < 1000; i++) {
        struct id id = id_new(source);
        assert_int_equal(strlen(id.hex), ID_LENGTH);
        assert_memory_equal(id.hex, "65432100", 8);
        assert_memory_equal(id.hex, previous.hex, 18);
        unsigned long counted = strtoul(id.hex + 18, NULL, 16) - strtoul(previous.hex + 18, NULL, 16);
        assert_int_equal(counted & 0xffffff, 1);
        assert_int_equal(id_time(&id), INT64_C(0x65432100) * 1000);
        previous = id;
    }
    moment = INT64_C(0xfedcba98) * 1000;
    struct id late = id_new(source);
    assert_int_equal(id_time(&late), moment);
}

static void the_counter_wraps_without_touching_the_rest(void **state UNUSED)
{
    int64_t moment = 5000;
    const struct clock clock = {.now = fixed, .monotonic = fixed, .context = &moment};
    CLEANUP(id_source_free) struct id_source *source = id_source_new_seeded(&clock, 1);
    struct id first = id_new(source);
    struct id last = first;
    for (int i = 0; i < 1 << 24; i++) {
        last = id_new(source);
    }
    assert_true(id_equal(&first, &last));
}

static void the_same_seed_gives_the_same_ids_and_another_gives_others(void **state UNUSED)
{
    int64_t moment = 0;
    const struct clock clock = {.now = fixed, .monotonic = fixed, .context = &moment};
    CLEANUP(id_source_free) struct id_source *a = id_source_new_seeded(&clock, 1);
    CLEANUP(id_source_free) struct id_source *b = id_source_new_seeded(&clock, 1);
    CLEANUP(id_source_free) struct id_source *c = id_source_new_seeded(&clock, 2);
    CLEANUP(id_source_free) struct id_source *random = id_source_new(&clock);
    for (int i = 0; i < 10; i++) {
        struct id of_a = id_new(a), of_b = id_new(b), of_c = id_new(c), of_random = id_new(random);
        assert_string_equal(of_a.hex, of_b.hex);
        assert_memory_not_equal(of_a.hex + 8, of_c.hex + 8, 10);
        assert_memory_not_equal(of_a.hex + 8, of_random.hex + 8, 10);
    }
}

struct maker {
    struct id_source *source;
    struct id ids[IDS_OF_A_THREAD];
};

static void *make_ids(void *context)
{
    struct maker *maker = context;
    for (size_t i = 0; i < IDS_OF_A_THREAD; i++) {
        maker->ids[i] = id_new(maker->source);
    }
    return NULL;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct id));
}

static void no_two_threads_get_the_same_id(void **state UNUSED)
{
    static struct maker makers[THREADS];
    static struct id all[THREADS * IDS_OF_A_THREAD];
    CLEANUP(id_source_free) struct id_source *source = id_source_new(NULL);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        makers[i].source = source;
        assert_int_equal(pthread_create(&threads[i], NULL, make_ids, &makers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        memcpy(all + i * IDS_OF_A_THREAD, makers[i].ids, sizeof makers[i].ids);
    }
    qsort(all, ARRAY_LENGTH(all), sizeof all[0], compare_ids);
    for (size_t i = 1; i < ARRAY_LENGTH(all); i++) {
        assert_string_not_equal(all[i - 1].hex, all[i].hex);
    }
}

static void reads_ids_in_either_case(void **state UNUSED)
{
    struct id id = {0};
    assert_false(id_is_set(&id));
    assert_true(id_from_text("0123456789abcdefABCDEF00", &id));
    assert_string_equal(id.hex, "0123456789abcdefabcdef00");
    assert_true(id_is_set(&id));
    struct id same, other;
    assert_true(id_from_text("0123456789ABCDEFabcdef00", &same));
    assert_true(id_from_text("0123456789ABCDEFabcdef01", &other));
    assert_true(id_equal(&id, &same));
    assert_false(id_equal(&id, &other));
}

static void refuses_what_is_no_id(void **state UNUSED)
{
    static const char *const cases[] = {
        "",
        "0",
        "0123456789abcdef0123456",
        "0123456789abcdef012345678",
        "0123456789abcdef0123456g",
        "0123456789abcdef0123456/",
        "0123456789abcdef0123456:",
        "0123456789abcdef0123456@",
        "0123456789abcdef0123456`",
        " 123456789abcdef01234567",
        "0x23456789abcdef01234567",
        "0123456789abcdef0123456\xc3",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct id id = {.hex = "untouched"};
        if (id_from_text(cases[i], &id)) {
            fail_msg("\"%s\" is taken for an id", cases[i]);
        }
        assert_string_equal(id.hex, "untouched");
    }
}

static void derives_ids_by_sha_256(void **state UNUSED)
{
    /* The examples of FIPS 180-4. */
    struct id empty = id_derive("", 0);
    struct id abc = id_derive("abc", 3);
    struct id long_text = id_derive("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56);
    assert_string_equal(empty.hex, "e3b0c44298fc1c149afbf4c8");
    assert_string_equal(abc.hex, "ba7816bf8f01cfea414140de");
    assert_string_equal(long_text.hex, "248d6a61d20638b8e5c02693");
}

static void random_bytes_fill_all_they_are_given_and_no_more(void **state UNUSED)
{
    unsigned char bytes[600] = {0};
    unsigned char seen = 0;
    bool is_last_touched = false;
    for (int i = 0; i < 64; i++) {
        random_bytes(bytes, sizeof bytes - 1);
        seen |= bytes[0];
        is_last_touched = is_last_touched || bytes[sizeof bytes - 2] != 0;
        assert_int_equal(bytes[sizeof bytes - 1], 0);
    }
    assert_int_not_equal(seen, 0);
    assert_true(is_last_touched);
}

static void random_numbers_reach_every_value_below_their_bound(void **state UNUSED)
{
    bool seen[6] = {false};
    for (int i = 0; i < 2000; i++) {
        uint64_t number = random_below(ARRAY_LENGTH(seen));
        assert_true(number < ARRAY_LENGTH(seen));
        seen[number] = true;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(seen); i++) {
        assert_true(seen[i]);
    }
    assert_int_equal(random_below(1), 0);
    assert_true(random_below(UINT64_MAX) < UINT64_MAX);
    assert_true(random_below((UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
}

static void random_hex_is_as_long_as_asked(void **state UNUSED)
{
    for (size_t length = 0; length < 100; length++) {
        char text[102];
        memset(text, '#', sizeof text);
        random_hex(text, length);
        assert_int_equal(strlen(text), length);
        assert_int_equal(strspn(text, "0123456789abcdef"), length);
        assert_int_equal(text[length + 1], '#');
    }
    char a[33], b[33];
    random_hex(a, 32);
    random_hex(b, 32);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_begins_with_its_second_and_ends_with_a_counter),
        cmocka_unit_test(the_counter_wraps_without_touching_the_rest),
        cmocka_unit_test(the_same_seed_gives_the_same_ids_and_another_gives_others),
        cmocka_unit_test(no_two_threads_get_the_same_id),
        cmocka_unit_test(reads_ids_in_either_case),
        cmocka_unit_test(refuses_what_is_no_id),
        cmocka_unit_test(derives_ids_by_sha_256),
        cmocka_unit_test(random_bytes_fill_all_they_are_given_and_no_more),
        cmocka_unit_test(random_numbers_reach_every_value_below_their_bound),
        cmocka_unit_test(random_hex_is_as_long_as_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
