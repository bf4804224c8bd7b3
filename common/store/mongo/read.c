/* SPDX-License-Identifier: Apache-2.0
 * Reads: by id, by claim, and along an index.
 *
 * A list is one query for each of its ranges, not one snapshot: a record that changes meanwhile may be seen in two of
 * them, or in none. */
#include <stdio.h>

#include "common/store/mongo/mongo.h"

enum {
    BATCH_MAX = 1000,   /* documents of one answer */
    CODE_BAD_VALUE = 2, /* among others: there is no such index to hint at */
};

static mongoc_cursor_t *find_one(const struct lease *lease, enum store_key key, const char *text, bool with_value)
{
    bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER;
    if (key == STORE_BY_ID) {
        mongo_append_id(&filter, "_id", text);
    } else {
        BSON_APPEND_UTF8(&filter, "claim", text);
    }
    BSON_APPEND_INT64(&options, "limit", 1);
    mongo_append_projection(&options, with_value);
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(lease->collection, &filter, &options, NULL);
    bson_destroy(&filter);
    bson_destroy(&options);
    return cursor;
}

/* *ret_again: the connection failed, and another may do. */
static bool get_once(struct mongo_store *store, const struct store_collection *collection, enum store_key key,
                     const char *text, bool *ret_found, struct record *ret_head, void *entity, bool *ret_again,
                     struct error *error)
{
    CLEANUP(lease_give) struct lease lease = LEASE_INIT;
    if (!lease_take(store, collection->declared->name, &lease, error)) {
        return false;
    }
    mongoc_cursor_t *cursor = find_one(&lease, key, text, true);
    const bson_t *document = NULL;
    bson_error_t failure;
    bool found = mongoc_cursor_next(cursor, &document);
    bool done = true;
    if (found) {
        done = mongo_read_document(document, collection, ret_head, entity, error);
    } else if (mongoc_cursor_error(cursor, &failure)) {
        *ret_again = mongo_failure_of(&failure) == MONGO_UNKNOWN;
        done = mongo_fail(store, &failure, error);
    }
    mongoc_cursor_destroy(cursor);
    if (done) {
        *ret_found = found;
    }
    return done;
}

bool mongo_get(void *state, const struct store_collection *collection, enum store_key key, const char *text,
               bool *ret_found, struct record *ret_head, void *entity, struct error *error)
{
    int64_t deadline = clock_monotonic(NULL) + MONGO_REPEAT_MS;
    if (key == STORE_BY_CLAIM && text[0] == '\0') {
        *ret_found = false;
        return true;
    }
    bool again;
    do {
        again = false;
        if (get_once(state, collection, key, text, ret_found, ret_head, entity, &again, error)) {
            return true;
        }
    } while (again && clock_monotonic(NULL) < deadline);
    return false;
}

/* ---- lists ---- */

static void append_bound(bson_t *bounds, const char *key, const struct store_value *value, bool of_id)
{
    if (of_id) {
        mongo_append_id(bounds, key, value->text);
    } else {
        mongo_append_value(bounds, key, value);
    }
}

/* Comparisons find values of the same type only: none of them finds what is absent. */
static void append_bounds(bson_t *filter, const char *path, const struct flat_field *field,
                          const struct store_range *range)
{
    bool low = range->low.kind != STORE_UNBOUNDED;
    bool high = range->high.kind != STORE_UNBOUNDED;
    if (!low && !high && !range->present) {
        return;
    }
    bson_t bounds;
    BSON_APPEND_DOCUMENT_BEGIN(filter, path, &bounds);
    if (low) {
        append_bound(&bounds, range->low.kind == STORE_INCLUSIVE ? "$gte" : "$gt", &range->low.value, !field);
    } else if (range->present && field) {
        struct store_value least = {.kind = store_field_kind(field->field), .number = INT64_MIN, .text = ""};
        append_bound(&bounds, "$gte", &least, false);
    }
    if (high) {
        append_bound(&bounds, range->high.kind == STORE_INCLUSIVE ? "$lte" : "$lt", &range->high.value, !field);
    }
    bson_append_document_end(filter, &bounds);
}

