/* SPDX-License-Identifier: Apache-2.0
 * What the bus does with NATS Streaming in particular. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "tests/contract/bus_fixture.h"

static struct bus_server *server;

static int start_server(void **state)
{
    block_signals(state);
    server = bus_server_new_of("stan", BUS_SERVER_FILE, NULL, NULL);
    bus_server_start(server);
    return 0;
}

static int stop_server(void **state UNUSED)
{
    bus_server_free(&server);
    return 0;
}

static void says_when_its_client_id_is_in_use_and_waits_for_it(void **state UNUSED)
{
    struct bus *first = open_bus_and_wait(bus_server_uri(server), "twin");
    log_begin();
    struct bus *second = open_bus(bus_server_uri(server), "twin");
    log_wait("client id \"twin\" is already in use on the bus by another process");
    log_wait(", retrying in ");
    assert_int_equal(bus_state(second), BUS_CONNECTING);
    assert_int_equal(bus_state(first), BUS_UP);
    bus_close(&first, CLOSE_MS);
    assert_true(bus_wait_up(second, WAIT_MS));
    bus_close(&second, CLOSE_MS);
    xfree(log_end());
}

static void says_when_the_cluster_id_is_wrong(void **state UNUSED)
{
    char uri[64];
    snprintf(uri, sizeof(uri), "stan://127.0.0.1:%u/wrong", bus_server_port(server));
    log_begin();
    struct bus *bus = open_bus(uri, "wrong");
    log_wait("there is no streaming server with cluster id \"wrong\" behind it, retrying in ");
    bus_close(&bus, CLOSE_MS);
    xfree(log_end());
}

static void says_the_same_thing_only_now_and_then(void **state UNUSED)
{
    char uri[64];
    snprintf(uri, sizeof(uri), "stan://127.0.0.1:%u/ticketing", bus_server_free_port());
    log_begin();
    struct bus *bus = open_bus(uri, "again");
    log_wait("Connection refused, retrying in ");
    assert_false(bus_wait_up(bus, 1500)); /* four attempts or so */
    bus_close(&bus, CLOSE_MS);
    char *log = log_end();
    const char *first = strstr(log, "Connection refused");
    assert_null(strstr(first + 1, "Connection refused"));
    xfree(log);
}

static bool is_client(const struct bus_server *of, const char *client_id)
{
    char text[64];
    snprintf(text, sizeof(text), "\"id\": \"%s\"", client_id);
    char *clients = bus_server_monitor(of, "/streaming/clientsz");
    assert_non_null(clients);
    bool found = strstr(clients, text) != NULL;
    xfree(clients);
    return found;
}

static void the_server_drops_a_client_that_closes_at_once(void **state UNUSED)
{
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(bus_server_uri(server), "leaves");
    struct subscription subscription = group_subscription("leaves");
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    assert_true(is_client(server, "leaves"));
    bus_close(&bus, CLOSE_MS);
    assert_false(is_client(server, "leaves"));
    /* But keeps its durable. */
    char *channel = bus_server_monitor(server, "/streaming/channelsz?subs=1&channel=leaves");
    assert_non_null(strstr(channel, "\"queue_name\": \"group:group\""));
    assert_non_null(strstr(channel, "\"is_offline\": true"));
    xfree(channel);
    receiver_free(&receiver);
}

static void a_refused_subscription_is_told_and_does_not_hinder_the_others(void **state UNUSED)
{
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(bus_server_uri(server), "refused");
    struct subscription subscription = group_subscription("refused");
    subscription.queue_group = NULL;
    log_begin();
    subscribe(bus, &subscription, receiver);
    subscribe(bus, &subscription, receiver); /* the same durable of the same client twice */
    log_wait("the event bus refuses to let us receive refused: cannot subscribe: stan: duplicate durable "
             "registration, trying again in 5 s");
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "refused");
    publisher_publish_many(publisher, 1);
    receiver_wait(receiver, 1);
    publisher_wait(publisher);
    bus_close(&bus, CLOSE_MS);
    xfree(log_end());
    receiver_free(&receiver);
    publisher_free(&publisher);
}

