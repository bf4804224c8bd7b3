/* SPDX-License-Identifier: Apache-2.0
 * Tests of the queue between threads. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/queue.h"

enum {
    PRODUCERS = 3,
    CONSUMERS = 3,
    ITEMS_OF_A_PRODUCER = 4000,
    ITEMS = PRODUCERS * ITEMS_OF_A_PRODUCER,
    SMALL_LIMIT = 7,
    GENEROUS_MS = 60000,
};

static int numbers[ITEMS];

static void gives_back_in_order_what_it_was_given(void **state UNUSED)
{
    CLEANUP(queue_free) struct queue *queue = queue_new(SMALL_LIMIT);
    size_t pushed = 0;
    size_t popped = 0;
    /* Rising and falling lengths, so that the ring wraps at every place. */
    for (size_t round = 0; round < 100; round++) {
        for (size_t i = 0; i < 1 + round % SMALL_LIMIT; i++) {
            assert_true(queue_push(queue, &numbers[pushed++]));
        }
        assert_int_equal(queue_length(queue), pushed - popped);
        while (popped < pushed) {
            assert_ptr_equal(queue_pop(queue, -1), &numbers[popped++]);
        }
    }
}

static void refuses_more_than_its_limit(void **state UNUSED)
{
    CLEANUP(queue_free) struct queue *queue = queue_new(2);
    assert_true(queue_push(queue, &numbers[0]));
    assert_true(queue_push(queue, &numbers[1]));
    assert_false(queue_push(queue, &numbers[2]));
    assert_int_equal(queue_length(queue), 2);
    assert_ptr_equal(queue_pop(queue, 0), &numbers[0]);
    assert_true(queue_push(queue, &numbers[3]));
    assert_ptr_equal(queue_pop(queue, 0), &numbers[1]);
    assert_ptr_equal(queue_pop(queue, 0), &numbers[3]);
    assert_null(queue_pop(queue, 0));
}

static void waits_as_long_as_it_was_told(void **state UNUSED)
{
    CLEANUP(queue_free) struct queue *queue = queue_new(1);
    int64_t start = clock_monotonic(NULL);
    assert_null(queue_pop(queue, 50));
    int64_t waited = clock_monotonic(NULL) - start;
    assert_in_range(waited, 50, GENEROUS_MS);
    assert_null(queue_pop(queue, 0));
}

static void drains_after_it_was_closed(void **state UNUSED)
{
    CLEANUP(queue_free) struct queue *queue = queue_new(3);
    assert_true(queue_push(queue, &numbers[0]));
    assert_true(queue_push(queue, &numbers[1]));
    queue_close(queue);
    queue_close(queue);
    assert_false(queue_push(queue, &numbers[2]));
    assert_ptr_equal(queue_pop(queue, -1), &numbers[0]);
    assert_ptr_equal(queue_pop(queue, -1), &numbers[1]);
    assert_null(queue_pop(queue, -1));
}

struct consumer {
    struct queue *queue;
    atomic_int *times_seen; /* of every number */
    atomic_size_t *popped;
    bool is_ordered; /* the numbers of each producer came in order */
};

static void *consume(void *context)
{
    struct consumer *consumer = context;
    ptrdiff_t last[PRODUCERS];
    for (size_t i = 0; i < PRODUCERS; i++) {
        last[i] = -1;
    }
    consumer->is_ordered = true;
    int *item;
    while ((item = queue_pop(consumer->queue, -1)) != NULL) {
        ptrdiff_t index = item - numbers;
        ptrdiff_t producer = index / ITEMS_OF_A_PRODUCER;
        consumer->is_ordered = consumer->is_ordered && index > last[producer];
        last[producer] = index;
        atomic_fetch_add(&consumer->times_seen[index], 1);
        atomic_fetch_add(consumer->popped, 1);
    }
    return NULL;
}

struct producer {
    struct queue *queue;
    size_t first;
};

static void *produce(void *context)
{
    const struct producer *producer = context;
    for (size_t i = 0; i < ITEMS_OF_A_PRODUCER; i++) {
        while (!queue_push(producer->queue, &numbers[producer->first + i])) {
            sched_yield();
        }
    }
    return NULL;
}

