/* SPDX-License-Identifier: Apache-2.0
 * Connections and their deadlines.
 *
 * DESIGN
 * libmicrohttpd knows one timeout, of inactivity: a client that sends a byte now and then would keep its connection
 * for ever. So every connection has a phase and a deadline here, both in one atomic word that the I/O threads and the
 * workers set, and one thread, the watch, compares with the clock a few times a second:
 *
 *   idle       nothing of the next request has arrived; ends with the idle timeout and shutdown.
 *   receiving  from a request's first byte to its last; ends with 408 and shutdown.
 *   handling   queued or in its handler: no deadline, it is never cut.
 *   sending    the answer; has the request timeout and a second for each SEND_RATE_MIN bytes; ends with a reset.
 *   cut        the watch has ended it; the callbacks refuse to go on, so that no request is carried out and then not
 *              answered.
 *
 * There is no callback for a request's first byte, only for its complete first line. Therefore the watch asks the
 * kernel how many bytes an idle connection has received (TCP_INFO); when the count moves, the phase becomes receiving.
 * The deadline can so be late by two rounds of the watch, never early. Bytes that were there before the watch first
 * looked at this idle phase do not count; if nothing follows them, the idle timeout applies.
 *
 * A phase that has a deadline is changed by compare-and-set on both sides: either the request moved on, or it was cut,
 * never both. While receiving, all earlier answers have left and libmicrohttpd writes nothing (but 100 Continue, at
 * its start), hence the watch may write the 408 into the socket itself. The list's lock is held around that, and is
 * taken before libmicrohttpd closes a socket: the descriptor cannot have been given to another connection.
 *
 * Stopping: those that are idle STOP_GRACE_MS later are closed; all others leave by Connection: close. What was
 * accepted by us and given to libmicrohttpd becomes a connection some time later, on an I/O thread: it is expected
 * until then.
 *
 * When a request is refused while its body is still under way, closing the socket would reset the connection, and the
 * reset may destroy the answer before the client has read it. A duplicate of the descriptor keeps the socket open while
 * the watch reads and drops what comes, for LINGER_MS at most. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/http/internal.h"
#include "common/http/metrics.h"

enum phase { PHASE_IDLE, PHASE_RECEIVING, PHASE_HANDLING, PHASE_SENDING, PHASE_CUT };

enum {
    PHASE_BITS = 3,
    ROUND_MIN_MS = 5,
    ROUND_MAX_MS = 250,
    ROUNDS_PER_TIMEOUT = 10,
    SEND_RATE_MIN = 65536, /* bytes a second that a client has to take */
    STOP_GRACE_MS = 200,
    LINGER_MS = 2000,
    LINGER_ROUND_MS = 20,
    LINGER_READ_SIZE = 16384,
    LINGER_READS_MAX = 32, /* in one round, for other connections' sake */
    TIMEOUT_ANSWER_SIZE = 512,
};

struct connection {
    struct http_server *server;
    struct connection *previous, *next;
    int fd;
    bool is_proxy; /* its X-Forwarded-For is believed */
    bool lingers;
    char address[ADDRESS_SIZE];
    atomic_int_fast64_t phase; /* deadline in microseconds << PHASE_BITS | enum phase */
    /* The watch's: how many bytes had been received in this idle phase when it first looked. */
    int64_t seen_phase;
    uint64_t seen_bytes;
};

static const char timeout_head[] = "HTTP/1.1 408 Request Timeout\r\n"
                                   "Connection: close\r\n"
                                   "Content-Type: application/json\r\n"
                                   "X-Content-Type-Options: nosniff\r\n";
static const char timeout_body[] = "{\"errors\":[{\"message\":\"the request took too long to arrive\"}]}";

int64_t monotonic_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t pack(enum phase phase, int64_t deadline_us)
{
    return deadline_us << PHASE_BITS | (int64_t)phase;
}

