/* SPDX-License-Identifier: Apache-2.0
 * What every engine of the bus does while nothing breaks. */
#include <fcntl.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "tests/contract/bus_fixture.h"

/* One server for all of these; each test has subjects of its own. */
static struct bus_server *server;

static int start_server(void **state)
{
    block_signals(state);
    server = bus_server_new(BUS_SERVER_FILE, NULL, NULL);
    bus_server_start(server);
    return 0;
}

static int stop_server(void **state UNUSED)
{
    bus_server_free(&server);
    return 0;
}

static void publish_text(struct bus *bus, const char *subject, const char *text)
{
    struct error error = ERROR_INIT;
    if (!bus_publish_wait(bus, subject, NULL, text, strlen(text), WAIT_MS, &error)) {
        fail_msg("%s", error.message);
    }
}

/* ---- one message ---- */

static void delivers_what_was_published(void **state UNUSED)
{
    static const char data[] = "one\0two\xff";
    struct receiver *receiver = receiver_new(RECEIVER_KEEPS);
    struct bus *bus = open_bus(bus_server_uri(server), "one");
    struct subscription subscription = group_subscription("one:created");
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct error error = ERROR_INIT;
    int64_t before = clock_now(NULL);
    assert_true(bus_publish_wait(bus, "one:created", "id/1", data, sizeof(data) - 1, WAIT_MS, &error));
    int64_t after = clock_now(NULL);
    receiver_wait(receiver, 1);
    const struct delivery *delivery = receiver_at(receiver, 0).delivery;
    assert_string_equal(delivery_subject(delivery), "one:created");
    assert_int_equal(delivery_length(delivery), sizeof(data) - 1);
    assert_memory_equal(delivery_data(delivery), data, sizeof(data)); /* with a NUL behind it */
    assert_true(delivery_sequence(delivery) > 0);
    assert_in_range(delivery_time(delivery), before, after);
    assert_false(delivery_redelivered(delivery));
    receiver_acknowledge(receiver, 0);
    bus_close(&bus, CLOSE_MS);
    assert_null(bus);
    receiver_free(&receiver);
}

static void carries_a_million_bytes_and_refuses_more(void **state UNUSED)
{
    struct receiver *receiver = receiver_new(RECEIVER_KEEPS);
    struct bus *bus = open_bus(bus_server_uri(server), "large");
    struct subscription subscription = group_subscription("large");
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    char *data = xmalloc(BUS_MESSAGE_MAX + 1);
    for (size_t i = 0; i <= BUS_MESSAGE_MAX; i++) {
        data[i] = (char)(i * 31 % 251);
    }
    struct error error = ERROR_INIT;
    assert_true(bus_publish_wait(bus, "large", NULL, data, BUS_MESSAGE_MAX, WAIT_MS, &error));
    receiver_wait(receiver, 1);
    assert_int_equal(delivery_length(receiver_at(receiver, 0).delivery), BUS_MESSAGE_MAX);
    assert_memory_equal(delivery_data(receiver_at(receiver, 0).delivery), data, BUS_MESSAGE_MAX);
    receiver_acknowledge(receiver, 0);
    assert_false(bus_publish_wait(bus, "large", NULL, data, BUS_MESSAGE_MAX + 1, WAIT_MS, &error));
    assert_int_equal(error.code, ERROR_INVALID);
    xfree(data);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
}

/* ---- groups ---- */

