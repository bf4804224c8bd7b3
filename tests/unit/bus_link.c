/* SPDX-License-Identifier: Apache-2.0
 * The bus without a server: what it does with a driver that hangs, fails, or reports too late. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/bus/handle.h"
#include "tests/unit/bus_fake.h"

/* ---- connecting ---- */

static void gives_up_an_attempt_that_hangs_and_makes_another(void **state UNUSED)
{
    fake.hang_connects = 1;
    struct bus *bus = fake_open();
    assert_true(bus_wait_up(bus, WAIT_MS)); /* by the second one */
    assert_int_equal(fake.attempts, 2);
    assert_int_equal(fake.connects, 1);
    fake_set(&fake.hang_connects, 0); /* the first comes back, and is closed at once */
    fake_wait_for(&fake.disconnects, 1);
    assert_int_equal(bus_state(bus), BUS_UP);
    bus_close(&bus, 0);
    assert_int_equal(fake.disconnects, 2);
}

static void starts_no_more_attempts_when_too_many_hang(void **state UNUSED)
{
    fake.hang_connects = CONNECTIONS_MAX;
    struct bus *bus = fake_open();
    fake_wait_for(&fake.attempts, BUS_LINKS_ABANDONED_MAX);
    assert_false(bus_wait_up(bus, 2 * HANG_MS));
    assert_int_equal(fake.attempts, BUS_LINKS_ABANDONED_MAX);
    fake_set(&fake.hang_connects, 0);
    assert_true(bus_wait_up(bus, WAIT_MS));
    bus_close(&bus, 0);
    fake_wait_for(&fake.disconnects, BUS_LINKS_ABANDONED_MAX + 1);
}

static void closes_while_an_attempt_hangs(void **state UNUSED)
{
    fake.hang_connects = 1;
    struct bus *bus = fake_open();
    fake_wait_for(&fake.attempts, 1);
    int64_t start = clock_monotonic(NULL);
    bus_close(&bus, 0);
    assert_in_range(clock_monotonic(NULL) - start, 0, BUS_LEAVE_MAX_MS + 1000);
    fake_set(&fake.hang_connects, 0); /* what is left cleans up after itself */
    fake_wait_for(&fake.disconnects, 1);
}

static void waits_longer_from_failure_to_failure(void **state UNUSED)
{
    fake.failing_connects = 4;
    struct bus *bus = fake_open();
    assert_true(bus_wait_up(bus, WAIT_MS));
    for (size_t i = 0; i < 4; i++) {
        int64_t pause = fake.attempt_times[i + 1] - fake.attempt_times[i];
        assert_true(pause >= (100 << i) * 3 / 4);
        assert_true(pause <= (100 << i) * 5 / 4 + 1000); /* the rest is for a busy machine */
    }
    bus_close(&bus, 0);
}

/* ---- publishing ---- */

struct tally {
    atomic_size_t calls, stored;
    int64_t pause_ms; /* how long the confirmation takes */
};

static void count(bool stored, void *context)
{
    struct tally *tally = context;
    if (tally->pause_ms > 0) {
        struct timespec pause = {.tv_nsec = tally->pause_ms * 1000000};
        nanosleep(&pause, NULL);
    }
    tally->calls++;
    tally->stored += stored;
}

static void publish(struct bus *bus, struct tally *tally, size_t times)
{
    for (size_t i = 0; i < times; i++) {
        assert_true(bus_publish(bus, "subject", NULL, "data", 4, count, tally));
    }
}

static void confirm_all(bool stored)
{
    for (size_t i = 0; i < fake.publication_count; i++) {
        bus_publication_confirmed(fake.publications[i], stored, 0);
    }
    fake.publication_count = 0;
}

static void confirms_each_publish_once_even_if_the_engine_does_so_after_the_loss(void **state UNUSED)
{
    struct tally tally = {.calls = 0};
    struct bus *bus = fake_open();
    assert_true(bus_wait_up(bus, WAIT_MS));
    publish(bus, &tally, 3);
    fake_wait_for(&fake.publication_count, 3);
    bus_publication_confirmed(fake.publications[1], true, 0);
    fake.publications[1] = fake.publications[--fake.publication_count];
    assert_int_equal(tally.calls, 1);
    fake_lose_connection(bus);
    assert_int_equal(tally.calls, 3);
    assert_int_equal(tally.stored, 1);
    confirm_all(true);
    assert_int_equal(tally.calls, 3);
    assert_int_equal(tally.stored, 1);
    bus_close(&bus, 0);
}

