/* SPDX-License-Identifier: Apache-2.0
 * A store, a bus and the instances of a listening service, all in memory and in one thread, for tests of the listener:
 * each step is chosen by a seed. What is made here takes the place of the real store and bus when the test is linked.
 */
#ifndef TURNSTILE_TESTS_UNIT_EVENTS_FAKE_H
#define TURNSTILE_TESTS_UNIT_EVENTS_FAKE_H

#include "common/events/events.h"
#include "common/events/shard.h"

enum {
    FAKE_INSTANCES = 2,
    FAKE_SHARDS = 2, /* of each */
    FAKE_RECORDS = 8,
    FAKE_VERSIONS = 64,
    FAKE_MESSAGES = 1024,
    FAKE_SUBJECTS = 5,
    FAKE_SIGNALS = 256,
};

extern const struct collection fake_tickets;

struct fake_message {
    const struct subject *subject;
    uint64_t sequence;
    char *text;
    size_t length;
    bool is_acknowledged;
    size_t deliveries; /* handles that have not ended */
    size_t extended;
};

struct fake_record {
    struct record head;
    struct ticket value;
    unsigned writes[FAKE_VERSIONS]; /* how often each version was written */
};

struct fake_signal {
    char topic[64];
    char text[128];
};

struct fake_instance {
    struct listening listening;
    struct route routes[FAKE_SUBJECTS];
    atomic_uint_fast64_t epoch;
    size_t route_count;
    struct shard *shards[FAKE_SHARDS];
};

/* How the next calls of the store end; each counts down. */
struct fake_failures {
    int away;            /* nothing is read or written */
    int unknown;         /* writes that happen, but say that the store is away */
    int claim_conflicts; /* writes refused for their claim */
    int full;            /* writes refused for a full outbox */
    int broken_letters;  /* dead letters that are not confirmed */
};

struct fake {
    uint64_t random;
    int64_t now;
    bool interleaves; /* other shards run between a read and a write; calls fail now and then; signals are lost */
    bool loses_signals;
    void (*after_fact)(void); /* runs once, between the next read of a fact and what it was read for */
    int depth;
    struct shard *running;
    struct fake_failures failures;
    struct fake_record records[FAKE_RECORDS];
    int64_t epoch_fact; /* the highest epoch that the listener has seen */
    size_t removals;
    struct fake_record owned[FAKE_RECORDS]; /* what the owner has, who answers whoever asks */
    uint64_t owner_epoch;
    bool owner_answers;
    size_t asked;
    struct fake_message messages[FAKE_MESSAGES];
    size_t message_count;
    struct fake_signal signals[FAKE_SIGNALS];
    size_t signal_count;
    struct fake_instance instances[FAKE_INSTANCES];
    size_t letters;
    char last_letter[1024]; /* the beginning of the last dead letter's text */
    size_t conflicts, hints, signals_sent;
};
extern struct fake fake;

void fake_begin(const struct listener *listener, size_t in_flight, uint64_t seed);
/* Drops what is left, and checks that every handle has ended. */
void fake_end(void);
unsigned fake_below(unsigned bound);

struct id fake_id(unsigned number);
/* Where the record is kept; made when first asked for. */
struct fake_record *fake_record(const struct id *id);
/* Where its owner keeps it. */
struct fake_record *fake_owned(const struct id *id);

/* Puts a message on the bus, and returns its number. */
size_t fake_publish(struct event event, struct id id, uint64_t version);
/* The same of an epoch. */
size_t fake_publish_epoch(struct event event, struct id id, uint64_t version, uint64_t epoch);
/* What the owner has now. */
size_t fake_publish_snapshot(struct id id);
size_t fake_publish_text(const struct subject *subject, const char *text);
/* Hands it to an instance, as the bus's callback would. */
void fake_deliver(size_t message, size_t instance);
/* Delivers a signal that was sent to all instances; an ask to the owner, who publishes the snapshot and answers. */
void fake_deliver_signal(size_t number);
void fake_crash(size_t instance);
/* One step of one shard. */
void fake_step(size_t instance, size_t shard);
/* Steps all shards, with all signals delivered, until there is nothing more to do at this moment. */
void fake_run(void);
/* The same, and lets the time pass so long. */
void fake_pass(int64_t milliseconds);

#endif
