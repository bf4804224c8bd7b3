/* SPDX-License-Identifier: Apache-2.0
 * The outbox: what waits in the documents for the bus's confirmation, found by the time of each one's first entry. */
#include <stdio.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/mongo/mongo.h"

#define FIRST_CREATED "outbox.0.created"

enum {
    COUNT_MS = 800, /* for a count on the server: less than an answer is waited for */
};

static bool read_id(const bson_t *document, struct id *ret_id)
{
    bson_iter_t place;
    char hex[ID_LENGTH + 1];
    if (!bson_iter_init_find(&place, document, "_id") || !BSON_ITER_HOLDS_OID(&place)) {
        return false;
    }
    bson_oid_to_string(bson_iter_oid(&place), hex);
    return id_from_text(hex, ret_id);
}

static bool visit_entry(const bson_t *entry, const char *collection, const struct id *id,
                        const struct store_outbox_visitor *visitor)
{
    bson_iter_t place;
    uint32_t length = 0;
    const char *payload = "";
    if (bson_iter_init_find(&place, entry, "payload") && BSON_ITER_HOLDS_UTF8(&place)) {
        payload = bson_iter_utf8(&place, &length);
    }
    return visitor->visit(visitor->context, collection, id, (uint64_t)mongo_number(entry, "version"),
                          mongo_number(entry, "created"), mongo_text(entry, "subject"), payload, length);
}

/* Shows what is at this place; false when the visitor has enough. */
static bool visit_place(const bson_iter_t *place, const char *collection, const struct id *id,
                        const struct store_outbox_visitor *visitor)
{
    const uint8_t *data;
    uint32_t length;
    bson_t entry;
    if (!BSON_ITER_HOLDS_DOCUMENT(place)) {
        return true;
    }
    bson_iter_document(place, &length, &data);
    return !bson_init_static(&entry, data, length) || visit_entry(&entry, collection, id, visitor);
}

static void visit_entries(const bson_t *document, const char *collection, const struct store_outbox_visitor *visitor)
{
    bson_iter_t array, place;
    struct id id = {.hex = ""};
    if (!read_id(document, &id) || !bson_iter_init_find(&array, document, "outbox") || !BSON_ITER_HOLDS_ARRAY(&array) ||
        !bson_iter_recurse(&array, &place)) {
        return;
    }
    while (bson_iter_next(&place) && visit_place(&place, collection, &id, visitor)) {
    }
}

static bool scan_record(struct lease *lease, const struct outbox_query *query, size_t limit,
                        const struct store_outbox_visitor *visitor, struct error *error)
{
    bson_t filter = BSON_INITIALIZER, waits;
    mongo_append_id(&filter, "_id", query->id.hex);
    BSON_APPEND_DOCUMENT_BEGIN(&filter, FIRST_CREATED, &waits);
    BSON_APPEND_BOOL(&waits, "$exists", true);
    bson_append_document_end(&filter, &waits);
    /* The version makes the projection a list of what to send. */
    bson_t *options = BCON_NEW("limit", BCON_INT64(1), "projection", "{", "version", BCON_INT32(1), "outbox", "{",
                               "$slice", BCON_INT32((int32_t)limit), "}", "}");
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(lease->collection, &filter, options, NULL);
    const bson_t *document = NULL;
    bson_error_t failure;
    if (mongoc_cursor_next(cursor, &document)) {
        visit_entries(document, query->collection->name, visitor);
    }
    bool failed = mongoc_cursor_error(cursor, &failure);
    mongoc_cursor_destroy(cursor);
    bson_destroy(&filter);
    bson_destroy(options);
    return !failed || mongo_fail(lease->store, &failure, error);
}

/* ---- of all records ---- */

/* One collection's records, by the time of their first entry. */
struct source {
    const char *collection;
    mongoc_collection_t *handle;
    mongoc_cursor_t *cursor;
    const bson_t *document; /* the next one, NULL at the end */
};

static void append_bound(bson_t *alternatives, const char *key, const char *compare, int64_t time)
{
    bson_t alternative, bound;
    BSON_APPEND_DOCUMENT_BEGIN(alternatives, key, &alternative);
    BSON_APPEND_DOCUMENT_BEGIN(&alternative, FIRST_CREATED, &bound);
    BSON_APPEND_INT64(&bound, compare, time);
    bson_append_document_end(&alternative, &bound);
    bson_append_document_end(alternatives, &alternative);
}

