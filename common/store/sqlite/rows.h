/* SPDX-License-Identifier: Apache-2.0
 * Records as rows: the statements of a collection, and the way of values into and out of them. */
#ifndef TURNSTILE_STORE_SQLITE_ROWS_H
#define TURNSTILE_STORE_SQLITE_ROWS_H

#include "common/store/driver.h"
#include "common/store/sqlite/connection.h"

enum {
    ROWS_SQL_MAX = 16384, /* bytes of a statement */
};

/* The statements that do not depend on a query. */
struct rows_texts {
    char *get;       /* ?1: id; the columns of rows_read */
    char *get_claim; /* ?1: claim */
    char *look;      /* ?1: id; version, writer, claim */
    char *holder;    /* ?1: claim; a row if it is held */
    char *insert;    /* parameters of rows_bind */
    char *update;
    char *remove; /* ?1: id */
};

void rows_texts_init(struct rows_texts *texts, const struct store_collection *collection);
void rows_texts_done(struct rows_texts *texts);

/* `"tickets.by_price"`; an index without fields is the table itself and has none. */
void rows_append_index_name(struct buffer *sql, const struct store_collection *collection,
                            const struct store_index *index);
/* `"changed" INTEGER`: when a row was last written. */
void rows_append_changed_column(struct buffer *sql);
/* `"title" TEXT DEFAULT ''`: so that rows that are older than a required field have its zero value. */
void rows_append_column(struct buffer *sql, const struct flat_field *field);
/* The scan of one range: parameters of rows_bind_range. `hinted` names the index, so that SQLite takes no other. */
void rows_append_scan(struct buffer *sql, const struct store_scan *scan, const struct store_range *range, bool hinted);
void rows_bind_range(sqlite3_stmt *statement, const struct store_range *range, size_t limit);

void rows_bind(sqlite3_stmt *statement, const struct store_write_request *request, bool insert);
/* ERROR_INTERNAL if the row does not fit the table. */
bool rows_read(sqlite3_stmt *statement, const struct store_collection *collection, struct record *ret_head,
               void *ret_entity, struct error *error) MUST_CHECK;

#endif