static void field_path(const struct store_scan *scan, size_t position, char ret_path[static MONGO_PATH_MAX])
{
    snprintf(ret_path, MONGO_PATH_MAX, "value.%s", scan->collection->fields[scan->index->fields[position]].path);
}

static void append_range(bson_t *filter, const struct store_scan *scan, const struct store_range *range)
{
    char path[MONGO_PATH_MAX];
    for (size_t i = 0; i < range->equal_count; i++) {
        field_path(scan, i, path);
        mongo_append_value(filter, path, &range->equal[i]);
    }
    if (range->equal_count == scan->index->field_count) {
        append_bounds(filter, "_id", NULL, range);
        return;
    }
    field_path(scan, range->equal_count, path);
    append_bounds(filter, path, &scan->collection->fields[scan->index->fields[range->equal_count]], range);
}

static void append_options(bson_t *options, const struct store_scan *scan, size_t limit, bool hint)
{
    bson_t sort;
    char path[MONGO_PATH_MAX];
    int direction = scan->descending ? -1 : 1;
    BSON_APPEND_DOCUMENT_BEGIN(options, "sort", &sort);
    for (size_t i = 0; i < scan->index->field_count; i++) {
        field_path(scan, i, path);
        BSON_APPEND_INT32(&sort, path, direction);
    }
    BSON_APPEND_INT32(&sort, "_id", direction);
    bson_append_document_end(options, &sort);
    BSON_APPEND_INT64(options, "limit", (int64_t)limit);
    BSON_APPEND_INT64(options, "batchSize", limit < BATCH_MAX ? (int64_t)limit : BATCH_MAX);
    mongo_append_projection(options, true);
    if (hint && scan->index->field_count > 0) {
        migrate_index_name(scan->index, path);
        BSON_APPEND_UTF8(options, "hint", path);
    }
}

/* *ret_no_index: the index that is hinted at is not there. */
static bool scan_range(const struct lease *lease, const struct store_scan *scan, const struct store_range *range,
                       const struct store_visitor *visitor, bool hint, size_t *left, bool *ret_no_index,
                       struct error *error)
{
    bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER;
    append_range(&filter, scan, range);
    append_options(&options, scan, *left, hint);
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(lease->collection, &filter, &options, NULL);
    bson_destroy(&filter);
    bson_destroy(&options);
    const bson_t *document = NULL;
    size_t seen = 0;
    bool done = true, ended = false;
    while (done && !ended && mongoc_cursor_next(cursor, &document)) {
        struct record head = RECORD_INIT;
        done = mongo_read_document(document, scan->collection, &head, visitor->entity, error);
        seen++;
        ended = done && !visitor->visit(visitor->context, &head);
    }
    bson_error_t failure;
    if (done && !ended && mongoc_cursor_error(cursor, &failure)) {
        *ret_no_index = hint && seen == 0 && failure.domain == MONGOC_ERROR_SERVER && failure.code == CODE_BAD_VALUE;
        done = mongo_fail(lease->store, &failure, error);
    }
    mongoc_cursor_destroy(cursor);
    *left = ended || seen >= *left ? 0 : *left - seen;
    return done;
}

/* The index is named, so that no plan looks at more than what is listed; where a newer release has dropped it while
 * this one still runs, the list is slow but right. */
bool mongo_scan(void *state, const struct store_scan *scan, const struct store_visitor *visitor, struct error *error)
{
    CLEANUP(lease_give) struct lease lease = LEASE_INIT;
    if (!lease_take(state, scan->collection->declared->name, &lease, error)) {
        return false;
    }
    size_t left = scan->limit;
    for (size_t i = 0; i < scan->range_count && left > 0; i++) {
        bool no_index = false;
        if (!scan_range(&lease, scan, &scan->ranges[i], visitor, true, &left, &no_index, error) &&
            (!no_index || !scan_range(&lease, scan, &scan->ranges[i], visitor, false, &left, &no_index, error))) {
            return false;
        }
    }
    return true;
}
