/* SPDX-License-Identifier: Apache-2.0
 * What can be refused when the headers are there: broken framing, unknown routes, missing tokens, wrong or oversized
 * bodies. In that order, and the first one wins. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/http/cookies.h"
#include "common/http/internal.h"

void refuse(struct http_request *request, unsigned status, const char *field, const char *format, ...)
{
    request->refusal.status = status;
    xfree(request->refusal.field);
    request->refusal.field = field != NULL ? xstrdup(field) : NULL;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(request->refusal.message, sizeof request->refusal.message, format, arguments);
    va_end(arguments);
}

/* ---- framing: where the body ends is in doubt, so the connection ends with the answer ---- */

/* token of RFC 9110 section 5.6.2; among others, a name with a blank before the colon is none. */
static bool is_token(const char *text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (const char *c = text; *c != '\0'; c++) {
        bool is_alphanumeric = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');
        if (!is_alphanumeric && strchr(others, *c) == NULL) {
            return false;
        }
    }
    return text[0] != '\0';
}

static bool has_malformed_name(const struct http_request *request)
{
    for (size_t i = 0; i < request->received_header_count; i++) {
        if (!is_token(request->received_headers[i].name)) {
            return true;
        }
    }
    return false;
}

/* The name of a header that says something else when it is said twice, or NULL. */
static const char *find_duplicate(const struct http_request *request)
{
    static const char *const names[] = {"Host", "Content-Length", "Transfer-Encoding", "Content-Type", "Authorization"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (headers_count(request, names[i]) > 1) {
            return names[i];
        }
    }
    return NULL;
}

static void check_framing(struct http_request *request)
{
    const char *duplicate = find_duplicate(request);
    const char *encoding = http_header(request, "Transfer-Encoding");
    const char *expectation = http_header(request, "Expect");
    if (request->has_too_many_headers) {
        refuse(request, 431, NULL, "there are more than %d headers", RECEIVED_HEADERS_MAX);
    } else if (has_malformed_name(request)) {
        refuse(request, 400, NULL, "the name of a header is malformed");
    } else if (duplicate != NULL) {
        refuse(request, 400, NULL, "the header %s is there twice", duplicate);
    } else if (encoding != NULL && http_header(request, "Content-Length") != NULL) {
        refuse(request, 400, NULL, "Content-Length and Transfer-Encoding exclude each other");
    } else if (encoding != NULL && !text_equal_ignore_case(encoding, "chunked")) {
        refuse(request, 501, NULL, "the only Transfer-Encoding that is understood is chunked");
    } else if (expectation != NULL && !text_equal_ignore_case(expectation, "100-continue")) {
        refuse(request, 417, NULL, "the only expectation that is understood is 100-continue");
    } else {
        return;
    }
    request->refusal.at_once = true;
}

/* ---- the route ---- */

static void check_route(struct http_request *request)
{
    router_find(request->server->router, request->method, &request->url, &request->match);
    switch (request->match.kind) {
    case ROUTER_NO_PATH:
        refuse(request, 404, NULL, "no such route");
        break;
    case ROUTER_NO_METHOD:
        refuse(request, 405, NULL, "the method is not allowed here");
        break;
    case ROUTER_OPTIONS:
        refuse(request, 204, NULL, "%s", "");
        break;
    case ROUTER_FOUND:
        break;
    }
}

/* ---- who is asking ---- */

static const char *bearer_token(const char *authorization)
{
    static const char scheme[] = "Bearer ";
    if (authorization == NULL || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0) {
        return NULL;
    }
    return authorization + strspn(authorization + sizeof scheme - 1, " ") + sizeof scheme - 1;
}

static void check_identity(struct http_request *request)
{
    const struct http_config *config = &request->server->config;
    enum access access = request->match.route->access;
    if (access == ACCESS_PUBLIC || config->authenticate == NULL) {
        return;
    }
    CLEANUP(free_pointer) char *cookies = headers_join(request, "Cookie", "; ");
    CLEANUP(free_pointer) char *session = NULL;
    if (cookies != NULL && config->session_cookie != NULL) {
        session = cookie_find(cookies, config->session_cookie);
    }
    const char *bearer = bearer_token(http_header(request, "Authorization"));
    request->is_signed_in = (bearer != NULL || session != NULL) &&
                            config->authenticate(bearer, session, &request->identity, config->authenticate_context);
    if (!request->is_signed_in && access == ACCESS_REQUIRED) {
        refuse(request, 401, NULL, "not signed in");
    }
}

/* ---- the body ---- */

