/* SPDX-License-Identifier: Apache-2.0
 * A running HTTP server with handlers of all kinds, and a client that sends exactly the bytes it is told to. */
#ifndef TURNSTILE_TESTS_CONTRACT_HTTP_FIXTURE_H
#define TURNSTILE_TESTS_CONTRACT_HTTP_FIXTURE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/http/http.h"

enum {
    WAIT_MS = 20000, /* what should happen at once has this long before a test fails */
    HEAD_MAX = 8192,
    LARGE_LENGTH = 6 << 20,    /* bytes of GET /large */
    MEDIUM_LENGTH = 128 << 10, /* bytes of GET /medium */
    THING_VERSION = 3,         /* of every thing */
};

#define THING_ID    "65a1b2c3d4e5f60718293a4b"
#define IDENTITY_ID "0123456789abcdef01234567"

struct fixture {
    struct http_server *server;
    struct http_config config;
    uint16_t port;
    /* GET /gate waits until the gate is open. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_open;
    size_t waiting;         /* at the gate */
    atomic_size_t handled;  /* calls of any handler */
    atomic_size_t observed; /* calls of the observer */
    _Atomic(const struct route *) observed_route;
    atomic_uint observed_status;
};

/* With `state` pointing at a new fixture: a config to be changed, and then a server. */
struct fixture *fixture_new(void);
void fixture_start(struct fixture *fixture);
void fixture_stop(struct fixture *fixture); /* opens the gate; frees */
void fixture_open_gate(struct fixture *fixture);
void fixture_wait_at_gate(struct fixture *fixture, size_t count); /* until so many handlers wait there */

/* Waits until so many requests have been answered. */
void fixture_wait_for_answers(struct fixture *fixture, uint64_t count, struct http_figures *ret_figures);
bool is_refused(const struct fixture *fixture); /* nobody listens any more */

int setup(void **state);    /* a server with the usual configuration */
int teardown(void **state); /* for any fixture */

struct client {
    int fd;
    size_t length; /* of what was received and not yet taken */
    size_t capacity;
    char *received;
};

struct response {
    unsigned status;
    char head[HEAD_MAX]; /* the status line and the headers */
    size_t length;
    char *body; /* NUL-terminated; xfree */
};

struct client client_open(const struct fixture *fixture);
struct client client_open_at(int family, uint16_t port);
void client_connect(struct client *client, int family, uint16_t port); /* a socket that was made before */
void client_close(struct client *client);
void client_send(struct client *client, const char *format, ...) PRINTF_LIKE(2, 3);
/* False if the server has reset the connection. */
bool client_send_bytes(struct client *client, const void *data, size_t length);
/* Reads one answer; false if the connection ends before it is complete. Answers to HEAD have no body. */
bool client_try_read(struct client *client, bool is_to_head, struct response *ret_response) MUST_CHECK;
void client_read(struct client *client, struct response *ret_response);
/* Waits for the end of the connection; fails if anything is received first. */
void client_expect_end(struct client *client);
/* True if nothing arrives within so many milliseconds. */
bool client_is_quiet(struct client *client, int milliseconds);

/* The value of a header, in any case, or NULL; borrowed until the next call of this thread. */
const char *response_header(const struct response *response, const char *name);
void response_done(struct response *response);

/* One request on a connection of its own. */
void ask(const struct fixture *fixture, struct response *ret_response, const char *format, ...) PRINTF_LIKE(3, 4);
/* The same, checking the status, and that errors have their form. */
void expect_status(const struct fixture *fixture, unsigned status, const char *format, ...) PRINTF_LIKE(3, 4);
void assert_error_form(const struct response *response);

#define HOST "Host: localhost\r\n"
#define JSON "Content-Type: application/json\r\n"

#endif
