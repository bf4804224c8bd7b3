/* SPDX-License-Identifier: Apache-2.0
 * The contract of the store between processes, for every driver: what instances of a service do to each other. */
#include "tests/contract/store_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    PROCESSES = 4,
    THREADS = 8,
    INCREMENTS = 10, /* of each thread */
    CLAIMS = 40,
    RACE_MS = 1000,
};

/* What processes tell each other; shared memory. */
struct board {
    atomic_int ready;
    atomic_int_fast64_t written[PROCESSES];
    atomic_int winners[CLAIMS];
};

static struct board *board;

static int board_setup(void **state UNUSED)
{
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : 0;
}

static int board_teardown(void **state UNUSED)
{
    return munmap(board, sizeof(*board));
}

/* So that nobody is done before the others have begun. */
static void wait_for_all(int count)
{
    atomic_fetch_add(&board->ready, 1);
    while (atomic_load(&board->ready) < count) {
        usleep(100);
    }
}

static void run_processes(void (*work)(const char *uri, int number), const char *uri, int count)
{
    int children[PROCESSES];
    for (int i = 0; i < count; i++) {
        children[i] = child_start(work, uri, i);
    }
    for (int i = 0; i < count; i++) {
        child_join(children[i]);
    }
}

/* ---- a counter ---- */

static void *increment(void *context)
{
    struct store *store = context;
    for (int done = 0; done < INCREMENTS;) {
        struct error error = ERROR_INIT;
        struct item item;
        struct record record = RECORD_INIT;
        struct id id = fixture_id(1);
        CHILD_REQUIRE(store_get(store, &items, &id, &record, &item, &error));
        CHILD_REQUIRE(item.price == (int64_t)record.version - 1);
        item.price++;
        enum store_result result = fixture_write(store, record.version, &record, &item, NULL);
        CHILD_REQUIRE(result == STORE_DONE || result == STORE_CONFLICT_VERSION);
        done += result == STORE_DONE;
    }
    return NULL;
}

