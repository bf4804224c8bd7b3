/* SPDX-License-Identifier: Apache-2.0
 * A cluster of three JetStream servers: what is confirmed outlives any one of them, and everything goes on meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "tests/contract/bus_fixture.h"

enum {
    SERVERS = 3,
    MESSAGES = 3000,
    WINDOW = 200, /* messages in flight */
    SETTINGS_MAX = 512,
    URI_MAX = 192,
    ELECTION_MS = 60000, /* for what may need a new leader, or two; generous, as ever */
    POLL_US = 2000,
    RETRY_US = 20000, /* before what was not confirmed is published again */
};

struct cluster {
    struct bus_server *servers[SERVERS];
    char uri[URI_MAX];
};

/* The address that tries this server first. */
static void make_uri(const struct cluster *cluster, size_t first, char ret_uri[static URI_MAX])
{
    snprintf(ret_uri, URI_MAX, "nats://127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u?replicas=%d",
             bus_server_port(cluster->servers[first]), bus_server_port(cluster->servers[(first + 1) % SERVERS]),
             bus_server_port(cluster->servers[(first + 2) % SERVERS]), SERVERS);
}

static int start_cluster(void **state)
{
    struct cluster *cluster = xcalloc(1, sizeof(*cluster));
    unsigned ports[SERVERS];
    char settings[SETTINGS_MAX];
    block_signals(state);
    for (size_t i = 0; i < SERVERS; i++) {
        cluster->servers[i] = bus_server_new_of("jetstream", BUS_SERVER_FILE, NULL, NULL);
        ports[i] = bus_server_free_port();
    }
    for (size_t i = 0; i < SERVERS; i++) {
        snprintf(settings, sizeof(settings),
                 "server_name: server-%zu\ncluster { name: test, listen: \"127.0.0.1:%u\", routes: "
                 "[\"nats://127.0.0.1:%u\", \"nats://127.0.0.1:%u\", \"nats://127.0.0.1:%u\"] }",
                 i, ports[i], ports[0], ports[1], ports[2]);
        bus_server_configure(cluster->servers[i], settings);
        bus_server_launch(cluster->servers[i]);
    }
    make_uri(cluster, 0, cluster->uri);
    for (size_t i = 0; i < SERVERS; i++) {
        bus_server_wait(cluster->servers[i]);
    }
    *state = cluster;
    return 0;
}

static int stop_cluster(void **state)
{
    struct cluster *cluster = *state;
    for (size_t i = 0; i < SERVERS; i++) {
        bus_server_free(&cluster->servers[i]);
    }
    xfree(cluster);
    return 0;
}

/* The server that leads the stream, as one of those that run says; SERVERS if none does. */
static size_t find_leader(const struct cluster *cluster, const struct bus_server *asked)
{
    char *text = bus_server_monitor(asked, "/jsz?streams=1");
    const char *stream = text ? strstr(text, "\"name\": \"turnstile\"") : NULL;
    const char *leader = stream ? strstr(stream, "\"leader\": \"server-") : NULL;
    size_t found = leader ? strtoul(leader + strlen("\"leader\": \"server-"), NULL, 10) : SERVERS;
    xfree(text);
    return found < SERVERS && cluster->servers[found] ? found : SERVERS;
}

static size_t wait_for_leader(const struct cluster *cluster)
{
    int64_t deadline = clock_monotonic(NULL) + ELECTION_MS;
    size_t leader;
    while ((leader = find_leader(cluster, cluster->servers[0])) == SERVERS) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
    }
    return leader;
}

/* ---- a publisher that does not give up: as the relay, it publishes again, under the same id ---- */

struct load {
    struct bus *bus;
    pthread_mutex_t mutex;
    size_t in_flight, stored, failed;
    struct message {
        struct load *load;
        enum { TO_PUBLISH, IN_FLIGHT, STORED } state;
    } messages[MESSAGES];
};

static void confirmed(bool stored, void *context)
{
    struct message *message = context;
    struct load *load = message->load;
    pthread_mutex_lock(&load->mutex);
    message->state = stored ? STORED : TO_PUBLISH;
    load->in_flight--;
    load->stored += stored;
    load->failed += !stored;
    pthread_mutex_unlock(&load->mutex);
}

/* Publishes, of the first `end`, what is not stored yet. Returns how many are. */
static size_t publish_some(struct load *load, size_t end)
{
    char id[32], text[24];
    for (size_t i = 0; i < end; i++) {
        struct message *message = &load->messages[i];
        pthread_mutex_lock(&load->mutex);
        bool is_due = message->state == TO_PUBLISH && load->in_flight < WINDOW;
        if (is_due) {
            message->state = IN_FLIGHT;
            load->in_flight++;
        }
        pthread_mutex_unlock(&load->mutex);
        snprintf(id, sizeof(id), "cluster/%zu", i);
        snprintf(text, sizeof(text), "%zu", i);
        if (is_due && !bus_publish(load->bus, "cluster", id, text, strlen(text), confirmed, message)) {
            pthread_mutex_lock(&load->mutex);
            message->state = TO_PUBLISH;
            load->in_flight--;
            pthread_mutex_unlock(&load->mutex);
        }
    }
    pthread_mutex_lock(&load->mutex);
    size_t stored = load->stored;
    pthread_mutex_unlock(&load->mutex);
    return stored;
}

static void publish_until_stored(struct load *load, size_t end)
{
    int64_t deadline = clock_monotonic(NULL) + ELECTION_MS;
    while (publish_some(load, end) < end) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(RETRY_US);
    }
}

