/* SPDX-License-Identifier: Apache-2.0
 * Reads: by id, by claim, and along an index. */
#include <string.h>

#include "common/store/sqlite/sqlite.h"

static bool get(struct sqlite_store *store, struct connection *connection, const struct store_collection *collection,
                enum store_key key, const char *text, bool *ret_found, struct record *ret_head, void *entity,
                struct error *error)
{
    const struct rows_texts *texts = &store->texts[collection->position];
    CLEANUP(statement_done)
    sqlite3_stmt *statement =
        connection_statement(connection, key == STORE_BY_ID ? texts->get : texts->get_claim, error);
    if (!statement) {
        return false;
    }
    statement_bind_text(statement, 1, text);
    bool row = false;
    if (!statement_step(connection, statement, &row, error) ||
        (row && !rows_read(statement, collection, ret_head, entity, error))) {
        return false;
    }
    *ret_found = row;
    return true;
}

bool read_get(void *state, const struct store_collection *collection, enum store_key key, const char *text,
              bool *ret_found, struct record *ret_head, void *entity, struct error *error)
{
    struct sqlite_store *store = state;
    struct connection *connection = pool_take(&store->pool, SQLITE_STORE_READ_WAIT_MS, error);
    if (!connection) {
        return false;
    }
    bool done = get(store, connection, collection, key, text, ret_found, ret_head, entity, error);
    pool_give(&store->pool, connection);
    return done || error_prefix(error, "%s", store->path);
}

/* One range from one statement. *ret_planless tells a failure that is the statement's and not the file's. */
static bool scan_rows(struct connection *connection, const char *sql, const struct store_scan *scan,
                      const struct store_range *range, const struct store_visitor *visitor, size_t *left,
                      bool *ret_ended, bool *ret_planless, struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, sql, error);
    if (statement) {
        rows_bind_range(statement, range, *left);
    }
    for (bool first = true;; first = false) {
        bool row = false;
        struct record head = RECORD_INIT;
        if (!statement || !statement_step(connection, statement, &row, error)) {
            *ret_planless = first && sqlite3_errcode(connection->database) == SQLITE_ERROR;
            return false;
        }
        if (!row) {
            return true;
        }
        if (!rows_read(statement, scan->collection, &head, visitor->entity, error)) {
            return false;
        }
        --*left;
        if (!visitor->visit(visitor->context, &head)) {
            *ret_ended = true;
            return true;
        }
    }
}

/* The statement names the index, so that SQLite takes that and no other; where a newer release has dropped it while
 * this one still runs, the list is slow but right. */
static bool scan_range(struct connection *connection, const struct store_scan *scan, const struct store_range *range,
                       const struct store_visitor *visitor, size_t *left, bool *ret_ended, struct error *error)
{
    CLEANUP(buffer_done) struct buffer sql = BUFFER_INIT(ROWS_SQL_MAX);
    bool planless = false;
    struct error problem = ERROR_INIT;
    rows_append_scan(&sql, scan, range, true);
    if (scan_rows(connection, buffer_text(&sql), scan, range, visitor, left, ret_ended, &planless, &problem)) {
        return true;
    }
    if (!planless) {
        return error_set(error, problem.code, "%s", problem.message);
    }
    connection->failed = false;
    buffer_clear(&sql);
    rows_append_scan(&sql, scan, range, false);
    return scan_rows(connection, buffer_text(&sql), scan, range, visitor, left, ret_ended, &planless, error);
}

static bool scan_ranges(struct connection *connection, const struct store_scan *scan,
                        const struct store_visitor *visitor, struct error *error)
{
    size_t left = scan->limit;
    bool ended = false;
    for (size_t i = 0; i < scan->range_count && left > 0 && !ended; i++) {
        if (!scan_range(connection, scan, &scan->ranges[i], visitor, &left, &ended, error)) {
            return false;
        }
    }
    return true;
}

/* Several ranges are read from one snapshot, so that a record cannot move from one into another. */
static bool scan_snapshot(struct connection *connection, const struct store_scan *scan,
                          const struct store_visitor *visitor, struct error *error)
{
    if (scan->range_count <= 1) {
        return scan_ranges(connection, scan, visitor, error);
    }
    if (!connection_run(connection, "BEGIN", error)) {
        return false;
    }
    bool done = scan_ranges(connection, scan, visitor, error);
    struct error end_error = ERROR_INIT;
    if (!connection_run(connection, "COMMIT", done ? error : &end_error)) {
        return false;
    }
    return done;
}

bool read_scan(void *state, const struct store_scan *scan, const struct store_visitor *visitor, struct error *error)
{
    struct sqlite_store *store = state;
    struct connection *connection = pool_take(&store->pool, SQLITE_STORE_READ_WAIT_MS, error);
    if (!connection) {
        return false;
    }
    bool done = scan_snapshot(connection, scan, visitor, error);
    pool_give(&store->pool, connection);
    return done || error_prefix(error, "%s", store->path);
}

bool read_ping(struct sqlite_store *store, int64_t wait_ms, struct error *error)
{
    struct connection *connection = pool_take(&store->pool, wait_ms, error);
    if (!connection) {
        return false;
    }
    int64_t format = 0;
    bool done =
        connection_number(connection, "SELECT \"value\" FROM \"store_meta\" WHERE \"key\" = 'format'", &format, error);
    pool_give(&store->pool, connection);
    return done || error_prefix(error, "%s", store->path);
}
