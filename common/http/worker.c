/* SPDX-License-Identifier: Apache-2.0
 * Running handlers, on a worker or on the I/O thread.
 *
 * DESIGN
 * A connection is suspended before its request is put into the queue: a worker may be done with it before the I/O
 * thread's callback has returned. The worker hands over the answer while the connection is suspended, then resumes
 * it, and from that moment does not touch the request: the I/O thread frees it when the answer has been sent. A
 * request that the queue does not take is answered with 503 in the same way by the I/O thread itself.
 *
 * When a connection is resumed, libmicrohttpd first reads from it if there is something to read. A client that has
 * shut down its sending side (as nc does at the end of its input) is then taken to be gone, and its answer is lost;
 * routes on I/O threads do not have that limit, since they answer before. */
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/http/internal.h"
#include "common/http/metrics.h"

enum {
    WORKERS_MAX = 256,
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    WORKER_STACK_BYTES = 2 << 20, /* frames are several times as large then */
#else
    WORKER_STACK_BYTES = 512 << 10, /* handlers keep entities and short lists on the stack, no more */
#endif
};

/* False: 400 has been answered. */
static bool parse_body(struct http_request *request)
{
    const struct table *table = request->match.route->body;
    if (table == NULL) {
        return true;
    }
    if (request->received == 0) {
        http_respond_error(request, 400, NULL, "a JSON object is required");
        return false;
    }
    struct field_errors errors = FIELD_ERRORS_INIT;
    request->value = xcalloc(1, table->size);
    if (!schema_parse(table, IN_REQUEST, request->body, request->received, NULL, request->value, &errors)) {
        http_respond_errors(request, 400, &errors);
        return false;
    }
    return true;
}

static bool has_waited_too_long(const struct http_request *request)
{
    int64_t limit_us = request->server->config.queue_wait_ms * MICROSECONDS;
    return limit_us > 0 && request->queued_us > 0 && monotonic_us() - request->queued_us > limit_us;
}

enum MHD_Result request_run(struct http_request *request)
{
    log_set_context(request->id, request->trace);
    if (atomic_load(&request->server->is_given_up)) {
        http_metrics_rejected(HTTP_REJECTED_STOPPING);
        http_respond_error(request, 503, NULL, "the server is stopping");
    } else if (has_waited_too_long(request)) {
        http_metrics_rejected(HTTP_REJECTED_QUEUE_WAIT);
        http_respond_error(request, 503, NULL, "too many requests are waiting");
    } else if (parse_body(request)) {
        request->match.route->handler(request, request->server->config.context);
    }
    if (!request->is_answered) {
        log_error("the handler of %s %s has not answered", http_method(request), request->match.route->path);
        http_respond_error(request, 500, NULL, "internal error");
    }
    enum MHD_Result result = respond_deliver(request);
    log_set_context(NULL, NULL);
    return result;
}

enum MHD_Result request_enqueue(struct http_request *request)
{
    struct http_server *server = request->server;
    struct MHD_Connection *handle = request->handle;
    request->queued_us = monotonic_us();
    MHD_suspend_connection(handle);
    atomic_fetch_add(&server->active, 1);
    if (!queue_push(server->queue, request)) {
        atomic_fetch_sub(&server->active, 1);
        http_metrics_rejected(HTTP_REJECTED_QUEUE_FULL);
        http_respond_error(request, 503, NULL, "too many requests are waiting");
        (void)respond_deliver(request);
        MHD_resume_connection(handle);
    }
    return MHD_YES;
}

static void *work(void *context)
{
    struct http_server *server = context;
    struct http_request *request = NULL;
    while ((request = queue_pop(server->queue, -1)) != NULL) {
        struct MHD_Connection *handle = request->handle;
        http_metrics_waited(monotonic_us() - request->queued_us);
        /* If the answer is not taken, the I/O thread closes the connection when it finds none. */
        (void)request_run(request);
        atomic_fetch_sub(&server->active, 1);
        MHD_resume_connection(handle);
    }
    return NULL;
}

bool workers_start(struct http_server *server, struct error *error)
{
    const struct http_config *config = &server->config;
    if (config->workers == 0 || config->workers > WORKERS_MAX || config->queue_limit == 0) {
        return error_set(error, ERROR_INVALID, "there must be 1 to %d workers and a queue", WORKERS_MAX);
    }
    server->queue = queue_new(config->queue_limit);
    server->workers = xcalloc(config->workers, sizeof *server->workers);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    int result = 0;
    while (server->worker_count < config->workers && result == 0) {
        result = pthread_create(&server->workers[server->worker_count], &attributes, work, server);
        server->worker_count += result == 0 ? 1 : 0;
    }
    pthread_attr_destroy(&attributes);
    if (result != 0) {
        return error_set(error, ERROR_UNAVAILABLE, "starting worker %zu: %s", server->worker_count, strerror(result));
    }
    return true;
}

void workers_stop(struct http_server *server)
{
    if (server->queue != NULL) {
        queue_close(server->queue);
    }
    for (size_t i = 0; i < server->worker_count; i++) {
        pthread_join(server->workers[i], NULL);
    }
    server->worker_count = 0;
}
