/* SPDX-License-Identifier: Apache-2.0
 * Records as documents. */
#include <stdio.h>
#include <string.h>

#include "common/base/text.h"
#include "common/store/mongo/mongo.h"

#define VALUE "value"

void mongo_append_id(bson_t *document, const char *key, const char *hex)
{
    bson_oid_t id;
    if (!bson_oid_is_valid(hex, strlen(hex))) {
        BSON_APPEND_UTF8(document, key, hex); /* no document has it */
        return;
    }
    bson_oid_init_from_string(&id, hex);
    BSON_APPEND_OID(document, key, &id);
}

void mongo_append_value(bson_t *document, const char *key, const struct store_value *value)
{
    switch (value->kind) {
    case STORE_NUMBER:
        BSON_APPEND_INT64(document, key, value->number);
        break;
    case STORE_TEXT:
        BSON_APPEND_UTF8(document, key, value->text);
        break;
    case STORE_ABSENT: /* in conditions: equals what is not there */
        BSON_APPEND_NULL(document, key);
        break;
    }
}

/* Fields of one object stand behind one another, since objects are unfolded in place. From `first` on, those whose
 * paths have the same first `skip` bytes as it has; returns the position behind them. */
static size_t append_object(bson_t *object, const struct store_collection *collection, size_t first, size_t skip,
                            const void *entity)
{
    const struct flat_field *fields = collection->fields;
    size_t i = first;
    while (i < collection->field_count && strncmp(fields[i].path, fields[first].path, skip) == 0) {
        const char *name = fields[i].path + skip;
        const char *dot = strchr(name, '.');
        if (dot) {
            bson_t inner;
            bson_append_document_begin(object, name, (int)(dot - name), &inner);
            i = append_object(&inner, collection, i, (size_t)(dot + 1 - fields[i].path), entity);
            bson_append_document_end(object, &inner);
            continue;
        }
        struct store_value value = store_value_of(&fields[i], entity);
        if (value.kind != STORE_ABSENT) {
            mongo_append_value(object, name, &value);
        }
        i++;
    }
    return i;
}

void mongo_append_fields(bson_t *document, const struct store_collection *collection, const void *entity)
{
    bson_t value;
    BSON_APPEND_DOCUMENT_BEGIN(document, VALUE, &value);
    append_object(&value, collection, 0, 0, entity);
    bson_append_document_end(document, &value);
}

void mongo_append_changes(bson_t *set, bson_t *unset, const struct store_collection *collection, const void *entity)
{
    for (size_t i = 0; i < collection->field_count; i++) {
        char path[MONGO_PATH_MAX];
        snprintf(path, sizeof(path), VALUE ".%s", collection->fields[i].path);
        struct store_value value = store_value_of(&collection->fields[i], entity);
        mongo_append_value(value.kind == STORE_ABSENT ? unset : set, path, &value);
    }
}

void mongo_append_entry(bson_t *outbox, const char *key, const struct store_write_request *request)
{
    bson_t entry;
    BSON_APPEND_DOCUMENT_BEGIN(outbox, key, &entry);
    BSON_APPEND_INT64(&entry, "version", (int64_t)request->record->version);
    BSON_APPEND_INT64(&entry, "created", request->created);
    BSON_APPEND_UTF8(&entry, "subject", request->entry->subject);
    bson_append_utf8(&entry, "payload", -1, request->entry->payload, (int)request->entry->length);
    bson_append_document_end(outbox, &entry);
}

void mongo_append_projection(bson_t *options, bool with_value)
{
    static const char *const parts[] = {"version", "epoch", "writer", "claim", "changed", "outbox.version"};
    bson_t projection;
    BSON_APPEND_DOCUMENT_BEGIN(options, "projection", &projection);
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        BSON_APPEND_INT32(&projection, parts[i], 1);
    }
    if (with_value) {
        BSON_APPEND_INT32(&projection, VALUE, 1);
    }
    bson_append_document_end(options, &projection);
}

