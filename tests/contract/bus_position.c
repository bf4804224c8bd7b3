/* SPDX-License-Identifier: Apache-2.0
 * How far subjects have come, on every engine of the bus: what is published raises it, what a restart keeps is not
 * missed, and what a server has forgotten is noticed by whoever connects to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "tests/contract/bus_fixture.h"

enum {
    HAPPENED_MAX = 32,
    FEW = 5,
    MANY = 12,
    PAUSE_MS = 2500, /* longer than any engine waits before it takes silence for emptiness */
};

static const char *const followed[] = {"position:one", "position:two"};

/* A history that was lost or, with no subject, a state. */
struct happened {
    char subject[BUS_SUBJECT_MAX];
    enum bus_state state;
    uint64_t expected, found;
};

struct scene {
    struct bus_server *server;
    struct bus *bus;
    pthread_mutex_t mutex;
    size_t count;
    struct happened happened[HAPPENED_MAX];
};

static int set_scene(void **state)
{
    struct scene *scene = xcalloc(1, sizeof(*scene));
    pthread_mutex_init(&scene->mutex, NULL);
    scene->server = bus_server_new(BUS_SERVER_FILE, NULL, NULL);
    bus_server_start(scene->server);
    *state = scene;
    return 0;
}

static int clear_scene(void **state)
{
    struct scene *scene = *state;
    bus_close(&scene->bus, 0);
    bus_server_free(&scene->server);
    pthread_mutex_destroy(&scene->mutex);
    xfree(scene);
    return 0;
}

static void record(struct scene *scene, const struct happened *happened)
{
    pthread_mutex_lock(&scene->mutex);
    if (scene->count < HAPPENED_MAX) {
        scene->happened[scene->count] = *happened;
    }
    scene->count++;
    pthread_mutex_unlock(&scene->mutex);
}

static void state_changed(struct bus *bus UNUSED, enum bus_state state, void *context)
{
    record(context, &(struct happened){.state = state});
}

static void history_lost(struct bus *bus, const char *subject, uint64_t expected, uint64_t found, void *context)
{
    struct happened happened = {.state = bus_state(bus), .expected = expected, .found = found};
    text_copy_cut(happened.subject, sizeof(happened.subject), subject);
    if (bus_position(bus, subject) != found) {
        happened.found = UINT64_MAX; /* the position is set before */
    }
    record(context, &happened);
}

static struct happened happened_at(struct scene *scene, size_t index)
{
    pthread_mutex_lock(&scene->mutex);
    struct happened happened = scene->happened[index];
    pthread_mutex_unlock(&scene->mutex);
    return happened;
}

/* The histories that were lost; the one of this index, if there is. */
static size_t find_lost(struct scene *scene, size_t index, struct happened *ret_lost)
{
    size_t count = 0;
    pthread_mutex_lock(&scene->mutex);
    for (size_t i = 0; i < scene->count && i < HAPPENED_MAX; i++) {
        if (scene->happened[i].subject[0] != '\0') {
            if (count == index) {
                *ret_lost = scene->happened[i];
            }
            count++;
        }
    }
    pthread_mutex_unlock(&scene->mutex);
    return count;
}

static size_t lost_count(struct scene *scene)
{
    struct happened lost;
    return find_lost(scene, SIZE_MAX, &lost);
}

static size_t happened_count(struct scene *scene)
{
    pthread_mutex_lock(&scene->mutex);
    size_t count = scene->count;
    pthread_mutex_unlock(&scene->mutex);
    return count;
}

/* How often it was told that the bus is up. */
static size_t ups(struct scene *scene)
{
    size_t count = 0;
    pthread_mutex_lock(&scene->mutex);
    for (size_t i = 0; i < scene->count && i < HAPPENED_MAX; i++) {
        count += scene->happened[i].subject[0] == '\0' && scene->happened[i].state == BUS_UP;
    }
    pthread_mutex_unlock(&scene->mutex);
    return count;
}

static bool is_up(void *scene)
{
    return ups(scene) >= 1;
}

static bool is_up_again(void *scene)
{
    return ups(scene) >= 2;
}

/* Opens with what is known of the two subjects, and forgets what has happened before. */
static void open_at(struct scene *scene, uint64_t one, uint64_t two)
{
    struct bus_position positions[2] = {{.sequence = one}, {.sequence = two}};
    for (size_t i = 0; i < ARRAY_LENGTH(positions); i++) {
        text_copy_cut(positions[i].subject, sizeof(positions[i].subject), followed[i]);
    }
    struct bus_config config = {
        .uri = bus_server_uri(scene->server),
        .client_id = "position",
        .publish_limit = 1000,
        .state_changed = state_changed,
        .positions = positions,
        .position_count = ARRAY_LENGTH(positions),
        .history_lost = history_lost,
        .context = scene,
    };
    struct error error = ERROR_INIT;
    bus_close(&scene->bus, CLOSE_MS);
    scene->count = 0;
    if (!bus_open(&config, &scene->bus, &error)) {
        fail_msg("%s", error.message);
    }
}

