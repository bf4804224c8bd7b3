/* SPDX-License-Identifier: Apache-2.0
 * Facts: rows of the store's own table, under keys that none of its own begins like. */
#include "common/store/sqlite/sqlite.h"

static const char get_sql[] = "SELECT \"value\" FROM \"store_meta\" WHERE \"key\" = 'fact:' || ?1";
static const char set_sql[] = "INSERT INTO \"store_meta\" (\"key\", \"value\") VALUES ('fact:' || ?1, ?2)"
                              " ON CONFLICT (\"key\") DO UPDATE SET \"value\" = excluded.\"value\"";

/* 0 for one that was never set. */
static bool look(struct connection *connection, const char *name, int64_t *ret_value, struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, get_sql, error);
    if (!statement) {
        return false;
    }
    statement_bind_text(statement, 1, name);
    bool row = false;
    if (!statement_step(connection, statement, &row, error)) {
        return false;
    }
    *ret_value = row ? sqlite3_column_int64(statement, 0) : 0;
    return true;
}

bool fact_perform(struct connection *connection, struct task *task, struct error *error)
{
    const struct fact_change *change = task->fact;
    int64_t present = 0;
    if (!look(connection, change->name, &present, error)) {
        return false;
    }
    task->result = STORE_DONE;
    task->replaced = change->raises ? present < change->value : present == change->expected;
    if (!task->replaced || present == change->value) {
        return true;
    }
    task->traceless = true;
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, set_sql, error);
    if (!statement) {
        return false;
    }
    statement_bind_text(statement, 1, change->name);
    statement_bind_number(statement, 2, change->value);
    bool row = false;
    return statement_step(connection, statement, &row, error);
}

bool fact_get(void *state, const char *name, int64_t *ret_value, struct error *error)
{
    struct sqlite_store *store = state;
    struct connection *connection = pool_take(&store->pool, SQLITE_STORE_READ_WAIT_MS, error);
    if (!connection) {
        return false;
    }
    bool done = look(connection, name, ret_value, error);
    pool_give(&store->pool, connection);
    return done || error_prefix(error, "%s", store->path);
}

static bool change_fact(struct sqlite_store *store, const struct fact_change *change, bool *ret_replaced,
                        struct error *error)
{
    struct task task = {.kind = TASK_FACT, .fact = change};
    committer_run(store->committer, &task);
    if (task.result != STORE_DONE) {
        return error_set(error, task.error.code, "%s: %s", store->path, task.error.message);
    }
    *ret_replaced = task.replaced;
    return true;
}

bool fact_raise(void *state, const char *name, int64_t value, struct error *error)
{
    struct fact_change change = {.name = name, .raises = true, .value = value};
    bool replaced = false;
    return change_fact(state, &change, &replaced, error);
}

bool fact_replace(void *state, const char *name, int64_t expected, int64_t value, bool *ret_replaced,
                  struct error *error)
{
    struct fact_change change = {.name = name, .expected = expected, .value = value};
    return change_fact(state, &change, ret_replaced, error);
}
