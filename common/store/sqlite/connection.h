/* SPDX-License-Identifier: Apache-2.0
 * One connection to the database file, with its prepared statements; used by one thread at a time. */
#ifndef TURNSTILE_STORE_SQLITE_CONNECTION_H
#define TURNSTILE_STORE_SQLITE_CONNECTION_H

#include <sqlite3.h>

#include "common/base/error.h"
#include "common/base/hashmap.h"

enum {
    SQLITE_STORE_STATEMENTS_MAX = 256, /* prepared statements that a connection keeps */
    SQLITE_STORE_BUSY_MS = 2000,       /* wait for tools that lock the file; our own processes take turns before */
};

struct connection {
    sqlite3 *database;
    struct hashmap *statements; /* by their text */
    bool failed;                /* an operation failed in a way that a fresh connection may not */
};

/* A path that SQLite takes for a path: not for a URI, nor for ":memory:". Caller frees with xfree. */
char *connection_file_name(const char *path);
/* ERROR_UNAVAILABLE with the reason. Caller releases with connection_close. */
bool connection_open_writer(const char *path, struct connection **ret_connection, struct error *error) MUST_CHECK;
bool connection_open_reader(const char *path, struct connection **ret_connection, struct error *error) MUST_CHECK;
void connection_close(struct connection **connection);

/* The path no longer leads to the file that is open: it was removed or replaced, and what is written into it is gone
 * with the process. */
bool connection_is_astray(const struct connection *connection);

/* Says what SQLite says of the last failure, and the operating system where it knows more; returns false. */
bool connection_error(struct connection *connection, const char *doing, struct error *error);
/* Runs statements without parameters or results. */
bool connection_run(struct connection *connection, const char *sql, struct error *error) MUST_CHECK;
/* Runs a statement without parameters that gives one number. */
bool connection_number(struct connection *connection, const char *sql, int64_t *ret_number,
                       struct error *error) MUST_CHECK;

/* The statement of this text, prepared once; NULL with an error. Hand it to statement_done (CLEANUP) behind use, so
 * that it holds no snapshot. */
sqlite3_stmt *connection_statement(struct connection *connection, const char *sql, struct error *error) MUST_CHECK;
void statement_done(sqlite3_stmt **statement);

void statement_bind_text(sqlite3_stmt *statement, int position, const char *text); /* borrowed until it is done */
void statement_bind_number(sqlite3_stmt *statement, int position, int64_t number);

/* True for a row, with *ret_row true; true at the end, with false; false with an error. */
bool statement_step(struct connection *connection, sqlite3_stmt *statement, bool *ret_row,
                    struct error *error) MUST_CHECK;

#endif
