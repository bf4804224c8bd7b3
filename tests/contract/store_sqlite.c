/* SPDX-License-Identifier: Apache-2.0
 * What only the embedded store has: a file, its format and its migration, query plans, full disks, and failed commits.
 */
#include "tests/contract/store_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/failpoint.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/query.h"
#include "common/store/sqlite/lock.h"
#include "common/store/sqlite/rows.h"

enum {
    FULL_FILE_BYTES = 600 * 1024,
    FULL_EVENT_BYTES = 4000,
    FULL_FAILURES = 5, /* one behind the other: then it is full */
    FULL_WRITES_MAX = 10000,
    LARGE_EVENT_BYTES = 60000,
    WORDS_MAX = 256,
    TURN_TAKERS = 2,
    TURNS_MS = 500,
};

static char *path_of(const char *uri)
{
    return xstrdup(uri + strlen("sqlite:"));
}

/* A file of our own choice, whatever TEST_STORE says. */
static char *sqlite_uri(void)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    if (!text_starts_with(uri, "sqlite:")) {
        print_message("these tests are of files: TEST_STORE has to be sqlite:…*…\n");
        skip();
    }
    return TAKE(uri);
}

static sqlite3 *open_raw(const char *uri)
{
    CLEANUP(free_pointer) char *path = path_of(uri);
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL), SQLITE_OK);
    return database;
}

static void run_raw(const char *uri, const char *sql)
{
    sqlite3 *database = open_raw(uri);
    assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

/* All first columns of a query, each in brackets. */
static void ask_raw(const char *uri, const char *sql, char ret_words[static WORDS_MAX])
{
    sqlite3 *database = open_raw(uri);
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK);
    CLEANUP(buffer_done) struct buffer words = BUFFER_INIT(WORDS_MAX - 1);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        buffer_printf(&words, "[%s]", (const char *)sqlite3_column_text(statement, 0));
    }
    sqlite3_finalize(statement);
    sqlite3_close(database);
    assert_true(text_copy(ret_words, WORDS_MAX, buffer_text(&words)));
}

static off_t size_of(const char *uri, const char *suffix)
{
    CLEANUP(free_pointer) char *path = path_of(uri);
    CLEANUP(free_pointer) char *name = xasprintf("%s%s", path, suffix);
    struct stat status = {.st_size = 0};
    assert_int_equal(stat(name, &status), 0);
    return status.st_size;
}

static void assert_refused(const char *uri, enum error_code code, const char *word)
{
    struct store_config config = {.uri = uri, .collections = fixture_collections, .readers = READERS};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    assert_false(store_open(&config, &store, &error));
    assert_null(store);
    assert_int_equal(error.code, code);
    CLEANUP(free_pointer) char *path = path_of(uri);
    if (!strstr(error.message, path) || !strstr(error.message, word)) {
        fail_msg("\"%s\" names neither %s nor \"%s\"", error.message, path, word);
    }
}

/* ---- files ---- */

static void a_file_that_cannot_be_opened_is_named_with_the_reason(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    CLEANUP(free_pointer) char *path = path_of(uri);
    CLEANUP(free_pointer) char *nowhere = xasprintf("%s/nowhere/x.db", uri);
    assert_refused(nowhere, ERROR_UNAVAILABLE, "No such file or directory");
    assert_refused("sqlite:/proc/turnstile.db", ERROR_UNAVAILABLE, ": ");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused(uri, ERROR_UNAVAILABLE, "not a file");
    assert_int_equal(rmdir(path), 0);
    if (geteuid() != 0) { /* root writes everywhere */
        CLEANUP(free_pointer) char *inside = xasprintf("%s/x.db", uri);
        assert_int_equal(mkdir(path, 0500), 0);
        assert_refused(inside, ERROR_UNAVAILABLE, "Permission denied");
        assert_int_equal(rmdir(path), 0);
    }
}

static void a_file_that_is_no_store_is_refused_and_left_alone(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    char words[WORDS_MAX];
    run_raw(uri, "CREATE TABLE things (name); INSERT INTO things VALUES ('kept')");
    assert_refused(uri, ERROR_INVALID, "something else");
    ask_raw(uri, "SELECT name FROM sqlite_master", words);
    assert_string_equal(words, "[things]");

    CLEANUP(free_pointer) char *text_uri = sqlite_uri();
    CLEANUP(free_pointer) char *path = path_of(text_uri);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 200; i++) {
        fputs("this is a text and not a database\n", file);
    }
    fclose(file);
    assert_refused(text_uri, ERROR_UNAVAILABLE, "not a database");
}

static void a_newer_format_is_refused(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    store_close(&store);
    run_raw(uri, "PRAGMA user_version = 2");
    assert_refused(uri, ERROR_INVALID, "newer release");
    run_raw(uri, "PRAGMA user_version = 1");
    store = fixture_open(uri);
    assert_non_null(store);
    store_close(&store);
}

