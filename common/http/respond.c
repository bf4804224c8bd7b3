/* SPDX-License-Identifier: Apache-2.0
 * Making answers and handing them to libmicrohttpd, which adds Date, Content-Length and the connection's fate. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/http/conditional.h"
#include "common/http/internal.h"

enum {
    ERROR_BODY_MAX = 65536, /* bytes: FIELD_ERRORS_MAX errors, each byte escaped */
};

static bool is_set(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (text_equal_ignore_case(request->headers[i].name, name)) {
            return true;
        }
    }
    return false;
}

void http_set_header(struct http_request *request, const char *name, const char *value)
{
    assert(request->header_count < HTTP_HEADERS_MAX && !request->is_answered);
    assert(!text_has_control(name, strlen(name)) && !text_has_control(value, strlen(value)));
    request->headers[request->header_count].name = xstrdup(name);
    request->headers[request->header_count].value = xstrdup(value);
    request->header_count++;
}

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
    if (MHD_add_response_header(response, name, value) != MHD_YES) {
        log_error("the header %s could not be added to the answer", name);
    }
}

/* Takes ownership of `data`, which is from xmalloc; NULL: no body. */
static void respond(struct http_request *request, unsigned status, const char *content_type, char *data, size_t length)
{
    assert(!request->is_answered);
    request->is_answered = true;
    request->status = status;
    request->response_length = length;
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback(length, data, xfree);
    if (response == NULL) {
        abort(); /* out of memory */
    }
    if (content_type != NULL) {
        add_header(response, "Content-Type", content_type);
        add_header(response, "X-Content-Type-Options", "nosniff");
    }
    add_header(response, "X-Request-Id", request->id);
    for (size_t i = 0; i < request->header_count; i++) {
        add_header(response, request->headers[i].name, request->headers[i].value);
    }
    if ((status == 503 || status == 429) && !is_set(request, "Retry-After")) {
        add_header(response, "Retry-After", "1");
    }
    if (status == 401 && !is_set(request, "WWW-Authenticate")) {
        add_header(response, "WWW-Authenticate", "Bearer");
    }
    if (request->server->config.no_store && !is_set(request, "Cache-Control")) {
        add_header(response, "Cache-Control", "no-store");
    }
    request->response = response;
}

void http_respond_content(struct http_request *request, unsigned status, const char *content_type, struct buffer *body)
{
    if (body->overflowed) {
        log_error("the answer to %s %s exceeds its limit of %zu bytes", http_method(request), http_path(request),
                  body->limit);
        buffer_done(body);
        http_respond_error(request, 500, NULL, "internal error");
        return;
    }
    size_t length = body->length;
    char *data = TAKE(body->data);
    buffer_done(body);
    respond(request, status, content_type, data, length);
}

void http_respond_json(struct http_request *request, unsigned status, struct buffer *body)
{
    http_respond_content(request, status, "application/json", body);
}

void http_respond_text(struct http_request *request, unsigned status, const char *json)
{
    respond(request, status, "application/json", xstrdup(json), strlen(json));
}

void http_respond_empty(struct http_request *request, unsigned status)
{
    respond(request, status, NULL, NULL, 0);
}

void http_respond_errors(struct http_request *request, unsigned status, const struct field_errors *errors)
{
    struct buffer body = BUFFER_INIT(ERROR_BODY_MAX);
    field_errors_print(errors, &body);
    http_respond_json(request, status, &body);
}

static void respond_error(struct http_request *request, unsigned status, const char *field, const char *message)
{
    struct field_errors errors = FIELD_ERRORS_INIT;
    field_errors_add(&errors, field, "%s", message);
    http_respond_errors(request, status, &errors);
}

