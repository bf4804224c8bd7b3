/* SPDX-License-Identifier: Apache-2.0
 * How far subjects have come: what the bus makes of what its driver finds, and of what is confirmed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/text.h"
#include "tests/unit/bus_fake.h"

/* What was told, in the order in which it was, as text: "lost one 5 3;up;" */
static struct {
    pthread_mutex_t mutex;
    char text[512];
} told = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void tell(const char *text)
{
    pthread_mutex_lock(&told.mutex);
    size_t length = strlen(told.text);
    text_copy_cut(told.text + length, sizeof(told.text) - length, text);
    pthread_mutex_unlock(&told.mutex);
}

static void expect_told(const char *text)
{
    pthread_mutex_lock(&told.mutex);
    char copy[sizeof(told.text)];
    memcpy(copy, told.text, sizeof(copy));
    told.text[0] = '\0';
    pthread_mutex_unlock(&told.mutex);
    assert_string_equal(copy, text);
}

static void state_changed(struct bus *bus UNUSED, enum bus_state state, void *context UNUSED)
{
    tell(state == BUS_UP ? "up;" : state == BUS_CONNECTING ? "connecting;" : "closed;");
}

static void history_lost(struct bus *bus, const char *subject, uint64_t expected, uint64_t found, void *context UNUSED)
{
    char text[128];
    snprintf(text, sizeof(text), "lost %s %u %u now %u;", subject, (unsigned)expected, (unsigned)found,
             (unsigned)bus_position(bus, subject)); /* no mutex is held */
    tell(text);
}

/* What another process has published on "one"; 0: that is not to be learned. */
static bool will_look(struct bus *bus, void *context, struct error *error)
{
    const _Atomic uint64_t *known = context;
    (void)bus_position(bus, "one"); /* no mutex is held */
    tell("look;");
    if (*known == 0) {
        return error_set(error, ERROR_UNAVAILABLE, "nobody can say");
    }
    bus_expect(bus, "one", *known);
    return true;
}

static struct bus *open_at(uint64_t one, uint64_t two)
{
    const struct bus_position positions[] = {{.subject = "one", .sequence = one}, {.subject = "two", .sequence = two}};
    const struct bus_config config = {
        .client_id = "position",
        .publish_limit = PUBLICATIONS_MAX,
        .state_changed = state_changed,
        .positions = positions,
        .position_count = ARRAY_LENGTH(positions),
        .history_lost = history_lost,
    };
    return fake_open_as(&config);
}

static void find(uint64_t one, uint64_t two)
{
    pthread_mutex_lock(&fake.mutex);
    fake.found[0] = one;
    fake.found[1] = two;
    pthread_mutex_unlock(&fake.mutex);
}

static int forget(void **state)
{
    told.text[0] = '\0';
    return fake_reset(state);
}

static void close_and_expect(struct bus **bus, const char *text)
{
    assert_true(bus_wait_up(*bus, WAIT_MS));
    bus_close(bus, 0);
    expect_told(text);
}

static void ignore(bool stored UNUSED, void *context UNUSED)
{
}

static struct bus_publication *publish(struct bus *bus, const char *subject)
{
    size_t count = fake.publication_count;
    assert_true(bus_publish(bus, subject, NULL, "data", 4, ignore, NULL));
    fake_wait_for(&fake.publication_count, count + 1);
    return fake.publications[count];
}

/* ---- finding ---- */

static void takes_what_is_found_if_it_is_no_less(void **state UNUSED)
{
    find(7, 12);
    struct bus *bus = open_at(7, 3);
    assert_true(bus_wait_up(bus, WAIT_MS));
    assert_int_equal(fake.asked[0].sequence, 7);
    assert_string_equal(fake.asked[1].subject, "two");
    assert_int_equal(bus_position(bus, "one"), 7);
    assert_int_equal(bus_position(bus, "two"), 12);
    assert_int_equal(bus_position(bus, "three"), 0);
    close_and_expect(&bus, "up;closed;");
}

