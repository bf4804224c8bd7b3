/* SPDX-License-Identifier: Apache-2.0
 * What every engine of the bus does when its server is away, stops, dies or freezes: it comes back by itself, confirms
 * each publish exactly once, and nothing confirmed is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "tests/contract/bus_fixture.h"

enum {
    BATCH = 300,
    FROZEN_CLOSE_MS = 7000, /* no close may take longer, even if nobody answers */
};

/* A server of its own for each test. */
struct scene {
    struct bus_server *server;
    struct bus *bus;
    struct receiver *receiver;
    struct publisher *publisher;
};

static int set_scene(void **state)
{
    struct scene *scene = xcalloc(1, sizeof(*scene));
    scene->server = bus_server_new(BUS_SERVER_FILE, NULL, NULL);
    scene->receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    *state = scene;
    return 0;
}

static int clear_scene(void **state)
{
    struct scene *scene = *state;
    if (scene->bus) {
        bus_stop_receiving(scene->bus);
    }
    receiver_free(&scene->receiver); /* drops what it keeps */
    bus_close(&scene->bus, 0);
    publisher_free(&scene->publisher);
    bus_server_free(&scene->server);
    xfree(scene);
    return 0;
}

/* A bus that receives what it publishes. */
static void open_scene(struct scene *scene, enum receiver_mode mode)
{
    scene->receiver->mode = mode;
    scene->bus = open_bus(bus_server_uri(scene->server), "outage");
    scene->publisher = publisher_new(scene->bus, "outage");
    struct subscription subscription = group_subscription("outage");
    subscribe(scene->bus, &subscription, scene->receiver);
}

static bool received_all_stored(void *context)
{
    struct scene *scene = context;
    bool *received = xcalloc(PUBLISHED_MAX, sizeof(*received));
    pthread_mutex_lock(&scene->receiver->mutex);
    for (size_t i = 0; i < scene->receiver->count; i++) {
        received[scene->receiver->received[i].number] = true;
    }
    pthread_mutex_unlock(&scene->receiver->mutex);
    bool all = true;
    for (size_t i = 0; i < scene->publisher->accepted; i++) {
        all = all && (received[i] || !scene->publisher->is_stored[i]);
    }
    xfree(received);
    return all;
}

/* Each accepted publish was confirmed once, and what was confirmed as stored arrives. */
static void expect_nothing_lost(struct scene *scene)
{
    publisher_wait(scene->publisher);
    assert_true(scene->publisher->stored > 0);
    assert_true(eventually(received_all_stored, scene, WAIT_MS));
}

static void connects_when_the_server_comes(void **state)
{
    struct scene *scene = *state;
    open_scene(scene, RECEIVER_ACKNOWLEDGES);
    assert_false(bus_wait_up(scene->bus, 300));
    assert_int_equal(bus_state(scene->bus), BUS_CONNECTING);
    assert_false(publisher_publish(scene->publisher));
    bus_server_start(scene->server);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    publisher_publish_many(scene->publisher, 3);
    expect_nothing_lost(scene);
}

static void what_is_confirmed_survives_the_death_of_the_server(void **state)
{
    struct scene *scene = *state;
    bus_server_start(scene->server);
    struct bus *bus = open_bus_and_wait(bus_server_uri(scene->server), "writer");
    scene->publisher = publisher_new(bus, "outage");
    publisher_publish_many(scene->publisher, BATCH);
    publisher_wait(scene->publisher);
    bus_server_kill(scene->server);
    assert_int_equal(scene->publisher->stored, BATCH);
    bus_close(&bus, CLOSE_MS);

    bus_server_start(scene->server);
    scene->bus = open_bus(bus_server_uri(scene->server), "reader");
    struct subscription subscription = group_subscription("outage");
    subscribe(scene->bus, &subscription, scene->receiver);
    receiver_wait(scene->receiver, BATCH);
    for (size_t i = 0; i < BATCH; i++) {
        assert_int_equal(receiver_at(scene->receiver, i).number, i);
    }
}

/* Publishes all the while `interrupt` does its worst. */
static void publish_through(struct scene *scene, void (*interrupt)(struct bus_server *server))
{
    size_t accepted = scene->publisher->accepted;
    while (scene->publisher->accepted < accepted + BATCH) {
        publisher_publish(scene->publisher);
    }
    interrupt(scene->server);
    wait_for_state(scene->bus, BUS_CONNECTING);
    bus_server_start(scene->server);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    publisher_publish_many(scene->publisher, BATCH);
}

static void comes_back_after_the_server_was_stopped_or_killed(void **state)
{
    struct scene *scene = *state;
    bus_server_start(scene->server);
    open_scene(scene, RECEIVER_ACKNOWLEDGES);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    publish_through(scene, bus_server_stop);
    publish_through(scene, bus_server_kill);
    publish_through(scene, bus_server_kill);
    expect_nothing_lost(scene);
}

static void an_acknowledgement_of_an_older_connection_does_nothing(void **state)
{
    struct scene *scene = *state;
    bus_server_start(scene->server);
    open_scene(scene, RECEIVER_KEEPS);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    publisher_publish_many(scene->publisher, 2);
    receiver_wait(scene->receiver, 2);
    bus_server_stop(scene->server);
    wait_for_state(scene->bus, BUS_CONNECTING);
    receiver_acknowledge(scene->receiver, 0); /* while there is no connection */
    bus_server_start(scene->server);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    receiver_acknowledge(scene->receiver, 1); /* over the next one */
    receiver_wait(scene->receiver, 4);
    for (size_t i = 2; i < 4; i++) {
        assert_in_range(receiver_at(scene->receiver, i).number, 0, 1);
        receiver_acknowledge(scene->receiver, i);
    }
    publisher_wait(scene->publisher);
}

