/* SPDX-License-Identifier: Apache-2.0
 * What the files of the JetStream driver share.
 *
 * DESIGN
 * All subjects are in one stream; each subscription has a consumer of its own in it, which pushes to a subject that the
 * members of its group share. Of libnats only plain NATS is used: JetStream's interface are requests and JSON answers,
 * acknowledgements are messages, and what libnats puts around them would be in the way: its subscriptions delete
 * consumers that others still use, its acknowledgements need a subscription that lives, its publishing blocks at a
 * limit of its own, and its structures drop the settings that are newer than they are when a configuration is sent
 * back. Nor are its requests used; request.c says why. */
#ifndef TURNSTILE_BUS_JETSTREAM_JETSTREAM_H
#define TURNSTILE_BUS_JETSTREAM_JETSTREAM_H

#include "common/base/clock.h"
#include "common/bus/jetstream/json.h"
#include "common/bus/nats/plain.h"

enum {
    JETSTREAM_REQUEST_MS = 3000, /* for an answer that has to be there before things can go on */
    JETSTREAM_LOOK_MS = 500,     /* for one that may as well be asked for again later */
    JETSTREAM_NAME_MAX = 256,    /* bytes of a consumer's name, with the NUL */
    JETSTREAM_INBOX_MAX = 64,    /* bytes of an inbox, with the NUL; libnats' are half as long */
};

/* The server's own numbers of what went wrong. */
enum {
    JETSTREAM_CONSUMER_NOT_FOUND = 10014,
    JETSTREAM_NO_MESSAGE = 10037,
    JETSTREAM_STREAM_NAME_IN_USE = 10058,
    JETSTREAM_STREAM_NOT_FOUND = 10059,
};

struct jetstream_outgoing;

/* The one request that waits for its answer; see request.c. */
struct jetstream_asking {
    char inbox[JETSTREAM_INBOX_MAX];
    natsSubscription *subscription;
    uint64_t last_number; /* the link's thread's */
    /* Under the mutex of request.c. */
    uint64_t awaited; /* the number of the request, 0: none */
    natsMsg *answer;
    bool is_broken; /* there will be none: the connection is closed */
};

/* One connection; used by the link's thread only, but for `link`. */
struct jetstream_connection {
    struct bus_link *link; /* a reference */
    const struct bus_target *target;
    const char *stream;
    void *handle; /* for the connection's own callbacks, and what asks */
    natsConnection *nats;
    struct jetstream_asking asking;

    char *stream_text;    /* what the server said of the stream; NULL: there is none, as far as is known */
    struct json subjects; /* those of the stream, in stream_text */
    uint64_t first_sequence, last_sequence;
    char created[CLOCK_TEXT_SIZE + 8]; /* when the stream was made, as the server says it; "": not seen yet */
    uint64_t replicas;                 /* that it has, or will have when it is made */
    bool is_before_2_10;               /* the server's version, as far as its answer tells */
    int64_t look_at;                   /* monotonic ms; the stream is not looked at again before */
    int64_t ensure_at;                 /* the same for adding a subject, after that failed with `ensure_error` */
    struct error ensure_error;
    struct jetstream_outgoing *outgoing;
    natsSubscription *confirmations;

    /* Never freed before the connection is closed: libnats' reading thread may still use them. */
    struct jetstream_subscription {
        void *handle;
        natsSubscription *subscription;
        char consumer[JETSTREAM_NAME_MAX];
    } subscriptions[BUS_SUBSCRIPTIONS_MAX];
    struct bus_nats_signals signals;
    size_t checked_next; /* the subscription whose consumer is looked for next */
    int64_t check_at;    /* monotonic ms */
};

/* request.c */
/* Puts into words why `status` came back from `what`, which is "cannot publish" or the like; false. ERROR_UNAVAILABLE
 * if the connection is no good any more, ERROR_NOT_FOUND if nobody is there to be asked, else ERROR_CONFLICT. */
