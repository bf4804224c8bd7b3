/* SPDX-License-Identifier: Apache-2.0
 * What an engine must do, and what it reports back: the seam between the bus and its drivers.
 *
 * DESIGN
 * One link is one connection, from the attempt to its end; a lost connection is never repaired, but replaced by a new
 * link. A link has a thread of its own, and every function of the driver runs there, one at a time: connecting,
 * subscribing, publishing, acknowledging, closing. So nothing can race with the end of a connection, and a call that
 * hangs in the engine's library stops that link, which the supervisor then abandons, but nobody else.
 *
 * The engine's own threads call back through the functions at the end of this file. They know their link by a handle
 * (handle.h), since libraries call back at times when the connection is long gone. After the end of the link these
 * calls do nothing. */
#ifndef TURNSTILE_BUS_DRIVER_H
#define TURNSTILE_BUS_DRIVER_H

#include <stdatomic.h>

#include "common/bus/bus.h"
#include "common/bus/uri.h"

struct bus_link;

/* One address to connect to, and as whom. Borrowed by connect() for the life of the connection. */
struct bus_target {
    const struct bus_host *host;
    const char *user, *password; /* "": none */
    const char *path;            /* of the URI; "": none */
    unsigned replicas;           /* of the URI's query; 0: not given */
    const char *client_id;
    const char *const *subjects; /* see struct bus_config; may be NULL */
    int cancel_descriptor;       /* readable once the attempt is no longer wanted */
};

/* A subscription that the caller wants, whether there is a connection or not. Lives as long as the bus. */
struct bus_desired {
    size_t index; /* below BUS_SUBSCRIPTIONS_MAX, in the order of the calls */
    struct subscription subscription;
    bus_receive *receive;
    void *context;
    bool running; /* `receive` is at work; under the bus's mutex */
};

/* The same for signals. */
struct bus_listener {
    size_t index;
    char *topic;
    char *queue_group; /* NULL: everyone gets everything */
    bus_signalled *receive;
    void *context;
};

enum bus_item_kind {
    BUS_ITEM_PUBLICATION,
    BUS_ITEM_ACKNOWLEDGEMENT,
    BUS_ITEM_DROP,
    BUS_ITEM_EXTENSION,
    BUS_ITEM_SIGNAL,
};

/* Something to send, in the queue of a link. First member of what is queued. */
struct bus_item {
    struct bus_item *next;
    enum bus_item_kind kind;
};

struct bus_publication {
    struct bus_item item;
    struct bus_link *link;                   /* a reference */
    struct bus_publication *previous, *next; /* in flight on the link; under the bus's mutex */
    atomic_uint references;                  /* the list's, and the queue's or the driver's */
    bool finished;                           /* under the bus's mutex */
    double started;                          /* metrics_clock, when it was made */
    bus_confirmed *confirmed;
    void *context;
    char subject[BUS_SUBJECT_MAX];
    char message_id[BUS_MESSAGE_ID_MAX];
    size_t length;
    char data[];
};

/* The driver fills in what follows `desired`. The caller holds a reference until it acknowledges or drops, with which
 * that one passes to the queue, and a queued extension holds another: so the message outlives an extension that is
 * still to be sent, whatever the caller does meanwhile. Extensions, acknowledgements and drops are sent in the order of
 * their calls. */
struct delivery {
    struct bus_item item; /* of its acknowledgement or drop */
    struct bus_extension {
        struct bus_item item;
        struct delivery *delivery; /* itself */
        bool queued;               /* at most once at a time; under the bus's mutex */
    } extension;
    atomic_uint references;
    struct bus_link *link; /* a reference */
    const struct bus_desired *desired;
    void *message; /* the driver's; ends with message_free */
    const char *data;
    size_t length;
    uint64_t sequence;
    int64_t time;
    bool redelivered;
};

struct bus_driver {
    const char *scheme;
    const char *form; /* of the URI, for people */

    /* What is wrong with the URI's path or query, as a static text; NULL if they are fine. */
    const char *(*check_uri)(const struct bus_uri *uri);

    /* Bounded: a few seconds. The error's message is a clause that says what failed, the same text every time. */
    bool (*connect)(struct bus_link *link, const struct bus_target *target, void **ret_connection, struct error *error);
    /* Says goodbye to the server, if it can be reached, and frees. Bounded. */
    void (*disconnect)(void *connection);

    /* ERROR_UNAVAILABLE: the connection is no good any more. Any other code: the server refuses this one. */
    bool (*subscribe)(void *connection, const struct bus_desired *desired, struct error *error);
    bool (*listen)(void *connection, const struct bus_listener *listener, struct error *error);

    /* Right after connect, before anything else, and only if there are subjects to follow: replaces each position's
     * sequence by that of the subject's last message, 0 if it has none. What comes in says what is known to be there:
     * an engine that cannot tell an empty subject from a slow answer waits longer where something is expected, and need
     * not look at all where it is 0. False: the connection is no good. */
    bool (*find_positions)(void *connection, struct bus_position *positions, size_t count, struct error *error);

    /* True: the driver will call bus_publication_confirmed, exactly once. Errors as for subscribe. */
    bool (*publish)(void *connection, struct bus_publication *publication, struct error *error);
    /* Best effort: what is not acknowledged comes again. */
    void (*acknowledge)(void *connection, const struct delivery *delivery);
    /* Tells the server that the message will not be acknowledged and is to be delivered again, not at once, but after a
     * second or so: also what arrives while the bus hands over nothing more is dropped, again and again until it
     * closes. Best effort. NULL where the engine cannot: what is dropped comes again after the ack wait. */
    void (*drop)(void *connection, const struct delivery *delivery);
    /* Begins the ack wait anew. Best effort. NULL where the engine cannot. */
    void (*extend)(void *connection, const struct delivery *delivery);
    void (*signal)(void *connection, const char *topic, const void *data, size_t length);
    /* What there is to do by the clock: called about once a second. May be NULL. */
    void (*tend)(void *connection);

    /* Any thread, also when the connection is gone. */
    void (*message_free)(void *message);
};

extern const struct bus_driver bus_driver_stan;
extern const struct bus_driver bus_driver_jetstream;

/* ---- what drivers call, from any thread ---- */

struct bus_link *bus_link_retain(struct bus_link *link); /* returns it */
void bus_link_release(struct bus_link **link);

/* The connection is no good any more: it is closed and replaced. The first reason is logged. */
void bus_link_lost(struct bus_link *link, const char *format, ...) PRINTF_LIKE(2, 3);
/* Logs a warning, the same text at most every few seconds. */
void bus_link_complain(struct bus_link *link, const char *format, ...) PRINTF_LIKE(2, 3);

struct delivery *bus_delivery_new(struct bus_link *link, const struct bus_desired *desired);
/* Hands it to the receive function, which may take as long as that does. Takes ownership. */
void bus_link_deliver(struct delivery *delivery);
void bus_link_signalled(struct bus_link *link, const struct bus_listener *listener, const void *data, size_t length);
/* Ends the driver's part in it: the publication may be gone afterwards. `sequence` is what the engine gave it, 0 if it
 * does not tell. */
void bus_publication_confirmed(struct bus_publication *publication, bool stored, uint64_t sequence);

#endif