static void a_short_freeze_loses_nothing(void **state)
{
    struct scene *scene = *state;
    bus_server_start(scene->server);
    open_scene(scene, RECEIVER_ACKNOWLEDGES);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    publisher_publish_many(scene->publisher, BATCH);
    bus_server_freeze(scene->server);
    publisher_publish_many(scene->publisher, BATCH);
    usleep(1000 * 1000); /* the time is the subject of the test, not a way to wait */
    bus_server_thaw(scene->server);
    expect_nothing_lost(scene);
    assert_int_equal(scene->publisher->stored, 2 * BATCH);
    assert_int_equal(bus_state(scene->bus), BUS_UP);
}

static void a_long_freeze_is_noticed_and_survived(void **state)
{
    struct scene *scene = *state;
    bus_server_start(scene->server);
    open_scene(scene, RECEIVER_ACKNOWLEDGES);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    publisher_publish_many(scene->publisher, BATCH);
    publisher_wait(scene->publisher);
    bus_server_freeze(scene->server);
    publisher_publish_many(scene->publisher, BATCH);
    publisher_wait(scene->publisher); /* not stored, as far as one can know */
    assert_int_equal(scene->publisher->stored, BATCH);
    wait_for_state(scene->bus, BUS_CONNECTING);
    assert_false(publisher_publish(scene->publisher));
    bus_server_thaw(scene->server);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    publisher_publish_many(scene->publisher, BATCH);
    expect_nothing_lost(scene);
    assert_int_equal(scene->publisher->stored, 2 * BATCH);
}

static void takes_no_more_publishes_than_its_limit(void **state)
{
    enum { LIMIT = 3 };
    struct scene *scene = *state;
    struct error error = ERROR_INIT;
    struct bus_config config = {.uri = bus_server_uri(scene->server), .client_id = "limit", .publish_limit = LIMIT};
    bus_server_start(scene->server);
    assert_true(bus_open(&config, &scene->bus, &error));
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    scene->publisher = publisher_new(scene->bus, "limit");
    bus_server_freeze(scene->server);
    for (size_t i = 0; i < LIMIT; i++) {
        assert_true(publisher_publish(scene->publisher));
    }
    assert_false(publisher_publish(scene->publisher));
    bus_server_thaw(scene->server);
    publisher_wait(scene->publisher);
    assert_true(publisher_publish(scene->publisher));
    publisher_wait(scene->publisher);
    assert_int_equal(scene->publisher->stored, LIMIT + 1);
}

static void closes_in_bounded_time_while_the_server_is_frozen(void **state)
{
    struct scene *scene = *state;
    bus_server_start(scene->server);
    open_scene(scene, RECEIVER_ACKNOWLEDGES);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    bus_server_freeze(scene->server);
    publisher_publish_many(scene->publisher, BATCH);
    int64_t start = clock_monotonic(NULL);
    bus_close(&scene->bus, 500);
    assert_in_range(clock_monotonic(NULL) - start, 500, FROZEN_CLOSE_MS);
    assert_int_equal(scene->publisher->confirmed, BATCH); /* at once: not after the close */
    publisher_wait(scene->publisher);
    assert_int_equal(scene->publisher->stored, 0);
}

static void closes_at_once_while_the_server_is_away(void **state)
{
    struct scene *scene = *state;
    open_scene(scene, RECEIVER_ACKNOWLEDGES);
    int64_t start = clock_monotonic(NULL);
    bus_close(&scene->bus, CLOSE_MS);
    assert_in_range(clock_monotonic(NULL) - start, 0, CLOSE_MS);
}

/* ---- the states, as they are reported ---- */

struct states {
    pthread_mutex_t mutex;
    size_t count;
    enum bus_state states[16];
};

static void record_state(struct bus *bus UNUSED, enum bus_state state, void *context)
{
    struct states *states = context;
    pthread_mutex_lock(&states->mutex);
    assert_true(states->count < ARRAY_LENGTH(states->states));
    states->states[states->count++] = state;
    pthread_mutex_unlock(&states->mutex);
}

static void reports_every_change_of_state(void **state)
{
    struct scene *scene = *state;
    struct states states = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct error error = ERROR_INIT;
    struct bus_config config = {.uri = bus_server_uri(scene->server),
                                .client_id = "states",
                                .publish_limit = 1,
                                .state_changed = record_state,
                                .context = &states};
    bus_server_start(scene->server);
    assert_true(bus_open(&config, &scene->bus, &error));
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    bus_server_stop(scene->server);
    wait_for_state(scene->bus, BUS_CONNECTING);
    bus_server_start(scene->server);
    assert_true(bus_wait_up(scene->bus, WAIT_MS));
    bus_close(&scene->bus, CLOSE_MS);
    static const enum bus_state expected[] = {BUS_UP, BUS_CONNECTING, BUS_UP, BUS_CLOSED};
    assert_int_equal(states.count, ARRAY_LENGTH(expected));
    assert_memory_equal(states.states, expected, sizeof(expected));
}

#define scene_test(function) cmocka_unit_test_setup_teardown(function, set_scene, clear_scene)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(connects_when_the_server_comes),
        scene_test(what_is_confirmed_survives_the_death_of_the_server),
        scene_test(comes_back_after_the_server_was_stopped_or_killed),
        scene_test(an_acknowledgement_of_an_older_connection_does_nothing),
        scene_test(a_short_freeze_loses_nothing),
        scene_test(a_long_freeze_is_noticed_and_survived),
        scene_test(takes_no_more_publishes_than_its_limit),
        scene_test(closes_in_bounded_time_while_the_server_is_frozen),
        scene_test(closes_at_once_while_the_server_is_away),
        scene_test(reports_every_change_of_state),
    };
    return cmocka_run_group_tests(tests, block_signals, NULL);
}
