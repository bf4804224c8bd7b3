/* SPDX-License-Identifier: Apache-2.0
 * What is particular to the MongoDB driver: a server that goes away, freezes, or answers into the void; the URI; what
 * an older or a newer release has left behind. */
#include "tests/contract/store_fixture.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mongoc/mongoc.h>

#include "common/base/failpoint.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/mongo/mongo.h"
#include "tests/contract/mongo_proxy.h"
#include "tests/contract/mongo_server.h"

/* For tests that are not about time, on a busy machine. */
#define PATIENT "serverSelectionTimeoutMS=20000&connectTimeoutMS=20000&socketTimeoutMS=20000"

enum {
    ANSWER_MS = 3000, /* that a store which is away may take to say so */
    SLACK_MS = 1500,  /* that a busy machine adds to it */
    HEAL_MS = 20000,
    POLL_US = 10000,
};

static struct mongo_server *server;

static char *uri_of(unsigned port, const char *database)
{
    return xasprintf("mongodb://127.0.0.1:%u/%s", port, database);
}

static int start_server(void **state UNUSED)
{
    server = mongo_server_new(MONGO_SERVER_FILE);
    mongo_server_start(server);
    return 0;
}

static int stop_server(void **state UNUSED)
{
    mongo_server_free(&server);
    return 0;
}

static enum store_result insert(struct store *store, uint64_t number, struct error *error)
{
    struct item item = fixture_item("title", 1);
    struct record record = fixture_record(number);
    return store_write(store, &items, 0, &record, &item, NULL, error);
}

static void insert_until_done(struct store *store, uint64_t number)
{
    int64_t deadline = clock_monotonic(NULL) + HEAL_MS;
    struct error error = ERROR_INIT;
    enum store_result result;
    while ((result = insert(store, number, &error)) == STORE_UNAVAILABLE) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
    }
    assert_true(result == STORE_DONE || result == STORE_CONFLICT_ID); /* one whose answer was lost may have come */
}

static void wait_for_ping(struct store *store)
{
    int64_t deadline = clock_monotonic(NULL) + HEAL_MS;
    struct error error = ERROR_INIT;
    while (!store_ping(store, &error)) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
    }
}

/* Every operation says that the store is unavailable, and within the time. */
static void assert_unavailable(struct store *store)
{
    struct record head = RECORD_INIT;
    struct page page = PAGE_INIT;
    struct query query = {.index = "by_price", .limit = 10};
    struct id id = fixture_id(1);
    for (int i = 0; i < 5; i++) {
        struct error error = ERROR_INIT;
        int64_t start = clock_monotonic(NULL);
        if (i == 0) {
            assert_int_equal(insert(store, 77, &error), STORE_UNAVAILABLE);
        } else if (i == 1) {
            assert_false(store_get(store, &items, &id, &head, NULL, &error));
        } else if (i == 2) {
            assert_false(store_list(store, &items, &query, &page, &error));
        } else if (i == 3) {
            assert_int_equal(store_remove(store, &items, &id, 1, &error), STORE_UNAVAILABLE);
        } else {
            assert_false(store_ping(store, &error));
        }
        assert_int_equal(error.code, ERROR_UNAVAILABLE);
        int64_t took = clock_monotonic(NULL) - start;
        print_message("unavailable after %d ms\n", (int)took);
        assert_in_range(took, 0, ANSWER_MS + SLACK_MS);
    }
}

static struct store *open_with_record(const char *database)
{
    CLEANUP(free_pointer) char *uri = uri_of(mongo_server_port(server), database);
    int64_t deadline = clock_monotonic(NULL) + HEAL_MS;
    struct store *store = fixture_open(uri);
    while (!store) { /* one that has just started answers late on a busy machine */
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
        store = fixture_open(uri);
    }
    insert_until_done(store, 1);
    return store;
}

/* ---- away, frozen ---- */

