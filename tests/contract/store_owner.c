/* SPDX-License-Identifier: Apache-2.0
 * The contract of opening, for every driver: whose a store is, and that none is made where one must be. */
#include "tests/contract/store_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/memory.h"

enum {
    RIVALS = 6,
    ROUNDS = 5,
};

static bool open_as(const char *uri, const char *owner, bool must_be_there, struct store **ret_store,
                    struct error *error)
{
    struct store_config config = {
        .uri = uri, .collections = fixture_collections, .readers = 1, .owner = owner, .must_be_there = must_be_there};
    return store_open(&config, ret_store, error);
}

static void assert_opens(const char *uri, const char *owner, bool must_be_there)
{
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    if (!open_as(uri, owner, must_be_there, &store, &error)) {
        fail_msg("%s: %s", owner ? owner : "nobody", error.message);
    }
    store_close(&store);
}

/* Names the file or the database, and says `words`. */
static void assert_refused(const char *uri, const char *owner, bool must_be_there, enum error_code code,
                           const char *words)
{
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    assert_false(open_as(uri, owner, must_be_there, &store, &error));
    assert_null(store);
    assert_int_equal(error.code, code);
    const char *last = strrchr(uri, '/') + 1;
    CLEANUP(free_pointer) char *place = xasprintf("%.*s: ", (int)strcspn(last, "?"), last);
    if (!strstr(error.message, place) || !strstr(error.message, words)) {
        fail_msg("\"%s\" does not have \"%s\" and \"%s\"", error.message, place, words);
    }
}

static void a_store_belongs_to_whom_it_was_made_for(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    assert_opens(uri, "orders", false);
    for (int i = 0; i < 2; i++) {
        assert_refused(uri, "tickets", i == 1, ERROR_INVALID, "this is the store of orders, and not of tickets");
        assert_refused(uri, "order", i == 1, ERROR_INVALID, "the store of orders");
        assert_opens(uri, "orders", i == 1);
        assert_opens(uri, NULL, i == 1);
    }
}

/* As those are that were made before stores had owners. */
static void a_store_of_nobody_becomes_the_first_ones_with_what_is_in_it(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    struct item item = fixture_item("kept", 1);
    fixture_insert(store, 1, "claim", &item, NULL);
    store_close(&store);
    assert_opens(uri, NULL, true);
    assert_opens(uri, "tickets", false);
    assert_opens(uri, "tickets", true);
    assert_refused(uri, "orders", false, ERROR_INVALID, "the store of tickets");
    struct error error = ERROR_INIT;
    struct record head = RECORD_INIT;
    struct id id = fixture_id(1);
    assert_true(open_as(uri, "tickets", false, &store, &error));
    assert_true(store_get(store, &items, &id, &head, NULL, &error));
    assert_string_equal(head.claim, "claim");
    store_close(&store);
}

/* Who has something to do to a store that is there may have been given that of another service. */
static void a_store_of_nobody_that_must_be_there_becomes_nobodys(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    store_close(&store);
    for (int i = 0; i < 2; i++) {
        assert_refused(uri, "orders", true, ERROR_INVALID, "not yet opened by this version of orders");
        assert_refused(uri, "tickets", true, ERROR_INVALID, "start tickets once first");
    }
    assert_opens(uri, "tickets", false);
    assert_refused(uri, "orders", true, ERROR_INVALID, "the store of tickets");
}

static void a_store_that_must_be_there_is_not_made(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    for (int i = 0; i < 2; i++) { /* the first time leaves nothing for the second one */
        assert_refused(uri, "tickets", true, ERROR_NOT_FOUND, "no store is there");
        assert_refused(uri, NULL, true, ERROR_NOT_FOUND, "no store is there");
    }
    assert_opens(uri, "orders", false); /* nobody's */
    assert_opens(uri, "orders", true);
}

struct rival {
    const char *uri;
    const char *name;
    atomic_bool *go;
    bool opened;
    struct error error;
};

static void *open_at_once(void *context)
{
    struct rival *rival = context;
    struct store *store = NULL;
    while (!atomic_load(rival->go)) {
    }
    rival->opened = open_as(rival->uri, rival->name, false, &store, &rival->error);
    store_close(&store);
    return NULL;
}

static void of_several_at_once_exactly_one_gets_the_store(void **state UNUSED)
{
    static const char *const names[RIVALS] = {"a", "b", "c", "d", "e", "f"};
    for (int round = 0; round < ROUNDS; round++) {
        CLEANUP(free_pointer) char *uri = fixture_uri();
        atomic_bool go = false;
        struct rival rivals[RIVALS];
        pthread_t threads[RIVALS];
        for (size_t i = 0; i < RIVALS; i++) {
            rivals[i] = (struct rival){.uri = uri, .name = names[i], .go = &go, .error = ERROR_INIT};
            assert_int_equal(pthread_create(&threads[i], NULL, open_at_once, &rivals[i]), 0);
        }
        atomic_store(&go, true);
        const char *winner = NULL;
        for (size_t i = 0; i < RIVALS; i++) {
            pthread_join(threads[i], NULL);
            assert_true(rivals[i].opened ? !winner : rivals[i].error.code == ERROR_INVALID);
            winner = rivals[i].opened ? rivals[i].name : winner;
        }
        assert_non_null(winner);
        assert_opens(uri, winner, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_belongs_to_whom_it_was_made_for),
        cmocka_unit_test(a_store_of_nobody_becomes_the_first_ones_with_what_is_in_it),
        cmocka_unit_test(a_store_of_nobody_that_must_be_there_becomes_nobodys),
        cmocka_unit_test(a_store_that_must_be_there_is_not_made),
        cmocka_unit_test(of_several_at_once_exactly_one_gets_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, fixture_cleanup);
}