static void comes_back_to_a_server_that_has_forgotten_everything(void **state UNUSED)
{
    struct bus_server *forgetful = bus_server_new_of("stan", BUS_SERVER_MEMORY, NULL, NULL);
    bus_server_start(forgetful);
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(bus_server_uri(forgetful), "forgotten");
    struct subscription subscription = group_subscription("forgotten");
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, WAIT_MS));
    struct publisher *publisher = publisher_new(bus, "forgotten");
    publisher_publish_many(publisher, 5);
    publisher_wait(publisher);
    receiver_wait(receiver, 5);
    bus_server_kill(forgetful);
    bus_server_start(forgetful);
    publisher_publish_many(publisher, 5);
    while (receiver_count_of(receiver, (long)publisher->accepted - 1) == 0) {
        publisher_publish_many(publisher, 1);
        publisher_wait(publisher);
    }
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
    publisher_free(&publisher);
    bus_server_free(&forgetful);
}

static void signs_in_with_user_and_password_and_never_logs_them(void **state UNUSED)
{
    struct bus_server *guarded = bus_server_new_of("stan", BUS_SERVER_FILE, "tickets", "hunter2");
    bus_server_start(guarded);
    log_begin();
    char uri[96];
    snprintf(uri, sizeof(uri), "stan://tickets:hunter2%%40@127.0.0.1:%u/ticketing", bus_server_port(guarded));
    struct bus *bus = open_bus(uri, "guarded");
    log_wait("'Authorization Violation', retrying in ");
    bus_close(&bus, CLOSE_MS);
    bus = open_bus_and_wait(bus_server_uri(guarded), "guarded");
    bus_close(&bus, CLOSE_MS);
    char *log = log_end();
    assert_null(strstr(log, "hunter"));
    xfree(log);
    bus_server_free(&guarded);
}

static void says_what_its_user_may_not_do(void **state UNUSED)
{
    /* This one is the streaming server's own. */
    struct bus_server *guarded = bus_server_new_of("stan", BUS_SERVER_FILE, "streaming", "hunter1");
    bus_server_configure(guarded, "authorization { users: [ { user: \"streaming\", password: \"hunter1\" }, "
                                  "{ user: \"tickets\", password: \"hunter2\", permissions: { publish: "
                                  "{ deny: [\"turnstile.signal.>\"] } } } ] }");
    bus_server_start(guarded);
    char uri[96];
    snprintf(uri, sizeof(uri), "stan://tickets:hunter2@127.0.0.1:%u/ticketing", bus_server_port(guarded));
    log_begin();
    struct bus *bus = open_bus_and_wait(uri, "guarded");
    bus_signal(bus, "forbidden", "", 0);
    log_wait("NATS reports: Permissions Violation for Publish to \"turnstile.signal.ticketing.forbidden\"");
    bus_close(&bus, CLOSE_MS);
    xfree(log_end());
    bus_server_free(&guarded);
}

static void tries_the_next_host_when_one_is_away(void **state UNUSED)
{
    char uri[96];
    snprintf(uri, sizeof(uri), "stan://127.0.0.1:%u,127.0.0.1:%u/ticketing", bus_server_free_port(),
             bus_server_port(server));
    struct bus *bus = open_bus_and_wait(uri, "hosts");
    bus_close(&bus, CLOSE_MS);
}

/* ---- positions ---- */

struct loss {
    atomic_size_t count;
    atomic_uint_fast64_t expected, found;
};

static void record_loss(struct bus *bus UNUSED, const char *subject UNUSED, uint64_t expected, uint64_t found,
                        void *context)
{
    struct loss *loss = context;
    loss->expected = expected;
    loss->found = found;
    loss->count++;
}

enum { SILENCE_MS = 1500, ASKING_MS = 200, FROZEN_MS = 2000, SLICE_MS = 250 };

/* Opens a bus that waits for the last message of an empty channel, and freezes the server meanwhile. */
static struct bus *open_and_freeze(struct bus_server *frozen, struct loss *loss)
{
    static const struct bus_position positions[] = {{.subject = "empty", .sequence = 7}};
    struct bus_config config = {.uri = bus_server_uri(frozen),
                                .client_id = "silence",
                                .publish_limit = 1,
                                .positions = positions,
                                .position_count = 1,
                                .history_lost = record_loss,
                                .context = loss};
    struct bus *bus = NULL;
    struct error error = ERROR_INIT;
    assert_true(bus_open(&config, &bus, &error));
    while (!is_client(frozen, "silence")) {
        usleep(1000);
    }
    usleep(ASKING_MS * 1000); /* for a point in time within the silence, not a way to wait */
    bus_server_freeze(frozen);
    if (loss->count > 0) { /* a busy machine: it was too late for that */
        bus_server_thaw(frozen);
        bus_close(&bus, CLOSE_MS);
        loss->count = 0;
        return open_and_freeze(frozen, loss);
    }
    return bus;
}

