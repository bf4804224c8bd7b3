/* SPDX-License-Identifier: Apache-2.0
 * The HTTP server by real sockets: what it answers. */
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tests/contract/http_fixture.h"

#define GOOD_THING      "{\"title\":\"chair\",\"price\":12.5}"
#define POST_GOOD_THING "Content-Length: 30\r\n\r\n" GOOD_THING

_Static_assert(sizeof GOOD_THING - 1 == 30, "POST_GOOD_THING says how long it is");

static void a_worker_and_an_io_thread_answer_json(void **state)
{
    static const char *const paths[] = {"/ok", "/io"};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        CLEANUP(response_done) struct response response;
        ask(*state, &response, "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[i]);
        assert_int_equal(response.status, 200);
        assert_string_equal(response.body, "{\"ok\":true}");
        assert_string_equal(response_header(&response, "Content-Type"), "application/json");
        assert_string_equal(response_header(&response, "X-Content-Type-Options"), "nosniff");
        assert_non_null(response_header(&response, "Date"));
        assert_non_null(response_header(&response, "X-Request-Id"));
        assert_null(response_header(&response, "Server"));
        assert_null(response_header(&response, "Connection"));
    }
}

static void a_body_is_decoded_and_the_record_answered(void **state)
{
    static const char *const paths[] = {"/things", "/io/things"};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        CLEANUP(response_done) struct response response;
        ask(*state, &response, "POST %s HTTP/1.1\r\n" HOST JSON POST_GOOD_THING, paths[i]);
        assert_int_equal(response.status, 201);
        assert_string_equal(response.body,
                            "{\"id\":\"" THING_ID "\",\"version\":3,\"title\":\"chair\",\"price\":12.5}");
        assert_string_equal(response_header(&response, "ETag"), "\"3\"");
    }
}

static void a_chunked_body_is_put_together(void **state)
{
    CLEANUP(response_done) struct response response;
    ask(*state, &response,
        "POST /things HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: Chunked\r\n\r\n"
        "10\r\n{\"title\":\"chair\"\r\ne\r\n,\"price\":12.5}\r\n0\r\nTrailer: x\r\n\r\n");
    assert_int_equal(response.status, 201);
}

static void every_wrong_field_is_named(void **state)
{
    CLEANUP(response_done) struct response response;
    ask(*state, &response,
        "POST /things HTTP/1.1\r\n" HOST JSON "Content-Length: 24\r\n\r\n"
        "{\"title\":\"\",\"price\":\"x\"} ");
    assert_int_equal(response.status, 400);
    assert_error_form(&response);
    assert_non_null(strstr(response.body, "\"field\":\"title\""));
    assert_non_null(strstr(response.body, "\"field\":\"price\""));
}

