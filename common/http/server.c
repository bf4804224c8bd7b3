/* SPDX-License-Identifier: Apache-2.0
 * Starting and stopping the HTTP server.
 *
 * DESIGN
 * Stopping, so that every request that was read gets its answer:
 *   1. answers say Connection: close from now on;
 *   2. libmicrohttpd stops accepting (quiesce); what waits in the socket's backlog is accepted here and handed over;
 *      the listening socket is closed;
 *   3. connections that are idle for a moment are closed, the others leave with their answers; wait for the last one;
 *   4. at the deadline what is still queued is refused;
 *   5. the queue is closed and the workers are joined, so that no connection is suspended any more: libmicrohttpd
 *      aborts the process when it is stopped with one. A handler that still runs is waited for beyond the deadline,
 *      since its thread cannot be ended and uses what the caller is about to free;
 *   6. libmicrohttpd is stopped, which closes what is left. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/http/internal.h"
#include "common/http/metrics.h"

enum {
    IO_THREADS = 2,
    BACKLOG = 1024,
    STRICT_FOR_CLIENT = 1, /* no Host is 400 */
    LAST_ANSWERS_MS = 100, /* for what the workers answered after the time to stop was over */
};

bool http_proxies_valid(const char *text)
{
    CLEANUP(proxies_free) struct proxies *proxies = NULL;
    return proxies_new(text, &proxies);
}

/* ---- the listening socket ---- */

union socket_address {
    struct sockaddr any;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
};

static bool parse_address(const struct http_config *config, union socket_address *ret_address, struct error *error)
{
    memset(ret_address, 0, sizeof *ret_address);
    if (inet_pton(AF_INET, config->address, &ret_address->ipv4.sin_addr) == 1) {
        ret_address->ipv4.sin_family = AF_INET;
        ret_address->ipv4.sin_port = htons(config->port);
        return true;
    }
    if (inet_pton(AF_INET6, config->address, &ret_address->ipv6.sin6_addr) == 1) {
        ret_address->ipv6.sin6_family = AF_INET6;
        ret_address->ipv6.sin6_port = htons(config->port);
        return true;
    }
    return error_set(error, ERROR_INVALID, "\"%s\" is not an IPv4 or IPv6 address", config->address);
}

static socklen_t address_length(const union socket_address *address)
{
    return address->any.sa_family == AF_INET6 ? sizeof address->ipv6 : sizeof address->ipv4;
}

static bool fail_to_listen(const struct http_config *config, struct error *error)
{
    if (errno == EADDRINUSE) {
        return error_set(error, ERROR_CONFLICT, "port %u on %s is taken", config->port, config->address);
    }
    return error_set(error, ERROR_UNAVAILABLE, "listening on port %u of %s: %s", config->port, config->address,
                     strerror(errno));
}

/* -1 on failure. */
static int open_listener(const struct http_config *config, uint16_t *ret_port, struct error *error)
{
    union socket_address address;
    if (!parse_address(config, &address, error)) {
        return -1;
    }
    int listener = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) {
        fail_to_listen(config, error);
        return -1;
    }
    int on = 1;
    int off = 0;
    socklen_t length = address_length(&address);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.any.sa_family == AF_INET6) {
        setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off); /* "::" is all addresses, IPv4 too */
    }
    if (bind(listener, &address.any, length) != 0 || listen(listener, BACKLOG) != 0 ||
        getsockname(listener, &address.any, &length) != 0) {
        fail_to_listen(config, error);
        close(listener);
        return -1;
    }
    *ret_port = ntohs(address.any.sa_family == AF_INET6 ? address.ipv6.sin6_port : address.ipv4.sin_port);
    return listener;
}

/* ---- libmicrohttpd ---- */

/* What it has to say is about clients' mistakes and broken connections. */
static void log_of_library(void *context UNUSED, const char *format, va_list arguments)
{
    if (!log_enabled(LOG_LEVEL_DEBUG)) {
        return;
    }
    char message[LOG_ENTRY_MAX];
    vsnprintf(message, sizeof message, format, arguments);
    message[strcspn(message, "\r\n")] = '\0';
    log_debug("libmicrohttpd: %s", message);
}

/* Targets are decoded by url.c, after they have been split. */
static size_t leave_as_it_is(void *context UNUSED, struct MHD_Connection *handle UNUSED, char *text)
{
    return strlen(text);
}

