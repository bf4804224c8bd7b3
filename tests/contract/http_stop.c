/* SPDX-License-Identifier: Apache-2.0
 * The HTTP server by real sockets: stopping without losing a request. */
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "tests/contract/http_fixture.h"

enum {
    POLL_US = 1000,
    PROMPT_MS = 2000, /* how long stopping may take when nothing holds it up */
};

struct stopper {
    struct fixture *fixture;
    int64_t timeout_ms;
    int64_t taken_ms;
    pthread_t thread;
};

static void *stop(void *context)
{
    struct stopper *stopper = context;
    int64_t start = clock_monotonic(NULL);
    http_stop(&stopper->fixture->server, stopper->timeout_ms);
    stopper->taken_ms = clock_monotonic(NULL) - start;
    return NULL;
}

static void stopper_start(struct stopper *stopper, struct fixture *fixture, int64_t timeout_ms)
{
    stopper->fixture = fixture;
    stopper->timeout_ms = timeout_ms;
    assert_int_equal(pthread_create(&stopper->thread, NULL, stop, stopper), 0);
}

/* The listening socket is gone, so the answers from now on are the last ones. */
static void stopper_wait_until_it_has_begun(const struct stopper *stopper)
{
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    while (!is_refused(stopper->fixture)) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
    }
}

static void stopper_join(struct stopper *stopper)
{
    assert_int_equal(pthread_join(stopper->thread, NULL), 0);
}

static void wait_until_all_are_active(struct fixture *fixture, size_t count)
{
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    struct http_figures figures = {.active = 0};
    while (figures.active < count) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
        http_figures(fixture->server, &figures);
    }
}

static void idle_connections_do_not_hold_it_up(void **state)
{
    enum { CLIENTS = 300 };
    struct fixture *fixture = *state;
    struct client clients[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(fixture);
        if (i % 2 == 0) {
            CLEANUP(response_done) struct response response;
            client_send(&clients[i], "GET /ok HTTP/1.1\r\n" HOST "\r\n");
            client_read(&clients[i], &response);
            assert_int_equal(response.status, 200);
        }
    }
    struct stopper stopper;
    stopper_start(&stopper, fixture, WAIT_MS);
    stopper_join(&stopper);
    assert_in_range(stopper.taken_ms, 0, PROMPT_MS);
    for (size_t i = 0; i < CLIENTS; i++) {
        client_expect_end(&clients[i]);
        client_close(&clients[i]);
    }
}

static void what_runs_and_what_is_queued_is_answered(void **state)
{
    enum { CLIENTS = 20 };
    struct fixture *fixture = *state;
    struct client clients[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(fixture);
        client_send(&clients[i], "GET /gate HTTP/1.1\r\n" HOST "\r\n");
    }
    fixture_wait_at_gate(fixture, fixture->config.workers);
    wait_until_all_are_active(fixture, CLIENTS);
    struct stopper stopper;
    stopper_start(&stopper, fixture, WAIT_MS);
    stopper_wait_until_it_has_begun(&stopper);
    fixture_open_gate(fixture);
    for (size_t i = 0; i < CLIENTS; i++) {
        CLEANUP(response_done) struct response response;
        client_read(&clients[i], &response);
        assert_int_equal(response.status, 200);
        assert_string_equal(response_header(&response, "Connection"), "close");
        client_expect_end(&clients[i]);
        client_close(&clients[i]);
    }
    stopper_join(&stopper);
}

static void a_request_that_is_arriving_is_answered(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(client_close) struct client head = client_open(fixture);
    CLEANUP(client_close) struct client body = client_open(fixture);
    client_send(&head, "GET /ok HTTP/1.1\r\nHost: loc");
    client_send(&body, "POST /plain HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nab");
    /* Both are known to be under way when others that came later have been answered. */
    for (size_t i = 0; i < 20; i++) {
        expect_status(fixture, 200, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    }
    struct stopper stopper;
    stopper_start(&stopper, fixture, WAIT_MS);
    stopper_wait_until_it_has_begun(&stopper);
    assert_true(client_is_quiet(&head, PROMPT_MS / 2)); /* longer than idle connections are given */
    client_send(&head, "alhost\r\n\r\n");
    client_send(&body, "cd");
    CLEANUP(response_done) struct response first;
    client_read(&head, &first);
    assert_int_equal(first.status, 200);
    CLEANUP(response_done) struct response second;
    client_read(&body, &second);
    assert_int_equal(second.status, 204);
    client_expect_end(&head);
    client_expect_end(&body);
    stopper_join(&stopper);
}

static void serve_what_waits_to_be_accepted(void)
{
    struct fixture *fixture = fixture_new();
    fixture_start(fixture);
    struct client clients[3];
    /* Two requests keep both I/O threads busy: nobody accepts the third connection. */
    for (size_t i = 0; i < ARRAY_LENGTH(clients); i++) {
        clients[i] = client_open(fixture);
        client_send(&clients[i], "GET %s HTTP/1.1\r\n" HOST "\r\n", i < 2 ? "/io/gate" : "/ok");
        if (i < 2) {
            fixture_wait_at_gate(fixture, i + 1);
        }
    }
    struct stopper stopper;
    stopper_start(&stopper, fixture, WAIT_MS);
    stopper_wait_until_it_has_begun(&stopper);
    fixture_open_gate(fixture);
    for (size_t i = 0; i < ARRAY_LENGTH(clients); i++) {
        CLEANUP(response_done) struct response response;
        client_read(&clients[i], &response);
        assert_int_equal(response.status, 200);
        client_close(&clients[i]);
    }
    stopper_join(&stopper);
    fixture_stop(fixture);
}

/* For a moment the two connections may have ended and the third may not have begun, which must not pass for the end:
 * that needs more than one try. */
static void a_connection_that_waits_to_be_accepted_is_served(void **state UNUSED)
{
    enum { TRIES = 50 };
    for (int i = 0; i < TRIES; i++) {
        serve_what_waits_to_be_accepted();
    }
}

/* ---- load ---- */

struct load {
    struct fixture *fixture;
    pthread_t thread;
    size_t answered;
    const char *problem;
};

/* Asks on one connection until it is told that the connection ends. Every request must be answered in full. */
static void *ask_until_told_to_leave(void *context)
{
    static const char *const paths[] = {"/ok", "/io", "/medium"};
    struct load *load = context;
    struct client client = client_open(load->fixture);
    bool is_over = false;
    while (!is_over && load->problem == NULL) {
        char request[128];
        int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" HOST "\r\n",
                              paths[load->answered % ARRAY_LENGTH(paths)]);
        struct response response;
        if (!client_send_bytes(&client, request, (size_t)length)) {
            load->problem = "could not send";
        } else if (!client_try_read(&client, false, &response)) {
            load->problem = "no answer";
        } else {
            load->problem = response.status == 200 ? NULL : "not 200";
            is_over = response_header(&response, "Connection") != NULL;
            load->answered++;
            response_done(&response);
        }
    }
    client_close(&client);
    return NULL;
}

