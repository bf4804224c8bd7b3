/* SPDX-License-Identifier: Apache-2.0
 * The server and the client of the HTTP tests. */
#include "tests/contract/http_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"

enum {
    POLL_US = 1000,
};

/* ---- handlers ---- */

struct thing {
    char title[32];
    int64_t price;
};

static const struct field thing_fields[] = {
    FIELD(struct thing, title, FIELD_TEXT, .min = 1, .max = 20, .required = true, .in = IN_ALL),
    FIELD(struct thing, price, FIELD_MONEY, .min = 1, .max = 100000, .required = true, .in = IN_ALL),
    {.name = NULL},
};

static const struct table things = {
    .name = "thing", .size = sizeof(struct thing), .versioned = true, .fields = thing_fields};

/* In handlers: cmocka's assertions may only fail on the thread that runs the tests. */
static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void respond_thing(struct http_request *request, unsigned status, const struct thing *thing)
{
    struct record head = RECORD_INIT;
    require(id_from_text(THING_ID, &head.id));
    head.version = THING_VERSION;
    http_respond_record(request, status, &things, &head, thing);
}

static void count(void *context)
{
    atomic_fetch_add(&((struct fixture *)context)->handled, 1);
}

static void get_ok(struct http_request *request, void *context)
{
    count(context);
    http_respond_text(request, 200, "{\"ok\":true}");
}

static void get_gate(struct http_request *request, void *context)
{
    struct fixture *fixture = context;
    count(context);
    pthread_mutex_lock(&fixture->lock);
    fixture->waiting++;
    pthread_cond_broadcast(&fixture->changed);
    while (!fixture->is_open) {
        pthread_cond_wait(&fixture->changed, &fixture->lock);
    }
    fixture->waiting--;
    pthread_mutex_unlock(&fixture->lock);
    http_respond_text(request, 200, "{\"gate\":\"open\"}");
}

static void post_thing(struct http_request *request, void *context)
{
    count(context);
    respond_thing(request, 201, http_body(request));
}

static void get_thing(struct http_request *request, void *context)
{
    static const struct thing thing = {.title = "chair", .price = 1250};
    count(context);
    struct id id;
    if (http_parameter_id(request, "id", &id)) {
        http_set_header(request, "Cache-Control", "no-cache");
        respond_thing(request, 200, &thing);
    }
}

static void put_thing(struct http_request *request, void *context)
{
    count(context);
    if (http_precondition(request, THING_VERSION) == HTTP_PRECONDITION_FAILED) {
        http_respond_error(request, 412, NULL, "the version is %d", THING_VERSION);
        return;
    }
    respond_thing(request, 200, http_body(request));
}

static void post_plain(struct http_request *request, void *context)
{
    count(context);
    size_t length = 0;
    (void)http_body_text(request, &length);
    require(length == 0);
    http_respond_empty(request, 204);
}

static void get_identity(struct http_request *request, void *context)
{
    count(context);
    const struct http_identity *identity = http_identity(request);
    struct buffer body = BUFFER_INIT(HEAD_MAX);
    buffer_printf(&body, "{\"id\":\"%s\"}", identity != NULL ? identity->id.hex : "nobody");
    http_respond_json(request, 200, &body);
}

static void print_member(struct buffer *body, const char *name, const char *value)
{
    buffer_printf(body, ",\"%s\":", name);
    if (value == NULL) {
        buffer_append_text(body, "null");
    } else {
        buffer_append_json_string(body, value, strlen(value));
    }
}

static void get_echo(struct http_request *request, void *context)
{
    count(context);
    struct buffer body = BUFFER_INIT(HEAD_MAX);
    buffer_printf(&body, "{\"method\":\"%s\"", http_method(request));
    print_member(&body, "path", http_path(request));
    print_member(&body, "word", http_parameter(request, "word"));
    print_member(&body, "q", http_query(request, "q"));
    print_member(&body, "x-test", http_header(request, "X-TEST"));
    print_member(&body, "client", http_client_address(request));
    print_member(&body, "id", http_request_id(request));
    print_member(&body, "logId", log_context_id());
    print_member(&body, "trace", log_context_trace());
    buffer_append_char(&body, '}');
    http_respond_json(request, 200, &body);
}

static void get_silent(struct http_request *request UNUSED, void *context)
{
    count(context);
}

static void get_failure(struct http_request *request, void *context)
{
    count(context);
    int64_t code = 0;
    const char *text = http_query(request, "code");
    require(text != NULL && text_to_int64(text, 0, ERROR_INTERNAL, &code));
    struct error error = ERROR_INIT;
    error_set(&error, (enum error_code)code, "told \"why\"");
    http_respond_failure(request, &error);
}

