/* SPDX-License-Identifier: Apache-2.0
 * The event bus: subjects that keep their messages, durable queue groups, acknowledgement by hand, and signals that
 * may be lost. One interface for every engine.
 *
 * The caller says what it wants (subscriptions are desired state); a supervisor connects, reconnects for ever with
 * backoff and jitter, and subscribes again. Messages are delivered at least once, in no guaranteed order. */
#ifndef TURNSTILE_BUS_BUS_H
#define TURNSTILE_BUS_BUS_H

#include "common/base/buffer.h"
#include "common/base/error.h"

enum {
    BUS_SUBJECT_MAX = 64,      /* bytes, with the NUL; [a-z0-9:_-]+ */
    BUS_NAME_MAX = 64,         /* bytes of a durable, queue group or client id, with the NUL */
    BUS_MESSAGE_ID_MAX = 96,   /* bytes, with the NUL */
    BUS_MESSAGE_MAX = 1000000, /* bytes that can be published: just under NATS' default max_payload of 1 MiB */
    BUS_SUBSCRIPTIONS_MAX = 64,
    BUS_POSITIONS_MAX = 32,  /* subjects whose position is followed */
    BUS_SIGNAL_MAX = 512,    /* bytes of a signal */
    BUS_LEAVE_MAX_MS = 4000, /* what bus_close may take beyond its timeout, for the last calls into the engine */
};

struct bus;

enum bus_state {
    BUS_CONNECTING, /* or waiting to try again */
    BUS_UP,         /* connected, all subscriptions made but those that the server refuses */
    BUS_CLOSED,
};

/* How far a subject has come. */
struct bus_position {
    char subject[BUS_SUBJECT_MAX];
    uint64_t sequence; /* of its last message, at least; 0: nothing is known to be there */
};

struct bus_config {
    const char *uri;       /* stan://[user:password@]host:port[,host:port…]/cluster-id, or
                            * nats://[user:password@]host:port[,host:port…][/stream][?replicas=n]; copied */
    const char *client_id; /* [a-zA-Z0-9_-]+; unique on the bus; copied */
    size_t publish_limit;  /* publishes in flight, 1 to 8192 */
    /* Called from a bus thread after every change of state, never two at a time; must not block. May be NULL. */
    void (*state_changed)(struct bus *bus, enum bus_state state, void *context);
    /* Every subject that is known to be published on or listened to, for engines that have to know before; others are
     * made known when they are first used. NULL-terminated and static; may be NULL. */
    const char *const *subjects;
    /* The subjects whose position is followed, as it was when last seen (see bus_position); copied. */
    const struct bus_position *positions;
    size_t position_count; /* at most BUS_POSITIONS_MAX */
    /* A new connection is there, and will look next how far the followed subjects are: whoever knows what others have
     * published tells by bus_expect. What is told later may have been published behind the look. False, with an error:
     * it is not known just now, and the connection is given up and tried again. From a bus thread; may block for a few
     * seconds. May be NULL. */
    bool (*will_look)(struct bus *bus, void *context, struct error *error);
    /* A new connection, before it is BUS_UP, found less on a followed subject than was known to be there: the bus has
     * lost history. Its position is now `found`. From a bus thread; must not block. May be NULL. */
    void (*history_lost)(struct bus *bus, const char *subject, uint64_t expected, uint64_t found, void *context);
    void *context;
};

/* Returns at once; connecting goes on in the background, and what goes wrong there is logged, with what happens next
 * ("…, retrying in 2.1 s"). ERROR_INVALID: the URI or client id is malformed. The caller must have blocked SIGTERM and
 * SIGINT before, since the engine's threads inherit the mask. Everything below is thread-safe. */
bool bus_open(const struct bus_config *config, struct bus **ret_bus, struct error *error) MUST_CHECK;
/* For the configuration's check. */
bool bus_uri_valid(const char *uri);
bool bus_client_id_valid(const char *client_id);
bool bus_subject_valid(const char *subject);
enum bus_state bus_state(const struct bus *bus);
/* Waits until the state is BUS_UP and every subscription that was asked for is made, or refused; false on timeout. */
bool bus_wait_up(struct bus *bus, int64_t timeout_ms);
/* What is known of a followed subject: the sequence that its last message has at least, as each new connection finds it
 * and each confirmed publish of this process raises it. 0 for subjects that are not followed. */
uint64_t bus_position(struct bus *bus, const char *subject);
/* Another process has learned that a followed subject has come this far: the next connection is to find as much. */
void bus_expect(struct bus *bus, const char *subject, uint64_t sequence);

/* ---- receiving ---- */

/* A message that was received. Ends with bus_ack or bus_drop, by any thread, before bus_close returns. */
struct delivery;