static void shares_the_messages_of_a_group_between_connections(void **state UNUSED)
{
    enum { MESSAGES = 200 };
    struct receiver *receivers[2];
    struct bus *buses[2];
    struct subscription subscription = group_subscription("shared");
    subscription.ack_wait_ms = 30000;
    subscription.in_flight = 10;
    for (size_t i = 0; i < 2; i++) {
        receivers[i] = receiver_new(RECEIVER_ACKNOWLEDGES);
        buses[i] = open_bus(bus_server_uri(server), i == 0 ? "shared-1" : "shared-2");
        subscribe(buses[i], &subscription, receivers[i]);
        assert_true(bus_wait_up(buses[i], WAIT_MS));
    }
    struct publisher *publisher = publisher_new(buses[0], "shared");
    publisher_publish_many(publisher, MESSAGES);
    publisher_wait(publisher);
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    while (receiver_count(receivers[0]) + receiver_count(receivers[1]) < MESSAGES) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(1000);
    }
    for (long i = 0; i < MESSAGES; i++) {
        assert_int_equal(receiver_count_of(receivers[0], i) + receiver_count_of(receivers[1], i), 1);
    }
    assert_true(receiver_count(receivers[0]) > 0);
    assert_true(receiver_count(receivers[1]) > 0);
    for (size_t i = 0; i < 2; i++) {
        bus_close(&buses[i], CLOSE_MS);
        receiver_free(&receivers[i]);
    }
    publisher_free(&publisher);
}

/* Subscribes anew to `subscription` under `client_id`, publishes `marker`, and checks that it is what comes first. */
static void expect_to_resume_at(const struct subscription *subscription, const char *client_id, long marker)
{
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(bus_server_uri(server), client_id);
    subscribe(bus, subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    char text[24];
    snprintf(text, sizeof(text), "%ld", marker);
    publish_text(bus, subscription->subject, text);
    receiver_wait(receiver, 1);
    assert_int_equal(receiver_at(receiver, 0).number, marker);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
}

static void resumes_where_a_durable_was_after_all_its_members_left(const struct subscription *subscription)
{
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(bus_server_uri(server), "resumes");
    subscribe(bus, subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, subscription->subject);
    publisher_publish_many(publisher, 5);
    publisher_wait(publisher);
    receiver_wait(receiver, 5);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
    publisher_free(&publisher);
    expect_to_resume_at(subscription, "resumes", 77);
    /* What is published while nobody is there waits. */
    bus = open_bus_and_wait(bus_server_uri(server), "absent");
    publish_text(bus, subscription->subject, "78");
    bus_close(&bus, CLOSE_MS);
    receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    bus = open_bus(bus_server_uri(server), "resumes");
    subscribe(bus, subscription, receiver);
    receiver_wait(receiver, 1);
    assert_int_equal(receiver_at(receiver, 0).number, 78);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
}

static void resumes_a_group_after_all_its_members_left(void **state UNUSED)
{
    struct subscription subscription = group_subscription("resumed:group");
    resumes_where_a_durable_was_after_all_its_members_left(&subscription);
}

static void resumes_a_durable_without_a_group(void **state UNUSED)
{
    struct subscription subscription = group_subscription("resumed:durable");
    subscription.queue_group = NULL;
    resumes_where_a_durable_was_after_all_its_members_left(&subscription);
}

/* ---- acknowledging ---- */

static void redelivers_what_was_not_acknowledged_and_only_that(void **state UNUSED)
{
    struct receiver *receiver = receiver_new(RECEIVER_KEEPS);
    struct bus *bus = open_bus(bus_server_uri(server), "redelivers");
    struct subscription subscription = group_subscription("redelivered");
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "redelivered");
    publisher_publish_many(publisher, 3);
    publisher_wait(publisher);
    receiver_wait(receiver, 3);
    receiver_acknowledge(receiver, 0);
    receiver_acknowledge(receiver, 2);
    receiver_wait(receiver, 5); /* number 1 twice again: more than an ack wait in which 0 and 2 did not come */
    for (size_t i = 3; i < 5; i++) {
        assert_int_equal(receiver_at(receiver, i).number, 1);
        assert_int_equal(receiver_at(receiver, i).sequence, receiver_at(receiver, 1).sequence);
        assert_true(receiver_at(receiver, i).redelivered);
    }
    bus_stop_receiving(bus);
    receiver_free(&receiver); /* drops what is left */
    bus_close(&bus, CLOSE_MS);
    publisher_free(&publisher);
}