static void bodies_that_are_no_json_object_are_400(void **state)
{
    static const char *const bodies[] = {"", "{", "[]", "null", "{\"title\":\"a\",\"title\":\"b\"}", "\xff", "{}{}"};
    for (size_t i = 0; i < ARRAY_LENGTH(bodies); i++) {
        expect_status(*state, 400, "POST /things HTTP/1.1\r\n" HOST JSON "Content-Length: %zu\r\n\r\n%s",
                      strlen(bodies[i]), bodies[i]);
    }
    expect_status(*state, 400, "POST /things HTTP/1.1\r\n" HOST "\r\n");
    expect_status(*state, 400, "POST /things HTTP/1.1\r\n" HOST JSON "\r\n");
    expect_status(*state, 400, "POST /things HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
}

static void the_content_type_must_be_json(void **state)
{
    static const struct {
        const char *type;
        unsigned status;
    } cases[] = {
        {JSON, 201},
        {"Content-Type: Application/JSON\r\n", 201},
        {"content-type: application/json; charset=utf-8\r\n", 201},
        {"Content-Type: application/json;charset=\"UTF-8\"\r\n", 201},
        {"Content-Type: application/json ;\r\n", 201},
        {"", 415},
        {"Content-Type:\r\n", 415},
        {"Content-Type: text/plain\r\n", 415},
        {"Content-Type: application/jsonx\r\n", 415},
        {"Content-Type: application/json; charset=latin1\r\n", 415},
        {"Content-Type: application/json; boundary=x\r\n", 415},
        {"Content-Type: application/x-www-form-urlencoded\r\n", 415},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        expect_status(*state, cases[i].status, "POST /things HTTP/1.1\r\n" HOST "%s" POST_GOOD_THING, cases[i].type);
    }
}

static void head_is_get_without_the_body(void **state)
{
    static const char *const paths[] = {"/ok", "/io", "/things/" THING_ID};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        CLEANUP(response_done) struct response head;
        CLEANUP(response_done) struct response get;
        ask(*state, &get, "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[i]);
        CLEANUP(client_close) struct client client = client_open(*state);
        client_send(&client, "HEAD %s HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", paths[i]);
        assert_true(client_try_read(&client, true, &head));
        assert_int_equal(head.status, 200);
        char length[32];
        snprintf(length, sizeof length, "%zu", get.length);
        assert_string_equal(response_header(&head, "Content-Length"), length);
        client_expect_end(&client);
    }
    expect_status(*state, 405, "GET /things HTTP/1.1\r\n" HOST "\r\n");
}

static void options_and_405_say_what_is_allowed(void **state)
{
    static const struct {
        const char *request, *allow;
        unsigned status;
    } cases[] = {
        {"OPTIONS /things/1", "GET, HEAD, PUT, OPTIONS", 204},
        {"OPTIONS *", "GET, HEAD, POST, PUT, OPTIONS", 204},
        {"DELETE /things/1", "GET, HEAD, PUT, OPTIONS", 405},
        {"get /ok", "GET, HEAD, OPTIONS", 405},
        {"BREW /things", "POST, OPTIONS", 405},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(response_done) struct response response;
        ask(*state, &response, "%s HTTP/1.1\r\n" HOST "\r\n", cases[i].request);
        assert_int_equal(response.status, cases[i].status);
        assert_string_equal(response_header(&response, "Allow"), cases[i].allow);
    }
}

static void unknown_paths_are_404(void **state)
{
    static const char *const paths[] = {"/", "/nothing", "/ok/", "//ok", "/o%6b/x", "/things/", "/OK", "/things%2Fx"};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        expect_status(*state, 404, "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[i]);
    }
    expect_status(*state, 200, "GET /o%%6b HTTP/1.1\r\n" HOST "\r\n");
    expect_status(*state, 200, "GET http://localhost/ok HTTP/1.1\r\n" HOST "\r\n");
}

static void ids_that_are_none_are_404(void **state)
{
    expect_status(*state, 200, "GET /things/" THING_ID " HTTP/1.1\r\n" HOST "\r\n");
    expect_status(*state, 404, "GET /things/1 HTTP/1.1\r\n" HOST "\r\n");
    expect_status(*state, 404, "GET /things/" THING_ID "0 HTTP/1.1\r\n" HOST "\r\n");
    expect_status(*state, 404, "GET /things/%%2F%%2F HTTP/1.1\r\n" HOST "\r\n");
}

static void broken_targets_are_400(void **state)
{
    static const char *const targets[] = {
        "/echo/%00",       "/echo/a%00b",   "/echo/%",     "/echo/%4",      "/echo/%zz",
        "/echo/%ff",       "/echo/x?q=%00", "/echo/x?q=%", "/echo/x?q=%ff", "/echo/x?q=1&q=2",
        "/echo/x?a=1&a=1", "/echo/x?%00=1", "nothing",     "/ok#x",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(targets); i++) {
        expect_status(*state, 400, "GET %s HTTP/1.1\r\n" HOST "\r\n", targets[i]);
    }
    CLEANUP(response_done) struct response response;
    ask(*state, &response, "GET /echo/x?limit=1&limit=2 HTTP/1.1\r\n" HOST "\r\n");
    assert_string_equal(response.body, "{\"errors\":[{\"message\":\"must be given only once\",\"field\":\"limit\"}]}");
}

static void a_handler_sees_the_request_decoded(void **state)
{
    CLEANUP(response_done) struct response response;
    ask(*state, &response,
        "GET /echo/a%%2Fb%%20%%22?x=1&q=%%C3%%A9+%%26 HTTP/1.1\r\n" HOST "x-TEST:  some thing \r\n"
        "X-Request-Id: my-id_1.2\r\n"
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
        "X-Forwarded-For: 198.51.100.1\r\n\r\n");
    assert_string_equal(response.body, "{\"method\":\"GET\",\"path\":\"/echo/a%2Fb%20%22\",\"word\":\"a/b \\\"\","
                                       "\"q\":\"\xc3\xa9 &\",\"x-test\":\"some thing\",\"client\":\"127.0.0.1\","
                                       "\"id\":\"my-id_1.2\",\"logId\":\"my-id_1.2\","
                                       "\"trace\":\"0af7651916cd43dd8448eb211c80319c\"}");
    assert_string_equal(response_header(&response, "X-Request-Id"), "my-id_1.2");
}

static void malformed_ids_are_replaced(void **state)
{
    static const char *const headers[] = {
        "",
        "X-Request-Id: \r\ntraceparent: \r\n",
        "X-Request-Id: a b\r\ntraceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n",
        "X-Request-Id: <x>\r\ntraceparent: ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        "X-Request-Id: 12345678901234567890123456789012345678901234567890123456789012345\r\n"
        "traceparent: 00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        "X-Request-Id: \xc3\xa9\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x\r\n",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(headers); i++) {
        CLEANUP(response_done) struct response response;
        ask(*state, &response, "GET /echo/x HTTP/1.1\r\n" HOST "%s\r\n", headers[i]);
        const char *id = response_header(&response, "X-Request-Id");
        assert_int_equal(strlen(id), 16);
        assert_int_equal(strspn(id, "0123456789abcdef"), 16);
        const char *trace = strstr(response.body, "\"trace\":\"");
        assert_non_null(trace);
        assert_int_equal(strspn(trace + 9, "0123456789abcdef"), 32);
        assert_null(strstr(trace, "0af7651916cd43dd"));
        assert_null(strstr(trace, "00000000000000000000"));
    }
}

static void who_is_signed_in_is_told(void **state)
{
    static const struct {
        const char *headers;
        bool is_signed_in;
    } cases[] = {
        {"Authorization: Bearer good\r\n", true},
        {"authorization: bEARER  good\r\n", true},
        {"Cookie: session=good\r\n", true},
        {"Cookie: a=1; session=\"good\"\r\n", true},
        {"Cookie: a=1\r\nCookie: session=good\r\n", true},
        {"Authorization: Bearer good\r\nCookie: session=bad\r\n", true},
        {"Authorization: Basic good\r\nCookie: session=good\r\n", true},
        {"", false},
        {"Authorization: good\r\n", false},
        {"Authorization: Bearer\r\n", false},
        {"Authorization: Bearergood\r\n", false},
        {"Authorization: Basic good\r\n", false},
        {"Authorization: Bearer bad\r\nCookie: session=good\r\n", false},
        {"Cookie: Session=good\r\n", false},
        {"Cookie: session=bad; session=good\r\n", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        bool is_signed_in = cases[i].is_signed_in;
        expect_status(*state, is_signed_in ? 200 : 401, "GET /required HTTP/1.1\r\n" HOST "%s\r\n", cases[i].headers);
        CLEANUP(response_done) struct response optional;
        ask(*state, &optional, "GET /optional HTTP/1.1\r\n" HOST "%s\r\n", cases[i].headers);
        assert_string_equal(optional.body, is_signed_in ? "{\"id\":\"" IDENTITY_ID "\"}" : "{\"id\":\"nobody\"}");
        CLEANUP(response_done) struct response public;
        ask(*state, &public, "GET /public HTTP/1.1\r\n" HOST "%s\r\n", cases[i].headers);
        assert_string_equal(public.body, "{\"id\":\"nobody\"}");
    }
    CLEANUP(response_done) struct response response;
    ask(*state, &response, "GET /required HTTP/1.1\r\n" HOST "\r\n");
    assert_string_equal(response_header(&response, "WWW-Authenticate"), "Bearer");
}

static void conditions_are_honoured(void **state)
{
    static const struct {
        const char *method, *headers;
        unsigned status;
    } cases[] = {
        {"GET", "If-None-Match: \"3\"\r\n", 304},
        {"GET", "If-None-Match: W/\"3\"\r\n", 304},
        {"GET", "If-None-Match: \"2\"\r\nIf-None-Match: \"3\"\r\n", 304},
        {"GET", "If-None-Match: *\r\n", 304},
        {"GET", "If-None-Match: \"2\"\r\n", 200},
        {"GET", "If-None-Match: 3\r\n", 200},
        {"GET", "If-Match: \"3\"\r\n", 200},
        {"GET", "If-Match: *\r\n", 200},
        {"GET", "If-Match: \"2\"\r\nIf-Match: \"3\"\r\n", 200},
        {"GET", "If-Match: \"2\"\r\n", 412},
        {"GET", "If-Match: W/\"3\"\r\n", 412},
        {"GET", "If-Match: 3\r\n", 412},
        {"GET", "If-Match: \"2\"\r\nIf-None-Match: \"3\"\r\n", 412},
        {"GET", "If-Match: \"3\"\r\nIf-None-Match: \"3\"\r\n", 304},
        {"PUT", "", 200},
        {"PUT", "If-Match: \"3\"\r\n", 200},
        {"PUT", "If-Match: \"1\", \"3\"\r\n", 200},
        {"PUT", "If-Match: *\r\n", 200},
        {"PUT", "If-Match: \"2\"\r\n", 412},
        {"PUT", "If-Match: W/\"3\"\r\n", 412},
        {"PUT", "If-Match: 3\r\n", 412},
        {"PUT", "If-None-Match: \"3\"\r\n", 412},
        {"PUT", "If-None-Match: *\r\n", 412},
        {"PUT", "If-None-Match: \"2\"\r\n", 200},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        bool is_put = text_equal(cases[i].method, "PUT");
        expect_status(*state, cases[i].status, "%s /things/" THING_ID " HTTP/1.1\r\n" HOST "%s%s", cases[i].method,
                      cases[i].headers, is_put ? JSON POST_GOOD_THING : "\r\n");
    }
    CLEANUP(response_done) struct response response;
    ask(*state, &response, "GET /things/" THING_ID " HTTP/1.1\r\n" HOST "If-None-Match: \"3\"\r\n\r\n");
    assert_string_equal(response_header(&response, "ETag"), "\"3\"");
    assert_string_equal(response_header(&response, "Cache-Control"), "no-cache");
    assert_null(response_header(&response, "Content-Type"));
}

/* Of handlers, one of which sets its own, and of what is refused before them. */
static void expect_cache_control(const struct fixture *fixture, const char *expected)
{
    static const struct {
        const char *request;
        unsigned status;
        const char *own;
    } cases[] = {
        {"POST /things HTTP/1.1\r\n" HOST JSON POST_GOOD_THING, 201, NULL},
        {"GET /io HTTP/1.1\r\n" HOST "\r\n", 200, NULL},
        {"GET /things/" THING_ID " HTTP/1.1\r\n" HOST "\r\n", 200, "no-cache"},
        {"GET /things/nothing HTTP/1.1\r\n" HOST "\r\n", 404, NULL},
        {"GET /nowhere HTTP/1.1\r\n" HOST "\r\n", 404, NULL},
        {"DELETE /things HTTP/1.1\r\n" HOST "\r\n", 405, NULL},
        {"OPTIONS /things HTTP/1.1\r\n" HOST "\r\n", 204, NULL},
        {"GET /required HTTP/1.1\r\n" HOST "\r\n", 401, NULL},
        {"POST /things HTTP/1.1\r\n" HOST POST_GOOD_THING, 415, NULL},
        {"POST /things HTTP/1.1\r\n" HOST JSON "Content-Length: 1\r\n\r\n{", 400, NULL},
        {"GET /echo/x?a=%zz HTTP/1.1\r\n" HOST "\r\n", 400, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(response_done) struct response response;
        ask(fixture, &response, "%s", cases[i].request);
        const char *found = response_header(&response, "Cache-Control");
        const char *wanted = cases[i].own != NULL ? cases[i].own : expected;
        bool is_right = found == NULL || wanted == NULL ? found == wanted : text_equal(found, wanted);
        if (response.status != cases[i].status || !is_right) {
            fail_msg("case %zu: %u with Cache-Control: %s", i, response.status, found != NULL ? found : "(none)");
        }
    }
}

static void answers_are_kept_from_caches_where_the_configuration_says_so(void **state)
{
    expect_cache_control(*state, NULL);
    struct fixture *fixture = fixture_new();
    fixture->config.no_store = true;
    fixture_start(fixture);
    expect_cache_control(fixture, "no-store");
    fixture_stop(fixture);
}

static void ambiguous_framing_is_refused_and_the_connection_closed(void **state)
{
    static const struct {
        const char *headers;
        unsigned status;
    } cases[] = {
        {HOST HOST "Content-Length: 30\r\n", 400},
        {HOST "Content-Length: 30\r\nContent-Length: 30\r\n", 400},
        {HOST "Content-Length: 0\r\nContent-Length: 30\r\n", 400},
        {HOST "Content-Length: 30\r\nTransfer-Encoding: chunked\r\n", 400},
        {HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400},
        {HOST "Transfer-Encoding: gzip, chunked\r\n", 501},
        {HOST "Transfer-Encoding: identity\r\n", 501},
        {HOST "Content-Length : 30\r\nContent-Length: 5\r\n", 400},
        {HOST "Authorization: Bearer a\r\nAuthorization: Bearer b\r\nContent-Length: 30\r\n", 400},
        {HOST JSON "Content-Length: 30\r\n", 400},
        {HOST "Expect: cake\r\nContent-Length: 30\r\n", 417},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(client_close) struct client client = client_open(*state);
        client_send(&client, "POST /things HTTP/1.1\r\n" JSON "%s\r\n" GOOD_THING, cases[i].headers);
        CLEANUP(response_done) struct response response;
        client_read(&client, &response);
        if (response.status != cases[i].status) {
            fail_msg("%s: %u instead of %u", cases[i].headers, response.status, cases[i].status);
        }
        assert_error_form(&response);
        assert_string_equal(response_header(&response, "Connection"), "close");
        client_expect_end(&client);
    }
    assert_int_equal(atomic_load(&((struct fixture *)*state)->handled), 0);
}

static void what_the_library_refuses_is_never_handled(void **state)
{
    static const char *const requests[] = {
        "GET /ok HTTP/1.1\r\n\r\n",
        "GET /ok HTTP/3.0\r\n" HOST "\r\n",
        "POST /things HTTP/1.1\r\n" HOST JSON "Content-Length: -1\r\n\r\n",
        "POST /things HTTP/1.1\r\n" HOST JSON "Content-Length: 99999999999999999999\r\n\r\n",
        "POST /things HTTP/1.1\r\n" HOST JSON "Content-Length: 1x\r\n\r\n",
        "POST /things HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(requests); i++) {
        CLEANUP(response_done) struct response response;
        ask(*state, &response, "%s", requests[i]);
        assert_in_range(response.status, 400, 505);
    }
    assert_int_equal(atomic_load(&((struct fixture *)*state)->handled), 0);
}

static void failures_have_the_status_of_their_code(void **state)
{
    static const struct {
        enum error_code code;
        unsigned status;
        bool is_told;
    } cases[] = {
        {ERROR_INVALID, 400, true},      {ERROR_UNAUTHORIZED, 401, true}, {ERROR_FORBIDDEN, 403, true},
        {ERROR_NOT_FOUND, 404, true},    {ERROR_CONFLICT, 409, true},     {ERROR_GAP, 503, false},
        {ERROR_UNAVAILABLE, 503, false}, {ERROR_INTERNAL, 500, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(response_done) struct response response;
        ask(*state, &response, "GET /failure?code=%d HTTP/1.1\r\n" HOST "\r\n", (int)cases[i].code);
        assert_int_equal(response.status, cases[i].status);
        assert_error_form(&response);
        assert_int_equal(strstr(response.body, "told \\\"why\\\"") != NULL, cases[i].is_told);
        const char *retry = response_header(&response, "Retry-After");
        assert_int_equal(retry != NULL, cases[i].status == 503);
    }
}

static void our_own_mistakes_are_500(void **state)
{
    expect_status(*state, 500, "GET /silent HTTP/1.1\r\n" HOST "\r\n");
    expect_status(*state, 500, "GET /overflow HTTP/1.1\r\n" HOST "\r\n");
    expect_status(*state, 200, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
}

static void retry_after_is_1_unless_it_was_set(void **state)
{
    CLEANUP(response_done) struct response usual;
    ask(*state, &usual, "GET /busy HTTP/1.1\r\n" HOST "\r\n");
    assert_string_equal(response_header(&usual, "Retry-After"), "1");
    CLEANUP(response_done) struct response own;
    ask(*state, &own, "GET /busy?after=7 HTTP/1.1\r\n" HOST "\r\n");
    assert_string_equal(response_header(&own, "Retry-After"), "7");
}

static void a_connection_is_kept_and_takes_pipelined_requests(void **state)
{
    CLEANUP(client_close) struct client client = client_open(*state);
    client_send(&client, "GET /ok HTTP/1.1\r\n" HOST "\r\n"
                         "POST /things HTTP/1.1\r\n" HOST JSON POST_GOOD_THING "GET /nothing HTTP/1.1\r\n" HOST "\r\n"
                         "POST /nothing HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabcde"
                         "POST /required HTTP/1.1\r\n" HOST JSON POST_GOOD_THING "POST /things HTTP/1.1\r\n" HOST
                         "Content-Type: text/plain\r\n" POST_GOOD_THING "POST /plain HTTP/1.1\r\n" HOST
                         "Content-Length: 5\r\n\r\nabcde"
                         "HEAD /io HTTP/1.1\r\n" HOST "\r\n"
                         "GET /io HTTP/1.1\r\n" HOST "\r\n");
    static const unsigned statuses[] = {200, 201, 404, 404, 401, 415, 204, 200, 200};
    for (size_t i = 0; i < ARRAY_LENGTH(statuses); i++) {
        CLEANUP(response_done) struct response response;
        assert_true(client_try_read(&client, i == 7, &response));
        assert_int_equal(response.status, statuses[i]);
    }
    for (size_t i = 0; i < 100; i++) {
        CLEANUP(response_done) struct response response;
        client_send(&client, "GET %s HTTP/1.1\r\n" HOST "\r\n", i % 2 == 0 ? "/ok" : "/io");
        client_read(&client, &response);
        assert_int_equal(response.status, 200);
    }
}

static void old_clients_get_their_answer_and_the_end(void **state)
{
    CLEANUP(client_close) struct client client = client_open(*state);
    client_send(&client, "GET /ok HTTP/1.0\r\n\r\n");
    CLEANUP(response_done) struct response response;
    client_read(&client, &response);
    assert_int_equal(response.status, 200);
    client_expect_end(&client);
}

static void the_observer_hears_of_each_answer(void **state)
{
    struct fixture *fixture = *state;
    expect_status(fixture, 400, "POST /things HTTP/1.1\r\n" HOST JSON "Content-Length: 2\r\n\r\n[]");
    assert_int_equal(atomic_load(&fixture->observed), 1);
    assert_int_equal(atomic_load(&fixture->observed_status), 400);
    assert_string_equal(atomic_load(&fixture->observed_route)->path, "/things");
    expect_status(fixture, 404, "GET /nothing HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(atomic_load(&fixture->observed), 2);
    assert_null(atomic_load(&fixture->observed_route));
    struct http_figures figures;
    http_figures(fixture->server, &figures);
    assert_int_equal(figures.requests, 2);
    assert_int_equal(figures.queue_length, 0);
}

static void x_forwarded_for_counts_from_trusted_proxies(void **state UNUSED)
{
    struct fixture *fixture = fixture_new();
    fixture->config.trusted_proxies = "127.0.0.0/8";
    fixture_start(fixture);
    CLEANUP(response_done) struct response response;
    ask(fixture, &response,
        "GET /echo/x HTTP/1.1\r\n" HOST
        "X-Forwarded-For: 192.0.2.66\r\nX-Forwarded-For: 198.51.100.1, 127.0.0.9\r\n\r\n");
    assert_non_null(strstr(response.body, "\"client\":\"198.51.100.1\""));
    fixture_stop(fixture);
}

static void both_families_of_addresses_are_served(void **state UNUSED)
{
    struct fixture *fixture = fixture_new();
    fixture->config.address = "::";
    fixture_start(fixture);
    static const int families[] = {AF_INET6, AF_INET};
    static const char *const clients[] = {"\"client\":\"::1\"", "\"client\":\"127.0.0.1\""};
    for (size_t i = 0; i < ARRAY_LENGTH(families); i++) {
        CLEANUP(client_close) struct client client = client_open_at(families[i], fixture->port);
        client_send(&client, "GET /echo/x HTTP/1.1\r\n" HOST "\r\n");
        CLEANUP(response_done) struct response response;
        client_read(&client, &response);
        assert_non_null(strstr(response.body, clients[i]));
    }
    fixture_stop(fixture);
}

static void a_port_that_is_taken_is_a_conflict(void **state)
{
    struct fixture *fixture = *state;
    struct http_config config = fixture->config;
    config.port = fixture->port;
    struct http_server *server = NULL;
    struct error error = ERROR_INIT;
    assert_false(http_start(&config, &server, &error));
    assert_null(server);
    assert_int_equal(error.code, ERROR_CONFLICT);
    char message[64];
    snprintf(message, sizeof message, "port %u on 127.0.0.1 is taken", fixture->port);
    assert_string_equal(error.message, message);
}

static void wrong_configurations_are_refused(void **state)
{
    struct fixture *fixture = *state;
    static const struct route bad_routes[] = {{.method = "GET", .path = "ok"}, {.method = NULL}};
    struct http_config configs[6];
    for (size_t i = 0; i < ARRAY_LENGTH(configs); i++) {
        configs[i] = fixture->config;
    }
    configs[0].address = "localhost";
    configs[1].trusted_proxies = "10.0.0.0/33";
    configs[2].routes = bad_routes;
    configs[3].workers = 0;
    configs[4].request_timeout_ms = 0;
    configs[5].connection_limit = 1;
    for (size_t i = 0; i < ARRAY_LENGTH(configs); i++) {
        struct http_server *server = NULL;
        struct error error = ERROR_INIT;
        assert_false(http_start(&configs[i], &server, &error));
        assert_null(server);
        assert_int_equal(error.code, ERROR_INVALID);
    }
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(a_worker_and_an_io_thread_answer_json),
        WITH_SERVER(a_body_is_decoded_and_the_record_answered),
        WITH_SERVER(a_chunked_body_is_put_together),
        WITH_SERVER(every_wrong_field_is_named),
        WITH_SERVER(bodies_that_are_no_json_object_are_400),
        WITH_SERVER(the_content_type_must_be_json),
        WITH_SERVER(head_is_get_without_the_body),
        WITH_SERVER(options_and_405_say_what_is_allowed),
        WITH_SERVER(unknown_paths_are_404),
        WITH_SERVER(ids_that_are_none_are_404),
        WITH_SERVER(broken_targets_are_400),
        WITH_SERVER(a_handler_sees_the_request_decoded),
        WITH_SERVER(malformed_ids_are_replaced),
        WITH_SERVER(who_is_signed_in_is_told),
        WITH_SERVER(conditions_are_honoured),
        WITH_SERVER(answers_are_kept_from_caches_where_the_configuration_says_so),
        WITH_SERVER(ambiguous_framing_is_refused_and_the_connection_closed),
        WITH_SERVER(what_the_library_refuses_is_never_handled),
        WITH_SERVER(failures_have_the_status_of_their_code),
        WITH_SERVER(our_own_mistakes_are_500),
        WITH_SERVER(retry_after_is_1_unless_it_was_set),
        WITH_SERVER(a_connection_is_kept_and_takes_pipelined_requests),
        WITH_SERVER(old_clients_get_their_answer_and_the_end),
        WITH_SERVER(the_observer_hears_of_each_answer),
        cmocka_unit_test(x_forwarded_for_counts_from_trusted_proxies),
        cmocka_unit_test(both_families_of_addresses_are_served),
        WITH_SERVER(a_port_that_is_taken_is_a_conflict),
        WITH_SERVER(wrong_configurations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