static void tells_of_each_subject_that_lost_history_before_the_bus_is_up(void **state UNUSED)
{
    find(3, 0);
    struct bus *bus = open_at(120, 1);
    close_and_expect(&bus, "lost one 120 3 now 3;lost two 1 0 now 0;up;closed;");
}

static void tells_of_a_loss_once_and_looks_again_with_each_connection(void **state UNUSED)
{
    find(3, 9);
    struct bus *bus = open_at(5, 9);
    assert_true(bus_wait_up(bus, WAIT_MS));
    fake_lose_connection(bus);
    fake_wait_for(&fake.finds, 2);
    assert_int_equal(fake.asked[0].sequence, 3);
    find(3, 8);
    fake_lose_connection(bus);
    close_and_expect(&bus, "lost one 5 3 now 3;up;connecting;up;connecting;lost two 9 8 now 8;up;closed;");
}

static void looks_for_nothing_where_nothing_is_followed(void **state UNUSED)
{
    struct bus *bus = fake_open();
    assert_true(bus_wait_up(bus, WAIT_MS));
    bus_close(&bus, 0);
    assert_int_equal(fake.finds, 0);
}

static void a_connection_that_cannot_tell_is_no_good(void **state UNUSED)
{
    fake.failing_finds = 2;
    find(4, 4);
    struct bus *bus = open_at(4, 4);
    assert_true(bus_wait_up(bus, WAIT_MS));
    assert_int_equal(fake.finds, 3);
    assert_int_equal(fake.disconnects, 2);
    assert_int_equal(bus_position(bus, "one"), 4);
    close_and_expect(&bus, "up;closed;");
}

static void gives_up_a_driver_that_hangs_while_it_looks(void **state UNUSED)
{
    fake.hang_finds = 1;
    find(4, 4);
    struct bus *bus = open_at(5, 0);
    assert_true(bus_wait_up(bus, WAIT_MS)); /* by the second connection */
    assert_int_equal(bus_position(bus, "one"), 4);
    find(1, 1);
    fake_set(&fake.hang_finds, 0); /* the first comes back, and has nothing to say any more */
    fake_wait_for(&fake.disconnects, 1);
    assert_int_equal(bus_position(bus, "one"), 4);
    close_and_expect(&bus, "lost one 5 4 now 4;up;closed;");
}

static void what_another_process_knows_counts_for_the_next_connection(void **state UNUSED)
{
    find(6, 0);
    struct bus *bus = open_at(0, 0);
    assert_true(bus_wait_up(bus, WAIT_MS));
    bus_expect(bus, "one", 8);
    bus_expect(bus, "one", 7);
    bus_expect(bus, "three", 7);
    assert_int_equal(bus_position(bus, "one"), 6);
    fake_lose_connection(bus);
    fake_lose_connection(bus);
    close_and_expect(&bus, "up;connecting;lost one 8 6 now 6;up;connecting;up;closed;");
}

static struct bus *open_with_others(_Atomic uint64_t *known)
{
    const struct bus_position positions[] = {{.subject = "one"}};
    const struct bus_config config = {
        .client_id = "position",
        .publish_limit = PUBLICATIONS_MAX,
        .state_changed = state_changed,
        .positions = positions,
        .position_count = ARRAY_LENGTH(positions),
        .will_look = will_look,
        .history_lost = history_lost,
        .context = known,
    };
    return fake_open_as(&config);
}

static void whoever_knows_more_tells_before_each_connection_looks(void **state UNUSED)
{
    _Atomic uint64_t known = 8;
    find(8, 0);
    struct bus *bus = open_with_others(&known);
    assert_true(bus_wait_up(bus, WAIT_MS));
    assert_int_equal(fake.asked[0].sequence, 8);
    find(6, 0);
    fake_lose_connection(bus);
    close_and_expect(&bus, "look;up;connecting;look;lost one 8 6 now 6;up;closed;");
}

