/* SPDX-License-Identifier: Apache-2.0
 * Tests of what events count: sequences, lag, what is held and since when, and reasons of dead letters. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/events/metrics.h"

enum {
    OUTPUT_MAX = 1 << 20,
    THREADS = 4,
    ROUNDS = 2000,
    LONG_AGO_MS = 100000,
};

/* Each test has a subject of its own, since a process has one registry. */
struct fixture {
    struct subject subject;
    struct route route;
};

static struct fixture *fixture_new(const char *subject)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));
    fixture->subject.name = subject;
    fixture->route.subject = &fixture->subject;
    event_metrics_watch(&fixture->route);
    return fixture;
}

static void fixture_free(struct fixture *fixture)
{
    event_metrics_forget(&fixture->route);
    xfree(fixture);
}

/* The value of the sample that begins like this; -1 if there is none. */
static double value_of(const char *name, const char *labels)
{
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(OUTPUT_MAX);
    CLEANUP(free_pointer) char *start = xasprintf("\n%s{%s} ", name, labels);
    metrics_print(&text);
    assert_false(text.overflowed);
    const char *line = strstr(buffer_text(&text), start);
    return line != NULL ? strtod(line + strlen(start), NULL) : -1;
}

static void assert_value(const char *name, const char *labels, double expected)
{
    assert_float_equal(value_of(name, labels), expected, 0);
}

static void receive(struct arrival *arrival, uint64_t sequence, bool is_again)
{
    arrival->sequence = sequence;
    event_metrics_received(arrival, clock_now(NULL), is_again);
}

static void lag_is_what_was_received_and_not_acknowledged(void **state UNUSED)
{
    struct fixture *fixture = fixture_new("lag");
    struct arrival first = {.route = &fixture->route};
    struct arrival second = {.route = &fixture->route};
    assert_value("turnstile_events_last_received_sequence", "subject=\"lag\"", -1);
    assert_value("turnstile_events_lag", "subject=\"lag\"", 0);
    receive(&first, 7, false);
    assert_value("turnstile_events_last_received_sequence", "subject=\"lag\"", 7);
    assert_value("turnstile_events_last_applied_sequence", "subject=\"lag\"", -1);
    assert_value("turnstile_events_lag", "subject=\"lag\"", 1);
    receive(&second, 9, false); /* nothing is acknowledged yet */
    assert_value("turnstile_events_lag", "subject=\"lag\"", 3);
    event_metrics_ended(&second, false);
    event_metrics_ended(&first, true);
    receive(&second, 10, false);
    assert_value("turnstile_events_last_applied_sequence", "subject=\"lag\"", 7);
    assert_value("turnstile_events_lag", "subject=\"lag\"", 3);
    event_metrics_ended(&second, false); /* dropped: it comes again */
    assert_value("turnstile_events_lag", "subject=\"lag\"", 3);
    receive(&second, 10, true);
    event_metrics_ended(&second, true);
    assert_value("turnstile_events_lag", "subject=\"lag\"", 0);
    receive(&first, 7, true); /* an old one again changes nothing */
    event_metrics_ended(&first, true);
    assert_value("turnstile_events_last_received_sequence", "subject=\"lag\"", 10);
    assert_value("turnstile_events_last_applied_sequence", "subject=\"lag\"", 10);
    assert_value("turnstile_events_received_total", "subject=\"lag\"", 5);
    assert_value("turnstile_events_redelivered_total", "subject=\"lag\"", 2);
    fixture_free(fixture);
}

static void a_bus_that_counts_anew_is_followed(void **state UNUSED)
{
    struct fixture *fixture = fixture_new("anew");
    struct arrival arrival = {.route = &fixture->route};
    receive(&arrival, 100, false);
    event_metrics_ended(&arrival, true);
    receive(&arrival, 2, false);
    assert_value("turnstile_events_last_received_sequence", "subject=\"anew\"", 2);
    assert_value("turnstile_events_lag", "subject=\"anew\"", 1);
    event_metrics_ended(&arrival, true);
    assert_value("turnstile_events_last_applied_sequence", "subject=\"anew\"", 2);
    assert_value("turnstile_events_lag", "subject=\"anew\"", 0);
    fixture_free(fixture);
}

