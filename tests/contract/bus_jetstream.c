/* SPDX-License-Identifier: Apache-2.0
 * What the bus does with JetStream in particular: its stream and its consumers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "tests/contract/bus_fixture.h"
#include "tests/contract/jetstream_fixture.h"

static struct bus_server *server;

static int start_server(void **state)
{
    block_signals(state);
    server = bus_server_new_of("jetstream", BUS_SERVER_FILE, NULL, NULL);
    bus_server_start(server);
    return 0;
}

static int stop_server(void **state UNUSED)
{
    bus_server_free(&server);
    return 0;
}

/* The address of a stream of this name. */
static const char *stream_uri(const char *stream, const char *query)
{
    static char uri[128];
    snprintf(uri, sizeof(uri), "nats://127.0.0.1:%u/%s%s", bus_server_port(server), stream, query);
    return uri;
}

static void expect_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("not there: %s\nin: %s", part, text);
    }
}

static void expect_info(const char *what, const char *part)
{
    char *text = jetstream_ask(server, what, "");
    expect_contains(text, part);
    xfree(text);
}

static void expect_done(const char *what, const char *body)
{
    char *text = jetstream_ask(server, what, body);
    if (strstr(text, "\"error\"")) {
        fail_msg("%s: %s", what, text);
    }
    xfree(text);
}

/* ---- servers that will not do ---- */

static void hear(const void *data UNUSED, size_t length UNUSED, void *context)
{
    atomic_bool *heard = context;
    atomic_store(heard, true);
}

static bool was_heard(void *context)
{
    atomic_bool *heard = context;
    return atomic_load(heard);
}

static void says_when_the_server_has_no_jetstream(void **state UNUSED)
{
    struct bus_server *plain = bus_server_new_of("jetstream", BUS_SERVER_NONE, NULL, NULL);
    bus_server_start(plain);
    log_begin();
    struct bus *bus = open_bus(bus_server_uri(plain), "plain");
    log_wait("has no JetStream: it has to be started with -js, retrying in ");
    assert_int_equal(bus_state(bus), BUS_CONNECTING);
    bus_close(&bus, CLOSE_MS);
    xfree(log_end());
    bus_server_free(&plain);
}

static void says_when_the_user_may_not_use_jetstream(void **state UNUSED)
{
    struct bus_server *guarded = bus_server_new_of("jetstream", BUS_SERVER_FILE, NULL, NULL);
    bus_server_configure(guarded, "authorization { users: [ { user: \"tickets\", password: \"hunter2\", "
                                  "permissions: { publish: [\"turnstile.>\"], subscribe: [\"_INBOX.>\"] } } ] }");
    bus_server_start(guarded);
    char uri[96];
    snprintf(uri, sizeof(uri), "nats://tickets:hunter2@127.0.0.1:%u", bus_server_port(guarded));
    log_begin();
    struct bus *bus = open_bus(uri, "guarded");
    log_wait("NATS reports: Permissions Violation for Publish to \"$JS.API.STREAM.INFO.turnstile\"");
    log_wait("this user may not use JetStream, retrying in ");
    bus_close(&bus, CLOSE_MS);
    snprintf(uri, sizeof(uri), "nats://tickets:hunter3@127.0.0.1:%u", bus_server_port(guarded));
    bus = open_bus(uri, "guarded");
    log_wait("'Authorization Violation', retrying in ");
    bus_close(&bus, CLOSE_MS);
    char *log = log_end();
    assert_null(strstr(log, "hunter"));
    xfree(log);
    bus_server_free(&guarded);
}

