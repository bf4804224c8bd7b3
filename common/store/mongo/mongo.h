/* SPDX-License-Identifier: Apache-2.0
 * What the files of the MongoDB driver share.
 *
 * DESIGN. One record is one document, and every write is a write of one document:
 *
 *   {_id, version, epoch, writer, claim?, changed, value: {the fields, nested as declared},
 *    outbox?: [{version, created, subject, payload}, …]}      lowest version first
 *
 * Writes wait for a majority that has them in its journals, reads see only what a majority has: no decision hangs on a
 * write that a failover can take back. What is unique is so by the collection's indexes, _id and `claim`. A write whose
 * answer is lost is sent again; `writer`, in the document, tells whether it was there already (see write.c). */
#ifndef TURNSTILE_STORE_MONGO_MONGO_H
#define TURNSTILE_STORE_MONGO_MONGO_H

#include <mongoc/mongoc.h>

#include "common/store/driver.h"

enum {
    MONGO_STORE_FORMAT = 1, /* of the documents; a store with a higher one is refused */
    MONGO_PATH_MAX = SCHEMA_PATH_MAX + 8,
    MONGO_OWNER_MAX = 64,         /* bytes of a service's name, with the NUL */
    MONGO_CODE_UNAUTHORIZED = 13, /* the user, or who gives no user, may not do it */
    MONGO_CODE_DUPLICATE_KEY = 11000,
    /* A store that is away or frozen is told within 3 s: these are what adds up. The URI may say otherwise, but for
     * the last two. */
    MONGO_POOL_MAX = 100,     /* clients, made as they are needed; more, if as many threads ask */
    MONGO_POOL_SPARE = 20,    /* clients for others than these: the relay, looks at the store, questions */
    MONGO_POOL_WAIT_MS = 300, /* for a client */
    MONGO_SELECT_MS = 700,    /* for a server that can take it */
    MONGO_CONNECT_MS = 700,   /* for a connection and its handshake */
    MONGO_SOCKET_MS = 1000,   /* for each answer */
    MONGO_HEARTBEAT_MS =
        1000,               /* between looks at each server; while none can be had, the library looks twice as often */
    MONGO_REPEAT_MS = 1500, /* no repeat of an operation begins later than this */
    MONGO_MIGRATE_SOCKET_MS = 8000, /* for each answer while the store is opened: indexes are built meanwhile */
};

#define MONGO_META_COLLECTION  "store_meta"
#define MONGO_FACTS_COLLECTION "store_facts"

struct mongo_store {
    mongoc_client_pool_t *pool;
    char *name; /* hosts and database, for messages: neither user nor password */
    char *database;
    const struct store_collection *collections;
    size_t collection_count;
    mongoc_write_concern_t *majority; /* and journalled */
    mongoc_read_concern_t *committed; /* seen by a majority */
};

/* ---- uri.c ---- */

bool mongo_uri_valid(const char *uri);
/* With what the URI leaves out set to the limits above. Caller destroys it. ERROR_INVALID. */
mongoc_uri_t *mongo_uri_parse(const char *text, struct error *error) MUST_CHECK;
/* "mongodb://host:port,host:port/database". Caller frees with xfree. */
char *mongo_uri_name(const mongoc_uri_t *uri);

/* ---- lease.c ---- */

/* A client that this thread has, and one of its collections, with the store's concerns. */
struct lease {
    struct mongo_store *store;
    mongoc_client_t *client;
    mongoc_collection_t *collection;
};

#define LEASE_INIT ((struct lease){.store = NULL})

/* Waits no longer than MONGO_POOL_WAIT_MS. Caller gives it back with lease_give. */
bool lease_take(struct mongo_store *store, const char *collection, struct lease *ret_lease,
                struct error *error) MUST_CHECK;
void lease_give(struct lease *lease); /* usable with CLEANUP */
/* The same client's handle on another collection, with the store's concerns. Caller destroys it. */
mongoc_collection_t *mongo_collection(const struct mongo_store *store, mongoc_client_t *client, const char *name);

