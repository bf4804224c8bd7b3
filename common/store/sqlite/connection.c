/* SPDX-License-Identifier: Apache-2.0
 * Opens connections with the settings that durability rests on, and keeps their prepared statements. */
#include "common/store/sqlite/connection.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    SYSTEM_MESSAGE_MAX = 128,
};

/* Checkpoints are the committer's: it makes them when nobody waits for it. journal_size_limit gives the disk back after
 * a long reader has made the log grow. secure_delete, which Debian switches on, would rewrite the outbox's free pages.
 */
static const char writer_settings[] = "PRAGMA synchronous = FULL;"
                                      "PRAGMA wal_autocheckpoint = 0;"
                                      "PRAGMA journal_size_limit = 67108864;"
                                      "PRAGMA secure_delete = OFF;"
                                      "PRAGMA temp_store = MEMORY;"
                                      "PRAGMA cache_size = -16000;"; /* KiB */

char *connection_file_name(const char *path)
{
    return path[0] == '/' ? xstrdup(path) : xasprintf("./%s", path);
}

static bool connection_open(const char *path, int flags, struct connection **ret_connection, struct error *error)
{
    CLEANUP(connection_close) struct connection *connection = xcalloc(1, sizeof(*connection));
    connection->statements = hashmap_new();
    CLEANUP(free_pointer) char *name = connection_file_name(path);
    int status = sqlite3_open_v2(name, &connection->database, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (!connection->database) {
        return error_set(error, ERROR_UNAVAILABLE, "opening: %s", sqlite3_errstr(status));
    }
    if (status != SQLITE_OK) {
        return connection_error(connection, "opening", error);
    }
    sqlite3_extended_result_codes(connection->database, 1);
    sqlite3_busy_timeout(connection->database, SQLITE_STORE_BUSY_MS);
    *ret_connection = TAKE(connection);
    return true;
}

static bool use_write_ahead_log(struct connection *connection, struct error *error)
{
    CLEANUP(statement_done)
    sqlite3_stmt *statement = connection_statement(connection, "PRAGMA journal_mode = WAL", error);
    bool row = false;
    if (!statement || !statement_step(connection, statement, &row, error)) {
        return false;
    }
    const char *mode = row ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    if (!mode || !text_equal(mode, "wal")) {
        return error_set(error, ERROR_UNAVAILABLE, "a write-ahead log is not possible here");
    }
    return true;
}

bool connection_open_writer(const char *path, struct connection **ret_connection, struct error *error)
{
    CLEANUP(connection_close) struct connection *connection = NULL;
    if (!connection_open(path, SQLITE_OPEN_READWRITE, &connection, error)) {
        return false;
    }
    if (sqlite3_db_readonly(connection->database, "main") != 0) {
        return error_set(error, ERROR_UNAVAILABLE, "the file is not writable");
    }
    if (!connection_run(connection, writer_settings, error) || !use_write_ahead_log(connection, error)) {
        return false;
    }
    *ret_connection = TAKE(connection);
    return true;
}

bool connection_open_reader(const char *path, struct connection **ret_connection, struct error *error)
{
    CLEANUP(connection_close) struct connection *connection = NULL;
    if (!connection_open(path, SQLITE_OPEN_READONLY, &connection, error)) {
        return false;
    }
    *ret_connection = TAKE(connection);
    return true;
}

static void finalize(const char *sql UNUSED, void *statement, void *context UNUSED)
{
    sqlite3_finalize(statement);
}

void connection_close(struct connection **connection)
{
    struct connection *closing = TAKE(*connection);
    if (!closing) {
        return;
    }
    hashmap_each(closing->statements, finalize, NULL);
    hashmap_free(&closing->statements);
    /* _v2: never refuses; nothing is left that could keep it open. */
    sqlite3_close_v2(closing->database);
    xfree(closing);
}

bool connection_is_astray(const struct connection *connection)
{
    int moved = 0;
    sqlite3_file_control(connection->database, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    return moved != 0;
}

bool connection_error(struct connection *connection, const char *doing, struct error *error)
{
    int saved_errno = errno;
    int status = sqlite3_extended_errcode(connection->database);
    int primary = status & 0xff;
    connection->failed = true;
    int number = 0;
    if (primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN || primary == SQLITE_FULL) {
        number = sqlite3_system_errno(connection->database);
        /* Of a COMMIT that failed SQLite keeps no number, but the calls that followed it went well and left errno. */
        number = number ? number : saved_errno;
    }
    if (number == 0) {
        return error_set(error, ERROR_UNAVAILABLE, "%s: %s", doing, sqlite3_errmsg(connection->database));
    }
    char buffer[SYSTEM_MESSAGE_MAX];
    const char *reason = strerror_r(number, buffer, sizeof(buffer));
    return error_set(error, ERROR_UNAVAILABLE, "%s: %s (%s)", doing, sqlite3_errmsg(connection->database), reason);
}

bool connection_run(struct connection *connection, const char *sql, struct error *error)
{
    if (sqlite3_exec(connection->database, sql, NULL, NULL, NULL) != SQLITE_OK) {
        return connection_error(connection, "preparing the file", error);
    }
    return true;
}

bool connection_number(struct connection *connection, const char *sql, int64_t *ret_number, struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, sql, error);
    bool row = false;
    if (!statement || !statement_step(connection, statement, &row, error)) {
        return false;
    }
    *ret_number = row ? sqlite3_column_int64(statement, 0) : 0;
    return true;
}

sqlite3_stmt *connection_statement(struct connection *connection, const char *sql, struct error *error)
{
    sqlite3_stmt *statement = hashmap_get(connection->statements, sql);
    if (statement) {
        return statement;
    }
    int status = sqlite3_prepare_v3(connection->database, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
    if (status != SQLITE_OK) {
        connection_error(connection, "preparing a statement", error);
        return NULL;
    }
    if (hashmap_count(connection->statements) == SQLITE_STORE_STATEMENTS_MAX) {
        hashmap_each(connection->statements, finalize, NULL);
        hashmap_free(&connection->statements);
        connection->statements = hashmap_new();
    }
    hashmap_put(connection->statements, sql, statement);
    return statement;
}

void statement_done(sqlite3_stmt **statement)
{
    if (*statement) {
        sqlite3_reset(*statement);
        sqlite3_clear_bindings(*statement);
    }
}

/* Binding fails only for a position that the statement does not have: our own fault. */
void statement_bind_text(sqlite3_stmt *statement, int position, const char *text)
{
    int status = sqlite3_bind_text(statement, position, text, -1, SQLITE_STATIC);
    assert(status == SQLITE_OK);
    (void)status;
}

void statement_bind_number(sqlite3_stmt *statement, int position, int64_t number)
{
    int status = sqlite3_bind_int64(statement, position, number);
    assert(status == SQLITE_OK);
    (void)status;
}

bool statement_step(struct connection *connection, sqlite3_stmt *statement, bool *ret_row, struct error *error)
{
    errno = 0;
    int status = sqlite3_step(statement);
    if (status != SQLITE_ROW && status != SQLITE_DONE) {
        bool reads = sqlite3_stmt_readonly(statement) && sqlite3_column_count(statement) > 0;
        return connection_error(connection, reads ? "reading" : "writing", error);
    }
    *ret_row = status == SQLITE_ROW;
    return true;
}