/* Those that docs/CONFIGURATION.md names. */
static void needs_no_more_permissions_than_are_told(void **state UNUSED)
{
    struct bus_server *guarded = bus_server_new_of("jetstream", BUS_SERVER_FILE, NULL, NULL);
    bus_server_configure(guarded, "authorization { users: [ { user: \"tickets\", password: \"hunter2\", permissions: { "
                                  "publish: [\"$JS.API.>\", \"$JS.ACK.>\", \"turnstile.>\", \"permitted\"], "
                                  "subscribe: [\"_INBOX.>\", \"turnstile.deliver.>\", \"turnstile.signal.>\"] } } ] }");
    bus_server_start(guarded);
    char uri[96];
    snprintf(uri, sizeof(uri), "nats://tickets:hunter2@127.0.0.1:%u", bus_server_port(guarded));
    struct receiver *receivers[2] = {receiver_new(RECEIVER_ACKNOWLEDGES), receiver_new(RECEIVER_ACKNOWLEDGES)};
    struct subscription subscription = group_subscription("permitted");
    struct error error = ERROR_INIT;
    atomic_bool heard = false;
    log_begin();
    struct bus *bus = open_bus(uri, "permitted");
    subscribe(bus, &subscription, receivers[0]);
    subscription.queue_group = subscription.durable = NULL;
    subscribe(bus, &subscription, receivers[1]);
    assert_true(bus_on_signal(bus, "permitted", hear, &heard, &error));
    assert_true(bus_wait_up(bus, WAIT_MS));
    bus_signal(bus, "permitted", "", 0);
    struct publisher *publisher = publisher_new(bus, "permitted");
    publisher_publish_many(publisher, 3);
    publisher_wait(publisher);
    receiver_wait(receivers[0], 3);
    receiver_wait(receivers[1], 3);
    assert_true(eventually(was_heard, &heard, WAIT_MS));
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    while (bus_server_pending(guarded, "permitted", "group") != 0) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(2000);
    }
    bus_close(&bus, CLOSE_MS);
    char *log = log_end();
    assert_null(strstr(log, "WARN"));
    xfree(log);
    publisher_free(&publisher);
    receiver_free(&receivers[0]);
    receiver_free(&receivers[1]);
    bus_server_free(&guarded);
}

static void says_when_there_are_too_few_servers_for_the_replicas(void **state UNUSED)
{
    static const char *const subjects[] = {"few", NULL};
    struct error error = ERROR_INIT;
    struct bus *bus = NULL;
    struct bus_config config = {
        .uri = stream_uri("few", "?replicas=3"), .client_id = "few", .publish_limit = 1, .subjects = subjects};
    log_begin();
    assert_true(bus_open(&config, &bus, &error));
    log_wait("replicas > 1 not supported in non-clustered mode, retrying in ");
    bus_close(&bus, CLOSE_MS);
    xfree(log_end());
}

/* ---- the stream ---- */

static struct bus *open_with_subjects(const char *uri, const char *client_id, const char *const *subjects)
{
    struct bus *bus = NULL;
    struct error error = ERROR_INIT;
    struct bus_config config = {.uri = uri, .client_id = client_id, .publish_limit = 100, .subjects = subjects};
    if (!bus_open(&config, &bus, &error)) {
        fail_msg("%s", error.message);
    }
    return bus;
}