static void expect_loss(struct bus *bus, const struct loss *loss)
{
    assert_int_equal(loss->count, 1);
    assert_int_equal(loss->expected, 7);
    assert_int_equal(loss->found, 0);
    assert_int_equal(bus_position(bus, "empty"), 0);
}

/* It is as silent as an empty channel. */
static void a_server_that_freezes_is_asked_again(void **state UNUSED)
{
    struct bus_server *frozen = bus_server_new_of("stan", BUS_SERVER_FILE, NULL, NULL);
    struct loss loss = {.count = 0};
    bus_server_start(frozen);
    log_begin();
    struct bus *bus = open_and_freeze(frozen, &loss);
    log_wait(": the server does not answer, retrying in ");
    size_t early = loss.count;
    bus_server_thaw(frozen);
    bool up = bus_wait_up(bus, WAIT_MS);
    xfree(log_end());
    assert_int_equal(early, 0);
    assert_true(up);
    expect_loss(bus, &loss);
    bus_close(&bus, CLOSE_MS);
    bus_server_free(&frozen);
}

static void the_silence_of_a_server_that_was_frozen_does_not_count(void **state UNUSED)
{
    struct bus_server *frozen = bus_server_new_of("stan", BUS_SERVER_FILE, NULL, NULL);
    struct loss loss = {.count = 0};
    bus_server_start(frozen);
    int64_t start = clock_monotonic(NULL);
    struct bus *bus = open_and_freeze(frozen, &loss);
    usleep(FROZEN_MS * 1000); /* the time is the subject of the test, not a way to wait */
    bus_server_thaw(frozen);
    assert_true(bus_wait_up(bus, WAIT_MS));
    assert_true(clock_monotonic(NULL) - start >= FROZEN_MS + SILENCE_MS - 2 * SLICE_MS);
    expect_loss(bus, &loss);
    bus_close(&bus, CLOSE_MS);
    bus_server_free(&frozen);
}

/* Nobody has to wait for the silence to end. */
static void closes_while_it_waits_for_an_empty_channel(void **state UNUSED)
{
    struct bus_position positions[] = {{.subject = "empty:closed", .sequence = 1}};
    struct loss loss = {.count = 0};
    struct bus_config config = {.uri = bus_server_uri(server),
                                .client_id = "hurry",
                                .publish_limit = 1,
                                .positions = positions,
                                .position_count = 1,
                                .history_lost = record_loss,
                                .context = &loss};
    struct bus *bus = NULL;
    struct error error = ERROR_INIT;
    assert_true(bus_open(&config, &bus, &error));
    while (!is_client(server, "hurry")) {
        usleep(1000);
    }
    bus_close(&bus, CLOSE_MS);
    assert_int_equal(loss.count, 0);
    assert_false(is_client(server, "hurry"));
}

/* ---- addresses ---- */

static void refuses_malformed_uris(void **state UNUSED)
{
    static const char *const bad[] = {
        "",
        "stan",
        "stan://",
        "stan:///ticketing",
        "stan://127.0.0.1:4222",
        "stan://127.0.0.1:4222/",
        "stan://127.0.0.1:4222/two/parts",
        "stan://127.0.0.1:4222/ticket ing",
        "stan://127.0.0.1:0/ticketing",
        "stan://127.0.0.1:65536/ticketing",
        "stan://127.0.0.1:/ticketing",
        "stan://127.0.0.1:4222,/ticketing",
        "stan://host name/ticketing",
        "stan://[::1/ticketing",
        "stan://[::1]x/ticketing",
        "stan://secret@127.0.0.1:4222/ticketing",
        "stan://user:se%zzcret@127.0.0.1/ticketing",
        "stan://a,b,c,d,e,f,g,h,i/ticketing",
        "stan://127.0.0.1:4222/ticketing?",
        "stan://127.0.0.1:4222/ticketing?replicas=3",
        "stan://127.0.0.1:4222?replicas=3",
        "stan://127.0.0.1:4222/ticketing?tls=secret",
        "http://127.0.0.1:4222/ticketing",
        "nats-streaming-server://127.0.0.1/ticketing",
        "stan://127.0.0.1:4222/ticketing?replicas=3",
        "nats://127.0.0.1:4222/two/parts",
        "nats://127.0.0.1:4222/with.dots",
        "nats://127.0.0.1:4222?replicas=2",
        "nats://127.0.0.1:4222?replicas=0",
        "nats://127.0.0.1:4222?replicas=7",
        "nats://127.0.0.1:4222/turnstile?replicas=",
        "nats://127.0.0.1:4222/turnstile?copies=3",
        "nats://secret@127.0.0.1:4222",
    };
    static const char *const good[] = {
        "stan://127.0.0.1:4222/ticketing",
        "stan://nats/ticketing",
        "stan://user:se%40cret@nats-1.example:4222,nats-2:4223,[::1]:4224/test-cluster_1",
        "nats://127.0.0.1:4222",
        "nats://127.0.0.1:4222/",
        "nats://127.0.0.1/turnstile?replicas=1",
        "nats://user:se%40cret@nats-1.example:4222,nats-2:4223,[::1]:4224?replicas=5",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct bus *bus = NULL;
        struct error error = ERROR_INIT;
        struct bus_config config = {.uri = bad[i], .client_id = "fine", .publish_limit = 1};
        assert_false(bus_uri_valid(bad[i]));
        assert_false(bus_open(&config, &bus, &error));
        assert_int_equal(error.code, ERROR_INVALID);
        assert_null(bus);
        assert_null(strstr(error.message, "cret"));
        assert_non_null(strstr(error.message, "must be like "));
        assert_true(strstr(bad[i], "stan://") != bad[i] || strstr(error.message, "must be like stan://"));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        assert_true(bus_uri_valid(good[i]));
    }
}