static enum phase phase_of(int64_t packed)
{
    return (enum phase)(packed & ((1 << PHASE_BITS) - 1));
}

static int64_t deadline_of(int64_t packed)
{
    return packed >> PHASE_BITS;
}

/* ---- called by I/O threads and workers ---- */

/* False: it has been cut. */
static bool set_phase(struct connection *connection, enum phase phase, int64_t timeout_us)
{
    int64_t next = pack(phase, timeout_us > 0 ? monotonic_us() + timeout_us : 0);
    int_fast64_t packed = atomic_load(&connection->phase);
    do {
        if (phase_of(packed) == PHASE_CUT) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&connection->phase, &packed, next));
    return true;
}

void connection_request_begins(struct connection *connection)
{
    int64_t timeout_us = connection->server->config.request_timeout_ms * MICROSECONDS;
    int_fast64_t packed = atomic_load(&connection->phase);
    /* If the watch has seen the first byte, its deadline stands. */
    while (phase_of(packed) == PHASE_IDLE &&
           !atomic_compare_exchange_weak(&connection->phase, &packed,
                                         pack(PHASE_RECEIVING, monotonic_us() + timeout_us))) {
    }
}

bool connection_request_received(struct connection *connection)
{
    return set_phase(connection, PHASE_HANDLING, 0);
}

void connection_answer_begins(struct connection *connection, size_t length)
{
    int64_t transfer_ms = (int64_t)(length / SEND_RATE_MIN) * 1000;
    int64_t timeout_ms = connection->server->config.request_timeout_ms + transfer_ms;
    (void)set_phase(connection, PHASE_SENDING, timeout_ms * MICROSECONDS);
}

void connection_answer_ends(struct connection *connection)
{
    (void)set_phase(connection, PHASE_IDLE, connection->server->config.idle_timeout_ms * MICROSECONDS);
}

void connection_linger(struct connection *connection)
{
    connection->lingers = true;
}

bool connection_is_cut(const struct connection *connection)
{
    return phase_of(atomic_load(&connection->phase)) == PHASE_CUT;
}

const char *connection_address(const struct connection *connection)
{
    return connection->address;
}

bool connection_is_proxy(const struct connection *connection)
{
    return connection->is_proxy;
}

/* With the lock held. */
static void stop_expecting(struct http_server *server, int fd)
{
    for (size_t i = 0; i < server->expected_count; i++) {
        if (server->expected[i] == fd) {
            server->expected[i] = server->expected[--server->expected_count];
            return;
        }
    }
}

static void connection_open(struct http_server *server, struct MHD_Connection *handle, void **socket_context)
{
    struct connection *connection = xcalloc(1, sizeof *connection);
    connection->server = server;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD);
    connection->fd = info->connect_fd;
    info = MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    address_print(info->client_addr, connection->address);
    connection->is_proxy = proxies_trust(server->proxies, connection->address);
    int64_t packed = pack(PHASE_IDLE, monotonic_us() + server->config.idle_timeout_ms * MICROSECONDS);
    atomic_init(&connection->phase, packed);
    connection->seen_phase = packed; /* with no bytes: what is there by the first round counts */
    pthread_mutex_lock(&server->lock);
    stop_expecting(server, connection->fd);
    connection->next = server->connections;
    if (connection->next != NULL) {
        connection->next->previous = connection;
    }
    server->connections = connection;
    pthread_mutex_unlock(&server->lock);
    *socket_context = connection;
    http_metrics_connected();
}

/* With the lock held. */
static void keep_lingering(struct http_server *server, int fd)
{
    if (server->lingering_count == LINGERING_MAX) {
        return;
    }
    int duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (duplicate >= 0) {
        server->lingering[server->lingering_count].fd = duplicate;
        server->lingering[server->lingering_count].until_us = monotonic_us() + LINGER_MS * MICROSECONDS;
        server->lingering_count++;
        pthread_cond_broadcast(&server->changed);
    }
}

