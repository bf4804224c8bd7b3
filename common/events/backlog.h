/* SPDX-License-Identifier: Apache-2.0
 * Which events of which records wait for the bus, and which of them may go next: the relay's memory and its rule,
 * without threads and without I/O.
 *
 * The rule: a version of a record is published only when no lower one of that record waits in the outbox, whoever
 * wrote it. That is known when the version was the only one there as it was written or read (versions only grow, so
 * none can come below it later), or when all below it were confirmed here. Else the record's outbox is read first. */
#ifndef TURNSTILE_EVENTS_BACKLOG_H
#define TURNSTILE_EVENTS_BACKLOG_H

#include "common/base/log.h"
#include "common/store/store.h"

struct backlog;
struct backlog_record;

/* One event that waits in memory. */
struct backlog_event {
    struct backlog_event *next;
    uint64_t version;
    bool lowest; /* nothing lower was in the outbox when it was written or read */
    char subject[STORE_SUBJECT_MAX];
    char trace[LOG_CONTEXT_MAX + 1]; /* "" if it came from the store */
    char *payload;
    size_t length;
};

struct backlog_counts {
    size_t records;
    size_t bytes;    /* of payload */
    size_t removals; /* confirmed, but not yet removed from the outbox */
    size_t swept;    /* records that were found by a sweep */
    size_t urgent;   /* records that wait for their removals before they can go on */
    size_t to_read;  /* records whose outbox is to be read */
};

/* `bytes_max` bounds the payload of what is written, all told; reads may take another third of that. Not thread-safe:
 * the owner locks. */
struct backlog *backlog_new(size_t bytes_max, size_t records_max);
void backlog_free(struct backlog **backlog);
struct backlog_counts backlog_counts(const struct backlog *backlog);

/* What was written here: the event is copied if there is room for it, else it is read from the store when its turn
 * comes. False: too many records; the sweep will find it. */
bool backlog_add(struct backlog *backlog, const struct collection *collection, const struct record *record,
                 const struct outbox_entry *entry);
/* What a sweep found: the lowest event of its record. Ignored (true) if it is known; false: too many records. */
bool backlog_add_swept(struct backlog *backlog, const struct outbox_item *item, bool *ret_is_news);

/* The next record whose lowest event may be published, or NULL. It stays as it is until backlog_confirmed or
 * backlog_failed; backlog_event is what to publish. */
struct backlog_record *backlog_take_to_publish(struct backlog *backlog);
const struct backlog_event *backlog_event(const struct backlog_record *record);
void backlog_confirmed(struct backlog *backlog, struct backlog_record *record);
void backlog_failed(struct backlog *backlog, struct backlog_record *record);

/* The next record whose outbox must be read, or NULL; also NULL while there is no room for what it holds. Ends with
 * backlog_read: `page` is the beginning of the record's outbox, NULL if it could not be read. */
struct backlog_record *backlog_take_to_read(struct backlog *backlog);
void backlog_read(struct backlog *backlog, struct backlog_record *record, const struct outbox_page *page);
/* Bytes of payload that one read may return. */
size_t backlog_read_bytes(const struct backlog *backlog);
/* True while there is room for the payload of a sweep that reads twice as much. */
bool backlog_can_sweep(const struct backlog *backlog);

/* What to remove from the outbox, oldest first; returns how many. Each ends with backlog_removed or
 * backlog_not_removed. */
size_t backlog_take_removals(struct backlog *backlog, struct outbox_key *ret_keys, size_t limit);
void backlog_removed(struct backlog *backlog, const struct outbox_key *keys, size_t count);
void backlog_not_removed(struct backlog *backlog, const struct outbox_key *keys, size_t count);

/* Between these, records that are done with are still remembered, so that a sweep that was read meanwhile does not
 * take what was confirmed for what was left behind. */
void backlog_sweep_begins(struct backlog *backlog);
void backlog_sweep_ends(struct backlog *backlog);

/* What the relay knows of a record beside its events: for its own use. */
struct backlog_record {
    struct backlog *backlog;
    struct backlog_record *next; /* in the list of its place, or of the owner while it is taken */
    void *owner;                 /* the owner's */
    const struct collection *collection;
    struct id id;
    enum {
        BACKLOG_IDLE,
        BACKLOG_TO_PUBLISH,
        BACKLOG_PUBLISHING,
        BACKLOG_TO_REMOVE, /* to be read when what was confirmed is removed, so that the read shows only the rest */
        BACKLOG_TO_READ,
        BACKLOG_READING,
    } place;
    bool swept;
    bool unexplored;             /* the outbox may hold more than is known here */
    bool stored;                 /* the owner's: how the publish ended */
    uint64_t done;               /* no version up to this one waits any more */
    uint64_t target;             /* the highest version known to wait */
    uint64_t target_at_read;     /* as it was when the read began */
    size_t removals;             /* of this record */
    struct backlog_event *first; /* ascending */
};

#endif
