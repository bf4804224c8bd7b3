/* SPDX-License-Identifier: Apache-2.0
 * The HTTP server by real sockets: sizes, deadlines and the queue. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "tests/contract/http_fixture.h"

enum {
    SHORT_MS = 300, /* a timeout that a test waits for */
    DRIP_MS = 20,   /* between the bytes of a slow client */
    CHUNK_SIZE = 8192,
};

/* ---- sizes ---- */

/* {"title":"chair","price":1,"x":"aaaa…"} of exactly `length` bytes. Caller frees with xfree. */
static char *make_body(size_t length)
{
    static const char start[] = "{\"title\":\"chair\",\"price\":1,\"x\":\"";
    char *body = xmalloc(length + 1);
    memset(body, 'a', length);
    memcpy(body, start, sizeof start - 1);
    memcpy(body + length - 2, "\"}", 3);
    return body;
}

static void the_longest_body_is_taken_and_one_byte_more_is_413(void **state)
{
    for (size_t more = 0; more <= 1; more++) {
        size_t length = HTTP_BODY_MAX + more;
        CLEANUP(free_pointer) char *body = make_body(length);
        CLEANUP(client_close) struct client client = client_open(*state);
        client_send(&client, "POST /things HTTP/1.1\r\n" HOST JSON "Content-Length: %zu\r\n\r\n", length);
        assert_true(client_send_bytes(&client, body, length));
        CLEANUP(response_done) struct response response;
        client_read(&client, &response);
        assert_int_equal(response.status, more == 0 ? 201 : 413);
    }
}

static void a_declared_length_over_the_limit_is_413_at_once(void **state)
{
    static const char *const headers[] = {"", "Expect: 100-continue\r\n"};
    static const char *const paths[] = {"/things", "/plain", "/io/things"};
    for (size_t i = 0; i < ARRAY_LENGTH(headers) * ARRAY_LENGTH(paths); i++) {
        CLEANUP(client_close) struct client client = client_open(*state);
        client_send(&client, "POST %s HTTP/1.1\r\n" HOST JSON "%sContent-Length: 65537\r\n\r\n",
                    paths[i / ARRAY_LENGTH(headers)], headers[i % ARRAY_LENGTH(headers)]);
        CLEANUP(response_done) struct response response;
        client_read(&client, &response); /* without having sent a byte of the body */
        assert_int_equal(response.status, 413);
        assert_error_form(&response);
        assert_string_equal(response_header(&response, "Connection"), "close");
        client_expect_end(&client);
    }
    assert_int_equal(atomic_load(&((struct fixture *)*state)->handled), 0);
}

static void an_early_413_reaches_a_client_that_first_sends_everything(void **state)
{
    enum { UPLOAD = 4 << 20 };
    CLEANUP(free_pointer) char *body = make_body(UPLOAD);
    for (size_t i = 0; i < 5; i++) {
        CLEANUP(client_close) struct client client = client_open(*state);
        client_send(&client, "POST /things HTTP/1.1\r\n" HOST JSON "Content-Length: %d\r\n\r\n", UPLOAD);
        assert_true(client_send_bytes(&client, body, UPLOAD));
        CLEANUP(response_done) struct response response;
        client_read(&client, &response);
        assert_int_equal(response.status, 413);
    }
}

static bool send_chunks(struct client *client, size_t length)
{
    static char chunk[CHUNK_SIZE + 16];
    size_t head = (size_t)snprintf(chunk, sizeof chunk, "%x\r\n", CHUNK_SIZE);
    memset(chunk + head, 'a', CHUNK_SIZE);
    memcpy(chunk + head + CHUNK_SIZE, "\r\n", 2);
    for (size_t sent = 0; sent < length; sent += CHUNK_SIZE) {
        if (!client_send_bytes(client, chunk, head + CHUNK_SIZE + 2)) {
            return false;
        }
    }
    return true;
}