static bool find(const bson_t *document, const char *path, bson_iter_t *ret_place)
{
    bson_iter_t iter;
    return bson_iter_init(&iter, document) && bson_iter_find_descendant(&iter, path, ret_place);
}

int64_t mongo_number(const bson_t *document, const char *path)
{
    bson_iter_t place;
    return find(document, path, &place) ? bson_iter_as_int64(&place) : 0;
}

const char *mongo_text(const bson_t *document, const char *path)
{
    bson_iter_t place;
    return find(document, path, &place) && BSON_ITER_HOLDS_UTF8(&place) ? bson_iter_utf8(&place, NULL) : "";
}

void mongo_outbox_versions(const bson_t *document, size_t *ret_count, uint64_t *ret_first, uint64_t *ret_last)
{
    bson_iter_t array, entry, version;
    *ret_count = 0;
    *ret_first = *ret_last = 0;
    if (!bson_iter_init_find(&array, document, "outbox") || !BSON_ITER_HOLDS_ARRAY(&array) ||
        !bson_iter_recurse(&array, &entry)) {
        return;
    }
    while (bson_iter_next(&entry)) {
        bson_iter_t inner;
        if (BSON_ITER_HOLDS_DOCUMENT(&entry) && bson_iter_recurse(&entry, &inner) &&
            bson_iter_find_descendant(&inner, "version", &version)) {
            *ret_last = (uint64_t)bson_iter_as_int64(&version);
            *ret_first = *ret_count == 0 ? *ret_last : *ret_first;
            ++*ret_count;
        }
    }
}

static bool read_field(const bson_t *document, const struct flat_field *field, void *entity, struct error *error)
{
    char path[MONGO_PATH_MAX];
    snprintf(path, sizeof(path), VALUE ".%s", field->path);
    struct store_value value = {.kind = STORE_ABSENT};
    bson_iter_t place;
    if (find(document, path, &place)) {
        if (BSON_ITER_HOLDS_UTF8(&place)) {
            value = (struct store_value){.kind = STORE_TEXT, .text = bson_iter_utf8(&place, NULL)};
        } else if (BSON_ITER_HOLDS_NUMBER(&place) || BSON_ITER_HOLDS_BOOL(&place)) {
            value = (struct store_value){.kind = STORE_NUMBER, .number = bson_iter_as_int64(&place)};
        } else if (!BSON_ITER_HOLDS_NULL(&place)) {
            return error_set(error, ERROR_INTERNAL, "the stored %s is of another type", field->path);
        }
    }
    return store_value_put(field, &value, entity, error);
}

bool mongo_read_document(const bson_t *document, const struct store_collection *collection, struct record *ret_head,
                         void *entity, struct error *error)
{
    struct record head = RECORD_INIT;
    bson_iter_t id;
    if (!bson_iter_init_find(&id, document, "_id") || !BSON_ITER_HOLDS_OID(&id)) {
        return error_set(error, ERROR_INTERNAL, "a document of %s has no id of ours", collection->declared->name);
    }
    char hex[ID_LENGTH + 1];
    bson_oid_to_string(bson_iter_oid(&id), hex);
    if (!id_from_text(hex, &head.id)) {
        return error_set(error, ERROR_INTERNAL, "a document of %s has no id of ours", collection->declared->name);
    }
    head.version = (uint64_t)mongo_number(document, "version");
    head.epoch = (uint64_t)mongo_number(document, "epoch");
    head.changed = mongo_number(document, "changed");
    text_copy_cut(head.claim, sizeof(head.claim), mongo_text(document, "claim"));
    size_t count;
    uint64_t last;
    mongo_outbox_versions(document, &count, &head.unconfirmed, &last);
    if (entity) {
        memset(entity, 0, collection->declared->table->size);
    }
    for (size_t i = 0; entity && i < collection->field_count; i++) {
        if (!read_field(document, &collection->fields[i], entity, error)) {
            return error_prefix(error, "%s %s", collection->declared->name, hex);
        }
    }
    *ret_head = head;
    return true;
}