static void fails_what_is_in_flight_at_close(void **state UNUSED)
{
    struct tally tally = {.calls = 0};
    struct bus *bus = fake_open();
    assert_true(bus_wait_up(bus, WAIT_MS));
    publish(bus, &tally, 2);
    fake_wait_for(&fake.publication_count, 2);
    bus_close(&bus, 50);
    assert_int_equal(tally.calls, 2);
    assert_int_equal(tally.stored, 0);
    confirm_all(true); /* the bus is gone, what the engine holds is not */
    assert_int_equal(tally.calls, 2);
}

static void *confirm_in_a_thread(void *context UNUSED)
{
    confirm_all(true);
    return NULL;
}

static void closing_waits_for_a_confirmation_at_work(void **state UNUSED)
{
    struct tally tally = {.pause_ms = 300};
    struct bus *bus = fake_open();
    assert_true(bus_wait_up(bus, WAIT_MS));
    publish(bus, &tally, 1);
    fake_wait_for(&fake.publication_count, 1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, confirm_in_a_thread, NULL), 0);
    bus_close(&bus, 0);
    assert_int_equal(tally.calls, 1);
    pthread_join(thread, NULL);
    assert_int_equal(tally.calls, 1);
}

static bool has_calls(const struct tally *tally, size_t calls)
{
    for (int64_t deadline = clock_monotonic(NULL) + WAIT_MS; clock_monotonic(NULL) < deadline; usleep(1000)) {
        if (tally->calls >= calls) {
            return true;
        }
    }
    return false;
}

static void a_refused_publish_fails_alone_and_a_broken_one_takes_the_connection_along(void **state UNUSED)
{
    struct tally tally = {.calls = 0};
    struct bus *bus = fake_open();
    assert_true(bus_wait_up(bus, WAIT_MS));
    fake_set(&fake.publish_failure, ERROR_CONFLICT);
    publish(bus, &tally, 1);
    assert_true(has_calls(&tally, 1));
    assert_int_equal(fake.disconnects, 0);
    fake_set(&fake.publish_failure, ERROR_UNAVAILABLE);
    publish(bus, &tally, 1);
    assert_true(has_calls(&tally, 2));
    fake_wait_for(&fake.disconnects, 1);
    fake_wait_for(&fake.connects, 2);
    assert_int_equal(tally.stored, 0);
    bus_close(&bus, 0);
}

/* ---- receiving ---- */

struct catcher {
    atomic_size_t caught, running, most_running;
    struct delivery *delivery; /* kept if it may be */
    bool keeps;
};

static void catch_delivery(struct delivery *delivery, void *context)
{
    struct catcher *catcher = context;
    size_t running = ++catcher->running;
    if (running > catcher->most_running) {
        catcher->most_running = running;
    }
    struct timespec pause = {.tv_nsec = 50 * 1000000};
    nanosleep(&pause, NULL);
    catcher->running--;
    catcher->caught++;
    if (catcher->keeps) {
        catcher->delivery = delivery;
    } else {
        bus_drop(delivery);
    }
}

static struct bus *subscribe_catcher(struct bus *bus, struct catcher *catcher)
{
    struct error error = ERROR_INIT;
    struct subscription subscription = {.subject = "subject", .ack_wait_ms = 1000, .in_flight = 1};
    assert_true(bus_subscribe(bus, &subscription, catch_delivery, catcher, &error));
    assert_true(bus_wait_up(bus, WAIT_MS));
    return bus;
}

static struct bus *open_with_catcher(struct catcher *catcher)
{
    return subscribe_catcher(fake_open(), catcher);
}

static void deliver(struct bus_link *link)
{
    struct delivery *delivery = bus_delivery_new(link, link->bus->desired[0]);
    bus_link_deliver(delivery);
}

static void *deliver_in_a_thread(void *link)
{
    deliver(link);
    return NULL;
}