static void a_chunked_body_over_the_limit_is_dropped_and_413(void **state)
{
    static const char *const paths[] = {"/things", "/plain"};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        CLEANUP(client_close) struct client client = client_open(*state);
        client_send(&client, "POST %s HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n", paths[i]);
        assert_true(send_chunks(&client, HTTP_BODY_DISCARD_MAX));
        client_send(&client, "0\r\n\r\nGET /ok HTTP/1.1\r\n" HOST "\r\n");
        CLEANUP(response_done) struct response response;
        client_read(&client, &response);
        assert_int_equal(response.status, 413);
        assert_error_form(&response);
        CLEANUP(response_done) struct response next;
        client_read(&client, &next);
        assert_int_equal(next.status, 200);
    }
}

static void a_chunked_body_without_end_ends_the_connection(void **state)
{
    CLEANUP(client_close) struct client client = client_open(*state);
    client_send(&client, "POST /things HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n");
    /* Buffers on the way take some of it; much more than them cannot be sent. */
    assert_false(send_chunks(&client, 64 * (size_t)HTTP_BODY_DISCARD_MAX));
    assert_int_equal(atomic_load(&((struct fixture *)*state)->handled), 0);
}

static void a_client_that_waits_is_told_to_continue(void **state)
{
    CLEANUP(client_close) struct client client = client_open(*state);
    client_send(&client, "POST /things HTTP/1.1\r\n" HOST JSON "Expect: 100-Continue\r\nContent-Length: 29\r\n\r\n");
    CLEANUP(response_done) struct response interim;
    client_read(&client, &interim);
    assert_int_equal(interim.status, 100);
    client_send(&client, "{\"title\":\"chair\",\"price\":125}");
    CLEANUP(response_done) struct response response;
    client_read(&client, &response);
    assert_int_equal(response.status, 201);
}

static void a_client_that_waits_is_refused_before_its_body(void **state)
{
    static const struct {
        const char *request;
        unsigned status;
    } cases[] = {
        {"POST /required HTTP/1.1\r\n" HOST JSON, 401},
        {"POST /nothing HTTP/1.1\r\n" HOST JSON, 404},
        {"POST /ok HTTP/1.1\r\n" HOST JSON, 405},
        {"POST /things HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\n", 415},
        {"POST /things?a=1&a=2 HTTP/1.1\r\n" HOST JSON, 400},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(client_close) struct client client = client_open(*state);
        client_send(&client, "%sExpect: 100-continue\r\nContent-Length: 30\r\n\r\n", cases[i].request);
        CLEANUP(response_done) struct response response;
        client_read(&client, &response);
        assert_int_equal(response.status, cases[i].status);
        assert_error_form(&response);
        client_expect_end(&client);
    }
}

static void too_many_or_too_long_headers_are_431(void **state)
{
    CLEANUP(client_close) struct client client = client_open(*state);
    client_send(&client, "GET /ok HTTP/1.1\r\n" HOST);
    for (size_t i = 0; i < 100; i++) {
        client_send(&client, "x-%zu: y\r\n", i);
    }
    client_send(&client, "\r\n");
    CLEANUP(response_done) struct response response;
    client_read(&client, &response);
    assert_int_equal(response.status, 431);
    assert_error_form(&response);

    CLEANUP(client_close) struct client other = client_open(*state);
    CLEANUP(free_pointer) char *value = make_body(40000);
    client_send(&other, "GET /ok HTTP/1.1\r\n" HOST "x: ");
    (void)client_send_bytes(&other, value, 40000);
    CLEANUP(response_done) struct response refused;
    client_read(&other, &refused);
    assert_int_equal(refused.status, 431);
}

