/* SPDX-License-Identifier: Apache-2.0
 * One transaction of many writes: each looks for its conflicts before it changes anything, so that none can spoil the
 * others, and what fails after that is the file's failure and everyone's. */
#include <assert.h>
#include <string.h>

#include "common/base/failpoint.h"
#include "common/base/id.h"
#include "common/base/text.h"
#include "common/store/sqlite/sqlite.h"

static const char outbox_state_sql[] = "SELECT count(*), min(\"version\"), max(\"version\") FROM \"store_outbox\""
                                       " WHERE \"collection\" = ?1 AND \"id\" = ?2";
static const char outbox_insert_sql[] =
    "INSERT INTO \"store_outbox\" (\"collection\", \"id\", \"version\", \"created\", \"subject\", \"payload\")"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
static const char ping_sql[] = "UPDATE \"store_meta\" SET \"value\" = ?1 WHERE \"key\" = 'ping'";
static const char mark_sql[] = "INSERT INTO \"store_meta\" (\"key\", \"value\") VALUES ('mark', ?1)"
                               " ON CONFLICT (\"key\") DO UPDATE SET \"value\" = excluded.\"value\"";

struct outbox_state {
    int64_t count;
    int64_t lowest, highest; /* versions; 0: none */
};

static bool read_outbox(struct connection *connection, const struct store_write_request *request,
                        struct outbox_state *ret_state, struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, outbox_state_sql, error);
    if (!statement) {
        return false;
    }
    statement_bind_text(statement, 1, request->collection->declared->name);
    statement_bind_text(statement, 2, request->record->id.hex);
    bool row = false;
    if (!statement_step(connection, statement, &row, error)) {
        return false;
    }
    assert(row);
    ret_state->count = sqlite3_column_int64(statement, 0);
    ret_state->lowest = sqlite3_column_int64(statement, 1);
    ret_state->highest = sqlite3_column_int64(statement, 2);
    return true;
}

static bool insert_entry(struct connection *connection, const struct store_write_request *request, struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, outbox_insert_sql, error);
    if (!statement) {
        return false;
    }
    const struct outbox_entry *entry = request->entry;
    statement_bind_text(statement, 1, request->collection->declared->name);
    statement_bind_text(statement, 2, request->record->id.hex);
    statement_bind_number(statement, 3, (int64_t)request->record->version);
    statement_bind_number(statement, 4, request->created);
    statement_bind_text(statement, 5, entry->subject);
    int status = sqlite3_bind_text(statement, 6, entry->payload, (int)entry->length, SQLITE_STATIC);
    assert(status == SQLITE_OK);
    (void)status;
    bool row = false;
    return statement_step(connection, statement, &row, error);
}

static bool is_held(struct connection *connection, const struct rows_texts *texts, const char *claim, bool *ret_held,
                    struct error *error)
{
    *ret_held = false;
    if (claim[0] == '\0') {
        return true;
    }
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, texts->holder, error);
    if (!statement) {
        return false;
    }
    statement_bind_text(statement, 1, claim);
    return statement_step(connection, statement, ret_held, error);
}

/* The record's version (0: there is none) and claim. */
static bool look(struct connection *connection, const struct rows_texts *texts, const char *id, int64_t *ret_version,
                 char ret_claim[static CLAIM_MAX + 1], struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, texts->look, error);
    if (!statement) {
        return false;
    }
    statement_bind_text(statement, 1, id);
    bool row = false;
    if (!statement_step(connection, statement, &row, error)) {
        return false;
    }
    *ret_version = row ? sqlite3_column_int64(statement, LOOK_VERSION) : 0;
    const char *claim = row ? (const char *)sqlite3_column_text(statement, LOOK_CLAIM) : NULL;
    text_copy_cut(ret_claim, CLAIM_MAX + 1, claim ? claim : "");
    return true;
}