static void drops_a_message_that_comes_after_the_connection_has_ended(void **state UNUSED)
{
    struct catcher catcher = {.caught = 0};
    struct bus *bus = open_with_catcher(&catcher);
    struct bus_link *old = bus_link_retain(fake.link);
    deliver(old);
    assert_int_equal(catcher.caught, 1);
    fake_lose_connection(bus);
    deliver(old);
    assert_int_equal(catcher.caught, 1);
    assert_int_equal(fake.messages_freed, 2);
    bus_close(&bus, 0);
    bus_link_release(&old);
}

static void acknowledges_over_the_connection_that_a_message_came_by_or_not_at_all(void **state UNUSED)
{
    struct catcher catcher = {.keeps = true};
    struct bus *bus = open_with_catcher(&catcher);
    deliver(fake.link);
    bus_ack(TAKE(catcher.delivery));
    fake_wait_for(&fake.acknowledged, 1);
    deliver(fake.link);
    fake_lose_connection(bus);
    bus_ack(TAKE(catcher.delivery));
    assert_int_equal(fake.messages_freed, 2); /* at once, since there is nobody to tell */
    bus_close(&bus, 0);
    assert_int_equal(fake.acknowledged, 1);
}

/* Delivers one message, which the catcher keeps, over a driver that can drop and extend. */
static struct bus *open_and_catch(struct catcher *catcher)
{
    struct bus *bus = subscribe_catcher(fake_open_capable(), catcher);
    deliver(fake.link);
    assert_int_equal(catcher->caught, 1);
    return bus;
}

static void gives_back_what_is_dropped_where_the_engine_takes_it(void **state UNUSED)
{
    struct catcher catcher = {.keeps = true};
    struct bus *bus = open_and_catch(&catcher);
    bus_drop(TAKE(catcher.delivery));
    fake_wait_for(&fake.dropped, 1);
    fake_wait_for(&fake.messages_freed, 1);
    deliver(fake.link);
    fake_lose_connection(bus);
    bus_drop(TAKE(catcher.delivery));
    assert_int_equal(fake.messages_freed, 2); /* at once, since there is nobody to tell */
    bus_stop_receiving(bus);
    deliver(fake.link); /* what nobody takes any more */
    fake_wait_for(&fake.dropped, 2);
    bus_close(&bus, 0);
    assert_int_equal(fake.dropped, 2);
    assert_int_equal(fake.acknowledged, 0);
}

static void a_message_outlives_the_extension_that_is_to_be_sent(void **state UNUSED)
{
    struct catcher catcher = {.keeps = true};
    struct bus *bus = open_and_catch(&catcher);
    fake_set(&fake.hang_sends, 1);
    bus_extend(catcher.delivery);
    bus_extend(catcher.delivery); /* more than one wait only if the first has been sent */
    bus_extend(catcher.delivery);
    bus_ack(TAKE(catcher.delivery));
    assert_int_equal(fake.messages_freed, 0);
    fake_set(&fake.hang_sends, 0);
    fake_wait_for(&fake.acknowledged, 1); /* after the extensions: in the order of the calls */
    assert_in_range(fake.extended, 1, 2);
    fake_wait_for(&fake.messages_freed, 1);
    bus_close(&bus, 0);
}

static void extends_as_often_as_it_is_asked_to(void **state UNUSED)
{
    struct catcher catcher = {.keeps = true};
    struct bus *bus = open_and_catch(&catcher);
    for (size_t i = 1; i <= 3; i++) {
        bus_extend(catcher.delivery);
        fake_wait_for(&fake.extended, i);
    }
    bus_drop(TAKE(catcher.delivery));
    fake_wait_for(&fake.dropped, 1);
    assert_int_equal(fake.last_sent, 'd');
    bus_close(&bus, 0);
    assert_int_equal(fake.messages_freed, 1);
}

static void an_extension_that_cannot_be_sent_any_more_is_forgotten(void **state UNUSED)
{
    struct catcher catcher = {.keeps = true};
    struct bus *bus = open_and_catch(&catcher);
    fake_set(&fake.hang_sends, 1);
    bus_extend(catcher.delivery);
    struct delivery *first = TAKE(catcher.delivery);
    catcher.caught = 0;
    deliver(fake.link);
    bus_extend(catcher.delivery); /* waits behind the one that hangs */
    bus_link_lost(fake.link, "the test says so");
    fake_set(&fake.hang_sends, 0);
    fake_wait_for(&fake.connects, 2);
    bus_extend(catcher.delivery); /* of an older connection */
    assert_int_equal(fake.messages_freed, 0);
    bus_drop(first);
    bus_ack(TAKE(catcher.delivery));
    assert_int_equal(fake.messages_freed, 2);
    assert_in_range(fake.extended, 1, 2);
    assert_true(bus_wait_up(bus, WAIT_MS));
    bus_close(&bus, 0);
}

