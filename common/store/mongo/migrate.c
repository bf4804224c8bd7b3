/* SPDX-License-Identifier: Apache-2.0
 * Brings a database to what is declared: the owner, indexes, and zero values where old documents lack a required field.
 *
 * Other instances, of an older release too, may be at work meanwhile: nothing they use is taken away but indexes, and
 * everything here may be done twice, by several at once, or be broken off and done again. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/mongo/mongo.h"

#define INDEX_PREFIX "list." /* of declared indexes: these are ours to drop */
#define CLAIM_INDEX  "claim"
#define OUTBOX_INDEX "outbox"

enum {
    DROPS_MAX = 64, /* undeclared indexes of a collection; more wait for the next start */
    CODE_NAMESPACE_NOT_FOUND = 26,
    CODE_INDEX_NOT_FOUND = 27,
};

void migrate_index_name(const struct store_index *index, char *ret_name)
{
    snprintf(ret_name, MONGO_PATH_MAX, INDEX_PREFIX "%s", index->name);
}

static void append_keys(bson_t *document, const struct store_collection *collection, const struct store_index *index)
{
    bson_t keys;
    BSON_APPEND_DOCUMENT_BEGIN(document, "key", &keys);
    for (size_t i = 0; i < index->field_count; i++) {
        char path[MONGO_PATH_MAX];
        snprintf(path, sizeof(path), "value.%s", collection->fields[index->fields[i]].path);
        BSON_APPEND_INT32(&keys, path, 1);
    }
    BSON_APPEND_INT32(&keys, "_id", 1);
    bson_append_document_end(document, &keys);
}

/* ---- format ---- */

/* Adds what the document has to `ret_document`, which stays as it is if there is none. */
static bool read_meta(struct mongo_store *store, mongoc_collection_t *meta, const char *id, bson_t *ret_document,
                      struct error *error)
{
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(id));
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(meta, filter, NULL, NULL);
    const bson_t *document = NULL;
    bson_error_t failure;
    if (mongoc_cursor_next(cursor, &document)) {
        bson_concat(ret_document, document);
    }
    bool failed = mongoc_cursor_error(cursor, &failure);
    mongoc_cursor_destroy(cursor);
    bson_destroy(filter);
    return !failed || mongo_fail(store, &failure, error);
}

/* Unless there is one of its id. Takes ownership of the document. */
static bool insert_meta(struct mongo_store *store, mongoc_collection_t *meta, bson_t *document, struct error *error)
{
    bson_error_t failure;
    bool there = mongoc_collection_insert_one(meta, document, NULL, NULL, &failure) ||
                 mongo_failure_of(&failure) == MONGO_DUPLICATE;
    bson_destroy(document);
    return there || mongo_fail(store, &failure, error);
}

static bool check_format(struct mongo_store *store, mongoc_collection_t *meta, bool must_be_there, struct error *error)
{
    bson_t document = BSON_INITIALIZER;
    bool done = read_meta(store, meta, "format", &document, error);
    int64_t format = mongo_number(&document, "value");
    bson_destroy(&document);
    if (!done) {
        return false;
    }
    if (format == 0 && must_be_there) {
        store_refuse_absent(error);
        return error_prefix(error, "%s", store->name);
    }
    if (format > MONGO_STORE_FORMAT) {
        return error_set(error, ERROR_INVALID,
                         "%s: the database has format %d of a newer release; this one knows up to %d", store->name,
                         (int)format, MONGO_STORE_FORMAT);
    }
    return true;
}

/* The format, and what pings write to. */
static bool stamp(struct mongo_store *store, mongoc_collection_t *meta, struct error *error)
{
    static const char *const names[] = {"format", "ping"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        bson_t *document = BCON_NEW("_id", BCON_UTF8(names[i]), "value", BCON_INT64(i == 0 ? MONGO_STORE_FORMAT : 0));
        if (!insert_meta(store, meta, document, error)) {
            return false;
        }
    }
    return true;
}

/* ---- owner ---- */

/* "" if it is nobody's. */
static bool read_owner(struct mongo_store *store, mongoc_collection_t *meta, char ret_name[static MONGO_OWNER_MAX],
                       struct error *error)
{
    bson_t document = BSON_INITIALIZER;
    bool done = read_meta(store, meta, "owner", &document, error);
    if (done) {
        text_copy_cut(ret_name, MONGO_OWNER_MAX, mongo_text(&document, "name"));
    }
    bson_destroy(&document);
    return done;
}