/* What stands against the write: id, then claim, then version, then the outbox. */
static bool find_conflict(struct connection *connection, const struct rows_texts *texts,
                          const struct store_write_request *request, struct task *task, struct outbox_state *ret_outbox,
                          struct error *error)
{
    int64_t version = 0;
    bool held = false;
    if (!look(connection, texts, request->record->id.hex, &version, task->answer.claim, error)) {
        return false;
    }
    if (request->expected != (uint64_t)version) {
        task->result = request->expected == 0 ? STORE_CONFLICT_ID : STORE_CONFLICT_VERSION;
        return true;
    }
    if (request->expected == 0) {
        if (!is_held(connection, texts, request->record->claim, &held, error)) {
            return false;
        }
        if (held) {
            task->result = STORE_CONFLICT_CLAIM;
            return true;
        }
    }
    if (!read_outbox(connection, request, ret_outbox, error)) {
        return false;
    }
    task->result = request->entry && ret_outbox->count >= STORE_OUTBOX_MAX ? STORE_OUTBOX_FULL : STORE_DONE;
    return true;
}

static bool perform_write(struct connection *connection, const struct rows_texts *texts, struct task *task,
                          struct error *error)
{
    const struct store_write_request *request = task->write;
    struct outbox_state outbox = {.count = 0};
    if (!find_conflict(connection, texts, request, task, &outbox, error)) {
        return false;
    }
    if (task->result != STORE_DONE) {
        return true;
    }
    if (request->entry && outbox.highest >= (int64_t)request->record->version) {
        /* Only a snapshot may set a version back, and snapshots have no events. */
        error_set(&task->error, ERROR_INTERNAL, "%s %s has a later event than this write's",
                  request->collection->declared->name, request->record->id.hex);
        task->result = STORE_UNAVAILABLE;
        return true;
    }
    bool insert = request->expected == 0;
    CLEANUP(statement_done)
    sqlite3_stmt *statement = connection_statement(connection, insert ? texts->insert : texts->update, error);
    bool row = false;
    if (!statement) {
        return false;
    }
    rows_bind(statement, request, insert);
    if (!statement_step(connection, statement, &row, error) ||
        (request->entry && !insert_entry(connection, request, error))) {
        return false;
    }
    uint64_t own = request->entry ? request->record->version : 0;
    task->answer.unconfirmed = outbox.count > 0 ? (uint64_t)outbox.lowest : own;
    return true;
}

/* Runs a statement that takes one number. */
static bool perform_note(struct connection *connection, const char *sql, int64_t number, struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, sql, error);
    if (!statement) {
        return false;
    }
    statement_bind_number(statement, 1, number);
    bool row = false;
    return statement_step(connection, statement, &row, error);
}

static bool perform(struct committer *committer, struct task *task, struct error *error)
{
    task->traceless = false;
    switch (task->kind) {
    case TASK_WRITE:
        return perform_write(committer->writer, &committer->texts[task->write->collection->position], task, error);
    case TASK_REMOVE:
        return remove_perform(committer->writer, &committer->texts[task->removal->collection->position], task, error);
    case TASK_FACT:
        return fact_perform(committer->writer, task, error);
    case TASK_OUTBOX_REMOVE:
        break;
    }
    return outbox_remove_perform(committer->writer, task, error);
}

static bool is_marked(struct task *const *tasks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (tasks[i]->traceless) {
            return true;
        }
    }
    return false;
}

/* A record that is away, or a number that is there, does not tell who made it so: then the transaction leaves a number
 * of its own, by which it is known. */
static bool perform_mark(struct committer *committer, struct error *error)
{
    random_bytes(&committer->mark, sizeof(committer->mark));
    return perform_note(committer->writer, mark_sql, committer->mark, error);
}

static bool perform_all(struct committer *committer, struct task *const *tasks, size_t count, bool ping,
                        struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (!perform(committer, tasks[i], error)) {
            return false;
        }
    }
    if (is_marked(tasks, count) && !perform_mark(committer, error)) {
        return false;
    }
    return !ping || perform_note(committer->writer, ping_sql, clock_now(NULL), error);
}

