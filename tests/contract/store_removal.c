/* SPDX-License-Identifier: Apache-2.0
 * The contract of removal, for every driver: what it takes away, what it leaves, and what stands against it. */
#include "tests/contract/store_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    ROUNDS = 50,
    KILL_AFTER = 50, /* acknowledged removals */
    KILL_RECORDS = 2000,
};

static enum store_result remove_record(struct store *store, uint64_t number, uint64_t version)
{
    struct error error = ERROR_INIT;
    struct id id = fixture_id(number);
    enum store_result result = store_remove(store, &items, &id, version, &error);
    assert_int_equal(error.code, result == STORE_DONE ? ERROR_NONE : ERROR_CONFLICT);
    return result;
}

static bool is_there(struct store *store, const struct collection *collection, uint64_t number)
{
    struct error error = ERROR_INIT;
    struct record head = RECORD_INIT;
    struct id id = fixture_id(number);
    bool found = store_get(store, collection, &id, &head, NULL, &error);
    assert_true(found || error.code == ERROR_NOT_FOUND);
    return found;
}

static size_t count_listed(struct store *store, const char *index)
{
    struct query query = {.index = index, .limit = 100};
    CLEANUP(page_done) struct page page = PAGE_INIT;
    struct error error = ERROR_INIT;
    assert_true(store_list(store, &items, &query, &page, &error));
    assert_false(page.more);
    return page.count;
}

static size_t count_events(struct store *store, const struct collection *collection, uint64_t number)
{
    struct outbox_query query = {.collection = collection, .id = fixture_id(number), .limit = 100};
    CLEANUP(outbox_page_done) struct outbox_page page = OUTBOX_PAGE_INIT;
    struct error error = ERROR_INIT;
    assert_true(store_outbox_read(store, &query, &page, &error));
    return page.count;
}

static uint64_t count_waiting(struct store *store)
{
    struct error error = ERROR_INIT;
    uint64_t count = 0;
    int64_t oldest = 0;
    assert_true(store_outbox_count(store, &count, &oldest, &error));
    return count;
}

static void a_removed_record_is_nowhere(void **state)
{
    struct store *store = *state;
    struct item item = fixture_item("title", 5);
    item.order = fixture_id(8);
    for (uint64_t i = 1; i <= 3; i++) {
        fixture_insert(store, i, i == 2 ? "claim" : "", &item, NULL);
    }
    assert_int_equal(remove_record(store, 2, 1), STORE_DONE);
    assert_false(is_there(store, &items, 2));
    struct error error = ERROR_INIT;
    struct record head = RECORD_INIT;
    assert_false(store_get_by_claim(store, &items, "claim", &head, NULL, &error));
    assert_int_equal(error.code, ERROR_NOT_FOUND);
    assert_int_equal(count_listed(store, NULL), 2);
    for (const struct index *index = items.indexes; index->name; index++) {
        assert_int_equal(count_listed(store, index->name), 2);
    }
    assert_true(is_there(store, &items, 1));
    assert_true(is_there(store, &items, 3));
}

static void a_record_of_another_version_is_not_removed(void **state)
{
    struct store *store = *state;
    struct item item = fixture_item("title", 5);
    struct record record = fixture_record(1);
    fixture_insert(store, 1, "claim", &item, "one");
    assert_int_equal(fixture_write(store, 1, &record, &item, "two"), STORE_DONE);
    assert_int_equal(remove_record(store, 1, 1), STORE_CONFLICT_VERSION);
    assert_int_equal(remove_record(store, 1, 3), STORE_CONFLICT_VERSION);
    struct error error = ERROR_INIT;
    struct record head = RECORD_INIT;
    assert_true(store_get_by_claim(store, &items, "claim", &head, NULL, &error));
    assert_int_equal(head.version, 2);
    assert_int_equal(count_events(store, &items, 1), 2);
    assert_int_equal(remove_record(store, 1, 2), STORE_DONE);
    assert_false(is_there(store, &items, 1));
}

static void removing_what_is_not_there_is_done(void **state)
{
    struct item item = fixture_item("title", 5);
    assert_int_equal(remove_record(*state, 1, 1), STORE_DONE);
    fixture_insert(*state, 1, "", &item, NULL);
    assert_int_equal(remove_record(*state, 1, 1), STORE_DONE);
    assert_int_equal(remove_record(*state, 1, 1), STORE_DONE);
    assert_int_equal(remove_record(*state, 1, 9), STORE_DONE);
}