/* The match is read along the index, which has the oldest first, until there are enough; they are sorted after that, by
 * what was found. A sort before the cut would be right on any server, but MongoDB does not take the order of an index
 * over a place in an array for it: it would read all that wait, for every page, which with some hundred thousand takes
 * longer than anybody waits for an answer, and nothing would ever be published. Where the index is not followed, these
 * are not the oldest of all, but they come oldest first. */
static void open_source(struct source *source, const struct outbox_query *query, size_t limit)
{
    bson_t alternatives = BSON_INITIALIZER;
    append_bound(&alternatives, "0", "$lte", query->created_until);
    if (query->created_from > 0) {
        append_bound(&alternatives, "1", "$gte", query->created_from);
    }
    bson_t *pipeline = BCON_NEW("pipeline", "[", "{", "$match", "{", "$or", BCON_ARRAY(&alternatives), "}", "}", "{",
                                "$limit", BCON_INT64((int64_t)limit), "}", "{", "$project", "{", "first", "{",
                                "$arrayElemAt", "[", BCON_UTF8("$outbox"), BCON_INT32(0), "]", "}", "}", "}", "{",
                                "$sort", "{", "first.created", BCON_INT32(1), "_id", BCON_INT32(1), "}", "}", "]");
    source->cursor = mongoc_collection_aggregate(source->handle, MONGOC_QUERY_NONE, pipeline, NULL, NULL);
    bson_destroy(pipeline);
    bson_destroy(&alternatives);
}

static bool visit_first(const struct source *source, const struct store_outbox_visitor *visitor)
{
    bson_iter_t place;
    struct id id = {.hex = ""};
    return !read_id(source->document, &id) || !bson_iter_init_find(&place, source->document, "first") ||
           visit_place(&place, source->collection, &id, visitor);
}

static bool advance(const struct mongo_store *store, struct source *source, struct error *error)
{
    bson_error_t failure;
    source->document = NULL;
    return mongoc_cursor_next(source->cursor, &source->document) || !mongoc_cursor_error(source->cursor, &failure) ||
           mongo_fail(store, &failure, error);
}

/* The source whose next record is the oldest; NULL: all are at their end. */
static struct source *oldest(struct source *sources, size_t count)
{
    struct source *found = NULL;
    int64_t created = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t own = sources[i].document ? mongo_number(sources[i].document, "first.created") : 0;
        if (sources[i].document && (!found || own < created)) {
            found = &sources[i];
            created = own;
        }
    }
    return found;
}

static bool merge(const struct mongo_store *store, struct source *sources, size_t count, size_t limit,
                  const struct store_outbox_visitor *visitor, struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (!advance(store, &sources[i], error)) {
            return false;
        }
    }
    struct source *next;
    for (size_t seen = 0; seen < limit && (next = oldest(sources, count)) != NULL; seen++) {
        if (!visit_first(next, visitor)) {
            return true;
        }
        if (!advance(store, next, error)) {
            return false;
        }
    }
    return true;
}

static bool scan_all(struct lease *lease, const struct outbox_query *query, size_t limit,
                     const struct store_outbox_visitor *visitor, struct error *error)
{
    struct mongo_store *store = lease->store;
    struct source sources[STORE_COLLECTIONS_MAX];
    for (size_t i = 0; i < store->collection_count; i++) {
        const char *name = store->collections[i].declared->name;
        sources[i] = (struct source){.collection = name, .handle = mongo_collection(store, lease->client, name)};
        open_source(&sources[i], query, limit);
    }
    bool done = merge(store, sources, store->collection_count, limit, visitor, error);
    for (size_t i = 0; i < store->collection_count; i++) {
        mongoc_cursor_destroy(sources[i].cursor);
        mongoc_collection_destroy(sources[i].handle);
    }
    return done;
}

bool mongo_outbox_scan(void *state, const struct outbox_query *query, size_t limit,
                       const struct store_outbox_visitor *visitor, struct error *error)
{
    CLEANUP(lease_give) struct lease lease = LEASE_INIT;
    if (!lease_take(state, query->collection ? query->collection->name : MONGO_META_COLLECTION, &lease, error)) {
        return false;
    }
    return query->collection ? scan_record(&lease, query, limit, visitor, error)
                             : scan_all(&lease, query, limit, visitor, error);
}

/* ---- removal ---- */

