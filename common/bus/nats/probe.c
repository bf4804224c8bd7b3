/* SPDX-License-Identifier: Apache-2.0
 * Asks a NATS server for a sign of life, without libnats: INFO from the server, CONNECT and PING from here, PONG from
 * the server. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/bus/nats/plain.h"

enum {
    PROBE_MS = 1000,
    GREETING_MAX = 8 * 1024,  /* bytes of ours; a user and a password, every byte escaped */
    RECEIVED_MAX = 64 * 1024, /* bytes of a greeting; the INFO of a large cluster lists all its servers */
};

struct probe {
    const struct bus_target *target;
    int socket;
    int64_t deadline;
    struct buffer received;
};

static void probe_done(struct probe *probe)
{
    if (probe->socket >= 0) {
        close(probe->socket);
    }
    buffer_done(&probe->received);
}

static bool fail(const struct probe *probe, struct error *error, const char *what)
{
    char attempt[BUS_NATS_ATTEMPT_MAX];
    bus_nats_attempt(probe->target, attempt);
    return error_set(error, ERROR_UNAVAILABLE, "%s: %s", attempt, what);
}

/* Waits for the socket; false on timeout, or if the attempt is not wanted any more. */
static bool await(const struct probe *probe, short events)
{
    for (;;) {
        int64_t left = probe->deadline - clock_monotonic(NULL);
        if (left <= 0) {
            return false;
        }
        struct pollfd polled[] = {{.fd = probe->socket, .events = events},
                                  {.fd = probe->target->cancel_descriptor, .events = POLLIN}};
        int ready = poll(polled, ARRAY_LENGTH(polled), (int)left);
        if (ready > 0) {
            return polled[1].revents == 0;
        }
        if (ready < 0 && errno != EINTR) {
            return false;
        }
    }
}

static bool connect_to(struct probe *probe, const struct addrinfo *address, struct error *error)
{
    probe->socket = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe->socket < 0) {
        return fail(probe, error, strerrordesc_np(errno));
    }
    if (connect(probe->socket, address->ai_addr, address->ai_addrlen) == 0) {
        return true;
    }
    if (errno != EINPROGRESS) {
        return fail(probe, error, strerrordesc_np(errno));
    }
    int failure = 0;
    socklen_t size = sizeof(failure);
    if (!await(probe, POLLOUT) || getsockopt(probe->socket, SOL_SOCKET, SO_ERROR, &failure, &size) != 0) {
        return fail(probe, error, "no answer within 1 s");
    }
    return failure == 0 || fail(probe, error, strerrordesc_np(failure));
}

static bool connect_socket(struct probe *probe, struct error *error)
{
    const struct bus_host *host = probe->target->host;
    char port[sizeof("65535")];
    snprintf(port, sizeof(port), "%u", host->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    int failure = getaddrinfo(host->name, port, &hints, &addresses);
    if (failure) {
        return fail(probe, error, gai_strerror(failure));
    }
    probe->deadline = clock_monotonic(NULL) + PROBE_MS;
    bool connected = false;
    for (const struct addrinfo *address = addresses; address && !connected; address = address->ai_next) {
        if (probe->socket >= 0) {
            close(probe->socket);
        }
        connected = connect_to(probe, address, error);
    }
    freeaddrinfo(addresses);
    return connected;
}

static bool send_greeting(const struct probe *probe)
{
    struct buffer text = BUFFER_INIT(GREETING_MAX);
    buffer_append_text(&text, "CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"probe\"");
    if (probe->target->user[0] != '\0') {
        buffer_append_text(&text, ",\"user\":");
        buffer_append_json_string(&text, probe->target->user, strlen(probe->target->user));
        buffer_append_text(&text, ",\"pass\":");
        buffer_append_json_string(&text, probe->target->password, strlen(probe->target->password));
    }
    buffer_append_text(&text, "}\r\nPING\r\n");
    /* It fits into the empty buffer of a new socket. */
    bool sent = !text.overflowed && send(probe->socket, text.data, text.length, MSG_NOSIGNAL) == (ssize_t)text.length;
    memory_wipe(text.data, text.length);
    buffer_done(&text);
    return sent;
}

/* Reads until there is a whole line that starts with `start`; NULL if that does not come. */
static const char *read_line(struct probe *probe, const char *start)
{
    for (;;) {
        const char *line = buffer_text(&probe->received);
        for (const char *end; (end = strstr(line, "\r\n")) != NULL; line = end + strlen("\r\n")) {
            if (text_starts_with(line, start)) {
                return line;
            }
            if (text_starts_with(line, "-ERR")) {
                return NULL;
            }
        }
        char piece[4096];
        if (!await(probe, POLLIN)) {
            return NULL;
        }
        ssize_t length = recv(probe->socket, piece, sizeof(piece), 0);
        if (length <= 0) {
            return NULL;
        }
        buffer_append(&probe->received, piece, (size_t)length);
        if (probe->received.overflowed) {
            return NULL;
        }
    }
}

/* What the server said instead of a greeting, as far as it did. */
static bool refused(const struct probe *probe, struct error *error)
{
    const char *refusal = strstr(buffer_text(&probe->received), "-ERR ");
    if (!refusal) {
        return fail(probe, error, "what listens there does not answer like NATS within 1 s");
    }
    char words[128];
    text_copy_cut(words, sizeof(words), refusal + strlen("-ERR "));
    words[strcspn(words, "\r\n")] = '\0';
    return fail(probe, error, words);
}

bool bus_nats_probe(const struct bus_target *target, struct error *error)
{
    CLEANUP(probe_done) struct probe probe = {.target = target, .socket = -1, .received = BUFFER_INIT(RECEIVED_MAX)};
    if (!connect_socket(&probe, error)) {
        return false;
    }
    const char *info = read_line(&probe, "INFO ");
    if (!info) {
        return refused(&probe, error);
    }
    if (strstr(info, "\"tls_required\":true")) {
        return fail(&probe, error, "the server requires TLS, which is not supported");
    }
    if (!send_greeting(&probe) || !read_line(&probe, "PONG")) {
        return refused(&probe, error);
    }
    return true;
}