static void respond_block(struct http_request *request, size_t length)
{
    struct buffer body = BUFFER_INIT(HTTP_RESPONSE_MAX);
    char block[4096];
    memset(block, 'x', sizeof block);
    for (size_t i = 0; i < length / sizeof block; i++) {
        buffer_append(&body, block, sizeof block);
    }
    http_respond_content(request, 200, "text/plain", &body);
}

static void get_large(struct http_request *request, void *context)
{
    count(context);
    respond_block(request, LARGE_LENGTH);
}

static void get_medium(struct http_request *request, void *context)
{
    count(context);
    respond_block(request, MEDIUM_LENGTH);
}

static void get_overflow(struct http_request *request, void *context)
{
    count(context);
    struct buffer body = BUFFER_INIT(10);
    buffer_append_text(&body, "more than ten bytes");
    http_respond_json(request, 200, &body);
}

static void get_busy(struct http_request *request, void *context)
{
    count(context);
    if (http_query(request, "after") != NULL) {
        http_set_header(request, "Retry-After", http_query(request, "after"));
    }
    http_respond_error(request, 503, NULL, "busy");
}

static const struct route routes[] = {
    {"GET", "/ok", ACCESS_PUBLIC, NULL, false, .handler = get_ok},
    {"GET", "/io", ACCESS_PUBLIC, NULL, true, .handler = get_ok},
    {"GET", "/gate", ACCESS_PUBLIC, NULL, false, .handler = get_gate},
    {"GET", "/io/gate", ACCESS_PUBLIC, NULL, true, .handler = get_gate},
    {"POST", "/things", ACCESS_PUBLIC, &things, false, .handler = post_thing},
    {"POST", "/io/things", ACCESS_PUBLIC, &things, true, .handler = post_thing},
    {"GET", "/things/:id", ACCESS_PUBLIC, NULL, false, .handler = get_thing},
    {"PUT", "/things/:id", ACCESS_PUBLIC, &things, false, .handler = put_thing},
    {"POST", "/plain", ACCESS_PUBLIC, NULL, false, .handler = post_plain},
    {"GET", "/required", ACCESS_REQUIRED, NULL, false, .handler = get_identity},
    {"POST", "/required", ACCESS_REQUIRED, &things, false, .handler = post_thing},
    {"GET", "/optional", ACCESS_OPTIONAL, NULL, true, .handler = get_identity},
    {"GET", "/public", ACCESS_PUBLIC, NULL, true, .handler = get_identity},
    {"GET", "/echo/:word", ACCESS_PUBLIC, NULL, false, .handler = get_echo},
    {"GET", "/silent", ACCESS_PUBLIC, NULL, false, .handler = get_silent},
    {"GET", "/failure", ACCESS_PUBLIC, NULL, false, .handler = get_failure},
    {"GET", "/large", ACCESS_PUBLIC, NULL, false, .handler = get_large},
    {"GET", "/medium", ACCESS_PUBLIC, NULL, false, .handler = get_medium},
    {"GET", "/overflow", ACCESS_PUBLIC, NULL, false, .handler = get_overflow},
    {"GET", "/busy", ACCESS_PUBLIC, NULL, true, .handler = get_busy},
    {.method = NULL},
};

static bool authenticate(const char *bearer, const char *cookie, struct http_identity *ret_identity,
                         void *context UNUSED)
{
    const char *token = bearer != NULL ? bearer : cookie;
    return token != NULL && text_equal(token, "good") && id_from_text(IDENTITY_ID, &ret_identity->id);
}

static void observe(const struct route *route, unsigned status, int64_t microseconds, void *context)
{
    struct fixture *fixture = context;
    require(microseconds >= 0);
    atomic_store(&fixture->observed_route, route);
    atomic_store(&fixture->observed_status, status);
    atomic_fetch_add(&fixture->observed, 1);
}

/* ---- the server ---- */

struct fixture *fixture_new(void)
{
    struct fixture *fixture = xcalloc(1, sizeof *fixture);
    pthread_mutex_init(&fixture->lock, NULL);
    pthread_cond_init(&fixture->changed, NULL);
    fixture->config = (struct http_config){
        .address = "127.0.0.1",
        .workers = 4,
        .queue_limit = 64,
        .connection_limit = 960,
        .request_timeout_ms = WAIT_MS,
        .idle_timeout_ms = WAIT_MS,
        .trusted_proxies = "",
        .routes = routes,
        .authenticate = authenticate,
        .session_cookie = "session",
        .observer = observe,
        .context = fixture,
    };
    log_init("http-test", LOG_LEVEL_ERROR, LOG_FORMAT_HUMAN);
    return fixture;
}

