/* SPDX-License-Identifier: Apache-2.0
 * From a request's first line to its last byte: the callbacks of libmicrohttpd, all on I/O threads.
 *
 * libmicrohttpd calls receive() once with the headers, then for each piece of the body, then once more at the end.
 * An answer given in the first call closes the connection, and none can be given between the pieces; what is refused
 * is therefore answered at the end as a rule, and in the first call where the body must not or need not be read. */
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/http/internal.h"

enum {
    BODY_CAPACITY_MIN = 1024,
};

void *receive_target(void *context, const char *target, struct MHD_Connection *handle)
{
    struct http_request *request = xcalloc(1, sizeof *request);
    request->server = context;
    request->handle = handle;
    request->connection = MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    request->target = xstrdup(target != NULL ? target : "");
    request->started_us = monotonic_us();
    connection_request_begins(request->connection);
    return request;
}

void receive_completed(void *context UNUSED, struct MHD_Connection *handle UNUSED, void **request_context,
                       enum MHD_RequestTerminationCode code UNUSED)
{
    struct http_request *request = *request_context;
    if (request == NULL) {
        return;
    }
    *request_context = NULL;
    connection_answer_ends(request->connection);
    respond_discard(request);
    headers_done(request);
    url_done(&request->url);
    xfree(request->refusal.field);
    xfree(request->target);
    xfree(request->body);
    xfree(request->value);
    xfree(request);
}

static void append_body(struct http_request *request, const char *data, size_t length)
{
    size_t needed = request->received + length + 1;
    if (needed > request->body_capacity) {
        size_t capacity = request->body_capacity > 0 ? request->body_capacity * 2 : BODY_CAPACITY_MIN;
        capacity = capacity < needed ? needed : capacity;
        request->body = xreallocarray(request->body, capacity, 1);
        request->body_capacity = capacity;
    }
    memcpy(request->body + request->received, data, length);
    request->body[request->received + length] = '\0';
}

/* False: too much even to be dropped. */
static bool take_body(struct http_request *request, const char *data, size_t length)
{
    if (request->refusal.status == 0 && request->received + length > HTTP_BODY_MAX) {
        refuse(request, 413, NULL, "the body is longer than %d bytes", HTTP_BODY_MAX);
    }
    if (request->refusal.status == 0 && request->match.route->body != NULL) {
        append_body(request, data, length);
    }
    request->received += length;
    return request->received <= HTTP_BODY_DISCARD_MAX;
}

static enum MHD_Result begin(struct http_request *request, const char *method)
{
    request->is_begun = true;
    request->method = method;
    check_request(request);
    if (request->refusal.status == 0 || !request->refusal.at_once) {
        return MHD_YES;
    }
    if (!connection_request_received(request->connection)) {
        return MHD_NO;
    }
    connection_linger(request->connection);
    respond_refusal(request);
    return respond_deliver(request);
}

static enum MHD_Result end(struct http_request *request)
{
    /* A second call means that libmicrohttpd did not take the answer. */
    if (request->is_complete || !connection_request_received(request->connection)) {
        return MHD_NO;
    }
    request->is_complete = true;
    if (request->refusal.status != 0) {
        respond_refusal(request);
        return respond_deliver(request);
    }
    if (request->match.route->on_io_thread) {
        return request_run(request);
    }
    return request_enqueue(request);
}

enum MHD_Result receive(void *context UNUSED, struct MHD_Connection *handle UNUSED, const char *url UNUSED,
                        const char *method, const char *version UNUSED, const char *data, size_t *data_length,
                        void **request_context)
{
    struct http_request *request = *request_context;
    if (connection_is_cut(request->connection)) {
        return MHD_NO;
    }
    if (!request->is_begun) {
        return begin(request, method);
    }
    if (*data_length > 0) {
        bool is_bearable = take_body(request, data, *data_length);
        *data_length = 0;
        return is_bearable ? MHD_YES : MHD_NO;
    }
    return end(request);
}