/* What a failed operation leaves behind. */
enum mongo_failure {
    MONGO_REFUSED,   /* nothing was done, and the same would be refused again */
    MONGO_NOT_SENT,  /* nothing was done */
    MONGO_DUPLICATE, /* another document has the id or the claim */
    MONGO_TOO_LARGE, /* the document would be larger than a document can be */
    MONGO_UNKNOWN,   /* it may be done, or be done later */
};

enum mongo_failure mongo_failure_of(const bson_error_t *failure);
/* ERROR_UNAVAILABLE with the library's words. That the server refuses the user, the password, or what this user asks
 * for is ERROR_FORBIDDEN while the store is being opened: more than time has to pass. Returns false. */
bool mongo_fail(const struct mongo_store *store, const bson_error_t *failure, struct error *error);
/* Sets `failure` from an answer that says that a majority does not have the write (yet). */
bool mongo_is_unconfirmed(const bson_t *reply, bson_error_t *failure);

/* ---- document.c ---- */

void mongo_append_id(bson_t *document, const char *key, const char *hex);
void mongo_append_value(bson_t *document, const char *key, const struct store_value *value);
/* {value: {…}} with the fields that are present. */
void mongo_append_fields(bson_t *document, const struct store_collection *collection, const void *entity);
/* {$set: {…}, $unset: {…}} of the fields, beginning with an open $set that has the head's. */
void mongo_append_changes(bson_t *set, bson_t *unset, const struct store_collection *collection, const void *entity);
void mongo_append_entry(bson_t *outbox, const char *key, const struct store_write_request *request);
/* Which parts of a document reads ask for. */
void mongo_append_projection(bson_t *options, bool with_value);
/* The head, and the fields if `entity` is not NULL. ERROR_INTERNAL: it is not as the table has it. */
bool mongo_read_document(const bson_t *document, const struct store_collection *collection, struct record *ret_head,
                         void *entity, struct error *error) MUST_CHECK;
int64_t mongo_number(const bson_t *document, const char *path);   /* 0 if there is none */
const char *mongo_text(const bson_t *document, const char *path); /* borrowed; "" if there is none */
/* The versions in the outbox: how many, and the first and last of them (0: none). */
void mongo_outbox_versions(const bson_t *document, size_t *ret_count, uint64_t *ret_first, uint64_t *ret_last);

/* ---- migrate.c ---- */

bool migrate_store(struct mongo_store *store, mongoc_client_t *client, const struct store_setup *setup,
                   struct error *error) MUST_CHECK;
/* The name that a declared index has in the database: ret_name[MONGO_PATH_MAX]. */
void migrate_index_name(const struct store_index *index, char *ret_name);

/* ---- the driver's functions, as store/driver.h has them ---- */

bool mongo_get(void *state, const struct store_collection *collection, enum store_key key, const char *text,
               bool *ret_found, struct record *ret_head, void *entity, struct error *error);
bool mongo_scan(void *state, const struct store_scan *scan, const struct store_visitor *visitor, struct error *error);
enum store_result mongo_write(void *state, const struct store_write_request *request,
                              struct store_write_answer *ret_answer, struct error *error);
enum store_result mongo_remove(void *state, const struct store_collection *collection, const struct id *id,
                               uint64_t expected, struct error *error);
bool mongo_outbox_scan(void *state, const struct outbox_query *query, size_t limit,
                       const struct store_outbox_visitor *visitor, struct error *error);
bool mongo_outbox_remove(void *state, const struct outbox_key *keys, size_t count, struct error *error);
bool mongo_outbox_count(void *state, uint64_t *ret_count, int64_t *ret_oldest, struct error *error);
bool mongo_fact_get(void *state, const char *name, int64_t *ret_value, struct error *error);
bool mongo_fact_raise(void *state, const char *name, int64_t value, struct error *error);
bool mongo_fact_replace(void *state, const char *name, int64_t expected, int64_t value, bool *ret_replaced,
                        struct error *error);

#endif