void fixture_start(struct fixture *fixture)
{
    struct error error = ERROR_INIT;
    if (!http_start(&fixture->config, &fixture->server, &error)) {
        fail_msg("%s", error.message);
    }
    fixture->port = http_port(fixture->server);
    assert_int_not_equal(fixture->port, 0);
}

void fixture_open_gate(struct fixture *fixture)
{
    pthread_mutex_lock(&fixture->lock);
    fixture->is_open = true;
    pthread_cond_broadcast(&fixture->changed);
    pthread_mutex_unlock(&fixture->lock);
}

void fixture_wait_at_gate(struct fixture *fixture, size_t wanted)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += WAIT_MS / 1000;
    pthread_mutex_lock(&fixture->lock);
    int result = 0;
    while (fixture->waiting < wanted && result == 0) {
        result = pthread_cond_timedwait(&fixture->changed, &fixture->lock, &deadline);
    }
    pthread_mutex_unlock(&fixture->lock);
    assert_int_equal(result, 0);
}

void fixture_stop(struct fixture *fixture)
{
    fixture_open_gate(fixture);
    http_stop(&fixture->server, WAIT_MS);
    assert_null(fixture->server);
    pthread_cond_destroy(&fixture->changed);
    pthread_mutex_destroy(&fixture->lock);
    xfree(fixture);
}

void fixture_wait_for_answers(struct fixture *fixture, uint64_t count_of_answers, struct http_figures *ret_figures)
{
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    http_figures(fixture->server, ret_figures);
    while (ret_figures->requests < count_of_answers) {
        if (clock_monotonic(NULL) > deadline) {
            fail_msg("%llu instead of %llu answers", (unsigned long long)ret_figures->requests,
                     (unsigned long long)count_of_answers);
        }
        usleep(POLL_US);
        http_figures(fixture->server, ret_figures);
    }
}

int setup(void **state)
{
    struct fixture *fixture = fixture_new();
    fixture_start(fixture);
    *state = fixture;
    return 0;
}

int teardown(void **state)
{
    fixture_stop(*state);
    return 0;
}

/* ---- the client ---- */

static bool try_connect(struct client *client, int family, uint16_t port)
{
    struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const void *address = family == AF_INET6 ? (const void *)&ipv6 : (const void *)&ipv4;
    socklen_t length = family == AF_INET6 ? sizeof ipv6 : sizeof ipv4;
    assert_true(client->fd >= 0);
    return connect(client->fd, address, length) == 0;
}

void client_connect(struct client *client, int family, uint16_t port)
{
    if (!try_connect(client, family, port)) {
        fail_msg("connect: %s", strerror(errno));
    }
}

bool is_refused(const struct fixture *fixture)
{
    struct client client = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    bool refused = !try_connect(&client, AF_INET, fixture->port) && errno == ECONNREFUSED;
    client_close(&client);
    return refused;
}