static void redelivers_what_was_dropped(void **state UNUSED)
{
    struct receiver *receiver = receiver_new(RECEIVER_DROPS);
    struct bus *bus = open_bus(bus_server_uri(server), "drops");
    struct subscription subscription = group_subscription("dropped");
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    publish_text(bus, "dropped", "1");
    receiver_wait(receiver, 2);
    assert_false(receiver_at(receiver, 0).redelivered);
    assert_true(receiver_at(receiver, 1).redelivered);
    assert_int_equal(receiver_at(receiver, 1).sequence, receiver_at(receiver, 0).sequence);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
}

static void gives_no_more_than_the_limit_before_an_acknowledgement(void **state UNUSED)
{
    enum { MESSAGES = 10, LIMIT = 3 };
    struct receiver *receiver = receiver_new(RECEIVER_KEEPS);
    struct bus *bus = open_bus(bus_server_uri(server), "limited");
    struct subscription subscription = group_subscription("limited");
    subscription.in_flight = LIMIT;
    subscription.ack_wait_ms = 60000;
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "limited");
    publisher_publish_many(publisher, MESSAGES);
    publisher_wait(publisher);
    for (size_t acknowledged = 0; acknowledged < MESSAGES; acknowledged++) {
        size_t expected = acknowledged + LIMIT < MESSAGES ? acknowledged + LIMIT : MESSAGES;
        receiver_wait(receiver, expected);
        /* A round trip to the server, in which it could have sent more. */
        publish_text(bus, "limited:other", "");
        assert_int_equal(receiver_count(receiver), expected);
        receiver_acknowledge(receiver, acknowledged);
    }
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
    publisher_free(&publisher);
}

static void *acknowledge_all(void *context)
{
    struct receiver *receiver = context;
    for (size_t i = 0; i < receiver_count(receiver); i++) {
        receiver_acknowledge(receiver, i);
    }
    return NULL;
}

static void takes_acknowledgements_from_any_thread(void **state UNUSED)
{
    struct receiver *receiver = receiver_new(RECEIVER_KEEPS);
    struct bus *bus = open_bus(bus_server_uri(server), "threads");
    struct subscription subscription = group_subscription("threads");
    subscription.ack_wait_ms = 60000;
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "threads");
    publisher_publish_many(publisher, 50);
    publisher_wait(publisher);
    receiver_wait(receiver, 50);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, acknowledge_all, receiver), 0);
    pthread_join(thread, NULL);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
    publisher_free(&publisher);
    expect_to_resume_at(&subscription, "threads", 1000);
}

static void needs_no_acknowledgement_where_the_engine_does_it(void **state UNUSED)
{
    struct receiver *receiver = receiver_new(RECEIVER_DROPS);
    struct bus *bus = open_bus(bus_server_uri(server), "automatic");
    struct subscription subscription = group_subscription("automatic");
    subscription.acknowledge_by_engine = true;
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "automatic");
    publisher_publish_many(publisher, 5);
    publisher_wait(publisher);
    receiver_wait(receiver, 5);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
    publisher_free(&publisher);
    expect_to_resume_at(&subscription, "automatic", 77);
}

static void hands_over_nothing_after_it_stopped_receiving(void **state UNUSED)
{
    struct receiver *stopped = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct receiver *successor = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct subscription subscription = group_subscription("stopped");
    subscription.acknowledge_by_engine = true; /* not even this acknowledges what was not handed over */
    struct bus *bus = open_bus(bus_server_uri(server), "stopped");
    subscribe(bus, &subscription, stopped);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "stopped");
    publisher_publish_many(publisher, 1);
    receiver_wait(stopped, 1);
    bus_stop_receiving(bus);
    publisher_publish_many(publisher, 5);
    publisher_wait(publisher);
    assert_int_equal(receiver_count(stopped), 1);
    struct bus *other = open_bus(bus_server_uri(server), "successor");
    subscribe(other, &subscription, successor);
    bus_close(&bus, CLOSE_MS);
    receiver_wait(successor, 5);
    assert_int_equal(receiver_count(stopped), 1);
    for (long i = 1; i <= 5; i++) {
        assert_true(receiver_count_of(successor, i) > 0);
    }
    assert_int_equal(receiver_count_of(successor, 0), 0);
    bus_close(&other, CLOSE_MS);
    receiver_free(&stopped);
    receiver_free(&successor);
    publisher_free(&publisher);
}