static void increment_in_threads(const char *uri, int number UNUSED)
{
    struct store *store = fixture_open(uri);
    CHILD_REQUIRE(store);
    wait_for_all(PROCESSES);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        CHILD_REQUIRE(pthread_create(&threads[i], NULL, increment, store) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    store_close(&store);
}

static void compare_and_set_loses_no_increment(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    struct item item = fixture_item("counter", 0);
    fixture_insert(store, 1, "", &item, NULL);
    store_close(&store);
    run_processes(increment_in_threads, uri, PROCESSES);
    store = fixture_open(uri);
    assert_non_null(store);
    struct record head = RECORD_INIT;
    struct id id = fixture_id(1);
    struct error error = ERROR_INIT;
    assert_true(store_get(store, &items, &id, &head, &item, &error));
    assert_int_equal(item.price, PROCESSES * THREADS * INCREMENTS);
    assert_int_equal(head.version, 1 + PROCESSES * THREADS * INCREMENTS);
    store_close(&store);
}

/* ---- claims ---- */

static void claim(const char *uri, int number)
{
    struct store *store = fixture_open(uri);
    CHILD_REQUIRE(store);
    wait_for_all(PROCESSES);
    for (int i = 0; i < CLAIMS; i++) {
        struct item item = fixture_item("claimed", 1);
        struct record record = fixture_record((uint64_t)(1 + i * 100 + number));
        CLEANUP(free_pointer) char *text = xasprintf("claim %d", i);
        text_copy_cut(record.claim, sizeof(record.claim), text);
        enum store_result result = fixture_write(store, 0, &record, &item, "item:created");
        CHILD_REQUIRE(result == STORE_DONE || result == STORE_CONFLICT_CLAIM);
        atomic_fetch_add(&board->winners[i], result == STORE_DONE);
    }
    store_close(&store);
}

static void of_many_processes_exactly_one_gets_a_claim(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    run_processes(claim, uri, PROCESSES);
    for (size_t i = 0; i < CLAIMS; i++) {
        assert_int_equal(atomic_load(&board->winners[i]), 1);
    }
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    uint64_t count = 0;
    int64_t oldest = 0;
    struct error error = ERROR_INIT;
    assert_true(store_outbox_count(store, &count, &oldest, &error));
    assert_int_equal(count, CLAIMS);
    store_close(&store);
}

/* ---- opening ---- */

static void open_and_write(const char *uri, int number)
{
    wait_for_all(PROCESSES);
    struct store *store = fixture_open(uri);
    CHILD_REQUIRE(store);
    struct item item = fixture_item("first", number);
    struct record record = fixture_record((uint64_t)number);
    CHILD_REQUIRE(fixture_write(store, 0, &record, &item, NULL) == STORE_DONE);
    store_close(&store);
}

static void many_processes_may_create_a_store_at_once(void **state UNUSED)
{
    for (int round = 0; round < 5; round++) {
        CLEANUP(free_pointer) char *uri = fixture_uri();
        atomic_store(&board->ready, 0);
        run_processes(open_and_write, uri, PROCESSES);
        struct store *store = fixture_open(uri);
        assert_non_null(store);
        struct query query = {.index = "by_price", .limit = 10};
        struct page page = PAGE_INIT;
        struct error error = ERROR_INIT;
        assert_true(store_list(store, &items, &query, &page, &error));
        assert_int_equal(page.count, PROCESSES);
        page_done(&page);
        store_close(&store);
    }
}

/* ---- turns ---- */

struct runner {
    struct store *store;
    int number;
    uint64_t first;
};

static void *write_for_a_while(void *context)
{
    struct runner *runner = context;
    int64_t end = clock_monotonic(NULL) + RACE_MS;
    struct item item = fixture_item("raced", 1);
    for (uint64_t i = runner->first; clock_monotonic(NULL) < end; i++) {
        struct record record = fixture_record(i);
        CHILD_REQUIRE(fixture_write(runner->store, 0, &record, &item, NULL) == STORE_DONE);
        atomic_fetch_add(&board->written[runner->number], 1);
    }
    return NULL;
}

/* With so many threads that there is always a write that waits, and a process could go on for ever. */
static void write_in_threads(const char *uri, int number)
{
    struct store *store = fixture_open(uri);
    CHILD_REQUIRE(store);
    wait_for_all(PROCESSES);
    pthread_t threads[THREADS];
    struct runner runners[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        uint64_t first = ((uint64_t)number * THREADS + i) * 1000000;
        runners[i] = (struct runner){.store = store, .number = number, .first = first};
        CHILD_REQUIRE(pthread_create(&threads[i], NULL, write_for_a_while, &runners[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    store_close(&store);
}

static void no_process_starves_another(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    run_processes(write_in_threads, uri, PROCESSES);
    int64_t least = INT64_MAX, most = 0;
    for (size_t i = 0; i < PROCESSES; i++) {
        int64_t written = atomic_load(&board->written[i]);
        least = written < least ? written : least;
        most = written > most ? written : most;
    }
    print_message("writes of each process in %d ms: %ld to %ld\n", RACE_MS, (long)least, (long)most);
    assert_true(least * 5 >= most);
}

/* ---- power ---- */

enum {
    KILL_ROUNDS = 5,
    KILL_AFTER = 300, /* acknowledged writes */
    KILL_THREADS = 4,
};

struct victim {
    struct store *store;
    int pipe;
    uint64_t first;
};

static int acknowledgements[2]; /* a pipe, inherited by the child */

static void *write_and_acknowledge(void *context)
{
    struct victim *victim = context;
    struct item item = fixture_item("acknowledged", 1);
    for (uint64_t i = victim->first;; i += KILL_THREADS) {
        struct record record = fixture_record(i);
        CHILD_REQUIRE(fixture_write(victim->store, 0, &record, &item, "item:created") == STORE_DONE);
        CHILD_REQUIRE(write(victim->pipe, &i, sizeof(i)) == (ssize_t)sizeof(i));
    }
    return NULL;
}

static void write_until_killed(const char *uri, int number)
{
    close(acknowledgements[0]);
    struct store *store = fixture_open(uri);
    CHILD_REQUIRE(store);
    pthread_t threads[KILL_THREADS];
    struct victim victims[KILL_THREADS];
    for (size_t i = 0; i < KILL_THREADS; i++) {
        victims[i] =
            (struct victim){.store = store, .pipe = acknowledgements[1], .first = (uint64_t)number * 1000000 + i + 1};
        CHILD_REQUIRE(pthread_create(&threads[i], NULL, write_and_acknowledge, &victims[i]) == 0);
    }
    pause();
}

static void assert_written(struct store *store, uint64_t number)
{
    struct record head = RECORD_INIT;
    struct id id = fixture_id(number);
    struct error error = ERROR_INIT;
    assert_true(store_get(store, &items, &id, &head, NULL, &error));
    assert_int_equal(head.unconfirmed, 1);
}

static void what_was_acknowledged_survives_a_kill(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    CLEANUP(free_pointer) uint64_t *acknowledged = xcalloc(KILL_ROUNDS * 100000, sizeof(*acknowledged));
    size_t count = 0;
    for (int round = 0; round < KILL_ROUNDS; round++) {
        assert_int_equal(pipe(acknowledgements), 0);
        int child = child_start(write_until_killed, uri, round);
        close(acknowledgements[1]);
        uint64_t number = 0;
        for (int i = 0; i < KILL_AFTER; i++) {
            assert_int_equal(read(acknowledgements[0], &number, sizeof(number)), sizeof(number));
            acknowledged[count++] = number;
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        while (read(acknowledgements[0], &number, sizeof(number)) == (ssize_t)sizeof(number)) {
            acknowledged[count++] = number;
        }
        close(acknowledgements[0]);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
    }
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    for (size_t i = 0; i < count; i++) {
        assert_written(store, acknowledged[i]);
    }
    store_close(&store);
}

#define WITH_BOARD(test) cmocka_unit_test_setup_teardown(test, board_setup, board_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BOARD(compare_and_set_loses_no_increment),        WITH_BOARD(of_many_processes_exactly_one_gets_a_claim),
        WITH_BOARD(many_processes_may_create_a_store_at_once), WITH_BOARD(no_process_starves_another),
        WITH_BOARD(what_was_acknowledged_survives_a_kill),
    };
    return cmocka_run_group_tests(tests, NULL, fixture_cleanup);
}
