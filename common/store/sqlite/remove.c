/* SPDX-License-Identifier: Apache-2.0
 * Takes records away, if they have the version that is expected, and their events with them. */
#include "common/store/sqlite/sqlite.h"

static const char outbox_clear_sql[] = "DELETE FROM \"store_outbox\" WHERE \"collection\" = ?1 AND \"id\" = ?2";

/* Runs a statement that takes up to two texts. */
static bool run(struct connection *connection, const char *sql, const char *first, const char *second,
                struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, sql, error);
    if (!statement) {
        return false;
    }
    statement_bind_text(statement, 1, first);
    if (second) {
        statement_bind_text(statement, 2, second);
    }
    bool row = false;
    return statement_step(connection, statement, &row, error);
}

/* 0: there is no such record. */
static bool look(struct connection *connection, const char *sql, const struct id *id, uint64_t *ret_version,
                 struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, sql, error);
    if (!statement) {
        return false;
    }
    statement_bind_text(statement, 1, id->hex);
    bool row = false;
    if (!statement_step(connection, statement, &row, error)) {
        return false;
    }
    *ret_version = row ? (uint64_t)sqlite3_column_int64(statement, LOOK_VERSION) : 0;
    return true;
}

bool remove_perform(struct connection *connection, const struct rows_texts *texts, struct task *task,
                    struct error *error)
{
    const struct removal *removal = task->removal;
    uint64_t version = 0;
    if (!look(connection, texts->look, removal->id, &version, error)) {
        return false;
    }
    task->result = version == 0 || version == removal->expected ? STORE_DONE : STORE_CONFLICT_VERSION;
    if (version != removal->expected) {
        return true;
    }
    task->traceless = true;
    return run(connection, texts->remove, removal->id->hex, NULL, error) &&
           run(connection, outbox_clear_sql, removal->collection->declared->name, removal->id->hex, error);
}

enum store_result remove_record(void *state, const struct store_collection *collection, const struct id *id,
                                uint64_t expected, struct error *error)
{
    struct sqlite_store *store = state;
    struct removal removal = {.collection = collection, .id = id, .expected = expected};
    struct task task = {.kind = TASK_REMOVE, .removal = &removal};
    committer_run(store->committer, &task);
    if (task.result == STORE_UNAVAILABLE) {
        error_set(error, task.error.code, "%s: %s", store->path, task.error.message);
    }
    return task.result;
}
