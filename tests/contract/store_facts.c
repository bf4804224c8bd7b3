/* SPDX-License-Identifier: Apache-2.0
 * The contract of the store's facts, for every driver: numbers that are raised, and replaced by compare-and-set. */
#include "tests/contract/store_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/memory.h"

enum {
    PROCESSES = 4,
    THREADS = 4,
    RAISES = 30,     /* of each thread */
    INCREMENTS = 10, /* of each thread */
    RACERS = 16,
    ROUNDS = 20,
    KILL_AFTER = 100, /* acknowledged raises */
};

static int64_t get(struct store *store, const char *name)
{
    struct error error = ERROR_INIT;
    int64_t value = -1;
    if (!store_fact_get(store, name, &value, &error)) {
        fail_msg("store_fact_get: %s", error.message);
    }
    return value;
}

static void raise_to(struct store *store, const char *name, int64_t value)
{
    struct error error = ERROR_INIT;
    if (!store_fact_raise(store, name, value, &error)) {
        fail_msg("store_fact_raise: %s", error.message);
    }
}

static bool replace(struct store *store, const char *name, int64_t expected, int64_t value)
{
    struct error error = ERROR_INIT;
    bool replaced = false;
    if (!store_fact_replace(store, name, expected, value, &replaced, &error)) {
        fail_msg("store_fact_replace: %s", error.message);
    }
    return replaced;
}

static void a_fact_that_was_never_set_is_zero(void **state)
{
    assert_int_equal(get(*state, "epoch"), 0);
    raise_to(*state, "epochs", 3);
    assert_int_equal(get(*state, "epoch"), 0);
}

static void a_fact_is_raised_and_never_lowered(void **state)
{
    raise_to(*state, "position", 0);
    assert_int_equal(get(*state, "position"), 0);
    raise_to(*state, "position", 5);
    assert_int_equal(get(*state, "position"), 5);
    raise_to(*state, "position", 4);
    assert_int_equal(get(*state, "position"), 5);
    raise_to(*state, "position", 5);
    assert_int_equal(get(*state, "position"), 5);
    raise_to(*state, "position", INT64_MAX);
    assert_int_equal(get(*state, "position"), INT64_MAX);
}

static void a_fact_is_replaced_only_if_it_is_what_is_expected(void **state)
{
    assert_false(replace(*state, "epoch", 1, 2));
    assert_int_equal(get(*state, "epoch"), 0);
    assert_true(replace(*state, "epoch", 0, 7));
    assert_int_equal(get(*state, "epoch"), 7);
    assert_false(replace(*state, "epoch", 0, 8));
    assert_int_equal(get(*state, "epoch"), 7);
    assert_true(replace(*state, "epoch", 7, 7));
    assert_true(replace(*state, "epoch", 7, -3)); /* lower than it was */
    assert_int_equal(get(*state, "epoch"), -3);
    assert_true(replace(*state, "epoch", -3, 0));
    assert_int_equal(get(*state, "epoch"), 0);
    assert_true(replace(*state, "epoch", 0, INT64_MAX));
    assert_true(replace(*state, "epoch", INT64_MAX, INT64_MIN));
    assert_int_equal(get(*state, "epoch"), INT64_MIN);
    raise_to(*state, "epoch", 4);
    assert_int_equal(get(*state, "epoch"), 4);
}

/* Among them what an engine may use itself, and what differs in little. */
static void facts_are_kept_apart_by_their_names(void **state UNUSED)
{
    char longest[STORE_FACT_NAME_MAX], shorter[STORE_FACT_NAME_MAX - 1];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    memset(shorter, 'x', sizeof(shorter) - 1);
    shorter[sizeof(shorter) - 1] = '\0';
    const char *const names[] = {longest, shorter, "a",    "a/b",   "a:b",   "a.b",
                                 "a_b",   "a-b",   "0",    "_id",   "items", "others",
                                 "ping",  "mark",  "fact", "fact:", "value", "format",
                                 ".",     "..",    "/",    "-1",    "null",  "position/ticket:created"};
    CLEANUP(free_pointer) char *uri = fixture_uri();
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        assert_int_equal(get(store, names[i]), 0);
        raise_to(store, names[i], 1000 + (int64_t)i);
    }
    struct item item = fixture_item("beside them", 1);
    struct error error = ERROR_INIT;
    fixture_insert(store, 1, "", &item, NULL);
    assert_true(store_ping(store, &error));
    store_close(&store);
    store = fixture_open(uri);
    assert_non_null(store);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        assert_int_equal(get(store, names[i]), 1000 + (int64_t)i);
    }
    struct query query = {.limit = 10};
    struct page page = PAGE_INIT;
    assert_true(store_list(store, &items, &query, &page, &error));
    assert_int_equal(page.count, 1);
    page_done(&page);
    store_close(&store);
}

