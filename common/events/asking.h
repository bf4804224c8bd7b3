/* SPDX-License-Identifier: Apache-2.0
 * Which gaps to ask their owners about, and when: memory and rules, without I/O. */
#ifndef TURNSTILE_EVENTS_ASKING_H
#define TURNSTILE_EVENTS_ASKING_H

#include "common/events/arrival.h"

enum {
    ASKS_A_SECOND = 200, /* of one instance */
    GAP_ASKS_MAX = 8,    /* of one gap, whose answers are understood: the latest */
};

/* ---- of one instance: numbers its asks, and bounds how many there are; thread-safe ---- */

struct asker;

struct asker *asker_new(void);
void asker_free(struct asker **asker);
/* How many asks there have been. */
uint64_t asker_count(const struct asker *asker);
/* Numbers one more, from 1; its nonce is of this instance and this number alone. False: there were too many within the
 * last second. */
bool asker_next(struct asker *asker, int64_t now, uint64_t *ret_number, struct id *ret_nonce) MUST_CHECK;
/* The number of the ask that had this nonce; false if it is none of ours. */
bool asker_number(const struct asker *asker, const struct id *nonce, uint64_t *ret_number) MUST_CHECK;

/* ---- of one shard: the records of which it holds events; not thread-safe ---- */

struct gaps;

struct gap {
    char key[RECORD_KEY_SIZE];
    size_t held;      /* events of this record */
    uint64_t stored;  /* the version that is stored: the one after it is lacking */
    int64_t since;    /* when that was first found lacking */
    int64_t asked_at; /* 0: not yet */
    bool had_strays;  /* as the answer to the latest ask has shown */
    bool lacks_epoch; /* what is lacking is the owner's word about its epoch */
    bool was_logged;  /* that it is asked about */
    uint64_t asks[GAP_ASKS_MAX];
    size_t ask_count;
};

struct gaps *gaps_new(void);
void gaps_free(struct gaps **gaps);
/* One more event is held, for want of what comes behind `stored`. The gap lives until as many were released. */
struct gap *gaps_hold(struct gaps *gaps, const char *key, uint64_t stored, int64_t now);
void gaps_release(struct gaps *gaps, struct gap *gap);
struct gap *gaps_find(const struct gaps *gaps, const char *key); /* NULL: there is none */

/* What is stored now: when the record has moved on, something else is lacking, and its time begins anew. */
void gap_look(struct gap *gap, uint64_t stored, int64_t now);
/* True if its owner is to be asked now: after EVENT_ASK_MS, and then every EVENT_ASK_AGAIN_MS. Where events that are
 * held take so much of what may be in flight that others might have to wait, the first ask follows after
 * EVENT_ASK_EARLY_MS, and the next ones every second; every EVENT_ASK_EARLY_MS where it were strays. About an epoch it
 * is asked at once, since no waiting brings the answer, and then every second. `held` and `held_max` are those of the
 * whole subject. */
bool gap_is_due(const struct gap *gap, size_t held, size_t held_max, int64_t now);
void gap_asked(struct gap *gap, uint64_t number, int64_t now);
/* False if this ask was not about this gap, or long ago. */
bool gap_was_asked(const struct gap *gap, uint64_t number) MUST_CHECK;

#endif