/* Of several that note themselves at once the unique id lets one do it: so what is there is read afterwards, too. */
static bool claim_owner(struct mongo_store *store, mongoc_collection_t *meta, const char *owner, bool must_be_there,
                        struct error *error)
{
    char found[MONGO_OWNER_MAX] = "";
    if (!read_owner(store, meta, found, error)) {
        return false;
    }
    if (found[0] == '\0' && must_be_there) {
        store_refuse_unowned(owner, error);
        return error_prefix(error, "%s", store->name);
    }
    if (found[0] == '\0') {
        bson_t *document = BCON_NEW("_id", BCON_UTF8("owner"), "name", BCON_UTF8(owner));
        if (!insert_meta(store, meta, document, error) || !read_owner(store, meta, found, error)) {
            return false;
        }
    }
    if (found[0] == '\0') {
        return error_set(error, ERROR_UNAVAILABLE, "%s: no majority knows yet whose store it is", store->name);
    }
    if (!text_equal(found, owner)) {
        store_refuse_owner(found, owner, error);
        return error_prefix(error, "%s", store->name);
    }
    return true;
}

/* ---- indexes ---- */

static bool is_declared(const struct store_collection *collection, const char *name, const bson_t *description)
{
    char declared_name[MONGO_PATH_MAX];
    for (size_t i = 0; i < collection->index_count; i++) {
        const struct store_index *index = &collection->indexes[i];
        migrate_index_name(index, declared_name);
        if (index->field_count == 0 || !text_equal(declared_name, name)) {
            continue;
        }
        bson_t declared = BSON_INITIALIZER;
        append_keys(&declared, collection, index);
        bson_iter_t there, wanted, there_keys, wanted_keys;
        bool same = bson_iter_init_find(&there, description, "key") && bson_iter_recurse(&there, &there_keys) &&
                    bson_iter_init_find(&wanted, &declared, "key") && bson_iter_recurse(&wanted, &wanted_keys);
        while (same && bson_iter_next(&wanted_keys)) {
            same = bson_iter_next(&there_keys) && text_equal(bson_iter_key(&there_keys), bson_iter_key(&wanted_keys)) &&
                   bson_iter_as_int64(&there_keys) == 1;
        }
        same = same && !bson_iter_next(&there_keys);
        bson_destroy(&declared);
        return same;
    }
    return false;
}

static bool drop_index(struct mongo_store *store, mongoc_collection_t *handle, const char *name, struct error *error)
{
    bson_error_t failure;
    return mongoc_collection_drop_index_with_opts(handle, name, NULL, &failure) ||
           failure.code == CODE_INDEX_NOT_FOUND || failure.code == CODE_NAMESPACE_NOT_FOUND ||
           mongo_fail(store, &failure, error);
}

static bool drop_indexes(struct mongo_store *store, mongoc_collection_t *handle,
                         const struct store_collection *collection, struct error *error)
{
    char *names[DROPS_MAX];
    size_t count = 0;
    mongoc_cursor_t *cursor = mongoc_collection_find_indexes_with_opts(handle, NULL);
    const bson_t *description = NULL;
    bson_error_t failure;
    while (count < DROPS_MAX && mongoc_cursor_next(cursor, &description)) {
        const char *name = mongo_text(description, "name");
        if (text_starts_with(name, INDEX_PREFIX) && !is_declared(collection, name, description)) {
            names[count++] = xstrdup(name);
        }
    }
    bool done = !mongoc_cursor_error(cursor, &failure) || failure.code == CODE_NAMESPACE_NOT_FOUND ||
                mongo_fail(store, &failure, error);
    mongoc_cursor_destroy(cursor);
    for (size_t i = 0; i < count; i++) {
        done = done && drop_index(store, handle, names[i], error);
        xfree(names[i]);
    }
    return done;
}

/* Sparse: the one for the claim is for documents that have one, the outbox's for those in which something waits. */
static void append_indexes(bson_t *command, const struct store_collection *collection)
{
    bson_t *claim = BCON_NEW("key", "{", "claim", BCON_INT32(1), "}", "name", BCON_UTF8(CLAIM_INDEX), "unique",
                             BCON_BOOL(true), "sparse", BCON_BOOL(true));
    bson_t *outbox = BCON_NEW("key", "{", "outbox.0.created", BCON_INT32(1), "}", "name", BCON_UTF8(OUTBOX_INDEX),
                              "sparse", BCON_BOOL(true));
    bson_t indexes;
    BSON_APPEND_ARRAY_BEGIN(command, "indexes", &indexes);
    BSON_APPEND_DOCUMENT(&indexes, "0", claim);
    BSON_APPEND_DOCUMENT(&indexes, "1", outbox);
    bson_destroy(claim);
    bson_destroy(outbox);
    uint32_t position = 2;
    for (size_t i = 0; i < collection->index_count; i++) {
        const struct store_index *index = &collection->indexes[i];
        char key[MONGO_PATH_MAX], name[MONGO_PATH_MAX];
        const char *digits;
        if (index->field_count == 0) {
            continue;
        }
        bson_uint32_to_string(position++, &digits, key, sizeof(key));
        bson_t description;
        BSON_APPEND_DOCUMENT_BEGIN(&indexes, digits, &description);
        append_keys(&description, collection, index);
        migrate_index_name(index, name);
        BSON_APPEND_UTF8(&description, "name", name);
        bson_append_document_end(&indexes, &description);
    }
    bson_append_array_end(command, &indexes);
}