static bool start_daemon(struct http_server *server, int listener, struct error *error)
{
    unsigned flags = MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, receive, server, MHD_OPTION_EXTERNAL_LOGGER, log_of_library, NULL,
        MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)IO_THREADS,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)server->config.connection_limit, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT, (int)STRICT_FOR_CLIENT, MHD_OPTION_URI_LOG_CALLBACK,
        receive_target, server, MHD_OPTION_UNESCAPE_CALLBACK, leave_as_it_is, NULL, MHD_OPTION_NOTIFY_CONNECTION,
        connection_notify, server, MHD_OPTION_NOTIFY_COMPLETED, receive_completed, server, MHD_OPTION_END);
    if (server->daemon == NULL) {
        return error_set(error, ERROR_UNAVAILABLE, "the HTTP library could not start: %s", strerror(errno));
    }
    return true;
}

static bool check_config(const struct http_config *config, struct error *error)
{
    if (config->connection_limit < IO_THREADS || config->connection_limit > UINT16_MAX) {
        return error_set(error, ERROR_INVALID, "the limit of connections must be %d to %d", IO_THREADS, UINT16_MAX);
    }
    if (config->request_timeout_ms <= 0 || config->idle_timeout_ms <= 0) {
        return error_set(error, ERROR_INVALID, "timeouts must be positive");
    }
    return true;
}

static void free_server(struct http_server **server_pointer)
{
    struct http_server *server = *server_pointer;
    if (server == NULL) {
        return;
    }
    workers_stop(server);
    if (server->daemon != NULL) {
        MHD_stop_daemon(server->daemon);
    }
    connections_done(server);
    queue_free(&server->queue);
    xfree(server->workers);
    router_free(&server->router);
    proxies_free(&server->proxies);
    xfree(server);
    *server_pointer = NULL;
}

static bool prepare(struct http_server *server, struct error *error)
{
    if (!check_config(&server->config, error) || !router_new(server->config.routes, &server->router, error)) {
        return false;
    }
    if (!proxies_new(server->config.trusted_proxies, &server->proxies)) {
        return error_set(error, ERROR_INVALID, "\"%s\" is not a list of addresses and CIDR blocks",
                         server->config.trusted_proxies);
    }
    return true;
}

bool http_start(const struct http_config *config, struct http_server **ret_server, struct error *error)
{
    CLEANUP(free_server) struct http_server *server = xcalloc(1, sizeof *server);
    server->config = *config;
    http_metrics_init();
    connections_init(server);
    if (!prepare(server, error)) {
        return false;
    }
    int listener = open_listener(config, &server->port, error);
    if (listener < 0) {
        return false;
    }
    if (!workers_start(server, error) || !connections_watch(server, error)) {
        close(listener);
        return false;
    }
    /* From here on the socket is libmicrohttpd's, which closes it when it fails. */
    if (!start_daemon(server, listener, error)) {
        return false;
    }
    *ret_server = TAKE(server);
    return true;
}

uint16_t http_port(const struct http_server *server)
{
    return server->port;
}

void http_figures(struct http_server *server, struct http_figures *ret_figures)
{
    ret_figures->requests = atomic_load(&server->answered);
    ret_figures->queue_length = queue_length(server->queue);
    ret_figures->active = atomic_load(&server->active);
}

/* ---- stopping ---- */

static void take_over_backlog(struct http_server *server, int listener)
{
    for (;;) {
        union socket_address address;
        socklen_t length = sizeof address;
        int accepted = accept4(listener, &address.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted < 0) {
            return;
        }
        connections_expect(server, accepted);
        if (MHD_add_connection(server->daemon, accepted, &address.any, length) != MHD_YES) {
            connections_expect_no_more(server, accepted); /* the library has closed it */
        }
    }
}

void http_stop(struct http_server **server_pointer, int64_t timeout_ms)
{
    struct http_server *server = *server_pointer;
    if (server == NULL) {
        return;
    }
    atomic_store(&server->is_stopping, true);
    int listener = MHD_quiesce_daemon(server->daemon);
    if (listener >= 0) {
        take_over_backlog(server, listener);
        close(listener);
    }
    connections_stop(server);
    if (!connections_wait(server, timeout_ms)) {
        atomic_store(&server->is_given_up, true);
        workers_stop(server);
        if (!connections_wait(server, LAST_ANSWERS_MS)) {
            log_warning("stopping with connections that have not ended in %lld ms", (long long)timeout_ms);
        }
    }
    free_server(server_pointer);
}