static void open_at_and_wait(struct scene *scene, uint64_t one, uint64_t two)
{
    open_at(scene, one, two);
    assert_true(eventually(is_up, scene, WAIT_MS));
}

static void publish(struct scene *scene, const char *subject, size_t count)
{
    struct publisher *publisher = publisher_new(scene->bus, subject);
    publisher_publish_many(publisher, count);
    publisher_wait(publisher);
    assert_int_equal(publisher->stored, count);
    publisher_free(&publisher);
}

static uint64_t position(struct scene *scene, size_t which)
{
    return bus_position(scene->bus, followed[which]);
}

static void expect_state(struct scene *scene, size_t index, enum bus_state state)
{
    struct happened happened = happened_at(scene, index);
    assert_string_equal(happened.subject, "");
    assert_int_equal(happened.state, state);
}

static void expect_lost(struct scene *scene, size_t index, size_t which, uint64_t expected, uint64_t found)
{
    struct happened lost = {.found = 0};
    assert_true(find_lost(scene, index, &lost) > index);
    assert_string_equal(lost.subject, followed[which]);
    assert_int_equal(lost.state, BUS_CONNECTING); /* not up yet */
    assert_int_equal(lost.expected, expected);
    assert_int_equal(lost.found, found);
}

/* ---- nothing is lost ---- */

static void positions_rise_with_what_is_published(void **state)
{
    struct scene *scene = *state;
    open_at_and_wait(scene, 0, 0);
    assert_int_equal(position(scene, 0), 0);
    publish(scene, followed[0], FEW);
    uint64_t first = position(scene, 0);
    assert_true(first >= FEW);
    assert_int_equal(position(scene, 1), 0);
    publish(scene, followed[0], FEW);
    assert_int_equal(position(scene, 0), first + FEW);
    publish(scene, "position:other", FEW);
    assert_int_equal(position(scene, 0), first + FEW);
    assert_int_equal(bus_position(scene->bus, "position:other"), 0);
    assert_int_equal(happened_count(scene), 1);
}

static void the_right_positions_are_found_again_and_nothing_is_missed(void **state)
{
    struct scene *scene = *state;
    open_at_and_wait(scene, 0, 0);
    publish(scene, followed[0], MANY);
    publish(scene, followed[1], FEW);
    uint64_t one = position(scene, 0), two = position(scene, 1);
    open_at_and_wait(scene, one, two);
    assert_int_equal(position(scene, 0), one);
    assert_int_equal(position(scene, 1), two);
    assert_int_equal(happened_count(scene), 1);
    expect_state(scene, 0, BUS_UP);
}

static void what_others_published_meanwhile_raises_the_position(void **state)
{
    struct scene *scene = *state;
    open_at_and_wait(scene, 0, 0);
    publish(scene, followed[0], MANY);
    uint64_t last = position(scene, 0);
    open_at_and_wait(scene, last - MANY + 1, 0);
    assert_int_equal(position(scene, 0), last);
    publish(scene, followed[0], 1);
    assert_int_equal(position(scene, 0), last + 1);
    assert_int_equal(happened_count(scene), 1);
}

static void looking_for_positions_delivers_nothing(void **state)
{
    struct scene *scene = *state;
    open_at_and_wait(scene, 0, 0);
    publish(scene, followed[0], FEW);
    uint64_t last = position(scene, 0);
    open_at_and_wait(scene, last, 0);
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct subscription subscription = group_subscription(followed[0]);
    subscription.ack_wait_ms = 30000;
    subscribe(scene->bus, &subscription, receiver);
    receiver_wait(receiver, FEW);
    for (size_t i = 0; i < FEW; i++) {
        assert_int_equal(receiver_at(receiver, i).number, i);
        assert_false(receiver_at(receiver, i).redelivered);
    }
    bus_close(&scene->bus, CLOSE_MS);
    assert_int_equal(receiver_count(receiver), FEW);
    receiver_free(&receiver);
}

static void a_restart_of_the_server_loses_nothing(void **state)
{
    struct scene *scene = *state;
    open_at_and_wait(scene, 0, 0);
    publish(scene, followed[0], FEW);
    uint64_t one = position(scene, 0);
    bus_server_stop(scene->server);
    wait_for_state(scene->bus, BUS_CONNECTING);
    bus_server_start(scene->server);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    assert_int_equal(position(scene, 0), one);
    bus_server_kill(scene->server);
    wait_for_state(scene->bus, BUS_CONNECTING);
    bus_server_start(scene->server);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    assert_int_equal(position(scene, 0), one);
    assert_int_equal(lost_count(scene), 0);
}

/* ---- history is lost ---- */

