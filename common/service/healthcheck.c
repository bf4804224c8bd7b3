/* SPDX-License-Identifier: Apache-2.0
 * GET /readyz over a plain socket: one connection, one deadline for all of it. */
#include "common/service/healthcheck.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/service/settings.h"

enum {
    EXIT_NOT_READY = 1,
    ANSWER_DEADLINE_MS = 2000, /* for connecting, asking and reading together */
    ANSWER_MAX = 4096,         /* bytes that are read; what is ready is told by the first dozen */
    STATUS_READY = 200,
};

static const char request[] = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
static const char status_line[] = "HTTP/1.1 ";
static const char end_of_headers[] = "\r\n\r\n";

union socket_address {
    struct sockaddr any;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
};

/* Of what listens on all addresses that is 127.0.0.1: "::" takes IPv4 too, also where a container has no IPv6. The
 * settings have been checked: it is an address of one of the two kinds. */
static socklen_t find_address(const struct service_settings *settings, union socket_address *ret_address)
{
    const in_port_t port = htons((uint16_t)settings->port);
    *ret_address = (union socket_address){.ipv6 = {.sin6_family = AF_INET6, .sin6_port = port}};
    bool is_ipv6 = inet_pton(AF_INET6, settings->listen_address, &ret_address->ipv6.sin6_addr) == 1;
    if (is_ipv6 && !IN6_IS_ADDR_UNSPECIFIED(&ret_address->ipv6.sin6_addr)) {
        return sizeof ret_address->ipv6;
    }
    struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = port};
    if (is_ipv6 || inet_pton(AF_INET, settings->listen_address, &ipv4.sin_addr) != 1 ||
        ipv4.sin_addr.s_addr == htonl(INADDR_ANY)) {
        ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    ret_address->ipv4 = ipv4;
    return sizeof ret_address->ipv4;
}

static bool fail(struct error *error, const char *what)
{
    return error_set(error, ERROR_UNAVAILABLE, "%s: %s", what, strerror(errno));
}

static bool wait_for(int connection, short events, int64_t deadline, struct error *error)
{
    for (;;) {
        struct pollfd descriptor = {.fd = connection, .events = events};
        int64_t left = deadline - clock_monotonic(NULL);
        int ready = poll(&descriptor, 1, left > 0 ? (int)left : 0);
        if (ready > 0) {
            return true;
        }
        if (ready == 0) {
            return error_set(error, ERROR_UNAVAILABLE, "no answer within %d ms", ANSWER_DEADLINE_MS);
        }
        if (errno != EINTR) {
            return fail(error, "waiting for the answer");
        }
    }
}

static bool connect_to(int connection, const union socket_address *address, socklen_t length, int64_t deadline,
                       struct error *error)
{
    int problem = 0;
    socklen_t problem_size = sizeof problem;
    if (connect(connection, &address->any, length) == 0) {
        return true;
    }
    if (errno != EINPROGRESS) {
        return fail(error, "cannot connect");
    }
    if (!wait_for(connection, POLLOUT, deadline, error)) {
        return false;
    }
    if (getsockopt(connection, SOL_SOCKET, SO_ERROR, &problem, &problem_size) == 0 && problem == 0) {
        return true;
    }
    errno = problem != 0 ? problem : errno;
    return fail(error, "cannot connect");
}

static bool send_request(int connection, int64_t deadline, struct error *error)
{
    size_t sent = 0;
    while (sent < sizeof request - 1) {
        ssize_t count = send(connection, request + sent, sizeof request - 1 - sent, MSG_NOSIGNAL);
        if (count >= 0) {
            sent += (size_t)count;
        } else if (errno != EAGAIN && errno != EINTR) {
            return fail(error, "asking");
        } else if (!wait_for(connection, POLLOUT, deadline, error)) {
            return false;
        }
    }
    return true;
}

/* Until the service closes the connection, or the rest is of no interest. */
static bool read_answer(int connection, int64_t deadline, char ret_answer[static ANSWER_MAX + 1], struct error *error)
{
    size_t length = 0;
    while (length < ANSWER_MAX) {
        ssize_t count = recv(connection, ret_answer + length, ANSWER_MAX - length, 0);
        if (count == 0) {
            break;
        }
        if (count > 0) {
            length += (size_t)count;
        } else if (errno != EAGAIN && errno != EINTR) {
            return fail(error, "reading the answer");
        } else if (!wait_for(connection, POLLIN, deadline, error)) {
            return false;
        }
    }
    ret_answer[length] = '\0';
    return true;
}

/* Not to be ready is answered too, with a reason in the body. */
static bool judge(const char *answer, struct error *error)
{
    int64_t status = 0;
    char digits[4] = "";
    bool is_http = text_starts_with(answer, status_line) && strlen(answer) >= sizeof status_line - 1 + 3;
    if (is_http) {
        memcpy(digits, answer + sizeof status_line - 1, 3);
    }
    if (!is_http || !text_to_int64(digits, 100, 599, &status)) {
        return error_set(error, ERROR_UNAVAILABLE, "what listens there does not answer in HTTP/1.1");
    }
    const char *body = strstr(answer, end_of_headers);
    body = body != NULL ? body + sizeof end_of_headers - 1 : "";
    return status == STATUS_READY ||
           error_set(error, ERROR_UNAVAILABLE, "not ready: %d %.*s", (int)status, (int)strcspn(body, "\r\n"), body);
}

static void close_socket(const int *connection)
{
    if (*connection >= 0) {
        close(*connection);
    }
}

static bool ask(const struct service_settings *settings, struct error *error)
{
    char answer[ANSWER_MAX + 1];
    union socket_address address;
    int64_t deadline = clock_monotonic(NULL) + ANSWER_DEADLINE_MS;
    socklen_t length = find_address(settings, &address);
    CLEANUP(close_socket) int connection = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection < 0) {
        return fail(error, "socket");
    }
    return connect_to(connection, &address, length, deadline, error) && send_request(connection, deadline, error) &&
           read_answer(connection, deadline, answer, error) && judge(answer, error);
}

int healthcheck_run(const struct service_definition *definition)
{
    struct service_settings settings = {.port = 0};
    struct error error = ERROR_INIT;
    if (!settings_load_listening(&settings, stderr)) {
        return CONFIG_EXIT_STATUS;
    }
    if (ask(&settings, &error)) {
        return 0;
    }
    fprintf(stderr, "%s at %s, port %lld: %s\n", definition->name, settings.listen_address, (long long)settings.port,
            error.message);
    return EXIT_NOT_READY;
}