static void a_record_is_removed_from_its_collection_only(void **state)
{
    struct store *store = *state;
    struct item item = fixture_item("title", 5);
    struct record record = fixture_record(1);
    struct error error = ERROR_INIT;
    struct outbox_entry entry = {.subject = "other", .payload = "{}", .length = 2};
    fixture_insert(store, 1, "claim", &item, "item");
    text_copy_cut(record.claim, sizeof(record.claim), "claim");
    assert_int_equal(store_write(store, &others, 0, &record, &item, &entry, &error), STORE_DONE);
    assert_int_equal(remove_record(store, 1, 1), STORE_DONE);
    assert_true(is_there(store, &others, 1));
    assert_int_equal(count_events(store, &others, 1), 1);
    assert_true(store_get_by_claim(store, &others, "claim", &record, NULL, &error));
}

static void the_events_of_a_removed_record_go_with_it(void **state)
{
    struct store *store = *state;
    struct item item = fixture_item("title", 5);
    struct record record = fixture_record(1);
    for (uint64_t version = 0; version < 3; version++) {
        assert_int_equal(fixture_write(store, version, &record, &item, "event"), STORE_DONE);
    }
    fixture_insert(store, 2, "", &item, "of another");
    assert_int_equal(count_waiting(store), 4);
    assert_int_equal(remove_record(store, 1, 3), STORE_DONE);
    assert_int_equal(count_events(store, &items, 1), 0);
    assert_int_equal(count_events(store, &items, 2), 1);
    assert_int_equal(count_waiting(store), 1);
    struct outbox_query query = {.created_until = INT64_MAX, .limit = 10};
    CLEANUP(outbox_page_done) struct outbox_page due = OUTBOX_PAGE_INIT;
    struct error error = ERROR_INIT;
    assert_true(store_outbox_read(store, &query, &due, &error));
    assert_int_equal(due.count, 1);
    assert_string_equal(due.items[0].subject, "of another");
    /* What was published just then is confirmed later. */
    struct outbox_key key = {.collection = &items, .id = record.id, .version = 2};
    assert_true(store_outbox_remove(store, &key, 1, &error));
}

static void id_and_claim_of_a_removed_record_may_be_taken_again(void **state)
{
    struct store *store = *state;
    struct item item = fixture_item("first", 5), read;
    struct record record = fixture_record(1), head = RECORD_INIT;
    fixture_insert(store, 1, "claim", &item, "one");
    assert_int_equal(fixture_write(store, 1, &record, &item, "two"), STORE_DONE);
    assert_int_equal(remove_record(store, 1, 2), STORE_DONE);
    assert_int_equal(fixture_write(store, 2, &record, &item, NULL), STORE_CONFLICT_VERSION);
    fixture_insert(store, 2, "claim", &item, NULL);
    assert_int_equal(remove_record(store, 2, 1), STORE_DONE);
    item.price = 6;
    fixture_insert(store, 1, "claim", &item, "again");
    struct error error = ERROR_INIT;
    assert_true(store_get_by_claim(store, &items, "claim", &head, &read, &error));
    assert_string_equal(head.id.hex, fixture_id(1).hex);
    assert_int_equal(head.version, 1);
    assert_int_equal(head.unconfirmed, 1);
    assert_int_equal(read.price, 6);
}

static void a_list_goes_on_behind_a_record_that_was_removed(void **state)
{
    static const char *const indexes[] = {NULL, "by_price"};
    for (uint64_t i = 1; i <= 8; i++) {
        struct item item = fixture_item("title", (int64_t)i);
        fixture_insert(*state, i, "", &item, NULL);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(indexes); i++) {
        struct query query = {.index = indexes[i], .limit = 2 + i};
        struct error error = ERROR_INIT;
        CLEANUP(page_done) struct page first = PAGE_INIT, second = PAGE_INIT;
        assert_true(store_list(*state, &items, &query, &first, &error));
        uint64_t last = i == 0 ? 2 : 4; /* where the page ended; 2 is away the second time */
        assert_string_equal(first.heads[first.count - 1].id.hex, fixture_id(last).hex);
        assert_int_equal(remove_record(*state, last, 1), STORE_DONE);
        query.after = first.next;
        assert_true(store_list(*state, &items, &query, &second, &error));
        assert_string_equal(second.heads[0].id.hex, fixture_id(last + 1).hex);
    }
}