static void a_store_that_is_away_says_so_and_heals(void **state UNUSED)
{
    struct store *store = open_with_record("away");
    mongo_server_kill(server);
    assert_unavailable(store);
    mongo_server_start(server);
    wait_for_ping(store);
    insert_until_done(store, 2);
    struct record head = RECORD_INIT;
    struct error error = ERROR_INIT;
    struct id id = fixture_id(1);
    assert_true(store_get(store, &items, &id, &head, NULL, &error)); /* what was answered outlived the kill */
    store_close(&store);
}

static void a_store_that_is_frozen_says_so_and_heals(void **state UNUSED)
{
    struct store *store = open_with_record("frozen");
    mongo_server_freeze(server);
    assert_unavailable(store);
    mongo_server_thaw(server);
    wait_for_ping(store);
    insert_until_done(store, 2);
    store_close(&store);
}

enum {
    THREADS = 150, /* more than have a client of their own unless the store is told of them */
};

struct reader {
    struct store *store;
    bool done;
    struct error error;
};

static void *read_once(void *context)
{
    struct reader *reader = context;
    struct record head = RECORD_INIT;
    struct id id = fixture_id(1);
    reader->done = store_get(reader->store, &items, &id, &head, NULL, &reader->error);
    return NULL;
}

/* A frozen server keeps all clients in use for longer than anybody waits for one. */
static void no_thread_waits_for_another_ones_client(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = uri_of(mongo_server_port(server), "threads");
    struct store_config config = {.uri = uri, .collections = fixture_collections, .readers = 1, .threads = THREADS};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    assert_true(store_open(&config, &store, &error));
    mongo_server_freeze(server);
    struct reader readers[THREADS];
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        readers[i] = (struct reader){.store = store, .error = ERROR_INIT};
        assert_int_equal(pthread_create(&threads[i], NULL, read_once, &readers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(readers[i].done);
        assert_null(strstr(readers[i].error.message, "came free"));
    }
    mongo_server_thaw(server);
    store_close(&store);
}

static void opening_a_store_that_is_away_says_where_and_why(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = xasprintf("mongodb://somebody:password@127.0.0.1:1/tickets");
    struct store_config config = {.uri = uri, .collections = fixture_collections, .readers = 1};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    int64_t start = clock_monotonic(NULL);
    assert_false(store_open(&config, &store, &error));
    assert_in_range(clock_monotonic(NULL) - start, 0, ANSWER_MS + SLACK_MS);
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(error.message, "mongodb://127.0.0.1:1/tickets"));
    assert_non_null(strstr(error.message, "refused"));
    assert_null(strstr(error.message, "password"));
    assert_null(strstr(error.message, "somebody"));
    assert_true(store_is_remote(uri));
    assert_false(store_is_remote("sqlite:x"));
}

/* The user, the password or the rights are wrong: no time mends that, and it is not told as if it did. */
static void a_server_that_refuses_the_user_says_so(void **state UNUSED)
{
    CLEANUP(free_pointer)
    char *uri = xasprintf("mongodb://somebody:password@127.0.0.1:%u/refused?" PATIENT, mongo_server_port(server));
    struct store_config config = {.uri = uri, .collections = fixture_collections, .readers = 1};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    assert_false(store_open(&config, &store, &error));
    assert_int_equal(error.code, ERROR_FORBIDDEN);
    assert_non_null(strstr(error.message, "/refused: the user or the password is refused"));
    assert_null(strstr(error.message, "somebody"));
}

