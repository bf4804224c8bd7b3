/* SPDX-License-Identifier: Apache-2.0
 * The versioned record: the one way in which a service keeps its data, and the only write that there is.
 *
 * A record and the event of its change are one atomic write: there is no moment in which one exists without the
 * other. Uniqueness is decided by the store's unique index on the claim, never by check-then-insert. */
#ifndef TURNSTILE_STORE_STORE_H
#define TURNSTILE_STORE_STORE_H

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/schema/table.h"

enum {
    STORE_INDEX_FIELDS_MAX = 4,
    STORE_COLLECTIONS_MAX = 8,
    STORE_INDEXES_MAX = 8,      /* of one collection */
    STORE_LIMIT_MAX = 1000,     /* records of one page */
    STORE_CURSOR_MAX = 512,     /* bytes, with the NUL */
    STORE_SCAN_MAX = 20000,     /* records that one list may look at for a page with residual filters */
    STORE_VALUE_TEXT_MAX = 512, /* bytes of a text in a query, with the NUL */
    STORE_SUBJECT_MAX = 64,     /* bytes, with the NUL */
    STORE_EVENT_MAX = 65536,    /* bytes of one outbox entry's payload */
    STORE_OUTBOX_MAX = 1000,    /* unconfirmed events of one record, then writes with events are refused */
};

/* An ordered index over fields of the table that are IN_STORE (paths like "ticket.id"; "createdAt"). Every index
 * ends implicitly with the id, so that its order is total. Text orders bytewise (choices by their names), numbers by
 * value, absent first. */
struct index {
    const char *name;                               /* NULL ends the list */
    const char *fields[STORE_INDEX_FIELDS_MAX + 1]; /* NULL-terminated paths */
};

struct collection {
    const char *name; /* "tickets"; [a-z_]+ */
    const struct table *table;
    const struct index *indexes; /* may be NULL */
};

struct store;

struct store_config {
    const char *uri; /* sqlite:path, or mongodb://[user:password@]host[:port][,…]/database[?options] */
    const struct collection *const *collections; /* NULL-terminated; borrowed for the life of the store */
    size_t readers;                              /* connections for reads, 1 to 64 */
    size_t threads;            /* that use it at once, so that none waits for a connection; 0: not known */
    const char *owner;         /* the service whose it is or becomes; NULL: whose it is does not matter */
    bool must_be_there;        /* and be the owner's; or else it is made if it is not, and becomes the owner's */
    const struct clock *clock; /* NULL: the system's */
};

/* Opens, creates what is missing, and migrates: new fields and indexes are added (in records that are there already a
 * required field then has its zero value), indexes that are no longer declared are dropped, and a store written by a
 * newer format is refused (ERROR_INVALID). A store that has no owner yet becomes the config's, unless it has to be
 * there already; then it is refused and left as it is, as one of another owner always is (ERROR_INVALID). So is one
 * that has to be there and is not (ERROR_NOT_FOUND). Blocks. A file that cannot be opened or written, or a server that
 * does not answer within a few seconds, is ERROR_UNAVAILABLE with the path, or the host, and the reason; a server that
 * refuses the user, the password, or what opening takes is ERROR_FORBIDDEN, and ERROR_UNAVAILABLE with these words for
 * all that follows.
 * Everything below is thread-safe. */
bool store_open(const struct store_config *config, struct store **ret_store, struct error *error) MUST_CHECK;
/* True for a URI that store_open understands: for the configuration's check, before anything is opened. */
bool store_uri_valid(const char *uri);
/* True for a URI of a server: what cannot be opened now (ERROR_UNAVAILABLE) may be there in a moment. */
bool store_is_remote(const char *uri);
/* Waits for writes that run; later calls are not allowed. */
void store_close(struct store **store);
/* Answers within about a second whether the store can read and write now. */
bool store_ping(struct store *store, struct error *error) MUST_CHECK;

/* ERROR_NOT_FOUND or ERROR_UNAVAILABLE; ERROR_INTERNAL: the record is there, but is not as the table has it.
 * `ret_value` is the collection's struct; it may be NULL. */
bool store_get(struct store *store, const struct collection *collection, const struct id *id, struct record *ret_head,
               void *ret_value, struct error *error) MUST_CHECK;
/* The record that holds a claim. */
bool store_get_by_claim(struct store *store, const struct collection *collection, const char *claim,
                        struct record *ret_head, void *ret_value, struct error *error) MUST_CHECK;

enum query_operator {
    QUERY_END = 0,  /* ends the list */
    QUERY_EQUAL,    /* of an id, text, number or choice */
    QUERY_ABSENT,   /* the field is absent */
    QUERY_AT_LEAST, /* numbers, money and times: inclusive */
    QUERY_AT_MOST,  /* inclusive */
    QUERY_CONTAINS, /* residual: text contains this, case-insensitively (text_contains_folded) */
};

struct query_condition {
    enum query_operator compare;
    const char *field; /* path */
    const char *text;  /* for ids and texts; borrowed during the call */
    int64_t number;    /* for all else */
};

enum {
    QUERY_CONDITIONS_MAX = 8,
};

/* A list by one declared index. Conditions that the index can serve (equalities and absences on its first fields,
 * AT_LEAST and AT_MOST on the next one) bound the scan; all others are residual filters, which look at no more than
 * STORE_SCAN_MAX records a page: a page may then be short, or empty, and still have a next one. */
struct query {
    const char *index; /* name of the index, in whose order the records come; NULL: in that of their ids */
    bool descending;
    struct query_condition conditions[QUERY_CONDITIONS_MAX + 1]; /* ends with QUERY_END */
    const char *after;                                           /* a cursor from a page; NULL or "": the beginning */
    size_t limit;                                                /* 1 to STORE_LIMIT_MAX */
    int64_t
        changed_since; /* residual: only what was written at or after this, ms since 1970, or has changed 0; 0: all */
};