static void a_large_answer_arrives_in_full(void **state)
{
    CLEANUP(response_done) struct response response;
    ask(*state, &response, "GET /large HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(response.status, 200);
    assert_int_equal(response.length, LARGE_LENGTH);
    assert_int_equal(strspn(response.body, "x"), LARGE_LENGTH);
}

/* ---- deadlines ---- */

static int setup_impatient(void **state)
{
    struct fixture *fixture = fixture_new();
    fixture->config.request_timeout_ms = SHORT_MS;
    fixture_start(fixture);
    *state = fixture;
    return 0;
}

static int setup_short_idle(void **state)
{
    struct fixture *fixture = fixture_new();
    fixture->config.idle_timeout_ms = SHORT_MS;
    fixture_start(fixture);
    *state = fixture;
    return 0;
}

/* Sends a byte now and then until the server has had enough, and checks that this was neither too early nor late. */
static void drip(struct client *client, const char *text)
{
    int64_t start = clock_monotonic(NULL);
    bool is_alive = true;
    for (size_t i = 0; is_alive && clock_monotonic(NULL) - start < WAIT_MS; i++) {
        is_alive = client_send_bytes(client, text + i % strlen(text), 1) && client_is_quiet(client, DRIP_MS);
    }
    int64_t taken = clock_monotonic(NULL) - start;
    assert_in_range(taken, SHORT_MS / 2, WAIT_MS - 1);
    CLEANUP(response_done) struct response response;
    client_read(client, &response);
    assert_int_equal(response.status, 408);
    assert_error_form(&response);
    client_expect_end(client);
}

static void headers_that_trickle_in_are_408(void **state)
{
    CLEANUP(client_close) struct client client = client_open(*state);
    drip(&client,
         "GET /ok HTTP/1.1\r\nHost: localhost\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    /* The first line is complete: another phase of libmicrohttpd. */
    CLEANUP(client_close) struct client second = client_open(*state);
    client_send(&second, "GET /ok HTTP/1.1\r\n" HOST "x: ");
    drip(&second, "a");
}

static void a_body_that_trickles_in_is_408(void **state)
{
    CLEANUP(client_close) struct client client = client_open(*state);
    client_send(&client, "POST /things HTTP/1.1\r\n" HOST JSON "Content-Length: 1000\r\n\r\n");
    drip(&client, "{");
    CLEANUP(client_close) struct client chunked = client_open(*state);
    client_send(&chunked, "POST /things HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n");
    drip(&chunked, "1\r\na\r\n");
    /* A refused one too. */
    CLEANUP(client_close) struct client refused = client_open(*state);
    client_send(&refused, "POST /nothing HTTP/1.1\r\n" HOST JSON "Content-Length: 1000\r\n\r\n");
    drip(&refused, "{");
    assert_int_equal(atomic_load(&((struct fixture *)*state)->handled), 0);
}

static void a_request_that_stops_half_way_is_408(void **state)
{
    static const char *const starts[] = {"GET /ok HT", "GET /ok HTTP/1.1\r\n",
                                         "POST /things HTTP/1.1\r\n" HOST JSON "Content-Length: 10\r\n\r\n{"};
    for (size_t i = 0; i < ARRAY_LENGTH(starts); i++) {
        CLEANUP(client_close) struct client client = client_open(*state);
        client_send(&client, "%s", starts[i]);
        CLEANUP(response_done) struct response response;
        client_read(&client, &response);
        assert_int_equal(response.status, 408);
        client_expect_end(&client);
    }
}

static void the_second_request_of_a_connection_has_its_own_deadline(void **state)
{
    CLEANUP(client_close) struct client client = client_open(*state);
    /* Longer in all than one request may take. */
    for (size_t i = 0; i < 5; i++) {
        client_send(&client, "GET /ok HTTP/1.1\r\n" HOST);
        assert_true(client_is_quiet(&client, SHORT_MS / 3));
        client_send(&client, "\r\n");
        CLEANUP(response_done) struct response response;
        client_read(&client, &response);
        assert_int_equal(response.status, 200);
    }
    assert_true(client_is_quiet(&client, 2 * SHORT_MS)); /* idle is something else */
    drip(&client,
         "GET /ok HTTP/1.1\r\nHost: localhost\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
}

static void a_handler_may_take_longer_than_the_request(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(client_close) struct client client = client_open(fixture);
    client_send(&client, "GET /gate HTTP/1.1\r\n" HOST "\r\n");
    fixture_wait_at_gate(fixture, 1);
    assert_true(client_is_quiet(&client, 3 * SHORT_MS));
    fixture_open_gate(fixture);
    CLEANUP(response_done) struct response response;
    client_read(&client, &response);
    assert_int_equal(response.status, 200);
}

static void a_client_that_does_not_take_its_answer_is_cut(void **state)
{
    struct fixture *fixture = *state;
    struct client client = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    /* Small segments and a small window keep the buffers on the way smaller than the answer. */
    int segment = 536;
    int window = 2048;
    assert_int_equal(setsockopt(client.fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment), 0);
    assert_int_equal(setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window), 0);
    client_connect(&client, AF_INET, fixture->port);
    client_send(&client, "GET /medium HTTP/1.1\r\n" HOST "\r\n");
    struct pollfd ended = {.fd = client.fd}; /* tells of the reset without reading */
    int64_t start = clock_monotonic(NULL);
    assert_int_equal(poll(&ended, 1, WAIT_MS), 1);
    assert_in_range(clock_monotonic(NULL) - start, SHORT_MS, WAIT_MS);
    struct response response;
    bool is_complete = client_try_read(&client, false, &response);
    assert_false(is_complete);
    client_close(&client);
}

static void an_idle_connection_is_closed(void **state)
{
    CLEANUP(client_close) struct client fresh = client_open(*state);
    CLEANUP(client_close) struct client used = client_open(*state);
    client_send(&used, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    CLEANUP(response_done) struct response response;
    client_read(&used, &response);
    assert_null(response_header(&response, "Connection"));
    client_expect_end(&fresh);
    client_expect_end(&used);
}

static void a_request_that_has_begun_is_not_idle(void **state)
{
    CLEANUP(client_close) struct client client = client_open(*state);
    client_send(&client, "GET /ok HTTP/1.1\r\n");
    assert_true(client_is_quiet(&client, 2 * SHORT_MS));
    client_send(&client, HOST "\r\n");
    CLEANUP(response_done) struct response response;
    client_read(&client, &response);
    assert_int_equal(response.status, 200);
    assert_true(client_is_quiet(&client, SHORT_MS / 2));
    client_send(&client, "GET /o");
    assert_true(client_is_quiet(&client, 2 * SHORT_MS));
    client_send(&client, "k HTTP/1.1\r\n" HOST "\r\n");
    CLEANUP(response_done) struct response second;
    client_read(&client, &second);
    assert_int_equal(second.status, 200);
}

/* ---- the queue ---- */

static void what_has_waited_too_long_in_the_queue_is_503_and_not_carried_out(void **state UNUSED)
{
    enum { WAITING = 3 };
    struct fixture *fixture = fixture_new();
    fixture->config.workers = 1;
    fixture->config.queue_wait_ms = 50;
    fixture_start(fixture);
    struct client at_gate = client_open(fixture);
    struct client clients[WAITING];
    client_send(&at_gate, "GET /gate HTTP/1.1\r\n" HOST "\r\n");
    fixture_wait_at_gate(fixture, 1);
    for (size_t i = 0; i < WAITING; i++) {
        clients[i] = client_open(fixture);
        client_send(&clients[i], "GET /gate HTTP/1.1\r\n" HOST "\r\n");
    }
    struct http_figures figures = {.queue_length = 0};
    while (figures.queue_length < WAITING) {
        http_figures(fixture->server, &figures);
    }
    int64_t queued = clock_monotonic(NULL);
    while (clock_monotonic(NULL) - queued <= fixture->config.queue_wait_ms) {
    }
    fixture_open_gate(fixture);
    CLEANUP(response_done) struct response first;
    client_read(&at_gate, &first);
    assert_int_equal(first.status, 200);
    client_close(&at_gate);
    for (size_t i = 0; i < WAITING; i++) {
        CLEANUP(response_done) struct response response;
        client_read(&clients[i], &response);
        assert_int_equal(response.status, 503);
        assert_error_form(&response);
        assert_string_equal(response_header(&response, "Retry-After"), "1");
        client_close(&clients[i]);
    }
    assert_int_equal(atomic_load(&fixture->handled), 1);
    expect_status(fixture, 200, "GET /gate HTTP/1.1\r\n" HOST "\r\n");
    fixture_stop(fixture);
}

static void what_the_queue_does_not_take_is_503_at_once(void **state UNUSED)
{
    enum { WORKERS = 4, QUEUE = 6, CLIENTS = 100, TAKEN = WORKERS + QUEUE };
    struct fixture *fixture = fixture_new();
    fixture->config.workers = WORKERS;
    fixture->config.queue_limit = QUEUE;
    fixture_start(fixture);
    struct client clients[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(fixture);
        if (i < WORKERS) {
            client_send(&clients[i], "GET /gate HTTP/1.1\r\n" HOST "\r\n");
            fixture_wait_at_gate(fixture, i + 1);
        }
    }
    for (size_t i = WORKERS; i < CLIENTS; i++) {
        client_send(&clients[i], "GET /gate HTTP/1.1\r\n" HOST "\r\n");
    }
    struct http_figures figures;
    fixture_wait_for_answers(fixture, CLIENTS - TAKEN, &figures);
    assert_int_equal(figures.active, TAKEN);
    assert_int_equal(figures.queue_length, QUEUE);
    expect_status(fixture, 200, "GET /io HTTP/1.1\r\n" HOST "\r\n"); /* I/O threads are free */
    fixture_open_gate(fixture);
    size_t answered = 0;
    for (size_t i = 0; i < CLIENTS; i++) {
        CLEANUP(response_done) struct response response;
        client_read(&clients[i], &response);
        if (response.status == 503) {
            assert_error_form(&response);
            assert_string_equal(response_header(&response, "Retry-After"), "1");
            assert_null(response_header(&response, "Connection"));
        } else {
            assert_int_equal(response.status, 200);
            answered++;
        }
        client_close(&clients[i]);
    }
    assert_int_equal(answered, TAKEN);
    fixture_stop(fixture);
}

static void a_client_that_leaves_while_it_waits_harms_nobody(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < 8; i++) {
        CLEANUP(client_close) struct client client = client_open(fixture);
        client_send(&client, "GET /gate HTTP/1.1\r\n" HOST "\r\n");
        if (i < fixture->config.workers) {
            fixture_wait_at_gate(fixture, i + 1);
        }
    }
    fixture_open_gate(fixture);
    expect_status(fixture, 200, "GET /gate HTTP/1.1\r\n" HOST "\r\n");
}

static void connections_over_the_limit_wait_for_others_to_leave(void **state UNUSED)
{
    enum { LIMIT = 20 };
    struct fixture *fixture = fixture_new();
    fixture->config.connection_limit = LIMIT;
    fixture->config.idle_timeout_ms = SHORT_MS;
    fixture_start(fixture);
    struct client clients[LIMIT];
    for (size_t i = 0; i < LIMIT; i++) {
        clients[i] = client_open(fixture);
    }
    expect_status(fixture, 200, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    for (size_t i = 0; i < LIMIT; i++) {
        client_close(&clients[i]);
    }
    fixture_stop(fixture);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define IMPATIENT(test)   cmocka_unit_test_setup_teardown(test, setup_impatient, teardown)
#define SHORT_IDLE(test)  cmocka_unit_test_setup_teardown(test, setup_short_idle, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(the_longest_body_is_taken_and_one_byte_more_is_413),
        WITH_SERVER(a_declared_length_over_the_limit_is_413_at_once),
        WITH_SERVER(an_early_413_reaches_a_client_that_first_sends_everything),
        WITH_SERVER(a_chunked_body_over_the_limit_is_dropped_and_413),
        WITH_SERVER(a_chunked_body_without_end_ends_the_connection),
        WITH_SERVER(a_client_that_waits_is_told_to_continue),
        WITH_SERVER(a_client_that_waits_is_refused_before_its_body),
        WITH_SERVER(too_many_or_too_long_headers_are_431),
        WITH_SERVER(a_large_answer_arrives_in_full),
        IMPATIENT(headers_that_trickle_in_are_408),
        IMPATIENT(a_body_that_trickles_in_is_408),
        IMPATIENT(a_request_that_stops_half_way_is_408),
        IMPATIENT(the_second_request_of_a_connection_has_its_own_deadline),
        IMPATIENT(a_handler_may_take_longer_than_the_request),
        IMPATIENT(a_client_that_does_not_take_its_answer_is_cut),
        SHORT_IDLE(an_idle_connection_is_closed),
        SHORT_IDLE(a_request_that_has_begun_is_not_idle),
        cmocka_unit_test(what_has_waited_too_long_in_the_queue_is_503_and_not_carried_out),
        cmocka_unit_test(what_the_queue_does_not_take_is_503_at_once),
        WITH_SERVER(a_client_that_leaves_while_it_waits_harms_nobody),
        cmocka_unit_test(connections_over_the_limit_wait_for_others_to_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