/* ---- several processes ---- */

enum { MEMBERS = 3, MEMBER_MESSAGES = 60 };

/* Tells the parent, in one write, so that the lines of several members do not mix. */
static void report_to_parent(struct delivery *delivery, void *client_id)
{
    dprintf(STDOUT_FILENO, "%s %s\n", (const char *)client_id, delivery_data(delivery));
    bus_ack(delivery);
}

/* The body of a process that joins the group and prints what it gets, until its input ends. */
static int run_member(const char *uri, char *client_id)
{
    block_signals(NULL);
    struct bus *bus = open_bus(uri, client_id);
    struct subscription subscription = group_subscription("processes");
    subscription.in_flight = 5;
    subscription.ack_wait_ms = 30000;
    struct error error = ERROR_INIT;
    if (!bus_subscribe(bus, &subscription, report_to_parent, client_id, &error) || !bus_wait_up(bus, WAIT_MS)) {
        return 1;
    }
    dprintf(STDOUT_FILENO, "%s up\n", client_id);
    char end;
    while (read(STDIN_FILENO, &end, 1) > 0) {
    }
    bus_close(&bus, CLOSE_MS);
    return 0;
}

static pid_t start_member(const char *client_id, int input, int output)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    char program[] = "bus", word[] = "member", *uri = xstrdup(bus_server_uri(server)), *name = xstrdup(client_id);
    char *arguments[] = {program, word, uri, name, NULL};
    pid_t process;
    assert_int_equal(posix_spawn(&process, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    xfree(uri);
    xfree(name);
    return process;
}

static void shares_the_messages_of_a_group_between_processes(void **state UNUSED)
{
    int input[2], output[2];
    assert_int_equal(pipe2(input, O_CLOEXEC), 0);
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    pid_t processes[MEMBERS];
    char line[64];
    for (size_t i = 0; i < MEMBERS; i++) {
        snprintf(line, sizeof(line), "member-%zu", i);
        processes[i] = start_member(line, input[0], output[1]);
    }
    close(input[0]);
    close(output[1]);
    FILE *lines = fdopen(output[0], "r");
    for (size_t i = 0; i < MEMBERS; i++) {
        assert_non_null(fgets(line, sizeof(line), lines));
        assert_non_null(strstr(line, " up\n"));
    }
    struct bus *bus = open_bus_and_wait(bus_server_uri(server), "processes");
    struct publisher *publisher = publisher_new(bus, "processes");
    publisher_publish_many(publisher, MEMBER_MESSAGES);
    publisher_wait(publisher);

    size_t by_member[MEMBERS] = {0};
    size_t by_message[MEMBER_MESSAGES] = {0};
    for (size_t i = 0; i < MEMBER_MESSAGES; i++) {
        size_t member, message;
        assert_non_null(fgets(line, sizeof(line), lines));
        assert_int_equal(sscanf(line, "member-%zu %zu", &member, &message), 2);
        assert_true(member < MEMBERS && message < MEMBER_MESSAGES);
        by_member[member]++;
        by_message[message]++;
    }
    close(input[1]);
    for (size_t i = 0; i < MEMBERS; i++) {
        int status;
        assert_int_equal(waitpid(processes[i], &status, 0), processes[i]);
        assert_int_equal(status, 0);
        assert_true(by_member[i] > 0);
    }
    assert_null(fgets(line, sizeof(line), lines));
    for (size_t i = 0; i < MEMBER_MESSAGES; i++) {
        assert_int_equal(by_message[i], 1);
    }
    fclose(lines);
    bus_close(&bus, CLOSE_MS);
    publisher_free(&publisher);
}

/* ---- where to start ---- */

/* All that there is comes, and nothing before it. Returns the sequence of the middle one. */
static uint64_t expect_start(const struct subscription *subscription, const long *expected, size_t count)
{
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(bus_server_uri(server), "starts");
    subscribe(bus, subscription, receiver);
    receiver_wait(receiver, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(receiver_at(receiver, i).number, expected[i]);
    }
    assert_int_equal(receiver_count(receiver), count);
    uint64_t sequence = receiver_at(receiver, count / 2).sequence;
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
    return sequence;
}

static bool has_passed(void *milliseconds)
{
    return clock_now(NULL) > *(int64_t *)milliseconds;
}

static void starts_where_it_is_told(void **state UNUSED)
{
    struct bus *bus = open_bus_and_wait(bus_server_uri(server), "starts-publisher");
    struct publisher *publisher = publisher_new(bus, "starts");
    publisher_publish_many(publisher, 3);
    publisher_wait(publisher);
    int64_t middle = clock_now(NULL) + 5;
    assert_true(eventually(has_passed, &middle, WAIT_MS));
    publisher_publish_many(publisher, 2);
    publisher_wait(publisher);

    struct publisher *other = publisher_new(bus, "starts-elsewhere");
    publisher_publish_many(other, 1);
    publisher_wait(other);

    struct subscription subscription = {.subject = "starts", .ack_wait_ms = 30000, .in_flight = 10};
    subscription.start = BUS_START_ALL;
    uint64_t sequence = expect_start(&subscription, (long[]){0, 1, 2, 3, 4}, 5);
    subscription.start = BUS_START_LAST_RECEIVED;
    expect_start(&subscription, (long[]){4}, 1);
    subscription.start = BUS_START_SEQUENCE;
    subscription.start_sequence = sequence;
    expect_start(&subscription, (long[]){2, 3, 4}, 3);
    subscription.start = BUS_START_TIME;
    subscription.start_time = middle;
    expect_start(&subscription, (long[]){3, 4}, 2);

    subscription.start = BUS_START_NEW;
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    subscribe(bus, &subscription, receiver);
    while (receiver_count(receiver) == 0) {
        publisher_publish_many(publisher, 1); /* it is made some time later */
        publisher_wait(publisher);
    }
    assert_true(receiver_at(receiver, 0).number >= 5);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
    publisher_free(&other);
    publisher_free(&publisher);
}

/* ---- signals ---- */

struct heard {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t count;
    char text[BUS_SIGNAL_MAX + 1];
};

static void hear(const void *data, size_t length, void *context)
{
    struct heard *heard = context;
    pthread_mutex_lock(&heard->mutex);
    memcpy(heard->text, data, length);
    heard->text[length] = '\0';
    heard->count++;
    pthread_cond_broadcast(&heard->changed);
    pthread_mutex_unlock(&heard->mutex);
}

static void signals_reach_everyone_who_listens(void **state UNUSED)
{
    struct heard heard[4];
    struct bus *buses[2] = {open_bus(bus_server_uri(server), "signal-1"), open_bus(bus_server_uri(server), "signal-2")};
    static const char *const topics[] = {"gap.order", "gap.order", "gap.order", "gap.ticket"};
    struct error error = ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LENGTH(heard); i++) {
        heard[i] = (struct heard){.count = 0};
        pthread_mutex_init(&heard[i].mutex, NULL);
        pthread_cond_init(&heard[i].changed, NULL);
        assert_true(bus_on_signal(buses[i / 2], topics[i], hear, &heard[i], &error));
    }
    assert_true(bus_wait_up(buses[0], WAIT_MS));
    assert_true(bus_wait_up(buses[1], WAIT_MS));
    /* Signals may be lost while the listeners are being made known. */
    bool all = false;
    for (int64_t deadline = clock_monotonic(NULL) + WAIT_MS; !all && clock_monotonic(NULL) < deadline;) {
        bus_signal(buses[1], "gap.order", "5e1f", 4);
        all = true;
        for (size_t i = 0; i < 3; i++) {
            struct timespec moment = clock_deadline(100);
            pthread_mutex_lock(&heard[i].mutex);
            while (heard[i].count == 0 &&
                   pthread_cond_clockwait(&heard[i].changed, &heard[i].mutex, CLOCK_MONOTONIC, &moment) == 0) {
            }
            all = all && heard[i].count > 0;
            pthread_mutex_unlock(&heard[i].mutex);
        }
    }
    assert_true(all);
    bus_close(&buses[0], CLOSE_MS);
    bus_close(&buses[1], CLOSE_MS);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(heard[i].text, "5e1f");
    }
    assert_int_equal(heard[3].count, 0);
}