static struct load *load_new(struct bus *bus)
{
    struct load *load = xcalloc(1, sizeof(*load));
    load->bus = bus;
    pthread_mutex_init(&load->mutex, NULL);
    for (size_t i = 0; i < MESSAGES; i++) {
        load->messages[i].load = load;
    }
    return load;
}

static void load_free(struct load *load)
{
    pthread_mutex_destroy(&load->mutex);
    xfree(load);
}

/* ---- the tests ---- */

static bool has_received_all(void *context)
{
    struct receiver *receiver = context;
    bool *received = xcalloc(MESSAGES, sizeof(*received));
    size_t count = 0;
    pthread_mutex_lock(&receiver->mutex);
    for (size_t i = 0; i < receiver->count; i++) {
        long number = receiver->received[i].number;
        count += !received[number];
        received[number] = true;
    }
    pthread_mutex_unlock(&receiver->mutex);
    xfree(received);
    return count == MESSAGES;
}

/* What the stream has, read from the beginning by somebody new: each message once. */
static void expect_each_once(const struct cluster *cluster)
{
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(cluster->uri, "reader");
    struct subscription subscription = group_subscription("cluster");
    subscription.queue_group = subscription.durable = NULL;
    subscription.ack_wait_ms = 60000;
    subscribe(bus, &subscription, receiver);
    assert_true(eventually(has_received_all, receiver, ELECTION_MS));
    assert_int_equal(receiver_count(receiver), MESSAGES);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
}

/* The publisher is connected to the leader, so that its death also takes confirmations of what is stored with it. */
static void loses_and_doubles_nothing_when_the_leader_is_killed_under_load(void **state)
{
    const struct cluster *cluster = *state;
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *consumer = open_bus(cluster->uri, "consumer");
    struct subscription subscription = group_subscription("cluster");
    subscribe(consumer, &subscription, receiver);
    assert_true(bus_wait_up(consumer, ELECTION_MS));
    size_t leader = wait_for_leader(cluster);
    char uri[URI_MAX];
    make_uri(cluster, leader, uri);
    struct bus *publisher = open_bus(uri, "publisher");
    assert_true(bus_wait_up(publisher, ELECTION_MS));
    struct load *load = load_new(publisher);
    publish_until_stored(load, MESSAGES / 3);
    while (publish_some(load, MESSAGES) < MESSAGES / 3 + WINDOW / 2) {
        /* without a pause, so that many are on their way, or their confirmations */
    }
    bus_server_kill(cluster->servers[leader]);
    publish_until_stored(load, MESSAGES);
    assert_true(eventually(has_received_all, receiver, ELECTION_MS));
    bus_server_start(cluster->servers[leader]);
    expect_each_once(cluster);
    print_message("%zu publishes were not confirmed, and repeated\n", load->failed);
    bus_close(&publisher, CLOSE_MS);
    bus_close(&consumer, CLOSE_MS);
    load_free(load);
    receiver_free(&receiver);
}

static void goes_on_by_another_server_when_its_own_is_killed(void **state)
{
    struct cluster *cluster = *state;
    char uri[URI_MAX];
    snprintf(uri, sizeof(uri), "nats://127.0.0.1:%u,127.0.0.1:%u", bus_server_port(cluster->servers[1]),
             bus_server_port(cluster->servers[2]));
    struct receiver *receiver = receiver_new(RECEIVER_ACKNOWLEDGES);
    struct bus *bus = open_bus(uri, "moves");
    struct subscription subscription = group_subscription("moves");
    subscribe(bus, &subscription, receiver);
    assert_true(bus_wait_up(bus, ELECTION_MS));
    struct error error = ERROR_INIT;
    int64_t deadline = clock_monotonic(NULL) + ELECTION_MS;
    while (!bus_publish_wait(bus, "moves", "moves/0", "0", 1, WAIT_MS, &error)) {
        assert_true(clock_monotonic(NULL) < deadline);
    }
    receiver_wait(receiver, 1);
    bus_server_kill(cluster->servers[1]);
    wait_for_state(bus, BUS_CONNECTING);
    deadline = clock_monotonic(NULL) + ELECTION_MS;
    while (!bus_publish_wait(bus, "moves", "moves/1", "1", 1, WAIT_MS, &error)) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
    }
    deadline = clock_monotonic(NULL) + ELECTION_MS;
    while (receiver_count_of(receiver, 1) == 0) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
    }
    bus_server_start(cluster->servers[1]);
    bus_close(&bus, CLOSE_MS);
    receiver_free(&receiver);
}

static void tells_of_servers_whose_copies_may_come_to_differ(void **state)
{
    const struct cluster *cluster = *state;
    char *facts = bus_server_monitor(cluster->servers[0], "/varz");
    assert_non_null(facts);
    bool is_old = strstr(facts, "\"version\": \"2.9.");
    xfree(facts);
    log_begin();
    struct bus *bus = open_bus(cluster->uri, "looks");
    assert_true(bus_wait_up(bus, ELECTION_MS));
    if (is_old) {
        log_wait("the servers of this cluster are older than 2.10: the 3 copies of the stream \"turnstile\" may come "
                 "to differ");
    }
    char *text = log_end();
    assert_int_equal(is_old, strstr(text, "older than 2.10") != NULL);
    xfree(text);
    bus_close(&bus, CLOSE_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loses_and_doubles_nothing_when_the_leader_is_killed_under_load),
        cmocka_unit_test(goes_on_by_another_server_when_its_own_is_killed),
        cmocka_unit_test(tells_of_servers_whose_copies_may_come_to_differ),
    };
    return cmocka_run_group_tests(tests, start_cluster, stop_cluster);
}