void http_respond_error(struct http_request *request, unsigned status, const char *field, const char *format, ...)
{
    char message[FIELD_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    respond_error(request, status, field, message);
}

void http_respond_failure(struct http_request *request, const struct error *error)
{
    switch (error->code) {
    case ERROR_INVALID:
        respond_error(request, 400, NULL, error->message);
        break;
    case ERROR_UNAUTHORIZED:
        respond_error(request, 401, NULL, error->message);
        break;
    case ERROR_FORBIDDEN:
        respond_error(request, 403, NULL, error->message);
        break;
    case ERROR_NOT_FOUND:
        respond_error(request, 404, NULL, error->message);
        break;
    case ERROR_CONFLICT:
        respond_error(request, 409, NULL, error->message);
        break;
    case ERROR_GAP:
    case ERROR_UNAVAILABLE:
        log_warning("%s %s: %s", http_method(request), http_path(request), error->message);
        respond_error(request, 503, NULL, "the service cannot take this now, try again");
        break;
    case ERROR_NONE:
    case ERROR_INTERNAL:
        log_error("%s %s: %s", http_method(request), http_path(request), error->message);
        respond_error(request, 500, NULL, "internal error");
        break;
    }
}

static enum conditional_get check_get(const struct http_request *request, uint64_t version)
{
    CLEANUP(free_pointer) char *if_match = headers_join(request, "If-Match", ", ");
    CLEANUP(free_pointer) char *if_none_match = headers_join(request, "If-None-Match", ", ");
    return conditional_get(if_match, if_none_match, version);
}

void http_respond_record(struct http_request *request, unsigned status, const struct table *table,
                         const struct record *head, const void *value)
{
    bool is_get = status == 200 && text_equal(http_method(request), "GET");
    enum conditional_get verdict = is_get ? check_get(request, head->version) : CONDITIONAL_GET_SEND;
    if (verdict == CONDITIONAL_GET_FAILED) {
        respond_error(request, 412, NULL, "If-Match does not list the current version");
        return;
    }
    char tag[ETAG_SIZE];
    etag_print(head->version, tag);
    http_set_header(request, "ETag", tag);
    if (verdict == CONDITIONAL_GET_NOT_MODIFIED) {
        http_respond_empty(request, 304);
        return;
    }
    struct buffer body = BUFFER_INIT(HTTP_RESPONSE_MAX);
    schema_print(table, IN_RESPONSE, head, value, &body);
    http_respond_json(request, status, &body);
}

void respond_refusal(struct http_request *request)
{
    const struct refusal *refusal = &request->refusal;
    bool tells_methods = request->match.kind == ROUTER_NO_METHOD || request->match.kind == ROUTER_OPTIONS;
    if (tells_methods && request->match.allow != NULL) {
        http_set_header(request, "Allow", request->match.allow);
    }
    if (refusal->status == 204) {
        http_respond_empty(request, 204);
    } else {
        respond_error(request, refusal->status, refusal->field, refusal->message);
    }
}

/* Whoever probes a service's health would otherwise write most of its log. */
static bool is_of_interest(const struct http_request *request)
{
    const struct route *route = request->match.route;
    return route == NULL || !route->is_probe || request->status >= 400;
}

static void report(struct http_request *request)
{
    struct http_server *server = request->server;
    int64_t taken_us = monotonic_us() - request->started_us;
    atomic_fetch_add(&server->answered, 1);
    if (server->config.observer != NULL) {
        server->config.observer(request->match.route, request->status, taken_us, server->config.context);
    }
    enum log_level level = is_of_interest(request) ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
    if (log_enabled(level)) {
        log_set_context(request->id, request->trace);
        log_write(level, "%s %s %u %.1f ms", request->method, request->url.path, request->status,
                  (double)taken_us / 1000);
        log_set_context(NULL, NULL);
    }
}

enum MHD_Result respond_deliver(struct http_request *request)
{
    if (atomic_load(&request->server->is_stopping)) {
        add_header(request->response, "Connection", "close");
    }
    report(request);
    connection_answer_begins(request->connection, request->response_length);
    struct MHD_Response *response = TAKE(request->response);
    enum MHD_Result result = MHD_queue_response(request->handle, request->status, response);
    MHD_destroy_response(response);
    return result;
}

void respond_discard(struct http_request *request)
{
    if (request->response != NULL) {
        MHD_destroy_response(request->response);
    }
    for (size_t i = 0; i < request->header_count; i++) {
        xfree(request->headers[i].name);
        xfree(request->headers[i].value);
    }
}