/* What a member of a group has heard: how often each number. */
enum { CALLS = 40 };

struct member {
    atomic_size_t heard[CALLS];
    atomic_bool awake; /* heard something else */
};

static void hear_number(const void *data, size_t length, void *context)
{
    struct member *member = context;
    char text[24] = "";
    memcpy(text, data, length < sizeof(text) ? length : sizeof(text) - 1);
    long number = strtol(text, NULL, 10);
    if (text[0] == 'w') {
        member->awake = true;
    } else if (number >= 0 && number < CALLS) {
        member->heard[number]++;
    }
}

struct listening {
    struct member members[4]; /* of group one on either bus, of group two, and of none */
    struct bus *buses[2];
};

/* All of them get it, one time or another. */
static bool all_are_awake(void *context)
{
    struct listening *listening = context;
    bool all = true;
    bus_signal(listening->buses[0], "shared.topic", "wake", 4);
    for (size_t i = 0; i < ARRAY_LENGTH(listening->members); i++) {
        all = all && listening->members[i].awake;
    }
    return all;
}

/* Somebody in each group, and who is in none, has heard everything. */
static bool all_is_heard(void *context)
{
    struct listening *listening = context;
    struct member *members = listening->members;
    for (size_t i = 0; i < CALLS; i++) {
        if (members[0].heard[i] + members[1].heard[i] == 0 || members[2].heard[i] == 0 || members[3].heard[i] == 0) {
            return false;
        }
    }
    return true;
}