static void makes_one_stream_of_all_known_subjects(void **state UNUSED)
{
    static const char *const subjects[] = {"known:one", "known:two", NULL};
    struct bus *bus = open_with_subjects(stream_uri("made", ""), "made", subjects);
    assert_true(bus_wait_up(bus, WAIT_MS));
    char *text = jetstream_ask(server, "STREAM.INFO.made", "");
    expect_contains(text, "\"subjects\":[\"known:one\",\"known:two\"]");
    expect_contains(text, "\"storage\":\"file\"");
    expect_contains(text, "\"retention\":\"limits\"");
    expect_contains(text, "\"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":0");
    expect_contains(text, "\"num_replicas\":1");
    expect_contains(text, "\"duplicate_window\":120000000000");
    xfree(text);
    bus_close(&bus, CLOSE_MS);
}

static void adds_subjects_and_leaves_all_else_as_it_was_set(void **state UNUSED)
{
    static const char *const subjects[] = {"set:mine", NULL};
    expect_done("STREAM.CREATE.set",
                "{\"name\":\"set\",\"description\":\"of \\\"ours\\\"\",\"subjects\":[\"set:theirs\",\"set.>\"],"
                "\"retention\":\"limits\",\"storage\":\"memory\",\"max_age\":3600000000000,\"max_msgs\":1234,"
                "\"num_replicas\":1,\"duplicate_window\":60000000000,\"deny_purge\":true}");
    log_begin();
    struct bus *bus = open_with_subjects(stream_uri("set", "?replicas=3"), "set", subjects);
    log_wait("the stream \"set\" has 1 replicas and not 3: that is left as it is");
    assert_true(bus_wait_up(bus, WAIT_MS));
    char *log = log_end();
    assert_null(strstr(log, "older than")); /* which concerns clusters only */
    xfree(log);
    struct error error = ERROR_INIT;
    assert_true(bus_publish_wait(bus, "set:unknown", NULL, "", 0, WAIT_MS, &error));
    char *text = jetstream_ask(server, "STREAM.INFO.set", "");
    expect_contains(text, "\"subjects\":[\"set:theirs\",\"set.\\u003e\",\"set:mine\",\"set:unknown\"]");
    expect_contains(text, "\"description\":\"of \\\"ours\\\"\"");
    expect_contains(text, "\"storage\":\"memory\"");
    expect_contains(text, "\"max_age\":3600000000000");
    expect_contains(text, "\"max_msgs\":1234");
    expect_contains(text, "\"duplicate_window\":60000000000");
    expect_contains(text, "\"deny_purge\":true");
    xfree(text);
    bus_close(&bus, CLOSE_MS);
}

static void adds_nothing_where_one_subject_stands_for_all(void **state UNUSED)
{
    /* In an account of its own, since it takes everything. */
    struct bus_server *wide = bus_server_new_of("jetstream", BUS_SERVER_FILE, NULL, NULL);
    bus_server_start(wide);
    xfree(jetstream_ask(wide, "STREAM.CREATE.turnstile",
                        "{\"name\":\"turnstile\",\"subjects\":[\"*\"],\"storage\":\"file\",\"num_replicas\":1}"));
    struct bus *bus = open_bus_and_wait(bus_server_uri(wide), "wide");
    struct error error = ERROR_INIT;
    assert_true(bus_publish_wait(bus, "wide:one", NULL, "", 0, WAIT_MS, &error));
    char *text = jetstream_ask(wide, "STREAM.INFO.turnstile", "");
    expect_contains(text, "\"subjects\":[\"*\"]");
    expect_contains(text, "\"messages\":1,");
    xfree(text);
    bus_close(&bus, CLOSE_MS);
    bus_server_free(&wide);
}

enum { RACERS = 6, RACES = 8 };

struct racer {
    struct bus *bus;
    size_t number;
    pthread_t thread;
};

static void *race(void *context)
{
    struct racer *racer = context;
    char subject[BUS_SUBJECT_MAX];
    for (size_t i = 0; i < RACES; i++) {
        snprintf(subject, sizeof(subject), "race:%zu-%zu", racer->number, i);
        int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
        while (!bus_publish_wait(racer->bus, subject, subject, "1", 1, WAIT_MS, NULL)) {
            assert_true(clock_monotonic(NULL) < deadline);
        }
    }
    return NULL;
}

/* What a racing update takes away is added again when it is published on: in the end all messages are there. */
static void stores_what_is_published_while_others_add_subjects(void **state UNUSED)
{
    struct racer racers[RACERS];
    char name[32];
    for (size_t i = 0; i < RACERS; i++) {
        snprintf(name, sizeof(name), "racer-%zu", i);
        racers[i] = (struct racer){.bus = open_bus_and_wait(stream_uri("race", ""), name), .number = i};
    }
    for (size_t i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (size_t i = 0; i < RACERS; i++) {
        pthread_join(racers[i].thread, NULL);
    }
    char messages[32];
    snprintf(messages, sizeof(messages), "\"messages\":%d,", RACERS * RACES);
    expect_info("STREAM.INFO.race", messages);
    for (size_t i = 0; i < RACERS; i++) {
        bus_close(&racers[i].bus, CLOSE_MS);
    }
}

static void stores_once_what_is_published_twice_with_one_id(void **state UNUSED)
{
    struct bus *bus = open_bus_and_wait(bus_server_uri(server), "twice");
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct error error = ERROR_INIT;
    assert_true(bus_publish_wait(bus, "twice", "ticket/1/1", "1", 1, WAIT_MS, &error));
    assert_true(bus_publish_wait(bus, "twice", "ticket/1/1", "1", 1, WAIT_MS, &error));
    assert_true(bus_publish_wait(bus, "twice", NULL, "2", 1, WAIT_MS, &error));
    assert_true(bus_publish_wait(bus, "twice", NULL, "2", 1, WAIT_MS, &error));
    struct subscription subscription = group_subscription("twice");
    subscribe(bus, &subscription, receiver);
    receiver_wait(receiver, 3);
    static const long expected[] = {1, 2, 2};
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        assert_int_equal(receiver_at(receiver, i).number, expected[i]);
    }
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
}

static void a_stream_that_somebody_deletes_is_made_again(void **state UNUSED)
{
    struct bus *bus = open_bus(stream_uri("gone", ""), "gone");
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct subscription subscription = group_subscription("gone");
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "gone");
    publisher_publish_many(publisher, 1);
    receiver_wait(receiver, 1);
    expect_done("STREAM.DELETE.gone", "");
    /* The consumer, too, without which nothing comes. */
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    while (receiver_count(receiver) == 1) {
        assert_true(clock_monotonic(NULL) < deadline);
        publisher_publish_many(publisher, 1);
        publisher_wait(publisher);
    }
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
    publisher_free(&publisher);
}