static void connection_close(struct http_server *server, struct connection *connection)
{
    pthread_mutex_lock(&server->lock);
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        server->connections = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    if (connection->lingers) {
        keep_lingering(server, connection->fd);
    }
    if (server->connections == NULL) {
        pthread_cond_broadcast(&server->changed);
    }
    pthread_mutex_unlock(&server->lock);
    xfree(connection);
    http_metrics_disconnected();
}

void connection_notify(void *context, struct MHD_Connection *handle, void **socket_context,
                       enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_open(context, handle, socket_context);
    } else {
        connection_close(context, *socket_context);
        *socket_context = NULL;
    }
}

/* ---- the watch ---- */

static bool read_byte_count(int fd, uint64_t *ret_count)
{
    struct tcp_info info;
    memset(&info, 0, sizeof info);
    socklen_t length = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) {
        return false;
    }
    *ret_count = info.tcpi_bytes_received;
    return true;
}

static void look_for_first_byte(struct connection *connection, int_fast64_t packed, int64_t now_us)
{
    uint64_t count = 0;
    if (!read_byte_count(connection->fd, &count)) {
        return;
    }
    if (connection->seen_phase != packed) {
        connection->seen_phase = packed;
        connection->seen_bytes = count;
    } else if (count != connection->seen_bytes) {
        int64_t timeout_us = connection->server->config.request_timeout_ms * MICROSECONDS;
        atomic_compare_exchange_strong(&connection->phase, &packed, pack(PHASE_RECEIVING, now_us + timeout_us));
    }
}

/* A request that is in the socket, but has not been read yet, is not to be lost. */
static bool has_unread_bytes(const struct connection *connection)
{
    int count = 0;
    return ioctl(connection->fd, FIONREAD, &count) == 0 && count > 0;
}

static void answer_timeout(const struct connection *connection)
{
    char answer[TIMEOUT_ANSWER_SIZE];
    int length = snprintf(answer, sizeof answer, "%sContent-Length: %zu\r\n\r\n%s", timeout_head,
                          sizeof timeout_body - 1, timeout_body);
    assert(length > 0 && (size_t)length < sizeof answer);
    /* The socket's send buffer is empty: it takes all of this, or the connection has failed. */
    if (send(connection->fd, answer, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL) == length) {
        log_info("408: a request of %s took too long to arrive", connection->address);
    }
}