static void roll_back(struct connection *connection)
{
    struct error ignored = ERROR_INIT;
    if (!sqlite3_get_autocommit(connection->database) && !connection_run(connection, "ROLLBACK", &ignored)) {
        connection->failed = true; /* closing it rolls back as well */
    }
}

static bool control(struct connection *connection, const char *sql, struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, sql, error);
    bool row = false;
    return statement && statement_step(connection, statement, &row, error);
}

static enum transaction_outcome commit(struct connection *connection, struct error *error)
{
    if (failpoint("store.commit")) {
        error_set(error, ERROR_UNAVAILABLE, "committing: failed by the failpoint store.commit");
        return TRANSACTION_UNKNOWN;
    }
    if (!control(connection, "COMMIT", error)) {
        return TRANSACTION_UNKNOWN;
    }
    if (failpoint("store.after_commit")) {
        error_set(error, ERROR_UNAVAILABLE, "committing: failed by the failpoint store.after_commit");
        return TRANSACTION_UNKNOWN;
    }
    return TRANSACTION_COMMITTED;
}

enum transaction_outcome transaction_run(struct committer *committer, struct task *const *tasks, size_t count,
                                         bool ping, struct error *error)
{
    struct connection *connection = committer->writer;
    if (!control(connection, "BEGIN IMMEDIATE", error)) {
        return TRANSACTION_FAILED;
    }
    if (!perform_all(committer, tasks, count, ping, error)) {
        roll_back(connection);
        return TRANSACTION_FAILED;
    }
    if (failpoint("store.before_commit")) {
        roll_back(connection);
        error_set(error, ERROR_UNAVAILABLE, "writing: failed by the failpoint store.before_commit");
        return TRANSACTION_FAILED;
    }
    enum transaction_outcome outcome = commit(connection, error);
    if (outcome != TRANSACTION_COMMITTED) {
        roll_back(connection);
    }
    return outcome;
}

static bool find_mark(struct committer *committer, bool *ret_found, struct error *error)
{
    int64_t mark = 0;
    if (!connection_number(committer->writer, "SELECT \"value\" FROM \"store_meta\" WHERE \"key\" = 'mark'", &mark,
                           error)) {
        return false;
    }
    *ret_found = mark == committer->mark;
    return true;
}

static bool find_writer(struct committer *committer, const struct store_write_request *request, bool *ret_found,
                        struct error *error)
{
    const struct rows_texts *texts = &committer->texts[request->collection->position];
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(committer->writer, texts->look, error);
    if (!statement) {
        return false;
    }
    statement_bind_text(statement, 1, request->record->id.hex);
    bool row = false;
    if (!statement_step(committer->writer, statement, &row, error)) {
        return false;
    }
    const char *writer = row ? (const char *)sqlite3_column_text(statement, LOOK_WRITER) : NULL;
    *ret_found = writer && text_equal(writer, request->writer);
    return true;
}

bool transaction_settle(struct committer *committer, struct task *const *tasks, size_t count, bool ping,
                        bool *ret_committed, struct error *error)
{
    if (is_marked(tasks, count)) {
        return find_mark(committer, ret_committed, error);
    }
    /* The last write of the transaction is still as it left it, since nobody else had a turn. */
    bool repeatable = ping;
    for (size_t i = count; i-- > 0;) {
        if (tasks[i]->kind == TASK_WRITE && tasks[i]->result == STORE_DONE) {
            return find_writer(committer, tasks[i]->write, ret_committed, error);
        }
        repeatable = repeatable || tasks[i]->kind == TASK_OUTBOX_REMOVE;
    }
    /* Nothing to lose; or pings and removals of the outbox's entries only, which can be repeated. */
    *ret_committed = !repeatable;
    return true;
}