static bool add_indexes(struct mongo_store *store, mongoc_client_t *client, const struct store_collection *collection,
                        struct error *error)
{
    bson_t command = BSON_INITIALIZER;
    BSON_APPEND_UTF8(&command, "createIndexes", collection->declared->name);
    append_indexes(&command, collection);
    bson_error_t failure;
    bool done = mongoc_client_command_simple(client, store->database, &command, NULL, NULL, &failure);
    bson_destroy(&command);
    return done || mongo_fail(store, &failure, error);
}

/* ---- required fields that are new ---- */

/* Whether the documents of this collection have the field, by what an earlier open has left in store_meta. */
static bool is_filled(const bson_t *filled, const char *path)
{
    bson_iter_t list, item;
    if (!bson_iter_init_find(&list, filled, "fields") || !bson_iter_recurse(&list, &item)) {
        return false;
    }
    while (bson_iter_next(&item)) {
        if (BSON_ITER_HOLDS_UTF8(&item) && text_equal(bson_iter_utf8(&item, NULL), path)) {
            return true;
        }
    }
    return false;
}

static bool fill_field(struct mongo_store *store, mongoc_collection_t *handle, mongoc_collection_t *meta,
                       const char *meta_id, const struct flat_field *field, const void *zero, struct error *error)
{
    char path[MONGO_PATH_MAX];
    snprintf(path, sizeof(path), "value.%s", field->path);
    struct store_value value = store_value_of(field, zero);
    bson_t set = BSON_INITIALIZER;
    mongo_append_value(&set, path, &value);
    bson_t *filter = BCON_NEW(path, "{", "$exists", BCON_BOOL(false), "}");
    bson_t *update = BCON_NEW("$set", BCON_DOCUMENT(&set));
    bson_t *meta_filter = BCON_NEW("_id", BCON_UTF8(meta_id));
    bson_t *meta_update = BCON_NEW("$addToSet", "{", "fields", BCON_UTF8(field->path), "}");
    bson_t *upsert = BCON_NEW("upsert", BCON_BOOL(true));
    bson_error_t failure;
    bool done = mongoc_collection_update_many(handle, filter, update, NULL, NULL, &failure) &&
                (mongoc_collection_update_one(meta, meta_filter, meta_update, upsert, NULL, &failure) ||
                 mongo_failure_of(&failure) == MONGO_DUPLICATE); /* another instance is at it too */
    bson_destroy(&set);
    bson_destroy(filter);
    bson_destroy(update);
    bson_destroy(meta_filter);
    bson_destroy(meta_update);
    bson_destroy(upsert);
    return done || mongo_fail(store, &failure, error);
}

/* Lists and conditions go by what is in the documents. */
static bool fill_fields(struct mongo_store *store, mongoc_collection_t *handle, mongoc_collection_t *meta,
                        const struct store_collection *collection, struct error *error)
{
    CLEANUP(free_pointer) void *zero = xcalloc(1, collection->declared->table->size);
    char id[MONGO_PATH_MAX];
    snprintf(id, sizeof(id), "fields.%s", collection->declared->name);
    bson_t filled = BSON_INITIALIZER;
    bool done = read_meta(store, meta, id, &filled, error);
    for (size_t i = 0; done && i < collection->field_count; i++) {
        const struct flat_field *field = &collection->fields[i];
        if (field->required && !is_filled(&filled, field->path)) {
            done = fill_field(store, handle, meta, id, field, zero, error);
        }
    }
    bson_destroy(&filled);
    return done;
}

static bool migrate_collection(struct mongo_store *store, mongoc_client_t *client, mongoc_collection_t *meta,
                               const struct store_collection *collection, struct error *error)
{
    assert(!text_starts_with(collection->declared->name, "store_"));
    mongoc_collection_t *handle = mongo_collection(store, client, collection->declared->name);
    bool done = drop_indexes(store, handle, collection, error) && add_indexes(store, client, collection, error) &&
                fill_fields(store, handle, meta, collection, error);
    mongoc_collection_destroy(handle);
    return done;
}

bool migrate_store(struct mongo_store *store, mongoc_client_t *client, const struct store_setup *setup,
                   struct error *error)
{
    mongoc_collection_t *meta = mongo_collection(store, client, MONGO_META_COLLECTION);
    bool done = check_format(store, meta, setup->must_be_there, error) &&
                (!setup->owner || claim_owner(store, meta, setup->owner, setup->must_be_there, error)) &&
                stamp(store, meta, error);
    for (size_t i = 0; done && i < store->collection_count; i++) {
        done = migrate_collection(store, client, meta, &store->collections[i], error);
    }
    mongoc_collection_destroy(meta);
    return done;
}