static void count_lost(struct bus *bus UNUSED, const char *subject UNUSED, uint64_t expected, uint64_t found UNUSED,
                       void *context)
{
    atomic_uint *lost = context;
    assert_int_equal(expected, 5);
    atomic_fetch_add(lost, 1);
}

static bool is_lost(void *context)
{
    return atomic_load((atomic_uint *)context) > 0;
}

/* By one who only publishes: it has no consumer whose end it would notice. */
static void notices_that_its_stream_was_made_anew(bool others_make_it, const char *stream, const char *subject)
{
    struct bus_position position = {.sequence = 0};
    atomic_uint lost = 0;
    char request[64];
    text_copy_cut(position.subject, sizeof(position.subject), subject);
    struct bus_config config = {.uri = stream_uri(stream, ""),
                                .client_id = "anew",
                                .publish_limit = 10,
                                .positions = &position,
                                .position_count = 1,
                                .history_lost = count_lost,
                                .context = &lost};
    struct bus *bus = NULL;
    struct error error = ERROR_INIT;
    assert_true(bus_open(&config, &bus, &error));
    assert_true(bus_wait_up(bus, WAIT_MS));
    for (int i = 0; i < 5; i++) {
        assert_true(bus_publish_wait(bus, subject, NULL, "1", 1, WAIT_MS, &error));
    }
    snprintf(request, sizeof(request), "STREAM.DELETE.%s", stream);
    expect_done(request, "");
    if (others_make_it) {
        struct bus *other = open_bus_and_wait(stream_uri(stream, ""), "other");
        assert_true(bus_publish_wait(other, subject, NULL, "1", 1, WAIT_MS, &error));
        bus_close(&other, CLOSE_MS);
        (void)!bus_publish_wait(bus, subject, NULL, "1", 1, WAIT_MS, &error); /* unless it has noticed already */
    }
    assert_true(eventually(is_lost, &lost, WAIT_MS));
    assert_true(bus_wait_up(bus, WAIT_MS));
    assert_true(bus_publish_wait(bus, subject, NULL, "1", 1, WAIT_MS, &error));
    bus_close(&bus, CLOSE_MS);
    assert_int_equal(atomic_load(&lost), 1);
}

static void notices_that_its_stream_is_gone(void **state UNUSED)
{
    notices_that_its_stream_was_made_anew(false, "vanished", "vanished");
}

static void notices_that_others_have_made_its_stream_anew(void **state UNUSED)
{
    notices_that_its_stream_was_made_anew(true, "replaced", "replaced");
}

/* ---- consumers ---- */