/* {$pull: {outbox: {version: v}}} on the key's document. */
static void append_pull(mongoc_bulk_operation_t *bulk, const struct outbox_key *key)
{
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, pull, outbox;
    mongo_append_id(&filter, "_id", key->id.hex);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$pull", &pull);
    BSON_APPEND_DOCUMENT_BEGIN(&pull, "outbox", &outbox);
    BSON_APPEND_INT64(&outbox, "version", (int64_t)key->version);
    bson_append_document_end(&pull, &outbox);
    bson_append_document_end(&update, &pull);
    mongoc_bulk_operation_update_one(bulk, &filter, &update, false);
    bson_destroy(&filter);
    bson_destroy(&update);
}

static bool names(const struct outbox_key *keys, size_t count, const struct store_collection *collection)
{
    for (size_t i = 0; i < count; i++) {
        if (keys[i].collection == collection->declared) {
            return true;
        }
    }
    return false;
}

/* Those of one collection, in one unordered batch. A majority has to have it: reads, which see what a majority has,
 * would else find for a moment what is removed, and it would be published again. */
static bool remove_from(struct lease *lease, const struct outbox_key *keys, size_t count, struct error *error)
{
    bson_t *options = BCON_NEW("ordered", BCON_BOOL(false), "writeConcern", "{", "w", BCON_UTF8("majority"), "}");
    mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(lease->collection, options);
    bson_destroy(options);
    for (size_t i = 0; i < count; i++) {
        if (text_equal(keys[i].collection->name, mongoc_collection_get_name(lease->collection))) {
            append_pull(bulk, &keys[i]);
        }
    }
    bson_t reply;
    bson_error_t failure;
    bool done = mongoc_bulk_operation_execute(bulk, &reply, &failure) != 0;
    bson_destroy(&reply);
    mongoc_bulk_operation_destroy(bulk);
    return done || mongo_fail(lease->store, &failure, error);
}

bool mongo_outbox_remove(void *state, const struct outbox_key *keys, size_t count, struct error *error)
{
    struct mongo_store *store = state;
    for (size_t i = 0; i < store->collection_count; i++) {
        CLEANUP(lease_give) struct lease lease = LEASE_INIT;
        if (!names(keys, count, &store->collections[i])) {
            continue;
        }
        if (!lease_take(store, store->collections[i].declared->name, &lease, error) ||
            !remove_from(&lease, keys, count, error)) {
            return false;
        }
    }
    return true;
}

/* ---- counts ---- */

/* The server stops counting when nobody waits for it any more: counts of a deep outbox would else pile up there. */
static bool count_in(struct lease *lease, uint64_t *count, int64_t *oldest_created, struct error *error)
{
    bson_error_t failure;
    bson_t *pipeline =
        BCON_NEW("pipeline", "[", "{", "$match", "{", FIRST_CREATED, "{", "$gte", BCON_INT64(INT64_MIN), "}", "}", "}",
                 "{", "$project", "{", "count", "{", "$size", BCON_UTF8("$outbox"), "}", "oldest", "{", "$min",
                 BCON_UTF8("$outbox.created"), "}", "}", "}", "{", "$group", "{", "_id", BCON_NULL, "count", "{",
                 "$sum", BCON_UTF8("$count"), "}", "oldest", "{", "$min", BCON_UTF8("$oldest"), "}", "}", "}", "]");
    bson_t *options = BCON_NEW("maxTimeMS", BCON_INT64(COUNT_MS));
    mongoc_cursor_t *cursor =
        mongoc_collection_aggregate(lease->collection, MONGOC_QUERY_NONE, pipeline, options, NULL);
    bson_destroy(options);
    const bson_t *document = NULL;
    if (mongoc_cursor_next(cursor, &document) && mongo_number(document, "count") > 0) {
        int64_t created = mongo_number(document, "oldest");
        *oldest_created = *count == 0 || created < *oldest_created ? created : *oldest_created;
        *count += (uint64_t)mongo_number(document, "count");
    }
    bool failed = mongoc_cursor_error(cursor, &failure);
    mongoc_cursor_destroy(cursor);
    bson_destroy(pipeline);
    return !failed || mongo_fail(lease->store, &failure, error);
}

bool mongo_outbox_count(void *state, uint64_t *ret_count, int64_t *ret_oldest, struct error *error)
{
    struct mongo_store *store = state;
    uint64_t count = 0;
    int64_t created = 0;
    for (size_t i = 0; i < store->collection_count; i++) {
        CLEANUP(lease_give) struct lease lease = LEASE_INIT;
        if (!lease_take(store, store->collections[i].declared->name, &lease, error) ||
            !count_in(&lease, &count, &created, error)) {
            return false;
        }
    }
    *ret_count = count;
    *ret_oldest = created;
    return true;
}