/* ---- threads ---- */

struct racer {
    struct store *store;
    pthread_barrier_t *barrier;
    int64_t number;
    bool failed;
    bool replaced[ROUNDS];
};

static void run_racers(struct store *store, void *(*work)(void *context), struct racer racers[static RACERS])
{
    pthread_barrier_t barrier;
    pthread_t threads[RACERS];
    pthread_barrier_init(&barrier, NULL, RACERS);
    for (size_t i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.store = store, .barrier = &barrier, .number = (int64_t)i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &racers[i]), 0);
    }
    for (size_t i = 0; i < RACERS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(racers[i].failed);
    }
    pthread_barrier_destroy(&barrier);
}

static void *race_to_replace(void *context)
{
    struct racer *racer = context;
    int64_t present = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        struct error error = ERROR_INIT;
        pthread_barrier_wait(racer->barrier);
        bool done = store_fact_replace(racer->store, "raced", present, (int64_t)round * 100 + racer->number + 1,
                                       &racer->replaced[round], &error);
        pthread_barrier_wait(racer->barrier); /* all have tried */
        racer->failed = racer->failed || !done || !store_fact_get(racer->store, "raced", &present, &error);
    }
    return NULL;
}

static void of_many_threads_exactly_one_replaces_a_fact(void **state)
{
    struct racer racers[RACERS];
    run_racers(*state, race_to_replace, racers);
    for (size_t round = 0; round < ROUNDS; round++) {
        int64_t winners = 0, winner = 0;
        for (size_t i = 0; i < RACERS; i++) {
            winners += racers[i].replaced[round];
            winner = racers[i].replaced[round] ? racers[i].number : winner;
        }
        assert_int_equal(winners, 1);
        if (round == ROUNDS - 1) {
            assert_int_equal(get(*state, "raced"), (int64_t)round * 100 + winner + 1);
        }
    }
}

/* Every other thread raises to numbers that others have passed already. What one has raised, or seen, is never lower
 * when it looks again. */
static bool raise_for_a_while(struct store *store, int64_t number, int64_t count)
{
    int64_t last = 0;
    for (int64_t i = 1; i <= RAISES; i++) {
        struct error error = ERROR_INIT;
        int64_t value = number % 2 ? i * count + number : (RAISES + 1 - i) * count + number;
        int64_t seen = 0;
        if (!store_fact_raise(store, "raised", value, &error) || !store_fact_get(store, "raised", &seen, &error) ||
            seen < value || seen < last) {
            return false;
        }
        last = seen;
    }
    return true;
}

static void *raise_in_thread(void *context)
{
    struct racer *racer = context;
    pthread_barrier_wait(racer->barrier);
    racer->failed = !raise_for_a_while(racer->store, racer->number, RACERS);
    return NULL;
}

static void a_fact_that_many_threads_raise_only_grows(void **state)
{
    struct racer racers[RACERS];
    run_racers(*state, raise_in_thread, racers);
    assert_int_equal(get(*state, "raised"), RAISES * RACERS + RACERS - 1);
}

/* ---- processes ---- */

static atomic_int *ready; /* shared memory */

static int ready_setup(void **state UNUSED)
{
    ready = mmap(NULL, sizeof(*ready), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return ready == MAP_FAILED ? -1 : 0;
}

static int ready_teardown(void **state UNUSED)
{
    return munmap(ready, sizeof(*ready));
}

struct worker {
    struct store *store;
    int64_t number;
};

/* In each of the processes as many threads do the same, once all processes are ready. */
static void run_threads(const char *uri, int process, void *(*work)(void *context))
{
    struct store *store = fixture_open(uri);
    CHILD_REQUIRE(store);
    atomic_fetch_add(ready, 1);
    while (atomic_load(ready) < PROCESSES) {
        usleep(100);
    }
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.store = store, .number = process * THREADS + i};
        CHILD_REQUIRE(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    store_close(&store);
}

static void run_processes(const char *uri, void (*work)(const char *uri, int number))
{
    int children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = child_start(work, uri, i);
    }
    for (int i = 0; i < PROCESSES; i++) {
        child_join(children[i]);
    }
}

