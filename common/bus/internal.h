/* SPDX-License-Identifier: Apache-2.0
 * The bus's own state, shared by the files of this folder; drivers see driver.h only.
 *
 * DESIGN
 * One mutex per bus guards everything below; it is never held while a driver or a callback of the user runs. The bus is
 * counted: the user holds it until bus_close, and every link as long as it lives, which may be longer if its thread
 * hangs in the engine's library or a delivery is ended late. */
#ifndef TURNSTILE_BUS_INTERNAL_H
#define TURNSTILE_BUS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/bus/driver.h"

enum {
    BUS_SIGNALS_QUEUED_MAX = 1024,     /* signals that wait to be sent; more are lost */
    BUS_COMPLAINT_INTERVAL_MS = 10000, /* the same line is not logged again within this */
    BUS_COMPLAINTS = 8,                /* lines that are remembered for that */
    BUS_SUBSCRIBE_RETRY_MS = 5000,     /* after the server refused a subscription */
    BUS_TEND_MS = 1000,                /* between two calls of a driver's `tend` */
    BUS_LINKS_ABANDONED_MAX = 3,       /* hanging threads that are tolerated before no more are started */
};

struct bus_complaint {
    char text[ERROR_MESSAGE_MAX];
    int64_t time;
};

struct bus {
    atomic_uint references;
    const struct bus_driver *driver;
    struct bus_uri uri;
    char client_id[BUS_NAME_MAX];
    size_t publish_limit;
    void (*state_changed)(struct bus *bus, enum bus_state state, void *context);
    bool (*will_look)(struct bus *bus, void *context, struct error *error);
    void (*history_lost)(struct bus *bus, const char *subject, uint64_t expected, uint64_t found, void *context);
    void *context;
    const char *const *subjects;
    int64_t hang_ms; /* a call into the engine that takes longer is given up */
    pthread_t supervisor;

    pthread_mutex_t mutex;
    pthread_cond_t supervise; /* wakes the supervisor */
    pthread_cond_t idle;      /* wakes those who wait for a state, or for callbacks to end */
    enum bus_state state;
    bool closing;                                    /* no more publishes */
    bool ending;                                     /* the supervisor is to close the link and end */
    bool receiving_stopped;                          /* by bus_stop_receiving */
    struct bus_link *link;                           /* a reference; NULL between two */
    size_t host_index;                               /* of the host to try next */
    size_t abandoned;                                /* links whose thread hangs */
    size_t in_flight;                                /* publications accepted whose `confirmed` has not returned */
    size_t receiving;                                /* receive functions, will_look and history_lost, at work */
    struct bus_complaint complaints[BUS_COMPLAINTS]; /* the latest */
    struct bus_desired *desired[BUS_SUBSCRIPTIONS_MAX];
    size_t desired_count;
    struct bus_listener *listeners[BUS_SUBSCRIPTIONS_MAX];
    size_t listener_count;
    struct bus_position positions[BUS_POSITIONS_MAX];
    uint64_t expected[BUS_POSITIONS_MAX]; /* by bus_expect; apart, since what is confirmed may be in it already */
    size_t position_count;                /* never changes */
};

enum bus_link_phase {
    BUS_LINK_CONNECTING, /* or making its first subscriptions */
    BUS_LINK_UP,
    BUS_LINK_ENDED, /* takes nothing more, hands over nothing more */
};

/* What became of a desired subscription or listener on this link; the link's thread's own. */
struct bus_link_row {
    bool made;
    int64_t retry_at; /* monotonic ms; after a refusal */
};

struct bus_link {
    atomic_uint references;
    struct bus *bus; /* a reference */
    struct bus_target target;
    pthread_t thread;
    _Atomic int64_t busy_since; /* monotonic ms of the call into the driver that is going on; 0: none */

    /* Under the bus's mutex. */
    pthread_cond_t wake;
    enum bus_link_phase phase;
    bool stop;                      /* end when what is queued has been sent */
    bool lost;                      /* end now */
    bool abandoned;                 /* nobody waits for the thread any more */
    bool finished;                  /* the thread has nothing more to do */
    char reason[ERROR_MESSAGE_MAX]; /* why it could not connect, or was lost */
    struct bus_item *queue, **queue_end;
    size_t signals_queued;
    size_t settled_count;                 /* of the desired subscriptions: made, or refused */
    struct bus_publication *publications; /* in flight, any order */

    /* The thread's own. */
    void *connection;
    struct bus_link_row subscriptions[BUS_SUBSCRIPTIONS_MAX];
    struct bus_link_row listeners[BUS_SUBSCRIPTIONS_MAX];
    int64_t tend_at; /* monotonic ms; when the driver's `tend` is due */
};

struct bus_signal_item {
    struct bus_item item;
    char *topic;
    size_t length;
    char data[];
};

/* bus.c */
void bus_retain(struct bus *bus);
void bus_release(struct bus *bus);
/* With the mutex held: there is something new to subscribe to. */
void bus_wake_link(struct bus *bus);
/* bus_open, with a driver of the caller's. */
bool bus_open_with(const struct bus_driver *driver, const struct bus_uri *uri, const struct bus_config *config,
                   int64_t hang_ms, struct bus **ret_bus, struct error *error) MUST_CHECK;

/* supervisor.c */
void *bus_supervise(void *bus); /* the body of the thread */
/* Logs "<text><next>" as a warning, unless it has just done so. Takes the mutex. */
void bus_complain(struct bus *bus, const char *text, const char *next);

/* link.c */
struct bus_link *bus_link_start(struct bus *bus);
/* With the mutex held: asks the link to end once its queue is empty. */
void bus_link_stop(struct bus_link *link);
/* Around each call of the driver, on the link's thread: it hangs if it takes too long. */
void bus_link_set_busy(struct bus_link *link);
void bus_link_set_free(struct bus_link *link);
/* Also if it has ended. Takes the mutex. */
bool bus_link_is_lost(struct bus_link *link);
/* Ends the link for everybody else: fails what is in flight. Without the mutex. */
void bus_link_end(struct bus_link *link);

/* queue.c */
/* With the mutex held, true: what is queued is sent while the link lives. */
bool bus_queue_add(struct bus_link *link, struct bus_item *item);
/* With the mutex held: empties the queue. What was in it is the caller's, to be sent or discarded. */
struct bus_item *bus_queue_take(struct bus_link *link);
/* On the link's thread: sends these, or discards what is left once the connection is lost. */
void bus_queue_send(struct bus_link *link, struct bus_item *item);
void bus_queue_discard(struct bus_item *item);

/* position.c. Lets others tell what they know, before a new link begins to look; on the link's thread. */
bool bus_will_look(struct bus_link *link, struct error *error) MUST_CHECK;
/* What is known when a new link begins to look. */
void bus_copy_positions(struct bus *bus, struct bus_position ret_positions[static BUS_POSITIONS_MAX]);
/* On the link's thread: makes what it found the positions, and reports what is missing. Without the mutex. */
void bus_settle_positions(struct bus_link *link, const struct bus_position *expected, const struct bus_position *found);
/* With the mutex held: a message was stored; `sequence` 0: one more. */
void bus_position_raise(struct bus *bus, const char *subject, uint64_t sequence);

/* receive.c */
void bus_delivery_release(struct delivery *delivery);
/* The extension is out of the queue: another may be queued. Returns the delivery, whose reference is the caller's. */
struct delivery *bus_extension_end(struct bus_extension *extension);
/* With the mutex held: whether a callback may begin. */
bool bus_may_receive(const struct bus_link *link);

#endif