static void the_oldest_that_is_held_gives_the_age(void **state UNUSED)
{
    struct fixture *fixture = fixture_new("held");
    struct arrival held[3] = {{.route = &fixture->route}, {.route = &fixture->route}, {.route = &fixture->route}};
    for (size_t i = 0; i < 3; i++) {
        event_metrics_held(&held[i]);
    }
    held[0].metrics.held_since -= 3 * LONG_AGO_MS;
    held[1].metrics.held_since -= 2 * LONG_AGO_MS;
    held[2].metrics.held_since -= 1 * LONG_AGO_MS;
    assert_value("turnstile_events_held", "subject=\"held\"", 3);
    assert_true(value_of("turnstile_events_held_oldest_age_seconds", "subject=\"held\"") >= 300);
    event_metrics_ended(&held[1], true); /* from the middle */
    assert_value("turnstile_events_held", "subject=\"held\"", 2);
    assert_true(value_of("turnstile_events_held_oldest_age_seconds", "subject=\"held\"") >= 300);
    event_metrics_ended(&held[0], false); /* from the beginning */
    double age = value_of("turnstile_events_held_oldest_age_seconds", "subject=\"held\"");
    assert_true(age >= 100 && age < 200);
    event_metrics_ended(&held[2], true); /* the last */
    assert_value("turnstile_events_held", "subject=\"held\"", 0);
    assert_value("turnstile_events_held_oldest_age_seconds", "subject=\"held\"", 0);
    fixture_free(fixture);
}

static void dead_letters_have_the_reason_of_their_kind(void **state UNUSED)
{
    struct fixture *fixture = fixture_new("dead");
    char reason[] = "invalid JSON";
    const struct arrival malformed = {.route = &fixture->route, .reason = reason};
    const struct arrival failed = {.route = &fixture->route, .attempts = EVENT_ATTEMPTS_MAX};
    const struct arrival stray = {.route = &fixture->route, .attempts = 1};
    assert_value("turnstile_dead_letters_total", "subject=\"dead\",reason=\"malformed\"", 0);
    event_metrics_buried(&malformed);
    event_metrics_buried(&failed);
    event_metrics_buried(&failed);
    event_metrics_buried(&stray);
    assert_value("turnstile_dead_letters_total", "subject=\"dead\",reason=\"malformed\"", 1);
    assert_value("turnstile_dead_letters_total", "subject=\"dead\",reason=\"failed\"", 2);
    assert_value("turnstile_dead_letters_total", "subject=\"dead\",reason=\"stray\"", 1);
    fixture_free(fixture);
}

static void a_gap_counts_once_and_what_is_applied_has_its_delay(void **state UNUSED)
{
    struct fixture *fixture = fixture_new("tried");
    struct arrival arrival = {.route = &fixture->route};
    arrival.sequence = 1;
    event_metrics_received(&arrival, clock_now(NULL) - LONG_AGO_MS, false);
    event_metrics_tried(&arrival, OUTCOME_GAP);
    arrival.is_held = true;
    event_metrics_held(&arrival);
    event_metrics_tried(&arrival, OUTCOME_GAP);
    event_metrics_tried(&arrival, OUTCOME_GAP);
    event_metrics_tried(&arrival, OUTCOME_APPLIED);
    event_metrics_ended(&arrival, true);
    assert_value("turnstile_events_outcomes_total", "subject=\"tried\",outcome=\"gap\"", 1);
    assert_value("turnstile_events_outcomes_total", "subject=\"tried\",outcome=\"applied\"", 1);
    assert_value("turnstile_events_outcomes_total", "subject=\"tried\",outcome=\"stray\"", 0);
    assert_value("turnstile_events_delay_seconds_count", "subject=\"tried\"", 1);
    assert_value("turnstile_events_delay_seconds_bucket", "subject=\"tried\",le=\"60\"", 0);
    assert_value("turnstile_events_delay_seconds_bucket", "subject=\"tried\",le=\"600\"", 1);
    fixture_free(fixture);
}

static void *hold_and_release(void *context)
{
    struct fixture *fixture = context;
    for (int i = 0; i < ROUNDS; i++) {
        struct arrival held[2] = {{.route = &fixture->route}, {.route = &fixture->route}};
        event_metrics_held(&held[0]);
        event_metrics_held(&held[1]);
        event_metrics_ended(&held[i % 2], true);
        event_metrics_ended(&held[1 - i % 2], true);
    }
    return NULL;
}

static void shards_hold_side_by_side_while_others_print(void **state UNUSED)
{
    struct fixture *fixture = fixture_new("side by side");
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_release, fixture), 0);
    }
    for (int i = 0; i < 20; i++) {
        double held = value_of("turnstile_events_held", "subject=\"side by side\"");
        assert_true(held >= 0 && held <= 2 * THREADS);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_value("turnstile_events_held", "subject=\"side by side\"", 0);
    assert_null(fixture->route.metrics.first_held);
    assert_null(fixture->route.metrics.last_held);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lag_is_what_was_received_and_not_acknowledged),
        cmocka_unit_test(a_bus_that_counts_anew_is_followed),
        cmocka_unit_test(the_oldest_that_is_held_gives_the_age),
        cmocka_unit_test(dead_letters_have_the_reason_of_their_kind),
        cmocka_unit_test(a_gap_counts_once_and_what_is_applied_has_its_delay),
        cmocka_unit_test(shards_hold_side_by_side_while_others_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
