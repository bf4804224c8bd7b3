/* SPDX-License-Identifier: Apache-2.0
 * Writes the statements of a collection, and moves values between entities, parameters and columns. */
#include "common/store/sqlite/rows.h"

#include <assert.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

/* Columns that rows_read finds in front of the fields, and parameters in front of them in rows_bind. */
enum { COLUMN_ID, COLUMN_VERSION, COLUMN_EPOCH, COLUMN_CLAIM, COLUMN_CHANGED, COLUMN_UNCONFIRMED, COLUMN_FIELDS };
enum { BIND_ID = 1, BIND_VERSION, BIND_EPOCH, BIND_WRITER, BIND_CLAIM, BIND_CHANGED, BIND_FIELDS };

static char *take_sql(struct buffer *sql)
{
    assert(!sql->overflowed);
    char *text = xstrdup(buffer_text(sql));
    buffer_clear(sql);
    return text;
}

static const char *path_of(const struct store_collection *collection, size_t field)
{
    return collection->fields[field].path;
}

static void append_select(struct buffer *sql, const struct store_collection *collection)
{
    const char *name = collection->declared->name;
    buffer_printf(
        sql,
        "SELECT r.\"id\", r.\"version\", r.\"epoch\", r.\"claim\", r.\"changed\", (SELECT min(o.\"version\") FROM "
        "\"store_outbox\" AS o WHERE o.\"collection\" = '%s' AND o.\"id\" = r.\"id\")",
        name);
    for (size_t i = 0; i < collection->field_count; i++) {
        buffer_printf(sql, ", r.\"%s\"", path_of(collection, i));
    }
    buffer_printf(sql, " FROM \"%s\" AS r", name);
}

static void append_insert(struct buffer *sql, const struct store_collection *collection)
{
    buffer_printf(sql, "INSERT INTO \"%s\" (\"id\", \"version\", \"epoch\", \"writer\", \"claim\", \"changed\"",
                  collection->declared->name);
    for (size_t i = 0; i < collection->field_count; i++) {
        buffer_printf(sql, ", \"%s\"", path_of(collection, i));
    }
    buffer_append_text(sql, ") VALUES (?1, ?2, ?3, ?4, ?5, ?6");
    for (size_t i = 0; i < collection->field_count; i++) {
        buffer_printf(sql, ", ?%zu", BIND_FIELDS + i);
    }
    buffer_append_char(sql, ')');
}

static void append_update(struct buffer *sql, const struct store_collection *collection)
{
    buffer_printf(sql, "UPDATE \"%s\" SET \"version\" = ?2, \"epoch\" = ?3, \"writer\" = ?4, \"changed\" = ?6",
                  collection->declared->name);
    for (size_t i = 0; i < collection->field_count; i++) {
        buffer_printf(sql, ", \"%s\" = ?%zu", path_of(collection, i), BIND_FIELDS + i);
    }
    buffer_append_text(sql, " WHERE \"id\" = ?1");
}

void rows_texts_init(struct rows_texts *texts, const struct store_collection *collection)
{
    const char *name = collection->declared->name;
    CLEANUP(buffer_done) struct buffer sql = BUFFER_INIT(ROWS_SQL_MAX);
    append_select(&sql, collection);
    buffer_append_text(&sql, " WHERE r.\"id\" = ?1");
    texts->get = take_sql(&sql);
    append_select(&sql, collection);
    buffer_append_text(&sql, " WHERE r.\"claim\" = ?1");
    texts->get_claim = take_sql(&sql);
    buffer_printf(&sql, "SELECT \"version\", \"writer\", \"claim\" FROM \"%s\" WHERE \"id\" = ?1", name);
    texts->look = take_sql(&sql);
    buffer_printf(&sql, "SELECT 1 FROM \"%s\" WHERE \"claim\" = ?1", name);
    texts->holder = take_sql(&sql);
    append_insert(&sql, collection);
    texts->insert = take_sql(&sql);
    append_update(&sql, collection);
    texts->update = take_sql(&sql);
    buffer_printf(&sql, "DELETE FROM \"%s\" WHERE \"id\" = ?1", name);
    texts->remove = take_sql(&sql);
}

void rows_texts_done(struct rows_texts *texts)
{
    xfree(texts->get);
    xfree(texts->get_claim);
    xfree(texts->look);
    xfree(texts->holder);
    xfree(texts->insert);
    xfree(texts->update);
    xfree(texts->remove);
    *texts = (struct rows_texts){.get = NULL};
}

void rows_append_index_name(struct buffer *sql, const struct store_collection *collection,
                            const struct store_index *index)
{
    buffer_printf(sql, "\"%s.%s\"", collection->declared->name, index->name);
}

/* The default is for the rows that an older release inserts. What it updates keeps the time that was there. */
void rows_append_changed_column(struct buffer *sql)
{
    buffer_append_text(sql, "\"changed\" INTEGER NOT NULL DEFAULT 0");
}

void rows_append_column(struct buffer *sql, const struct flat_field *field)
{
    bool text = store_field_kind(field->field) == STORE_TEXT;
    buffer_printf(sql, "\"%s\" %s", field->path, text ? "TEXT" : "INTEGER");
    if (!field->required) {
        return;
    }
    if (!text) {
        buffer_append_text(sql, " DEFAULT 0");
    } else {
        const char *zero = field->field->type == FIELD_CHOICE ? field->field->choices[0] : "";
        assert(!strchr(zero, '\''));
        buffer_printf(sql, " DEFAULT '%s'", zero);
    }
}

/* ---- ranges ---- */

/* The column behind the fields that the range fixes; the id comes last. */
static const char *column_at(const struct store_scan *scan, size_t position)
{
    const struct store_index *index = scan->index;
    return position < index->field_count ? path_of(scan->collection, index->fields[position]) : "id";
}

