/* SPDX-License-Identifier: Apache-2.0
 * What the bus's tests have in common: a bus that records its states, a receiver that records what it got, a count of
 * confirmations, and the log as text. */
#ifndef TURNSTILE_TESTS_CONTRACT_BUS_FIXTURE_H
#define TURNSTILE_TESTS_CONTRACT_BUS_FIXTURE_H

#include <pthread.h>

#include "common/bus/bus.h"
#include "tests/contract/bus_server.h"

enum {
    WAIT_MS = 20000, /* for what must happen: generous, since it only ends a test that fails */
    CLOSE_MS = 2000,
    RECEIVED_MAX = 20000,
    PUBLISHED_MAX = 20000,
};

/* Blocks SIGTERM and SIGINT, as the bus wants it. For a group's setup. */
int block_signals(void **state);

/* Opens with a limit of 1000 publishes, and no callback. */
struct bus *open_bus(const char *uri, const char *client_id);
struct bus *open_bus_and_wait(const char *uri, const char *client_id);
void wait_for_state(struct bus *bus, enum bus_state state);
/* True as soon as `condition` is; false after `timeout_ms`. */
bool eventually(bool (*condition)(void *context), void *context, int64_t timeout_ms);

/* ---- receiving ---- */

enum receiver_mode { RECEIVER_ACKNOWLEDGES, RECEIVER_DROPS, RECEIVER_KEEPS };

struct received {
    uint64_t sequence;
    int64_t time;
    long number; /* the message's text as a number */
    bool redelivered;
    struct delivery *delivery; /* RECEIVER_KEEPS only; NULL once it is ended */
};

struct receiver {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum receiver_mode mode;
    size_t count;
    struct received *received; /* [RECEIVED_MAX] */
};

struct receiver *receiver_new(enum receiver_mode mode);
void receiver_free(struct receiver **receiver); /* drops what it keeps */
/* For bus_subscribe. */
void receiver_receive(struct delivery *delivery, void *receiver);
/* Fails the test if there are not at least `count` in time. */
void receiver_wait(struct receiver *receiver, size_t count);
size_t receiver_count(struct receiver *receiver);
/* How often the message with this number has come. */
size_t receiver_count_of(struct receiver *receiver, long number);
struct received receiver_at(struct receiver *receiver, size_t index);
/* Ends what it keeps. */
void receiver_acknowledge(struct receiver *receiver, size_t index);

/* A durable queue group from the beginning on, ack wait 1 s unless changed. */
struct subscription group_subscription(const char *subject);
void subscribe(struct bus *bus, const struct subscription *subscription, struct receiver *receiver);

/* ---- publishing ---- */

struct publisher {
    struct bus *bus;
    const char *subject;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t accepted;          /* messages 0 to accepted - 1 */
    size_t confirmed;         /* calls of `confirmed` */
    size_t stored;            /* those with true */
    unsigned char *calls;     /* [PUBLISHED_MAX]: calls for each message */
    unsigned char *is_stored; /* [PUBLISHED_MAX] */
};

struct publisher *publisher_new(struct bus *bus, const char *subject);
void publisher_free(struct publisher **publisher);
/* Publishes the next number; false if the bus does not take it. */
bool publisher_publish(struct publisher *publisher);
/* Publishes the next `count`, each as soon as the bus takes it. */
void publisher_publish_many(struct publisher *publisher, size_t count);
/* Waits until each accepted one is confirmed, and checks that each was so once. */
void publisher_wait(struct publisher *publisher);

/* ---- the log ---- */

/* From now on stderr goes to a file; log_end gives it back, and what was written, to be freed with xfree. */
void log_begin(void);
char *log_end(void);
/* What was written so far contains `text`; waits for it. */
void log_wait(const char *text);

#endif
