/* SPDX-License-Identifier: Apache-2.0
 * What an engine has to provide to be a store, and what all engines share: plain values, ranges of an index.
 *
 * store.c checks arguments, plans lists, filters and pages; a driver only runs what is below. A new driver is a folder
 * of its own and a line in store.c's list of drivers. */
#ifndef TURNSTILE_STORE_DRIVER_H
#define TURNSTILE_STORE_DRIVER_H

#include "common/base/clock.h"
#include "common/store/store.h"

enum {
    STORE_WRITER_MAX = 40,      /* bytes of a write's token, with the NUL */
    STORE_RANGES_MAX = 10,      /* ranges that a list behind a cursor falls into: two a field, and the id's */
    STORE_NAME_MAX = 32,        /* bytes of a collection's or an index's name, with the NUL */
    STORE_WRITE_WAIT_MS = 3000, /* how long a write waits for its turn before it gives up, with nothing written */
    STORE_PING_WAIT_MS = 1000,
};

/* A declared index, resolved: positions in the collection's fields. The order of ids, which no collection declares, is
 * one of the name "" without fields. */
struct store_index {
    const char *name;
    size_t field_count;
    size_t fields[STORE_INDEX_FIELDS_MAX];
};

/* A declared collection, resolved once at open. */
struct store_collection {
    const struct collection *declared;
    size_t position; /* among the store's collections */
    size_t field_count;
    struct flat_field fields[SCHEMA_FIELDS_MAX];
    size_t index_count;
    struct store_index indexes[STORE_INDEXES_MAX];
};

/* A field's value as engines keep it: ids, texts and choices (by name) are texts, all else is a number. */
enum store_kind { STORE_ABSENT, STORE_NUMBER, STORE_TEXT };

struct store_value {
    enum store_kind kind;
    int64_t number;
    const char *text; /* borrowed */
};

/* STORE_NUMBER or STORE_TEXT: how a field is kept when it is present. */
enum store_kind store_field_kind(const struct field *field);
/* The value of a field in an entity's struct; texts are borrowed from there. */
struct store_value store_value_of(const struct flat_field *field, const void *entity);
/* Puts a value from the engine into an entity's struct that is zeroed: absent leaves it so. ERROR_INTERNAL if it
 * does not fit the field, as a store written by another release may have it. */
bool store_value_put(const struct flat_field *field, const struct store_value *value, void *entity,
                     struct error *error) MUST_CHECK;
/* Below, at or above 0; absent first, then by number or bytewise. */
int store_value_compare(const struct store_value *a, const struct store_value *b);

/* One run of records along an index: its first `equal_count` fields have these values (absence included), and the
 * next one (behind the last field: the id) lies within the bounds. Bounds exclude records in which it is absent. */
enum store_bound_kind { STORE_UNBOUNDED, STORE_INCLUSIVE, STORE_EXCLUSIVE };

struct store_bound {
    enum store_bound_kind kind;
    struct store_value value;
};

struct store_range {
    size_t equal_count;
    struct store_value equal[STORE_INDEX_FIELDS_MAX];
    bool present; /* the next field is not absent, whatever its value */
    struct store_bound low, high;
};

struct store_scan {
    const struct store_collection *collection;
    const struct store_index *index;
    bool descending;
    size_t limit; /* no more records than this are wanted from all the ranges together */
    size_t range_count;
    struct store_range ranges[STORE_RANGES_MAX]; /* in the order in which they are to be visited */
};

/* The driver fills `entity` and calls `visit` for each record, until that returns false. */
struct store_visitor {
    void *entity; /* one struct of the collection's table */
    void *context;
    bool (*visit)(void *context, const struct record *head);
};

struct store_write_request {
    const struct store_collection *collection;
    uint64_t expected;
    const struct record *record;
    const void *value;
    const struct outbox_entry *entry; /* NULL: no event */
    int64_t created;                  /* of the entry, and record->changed for reads; milliseconds since 1970 */
    char writer[STORE_WRITER_MAX];    /* no other write has this token */
};

/* What a write that is done learned about its record. */
struct store_write_answer {
    uint64_t unconfirmed;
    char claim[CLAIM_MAX + 1];
};

/* Sees entries of declared collections only. */
struct store_outbox_visitor {
    void *context;
    bool (*visit)(void *context, const char *collection, const struct id *id, uint64_t version, int64_t created,
                  const char *subject, const char *payload, size_t length);
};

struct store_setup {
    const char *uri;
    const struct store_collection *collections;
    size_t collection_count;
    size_t readers;
    size_t threads;
    const struct clock *clock;
    const char *owner; /* NULL: none is looked for */
    bool must_be_there;
};

/* The store belongs to another service than it is opened for: sets ERROR_INVALID, without the place; returns false. */
bool store_refuse_owner(const char *found, const char *owner, struct error *error);
/* It is not there and must be: sets ERROR_NOT_FOUND, without the place; returns false. */
bool store_refuse_absent(struct error *error);
/* It has to be there and is nobody's yet: sets ERROR_INVALID, without the place; returns false. */
bool store_refuse_unowned(const char *owner, struct error *error);

enum store_key { STORE_BY_ID, STORE_BY_CLAIM };

/* Every function is thread-safe but open and close, and says ERROR_UNAVAILABLE unless something else is noted in
 * store.h. `state` is what open returned. */
struct store_driver {
    const char *scheme; /* how its URIs begin: "sqlite:" */
    bool remote;        /* a server, which may be away for a while; else what cannot be opened is wrong */
    bool (*uri_valid)(const char *uri);
    bool (*open)(const struct store_setup *setup, void **ret_state, struct error *error);
    void (*close)(void *state);
    bool (*ping)(void *state, struct error *error);
    /* `entity` is scratch memory of the caller. */
    bool (*get)(void *state, const struct store_collection *collection, enum store_key key, const char *text,
                bool *ret_found, struct record *ret_head, void *entity, struct error *error);
    bool (*scan)(void *state, const struct store_scan *scan, const struct store_visitor *visitor, struct error *error);
    enum store_result (*write)(void *state, const struct store_write_request *request,
                               struct store_write_answer *ret_answer, struct error *error);
    /* As store_outbox_read has it, up to `limit` entries. */
    bool (*outbox_scan)(void *state, const struct outbox_query *query, size_t limit,
                        const struct store_outbox_visitor *visitor, struct error *error);
    bool (*outbox_remove)(void *state, const struct outbox_key *keys, size_t count, struct error *error);
    bool (*outbox_count)(void *state, uint64_t *ret_count, int64_t *ret_oldest, struct error *error);
    /* As store_remove has it. */
    enum store_result (*remove)(void *state, const struct store_collection *collection, const struct id *id,
                                uint64_t expected, struct error *error);
    bool (*fact_get)(void *state, const char *name, int64_t *ret_value, struct error *error);
    bool (*fact_raise)(void *state, const char *name, int64_t value, struct error *error);
    bool (*fact_replace)(void *state, const char *name, int64_t expected, int64_t value, bool *ret_replaced,
                         struct error *error);
};

extern const struct store_driver store_sqlite;
extern const struct store_driver store_mongo;

#endif