struct page {
    size_t count;
    struct record *heads;        /* count of them */
    void *values;                /* count structs of the collection's table, one behind the other */
    bool more;                   /* `next` leads to a further page */
    char next[STORE_CURSOR_MAX]; /* opaque; [A-Za-z0-9_-]* */
};

#define PAGE_INIT ((struct page){.count = 0})

/* ERROR_INVALID: the cursor is not one of this index (400 for the client). Else as store_get. An index or a field that
 * is not declared is a bug and is asserted. Caller frees with page_done. */
bool store_list(struct store *store, const struct collection *collection, const struct query *query,
                struct page *ret_page, struct error *error) MUST_CHECK;
void page_done(struct page *page);
const void *page_value(const struct page *page, const struct collection *collection, size_t index);

/* An event in the making; borrowed during the write. */
struct outbox_entry {
    const char *subject;
    const char *payload;
    size_t length;
};

enum store_result {
    STORE_DONE,
    STORE_CONFLICT_ID,      /* expected 0: the record is there already */
    STORE_CONFLICT_CLAIM,   /* expected 0: another record holds the claim */
    STORE_CONFLICT_VERSION, /* expected n: the record has another version, or is not there */
    STORE_OUTBOX_FULL,      /* STORE_OUTBOX_MAX events of this record are unconfirmed; nothing was written */
    STORE_UNAVAILABLE,      /* error says why; the outcome may be unknown */
};

/* The only write; blocks until it is durable (a power cut after it loses nothing). Concurrent writes share a commit,
 * each still succeeding or failing alone.
 *   expected 0  inserts, with the claim if it is not ""
 *   expected n  replaces the value of the record whose version is n; the claim is kept as it was
 * record->version is the version that is written, greater than expected (expected + 1 for all but snapshots; lower only
 * where a snapshot of a later epoch replaces the record), and record->epoch its epoch. A replica's apply is the same
 * write without an entry. Conflicts are looked for in the order id, claim, version. On STORE_DONE record->unconfirmed
 * (and on an update record->claim) are set. `error` is filled for all results but STORE_DONE. An event that is larger
 * than STORE_EVENT_MAX, or whose subject is too long, is STORE_UNAVAILABLE with ERROR_INVALID. */
enum store_result store_write(struct store *store, const struct collection *collection, uint64_t expected,
                              struct record *record, const void *value, const struct outbox_entry *entry,
                              struct error *error) MUST_CHECK;

/* Takes a record away, if it is at this version: for replicas of what its owner does not have any more. What waits in
 * its outbox goes with it, and its claim may be taken again. STORE_DONE also if there is no such record;
 * STORE_CONFLICT_VERSION; STORE_UNAVAILABLE. */
enum store_result store_remove(struct store *store, const struct collection *collection, const struct id *id,
                               uint64_t expected, struct error *error) MUST_CHECK;

/* ---- facts: numbers about the store itself, by name ([a-z0-9:._/-]+), which are no records ---- */

enum {
    STORE_FACT_NAME_MAX = 128, /* bytes, with the NUL */
};

/* 0 for one that was never set. */
bool store_fact_get(struct store *store, const char *name, int64_t *ret_value, struct error *error) MUST_CHECK;
/* Sets it unless it is higher already; `value` is 0 or more. Durable when it returns. */
bool store_fact_raise(struct store *store, const char *name, int64_t value, struct error *error) MUST_CHECK;
/* Compare-and-set; *ret_replaced is false if it is not `expected`. Durable when it returns. Where a connection died
 * after it was sent, it may have been replaced, and false is returned with ERROR_UNAVAILABLE. */
bool store_fact_replace(struct store *store, const char *name, int64_t expected, int64_t value, bool *ret_replaced,
                        struct error *error) MUST_CHECK;

/* One event that waits for the bus's confirmation. */
struct outbox_item {
    const struct collection *collection;
    struct id id;
    uint64_t version;
    int64_t created; /* milliseconds since 1970 */
    char subject[STORE_SUBJECT_MAX];
    char *payload; /* NUL-terminated; owned by the page */
    size_t length;
};

struct outbox_page {
    size_t count;
    struct outbox_item *items;
    bool more;
};

#define OUTBOX_PAGE_INIT ((struct outbox_page){.count = 0})

/* Which entries to read: those of one record (collection and id set), lowest version first; or, of all records, for
 * each record its lowest unconfirmed entry if it was created at or before `created_until`, oldest first; and behind
 * these, those created at or after `created_from`, which are of a time when the clock was wrong. */
struct outbox_query {
    const struct collection *collection; /* NULL: all */
    struct id id;
    int64_t created_until; /* milliseconds since 1970; ignored for one record */
    int64_t created_from;  /* the same; 0: none */
    size_t limit;          /* 1 to STORE_LIMIT_MAX */
    size_t bytes;          /* stop after this much payload (at least one item is returned); 0: no bound */
};

bool store_outbox_read(struct store *store, const struct outbox_query *query, struct outbox_page *ret_page,
                       struct error *error) MUST_CHECK;
void outbox_page_done(struct outbox_page *page);

struct outbox_key {
    const struct collection *collection;
    struct id id;
    uint64_t version;
};

/* Removes exactly these; ones that are gone already are fine. Durable when it returns, or lost together with the
 * process, which only means that they are published again. */
bool store_outbox_remove(struct store *store, const struct outbox_key *keys, size_t count,
                         struct error *error) MUST_CHECK;
/* How many events wait, and the creation time of the oldest (0: none). */
bool store_outbox_count(struct store *store, uint64_t *ret_count, int64_t *ret_oldest, struct error *error) MUST_CHECK;

#endif
