/* SPDX-License-Identifier: Apache-2.0
 * What the files of the HTTP server share, and nobody else sees. */
#ifndef TURNSTILE_HTTP_INTERNAL_H
#define TURNSTILE_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/base/queue.h"
#include "common/http/http.h"
#include "common/http/proxies.h"
#include "common/http/router.h"
#include "common/http/url.h"

enum {
    TRACE_LENGTH = 32,          /* hex digits of a trace id (W3C Trace Context) */
    REQUEST_ID_LENGTH = 16,     /* hex digits of a request id that is made here */
    REFUSAL_MESSAGE_MAX = 160,  /* bytes, with the NUL */
    RECEIVED_HEADERS_MAX = 100, /* of a request; more is 431 */
    LINGERING_MAX = 64,         /* closed connections whose upload is still being read and dropped */
    MICROSECONDS = 1000,        /* in a millisecond */
    CONNECTION_MEMORY = 32768,  /* bytes for the headers of a request and of its answer */
};

/* What is to be said instead of calling the handler. */
struct refusal {
    unsigned status; /* 0: nothing is refused */
    bool at_once;    /* before the body, and the connection is closed; else after the body has been dropped */
    char *field;     /* owned; may be NULL */
    char message[REFUSAL_MESSAGE_MAX];
};

/* One header as it was received. */
struct received_header {
    const char *name;  /* borrowed from libmicrohttpd until the request is completed, as the value is */
    const char *value; /* without blanks around it */
    char *trimmed;     /* the value, where it is a copy */
};

struct http_request {
    struct http_server *server;
    struct connection *connection;
    struct MHD_Connection *handle;
    char *target; /* as received */
    struct url url;
    const char *method; /* as received; borrowed */
    size_t received_header_count;
    struct received_header received_headers[RECEIVED_HEADERS_MAX];
    bool has_too_many_headers;
    struct router_match match;
    struct refusal refusal;
    bool is_begun;    /* the headers have been looked at */
    bool is_complete; /* the body has been received */
    bool is_answered; /* a response was made */
    bool is_signed_in;
    struct http_identity identity;
    size_t received; /* bytes of the body, with those that were dropped */
    char *body;
    size_t body_capacity;
    void *value;                       /* the decoded body */
    char client_address[ADDRESS_SIZE]; /* "" unless it differs from the connection's */
    char id[HTTP_REQUEST_ID_MAX + 1];
    char trace[TRACE_LENGTH + 1];
    int64_t started_us;
    int64_t queued_us; /* 0: it has not been in the queue */
    size_t header_count;
    struct {
        char *name;
        char *value;
    } headers[HTTP_HEADERS_MAX];
    unsigned status;
    size_t response_length;
    struct MHD_Response *response; /* made, not yet handed to libmicrohttpd */
};

struct http_server {
    struct http_config config;
    struct router *router;
    struct proxies *proxies;
    struct MHD_Daemon *daemon;
    uint16_t port;
    struct queue *queue;
    size_t worker_count; /* that were started */
    pthread_t *workers;
    atomic_bool is_stopping; /* answers carry Connection: close */
    atomic_bool is_given_up; /* the time to stop is over: what is queued is refused */
    atomic_uint_fast64_t answered;
    atomic_size_t active;

    /* Connections, and the thread that watches their deadlines: connection.c. */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* on CLOCK_MONOTONIC: a connection was closed, or is_watch_over */
    struct connection *connections;
    int *expected; /* sockets that libmicrohttpd was given, and has not yet made connections of */
    size_t expected_count;
    bool is_watch_over;
    bool is_watched; /* the thread was started */
    int64_t stopping_us;
    pthread_t watch;
    size_t lingering_count;
    struct lingering {
        int fd;
        int64_t until_us;
    } lingering[LINGERING_MAX];
};

int64_t monotonic_us(void);

/* ---- connection.c: who is connected, and for how long they may take ---- */

void connections_init(struct http_server *server);
bool connections_watch(struct http_server *server, struct error *error) MUST_CHECK; /* starts the thread */
void connections_done(struct http_server *server);                                  /* stops the thread */
void connections_stop(struct http_server *server); /* idle ones are closed from now on */
/* A socket that libmicrohttpd is about to be given: it is waited for as a connection, though nobody knows it yet. */
void connections_expect(struct http_server *server, int fd);
void connections_expect_no_more(struct http_server *server, int fd);
/* Waits until all are closed; false at the deadline. */
bool connections_wait(struct http_server *server, int64_t timeout_ms) MUST_CHECK;

/* For MHD_OPTION_NOTIFY_CONNECTION; `context` is the server. */
void connection_notify(void *context, struct MHD_Connection *handle, void **socket_context,
                       enum MHD_ConnectionNotificationCode code);
const char *connection_address(const struct connection *connection);
bool connection_is_proxy(const struct connection *connection);
void connection_request_begins(struct connection *connection);
/* False: it took too long and has been cut off. */
bool connection_request_received(struct connection *connection) MUST_CHECK;
void connection_answer_begins(struct connection *connection, size_t length);
void connection_answer_ends(struct connection *connection);
/* The answer comes before the upload: what still arrives is read and dropped, so that no reset overtakes the answer. */
void connection_linger(struct connection *connection);
bool connection_is_cut(const struct connection *connection);

/* ---- receive.c: from the first line to a complete request; the callbacks of libmicrohttpd ---- */

void *receive_target(void *context, const char *target, struct MHD_Connection *handle);
enum MHD_Result receive(void *context, struct MHD_Connection *handle, const char *url, const char *method,
                        const char *version, const char *data, size_t *data_length, void **request_context);
void receive_completed(void *context, struct MHD_Connection *handle, void **request_context,
                       enum MHD_RequestTerminationCode code);

/* ---- check.c: what can be refused before the body is read ---- */

void check_request(struct http_request *request);
void refuse(struct http_request *request, unsigned status, const char *field, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* ---- worker.c ---- */

bool workers_start(struct http_server *server, struct error *error) MUST_CHECK;
void workers_stop(struct http_server *server); /* closes the queue and waits for the handlers that run */
/* Parses the body, calls the handler and hands over the answer. */
enum MHD_Result request_run(struct http_request *request);
enum MHD_Result request_enqueue(struct http_request *request);

/* ---- headers.c ---- */

void headers_collect(struct http_request *request);
void headers_done(struct http_request *request);
size_t headers_count(const struct http_request *request, const char *name);
/* All values of a header, joined; NULL if absent. Caller frees with xfree. */
char *headers_join(const struct http_request *request, const char *name, const char *separator);

/* ---- respond.c ---- */

void respond_refusal(struct http_request *request);
/* Hands the answer to libmicrohttpd, and counts and logs it. */
enum MHD_Result respond_deliver(struct http_request *request);
void respond_discard(struct http_request *request);

#endif
