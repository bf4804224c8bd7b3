/* SPDX-License-Identifier: Apache-2.0
 * Connections to JetStream are closed while answers still come: late ones, of a server that was busy, say.
 *
 * libnats 3.4.1 reads a message for a subscription in three steps: it finds the subscription, makes the message, and
 * locks the subscription, which must not have been freed meanwhile. Here the step between takes its time. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/contract/bus_fixture.h"

enum {
    ROUNDS = 10,
    MAKING_US = 3000,     /* how long it takes to make a message */
    LATE_EVERY_MS = 4,    /* longer, or the connection would never have read it all */
    SLOWED_MIN = 3,       /* late answers, before the connection is closed in the midst of them */
    RECEIVED_TEXT = 8192, /* bytes: the server's greeting, or a request */
    INBOX_MAX = 128,
};

/* ---- libnats, slowed down ---- */

static const char late_answer[] = "late";
static atomic_bool is_slow;
static atomic_uint slowed; /* late answers, for which libnats has found the subscription */

static bool is_late_answer(const char *data, int length)
{
    return length == (int)strlen(late_answer) && memcmp(data, late_answer, strlen(late_answer)) == 0;
}

/* libnats' own, which it finds here first. */
int natsMsg_create(void **ret_message, const char *subject, int subject_length, const char *reply, int reply_length,
                   const char *data, int length, int header_length);

int natsMsg_create(void **ret_message, const char *subject, int subject_length, const char *reply, int reply_length,
                   const char *data, int length, int header_length)
{
    int (*create)(void **, const char *, int, const char *, int, const char *, int, int);
    *(void **)&create = dlsym(RTLD_NEXT, "natsMsg_create");
    if (atomic_load(&is_slow)) {
        atomic_fetch_add(&slowed, is_late_answer(data, length) ? 1 : 0);
        usleep(MAKING_US);
    }
    return create(ret_message, subject, subject_length, reply, reply_length, data, length, header_length);
}

/* ---- somebody who answers late ---- */

struct latecomer {
    pthread_t thread;
    int descriptor;
    atomic_bool ending;
    char received[RECEIVED_TEXT]; /* and not looked at yet */
    size_t received_length;
    char inbox[INBOX_MAX]; /* where the answers to the newest request go, up to its last dot; empty: none was seen */
};

static void look_at_line(struct latecomer *latecomer, const char *line)
{
    char inbox[INBOX_MAX];
    char *dot = sscanf(line, "MSG $JS.API.STREAM.INFO%*s %*s %127s", inbox) == 1 ? strrchr(inbox, '.') : NULL;
    if (dot) {
        *dot = '\0';
        memcpy(latecomer->inbox, inbox, sizeof(inbox));
    }
}

/* The newest counts: a connection that did not come about has asked, too. */
static void see_requests(struct latecomer *latecomer)
{
    char *text = latecomer->received;
    ssize_t length = recv(latecomer->descriptor, text + latecomer->received_length,
                          sizeof(latecomer->received) - 1 - latecomer->received_length, MSG_DONTWAIT);
    latecomer->received_length += length > 0 ? (size_t)length : 0;
    text[latecomer->received_length] = '\0';
    for (char *end; (end = strstr(text, "\r\n")) != NULL;) {
        *end = '\0';
        look_at_line(latecomer, text);
        latecomer->received_length -= (size_t)(end + 2 - text);
        memmove(text, end + 2, latecomer->received_length + 1);
    }
}

static void *answer_late(void *argument)
{
    struct latecomer *latecomer = argument;
    bool is_connected = true;
    while (is_connected && !atomic_load(&latecomer->ending)) {
        see_requests(latecomer);
        if (latecomer->inbox[0] != '\0') {
            is_connected = dprintf(latecomer->descriptor, "PUB %s.0 %zu\r\n%s\r\n", latecomer->inbox,
                                   strlen(late_answer), late_answer) > 0;
        }
        poll(NULL, 0, LATE_EVERY_MS);
    }
    return NULL;
}

static void latecomer_begin(struct latecomer *latecomer, const struct bus_server *server)
{
    static const char greeting[] = "CONNECT {\"verbose\":false,\"headers\":false}\r\nSUB $JS.API.> 1\r\nPING\r\n";
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)bus_server_port(server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = WAIT_MS / 1000};
    char piece[RECEIVED_TEXT] = "";
    latecomer->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(latecomer->descriptor >= 0);
    assert_int_equal(setsockopt(latecomer->descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(latecomer->descriptor, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(write(latecomer->descriptor, greeting, strlen(greeting)), strlen(greeting));
    while (!strstr(piece, "PONG")) { /* then the server knows of it */
        ssize_t length = recv(latecomer->descriptor, piece, sizeof(piece) - 1, 0);
        assert_true(length > 0);
        piece[length] = '\0';
    }
    assert_int_equal(pthread_create(&latecomer->thread, NULL, answer_late, latecomer), 0);
}

static void latecomer_end(struct latecomer *latecomer)
{
    atomic_store(&latecomer->ending, true);
    pthread_join(latecomer->thread, NULL);
    close(latecomer->descriptor);
    assert_string_not_equal(latecomer->inbox, "");
}

static bool are_late_ones_slowed(void *context UNUSED)
{
    return atomic_load(&slowed) >= SLOWED_MIN;
}

/* ---- the test ---- */

static void answers_that_come_while_a_connection_is_closed_do_no_harm(void **state UNUSED)
{
    struct bus_server *server = bus_server_new_of("jetstream", BUS_SERVER_FILE, NULL, NULL);
    bus_server_start(server);
    for (size_t i = 0; i < ROUNDS; i++) {
        struct latecomer latecomer = {.descriptor = -1};
        latecomer_begin(&latecomer, server);
        struct bus *bus = open_bus_and_wait(bus_server_uri(server), "closing");
        atomic_store(&slowed, 0);
        atomic_store(&is_slow, true);
        bool is_slowed = eventually(are_late_ones_slowed, NULL, WAIT_MS);
        bus_close(&bus, CLOSE_MS);
        atomic_store(&is_slow, false);
        latecomer_end(&latecomer);
        assert_true(is_slowed); /* else libnats has changed, and this shows nothing */
    }
    bus_server_free(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_that_come_while_a_connection_is_closed_do_no_harm),
    };
    return cmocka_run_group_tests(tests, block_signals, NULL);
}