const char *delivery_subject(const struct delivery *delivery);
const char *delivery_data(const struct delivery *delivery); /* NUL-terminated; may hold NULs */
size_t delivery_length(const struct delivery *delivery);
uint64_t delivery_sequence(const struct delivery *delivery); /* of the subject on STAN, of the stream on JetStream */
int64_t delivery_time(const struct delivery *delivery);      /* when the bus stored it, ms since 1970 */
bool delivery_redelivered(const struct delivery *delivery);

/* Acknowledges and frees. No-op on the wire if the connection that it came by is gone (it will be redelivered). */
void bus_ack(struct delivery *delivery);
/* Frees without acknowledging: the bus delivers it again, after a second or so where it can be told (JetStream), else
 * after the ack wait. With acknowledge_by_engine it acknowledges. */
void bus_drop(struct delivery *delivery);
/* Asks the bus to wait longer before it delivers again, where the engine can (JetStream); else does nothing. */
void bus_extend(struct delivery *delivery);

enum bus_start {
    BUS_START_NEW,           /* what is published from now on */
    BUS_START_ALL,           /* everything there is */
    BUS_START_LAST_RECEIVED, /* the last message, and what follows */
    BUS_START_SEQUENCE,
    BUS_START_TIME,
};

/* Texts are copied. */
struct subscription {
    const char *subject;
    const char *queue_group; /* NULL: every subscriber gets everything */
    const char *durable;     /* NULL: the position ends with the connection, and each new one begins at `start` */
    enum bus_start start;    /* used only when the durable is new */
    uint64_t start_sequence;
    int64_t start_time;         /* ms since 1970 */
    bool acknowledge_by_engine; /* true: bus_drop acknowledges too, so that nothing comes again */
    int64_t ack_wait_ms;        /* at least 1000, whole seconds */
    size_t in_flight;           /* unacknowledged messages at once, 1 to 1024: of each member of a group on STAN, of the
                                 * group on JetStream */
};

/* Runs on the subscription's own thread, one at a time; must not block for long, may ack later. Owns the delivery. */
typedef void bus_receive(struct delivery *delivery, void *context);

/* Adds to the desired subscriptions, which stay for the life of the bus; made soon if connected, else when it is. A
 * refusal by the server is logged, and tried again every few seconds. */
bool bus_subscribe(struct bus *bus, const struct subscription *subscription, bus_receive *receive, void *context,
                   struct error *error) MUST_CHECK;

/* ---- publishing ---- */

/* Runs exactly once for each accepted publish, on a bus thread, also at close (false). Must not block or publish. NULL:
 * nobody wants to know.
 * stored: the bus has the message durably. Not stored: unknown, publish it again. */
typedef void bus_confirmed(bool stored, void *context);

/* Never blocks. False if the bus is not up, or publish_limit are in flight; also, with a line in the log, for what can
 * never be published (too long, not a subject); then `confirmed` is not called. Publishes of one thread arrive in their
 * order as long as each is confirmed as stored. `data` is copied. `message_id` (or NULL), where the engine can use it,
 * makes a repeated publish count once. */
bool bus_publish(struct bus *bus, const char *subject, const char *message_id, const void *data, size_t length,
                 bus_confirmed *confirmed, void *context) MUST_CHECK;

/* Publishes and waits for the confirmation; not on a bus thread. ERROR_UNAVAILABLE: not up, or not confirmed in time,
 * in which case it may be stored or not. ERROR_INVALID: it can never be published. */
bool bus_publish_wait(struct bus *bus, const char *subject, const char *message_id, const void *data, size_t length,
                      int64_t timeout_ms, struct error *error) MUST_CHECK;

/* ---- signals: between processes, at most once, not stored ---- */

typedef void bus_signalled(const void *data, size_t length, void *context);

/* Everyone who listens to the topic gets it, the sender included; lost when the bus is away. Topics: [a-z0-9._-]+ */
void bus_signal(struct bus *bus, const char *topic, const void *data, size_t length);
bool bus_on_signal(struct bus *bus, const char *topic, bus_signalled *receive, void *context,
                   struct error *error) MUST_CHECK;

/* The same, but of all who listen to the topic with this queue group only one gets each signal. */
bool bus_on_signal_shared(struct bus *bus, const char *topic, const char *queue_group, bus_signalled *receive,
                          void *context, struct error *error) MUST_CHECK;

/* ---- stopping ---- */

/* No receive function is at work once this returns, and no further message or signal is handed over (what waits in the
 * engine is left to be redelivered); acks, drops and publishes still work. Not from a receive function. */
void bus_stop_receiving(struct bus *bus);
/* Ends the connection without unsubscribing durables, so that the server drops the client at once; waits up to
 * `timeout_ms` for publishes in flight to be confirmed, then fails them; and, if the server does not answer, up to 4 s
 * more. All deliveries must have ended. No callback runs after it. Not from a callback. NULL inside is fine. */
void bus_close(struct bus **bus, int64_t timeout_ms);

#endif
