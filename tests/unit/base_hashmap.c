/* SPDX-License-Identifier: Apache-2.0
 * Tests of the hash table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/hashmap.h"

enum {
    MANY = 5000,
    KEY_SIZE = 24,
};

static int numbers[MANY];

static const char *key_of(int number, char ret_key[static KEY_SIZE])
{
    snprintf(ret_key, KEY_SIZE, "key-%d", number);
    return ret_key;
}

static struct hashmap *new_full_map(void)
{
    struct hashmap *map = hashmap_new();
    for (int i = 0; i < MANY; i++) {
        char key[KEY_SIZE];
        assert_null(hashmap_put(map, key_of(i, key), &numbers[i]));
    }
    return map;
}

static void keeps_many_entries_apart(void **state UNUSED)
{
    CLEANUP(hashmap_free) struct hashmap *map = new_full_map();
    char key[KEY_SIZE];
    assert_int_equal(hashmap_count(map), MANY);
    for (int i = 0; i < MANY; i++) {
        assert_ptr_equal(hashmap_get(map, key_of(i, key)), &numbers[i]);
    }
    assert_null(hashmap_get(map, "key-"));
    assert_null(hashmap_get(map, ""));
}

static void copies_keys_and_replaces_values(void **state UNUSED)
{
    CLEANUP(hashmap_free) struct hashmap *map = hashmap_new();
    char key[] = "key";
    assert_null(hashmap_put(map, key, &numbers[1]));
    key[0] = 'K';
    assert_null(hashmap_get(map, "Key"));
    assert_ptr_equal(hashmap_get(map, "key"), &numbers[1]);
    assert_ptr_equal(hashmap_put(map, "key", &numbers[2]), &numbers[1]);
    assert_ptr_equal(hashmap_get(map, "key"), &numbers[2]);
    assert_int_equal(hashmap_count(map), 1);
    assert_null(hashmap_put(map, "", &numbers[3]));
    assert_ptr_equal(hashmap_get(map, ""), &numbers[3]);
}

static void removes_only_what_it_is_asked_to(void **state UNUSED)
{
    CLEANUP(hashmap_free) struct hashmap *map = new_full_map();
    char key[KEY_SIZE];
    for (int i = 0; i < MANY; i += 2) {
        assert_ptr_equal(hashmap_remove(map, key_of(i, key)), &numbers[i]);
        assert_null(hashmap_remove(map, key_of(i, key)));
    }
    assert_int_equal(hashmap_count(map), MANY / 2);
    for (int i = 0; i < MANY; i++) {
        assert_ptr_equal(hashmap_get(map, key_of(i, key)), i % 2 == 0 ? NULL : &numbers[i]);
    }
    assert_null(hashmap_put(map, "key-0", &numbers[0]));
    assert_int_equal(hashmap_count(map), MANY / 2 + 1);
}

struct visits {
    struct hashmap *map;
    unsigned char seen[MANY];
};

static void visit_and_remove_odd(const char *key, void *value, void *context)
{
    struct visits *visits = context;
    ptrdiff_t index = (int *)value - numbers;
    char expected[KEY_SIZE];
    assert_string_equal(key, key_of((int)index, expected));
    visits->seen[index]++;
    if (index % 2 == 1) {
        assert_ptr_equal(hashmap_remove(visits->map, key), value);
    }
}

static void visits_each_entry_once_though_visited_ones_are_removed(void **state UNUSED)
{
    CLEANUP(hashmap_free) struct hashmap *map = new_full_map();
    static struct visits visits;
    visits.map = map;
    hashmap_each(map, visit_and_remove_odd, &visits);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(visits.seen[i], 1);
    }
    assert_int_equal(hashmap_count(map), MANY / 2);
    hashmap_each(map, visit_and_remove_odd, &visits);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(visits.seen[i], i % 2 == 0 ? 2 : 1);
    }
}

static void freeing_leaves_null_and_accepts_it(void **state UNUSED)
{
    struct hashmap *map = hashmap_new();
    hashmap_free(&map);
    assert_null(map);
    hashmap_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_many_entries_apart),
        cmocka_unit_test(copies_keys_and_replaces_values),
        cmocka_unit_test(removes_only_what_it_is_asked_to),
        cmocka_unit_test(visits_each_entry_once_though_visited_ones_are_removed),
        cmocka_unit_test(freeing_leaves_null_and_accepts_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
