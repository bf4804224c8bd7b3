/* SPDX-License-Identifier: Apache-2.0
 * Brings a file to what is declared: a table for each collection, a column for each field, the indexes, the owner.
 *
 * Other instances, of an older release too, may be at work on the file meanwhile: nothing they use is taken away but
 * indexes, which SQLite then does without, and new columns have defaults for the rows they insert. */
#include <assert.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/sqlite/sqlite.h"

enum {
    MIGRATE_DROPS_MAX = 64, /* undeclared indexes of a collection; more wait for the next start */
};

static const char *const head_columns[] = {"id", "version", "epoch", "writer", "claim", "changed"};

/* The outbox's second index finds what is oldest without touching payloads. store_owner has one row, or none: files
 * that are older than it have no owner until a service opens them. */
static const char own_tables[] =
    "CREATE TABLE IF NOT EXISTS \"store_meta\" (\"key\" TEXT PRIMARY KEY, \"value\" INTEGER NOT NULL)"
    " WITHOUT ROWID, STRICT;"
    "CREATE TABLE IF NOT EXISTS \"store_owner\" (\"name\" TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID, STRICT;"
    "CREATE TABLE IF NOT EXISTS \"store_outbox\" (\"collection\" TEXT NOT NULL, \"id\" TEXT NOT NULL,"
    " \"version\" INTEGER NOT NULL, \"created\" INTEGER NOT NULL, \"subject\" TEXT NOT NULL,"
    " \"payload\" TEXT NOT NULL, PRIMARY KEY (\"collection\", \"id\", \"version\")) WITHOUT ROWID, STRICT;"
    "CREATE INDEX IF NOT EXISTS \"store_outbox.by_created\" ON \"store_outbox\""
    " (\"created\", \"collection\", \"id\", \"version\");";

static bool run(struct connection *connection, struct buffer *sql, struct error *error)
{
    assert(!sql->overflowed);
    bool done = connection_run(connection, buffer_text(sql), error);
    buffer_clear(sql);
    return done;
}

static bool check_format(struct connection *connection, bool *ret_fresh, struct error *error)
{
    int64_t application, format, tables;
    if (!connection_number(connection, "PRAGMA application_id", &application, error) ||
        !connection_number(connection, "PRAGMA user_version", &format, error) ||
        !connection_number(connection, "SELECT count(*) FROM sqlite_master", &tables, error)) {
        return false;
    }
    if (application == 0 && format == 0 && tables == 0) {
        *ret_fresh = true;
        return true;
    }
    if (application != SQLITE_STORE_APPLICATION) {
        return error_set(error, ERROR_INVALID, "the file is a database of something else");
    }
    if (format > SQLITE_STORE_FORMAT) {
        return error_set(error, ERROR_INVALID, "the file has format %d of a newer release; this one knows up to %d",
                         (int)format, SQLITE_STORE_FORMAT);
    }
    *ret_fresh = false;
    return true;
}

static bool stamp(struct connection *connection, struct error *error)
{
    CLEANUP(buffer_done) struct buffer sql = BUFFER_INIT(ROWS_SQL_MAX);
    buffer_printf(&sql,
                  "PRAGMA application_id = %d; PRAGMA user_version = %d;"
                  "INSERT INTO \"store_meta\" (\"key\", \"value\") VALUES ('format', %d), ('ping', 0);",
                  SQLITE_STORE_APPLICATION, SQLITE_STORE_FORMAT, SQLITE_STORE_FORMAT);
    return run(connection, &sql, error);
}

/* Whose the file is; it becomes this owner's if it is nobody's and may be new. */
static bool claim_owner(struct connection *connection, const char *owner, bool must_be_there, struct error *error)
{
    CLEANUP(statement_done)
    sqlite3_stmt *find = connection_statement(connection, "SELECT \"name\" FROM \"store_owner\"", error);
    bool row = false;
    if (!find || !statement_step(connection, find, &row, error)) {
        return false;
    }
    if (row) {
        const char *found = (const char *)sqlite3_column_text(find, 0);
        return text_equal(found, owner) || store_refuse_owner(found, owner, error);
    }
    if (must_be_there) {
        return store_refuse_unowned(owner, error);
    }
    CLEANUP(statement_done)
    sqlite3_stmt *note = connection_statement(connection, "INSERT INTO \"store_owner\" (\"name\") VALUES (?1)", error);
    if (!note) {
        return false;
    }
    statement_bind_text(note, 1, owner);
    return statement_step(connection, note, &row, error);
}