static int64_t read_once(const char *uri, const char *name)
{
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    int64_t value = get(store, name);
    store_close(&store);
    return value;
}

static void *raise_in_process(void *context)
{
    struct worker *worker = context;
    CHILD_REQUIRE(raise_for_a_while(worker->store, worker->number, PROCESSES * THREADS));
    return NULL;
}

static void raise_in_threads(const char *uri, int number)
{
    run_threads(uri, number, raise_in_process);
}

static void a_fact_that_many_processes_raise_only_grows(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    run_processes(uri, raise_in_threads);
    assert_int_equal(read_once(uri, "raised"), RAISES * PROCESSES * THREADS + PROCESSES * THREADS - 1);
}

static void *increment(void *context)
{
    struct worker *worker = context;
    for (int done = 0; done < INCREMENTS;) {
        struct error error = ERROR_INIT;
        int64_t value = 0;
        bool replaced = false;
        CHILD_REQUIRE(store_fact_get(worker->store, "counter", &value, &error));
        CHILD_REQUIRE(store_fact_replace(worker->store, "counter", value, value + 1, &replaced, &error));
        done += replaced;
    }
    return NULL;
}

static void increment_in_threads(const char *uri, int number)
{
    run_threads(uri, number, increment);
}

static void replacing_loses_no_increment(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    run_processes(uri, increment_in_threads);
    assert_int_equal(read_once(uri, "counter"), PROCESSES * THREADS * INCREMENTS);
}

/* ---- power ---- */

static int acknowledgements[2]; /* a pipe, inherited by the child */

static void raise_until_killed(const char *uri, int number UNUSED)
{
    close(acknowledgements[0]);
    struct store *store = fixture_open(uri);
    CHILD_REQUIRE(store);
    for (int64_t value = 1;; value++) {
        struct error error = ERROR_INIT;
        bool replaced = false;
        CHILD_REQUIRE(store_fact_raise(store, "raised", value, &error));
        CHILD_REQUIRE(store_fact_replace(store, "replaced", value - 1, value, &replaced, &error) && replaced);
        CHILD_REQUIRE(write(acknowledgements[1], &value, sizeof(value)) == (ssize_t)sizeof(value));
    }
}

static void what_was_acknowledged_survives_a_kill(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    assert_int_equal(pipe(acknowledgements), 0);
    int child = child_start(raise_until_killed, uri, 0);
    close(acknowledgements[1]);
    int64_t value = 0;
    for (int i = 0; i < KILL_AFTER; i++) {
        assert_int_equal(read(acknowledgements[0], &value, sizeof(value)), sizeof(value));
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    while (read(acknowledgements[0], &value, sizeof(value)) == (ssize_t)sizeof(value)) {
    }
    close(acknowledgements[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_in_range(read_once(uri, "raised"), value, value + 1);
    assert_in_range(read_once(uri, "replaced"), value, value + 1);
}

#define WITH_STORE(test)     cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define WITH_PROCESSES(test) cmocka_unit_test_setup_teardown(test, ready_setup, ready_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_fact_that_was_never_set_is_zero),
        WITH_STORE(a_fact_is_raised_and_never_lowered),
        WITH_STORE(a_fact_is_replaced_only_if_it_is_what_is_expected),
        cmocka_unit_test(facts_are_kept_apart_by_their_names),
        WITH_STORE(of_many_threads_exactly_one_replaces_a_fact),
        WITH_STORE(a_fact_that_many_threads_raise_only_grows),
        WITH_PROCESSES(a_fact_that_many_processes_raise_only_grows),
        WITH_PROCESSES(replacing_loses_no_increment),
        cmocka_unit_test(what_was_acknowledged_survives_a_kill),
    };
    return cmocka_run_group_tests(tests, NULL, fixture_cleanup);
}
