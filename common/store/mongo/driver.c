/* SPDX-License-Identifier: Apache-2.0
 * The MongoDB driver: opens a database through a pool of clients, and answers store.c. */
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/mongo/mongo.h"

static void close_store(void *state)
{
    struct mongo_store *store = state;
    mongoc_client_pool_destroy(store->pool);
    mongoc_write_concern_destroy(store->majority);
    mongoc_read_concern_destroy(store->committed);
    xfree(store->name);
    xfree(store->database);
    xfree(store);
}

/* A router of a sharded cluster cannot keep both the id and the claim unique. */
static bool check_server(struct mongo_store *store, mongoc_client_t *client, struct error *error)
{
    bson_error_t failure;
    mongoc_server_description_t *server = mongoc_client_select_server(client, true, NULL, &failure);
    if (!server) {
        return mongo_fail(store, &failure, error);
    }
    const char *type = mongoc_server_description_type(server);
    bool sharded = text_equal(type, "Mongos") || text_equal(type, "LoadBalancer");
    mongoc_server_description_destroy(server);
    return !sharded ||
           error_set(error, ERROR_INVALID, "%s: a sharded cluster cannot keep ids and claims unique; use a replica set",
                     store->name);
}

/* A first question, since the library authenticates with nothing else. */
static bool check_access(struct mongo_store *store, mongoc_client_t *client, struct error *error)
{
    mongoc_collection_t *meta = mongo_collection(store, client, MONGO_META_COLLECTION);
    bson_t *filter = BCON_NEW("_id", BCON_UTF8("format"));
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(meta, filter, NULL, NULL);
    const bson_t *unused = NULL;
    bson_error_t failure;
    bool failed = !mongoc_cursor_next(cursor, &unused) && mongoc_cursor_error(cursor, &failure);
    mongoc_cursor_destroy(cursor);
    bson_destroy(filter);
    mongoc_collection_destroy(meta);
    return !failed || mongo_fail(store, &failure, error);
}

/* With a client of its own, which may wait longer for answers: indexes may have to be built. */
static bool prepare(struct mongo_store *store, const struct store_setup *setup, const mongoc_uri_t *uri, bool patient,
                    struct error *error)
{
    mongoc_uri_t *own_uri = mongoc_uri_copy(uri);
    if (patient) {
        mongoc_uri_set_option_as_int32(own_uri, MONGOC_URI_SOCKETTIMEOUTMS, MONGO_MIGRATE_SOCKET_MS);
    }
    bson_error_t failure;
    mongoc_client_t *client = mongoc_client_new_from_uri_with_error(own_uri, &failure);
    mongoc_uri_destroy(own_uri);
    if (!client) {
        return error_set(error, ERROR_INVALID, "%s: %s", store->name, failure.message);
    }
    mongoc_client_set_error_api(client, MONGOC_ERROR_API_VERSION_2);
    bool done = check_server(store, client, error) && check_access(store, client, error) &&
                migrate_store(store, client, setup, error);
    mongoc_client_destroy(client);
    return done;
}

static struct mongo_store *new_store(const struct store_setup *setup, const mongoc_uri_t *uri)
{
    struct mongo_store *store = xcalloc(1, sizeof(*store));
    store->collections = setup->collections;
    store->collection_count = setup->collection_count;
    store->name = mongo_uri_name(uri);
    store->database = xstrdup(mongoc_uri_get_database(uri));
    store->majority = mongoc_write_concern_new();
    mongoc_write_concern_set_w(store->majority, MONGOC_WRITE_CONCERN_W_MAJORITY);
    mongoc_write_concern_set_journal(store->majority, true);
    store->committed = mongoc_read_concern_new();
    mongoc_read_concern_set_level(store->committed, MONGOC_READ_CONCERN_LEVEL_MAJORITY);
    return store;
}

static bool open_pool(struct mongo_store *store, const mongoc_uri_t *uri, struct error *error)
{
    bson_error_t failure;
    store->pool = mongoc_client_pool_new_with_error(uri, &failure);
    if (!store->pool) {
        return error_set(error, ERROR_INVALID, "%s: %s", store->name, failure.message);
    }
    mongoc_client_pool_set_error_api(store->pool, MONGOC_ERROR_API_VERSION_2);
    return true;
}

static bool open_store(const struct store_setup *setup, void **ret_state, struct error *error)
{
    mongoc_uri_t *uri = mongo_uri_parse(setup->uri, error);
    if (!uri) {
        return false;
    }
    mongoc_uri_t *given = mongoc_uri_new(setup->uri);
    bool patient = !mongoc_uri_has_option(given, MONGOC_URI_SOCKETTIMEOUTMS);
    size_t clients = setup->threads + MONGO_POOL_SPARE;
    if (clients > MONGO_POOL_MAX && !mongoc_uri_has_option(given, MONGOC_URI_MAXPOOLSIZE)) {
        mongoc_uri_set_option_as_int32(uri, MONGOC_URI_MAXPOOLSIZE, (int32_t)clients);
    }
    mongoc_uri_destroy(given);
    struct mongo_store *store = new_store(setup, uri);
    bool opened = prepare(store, setup, uri, patient, error) && open_pool(store, uri, error);
    mongoc_uri_destroy(uri);
    if (!opened) {
        close_store(store);
        return false;
    }
    *ret_state = store;
    return true;
}

/* A write to a majority, since a store that is only read is of no use. Unlike other writes it is not repeated. */
static bool ping(void *state, struct error *error)
{
    CLEANUP(lease_give) struct lease lease = LEASE_INIT;
    if (!lease_take(state, MONGO_META_COLLECTION, &lease, error)) {
        return false;
    }
    bson_t *command = BCON_NEW("update", BCON_UTF8(MONGO_META_COLLECTION), "updates", "[", "{", "q", "{", "_id",
                               BCON_UTF8("ping"), "}", "u", "{", "$set", "{", "value", BCON_INT64(clock_now(NULL)), "}",
                               "}", "}", "]", "writeConcern", "{", "w", BCON_UTF8("majority"), "j", BCON_BOOL(true),
                               "wtimeout", BCON_INT32(STORE_PING_WAIT_MS), "}");
    bson_t reply;
    bson_error_t failure;
    bool done = mongoc_client_command_simple(lease.client, lease.store->database, command, NULL, &reply, &failure) &&
                !mongo_is_unconfirmed(&reply, &failure);
    bson_destroy(command);
    bson_destroy(&reply);
    return done || mongo_fail(lease.store, &failure, error);
}

const struct store_driver store_mongo = {
    .scheme = "mongodb", /* and mongodb+srv */
    .remote = true,
    .uri_valid = mongo_uri_valid,
    .open = open_store,
    .close = close_store,
    .ping = ping,
    .get = mongo_get,
    .scan = mongo_scan,
    .write = mongo_write,
    .outbox_scan = mongo_outbox_scan,
    .outbox_remove = mongo_outbox_remove,
    .outbox_count = mongo_outbox_count,
    .remove = mongo_remove,
    .fact_get = mongo_fact_get,
    .fact_raise = mongo_fact_raise,
    .fact_replace = mongo_fact_replace,
};