/* A row of `sql` for this parameter? */
static bool exists(struct connection *connection, const char *sql, const char *first, const char *second,
                   bool *ret_exists, struct error *error)
{
    CLEANUP(statement_done) sqlite3_stmt *statement = connection_statement(connection, sql, error);
    if (!statement) {
        return false;
    }
    statement_bind_text(statement, 1, first);
    if (second) {
        statement_bind_text(statement, 2, second);
    }
    return statement_step(connection, statement, ret_exists, error);
}

static bool create_table(struct connection *connection, const struct store_collection *collection, struct error *error)
{
    CLEANUP(buffer_done) struct buffer sql = BUFFER_INIT(ROWS_SQL_MAX);
    const char *name = collection->declared->name;
    buffer_printf(&sql,
                  "CREATE TABLE \"%s\" (\"id\" TEXT NOT NULL PRIMARY KEY, \"version\" INTEGER NOT NULL,"
                  " \"epoch\" INTEGER NOT NULL, \"writer\" TEXT NOT NULL, \"claim\" TEXT, ",
                  name);
    rows_append_changed_column(&sql);
    for (size_t i = 0; i < collection->field_count; i++) {
        buffer_append_text(&sql, ", ");
        rows_append_column(&sql, &collection->fields[i]);
    }
    buffer_printf(&sql,
                  ") WITHOUT ROWID, STRICT;"
                  "CREATE UNIQUE INDEX \"%s#claim\" ON \"%s\" (\"claim\") WHERE \"claim\" IS NOT NULL;",
                  name, name);
    return run(connection, &sql, error);
}

/* `field` NULL: the head's column of changes, which files of the first release do not have. They keep their format,
 * since that release goes on working with the column in them. */
static bool add_column(struct connection *connection, const struct store_collection *collection,
                       const struct flat_field *field, struct error *error)
{
    const char *table = collection->declared->name;
    bool there = false;
    if (!exists(connection, "SELECT 1 FROM pragma_table_info(?1) WHERE \"name\" = ?2", table,
                field ? field->path : "changed", &there, error)) {
        return false;
    }
    if (there) {
        return true;
    }
    CLEANUP(buffer_done) struct buffer sql = BUFFER_INIT(ROWS_SQL_MAX);
    buffer_printf(&sql, "ALTER TABLE \"%s\" ADD COLUMN ", table);
    if (field) {
        rows_append_column(&sql, field);
    } else {
        rows_append_changed_column(&sql);
    }
    return run(connection, &sql, error);
}

static bool add_columns(struct connection *connection, const struct store_collection *collection, struct error *error)
{
    if (!add_column(connection, collection, NULL, error)) {
        return false;
    }
    for (size_t i = 0; i < collection->field_count; i++) {
        if (!add_column(connection, collection, &collection->fields[i], error)) {
            return false;
        }
    }
    return true;
}

static void append_index(struct buffer *sql, const struct store_collection *collection, const struct store_index *index)
{
    buffer_append_text(sql, "CREATE INDEX ");
    rows_append_index_name(sql, collection, index);
    buffer_printf(sql, " ON \"%s\" (", collection->declared->name);
    for (size_t i = 0; i < index->field_count; i++) {
        buffer_printf(sql, "\"%s\", ", collection->fields[index->fields[i]].path);
    }
    buffer_append_text(sql, "\"id\")");
}

/* Whether an index of the file, given by name and definition, is declared as it is. */
static bool is_declared(const struct store_collection *collection, const char *definition)
{
    CLEANUP(buffer_done) struct buffer sql = BUFFER_INIT(ROWS_SQL_MAX);
    for (size_t i = 0; i < collection->index_count; i++) {
        buffer_clear(&sql);
        append_index(&sql, collection, &collection->indexes[i]);
        if (collection->indexes[i].field_count > 0 && text_equal(buffer_text(&sql), definition)) {
            return true;
        }
    }
    return false;
}