static void a_shared_signal_reaches_one_of_each_group(void **state UNUSED)
{
    struct listening listening = {.buses = {open_bus(bus_server_uri(server), "shared-signal-1"),
                                            open_bus(bus_server_uri(server), "shared-signal-2")}};
    struct member *members = listening.members;
    struct error error = ERROR_INIT;
    struct bus *first = listening.buses[0], *second = listening.buses[1];
    assert_true(bus_on_signal_shared(first, "shared.topic", "one", hear_number, &members[0], &error));
    assert_true(bus_on_signal_shared(second, "shared.topic", "one", hear_number, &members[1], &error));
    assert_true(bus_on_signal_shared(second, "shared.topic", "two", hear_number, &members[2], &error));
    assert_true(bus_on_signal(second, "shared.topic", hear_number, &members[3], &error));
    assert_true(bus_wait_up(first, WAIT_MS));
    assert_true(bus_wait_up(second, WAIT_MS));
    assert_true(eventually(all_are_awake, &listening, WAIT_MS));
    for (int i = 0; i < CALLS; i++) {
        char text[24];
        int length = snprintf(text, sizeof(text), "%d", i);
        bus_signal(first, "shared.topic", text, (size_t)length);
    }
    assert_true(eventually(all_is_heard, &listening, WAIT_MS));
    bus_close(&first, CLOSE_MS);
    bus_close(&second, CLOSE_MS);
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(members[0].heard[i] + members[1].heard[i], 1);
        assert_int_equal(members[2].heard[i], 1);
        assert_int_equal(members[3].heard[i], 1);
    }
}

/* ---- what is refused ---- */