/* ---- races ---- */

struct rival {
    struct store *store;
    pthread_barrier_t *barrier;
    enum store_result updates[ROUNDS];
};

static void *update_each(void *context)
{
    struct rival *rival = context;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct item item = fixture_item("updated", 2);
        struct record record = fixture_record(round + 1);
        pthread_barrier_wait(rival->barrier);
        rival->updates[round] = fixture_write(rival->store, 1, &record, &item, "event");
    }
    return NULL;
}

static void of_an_update_and_a_removal_one_is_done(void **state)
{
    struct item item = fixture_item("raced", 1);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        fixture_insert(*state, round + 1, "", &item, "event");
    }
    pthread_barrier_t barrier;
    pthread_t thread;
    enum store_result removals[ROUNDS];
    struct rival rival = {.store = *state, .barrier = &barrier};
    pthread_barrier_init(&barrier, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, update_each, &rival), 0);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct error error = ERROR_INIT;
        struct id id = fixture_id(round + 1);
        pthread_barrier_wait(&barrier);
        removals[round] = store_remove(*state, &items, &id, 1, &error);
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&barrier);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        bool updated = rival.updates[round] == STORE_DONE;
        assert_int_equal(rival.updates[round], updated ? STORE_DONE : STORE_CONFLICT_VERSION);
        assert_int_equal(removals[round], updated ? STORE_CONFLICT_VERSION : STORE_DONE);
        assert_int_equal(is_there(*state, &items, round + 1), updated);
        assert_int_equal(count_events(*state, &items, round + 1), updated ? 2 : 0);
    }
}

/* ---- power ---- */

static int acknowledgements[2]; /* a pipe, inherited by the child */

static void remove_until_killed(const char *uri, int number UNUSED)
{
    close(acknowledgements[0]);
    struct store *store = fixture_open(uri);
    CHILD_REQUIRE(store);
    struct item item = fixture_item("to be removed", 1);
    for (uint64_t i = 1; i <= KILL_RECORDS; i++) {
        struct record record = fixture_record(i);
        struct error error = ERROR_INIT;
        CHILD_REQUIRE(fixture_write(store, 0, &record, &item, "event") == STORE_DONE);
        CHILD_REQUIRE(store_remove(store, &items, &record.id, 1, &error) == STORE_DONE);
        CHILD_REQUIRE(write(acknowledgements[1], &i, sizeof(i)) == (ssize_t)sizeof(i));
    }
    pause();
}

static void what_was_removed_does_not_come_back_after_a_kill(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    assert_int_equal(pipe(acknowledgements), 0);
    int child = child_start(remove_until_killed, uri, 0);
    close(acknowledgements[1]);
    uint64_t last = 0;
    for (int i = 0; i < KILL_AFTER; i++) {
        assert_int_equal(read(acknowledgements[0], &last, sizeof(last)), sizeof(last));
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    while (read(acknowledgements[0], &last, sizeof(last)) == (ssize_t)sizeof(last)) {
    }
    close(acknowledgements[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    for (uint64_t i = 1; i <= last; i++) {
        assert_false(is_there(store, &items, i));
        assert_int_equal(count_events(store, &items, i), 0);
    }
    store_close(&store);
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_removed_record_is_nowhere),
        WITH_STORE(a_record_of_another_version_is_not_removed),
        WITH_STORE(removing_what_is_not_there_is_done),
        WITH_STORE(a_record_is_removed_from_its_collection_only),
        WITH_STORE(the_events_of_a_removed_record_go_with_it),
        WITH_STORE(id_and_claim_of_a_removed_record_may_be_taken_again),
        WITH_STORE(a_list_goes_on_behind_a_record_that_was_removed),
        WITH_STORE(of_an_update_and_a_removal_one_is_done),
        cmocka_unit_test(what_was_removed_does_not_come_back_after_a_kill),
    };
    return cmocka_run_group_tests(tests, NULL, fixture_cleanup);
}