/* Ours are those that are named "<collection>.<index>". */
static bool drop_indexes(struct connection *connection, const struct store_collection *collection, struct error *error)
{
    CLEANUP(buffer_done) struct buffer drops = BUFFER_INIT(ROWS_SQL_MAX);
    const char *name = collection->declared->name;
    CLEANUP(statement_done)
    sqlite3_stmt *statement = connection_statement(
        connection, "SELECT \"name\", \"sql\" FROM sqlite_master WHERE \"type\" = 'index' AND \"tbl_name\" = ?1",
        error);
    if (!statement) {
        return false;
    }
    statement_bind_text(statement, 1, name);
    bool row = false;
    for (size_t count = 0; count < MIGRATE_DROPS_MAX; count++) {
        if (!statement_step(connection, statement, &row, error)) {
            return false;
        }
        if (!row) {
            break;
        }
        const char *index = (const char *)sqlite3_column_text(statement, 0);
        const char *definition = (const char *)sqlite3_column_text(statement, 1);
        bool ours = text_starts_with(index, name) && index[strlen(name)] == '.' && !strchr(index, '"');
        if (ours && definition && !is_declared(collection, definition)) {
            buffer_printf(&drops, "DROP INDEX \"%s\";", index);
        }
    }
    statement_done(&statement);
    return drops.length == 0 || run(connection, &drops, error);
}

static bool add_indexes(struct connection *connection, const struct store_collection *collection, struct error *error)
{
    CLEANUP(buffer_done) struct buffer sql = BUFFER_INIT(ROWS_SQL_MAX);
    for (size_t i = 0; i < collection->index_count; i++) {
        if (collection->indexes[i].field_count == 0) {
            continue;
        }
        append_index(&sql, collection, &collection->indexes[i]);
        bool there = false;
        if (!exists(connection, "SELECT 1 FROM sqlite_master WHERE \"type\" = 'index' AND \"sql\" = ?1",
                    buffer_text(&sql), NULL, &there, error)) {
            return false;
        }
        if (there) {
            buffer_clear(&sql);
        } else if (!run(connection, &sql, error)) {
            return false;
        }
    }
    return true;
}

static bool migrate_collection(struct connection *connection, const struct store_collection *collection,
                               struct error *error)
{
    bool there = false;
    if (!exists(connection, "SELECT 1 FROM sqlite_master WHERE \"type\" = 'table' AND \"name\" = ?1",
                collection->declared->name, NULL, &there, error)) {
        return false;
    }
    bool ready = there ? add_columns(connection, collection, error) : create_table(connection, collection, error);
    return ready && drop_indexes(connection, collection, error) && add_indexes(connection, collection, error);
}

static bool migrate_all(struct connection *connection, const struct store_setup *setup, struct error *error)
{
    bool fresh = false;
    if (!check_format(connection, &fresh, error)) {
        return false;
    }
    if (fresh && setup->must_be_there) {
        return store_refuse_absent(error);
    }
    if (!connection_run(connection, own_tables, error) || (fresh && !stamp(connection, error)) ||
        (setup->owner && !claim_owner(connection, setup->owner, setup->must_be_there, error))) {
        return false;
    }
    for (size_t i = 0; i < setup->collection_count; i++) {
        if (!migrate_collection(connection, &setup->collections[i], error)) {
            return error_prefix(error, "%s", setup->collections[i].declared->name);
        }
    }
    return true;
}

/* Names that would clash with the store's own. */
static void check_names(const struct store_collection *collection)
{
    const char *name = collection->declared->name;
    assert(!text_starts_with(name, "store_") && !text_starts_with(name, "sqlite_"));
    (void)name;
    for (size_t i = 0; i < collection->field_count; i++) {
        assert(!strchr(collection->fields[i].path, '"'));
        for (size_t j = 0; j < ARRAY_LENGTH(head_columns); j++) {
            assert(!text_equal_ignore_case(collection->fields[i].path, head_columns[j]));
        }
    }
}

bool migrate(struct connection *connection, const struct store_setup *setup, struct error *error)
{
    for (size_t i = 0; i < setup->collection_count; i++) {
        check_names(&setup->collections[i]);
    }
    if (!connection_run(connection, "BEGIN IMMEDIATE", error)) {
        return false;
    }
    if (migrate_all(connection, setup, error)) {
        return connection_run(connection, "COMMIT", error);
    }
    /* Some errors have rolled back already. */
    struct error ignored = ERROR_INIT;
    if (!sqlite3_get_autocommit(connection->database) && !connection_run(connection, "ROLLBACK", &ignored)) {
        return false;
    }
    return false;
}