bool jetstream_fail(struct error *error, natsStatus status, const char *what);
/* Makes up a subject that nobody else has. */
bool jetstream_new_inbox(char ret_inbox[static JETSTREAM_INBOX_MAX], struct error *error) MUST_CHECK;
/* Before the first request, on a connection that is open; and before it is closed: ends its handle. */
bool jetstream_request_begin(struct jetstream_connection *connection, struct error *error) MUST_CHECK;
void jetstream_request_end(struct jetstream_connection *connection);
/* For the connection's callback: nothing will be answered any more. */
void jetstream_request_broken(const void *handle);
/* Asks JetStream, "STREAM.INFO.turnstile" or the like. Caller frees *ret_text with xfree; *ret_answer is a piece of it.
 * False: no answer, or a refusal, whose number is in *ret_code (else 0), which may be NULL. Errors as above. */
bool jetstream_request(struct jetstream_connection *connection, int64_t timeout_ms, const char *what, const char *body,
                       char **ret_text, struct json *ret_answer, uint64_t *ret_code, struct error *error) MUST_CHECK;

/* Stores a message, and waits until that is confirmed. Errors as above. */
bool jetstream_store(struct jetstream_connection *connection, const char *subject, const char *text,
                     uint64_t *ret_sequence, struct error *error) MUST_CHECK;

/* lock.c */
/* Waits, for some seconds at most, until nobody else changes the stream. *ret_ticket is for giving it back. */
bool jetstream_lock(struct jetstream_connection *connection, uint64_t *ret_ticket, struct error *error) MUST_CHECK;
void jetstream_unlock(struct jetstream_connection *connection, uint64_t ticket);

/* connect.c */
bool jetstream_connect(struct bus_link *link, const struct bus_target *target, void **ret_connection,
                       struct error *error);
void jetstream_disconnect(void *connection);

/* stream.c */
/* Reads what the server says of the stream, or that there is none. Where it is not the one that was there before, what
 * was in that is lost, and with it the connection (ERROR_UNAVAILABLE): a new one looks how far it is. */
bool jetstream_read_stream(struct jetstream_connection *connection, int64_t timeout_ms, struct error *error) MUST_CHECK;
/* Sees to it that the stream is there, if any subjects are known, and has those. */
bool jetstream_prepare_stream(struct jetstream_connection *connection, struct error *error) MUST_CHECK;
/* Sees to it that the stream is there and has this subject. */
bool jetstream_ensure_subject(struct jetstream_connection *connection, const char *subject,
                              struct error *error) MUST_CHECK;
bool jetstream_find_positions(void *connection, struct bus_position *positions, size_t count, struct error *error);

/* ahead.c */
/* Deletes consumers that have seen more than the stream has. */
bool jetstream_forget_ahead(struct jetstream_connection *connection, struct error *error) MUST_CHECK;

/* consumer.c */
/* Sees to it that the consumer is there; what to subscribe to is in *ret_deliver_subject, to be freed with xfree, and
 * its name in `ret_name`. */
bool jetstream_ensure_consumer(struct jetstream_connection *connection, const struct subscription *subscription,
                               char ret_name[static JETSTREAM_NAME_MAX], char **ret_deliver_subject,
                               struct error *error) MUST_CHECK;
/* Looks now and then whether the stream, and the next of the connection's consumers, are still there; if not, the
 * connection is lost. */
void jetstream_check(struct jetstream_connection *connection);

/* receive.c */
bool jetstream_subscribe(void *connection, const struct bus_desired *desired, struct error *error);
void jetstream_acknowledge(void *connection, const struct delivery *delivery);
void jetstream_drop(void *connection, const struct delivery *delivery);
void jetstream_extend(void *connection, const struct delivery *delivery);
void jetstream_message_free(void *message);
bool jetstream_listen(void *connection, const struct bus_listener *listener, struct error *error);
void jetstream_signal(void *connection, const char *topic, const void *data, size_t length);

/* publish.c */
bool jetstream_publish_begin(struct jetstream_connection *connection, struct error *error) MUST_CHECK;
/* Once the connection is closed: what is not confirmed never will be. */
void jetstream_publish_end(struct jetstream_connection *connection);
bool jetstream_publish(void *connection, struct bus_publication *publication, struct error *error);
void jetstream_tend(void *connection);

#endif