static void keeps_its_consumers_when_it_leaves_and_names_them_by_group_and_subject(void **state UNUSED)
{
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(bus_server_uri(server), "named");
    struct subscription subscriptions[4];
    for (size_t i = 0; i < ARRAY_LENGTH(subscriptions); i++) {
        subscriptions[i] = group_subscription("named:here");
    }
    subscriptions[1].durable = "other";
    subscriptions[2].queue_group = NULL;
    subscriptions[3].durable = NULL;
    for (size_t i = 0; i < ARRAY_LENGTH(subscriptions); i++) {
        subscribe(bus, &subscriptions[i], receiver);
    }
    assert_true(bus_wait_up(bus, WAIT_MS));
    bus_close(&bus, CLOSE_MS);
    char *text = jetstream_ask(server, "CONSUMER.INFO.turnstile.group:named:here", "");
    expect_contains(text, "\"durable_name\":\"group:named:here\"");
    expect_contains(text, "\"deliver_subject\":\"turnstile.deliver.turnstile.group:named:here\"");
    expect_contains(text, "\"deliver_group\":\"group\"");
    expect_contains(text, "\"filter_subject\":\"named:here\"");
    expect_contains(text, "\"ack_policy\":\"explicit\"");
    expect_contains(text, "\"ack_wait\":1000000000");
    expect_contains(text, "\"max_deliver\":-1");
    expect_contains(text, "\"max_ack_pending\":100");
    xfree(text);
    expect_info("CONSUMER.INFO.turnstile.other+group:named:here", "\"deliver_group\":\"group\"");
    expect_info("CONSUMER.INFO.turnstile.group@named:named:here", "\"filter_subject\":\"named:here\"");
    expect_info("CONSUMER.INFO.turnstile.+group:named:here", "\"inactive_threshold\":30000000000");
    receiver_free(&receiver);
}

static void subscribe_and_leave(const struct subscription *subscription, const char *client_id)
{
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(bus_server_uri(server), client_id);
    subscribe(bus, subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
}

static void a_durable_follows_its_limits_and_keeps_its_place(void **state UNUSED)
{
    struct subscription subscription = group_subscription("follows");
    subscription.start = BUS_START_NEW;
    subscribe_and_leave(&subscription, "follows");
    expect_done(
        "CONSUMER.DURABLE.CREATE.turnstile.group:follows",
        "{\"stream_name\":\"turnstile\",\"config\":{\"durable_name\":\"group:follows\",\"description\":\"hers\","
        "\"deliver_subject\":\"turnstile.deliver.turnstile.group:follows\",\"deliver_group\":\"group\","
        "\"deliver_policy\":\"new\",\"ack_policy\":\"explicit\",\"ack_wait\":1000000000,\"max_deliver\":-1,"
        "\"filter_subject\":\"follows\",\"replay_policy\":\"instant\",\"max_ack_pending\":100}}");
    subscription.start = BUS_START_ALL;
    subscription.in_flight = 7;
    subscription.ack_wait_ms = 9000;
    subscribe_and_leave(&subscription, "follows");
    char *text = jetstream_ask(server, "CONSUMER.INFO.turnstile.group:follows", "");
    expect_contains(text, "\"deliver_policy\":\"new\"");
    expect_contains(text, "\"description\":\"hers\"");
    expect_contains(text, "\"max_ack_pending\":7");
    expect_contains(text, "\"ack_wait\":9000000000");
    xfree(text);
}

static void a_consumer_of_another_kind_is_not_touched(void **state UNUSED)
{
    struct bus *bus = open_bus_and_wait(bus_server_uri(server), "foreign");
    struct error error = ERROR_INIT;
    assert_true(bus_publish_wait(bus, "foreign", NULL, "1", 1, WAIT_MS, &error));
    expect_done("CONSUMER.DURABLE.CREATE.turnstile.group:foreign",
                "{\"stream_name\":\"turnstile\",\"config\":{\"durable_name\":\"group:foreign\","
                "\"ack_policy\":\"explicit\",\"filter_subject\":\"foreign\"}}");
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct subscription subscription = group_subscription("foreign");
    log_begin();
    subscribe(bus, &subscription, receiver);
    log_wait("the event bus refuses to let us receive foreign: there is a consumer \"group:foreign\", but not a "
             "pushing one");
    assert_true(bus_wait_up(bus, WAIT_MS));
    bus_close(&bus, CLOSE_MS);
    xfree(log_end());
    expect_info("CONSUMER.INFO.turnstile.group:foreign", "\"num_pending\":1");
    receiver_free(&receiver);
}

static void a_durable_without_a_group_is_one_subscribers_at_a_time(void **state UNUSED)
{
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(bus_server_uri(server), "alone");
    struct subscription subscription = group_subscription("alone");
    subscription.queue_group = NULL;
    log_begin();
    subscribe(bus, &subscription, receiver);
    subscribe(bus, &subscription, receiver);
    log_wait("the event bus refuses to let us receive alone: the durable \"group@alone:alone\" is in use");
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "alone");
    publisher_publish_many(publisher, 1);
    receiver_wait(receiver, 1);
    publisher_wait(publisher);
    bus_close(&bus, CLOSE_MS);
    xfree(log_end());
    receiver_free(&receiver);
    publisher_free(&publisher);
}