static void append_condition(struct buffer *sql, int *conditions, const char *column, const char *test)
{
    buffer_printf(sql, " %s r.\"%s\" %s", (*conditions)++ == 0 ? "WHERE" : "AND", column, test);
}

void rows_append_scan(struct buffer *sql, const struct store_scan *scan, const struct store_range *range, bool hinted)
{
    append_select(sql, scan->collection);
    if (hinted && scan->index->field_count > 0) {
        buffer_append_text(sql, " INDEXED BY ");
        rows_append_index_name(sql, scan->collection, scan->index);
    }
    int conditions = 0;
    for (size_t i = 0; i < range->equal_count; i++) {
        append_condition(sql, &conditions, column_at(scan, i),
                         range->equal[i].kind == STORE_ABSENT ? "IS NULL" : "= ?");
    }
    const char *next = column_at(scan, range->equal_count);
    if (range->present) {
        append_condition(sql, &conditions, next, "IS NOT NULL");
    }
    if (range->low.kind != STORE_UNBOUNDED) {
        append_condition(sql, &conditions, next, range->low.kind == STORE_INCLUSIVE ? ">= ?" : "> ?");
    }
    if (range->high.kind != STORE_UNBOUNDED) {
        append_condition(sql, &conditions, next, range->high.kind == STORE_INCLUSIVE ? "<= ?" : "< ?");
    }
    for (size_t i = range->equal_count; i <= scan->index->field_count; i++) {
        buffer_printf(sql, "%s r.\"%s\"%s", i == range->equal_count ? " ORDER BY" : ",", column_at(scan, i),
                      scan->descending ? " DESC" : "");
    }
    buffer_append_text(sql, " LIMIT ?");
    assert(!sql->overflowed);
}

static void bind_value(sqlite3_stmt *statement, int position, const struct store_value *value)
{
    switch (value->kind) {
    case STORE_ABSENT:
        break; /* a parameter that is not bound is NULL */
    case STORE_NUMBER:
        statement_bind_number(statement, position, value->number);
        break;
    case STORE_TEXT:
        statement_bind_text(statement, position, value->text);
        break;
    }
}

void rows_bind_range(sqlite3_stmt *statement, const struct store_range *range, size_t limit)
{
    int position = 1;
    for (size_t i = 0; i < range->equal_count; i++) {
        if (range->equal[i].kind != STORE_ABSENT) {
            bind_value(statement, position++, &range->equal[i]);
        }
    }
    if (range->low.kind != STORE_UNBOUNDED) {
        bind_value(statement, position++, &range->low.value);
    }
    if (range->high.kind != STORE_UNBOUNDED) {
        bind_value(statement, position++, &range->high.value);
    }
    statement_bind_number(statement, position, (int64_t)limit);
}

/* ---- rows ---- */

void rows_bind(sqlite3_stmt *statement, const struct store_write_request *request, bool insert)
{
    const struct store_collection *collection = request->collection;
    const struct record *record = request->record;
    statement_bind_text(statement, BIND_ID, record->id.hex);
    statement_bind_number(statement, BIND_VERSION, (int64_t)record->version);
    statement_bind_number(statement, BIND_EPOCH, (int64_t)record->epoch);
    statement_bind_text(statement, BIND_WRITER, request->writer);
    if (insert && record->claim[0] != '\0') {
        statement_bind_text(statement, BIND_CLAIM, record->claim);
    }
    statement_bind_number(statement, BIND_CHANGED, request->created);
    for (size_t i = 0; i < collection->field_count; i++) {
        struct store_value value = store_value_of(&collection->fields[i], request->value);
        bind_value(statement, BIND_FIELDS + (int)i, &value);
    }
}

static struct store_value column_value(sqlite3_stmt *statement, int column)
{
    struct store_value value = {.kind = STORE_ABSENT};
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
        value.kind = STORE_NUMBER;
        value.number = sqlite3_column_int64(statement, column);
        break;
    case SQLITE_TEXT:
        value.kind = STORE_TEXT;
        value.text = (const char *)sqlite3_column_text(statement, column);
        break;
    default:
        break;
    }
    return value;
}

bool rows_read(sqlite3_stmt *statement, const struct store_collection *collection, struct record *ret_head,
               void *ret_entity, struct error *error)
{
    struct record head = RECORD_INIT;
    const char *id = (const char *)sqlite3_column_text(statement, COLUMN_ID);
    if (!id || !id_from_text(id, &head.id)) {
        return error_set(error, ERROR_INTERNAL, "a row of %s has no id", collection->declared->name);
    }
    head.version = (uint64_t)sqlite3_column_int64(statement, COLUMN_VERSION);
    head.epoch = (uint64_t)sqlite3_column_int64(statement, COLUMN_EPOCH);
    head.changed = sqlite3_column_int64(statement, COLUMN_CHANGED);
    head.unconfirmed = (uint64_t)sqlite3_column_int64(statement, COLUMN_UNCONFIRMED);
    const char *claim = (const char *)sqlite3_column_text(statement, COLUMN_CLAIM);
    if (claim && !text_copy(head.claim, sizeof(head.claim), claim)) {
        return error_set(error, ERROR_INTERNAL, "%s %s: the stored claim is too long", collection->declared->name,
                         head.id.hex);
    }
    memset(ret_entity, 0, collection->declared->table->size);
    for (size_t i = 0; i < collection->field_count; i++) {
        struct store_value value = column_value(statement, COLUMN_FIELDS + (int)i);
        if (!store_value_put(&collection->fields[i], &value, ret_entity, error)) {
            return error_prefix(error, "%s %s", collection->declared->name, head.id.hex);
        }
    }
    *ret_head = head;
    return true;
}