static void a_position_beyond_the_end_is_told_once_before_the_bus_is_up(void **state)
{
    struct scene *scene = *state;
    open_at_and_wait(scene, 0, 0);
    publish(scene, followed[0], FEW);
    publish(scene, followed[1], MANY);
    uint64_t one = position(scene, 0), two = position(scene, 1);
    char line[160];
    snprintf(line, sizeof(line), "the event bus has lost history: position:one ends at %llu, it was at %llu",
             (unsigned long long)one, (unsigned long long)one + 100);
    log_begin();
    open_at(scene, one + 100, two + 1);
    log_wait(line);
    bool up = eventually(is_up, scene, WAIT_MS);
    xfree(log_end());
    assert_true(up);
    assert_int_equal(lost_count(scene), 2);
    assert_int_equal(happened_count(scene), 3);
    expect_lost(scene, 0, 0, one + 100, one);
    expect_lost(scene, 1, 1, two + 1, two);
    expect_state(scene, 2, BUS_UP);
    publish(scene, followed[0], 1);
    assert_true(position(scene, 0) > one && position(scene, 0) < one + 100);
}

static void a_server_that_was_wiped_is_noticed(void **state)
{
    struct scene *scene = *state;
    open_at_and_wait(scene, 0, 0);
    publish(scene, followed[0], FEW);
    uint64_t one = position(scene, 0);
    bus_server_kill(scene->server);
    wait_for_state(scene->bus, BUS_CONNECTING);
    bus_server_wipe(scene->server);
    bus_server_start(scene->server);
    assert_true(eventually(is_up_again, scene, WAIT_MS));
    assert_int_equal(lost_count(scene), 1); /* the other subject was empty before */
    expect_lost(scene, 0, 0, one, 0);
    assert_int_equal(position(scene, 0), 0);
    publish(scene, followed[0], 1);
    assert_true(position(scene, 0) > 0);
}

static void a_server_that_keeps_all_in_memory_is_noticed_when_it_restarts(void **state)
{
    struct scene *scene = *state;
    bus_server_free(&scene->server);
    scene->server = bus_server_new(BUS_SERVER_MEMORY, NULL, NULL);
    bus_server_start(scene->server);
    open_at_and_wait(scene, 0, 0);
    publish(scene, followed[0], FEW);
    publish(scene, followed[1], FEW);
    uint64_t one = position(scene, 0), two = position(scene, 1);
    bus_server_restart(scene->server);
    assert_true(eventually(is_up_again, scene, WAIT_MS));
    assert_int_equal(lost_count(scene), 2);
    expect_lost(scene, 0, 0, one, 0);
    expect_lost(scene, 1, 1, two, 0);
}

static void an_older_copy_of_the_store_is_noticed_with_the_exact_numbers(void **state)
{
    struct scene *scene = *state;
    open_at_and_wait(scene, 0, 0);
    publish(scene, followed[0], FEW);
    publish(scene, followed[1], MANY);
    uint64_t one = position(scene, 0), two = position(scene, 1);
    bus_server_stop(scene->server);
    bus_server_save(scene->server);
    bus_server_start(scene->server);
    open_at_and_wait(scene, one, two);
    assert_int_equal(lost_count(scene), 0);
    publish(scene, followed[0], MANY);
    uint64_t later = position(scene, 0);
    assert_true(later > one);
    bus_server_kill(scene->server);
    wait_for_state(scene->bus, BUS_CONNECTING);
    bus_server_revert(scene->server);
    bus_server_start(scene->server);
    assert_true(eventually(is_up_again, scene, WAIT_MS));
    assert_int_equal(lost_count(scene), 1); /* the other subject is as it was */
    expect_lost(scene, 0, 0, later, one);
    assert_int_equal(position(scene, 0), one);
    assert_int_equal(position(scene, 1), two);
}

/* ---- a server that does not answer ---- */

static void a_frozen_server_is_not_taken_for_one_that_has_lost_history(void **state)
{
    struct scene *scene = *state;
    open_at_and_wait(scene, 0, 0);
    publish(scene, followed[0], FEW);
    uint64_t one = position(scene, 0);
    /* At several moments of connecting, also at that of looking for positions. */
    for (useconds_t delay = 2000; delay <= 6000; delay += 2000) {
        open_at(scene, one, 0);
        usleep(delay); /* the time is the subject of the test, not a way to wait */
        bus_server_freeze(scene->server);
        usleep(PAUSE_MS * 1000);
        bus_server_thaw(scene->server);
        assert_true(bus_wait_up(scene->bus, WAIT_MS));
        assert_int_equal(position(scene, 0), one);
        assert_int_equal(lost_count(scene), 0);
    }
}

#define scene_test(function) cmocka_unit_test_setup_teardown(function, set_scene, clear_scene)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(positions_rise_with_what_is_published),
        scene_test(the_right_positions_are_found_again_and_nothing_is_missed),
        scene_test(what_others_published_meanwhile_raises_the_position),
        scene_test(looking_for_positions_delivers_nothing),
        scene_test(a_restart_of_the_server_loses_nothing),
        scene_test(a_position_beyond_the_end_is_told_once_before_the_bus_is_up),
        scene_test(a_server_that_was_wiped_is_noticed),
        scene_test(a_server_that_keeps_all_in_memory_is_noticed_when_it_restarts),
        scene_test(an_older_copy_of_the_store_is_noticed_with_the_exact_numbers),
        scene_test(a_frozen_server_is_not_taken_for_one_that_has_lost_history),
    };
    return cmocka_run_group_tests(tests, block_signals, NULL);
}