static void refuses_malformed_client_ids(void **state UNUSED)
{
    static const char *const bad_clients[] = {"", "a.b", "a b", "\xc3\xa4",
                                              "0123456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad_clients); i++) {
        struct bus *bus = NULL;
        struct error error = ERROR_INIT;
        struct bus_config config = {.uri = bus_server_uri(server), .client_id = bad_clients[i], .publish_limit = 1};
        assert_false(bus_client_id_valid(bad_clients[i]));
        assert_false(bus_open(&config, &bus, &error));
        assert_int_equal(error.code, ERROR_INVALID);
    }
    assert_true(bus_client_id_valid("tickets-7f_3A"));
}

static void ignore_confirmation(bool stored UNUSED, void *context UNUSED)
{
}

static void refuses_malformed_subscriptions_subjects_and_topics(void **state UNUSED)
{
    struct bus *bus = open_bus_and_wait(bus_server_uri(server), "malformed");
    const struct subscription good = group_subscription("subject");
    struct subscription bad[10];
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        bad[i] = good;
    }
    bad[0].subject = "";
    bad[1].subject = "Subject";
    bad[2].subject = "a.*";
    bad[3].queue_group = "a:b";
    bad[4].durable = "";
    bad[5].ack_wait_ms = 999;
    bad[6].ack_wait_ms = 1500;
    bad[7].in_flight = 0;
    bad[8].in_flight = 1025;
    bad[9].start = BUS_START_SEQUENCE;
    struct error error;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        error = ERROR_INIT;
        assert_false(bus_subscribe(bus, &bad[i], receiver_receive, NULL, &error));
        assert_int_equal(error.code, ERROR_INVALID);
    }
    static const char *const topics[] = {"", ".a", "a.", "a..b", "a.*", "A", "a:b"};
    for (size_t i = 0; i < ARRAY_LENGTH(topics); i++) {
        error = ERROR_INIT;
        assert_false(bus_on_signal(bus, topics[i], hear, NULL, &error));
        assert_int_equal(error.code, ERROR_INVALID);
    }
    static const char *const groups[] = {"", "a:b", "a.b", "a b"};
    for (size_t i = 0; i < ARRAY_LENGTH(groups); i++) {
        error = ERROR_INIT;
        assert_false(bus_on_signal_shared(bus, "topic", groups[i], hear, NULL, &error));
        assert_int_equal(error.code, ERROR_INVALID);
    }
    assert_false(bus_publish(bus, "no spaces", NULL, "", 0, ignore_confirmation, NULL));
    error = ERROR_INIT;
    assert_false(bus_publish_wait(bus, "", NULL, "", 0, WAIT_MS, &error));
    assert_int_equal(error.code, ERROR_INVALID);
    bus_close(&bus, CLOSE_MS);
    bus_close(&bus, CLOSE_MS); /* twice does no harm */
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "member") == 0) {
        return run_member(argv[2], argv[3]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers_what_was_published),
        cmocka_unit_test(carries_a_million_bytes_and_refuses_more),
        cmocka_unit_test(shares_the_messages_of_a_group_between_connections),
        cmocka_unit_test(resumes_a_group_after_all_its_members_left),
        cmocka_unit_test(resumes_a_durable_without_a_group),
        cmocka_unit_test(redelivers_what_was_not_acknowledged_and_only_that),
        cmocka_unit_test(redelivers_what_was_dropped),
        cmocka_unit_test(gives_no_more_than_the_limit_before_an_acknowledgement),
        cmocka_unit_test(takes_acknowledgements_from_any_thread),
        cmocka_unit_test(needs_no_acknowledgement_where_the_engine_does_it),
        cmocka_unit_test(hands_over_nothing_after_it_stopped_receiving),
        cmocka_unit_test(shares_the_messages_of_a_group_between_processes),
        cmocka_unit_test(starts_where_it_is_told),
        cmocka_unit_test(signals_reach_everyone_who_listens),
        cmocka_unit_test(a_shared_signal_reaches_one_of_each_group),
        cmocka_unit_test(refuses_malformed_client_ids),
        cmocka_unit_test(refuses_malformed_subscriptions_subjects_and_topics),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
