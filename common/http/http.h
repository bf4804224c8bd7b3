/* SPDX-License-Identifier: Apache-2.0
 * The HTTP server (RFC 9110, 9112): a table of routes, handlers that may block, and answers in one format.
 *
 * Two threads poll connections; a request that needs its handler is suspended and put into a bounded queue, from
 * which workers take it. When the queue is full the answer is 503 with Retry-After, at once; the same is said to what
 * has waited there too long, since whoever asked may have given up. Errors look like
 * {"errors":[{"message":"…","field":"…"}]}. */
#ifndef TURNSTILE_HTTP_HTTP_H
#define TURNSTILE_HTTP_HTTP_H

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/schema/schema.h"

enum {
    HTTP_BODY_MAX = 65536,           /* bytes of a request's body: more is 413 */
    HTTP_BODY_DISCARD_MAX = 1 << 20, /* bytes of a chunked body that are read and dropped to be able to say 413 */
    HTTP_RESPONSE_MAX = 8 << 20,     /* bytes of an answer's body */
    HTTP_PARAMETERS_MAX = 4,         /* ":name" parts of a path */
    HTTP_HEADERS_MAX = 12,           /* headers that a handler can set */
    HTTP_REQUEST_ID_MAX = 64,        /* characters of X-Request-Id that are taken over; [A-Za-z0-9._-]+ */
};

struct http_request;
struct http_server;

/* Who makes the request. */
struct http_identity {
    struct id id;
    char email[EMAIL_MAX + 1];
};

enum access {
    ACCESS_PUBLIC,   /* the token is not looked at */
    ACCESS_OPTIONAL, /* http_identity is NULL if nobody is signed in */
    ACCESS_REQUIRED, /* 401 if nobody is signed in */
};

/* Answers with exactly one of the http_respond functions before it returns. `context` is that of the server. Runs on a
 * worker, whose stack has 512 KiB, or on an I/O thread. The log context is the request's id and its trace: the trace
 * id of the W3C header traceparent, or a new one (32 hex digits). */
typedef void http_handler(struct http_request *request, void *context);

/* One row per method and path. HEAD is answered as GET without the body; OPTIONS and 405 with Allow come from the
 * table. A path is matched segment by segment; fixed ones win over parameters ("/api/tickets/mine" over ":id"). */
struct route {
    const char *method; /* GET, POST, PUT, DELETE; NULL ends the table */
    const char *path;   /* "/api/tickets/:id" */
    enum access access;
    const struct table *body; /* what the JSON body must be (IN_REQUEST), NULL: no body is read */
    bool on_io_thread;        /* needs no store and does not block: no queue, no worker */
    bool is_probe;            /* asked all the time: what goes well is not logged but for debugging */
    http_handler *handler;
};

/* Verifies a session cookie's value or a bearer token (either may be NULL; the bearer token wins). False: nobody is
 * signed in. Called on I/O threads: must not block. */
typedef bool http_authenticate(const char *bearer, const char *cookie, struct http_identity *ret_identity,
                               void *context);

/* Told of each answer, on the thread that gave it; must not block. `route` is NULL if no route was found. */
typedef void http_observer(const struct route *route, unsigned status, int64_t microseconds, void *context);

struct http_config {
    const char *address;   /* "127.0.0.1", "0.0.0.0", "::" */
    uint16_t port;         /* 0: a free one */
    size_t workers;        /* threads that run handlers, 1 to 256 */
    size_t queue_limit;    /* requests that wait for a worker */
    int64_t queue_wait_ms; /* what has waited longer is not carried out: 503; 0: however long */
    size_t connection_limit;
    int64_t request_timeout_ms; /* from the first byte of a request to its last: 408 or a closed connection */
    int64_t idle_timeout_ms;    /* of a connection between requests */
    const char
        *trusted_proxies; /* addresses and CIDR blocks, comma-separated, whose X-Forwarded-For is believed; "" none */
    const struct route *routes; /* borrowed */
    http_authenticate *authenticate;
    void *authenticate_context;
    const char *session_cookie; /* name of the cookie handed to authenticate; borrowed */
    http_observer *observer;    /* NULL: nobody */
    bool no_store;              /* answers carry Cache-Control: no-store unless the handler set another */
    void *context;              /* given to handlers and the observer */
};

/* Checks routes and addresses (ERROR_INVALID), binds and starts. A port that is taken: ERROR_CONFLICT, naming it.
 * SIGPIPE is not raised: sockets are written with MSG_NOSIGNAL. */
