/* SPDX-License-Identifier: Apache-2.0
 * The outbox: reading what waits for the bus's confirmation, and removing what has it. */
#include <assert.h>

#include "common/base/memory.h"
#include "common/store/sqlite/sqlite.h"

enum { COLUMN_COLLECTION, COLUMN_ID, COLUMN_VERSION, COLUMN_CREATED, COLUMN_SUBJECT, COLUMN_PAYLOAD };

static const char columns[] =
    "SELECT o.\"collection\", o.\"id\", o.\"version\", o.\"created\", o.\"subject\", o.\"payload\""
    " FROM \"store_outbox\" AS o";

static const char delete_sql[] =
    "DELETE FROM \"store_outbox\" WHERE \"collection\" = ?1 AND \"id\" = ?2 AND \"version\" = ?3";
static const char of_record[] = " WHERE o.\"collection\" = ?1 AND o.\"id\" = ?2 ORDER BY o.\"version\" LIMIT ?3";

static void append_declared(struct buffer *sql, const struct sqlite_store *store)
{
    buffer_append_text(sql, "o.\"collection\" IN (");
    for (size_t i = 0; i < store->collection_count; i++) {
        buffer_printf(sql, "%s'%s'", i > 0 ? ", " : "", store->collections[i].declared->name);
    }
    buffer_append_char(sql, ')');
}

void outbox_init(struct sqlite_store *store)
{
    CLEANUP(buffer_done) struct buffer sql = BUFFER_INIT(ROWS_SQL_MAX);
    /* Each + keeps SQLite from another plan than walking the index in its order: what is neither old nor of the future
     * is passed over on the way, and is little. */
    buffer_printf(&sql,
                  "%s INDEXED BY \"store_outbox.by_created\" WHERE (+o.\"created\" <= ?1 OR +o.\"created\" >= ?3)"
                  " AND +",
                  columns);
    append_declared(&sql, store);
    buffer_append_text(&sql, " AND NOT EXISTS (SELECT 1 FROM \"store_outbox\" AS p WHERE p.\"collection\" ="
                             " o.\"collection\" AND p.\"id\" = o.\"id\" AND p.\"version\" < o.\"version\")"
                             " ORDER BY o.\"created\", o.\"collection\", o.\"id\", o.\"version\" LIMIT ?2");
    assert(!sql.overflowed);
    store->outbox_due = xstrdup(buffer_text(&sql));
    buffer_clear(&sql);
    buffer_append_text(&sql, "SELECT count(*), min(o.\"created\") FROM \"store_outbox\" AS o INDEXED BY"
                             " \"store_outbox.by_created\" WHERE ");
    append_declared(&sql, store);
    assert(!sql.overflowed);
    store->outbox_count = xstrdup(buffer_text(&sql));
}

static bool visit_row(sqlite3_stmt *statement, const struct store_outbox_visitor *visitor, bool *ret_more,
                      struct error *error)
{
    struct id id = {.hex = ""};
    const char *hex = (const char *)sqlite3_column_text(statement, COLUMN_ID);
    const char *payload = (const char *)sqlite3_column_text(statement, COLUMN_PAYLOAD);
    if (!hex || !payload || !id_from_text(hex, &id)) {
        return error_set(error, ERROR_UNAVAILABLE, "a row of the outbox is damaged");
    }
    *ret_more = visitor->visit(visitor->context, (const char *)sqlite3_column_text(statement, COLUMN_COLLECTION), &id,
                               (uint64_t)sqlite3_column_int64(statement, COLUMN_VERSION),
                               sqlite3_column_int64(statement, COLUMN_CREATED),
                               (const char *)sqlite3_column_text(statement, COLUMN_SUBJECT), payload,
                               (size_t)sqlite3_column_bytes(statement, COLUMN_PAYLOAD));
    return true;
}

static bool scan(struct sqlite_store *store, struct connection *connection, const struct outbox_query *query,
                 size_t limit, const struct store_outbox_visitor *visitor, struct error *error)
{
    CLEANUP(free_pointer) char *record_sql = query->collection ? xasprintf("%s%s", columns, of_record) : NULL;
    CLEANUP(statement_done)
    sqlite3_stmt *statement = connection_statement(connection, record_sql ? record_sql : store->outbox_due, error);
    if (!statement) {
        return false;
    }
    if (query->collection) {
        statement_bind_text(statement, 1, query->collection->name);
        statement_bind_text(statement, 2, query->id.hex);
        statement_bind_number(statement, 3, (int64_t)limit);
    } else {
        statement_bind_number(statement, 1, query->created_until);
        statement_bind_number(statement, 2, (int64_t)limit);
        statement_bind_number(statement, 3, query->created_from > 0 ? query->created_from : INT64_MAX);
    }
    bool more = true;
    while (more) {
        bool row = false;
        if (!statement_step(connection, statement, &row, error)) {
            return false;
        }
        if (!row) {
            return true;
        }
        if (!visit_row(statement, visitor, &more, error)) {
            return false;
        }
    }
    return true;
}

bool outbox_scan(void *state, const struct outbox_query *query, size_t limit,
                 const struct store_outbox_visitor *visitor, struct error *error)
{
    struct sqlite_store *store = state;
    struct connection *connection = pool_take(&store->pool, SQLITE_STORE_READ_WAIT_MS, error);
    if (!connection) {
        return false;
    }
    bool done = scan(store, connection, query, limit, visitor, error);
    pool_give(&store->pool, connection);
    return done || error_prefix(error, "%s", store->path);
}

bool outbox_remove_perform(struct connection *connection, struct task *task, struct error *error)
{
    for (size_t i = 0; i < task->key_count; i++) {
        const struct outbox_key *key = &task->keys[i];
        CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, delete_sql, error);
        if (!statement) {
            return false;
        }
        statement_bind_text(statement, 1, key->collection->name);
        statement_bind_text(statement, 2, key->id.hex);
        statement_bind_number(statement, 3, (int64_t)key->version);
        bool row = false;
        if (!statement_step(connection, statement, &row, error)) {
            return false;
        }
    }
    task->result = STORE_DONE;
    return true;
}

bool outbox_remove(void *state, const struct outbox_key *keys, size_t count, struct error *error)
{
    struct sqlite_store *store = state;
    struct task task = {.kind = TASK_OUTBOX_REMOVE, .keys = keys, .key_count = count};
    committer_run(store->committer, &task);
    if (task.result != STORE_DONE) {
        return error_set(error, task.error.code, "%s: %s", store->path, task.error.message);
    }
    return true;
}

static bool count_entries(struct sqlite_store *store, struct connection *connection, uint64_t *ret_count,
                          int64_t *ret_oldest, struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, store->outbox_count, error);
    bool row = false;
    if (!statement || !statement_step(connection, statement, &row, error)) {
        return false;
    }
    *ret_count = row ? (uint64_t)sqlite3_column_int64(statement, 0) : 0;
    *ret_oldest = row ? sqlite3_column_int64(statement, 1) : 0;
    return true;
}

bool outbox_count(void *state, uint64_t *ret_count, int64_t *ret_oldest, struct error *error)
{
    struct sqlite_store *store = state;
    struct connection *connection = pool_take(&store->pool, SQLITE_STORE_READ_WAIT_MS, error);
    if (!connection) {
        return false;
    }
    bool done = count_entries(store, connection, ret_count, ret_oldest, error);
    pool_give(&store->pool, connection);
    return done || error_prefix(error, "%s", store->path);
}