static void files_are_for_their_owner_only(void **state UNUSED)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    CLEANUP(free_pointer) char *path = path_of(uri);
    mode_t mask = umask(0);
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    struct item item = fixture_item("title", 1);
    fixture_insert(store, 1, "", &item, NULL);
    umask(mask);
    for (size_t i = 0; i < ARRAY_LENGTH(suffixes); i++) {
        CLEANUP(free_pointer) char *name = xasprintf("%s%s", path, suffixes[i]);
        struct stat status = {.st_mode = 0};
        assert_int_equal(stat(name, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
    }
    store_close(&store);
}

static void remove_files(const char *uri)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    CLEANUP(free_pointer) char *path = path_of(uri);
    for (size_t i = 0; i < ARRAY_LENGTH(suffixes); i++) {
        CLEANUP(free_pointer) char *name = xasprintf("%s%s", path, suffixes[i]);
        assert_int_equal(unlink(name), 0);
    }
}

/* What is written into a file without a name is gone with the process, and a process that starts behind that would
 * know nothing of it: two could hold one claim. */
static void a_file_that_was_removed_takes_nothing_more(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    struct store *store = fixture_open(uri);
    struct item item = fixture_item("removed", 1);
    fixture_insert(store, 1, "claim", &item, NULL);
    remove_files(uri);
    struct error error = ERROR_INIT;
    struct record record = fixture_record(2), head = RECORD_INIT;
    assert_int_equal(fixture_write(store, 0, &record, &item, NULL), STORE_UNAVAILABLE);
    assert_false(store_get(store, &items, &record.id, &head, NULL, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_false(store_ping(store, &error));

    struct store *other = fixture_open(uri); /* makes a new file, to which both go on */
    fixture_insert(other, 3, "claim", &item, NULL);
    struct record again = fixture_record(4);
    text_copy_cut(again.claim, sizeof(again.claim), "claim");
    assert_int_equal(fixture_write(store, 0, &again, &item, NULL), STORE_CONFLICT_CLAIM);
    struct id id = fixture_id(3);
    assert_true(store_get(store, &items, &id, &head, NULL, &error));
    fixture_insert(store, 2, "", &item, NULL);
    store_close(&store);
    id = fixture_id(2);
    assert_true(store_get(other, &items, &id, &head, NULL, &error));
    store_close(&other);
}

static void names_that_sqlite_takes_for_something_else_are_files(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    CLEANUP(free_pointer) char *path = path_of(uri);
    CLEANUP(free_pointer) char *before = getcwd(NULL, 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chdir(path), 0);
    static const char *const names[] = {":memory:", "file:x.db?mode=ro", "plain.db"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        CLEANUP(free_pointer) char *odd = xasprintf("sqlite:%s", names[i]);
        struct store *store = fixture_open(odd);
        assert_non_null(store);
        store_close(&store);
        assert_int_equal(access(names[i], F_OK), 0);
    }
    assert_int_equal(chdir(before), 0);
}

static void synchronous_is_full_and_the_journal_a_log(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    struct connection *connection = NULL;
    struct error error = ERROR_INIT;
    int64_t synchronous = 0;
    char words[WORDS_MAX];
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    store_close(&store);
    CLEANUP(free_pointer) char *path = path_of(uri);
    assert_true(connection_open_writer(path, &connection, &error));
    assert_true(connection_number(connection, "PRAGMA synchronous", &synchronous, &error));
    assert_int_equal(synchronous, 2);
    connection_close(&connection);
    ask_raw(uri, "PRAGMA journal_mode", words);
    assert_string_equal(words, "[wal]");
}

/* ---- migration ---- */

struct old_item {
    char title[TITLE_SIZE];
    int64_t price;
};

static const struct field old_fields[] = {
    FIELD(struct old_item, title, FIELD_TEXT, .max = 64, .required = true, .in = IN_ALL),
    FIELD(struct old_item, price, FIELD_MONEY, .max = INT64_MAX, .required = true, .in = IN_ALL),
    {.name = NULL},
};
static const struct table old_table = {.name = "item", .size = sizeof(struct old_item), .fields = old_fields};
static const struct index old_indexes[] = {
    {.name = "by_price", .fields = {"price"}},
    {.name = "by_title", .fields = {"title", "price"}},
    {.name = "by_both", .fields = {"price", "title"}},
    {.name = NULL},
};
static const struct collection old_items = {.name = "items", .table = &old_table, .indexes = old_indexes};

static struct store *open_old(const char *uri)
{
    static const struct collection *const collections[] = {&old_items, NULL};
    struct store_config config = {.uri = uri, .collections = collections, .readers = READERS};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    assert_true(store_open(&config, &store, &error));
    return store;
}

static void write_old(struct store *store, uint64_t number, int64_t price)
{
    struct old_item item = {.title = "old", .price = price};
    struct record record = fixture_record(number);
    struct error error = ERROR_INIT;
    assert_int_equal(store_write(store, &old_items, 0, &record, &item, NULL, &error), STORE_DONE);
}

static size_t count_old(struct store *store, const char *index)
{
    struct query query = {.index = index, .limit = 100};
    struct page page = PAGE_INIT;
    struct error error = ERROR_INIT;
    assert_true(store_list(store, &old_items, &query, &page, &error));
    size_t count = page.count;
    page_done(&page);
    return count;
}

static void fields_and_indexes_are_added_and_what_is_undeclared_is_dropped(void **state UNUSED)
{
    static const char indexes[] = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'items'"
                                  " AND name NOT LIKE 'sqlite_%' ORDER BY name";
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    char words[WORDS_MAX];
    struct store *old = open_old(uri);
    write_old(old, 1, 5);
    ask_raw(uri, indexes, words);
    assert_string_equal(words, "[items#claim][items.by_both][items.by_price][items.by_title]");
    run_raw(uri, "CREATE INDEX somebody_elses ON items (price)");

    /* The older release goes on working on the file that the newer one migrates. */
    assert_int_equal(count_old(old, "by_both"), 1);
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    ask_raw(uri, indexes, words);
    assert_string_equal(words, "[items#claim][items.by_all][items.by_order][items.by_owner][items.by_price]"
                               "[items.by_state][items.by_title][items.by_town][somebody_elses]");
    ask_raw(uri, "SELECT sql FROM sqlite_master WHERE name = 'items.by_title'", words);
    assert_string_equal(words, "[CREATE INDEX \"items.by_title\" ON \"items\" (\"title\", \"id\")]");
    write_old(old, 2, 6);
    assert_int_equal(count_old(old, "by_both"), 2);
    assert_int_equal(count_old(old, "by_title"), 2);
    store_close(&old);

    for (uint64_t i = 1; i <= 2; i++) {
        struct item item = {.price = -1};
        struct record head = RECORD_INIT;
        struct id id = fixture_id(i);
        struct error error = ERROR_INIT;
        assert_true(store_get(store, &items, &id, &head, &item, &error));
        assert_string_equal(item.title, "old");
        assert_int_equal(item.price, (int64_t)i + 4);
        assert_string_equal(item.owner.hex, "");
        assert_int_equal(item.state, STATE_OPEN);
        assert_false(item.listed);
        assert_string_equal(item.note, "");
        assert_int_equal(item.grade, GRADE_NONE);
    }
    struct query query = {.index = "by_state",
                          .limit = 10,
                          .conditions = {{.compare = QUERY_EQUAL, .field = "state", .number = STATE_OPEN},
                                         {.compare = QUERY_ABSENT, .field = "order"}}};
    struct page page = PAGE_INIT;
    struct error error = ERROR_INIT;
    assert_true(store_list(store, &items, &query, &page, &error));
    assert_int_equal(page.count, 2);
    page_done(&page);
    store_close(&store);
}

static void require_changed(struct store *store, uint64_t number, uint64_t version, int64_t changed)
{
    struct record head = RECORD_INIT;
    struct id id = fixture_id(number);
    struct error error = ERROR_INIT;
    assert_true(store_get(store, &old_items, &id, &head, NULL, &error));
    assert_int_equal(head.version, version);
    assert_int_equal(head.changed, changed);
}

/* The statements are those of the first release, whose instances know nothing of the column and may still run. */
static void a_file_without_times_of_change_gets_them_and_serves_the_first_release(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    char words[WORDS_MAX];
    struct store *store = open_old(uri);
    write_old(store, 1, 5);
    store_close(&store);
    run_raw(uri, "ALTER TABLE items DROP COLUMN changed");
    store = open_old(uri);
    require_changed(store, 1, 1, 0);
    run_raw(uri, "INSERT INTO items (id, version, epoch, writer, claim, title, price) VALUES"
                 " ('000000000000000000000002', 1, 0, 'older', NULL, 'old', 6)");
    require_changed(store, 2, 1, 0);
    int64_t before = clock_now(NULL);
    struct old_item item = {.title = "new", .price = 7};
    struct record record = fixture_record(1);
    struct error error = ERROR_INIT;
    record.version = 2;
    assert_int_equal(store_write(store, &old_items, 1, &record, &item, NULL, &error), STORE_DONE);
    assert_true(store_get(store, &old_items, &record.id, &record, NULL, &error));
    int64_t changed = record.changed;
    assert_in_range(changed, before, clock_now(NULL));
    run_raw(uri, "UPDATE items SET version = 3, epoch = 0, writer = 'older', title = 'old', price = 8"
                 " WHERE id = '000000000000000000000001'");
    require_changed(store, 1, 3, changed);
    write_old(store, 3, 9);
    struct query query = {.limit = 10, .changed_since = INT64_MAX};
    struct page page = PAGE_INIT;
    assert_true(store_list(store, &old_items, &query, &page, &error));
    assert_int_equal(page.count, 1); /* nobody knows when */
    assert_string_equal(page.heads[0].id.hex, fixture_id(2).hex);
    page_done(&page);
    store_close(&store);
    ask_raw(uri, "PRAGMA user_version", words);
    assert_string_equal(words, "[1]");
}

static void opening_what_is_up_to_date_writes_nothing(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    char before[WORDS_MAX], after[WORDS_MAX];
    ask_raw(uri, "PRAGMA schema_version", before);
    struct store *second = fixture_open(uri);
    assert_non_null(second);
    ask_raw(uri, "PRAGMA schema_version", after);
    assert_string_equal(before, after);
    store_close(&second);
    store_close(&store);
}

/* ---- query plans ---- */

/* Every part of a list's plan reads along the index that was asked for, and nothing is sorted. */
static void assert_planned(sqlite3 *database, const struct store_collection *collection, const struct query *query)
{
    CLEANUP(store_plan_done) struct store_plan plan = STORE_PLAN_INIT;
    struct error error = ERROR_INIT;
    assert_true(store_plan_make(collection, query, &plan, &error));
    for (size_t i = 0; i < plan.scan.range_count; i++) {
        CLEANUP(buffer_done) struct buffer sql = BUFFER_INIT(ROWS_SQL_MAX);
        buffer_append_text(&sql, "EXPLAIN QUERY PLAN ");
        rows_append_scan(&sql, &plan.scan, &plan.scan.ranges[i], true);
        sqlite3_stmt *statement = NULL;
        assert_int_equal(sqlite3_prepare_v2(database, buffer_text(&sql), -1, &statement, NULL), SQLITE_OK);
        CLEANUP(free_pointer)
        char *wanted = plan.scan.index->field_count ? xasprintf("INDEX items.%s", query->index) : xstrdup(" r");
        const struct store_range *range = &plan.scan.ranges[i];
        bool bounded = range->equal_count > 0 || range->present || range->low.kind != STORE_UNBOUNDED ||
                       range->high.kind != STORE_UNBOUNDED;
        size_t found = 0;
        while (sqlite3_step(statement) == SQLITE_ROW) {
            const char *detail = (const char *)sqlite3_column_text(statement, 3);
            bool sorts = strstr(detail, "B-TREE") != NULL;
            bool reads = strstr(detail, " r") != NULL;
            if (sorts || (reads && (!strstr(detail, wanted) || (bounded && !text_starts_with(detail, "SEARCH"))))) {
                fail_msg("%s\nis planned as: %s", buffer_text(&sql), detail);
            }
            found += reads;
        }
        assert_int_equal(found, 1);
        sqlite3_finalize(statement);
    }
}

static void lists_read_along_their_index_and_sort_nothing(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    for (uint64_t i = 1; i <= 3; i++) {
        struct item item = fixture_item("title", (int64_t)i);
        item.order = i == 2 ? fixture_id(5) : (struct id){.hex = ""};
        item.expires = (int64_t)i;
        fixture_insert(store, i, "", &item, NULL);
    }
    sqlite3 *database = open_raw(uri);
    static struct store_collection collection;
    store_collection_init(&collection, &items, 0);
    struct id owner = fixture_id(7);
    const struct query queries[] = {
        {.index = NULL},
        {.index = "by_id"},
        {.index = "by_title"},
        {.index = "by_price", .conditions = {{.compare = QUERY_AT_LEAST, .field = "price", .number = 1}}},
        {.index = "by_order"},
        {.index = "by_order", .conditions = {{.compare = QUERY_ABSENT, .field = "order"}}},
        {.index = "by_owner", .conditions = {{.compare = QUERY_EQUAL, .field = "owner", .text = owner.hex}}},
        {.index = "by_owner",
         .conditions = {{.compare = QUERY_EQUAL, .field = "owner", .text = owner.hex},
                        {.compare = QUERY_AT_MOST, .field = "expires", .number = 3},
                        {.compare = QUERY_CONTAINS, .field = "title", .text = "T"}}},
        {.index = "by_state", .conditions = {{.compare = QUERY_EQUAL, .field = "state", .number = STATE_OPEN}}},
        {.index = "by_all"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(queries) * 2; i++) {
        struct query query = queries[i / 2];
        query.descending = i % 2;
        query.limit = 1;
        assert_planned(database, &collection, &query);
        struct page page = PAGE_INIT;
        struct error error = ERROR_INIT;
        assert_true(store_list(store, &items, &query, &page, &error));
        assert_true(page.more);
        query.after = page.next;
        assert_planned(database, &collection, &query);
        page_done(&page);
    }
    sqlite3_close(database);
    store_close(&store);
}

/* ---- the log ---- */

static void write_large(struct store *store, uint64_t number)
{
    CLEANUP(free_pointer) char *payload = xmalloc(LARGE_EVENT_BYTES);
    memset(payload, 'x', LARGE_EVENT_BYTES);
    struct outbox_entry entry = {.subject = "large", .payload = payload, .length = LARGE_EVENT_BYTES};
    struct item item = fixture_item("large", 1);
    struct record record = fixture_record(number);
    struct error error = ERROR_INIT;
    assert_int_equal(store_write(store, &items, 0, &record, &item, &entry, &error), STORE_DONE);
}

/* Reading pins the log only while a statement runs: it starts anew at every checkpoint. */
static void the_log_does_not_grow_while_lists_are_read(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    for (uint64_t i = 0; i < 600; i++) {
        write_large(store, i);
        struct query query = {.index = "by_price", .limit = 5};
        struct page page = PAGE_INIT;
        struct error error = ERROR_INIT;
        assert_true(store_list(store, &items, &query, &page, &error));
        page_done(&page);
    }
    assert_in_range(size_of(uri, ""), 20 * 1000 * 1000, INT64_MAX);
    assert_in_range(size_of(uri, "-wal"), 0, 8 * 1000 * 1000);
    store_close(&store);
}

static void the_log_shrinks_after_a_long_reader_has_made_it_grow(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    sqlite3 *reader = open_raw(uri);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM items", NULL, NULL, NULL), SQLITE_OK);
    for (uint64_t i = 0; i < 900; i++) {
        write_large(store, i);
    }
    assert_in_range(size_of(uri, "-wal"), 68 * 1000 * 1000, INT64_MAX);
    assert_int_equal(sqlite3_exec(reader, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(reader);
    for (uint64_t i = 900; i < 1100; i++) {
        write_large(store, i);
    }
    assert_in_range(size_of(uri, "-wal"), 0, 64 * 1024 * 1024);
    store_close(&store);
}

/* ---- turns ---- */

static atomic_int_fast64_t *turns; /* of each process; shared memory */

/* Takes its turn again as soon as it has given it back, without a pause. */
static void take_turns(const char *uri, int number)
{
    CLEANUP(free_pointer) char *path = path_of(uri);
    struct error error = ERROR_INIT;
    int file = lock_open(path, &error);
    CHILD_REQUIRE(file >= 0);
    /* Nobody runs ahead before the others are there. */
    atomic_fetch_add(&turns[TURN_TAKERS], 1);
    while (atomic_load(&turns[TURN_TAKERS]) < TURN_TAKERS) {
        usleep(100);
    }
    int64_t end = clock_monotonic(NULL) + TURNS_MS;
    while (clock_monotonic(NULL) < end) {
        lock_take(file);
        usleep(100);
        atomic_fetch_add(&turns[number], 1);
        lock_release(file);
    }
    lock_close(&file);
}

static void the_turn_goes_to_who_waits_for_it(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    size_t size = (TURN_TAKERS + 1) * sizeof(*turns);
    turns = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(turns != MAP_FAILED);
    int children[TURN_TAKERS];
    for (int i = 0; i < TURN_TAKERS; i++) {
        children[i] = child_start(take_turns, uri, i);
    }
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < TURN_TAKERS; i++) {
        child_join(children[i]);
        int64_t taken = atomic_load(&turns[i]);
        least = taken < least ? taken : least;
        most = taken > most ? taken : most;
    }
    munmap(turns, size);
    print_message("turns of each process in %d ms: %ld to %ld\n", TURNS_MS, (long)least, (long)most);
    assert_true(least * 3 >= most);
}

/* ---- in a process of its own: a full disk ---- */

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    CHILD_REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes;
    CHILD_REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static enum store_result write_event(struct store *store, uint64_t number, struct error *error)
{
    char payload[FULL_EVENT_BYTES];
    memset(payload, 'x', sizeof(payload));
    struct outbox_entry entry = {.subject = "event", .payload = payload, .length = sizeof(payload)};
    struct item item = fixture_item("full", 1);
    struct record record = fixture_record(number);
    return store_write(store, &items, 0, &record, &item, &entry, error);
}

static void require_written(struct store *store, uint64_t number)
{
    struct record head = RECORD_INIT;
    struct id id = fixture_id(number);
    struct error error = ERROR_INIT;
    CHILD_REQUIRE(store_get(store, &items, &id, &head, NULL, &error));
    CHILD_REQUIRE(head.unconfirmed == 1);
}

struct filled {
    bool written[FULL_WRITES_MAX];
    uint64_t count;
};

static void require_all_written(struct store *store, const struct filled *filled)
{
    for (uint64_t i = 0; i < filled->count; i++) {
        if (filled->written[i]) {
            require_written(store, i);
        }
    }
}

/* One failure makes room, since a checkpoint lets the log start anew: the disk is full when several follow each other.
 */
static void write_until_full(struct store *store, struct filled *filled)
{
    struct error error = ERROR_INIT;
    for (int failures = 0; failures < FULL_FAILURES; filled->count++) {
        CHILD_REQUIRE(filled->count < FULL_WRITES_MAX);
        filled->written[filled->count] = write_event(store, filled->count, &error) == STORE_DONE;
        failures = filled->written[filled->count] ? 0 : failures + 1;
        CHILD_REQUIRE(failures == 0 || error.code == ERROR_UNAVAILABLE);
        CHILD_REQUIRE(failures == 0 || strstr(error.message, "File too large"));
    }
}

static void fill_the_disk(const char *uri, int number UNUSED)
{
    static struct filled filled;
    signal(SIGXFSZ, SIG_IGN);
    struct store *store = fixture_open(uri);
    struct error error = ERROR_INIT;
    CHILD_REQUIRE(store);
    limit_files(FULL_FILE_BYTES);
    write_until_full(store, &filled);
    CHILD_REQUIRE(filled.count > 20);
    limit_files(1); /* not even the page of a ping fits */
    CHILD_REQUIRE(!store_ping(store, &error) && error.code == ERROR_UNAVAILABLE);
    require_all_written(store, &filled);
    limit_files(RLIM_INFINITY);
    filled.written[filled.count] = write_event(store, filled.count, &error) == STORE_DONE;
    CHILD_REQUIRE(filled.written[filled.count++]);
    CHILD_REQUIRE(store_ping(store, &error));
    require_all_written(store, &filled);
    store_close(&store);
    store = fixture_open(uri);
    CHILD_REQUIRE(store);
    require_all_written(store, &filled);
    store_close(&store);
}

static void a_full_disk_loses_nothing_and_the_store_recovers(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    char words[WORDS_MAX];
    child_join(child_start(fill_the_disk, uri, 0));
    ask_raw(uri, "PRAGMA integrity_check", words);
    assert_string_equal(words, "[ok]");
}

/* ---- in a process of its own: failpoints ---- */

static struct store *open_with_failpoints(const char *uri, const char *failpoints)
{
    struct error error = ERROR_INIT;
    CHILD_REQUIRE(failpoint_configure(failpoints, &error));
    struct store *store = fixture_open(uri);
    CHILD_REQUIRE(store);
    return store;
}

static void fail_before_commit(const char *uri, int number UNUSED)
{
    struct store *store = open_with_failpoints(uri, "store.before_commit=fail:1");
    struct error error = ERROR_INIT;
    struct record head = RECORD_INIT;
    struct id id = fixture_id(1);
    CHILD_REQUIRE(write_event(store, 1, &error) == STORE_UNAVAILABLE);
    CHILD_REQUIRE(!store_get(store, &items, &id, &head, NULL, &error) && error.code == ERROR_NOT_FOUND);
    CHILD_REQUIRE(write_event(store, 1, &error) == STORE_DONE);
    require_written(store, 1);
    store_close(&store);
}

static void a_write_that_fails_before_its_commit_leaves_nothing(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    child_join(child_start(fail_before_commit, uri, 0));
}

struct counting {
    struct store *store;
    uint64_t number;
};

/* Two writes of one record in flight at a time, so that a batch has a record's insert and its update. */
static void *count_up(void *context)
{
    struct counting *counting = context;
    for (int done = 0; done < 20;) {
        struct item item = fixture_item("counter", 1);
        struct record record = fixture_record(counting->number / 2);
        struct error error = ERROR_INIT;
        if (!store_get(counting->store, &items, &record.id, &record, &item, &error)) {
            CHILD_REQUIRE(error.code == ERROR_NOT_FOUND);
            record = fixture_record(counting->number / 2);
            record.version = 0;
        } else {
            CHILD_REQUIRE(item.price == (int64_t)record.version);
            item.price++;
        }
        enum store_result result = fixture_write(counting->store, record.version, &record, &item, "event");
        CHILD_REQUIRE(result == STORE_DONE || result == STORE_CONFLICT_VERSION || result == STORE_CONFLICT_ID);
        done += result == STORE_DONE;
    }
    return NULL;
}

static void count_in_threads(struct store *store)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    struct counting countings[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        countings[i] = (struct counting){.store = store, .number = i};
        CHILD_REQUIRE(pthread_create(&threads[i], NULL, count_up, &countings[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (uint64_t i = 0; i < THREADS / 2; i++) {
        struct record head = RECORD_INIT;
        struct id id = fixture_id(i);
        struct error error = ERROR_INIT;
        CHILD_REQUIRE(store_get(store, &items, &id, &head, NULL, &error));
        CHILD_REQUIRE(head.version == 40);
    }
    uint64_t count = 0;
    int64_t oldest = 0;
    struct error error = ERROR_INIT;
    CHILD_REQUIRE(store_outbox_count(store, &count, &oldest, &error) && count == (uint64_t)THREADS * 20);
}

static void lose_the_answer_of_commits(const char *uri, int number UNUSED)
{
    struct store *store = open_with_failpoints(uri, "store.after_commit=fail:20");
    count_in_threads(store);
    store_close(&store);
}

static void a_commit_whose_answer_is_lost_is_found_by_its_token(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    child_join(child_start(lose_the_answer_of_commits, uri, 0));
}

/* Writes every other version of one record, whether or not it is its turn: so a commit often holds two of them, each of
 * which is done. */
static void *write_every_other_version(void *context)
{
    struct counting *counting = context;
    for (uint64_t expected = counting->number; expected < 400;) {
        struct item item = fixture_item("counter", 1);
        struct record record = fixture_record(1), head = RECORD_INIT;
        struct error error = ERROR_INIT;
        enum store_result result = fixture_write(counting->store, expected, &record, &item, NULL);
        if (result == STORE_DONE) {
            expected += 2;
            continue;
        }
        CHILD_REQUIRE(result == STORE_CONFLICT_VERSION);
        bool found = store_get(counting->store, &items, &record.id, &head, NULL, &error);
        CHILD_REQUIRE(!found || head.version <= expected); /* nobody else writes this version */
    }
    return NULL;
}

static void lose_every_answer(const char *uri, int number UNUSED)
{
    struct store *store = open_with_failpoints(uri, "store.after_commit=fail");
    pthread_t threads[2];
    struct counting countings[2];
    for (size_t i = 0; i < 2; i++) {
        countings[i] = (struct counting){.store = store, .number = i};
        CHILD_REQUIRE(pthread_create(&threads[i], NULL, write_every_other_version, &countings[i]) == 0);
    }
    for (size_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    store_close(&store);
}

static void a_lost_commit_of_two_versions_is_found_by_the_later_one(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    child_join(child_start(lose_every_answer, uri, 0));
}

enum {
    FACT_THREADS = 8,
    FACT_ROUNDS = 20,
};

/* What none of these changes leaves behind tells who made it: the record is away again, and the number may have been
 * there before. Whoever is told wrongly what became of its own finds it here. */
static void *come_and_go(void *context)
{
    struct counting *counting = context;
    struct item item = fixture_item("comes and goes", 1);
    for (int done = 0; done < FACT_ROUNDS; done++) {
        struct error error = ERROR_INIT;
        struct record record = fixture_record(counting->number), head = RECORD_INIT;
        CHILD_REQUIRE(fixture_write(counting->store, 0, &record, &item, "event") == STORE_DONE);
        CHILD_REQUIRE(store_get(counting->store, &items, &record.id, &head, NULL, &error));
        CHILD_REQUIRE(fixture_write(counting->store, 1, &record, &item, "event") == STORE_DONE);
        CHILD_REQUIRE(store_remove(counting->store, &items, &record.id, 2, &error) == STORE_DONE);
        CHILD_REQUIRE(!store_get(counting->store, &items, &record.id, &head, NULL, &error));
        CHILD_REQUIRE(error.code == ERROR_NOT_FOUND);
        for (bool replaced = false; !replaced;) {
            int64_t value = 0;
            CHILD_REQUIRE(store_fact_get(counting->store, "counter", &value, &error));
            CHILD_REQUIRE(store_fact_replace(counting->store, "counter", value, value + 1, &replaced, &error));
        }
        CLEANUP(free_pointer) char *own = xasprintf("thread-%d", (int)counting->number);
        for (int64_t value = 0; value < 2; value++) {
            bool replaced = false;
            CHILD_REQUIRE(store_fact_replace(counting->store, own, value, 1 - value, &replaced, &error) && replaced);
        }
    }
    return NULL;
}

/* Each in a transaction of its own, whose commit is lost. Nothing else runs that could ask for the failpoint. */
static void lose_each_commit(const char *uri, int number)
{
    const char *lost = number ? "store.commit=fail:1" : "store.after_commit=fail:1";
    struct store *store = open_with_failpoints(uri, "");
    struct item item = fixture_item("lost", 1);
    struct record record = fixture_record(1), head = RECORD_INIT;
    struct error error = ERROR_INIT;
    int64_t value = 0;
    for (int64_t i = 0; i < 4; i++) { /* there and back again */
        bool replaced = false;
        CHILD_REQUIRE(failpoint_configure(lost, &error));
        CHILD_REQUIRE(store_fact_replace(store, "fact", i % 2, 1 - i % 2, &replaced, &error) && replaced);
        CHILD_REQUIRE(store_fact_get(store, "fact", &value, &error) && value == 1 - i % 2);
        CHILD_REQUIRE(failpoint_configure(lost, &error));
        CHILD_REQUIRE(store_fact_replace(store, "fact", 7, 8, &replaced, &error) && !replaced);
        CHILD_REQUIRE(failpoint_configure(lost, &error));
        CHILD_REQUIRE(store_fact_raise(store, "raised", i + 5, &error));
        CHILD_REQUIRE(store_fact_get(store, "raised", &value, &error) && value == i + 5);
        CHILD_REQUIRE(fixture_write(store, 0, &record, &item, "event") == STORE_DONE);
        CHILD_REQUIRE(failpoint_configure(lost, &error));
        CHILD_REQUIRE(store_remove(store, &items, &record.id, 1, &error) == STORE_DONE);
        CHILD_REQUIRE(!store_get(store, &items, &record.id, &head, NULL, &error) && error.code == ERROR_NOT_FOUND);
    }
    store_close(&store);
}

static void a_lost_commit_of_a_fact_or_a_removal_is_found_by_its_mark(void **state UNUSED)
{
    for (int number = 0; number < 2; number++) {
        CLEANUP(free_pointer) char *uri = sqlite_uri();
        child_join(child_start(lose_each_commit, uri, number));
    }
}

static void lose_commits_of_facts(const char *uri, int number)
{
    struct store *store = open_with_failpoints(uri, number ? "store.commit=fail:1" : "store.after_commit=fail");
    pthread_t threads[FACT_THREADS];
    struct counting countings[FACT_THREADS];
    for (size_t i = 0; i < FACT_THREADS; i++) {
        countings[i] = (struct counting){.store = store, .number = i};
        CHILD_REQUIRE(pthread_create(&threads[i], NULL, come_and_go, &countings[i]) == 0);
    }
    for (size_t i = 0; i < FACT_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    uint64_t count = 0;
    int64_t value = 0, oldest = 0;
    struct error error = ERROR_INIT;
    CHILD_REQUIRE(store_fact_get(store, "counter", &value, &error) && value == (int64_t)FACT_THREADS * FACT_ROUNDS);
    CHILD_REQUIRE(store_outbox_count(store, &count, &oldest, &error) && count == 0);
    store_close(&store);
}

static void lost_commits_of_many_facts_and_removals_mislead_nobody(void **state UNUSED)
{
    for (int number = 0; number < 2; number++) {
        CLEANUP(free_pointer) char *uri = sqlite_uri();
        child_join(child_start(lose_commits_of_facts, uri, number));
    }
}

static void lose_one_commit(const char *uri, int number UNUSED)
{
    struct store *store = open_with_failpoints(uri, "store.commit=fail:1");
    count_in_threads(store);
    store_close(&store);
}

static void a_commit_that_failed_once_is_repeated(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    child_join(child_start(lose_one_commit, uri, 0));
}

static void lose_all_commits(const char *uri, int number UNUSED)
{
    struct store *store = open_with_failpoints(uri, "store.commit=fail:2");
    struct error error = ERROR_INIT;
    CHILD_REQUIRE(write_event(store, 1, &error) == STORE_UNAVAILABLE);
    CHILD_REQUIRE(error.code == ERROR_UNAVAILABLE && strstr(error.message, "outcome unknown"));
    CHILD_REQUIRE(write_event(store, 1, &error) == STORE_DONE);
    store_close(&store);
}

static void a_commit_that_fails_for_good_has_an_unknown_outcome(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    child_join(child_start(lose_all_commits, uri, 0));
}

static int go_ahead[2]; /* a pipe, inherited by the child */

static void stop_in_a_transaction(const char *uri, int number UNUSED)
{
    struct store *store = open_with_failpoints(uri, "store.before_commit=stop");
    struct error error = ERROR_INIT;
    char word;
    CHILD_REQUIRE(read(go_ahead[0], &word, 1) == 1);
    CHILD_REQUIRE(write_event(store, 1, &error) == STORE_DONE);
    store_close(&store);
}

static void *write_in_vain(void *context)
{
    struct error error = ERROR_INIT;
    enum store_result result = write_event(context, 2, &error);
    return result == STORE_UNAVAILABLE && strstr(error.message, "nothing was written") ? context : NULL;
}

/* A process that is frozen in its turn: the others can read, say that they cannot write, and can be closed.
 * The child opens the store first and waits for this process to open it too, since opening takes a turn. */
static void a_process_that_is_stopped_in_its_turn_stops_writes_only(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = sqlite_uri();
    assert_int_equal(pipe(go_ahead), 0);
    int child = child_start(stop_in_a_transaction, uri, 0);
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    struct item item = fixture_item("before", 1);
    fixture_insert(store, 3, "", &item, NULL);
    assert_int_equal(write(go_ahead[1], "!", 1), 1);
    int status = 0;
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));

    pthread_t thread;
    void *in_vain = NULL;
    struct error error = ERROR_INIT;
    struct record head = RECORD_INIT;
    struct id id = fixture_id(3);
    assert_int_equal(pthread_create(&thread, NULL, write_in_vain, store), 0);
    assert_true(store_get(store, &items, &id, &head, NULL, &error));
    /* A commit of the last second still answers a ping; once that is older, it fails, in about a second. */
    int64_t before;
    do {
        before = clock_monotonic(NULL);
    } while (store_ping(store, &error));
    assert_in_range(clock_monotonic(NULL) - before, 900, 3000);
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    pthread_join(thread, &in_vain);
    assert_ptr_equal(in_vain, store);
    assert_true(store_get(store, &items, &id, &head, NULL, &error));
    store_close(&store); /* with the committer waiting for its turn */

    assert_int_equal(kill(child, SIGCONT), 0);
    child_join(child);
    store = fixture_open(uri);
    assert_non_null(store);
    id = fixture_id(1);
    assert_true(store_get(store, &items, &id, &head, NULL, &error));
    id = fixture_id(2);
    assert_false(store_get(store, &items, &id, &head, NULL, &error));
    fixture_insert(store, 2, "", &item, NULL);
    store_close(&store);
    close(go_ahead[0]);
    close(go_ahead[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_cannot_be_opened_is_named_with_the_reason),
        cmocka_unit_test(a_file_that_is_no_store_is_refused_and_left_alone),
        cmocka_unit_test(a_newer_format_is_refused),
        cmocka_unit_test(files_are_for_their_owner_only),
        cmocka_unit_test(a_file_that_was_removed_takes_nothing_more),
        cmocka_unit_test(names_that_sqlite_takes_for_something_else_are_files),
        cmocka_unit_test(synchronous_is_full_and_the_journal_a_log),
        cmocka_unit_test(fields_and_indexes_are_added_and_what_is_undeclared_is_dropped),
        cmocka_unit_test(a_file_without_times_of_change_gets_them_and_serves_the_first_release),
        cmocka_unit_test(opening_what_is_up_to_date_writes_nothing),
        cmocka_unit_test(lists_read_along_their_index_and_sort_nothing),
        cmocka_unit_test(the_log_does_not_grow_while_lists_are_read),
        cmocka_unit_test(the_log_shrinks_after_a_long_reader_has_made_it_grow),
        cmocka_unit_test(the_turn_goes_to_who_waits_for_it),
        cmocka_unit_test(a_full_disk_loses_nothing_and_the_store_recovers),
        cmocka_unit_test(a_write_that_fails_before_its_commit_leaves_nothing),
        cmocka_unit_test(a_commit_whose_answer_is_lost_is_found_by_its_token),
        cmocka_unit_test(a_lost_commit_of_two_versions_is_found_by_the_later_one),
        cmocka_unit_test(a_lost_commit_of_a_fact_or_a_removal_is_found_by_its_mark),
        cmocka_unit_test(lost_commits_of_many_facts_and_removals_mislead_nobody),
        cmocka_unit_test(a_commit_that_failed_once_is_repeated),
        cmocka_unit_test(a_commit_that_fails_for_good_has_an_unknown_outcome),
        cmocka_unit_test(a_process_that_is_stopped_in_its_turn_stops_writes_only),
    };
    return cmocka_run_group_tests(tests, NULL, fixture_cleanup);
}