bool http_start(const struct http_config *config, struct http_server **ret_server, struct error *error) MUST_CHECK;
uint16_t http_port(const struct http_server *server);
/* True if the text is a list that `trusted_proxies` accepts. */
bool http_proxies_valid(const char *text);

/* Stops accepting, answers what was accepted (with Connection: close), waits up to `timeout_ms` for it, then stops all
 * threads and frees. No request that was read is cut before the timeout. A handler that still runs then is waited for,
 * however long it takes, since it uses what the caller is about to free; what is queued then is answered with 503. */
void http_stop(struct http_server **server, int64_t timeout_ms);

/* Figures for /metrics and tests. */
struct http_figures {
    uint64_t requests; /* answered */
    size_t queue_length;
    size_t active; /* requests being handled or queued */
};
void http_figures(struct http_server *server, struct http_figures *ret_figures);

/* ---- reading a request; everything is borrowed until the handler returns ---- */

const char *http_method(const struct http_request *request); /* of the route: "GET" for HEAD */
const char *http_path(const struct http_request *request);
/* The value of ":name" in the path, decoded; never NULL for a name of the route. */
const char *http_parameter(const struct http_request *request, const char *name);
/* The same as an id. False: it is not 24 hex digits; 404 has been answered, return at once. */
bool http_parameter_id(struct http_request *request, const char *name, struct id *ret_id) MUST_CHECK;
/* A query parameter, decoded; NULL if it is absent. One that is there twice, or is broken, was refused with 400 before
 * the handler ran. */
const char *http_query(const struct http_request *request, const char *name);
/* NULL if absent. `name` in any case. */
const char *http_header(const struct http_request *request, const char *name);
/* The decoded body: the struct of the route's table. */
const void *http_body(const struct http_request *request);
/* The body as it was received. */
const char *http_body_text(const struct http_request *request, size_t *ret_length);
const struct http_identity *http_identity(const struct http_request *request); /* NULL: nobody is signed in */
/* The client's address as text: of the connection, or by X-Forwarded-For from a trusted proxy (the last address that is
 * not a trusted proxy). */
const char *http_client_address(const struct http_request *request);
/* X-Request-Id of the request if it is well-formed, else a new one. Also in the answer's header and the log context. */
const char *http_request_id(const struct http_request *request);

/* ---- answering ---- */

/* Adds a header to the answer; call before responding. Values with control characters are a bug and are asserted. */
void http_set_header(struct http_request *request, const char *name, const char *value);

/* application/json; takes the buffer's content (leaves it empty). An overflowed buffer is answered as 500. */
void http_respond_json(struct http_request *request, unsigned status, struct buffer *body);
/* A literal text of JSON. */
void http_respond_text(struct http_request *request, unsigned status, const char *json);
/* Text of another type, e.g. "text/plain; version=0.0.4"; takes the buffer's content. */
void http_respond_content(struct http_request *request, unsigned status, const char *content_type, struct buffer *body);
/* No body: 204, 304. */
void http_respond_empty(struct http_request *request, unsigned status);

/* One error; `field` may be NULL. 503 and 429 get Retry-After: 1 unless one was set; 401 gets WWW-Authenticate: Bearer.
 */
void http_respond_error(struct http_request *request, unsigned status, const char *field, const char *format, ...)
    PRINTF_LIKE(4, 5);
void http_respond_errors(struct http_request *request, unsigned status, const struct field_errors *errors);
/* By the error's code: invalid 400, unauthorized 401, forbidden 403, not_found 404, conflict 409, gap and unavailable
 * 503, internal 500. The messages of the last three are logged with the request id and replaced by general ones. */
void http_respond_failure(struct http_request *request, const struct error *error);

/* A record as its table says for IN_RESPONSE, with ETag: "<version>". On GET an If-Match that does not list the version
 * is answered 412, and else an If-None-Match that does (or *) 304. */
void http_respond_record(struct http_request *request, unsigned status, const struct table *table,
                         const struct record *head, const void *value);

/* If-Match and If-None-Match of a request that changes a record (RFC 9110 section 13.1), whose version is now
 * `version`; 0: there is no such record. */
enum http_precondition {
    HTTP_PRECONDITION_NONE, /* the request has neither */
    HTTP_PRECONDITION_HOLDS,
    HTTP_PRECONDITION_FAILED, /* answer 412; so are malformed ones, and weak tags in If-Match */
};
enum http_precondition http_precondition(const struct http_request *request, uint64_t version);

#endif