static void cut(struct connection *connection, int_fast64_t packed)
{
    if (!atomic_compare_exchange_strong(&connection->phase, &packed, pack(PHASE_CUT, 0))) {
        return;
    }
    if (phase_of(packed) == PHASE_RECEIVING) {
        answer_timeout(connection);
    } else if (phase_of(packed) == PHASE_SENDING) {
        /* What the client does not take is not kept for it: closing resets the connection. */
        struct linger none = {.l_onoff = 1, .l_linger = 0};
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    shutdown(connection->fd, SHUT_RDWR);
}

static void look_at(struct connection *connection, int64_t now_us, bool must_leave)
{
    int_fast64_t packed = atomic_load(&connection->phase);
    bool is_over = deadline_of(packed) <= now_us;
    switch (phase_of(packed)) {
    case PHASE_IDLE:
        look_for_first_byte(connection, packed, now_us);
        if ((is_over || must_leave) && !has_unread_bytes(connection)) {
            cut(connection, packed);
        }
        break;
    case PHASE_RECEIVING:
    case PHASE_SENDING:
        if (is_over) {
            cut(connection, packed);
        }
        break;
    case PHASE_HANDLING:
    case PHASE_CUT:
        break;
    }
}

/* True: the client is done, or it takes too long. */
static bool drop_upload(const struct lingering *lingering, int64_t now_us)
{
    char dropped[LINGER_READ_SIZE];
    ssize_t count = 0;
    for (size_t i = 0; i < LINGER_READS_MAX; i++) {
        count = recv(lingering->fd, dropped, sizeof dropped, MSG_DONTWAIT);
        if (count <= 0) {
            break;
        }
    }
    bool is_done = count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
    return is_done || now_us >= lingering->until_us;
}

static void look_at_lingering(struct http_server *server, int64_t now_us)
{
    for (size_t i = server->lingering_count; i-- > 0;) {
        if (drop_upload(&server->lingering[i], now_us)) {
            close(server->lingering[i].fd);
            server->lingering[i] = server->lingering[--server->lingering_count];
        }
    }
}

static int64_t round_ms(const struct http_server *server)
{
    const struct http_config *config = &server->config;
    int64_t shorter =
        config->request_timeout_ms < config->idle_timeout_ms ? config->request_timeout_ms : config->idle_timeout_ms;
    int64_t round = shorter / ROUNDS_PER_TIMEOUT;
    round = round < ROUND_MIN_MS ? ROUND_MIN_MS : round > ROUND_MAX_MS ? ROUND_MAX_MS : round;
    return server->lingering_count > 0 && round > LINGER_ROUND_MS ? LINGER_ROUND_MS : round;
}

static void *watch(void *context)
{
    struct http_server *server = context;
    pthread_mutex_lock(&server->lock);
    while (!server->is_watch_over) {
        struct timespec deadline = clock_deadline(round_ms(server));
        pthread_cond_timedwait(&server->changed, &server->lock, &deadline);
        int64_t now_us = monotonic_us();
        bool must_leave = server->stopping_us != 0 && now_us - server->stopping_us >= STOP_GRACE_MS * MICROSECONDS;
        for (struct connection *connection = server->connections; connection != NULL; connection = connection->next) {
            look_at(connection, now_us, must_leave);
        }
        look_at_lingering(server, now_us);
    }
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

void connections_init(struct http_server *server)
{
    pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&server->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool connections_watch(struct http_server *server, struct error *error)
{
    int result = pthread_create(&server->watch, NULL, watch, server);
    if (result != 0) {
        return error_set(error, ERROR_UNAVAILABLE, "starting a thread: %s", strerror(result));
    }
    server->is_watched = true;
    return true;
}

void connections_stop(struct http_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->stopping_us = monotonic_us();
    pthread_mutex_unlock(&server->lock);
}

void connections_expect(struct http_server *server, int fd)
{
    pthread_mutex_lock(&server->lock);
    server->expected = xreallocarray(server->expected, server->expected_count + 1, sizeof *server->expected);
    server->expected[server->expected_count++] = fd;
    pthread_mutex_unlock(&server->lock);
}

void connections_expect_no_more(struct http_server *server, int fd)
{
    pthread_mutex_lock(&server->lock);
    stop_expecting(server, fd);
    pthread_mutex_unlock(&server->lock);
}

bool connections_wait(struct http_server *server, int64_t timeout_ms)
{
    struct timespec deadline = clock_deadline(timeout_ms);
    pthread_mutex_lock(&server->lock);
    int result = 0;
    while ((server->connections != NULL || server->expected_count > 0) && result != ETIMEDOUT) {
        result = pthread_cond_timedwait(&server->changed, &server->lock, &deadline);
    }
    bool is_empty = server->connections == NULL && server->expected_count == 0;
    pthread_mutex_unlock(&server->lock);
    return is_empty;
}

void connections_done(struct http_server *server)
{
    if (server->is_watched) {
        pthread_mutex_lock(&server->lock);
        server->is_watch_over = true;
        pthread_cond_broadcast(&server->changed);
        pthread_mutex_unlock(&server->lock);
        pthread_join(server->watch, NULL);
    }
    for (size_t i = 0; i < server->lingering_count; i++) {
        close(server->lingering[i].fd);
    }
    assert(server->connections == NULL);
    xfree(server->expected);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
}