static void loses_and_doubles_nothing_between_threads(void **state UNUSED)
{
    static atomic_int times_seen[ITEMS];
    atomic_size_t popped = 0;
    CLEANUP(queue_free) struct queue *queue = queue_new(SMALL_LIMIT);
    struct consumer consumers[CONSUMERS];
    struct producer producers[PRODUCERS];
    pthread_t consuming[CONSUMERS];
    pthread_t producing[PRODUCERS];
    for (size_t i = 0; i < CONSUMERS; i++) {
        consumers[i] = (struct consumer){.queue = queue, .times_seen = times_seen, .popped = &popped};
        assert_int_equal(pthread_create(&consuming[i], NULL, consume, &consumers[i]), 0);
    }
    for (size_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.queue = queue, .first = i * ITEMS_OF_A_PRODUCER};
        assert_int_equal(pthread_create(&producing[i], NULL, produce, &producers[i]), 0);
    }
    for (size_t i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_join(producing[i], NULL), 0);
    }
    queue_close(queue);
    for (size_t i = 0; i < CONSUMERS; i++) {
        assert_int_equal(pthread_join(consuming[i], NULL), 0);
        assert_true(consumers[i].is_ordered);
    }
    assert_int_equal(atomic_load(&popped), ITEMS);
    for (size_t i = 0; i < ITEMS; i++) {
        assert_int_equal(atomic_load(&times_seen[i]), 1);
    }
    assert_int_equal(queue_length(queue), 0);
}

/* One item at a time, each pushed only when the one before was taken: a waiter that is not woken holds it all up. */
static void hand_over_one_by_one(size_t consumer_count)
{
    enum { HANDED_OVER = 2000 };
    static atomic_int times_seen[ITEMS];
    atomic_size_t popped = 0;
    CLEANUP(queue_free) struct queue *queue = queue_new(SMALL_LIMIT);
    struct consumer consumers[CONSUMERS];
    pthread_t consuming[CONSUMERS];
    for (size_t i = 0; i < consumer_count; i++) {
        consumers[i] = (struct consumer){.queue = queue, .times_seen = times_seen, .popped = &popped};
        assert_int_equal(pthread_create(&consuming[i], NULL, consume, &consumers[i]), 0);
    }
    int64_t deadline = clock_monotonic(NULL) + GENEROUS_MS;
    size_t pushed = 0;
    while (pushed < HANDED_OVER && clock_monotonic(NULL) < deadline) {
        if (atomic_load(&popped) == pushed && queue_push(queue, &numbers[pushed])) {
            pushed++;
        }
        sched_yield();
    }
    queue_close(queue);
    for (size_t i = 0; i < consumer_count; i++) {
        assert_int_equal(pthread_join(consuming[i], NULL), 0);
    }
    assert_int_equal(pushed, HANDED_OVER);
    assert_int_equal(atomic_load(&popped), HANDED_OVER);
}

static void wakes_its_only_waiter_for_every_item(void **state UNUSED)
{
    hand_over_one_by_one(1);
}

static void wakes_one_of_several_waiters_for_every_item(void **state UNUSED)
{
    hand_over_one_by_one(CONSUMERS);
}

static void *pop_patiently(void *context)
{
    return queue_pop(context, GENEROUS_MS);
}

static void a_push_ends_a_wait_long_before_its_timeout(void **state UNUSED)
{
    CLEANUP(queue_free) struct queue *queue = queue_new(1);
    pthread_t thread;
    void *item = NULL;
    int64_t start = clock_monotonic(NULL);
    assert_int_equal(pthread_create(&thread, NULL, pop_patiently, queue), 0);
    assert_true(queue_push(queue, &numbers[5]));
    assert_int_equal(pthread_join(thread, &item), 0);
    assert_ptr_equal(item, &numbers[5]);
    assert_true(clock_monotonic(NULL) - start < GENEROUS_MS);
}

static void closing_wakes_every_waiter(void **state UNUSED)
{
    CLEANUP(queue_free) struct queue *queue = queue_new(1);
    pthread_t threads[CONSUMERS];
    int64_t start = clock_monotonic(NULL);
    for (size_t i = 0; i < CONSUMERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, pop_patiently, queue), 0);
    }
    queue_close(queue);
    for (size_t i = 0; i < CONSUMERS; i++) {
        void *item = queue;
        assert_int_equal(pthread_join(threads[i], &item), 0);
        assert_null(item);
    }
    assert_true(clock_monotonic(NULL) - start < GENEROUS_MS);
}

static void freeing_leaves_null_and_accepts_it(void **state UNUSED)
{
    struct queue *queue = queue_new(1);
    queue_free(&queue);
    assert_null(queue);
    queue_free(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_in_order_what_it_was_given),
        cmocka_unit_test(refuses_more_than_its_limit),
        cmocka_unit_test(waits_as_long_as_it_was_told),
        cmocka_unit_test(drains_after_it_was_closed),
        cmocka_unit_test(loses_and_doubles_nothing_between_threads),
        cmocka_unit_test(wakes_its_only_waiter_for_every_item),
        cmocka_unit_test(wakes_one_of_several_waiters_for_every_item),
        cmocka_unit_test(a_push_ends_a_wait_long_before_its_timeout),
        cmocka_unit_test(closing_wakes_every_waiter),
        cmocka_unit_test(freeing_leaves_null_and_accepts_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