static void a_group_without_a_durable_shares_what_comes(void **state UNUSED)
{
    struct receiver *receivers[2] = {receiver_new(RECEIVER_ACKNOWLEDGES), receiver_new(RECEIVER_ACKNOWLEDGES)};
    struct bus *buses[2] = {open_bus(bus_server_uri(server), "share-1"), open_bus(bus_server_uri(server), "share-2")};
    struct subscription subscription = group_subscription("shared");
    subscription.durable = NULL;
    for (size_t i = 0; i < 2; i++) {
        subscribe(buses[i], &subscription, receivers[i]);
        assert_true(bus_wait_up(buses[i], WAIT_MS));
    }
    struct publisher *publisher = publisher_new(buses[0], "shared");
    publisher_publish_many(publisher, 100);
    publisher_wait(publisher);
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    while (receiver_count(receivers[0]) + receiver_count(receivers[1]) < 100) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(2000);
    }
    for (long i = 0; i < 100; i++) {
        assert_int_equal(receiver_count_of(receivers[0], i) + receiver_count_of(receivers[1], i), 1);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_true(receiver_count(receivers[i]) > 0);
        bus_close(&buses[i], CLOSE_MS);
        receiver_free(&receivers[i]);
    }
    publisher_free(&publisher);
}

static void a_consumer_that_somebody_deletes_is_made_again(void **state UNUSED)
{
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(bus_server_uri(server), "deleted");
    struct subscription subscription = group_subscription("deleted");
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "deleted");
    publisher_publish_many(publisher, 1);
    receiver_wait(receiver, 1);
    expect_done("CONSUMER.DELETE.turnstile.group:deleted", "");
    publisher_publish_many(publisher, 1);
    publisher_wait(publisher);
    receiver_wait(receiver, 3); /* from the beginning, since nobody knows how far it was */
    assert_int_equal(receiver_count_of(receiver, 1), 1);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
    publisher_free(&publisher);
}

/* What a power cut may leave: the stream as it was some time ago, and its consumers as they were just now. */
static void revert_stream_only(struct bus_server *torn)
{
    char consumers[256], aside[256];
    snprintf(consumers, sizeof(consumers), "%s/jetstream/$G/streams/turnstile/obs", bus_server_data(torn));
    snprintf(aside, sizeof(aside), "%s/../consumers", bus_server_data(torn));
    assert_int_equal(rename(consumers, aside), 0);
    bus_server_revert(torn);
    snprintf(aside, sizeof(aside), "%s/../older-consumers", bus_server_data(torn));
    assert_int_equal(rename(consumers, aside), 0);
    snprintf(aside, sizeof(aside), "%s/../consumers", bus_server_data(torn));
    assert_int_equal(rename(aside, consumers), 0);
}

static void a_consumer_that_is_ahead_of_its_stream_misses_nothing(void **state UNUSED)
{
    struct bus_server *torn = bus_server_new_of("jetstream", BUS_SERVER_FILE, NULL, NULL);
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct subscription subscription = group_subscription("torn");
    bus_server_start(torn);
    struct bus *bus = open_bus(bus_server_uri(torn), "torn");
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "torn");
    publisher_publish_many(publisher, 5);
    receiver_wait(receiver, 5);
    publisher_wait(publisher);
    bus_server_stop(torn);
    wait_for_state(bus, BUS_CONNECTING);
    bus_server_save(torn);
    bus_server_start(torn);
    assert_true(bus_wait_up(bus, WAIT_MS));
    publisher_publish_many(publisher, 10);
    publisher_wait(publisher);
    assert_int_equal(publisher->stored, 15);
    receiver_wait(receiver, 15);
    bus_close(&bus, CLOSE_MS);
    bus_server_stop(torn);
    revert_stream_only(torn);
    bus_server_start(torn);

    /* Somebody who publishes comes first. */
    bus = open_bus_and_wait(bus_server_uri(torn), "publishes");
    struct error error = ERROR_INIT;
    assert_true(bus_publish_wait(bus, "torn", NULL, "100", 3, WAIT_MS, &error));
    bus_close(&bus, CLOSE_MS);
    bus = open_bus(bus_server_uri(torn), "torn");
    subscribe(bus, &subscription, receiver);
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    while (receiver_count_of(receiver, 100) == 0) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(2000);
    }
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
    publisher_free(&publisher);
    bus_server_free(&torn);
}