static void a_connection_is_given_up_while_what_others_know_is_not_to_be_learned(void **state UNUSED)
{
    _Atomic uint64_t known = 0;
    find(8, 0);
    struct bus *bus = open_with_others(&known);
    fake_wait_for(&fake.disconnects, 1);
    assert_int_equal(bus_state(bus), BUS_CONNECTING);
    assert_int_equal(fake.finds, 0);
    known = 8;
    assert_true(bus_wait_up(bus, WAIT_MS));
    assert_int_equal(fake.asked[0].sequence, 8);
    bus_close(&bus, 0);
}

/* ---- publishing ---- */

static void confirmed_publishes_raise_the_position(void **state UNUSED)
{
    find(10, 0);
    struct bus *bus = open_at(0, 0);
    assert_true(bus_wait_up(bus, WAIT_MS));
    bus_publication_confirmed(publish(bus, "one"), true, 0); /* the engine does not say: one more */
    assert_int_equal(bus_position(bus, "one"), 11);
    bus_publication_confirmed(publish(bus, "one"), true, 20);
    assert_int_equal(bus_position(bus, "one"), 20);
    bus_publication_confirmed(publish(bus, "one"), true, 15); /* they may be confirmed in any order */
    assert_int_equal(bus_position(bus, "one"), 20);
    bus_publication_confirmed(publish(bus, "one"), false, 30);
    bus_publication_confirmed(publish(bus, "one"), false, 0);
    bus_publication_confirmed(publish(bus, "three"), true, 40);
    assert_int_equal(bus_position(bus, "one"), 20);
    assert_int_equal(bus_position(bus, "two"), 0);
    fake.publication_count = 0;
    bus_close(&bus, 0);
}

static void a_confirmation_of_an_older_connection_raises_nothing(void **state UNUSED)
{
    find(10, 10);
    struct bus *bus = open_at(10, 10);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct bus_publication *late = publish(bus, "one"), *later = publish(bus, "two");
    find(2, 2);
    fake_lose_connection(bus);
    bus_publication_confirmed(late, true, 11);
    bus_publication_confirmed(later, true, 0);
    assert_int_equal(bus_position(bus, "one"), 2);
    assert_int_equal(bus_position(bus, "two"), 2);
    fake.publication_count = 0;
    bus_close(&bus, 0);
}

/* ---- what is refused ---- */

static void follows_only_subjects_and_not_too_many(void **state UNUSED)
{
    static const struct bus_position wrong[] = {{.subject = "one"}, {.subject = "Not a subject"}};
    struct bus *bus = NULL;
    struct error error = ERROR_INIT;
    struct bus_config config = {.uri = "stan://127.0.0.1:1/ticketing",
                                .client_id = "refused",
                                .publish_limit = 1,
                                .positions = wrong,
                                .position_count = 2};
    assert_false(bus_open(&config, &bus, &error));
    assert_int_equal(error.code, ERROR_INVALID);
    config.position_count = BUS_POSITIONS_MAX + 1;
    assert_false(bus_open(&config, &bus, &error));
    assert_int_equal(error.code, ERROR_INVALID);
    assert_null(bus);
}

#define position_test(function) cmocka_unit_test_setup_teardown(function, forget, fake_reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        position_test(takes_what_is_found_if_it_is_no_less),
        position_test(tells_of_each_subject_that_lost_history_before_the_bus_is_up),
        position_test(tells_of_a_loss_once_and_looks_again_with_each_connection),
        position_test(looks_for_nothing_where_nothing_is_followed),
        position_test(a_connection_that_cannot_tell_is_no_good),
        position_test(gives_up_a_driver_that_hangs_while_it_looks),
        position_test(what_another_process_knows_counts_for_the_next_connection),
        position_test(whoever_knows_more_tells_before_each_connection_looks),
        position_test(a_connection_is_given_up_while_what_others_know_is_not_to_be_learned),
        position_test(confirmed_publishes_raise_the_position),
        position_test(a_confirmation_of_an_older_connection_raises_nothing),
        position_test(follows_only_subjects_and_not_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
