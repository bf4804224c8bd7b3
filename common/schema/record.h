/* SPDX-License-Identifier: Apache-2.0
 * The head of a versioned record: what the store, the events and the answers have in common, whatever the entity. */
#ifndef TURNSTILE_SCHEMA_RECORD_H
#define TURNSTILE_SCHEMA_RECORD_H

#include "common/base/id.h"

#define RECORD_VERSION_MAX (INT64_C(1) << 53) /* what readers in every language can hold */

enum {
    CLAIM_MAX = 320, /* bytes: an e-mail address is the longest */
};

/* A plain value. Start from RECORD_INIT. */
struct record {
    struct id id;
    uint64_t version;          /* 1 when created, +1 for each change; 0: there is no such record */
    uint64_t epoch;            /* of the owner's store: 0, raised when an older backup was restored */
    char claim[CLAIM_MAX + 1]; /* "" for none; at most one record of a collection holds a given claim, for ever */
    uint64_t unconfirmed; /* the oldest version in the record's outbox, 0: none; set by the store's reads and writes */
    int64_t changed;      /* when it was last written, ms since 1970; set by the store's reads; 0: not known */
};

#define RECORD_INIT ((struct record){.version = 0})

#endif
