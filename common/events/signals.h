/* SPDX-License-Identifier: Apache-2.0
 * Signals about held events: plain messages between processes, which may be lost. Words are separated by one space, ids
 * and nonces are 24 hex digits in lower case, numbers are decimal.
 *
 *   topic                what it says
 *   <service>.lacking    "<collection> <id> <version>": an instance of the service holds events for want of this
 * version <service>.applied    the same text: that version, or a later one, is in the service's store now
 *   <publisher>.ask      "<entity> <id> <nonce>": what have you got? One instance of the service that owns the entity
 *                        reads its record, publishes the snapshot on <entity>:snapshot, and answers
 *   <entity>.answer      "<entity> <id> <nonce> <version> <epoch>": what its owner had, after it was asked with this
 *                        nonce; version 0: no such record. Every ask has a nonce of its own.
 *
 * "ticket" is an entity, "tickets" the service that publishes it: tickets.ask, ticket.answer. */
#ifndef TURNSTILE_EVENTS_SIGNALS_H
#define TURNSTILE_EVENTS_SIGNALS_H

#include "common/events/catalogue.h"
#include "common/store/store.h"

/* A version of a record of ours: lacking, or there; or what the owner of what it copies has answered. */
struct notice {
    const struct collection *collection;
    struct id id;
    uint64_t version;
    uint64_t epoch; /* of an answer */
    uint64_t ask;   /* the number of the ask that it answers */
};

enum {
    NOTICE_TEXT_SIZE = 64 + 1 + ID_LENGTH + 1 + 20 + 1, /* with the NUL */
};

void notice_print(const struct notice *notice, char ret_text[static NOTICE_TEXT_SIZE]);
/* Anyone on the bus can send anything: false if it is no notice about one of these collections (`count` of them). */
bool notice_parse(const void *data, size_t length, const struct collection *const *collections, size_t count,
                  struct notice *ret_notice) MUST_CHECK;

/* A question to the owner of a record, and its answer. */
struct ask {
    const struct entity *entity;
    struct id id;
    struct id nonce;
    uint64_t version, epoch; /* of the answer */
};

enum {
    ASK_TEXT_SIZE = 64 + 2 * (1 + ID_LENGTH) + 2 * (1 + 20) + 1, /* with the NUL; also of an answer */
};

void ask_print(const struct ask *ask, char ret_text[static ASK_TEXT_SIZE]);
void answer_print(const struct ask *answer, char ret_text[static ASK_TEXT_SIZE]);
/* False if it is nothing about one of these entities (`count` of them). The version and epoch of an ask are 0. */
bool ask_parse(const void *data, size_t length, const struct entity *const *entities, size_t count,
               struct ask *ret_ask) MUST_CHECK;
bool answer_parse(const void *data, size_t length, const struct entity *const *entities, size_t count,
                  struct ask *ret_answer) MUST_CHECK;

/* What other instances lack, for a while: a bounded table, owned by one thread. */
struct wanted;

struct wanted *wanted_new(size_t limit, int64_t lifetime_ms);
void wanted_free(struct wanted **wanted);
void wanted_add(struct wanted *wanted, const struct notice *notice, int64_t now);
/* True, once, if somebody lacks this version or a lower one. */
bool wanted_take(struct wanted *wanted, const struct notice *notice, int64_t now);
size_t wanted_count(const struct wanted *wanted);

#endif