static bool nothing_is_pending(void *subject)
{
    return bus_server_pending(server, subject, "group") == 0;
}

/* The ack wait is 1 s, and each extension begins it anew. */
static void is_not_redelivered_while_it_is_extended(void **state UNUSED)
{
    struct receiver *receiver = receiver_new(RECEIVER_KEEPS);
    struct bus *bus = open_bus(bus_server_uri(server), "extends");
    struct subscription subscription = group_subscription("extends");
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "extends");
    publisher_publish_many(publisher, 2);
    receiver_wait(receiver, 2);
    /* The second is not extended, and comes again and again meanwhile. */
    size_t extended = receiver_at(receiver, 0).number == 0 ? 0 : 1;
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    while (receiver_count_of(receiver, 1) < 4) {
        assert_true(clock_monotonic(NULL) < deadline);
        bus_extend(receiver_at(receiver, extended).delivery);
        usleep(100 * 1000);
    }
    assert_int_equal(receiver_count_of(receiver, 0), 1);
    for (size_t i = receiver_count(receiver); i > 0; i--) {
        receiver_acknowledge(receiver, i - 1);
    }
    char subject[] = "extends";
    assert_true(eventually(nothing_is_pending, subject, WAIT_MS));
    bus_stop_receiving(bus);
    receiver_free(&receiver);
    bus_close(&bus, CLOSE_MS);
    publisher_free(&publisher);
}

static void carries_an_empty_message(void **state UNUSED)
{
    struct bus *bus = open_bus_and_wait(bus_server_uri(server), "empty");
    struct receiver *receiver = receiver_new(RECEIVER_KEEPS);
    struct error error = ERROR_INIT;
    assert_true(bus_publish_wait(bus, "empty", "empty/1", "", 0, WAIT_MS, &error));
    struct subscription subscription = group_subscription("empty");
    subscribe(bus, &subscription, receiver);
    receiver_wait(receiver, 1);
    struct delivery *delivery = receiver_at(receiver, 0).delivery;
    assert_int_equal(delivery_length(delivery), 0);
    assert_string_equal(delivery_data(delivery), "");
    receiver_acknowledge(receiver, 0);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_when_the_server_has_no_jetstream),
        cmocka_unit_test(says_when_the_user_may_not_use_jetstream),
        cmocka_unit_test(needs_no_more_permissions_than_are_told),
        cmocka_unit_test(says_when_there_are_too_few_servers_for_the_replicas),
        cmocka_unit_test(makes_one_stream_of_all_known_subjects),
        cmocka_unit_test(adds_subjects_and_leaves_all_else_as_it_was_set),
        cmocka_unit_test(adds_nothing_where_one_subject_stands_for_all),
        cmocka_unit_test(stores_what_is_published_while_others_add_subjects),
        cmocka_unit_test(stores_once_what_is_published_twice_with_one_id),
        cmocka_unit_test(a_stream_that_somebody_deletes_is_made_again),
        cmocka_unit_test(notices_that_its_stream_is_gone),
        cmocka_unit_test(notices_that_others_have_made_its_stream_anew),
        cmocka_unit_test(keeps_its_consumers_when_it_leaves_and_names_them_by_group_and_subject),
        cmocka_unit_test(a_durable_follows_its_limits_and_keeps_its_place),
        cmocka_unit_test(a_consumer_of_another_kind_is_not_touched),
        cmocka_unit_test(a_durable_without_a_group_is_one_subscribers_at_a_time),
        cmocka_unit_test(a_group_without_a_durable_shares_what_comes),
        cmocka_unit_test(a_consumer_that_somebody_deletes_is_made_again),
        cmocka_unit_test(a_consumer_that_is_ahead_of_its_stream_misses_nothing),
        cmocka_unit_test(is_not_redelivered_while_it_is_extended),
        cmocka_unit_test(carries_an_empty_message),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