struct client client_open_at(int family, uint16_t port)
{
    struct client client = {.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    client_connect(&client, family, port);
    return client;
}

struct client client_open(const struct fixture *fixture)
{
    return client_open_at(AF_INET, fixture->port);
}

void client_close(struct client *client)
{
    close(client->fd);
    xfree(client->received);
    *client = (struct client){.fd = -1};
}

bool client_send_bytes(struct client *client, const void *data, size_t length)
{
    const char *next = data;
    while (length > 0) {
        ssize_t written = send(client->fd, next, length, MSG_NOSIGNAL);
        if (written <= 0) {
            return false;
        }
        next += written;
        length -= (size_t)written;
    }
    return true;
}

static size_t print_request(char ret_text[static HEAD_MAX], const char *format, va_list arguments)
{
    int length = vsnprintf(ret_text, HEAD_MAX, format, arguments);
    assert_true(length >= 0 && length < HEAD_MAX);
    return (size_t)length;
}

void client_send(struct client *client, const char *format, ...)
{
    char text[HEAD_MAX];
    va_list arguments;
    va_start(arguments, format);
    size_t length = print_request(text, format, arguments);
    va_end(arguments);
    assert_true(client_send_bytes(client, text, length));
}

/* False at the end of the connection. */
static bool receive_more(struct client *client)
{
    if (client->length + 65536 > client->capacity) {
        client->capacity = client->capacity * 2 + 65537;
        client->received = xreallocarray(client->received, client->capacity, 1);
    }
    struct pollfd waiting = {.fd = client->fd, .events = POLLIN};
    if (poll(&waiting, 1, WAIT_MS) != 1) {
        fail_msg("nothing was received in %d ms", WAIT_MS);
    }
    ssize_t received = recv(client->fd, client->received + client->length, client->capacity - client->length - 1, 0);
    client->length += received > 0 ? (size_t)received : 0;
    client->received[client->length] = '\0';
    return received > 0;
}

static void take(struct client *client, size_t length)
{
    memmove(client->received, client->received + length, client->length - length + 1);
    client->length -= length;
}

bool client_try_read(struct client *client, bool is_to_head, struct response *ret_response)
{
    *ret_response = (struct response){.status = 0};
    char *end = NULL;
    while (client->length == 0 || (end = strstr(client->received, "\r\n\r\n")) == NULL) {
        if (!receive_more(client)) {
            return false;
        }
    }
    size_t head_length = (size_t)(end + 4 - client->received);
    assert_true(head_length < HEAD_MAX);
    memcpy(ret_response->head, client->received, head_length);
    take(client, head_length);
    assert_int_equal(sscanf(ret_response->head, "HTTP/1.1 %u", &ret_response->status), 1);
    uint64_t length = 0;
    const char *text = response_header(ret_response, "Content-Length");
    assert_true(text == NULL || text_to_uint64(text, HTTP_RESPONSE_MAX, &length));
    bool has_body = !is_to_head && ret_response->status >= 200 && ret_response->status != 304;
    ret_response->length = has_body ? length : 0;
    while (client->length < ret_response->length) {
        if (!receive_more(client)) {
            return false;
        }
    }
    ret_response->body = xstrndup(ret_response->length > 0 ? client->received : "", ret_response->length);
    if (ret_response->length > 0) {
        take(client, ret_response->length);
    }
    return true;
}

void client_read(struct client *client, struct response *ret_response)
{
    if (!client_try_read(client, false, ret_response)) {
        fail_msg("the connection ended instead of an answer");
    }
}

void client_expect_end(struct client *client)
{
    assert_int_equal(client->length, 0);
    if (receive_more(client)) {
        fail_msg("received instead of the connection's end: %s", client->received);
    }
}

bool client_is_quiet(struct client *client, int milliseconds)
{
    struct pollfd waiting = {.fd = client->fd, .events = POLLIN};
    return client->length == 0 && poll(&waiting, 1, milliseconds) == 0;
}

const char *response_header(const struct response *response, const char *name)
{
    static _Thread_local char value[HEAD_MAX];
    size_t length = strlen(name);
    for (const char *line = strstr(response->head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':') {
            const char *start = line + 2 + length + 1;
            start += strspn(start, " ");
            size_t count_of_value = strcspn(start, "\r");
            memcpy(value, start, count_of_value);
            value[count_of_value] = '\0';
            return value;
        }
    }
    return NULL;
}

void response_done(struct response *response)
{
    xfree(response->body);
    response->body = NULL;
}

/* ---- whole requests ---- */

void assert_error_form(const struct response *response)
{
    if (strncmp(response->body, "{\"errors\":[{\"message\":\"", 23) != 0) {
        fail_msg("%u with %s", response->status, response->body);
    }
    assert_string_equal(response_header(response, "Content-Type"), "application/json");
    assert_string_equal(response_header(response, "X-Content-Type-Options"), "nosniff");
}

static void ask_text(const struct fixture *fixture, struct response *ret_response, const char *text, size_t length)
{
    CLEANUP(client_close) struct client client = client_open(fixture);
    assert_true(client_send_bytes(&client, text, length));
    if (!client_try_read(&client, strncmp(text, "HEAD ", 5) == 0, ret_response)) {
        fail_msg("no answer to %s", text);
    }
}

void ask(const struct fixture *fixture, struct response *ret_response, const char *format, ...)
{
    char text[HEAD_MAX];
    va_list arguments;
    va_start(arguments, format);
    size_t length = print_request(text, format, arguments);
    va_end(arguments);
    ask_text(fixture, ret_response, text, length);
}

void expect_status(const struct fixture *fixture, unsigned status, const char *format, ...)
{
    char text[HEAD_MAX];
    va_list arguments;
    va_start(arguments, format);
    size_t length = print_request(text, format, arguments);
    va_end(arguments);
    CLEANUP(response_done) struct response response;
    ask_text(fixture, &response, text, length);
    if (response.status != status) {
        fail_msg("%s: %u with %s instead of %u", text, response.status, response.body, status);
    }
    if (status >= 400) {
        assert_error_form(&response);
    }
}