/* ---- a server that stalls ---- */

/* Listens, and answers each connection with `greeting`, after which it says nothing. */
struct staller {
    int listener;
    unsigned port;
    const char *greeting;
    pthread_t thread;
};

static void *stall(void *context)
{
    struct staller *staller = context;
    int connections[64];
    size_t count = 0;
    for (int connection; (connection = accept(staller->listener, NULL, NULL)) >= 0;) {
        dprintf(connection, "%s", staller->greeting);
        connections[count++] = connection;
        assert_true(count < ARRAY_LENGTH(connections));
    }
    while (count > 0) {
        close(connections[--count]);
    }
    return NULL;
}

static void staller_start(struct staller *staller, const char *greeting)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    staller->greeting = greeting;
    staller->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(staller->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(staller->listener, 16), 0);
    assert_int_equal(getsockname(staller->listener, (struct sockaddr *)&address, &size), 0);
    staller->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&staller->thread, NULL, stall, staller), 0);
}

static void staller_stop(struct staller *staller)
{
    shutdown(staller->listener, SHUT_RDWR);
    pthread_join(staller->thread, NULL);
    close(staller->listener);
}

static void a_server_that_stalls_while_greeting_is_given_up(void **state UNUSED)
{
    static const char *const greetings[] = {
        "", "INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"max_payload\":1048576}\r\n", "220 mail.example\r\n"};
    for (size_t i = 0; i < ARRAY_LENGTH(greetings); i++) {
        struct staller staller;
        staller_start(&staller, greetings[i]);
        char uri[64];
        snprintf(uri, sizeof(uri), "stan://127.0.0.1:%u/ticketing", staller.port);
        log_begin();
        struct bus *bus = open_bus(uri, "stalled");
        log_wait("does not answer like NATS within 1 s, retrying in ");
        assert_int_equal(bus_state(bus), BUS_CONNECTING);
        int64_t start = clock_monotonic(NULL);
        bus_close(&bus, CLOSE_MS);
        assert_in_range(clock_monotonic(NULL) - start, 0, CLOSE_MS);
        xfree(log_end());
        staller_stop(&staller);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_when_its_client_id_is_in_use_and_waits_for_it),
        cmocka_unit_test(says_when_the_cluster_id_is_wrong),
        cmocka_unit_test(says_the_same_thing_only_now_and_then),
        cmocka_unit_test(the_server_drops_a_client_that_closes_at_once),
        cmocka_unit_test(a_refused_subscription_is_told_and_does_not_hinder_the_others),
        cmocka_unit_test(comes_back_to_a_server_that_has_forgotten_everything),
        cmocka_unit_test(signs_in_with_user_and_password_and_never_logs_them),
        cmocka_unit_test(says_what_its_user_may_not_do),
        cmocka_unit_test(tries_the_next_host_when_one_is_away),
        cmocka_unit_test(a_server_that_freezes_is_asked_again),
        cmocka_unit_test(the_silence_of_a_server_that_was_frozen_does_not_count),
        cmocka_unit_test(closes_while_it_waits_for_an_empty_channel),
        cmocka_unit_test(refuses_malformed_uris),
        cmocka_unit_test(a_server_that_stalls_while_greeting_is_given_up),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