static void extending_does_nothing_where_the_engine_cannot(void **state UNUSED)
{
    struct catcher catcher = {.keeps = true};
    struct bus *bus = open_with_catcher(&catcher);
    deliver(fake.link);
    bus_extend(catcher.delivery);
    bus_drop(TAKE(catcher.delivery));
    assert_int_equal(fake.messages_freed, 1);
    bus_close(&bus, 0);
    assert_int_equal(fake.extended, 0);
    assert_int_equal(fake.dropped, 0);
}

static void runs_a_receive_function_once_at_a_time_across_connections(void **state UNUSED)
{
    struct catcher catcher = {.caught = 0};
    struct bus *bus = open_with_catcher(&catcher);
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, deliver_in_a_thread, fake.link), 0);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(catcher.caught, ARRAY_LENGTH(threads));
    assert_int_equal(catcher.most_running, 1);
    bus_close(&bus, 0);
}

static void stopping_waits_for_a_receive_function_at_work(void **state UNUSED)
{
    struct catcher catcher = {.caught = 0};
    struct bus *bus = open_with_catcher(&catcher);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, deliver_in_a_thread, fake.link), 0);
    while (catcher.running == 0) {
        usleep(100);
    }
    bus_stop_receiving(bus);
    assert_int_equal(catcher.caught, 1);
    pthread_join(thread, NULL);
    deliver(fake.link);
    assert_int_equal(catcher.caught, 1);
    bus_close(&bus, 0);
}

/* ---- handles ---- */

static void a_freed_handle_leads_nowhere(void **state UNUSED)
{
    struct bus *bus = fake_open();
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct bus_link *found = NULL;
    const void *object = NULL;
    void *first = bus_handle_new(fake.link, "first");
    void *second = bus_handle_new(fake.link, "second");
    assert_ptr_not_equal(first, second);
    assert_true(bus_handle_find(second, &found, &object));
    assert_ptr_equal(found, fake.link);
    assert_string_equal(object, "second");
    bus_link_release(&found);
    bus_handle_free(first);
    assert_false(bus_handle_find(first, &found, &object));
    bus_handle_free(first);
    bus_handle_free(second);
    void *third = bus_handle_new(fake.link, "third");
    assert_ptr_not_equal(third, first);
    assert_ptr_not_equal(third, second);
    bus_handle_free(third);
    assert_false(bus_handle_find(NULL, &found, &object));
    bus_close(&bus, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fake_test(gives_up_an_attempt_that_hangs_and_makes_another),
        fake_test(starts_no_more_attempts_when_too_many_hang),
        fake_test(closes_while_an_attempt_hangs),
        fake_test(waits_longer_from_failure_to_failure),
        fake_test(confirms_each_publish_once_even_if_the_engine_does_so_after_the_loss),
        fake_test(fails_what_is_in_flight_at_close),
        fake_test(closing_waits_for_a_confirmation_at_work),
        fake_test(a_refused_publish_fails_alone_and_a_broken_one_takes_the_connection_along),
        fake_test(drops_a_message_that_comes_after_the_connection_has_ended),
        fake_test(acknowledges_over_the_connection_that_a_message_came_by_or_not_at_all),
        fake_test(gives_back_what_is_dropped_where_the_engine_takes_it),
        fake_test(a_message_outlives_the_extension_that_is_to_be_sent),
        fake_test(extends_as_often_as_it_is_asked_to),
        fake_test(an_extension_that_cannot_be_sent_any_more_is_forgotten),
        fake_test(extending_does_nothing_where_the_engine_cannot),
        fake_test(runs_a_receive_function_once_at_a_time_across_connections),
        fake_test(stopping_waits_for_a_receive_function_at_work),
        fake_test(a_freed_handle_leads_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