static void no_request_is_lost_under_load(void **state)
{
    enum { CLIENTS = 24, BEFORE = 500 };
    struct fixture *fixture = *state;
    struct load loads[CLIENTS] = {{.fixture = NULL}};
    for (size_t i = 0; i < CLIENTS; i++) {
        loads[i].fixture = fixture;
        assert_int_equal(pthread_create(&loads[i].thread, NULL, ask_until_told_to_leave, &loads[i]), 0);
    }
    struct http_figures figures;
    fixture_wait_for_answers(fixture, BEFORE, &figures);
    struct stopper stopper;
    stopper_start(&stopper, fixture, WAIT_MS);
    size_t answered = 0;
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_join(loads[i].thread, NULL), 0);
        if (loads[i].problem != NULL) {
            fail_msg("client %zu: %s after %zu answers", i, loads[i].problem, loads[i].answered);
        }
        answered += loads[i].answered;
    }
    stopper_join(&stopper);
    assert_in_range(stopper.taken_ms, 0, PROMPT_MS);
    assert_in_range(answered, BEFORE, SIZE_MAX);
    assert_int_equal(answered, atomic_load(&fixture->observed));
}

/* ---- the deadline ---- */

static void the_deadline_ends_what_does_not_arrive(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(client_close) struct client client = client_open(fixture);
    client_send(&client, "POST /plain HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nab");
    for (size_t i = 0; i < 20; i++) {
        expect_status(fixture, 200, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    }
    struct stopper stopper;
    stopper_start(&stopper, fixture, 500);
    stopper_join(&stopper);
    assert_in_range(stopper.taken_ms, 450, PROMPT_MS);
    client_expect_end(&client);
}

static void at_the_deadline_the_queue_is_refused_and_what_runs_is_waited_for(void **state)
{
    enum { CLIENTS = 10 };
    struct fixture *fixture = *state;
    struct client clients[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(fixture);
        client_send(&clients[i], "GET /gate HTTP/1.1\r\n" HOST "\r\n");
    }
    fixture_wait_at_gate(fixture, fixture->config.workers);
    wait_until_all_are_active(fixture, CLIENTS);
    struct stopper stopper;
    stopper_start(&stopper, fixture, 100);
    assert_true(client_is_quiet(&clients[0], PROMPT_MS / 2));
    fixture_open_gate(fixture);
    stopper_join(&stopper);
    size_t statuses[2] = {0, 0};
    for (size_t i = 0; i < CLIENTS; i++) {
        CLEANUP(response_done) struct response response;
        client_read(&clients[i], &response);
        assert_true(response.status == 200 || response.status == 503);
        statuses[response.status == 503]++;
        client_close(&clients[i]);
    }
    assert_int_equal(statuses[0], fixture->config.workers);
    assert_int_equal(statuses[1], CLIENTS - fixture->config.workers);
}

static void it_can_be_started_and_stopped_again_and_again(void **state UNUSED)
{
    for (size_t i = 0; i < 20; i++) {
        struct fixture *fixture = fixture_new();
        fixture_start(fixture);
        if (i % 2 == 0) {
            expect_status(fixture, 200, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
        }
        fixture_stop(fixture);
    }
    struct http_server *none = NULL;
    http_stop(&none, 0);
}

static int raise_descriptor_limit(void **state UNUSED)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(idle_connections_do_not_hold_it_up),
        WITH_SERVER(what_runs_and_what_is_queued_is_answered),
        WITH_SERVER(a_request_that_is_arriving_is_answered),
        cmocka_unit_test(a_connection_that_waits_to_be_accepted_is_served),
        WITH_SERVER(no_request_is_lost_under_load),
        WITH_SERVER(the_deadline_ends_what_does_not_arrive),
        WITH_SERVER(at_the_deadline_the_queue_is_refused_and_what_runs_is_waited_for),
        cmocka_unit_test(it_can_be_started_and_stopped_again_and_again),
    };
    return cmocka_run_group_tests(tests, raise_descriptor_limit, NULL);
}