static void what_a_user_may_not_do_is_told_without_the_command(void **state UNUSED)
{
    char name[] = "mongodb://host/tickets";
    struct mongo_store store = {.name = name};
    struct error error = ERROR_INIT;
    bson_error_t failure;
    bson_set_error(&failure, MONGOC_ERROR_SERVER, MONGO_CODE_UNAUTHORIZED,
                   "not authorized on tickets to execute command { find: \"store_meta\", lsid: { id: 1 } }");
    assert_int_equal(mongo_failure_of(&failure), MONGO_REFUSED);
    assert_false(mongo_fail(&store, &failure, &error));
    assert_int_equal(error.code, ERROR_FORBIDDEN);
    assert_string_equal(error.message,
                        "mongodb://host/tickets: the URI names no user who may read and write this database");
    struct mongo_store open_store = {.name = name, .pool = (mongoc_client_pool_t *)(void *)name};
    assert_false(mongo_fail(&open_store, &failure, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_string_equal(error.message,
                        "mongodb://host/tickets: the URI names no user who may read and write this database");
    /* A connection that breaks off meanwhile says nothing about the user. */
    bson_set_error(&failure, MONGOC_ERROR_CLIENT, MONGOC_ERROR_CLIENT_AUTHENTICATE,
                   "Failed to send \"saslStart\" command with database \"tickets\": socket error or timeout");
    assert_false(mongo_fail(&store, &failure, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(error.message, "socket error"));
}

/* ---- killed in the middle of it ---- */

enum {
    WRITERS = 4,
    KILL_AFTER = 1200, /* answered writes: enough for the server to tidy its file up meanwhile */
    WRITES_MAX = 100000,
};

struct writer {
    struct store *store;
    uint64_t first;
    uint64_t end; /* all before this were answered */
    atomic_int *answered;
};

static void *insert_until_unavailable(void *context)
{
    struct writer *writer = context;
    struct error error = ERROR_INIT;
    for (writer->end = writer->first; insert(writer->store, writer->end, &error) == STORE_DONE; writer->end++) {
        assert_true(writer->end < writer->first + WRITES_MAX);
        atomic_fetch_add(writer->answered, 1);
    }
    return NULL;
}

static void what_was_answered_outlives_a_kill_of_the_server(void **state UNUSED)
{
    struct store *store = open_with_record("killed");
    atomic_int answered = 0;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    for (size_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.store = store, .first = (i + 1) * WRITES_MAX, .answered = &answered};
        assert_int_equal(pthread_create(&threads[i], NULL, insert_until_unavailable, &writers[i]), 0);
    }
    int64_t deadline = clock_monotonic(NULL) + HEAL_MS;
    while (atomic_load(&answered) < KILL_AFTER && clock_monotonic(NULL) < deadline) {
        usleep(POLL_US);
    }
    mongo_server_kill(server);
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    mongo_server_start(server);
    wait_for_ping(store);
    for (size_t i = 0; i < WRITERS; i++) {
        for (uint64_t number = writers[i].first; number < writers[i].end; number++) {
            struct record head = RECORD_INIT;
            struct error error = ERROR_INIT;
            struct id id = fixture_id(number);
            assert_true(store_get(store, &items, &id, &head, NULL, &error));
        }
        assert_true(writers[i].end > writers[i].first);
    }
    store_close(&store);
}

/* ---- answers that are lost ---- */

static void swallow(struct proxy *proxy, int count)
{
    atomic_store(&proxy->swallowed, 0);
    atomic_store(&proxy->swallow, count);
}

static void a_write_whose_answer_is_lost_is_done_once(void **state UNUSED)
{
    struct proxy *proxy = proxy_start(mongo_server_port(server));
    CLEANUP(free_pointer) char *uri = uri_of(proxy->port, "lost");
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    struct item item = fixture_item("title", 1);
    struct record record = fixture_record(1);
    text_copy_cut(record.claim, sizeof(record.claim), "claim");
    swallow(proxy, 1);
    assert_int_equal(fixture_write(store, 0, &record, &item, "item:created"), STORE_DONE);
    assert_int_equal(atomic_load(&proxy->swallowed), 1);
    assert_int_equal(record.unconfirmed, 1);
    swallow(proxy, 1);
    assert_int_equal(fixture_write(store, 1, &record, &item, "item:updated"), STORE_DONE);
    assert_int_equal(atomic_load(&proxy->swallowed), 1);
    assert_int_equal(record.unconfirmed, 1);
    assert_string_equal(record.claim, "claim");
    uint64_t count = 0;
    int64_t oldest = 0;
    struct error error = ERROR_INIT;
    assert_true(store_outbox_count(store, &count, &oldest, &error));
    assert_int_equal(count, 2); /* one event each */
    swallow(proxy, 1);
    assert_int_equal(store_remove(store, &items, &record.id, 2, &error), STORE_DONE);
    assert_int_equal(atomic_load(&proxy->swallowed), 1);
    store_close(&store);
    proxy_stop(proxy);
}

/* What stands against the repeated write is the write itself, which a majority gets to have while it is looked for. */
static void what_a_majority_has_late_is_no_conflict(void **state UNUSED)
{
    struct proxy *proxy = proxy_start(mongo_server_port(server));
    CLEANUP(free_pointer) char *uri = uri_of(proxy->port, "late");
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    struct item item = fixture_item("title", 1);
    struct record record = fixture_record(1);
    text_copy_cut(record.claim, sizeof(record.claim), "claim");
    swallow(proxy, 1);
    atomic_store(&proxy->hide, 1);
    assert_int_equal(fixture_write(store, 0, &record, &item, NULL), STORE_DONE);
    assert_int_equal(atomic_load(&proxy->hide), 0);
    swallow(proxy, 1);
    atomic_store(&proxy->hide, 1);
    assert_int_equal(fixture_write(store, 1, &record, &item, NULL), STORE_DONE);
    assert_int_equal(atomic_load(&proxy->hide), 0);
    assert_int_equal(atomic_load(&proxy->swallowed), 1);
    store_close(&store);
    proxy_stop(proxy);
}

/* A real conflict stays one, however often it is asked for. */
static void a_conflict_whose_answer_is_lost_is_a_conflict(void **state UNUSED)
{
    struct proxy *proxy = proxy_start(mongo_server_port(server));
    CLEANUP(free_pointer) char *uri = uri_of(proxy->port, "conflicts");
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    struct item item = fixture_item("title", 1);
    fixture_insert(store, 1, "claim", &item, NULL);
    struct record id = fixture_record(1), claim = fixture_record(2), version = fixture_record(1);
    text_copy_cut(claim.claim, sizeof(claim.claim), "claim");
    swallow(proxy, 1);
    assert_int_equal(fixture_write(store, 0, &id, &item, NULL), STORE_CONFLICT_ID);
    assert_int_equal(atomic_load(&proxy->swallowed), 1);
    swallow(proxy, 1);
    assert_int_equal(fixture_write(store, 0, &claim, &item, NULL), STORE_CONFLICT_CLAIM);
    assert_int_equal(atomic_load(&proxy->swallowed), 1);
    assert_int_equal(fixture_write(store, 1, &version, &item, NULL), STORE_DONE);
    swallow(proxy, 1);
    assert_int_equal(fixture_write(store, 1, &version, &item, NULL), STORE_CONFLICT_VERSION);
    assert_int_equal(atomic_load(&proxy->swallowed), 1);
    store_close(&store);
    proxy_stop(proxy);
}

/* Another instance builds on the version whose answer is lost: then nobody can tell whose it was. */
static void what_cannot_be_known_is_not_guessed(void **state UNUSED)
{
    struct store *store = open_with_record("unknown");
    struct item item = fixture_item("title", 2);
    struct record ours = fixture_record(1), theirs = fixture_record(1);
    struct error error = ERROR_INIT;
    assert_int_equal(fixture_write(store, 1, &theirs, &item, NULL), STORE_DONE);
    assert_int_equal(fixture_write(store, 2, &theirs, &item, NULL), STORE_DONE);
    assert_true(failpoint_configure("store.commit=fail:1", &error));
    ours.version = 2;
    assert_int_equal(store_write(store, &items, 1, &ours, &item, NULL, &error), STORE_UNAVAILABLE);
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(error.message, "outcome unknown"));
    /* A version that is no later than ours, by somebody else, is not ours. */
    assert_true(failpoint_configure("store.commit=fail:1", &error));
    ours.version = 3;
    assert_int_equal(store_write(store, &items, 2, &ours, &item, NULL, &error), STORE_CONFLICT_VERSION);
    store_close(&store);
}

/* ---- what is asked of an outbox ---- */

/* MongoDB sorts all that wait where a page is sorted before it is cut, and goes on with a count that nobody waits for
 * any more: with some hundred thousand events neither answers in time. */
static void a_deep_outbox_is_never_asked_for_as_a_whole(void **state UNUSED)
{
    struct proxy *proxy = proxy_start(mongo_server_port(server));
    CLEANUP(free_pointer) char *uri = uri_of(proxy->port, "deep");
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    struct item item = fixture_item("title", 1);
    fixture_insert(store, 1, "", &item, "item:created");
    struct outbox_query query = {.created_until = INT64_MAX, .limit = 1};
    struct outbox_page page = OUTBOX_PAGE_INIT;
    struct error error = ERROR_INIT;
    uint64_t count = 0;
    int64_t oldest = 0;
    assert_true(store_outbox_read(store, &query, &page, &error));
    outbox_page_done(&page);
    assert_true(store_outbox_count(store, &count, &oldest, &error));
    assert_int_equal(count, 1);
    assert_true(atomic_load(&proxy->pages) > 0);
    assert_int_equal(atomic_load(&proxy->sorted_pages), 0);
    assert_true(atomic_load(&proxy->counts) > 0);
    assert_int_equal(atomic_load(&proxy->unlimited_counts), 0);
    store_close(&store);
    proxy_stop(proxy);
}

/* ---- the URI ---- */

static void the_uri_names_a_server_and_a_database(void **state UNUSED)
{
    static const char *const right[] = {"mongodb://localhost/tickets",
                                        "mongodb://u:p%40@a:1,b:2/tickets?replicaSet=rs0&tls=true",
                                        "mongodb+srv://cluster.example.com/tickets"};
    static const char *const wrong[] = {"mongodb:",
                                        "mongodb://",
                                        "mongodb://localhost",
                                        "mongodb://localhost/",
                                        "mongodb:/localhost/tickets",
                                        "mongodb://u:pass@word@host/tickets",
                                        "mongodb://u:12/word@host/tickets",
                                        "mongodb://localhost:0x/tickets"};
    for (size_t i = 0; i < ARRAY_LENGTH(right); i++) {
        assert_true(store_uri_valid(right[i]));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        assert_false(store_uri_valid(wrong[i]));
    }
}

/* ---- what other releases leave behind ---- */

struct database {
    mongoc_client_t *client;
    mongoc_collection_t *items, *meta;
};

static struct database open_database(const char *name)
{
    CLEANUP(free_pointer) char *uri = uri_of(mongo_server_port(server), name);
    struct database database = {.client = mongoc_client_new(uri)};
    database.items = mongoc_client_get_collection(database.client, name, "items");
    database.meta = mongoc_client_get_collection(database.client, name, "store_meta");
    return database;
}

static void close_database(struct database *database)
{
    mongoc_collection_destroy(database->items);
    mongoc_collection_destroy(database->meta);
    mongoc_client_destroy(database->client);
}

static void change(mongoc_collection_t *collection, bson_t *filter, bson_t *update)
{
    bson_error_t failure;
    bson_t reply;
    assert_true(mongoc_collection_update_one(collection, filter, update, NULL, &reply, &failure));
    bson_iter_t count;
    assert_true(bson_iter_init_find(&count, &reply, "modifiedCount"));
    assert_int_equal(bson_iter_as_int64(&count), 1);
    bson_destroy(&reply);
    bson_destroy(filter);
    bson_destroy(update);
}

static void a_store_of_a_newer_format_is_refused(void **state UNUSED)
{
    struct store *store = open_with_record("newer");
    store_close(&store);
    struct database database = open_database("newer");
    change(database.meta, BCON_NEW("_id", BCON_UTF8("format")), BCON_NEW("$set", "{", "value", BCON_INT64(1000), "}"));
    close_database(&database);
    CLEANUP(free_pointer) char *uri = uri_of(mongo_server_port(server), "newer");
    struct store_config config = {.uri = uri, .collections = fixture_collections, .readers = 1};
    struct error error = ERROR_INIT;
    assert_false(store_open(&config, &store, &error));
    assert_int_equal(error.code, ERROR_INVALID);
    assert_non_null(strstr(error.message, "newer release"));
}

/* As if `price` and the index by price were new, and an index had been given up. */
static void new_fields_and_indexes_reach_old_documents(void **state UNUSED)
{
    struct store *store = open_with_record("older");
    store_close(&store);
    struct database database = open_database("older");
    change(database.items, BCON_NEW("version", BCON_INT64(1)),
           BCON_NEW("$unset", "{", "value.price", BCON_INT32(1), "changed", BCON_INT32(1), "}"));
    change(database.meta, BCON_NEW("_id", BCON_UTF8("fields.items")),
           BCON_NEW("$pull", "{", "fields", BCON_UTF8("price"), "}"));
    bson_error_t failure;
    bson_t *command =
        BCON_NEW("createIndexes", "items", "indexes", "[", "{", "key", "{", "value.note", BCON_INT32(1), "}", "name",
                 "list.given_up", "}", "{", "key", "{", "mine", BCON_INT32(1), "}", "name", "mine", "}", "]");
    assert_true(mongoc_client_command_simple(database.client, "older", command, NULL, NULL, &failure));
    bson_destroy(command);
    CLEANUP(free_pointer) char *uri = uri_of(mongo_server_port(server), "older");
    store = fixture_open(uri);
    assert_non_null(store);
    struct query query = {
        .index = "by_price", .limit = 10, .conditions = {{.compare = QUERY_EQUAL, .field = "price", .number = 0}}};
    struct page page = PAGE_INIT;
    struct error error = ERROR_INIT;
    assert_true(store_list(store, &items, &query, &page, &error));
    assert_int_equal(page.count, 1);
    assert_int_equal(page.heads[0].changed, 0);
    page_done(&page);
    bool given_up = false, mine = false, by_price = false;
    mongoc_cursor_t *cursor = mongoc_collection_find_indexes_with_opts(database.items, NULL);
    for (const bson_t *index; mongoc_cursor_next(cursor, &index);) {
        bson_iter_t name;
        assert_true(bson_iter_init_find(&name, index, "name"));
        given_up = given_up || text_equal(bson_iter_utf8(&name, NULL), "list.given_up");
        mine = mine || text_equal(bson_iter_utf8(&name, NULL), "mine");
        by_price = by_price || text_equal(bson_iter_utf8(&name, NULL), "list.by_price");
    }
    mongoc_cursor_destroy(cursor);
    assert_false(given_up);
    assert_true(mine);
    assert_true(by_price);
    close_database(&database);
    store_close(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_that_is_away_says_so_and_heals),
        cmocka_unit_test(a_store_that_is_frozen_says_so_and_heals),
        cmocka_unit_test(no_thread_waits_for_another_ones_client),
        cmocka_unit_test(opening_a_store_that_is_away_says_where_and_why),
        cmocka_unit_test(a_server_that_refuses_the_user_says_so),
        cmocka_unit_test(what_a_user_may_not_do_is_told_without_the_command),
        cmocka_unit_test(what_was_answered_outlives_a_kill_of_the_server),
        cmocka_unit_test(a_write_whose_answer_is_lost_is_done_once),
        cmocka_unit_test(what_a_majority_has_late_is_no_conflict),
        cmocka_unit_test(a_conflict_whose_answer_is_lost_is_a_conflict),
        cmocka_unit_test(what_cannot_be_known_is_not_guessed),
        cmocka_unit_test(a_deep_outbox_is_never_asked_for_as_a_whole),
        cmocka_unit_test(the_uri_names_a_server_and_a_database),
        cmocka_unit_test(a_store_of_a_newer_format_is_refused),
        cmocka_unit_test(new_fields_and_indexes_reach_old_documents),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