static bool is_json(const char *content_type)
{
    static const char json[] = "application/json";
    static const char charset[] = "charset=";
    if (strncasecmp(content_type, json, sizeof json - 1) != 0) {
        return false;
    }
    const char *rest = content_type + sizeof json - 1;
    rest += strspn(rest, " \t");
    if (*rest == '\0') {
        return true;
    }
    if (*rest != ';') {
        return false;
    }
    rest += 1 + strspn(rest + 1, " \t");
    if (*rest == '\0') {
        return true;
    }
    return strncasecmp(rest, charset, sizeof charset - 1) == 0 &&
           (text_equal_ignore_case(rest + sizeof charset - 1, "utf-8") ||
            text_equal_ignore_case(rest + sizeof charset - 1, "\"utf-8\""));
}

static bool is_longer_than(const struct http_request *request, uint64_t limit)
{
    uint64_t length = 0;
    const char *text = http_header(request, "Content-Length");
    return text != NULL && !text_to_uint64(text, limit, &length);
}

static bool has_body(const struct http_request *request)
{
    return http_header(request, "Transfer-Encoding") != NULL || is_longer_than(request, 0);
}

/* Where there is no body, it is missed later, which says more than that its type is. */
static bool has_right_type(const struct http_request *request)
{
    const char *type = http_header(request, "Content-Type");
    return type != NULL ? is_json(type) : !has_body(request);
}

static void check_body(struct http_request *request)
{
    if (is_longer_than(request, HTTP_BODY_MAX)) {
        refuse(request, 413, NULL, "the body is longer than %d bytes", HTTP_BODY_MAX);
    } else if (request->match.route->body != NULL && !has_right_type(request)) {
        refuse(request, 415, NULL, "the Content-Type must be application/json");
    }
}

/* ---- ids ---- */

static bool is_request_id(const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return length > 0 && length <= HTTP_REQUEST_ID_MAX && text[length] == '\0';
}

/* traceparent of W3C Trace Context: "00-<32 hex digits, not all 0>-<16 hex digits>-<2 hex digits>", lower case. */
static bool read_trace(const char *text, char ret_trace[static TRACE_LENGTH + 1])
{
    static const char pattern[] = "hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
    static const char zeros[] = "00000000000000000000000000000000";
    size_t i = 0;
    for (; pattern[i] != '\0'; i++) {
        bool is_hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
        if (pattern[i] == 'h' ? !is_hex : text[i] != '-') {
            return false;
        }
    }
    bool is_known_version = strncmp(text, "00", 2) == 0;
    bool ends_well = text[i] == '\0' || (text[i] == '-' && !is_known_version);
    const char *trace = text + 3;
    if (!ends_well || strncmp(text, "ff", 2) == 0 || strncmp(trace, zeros, TRACE_LENGTH) == 0) {
        return false;
    }
    memcpy(ret_trace, trace, TRACE_LENGTH);
    ret_trace[TRACE_LENGTH] = '\0';
    return true;
}

static void take_ids(struct http_request *request)
{
    const char *id = http_header(request, "X-Request-Id");
    const char *trace = http_header(request, "traceparent");
    if (id == NULL || !is_request_id(id) || !text_copy(request->id, sizeof request->id, id)) {
        random_hex(request->id, REQUEST_ID_LENGTH);
    }
    if (trace == NULL || !read_trace(trace, request->trace)) {
        random_hex(request->trace, TRACE_LENGTH);
    }
}

static void take_client_address(struct http_request *request)
{
    if (connection_is_proxy(request->connection)) {
        CLEANUP(free_pointer) char *forwarded = headers_join(request, "X-Forwarded-For", ",");
        proxies_client(request->server->proxies, connection_address(request->connection), forwarded,
                       request->client_address);
    }
}

static void find_refusal(struct http_request *request, const char *url_problem, const char *url_field)
{
    check_framing(request);
    if (request->refusal.status == 0 && url_problem != NULL && url_field == NULL) {
        refuse(request, 400, NULL, "%s", url_problem);
    }
    if (request->refusal.status == 0) {
        check_route(request);
    }
    if (request->refusal.status == 0) {
        check_identity(request);
    }
    if (request->refusal.status == 0 && url_problem != NULL) {
        refuse(request, 400, url_field, "%s", url_problem);
    }
    if (request->refusal.status == 0) {
        check_body(request);
    }
}

void check_request(struct http_request *request)
{
    headers_collect(request);
    take_ids(request);
    take_client_address(request);
    const char *problem = NULL;
    CLEANUP(free_pointer) char *field = NULL;
    if (url_parse(request->target, &request->url, &problem, &field)) {
        problem = NULL;
    }
    find_refusal(request, problem, field);
    if (request->refusal.status != 0) {
        /* A client that waits for 100 Continue has not begun to send the body, and too long a one is not read. */
        bool is_waiting = has_body(request) && http_header(request, "Expect") != NULL;
        request->refusal.at_once |= is_waiting || is_longer_than(request, HTTP_BODY_MAX);
    }
}
