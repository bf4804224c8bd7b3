/* SPDX-License-Identifier: Apache-2.0
 * Facts: {_id: name, value: number} in a collection of their own. */
#include "common/store/mongo/mongo.h"

enum {
    UPSERT_ATTEMPTS = 3, /* two that make the same fact at once: one finds that it is there */
};

bool mongo_fact_get(void *state, const char *name, int64_t *ret_value, struct error *error)
{
    CLEANUP(lease_give) struct lease lease = LEASE_INIT;
    if (!lease_take(state, MONGO_FACTS_COLLECTION, &lease, error)) {
        return false;
    }
    bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER;
    BSON_APPEND_UTF8(&filter, "_id", name);
    BSON_APPEND_INT64(&options, "limit", 1);
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(lease.collection, &filter, &options, NULL);
    const bson_t *document = NULL;
    bson_error_t failure;
    int64_t value = mongoc_cursor_next(cursor, &document) ? mongo_number(document, "value") : 0;
    bool failed = mongoc_cursor_error(cursor, &failure);
    if (failed) {
        mongo_fail(lease.store, &failure, error);
    } else {
        *ret_value = value;
    }
    mongoc_cursor_destroy(cursor);
    bson_destroy(&filter);
    bson_destroy(&options);
    return !failed;
}

/* Never lowers a value, so that it may be repeated. */
bool mongo_fact_raise(void *state, const char *name, int64_t value, struct error *error)
{
    CLEANUP(lease_give) struct lease lease = LEASE_INIT;
    if (!lease_take(state, MONGO_FACTS_COLLECTION, &lease, error)) {
        return false;
    }
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(name));
    bson_t *update = BCON_NEW("$max", "{", "value", BCON_INT64(value), "}");
    bson_t *options = BCON_NEW("upsert", BCON_BOOL(true));
    int64_t deadline = clock_monotonic(NULL) + MONGO_REPEAT_MS;
    bson_error_t failure;
    bool done = false, again = true;
    for (int i = 0; i < UPSERT_ATTEMPTS && again && clock_monotonic(NULL) < deadline; i++) {
        done = mongoc_collection_update_one(lease.collection, filter, update, options, NULL, &failure);
        enum mongo_failure kind = done ? MONGO_REFUSED : mongo_failure_of(&failure);
        again = kind == MONGO_DUPLICATE || kind == MONGO_UNKNOWN;
    }
    bson_destroy(filter);
    bson_destroy(update);
    bson_destroy(options);
    return done || mongo_fail(lease.store, &failure, error);
}

/* Makes a fact that was never set: *ret_made is false if it is there. */
static bool make(struct lease *lease, const char *name, int64_t value, bool *ret_made, struct error *error)
{
    bson_t *document = BCON_NEW("_id", BCON_UTF8(name), "value", BCON_INT64(value));
    bson_error_t failure;
    bool made = mongoc_collection_insert_one(lease->collection, document, NULL, NULL, &failure);
    bson_destroy(document);
    if (!made && mongo_failure_of(&failure) != MONGO_DUPLICATE) {
        return mongo_fail(lease->store, &failure, error);
    }
    *ret_made = made;
    return true;
}

static bool replace(struct lease *lease, const char *name, int64_t expected, int64_t value, bool *ret_replaced,
                    struct error *error)
{
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(name), "value", BCON_INT64(expected));
    bson_t *update = BCON_NEW("$set", "{", "value", BCON_INT64(value), "}");
    bson_t reply;
    bson_error_t failure;
    bool done = mongoc_collection_update_one(lease->collection, filter, update, NULL, &reply, &failure);
    if (done) {
        *ret_replaced = mongo_number(&reply, "matchedCount") > 0;
    }
    bson_destroy(filter);
    bson_destroy(update);
    bson_destroy(&reply);
    return done || mongo_fail(lease->store, &failure, error);
}

bool mongo_fact_replace(void *state, const char *name, int64_t expected, int64_t value, bool *ret_replaced,
                        struct error *error)
{
    CLEANUP(lease_give) struct lease lease = LEASE_INIT;
    bool replaced = false;
    if (!lease_take(state, MONGO_FACTS_COLLECTION, &lease, error) ||
        !replace(&lease, name, expected, value, &replaced, error)) {
        return false;
    }
    if (!replaced && expected == 0 && !make(&lease, name, value, &replaced, error)) {
        return false;
    }
    *ret_replaced = replaced;
    return true;
}
