/* SPDX-License-Identifier: Apache-2.0
 * Clients of the pool, and what the library's failures mean. */
#include <string.h>

#include "common/base/text.h"
#include "common/store/mongo/mongo.h"

/* Of a server that shuts down, is no longer the primary, or gives up waiting: codes of MongoDB's error_codes.yml. What
 * was asked may have been done. */
static const uint32_t passing_codes[] = {
    6,     /* HostUnreachable */
    7,     /* HostNotFound */
    50,    /* MaxTimeMSExpired */
    64,    /* WriteConcernFailed */
    89,    /* NetworkTimeout */
    91,    /* ShutdownInProgress */
    100,   /* UnsatisfiableWriteConcern */
    112,   /* WriteConflict */
    189,   /* PrimarySteppedDown */
    262,   /* ExceededTimeLimit */
    9001,  /* SocketException */
    10107, /* NotWritablePrimary */
    11600, /* InterruptedAtShutdown */
    11602, /* InterruptedDueToReplStateChange */
    13435, /* NotPrimaryNoSecondaryOk */
    13436, /* NotPrimaryOrSecondary */
};

enum {
    CODE_TOO_LARGE = 10334,              /* BSONObjectTooLarge */
    CODE_TOO_LARGE_AFTER_UPDATE = 17419, /* the same, of what an update would make */
};

enum mongo_failure mongo_failure_of(const bson_error_t *failure)
{
    if (failure->code == MONGO_CODE_DUPLICATE_KEY) {
        return MONGO_DUPLICATE;
    }
    if (failure->code == CODE_TOO_LARGE || failure->code == CODE_TOO_LARGE_AFTER_UPDATE) {
        return MONGO_TOO_LARGE;
    }
    if (failure->domain == MONGOC_ERROR_SERVER_SELECTION) {
        return MONGO_NOT_SENT;
    }
    if (failure->domain == MONGOC_ERROR_CLIENT) {
        return MONGO_REFUSED; /* it did not authenticate, say */
    }
    if (failure->domain != MONGOC_ERROR_SERVER) {
        return MONGO_UNKNOWN;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(passing_codes); i++) {
        if (failure->code == passing_codes[i]) {
            return MONGO_UNKNOWN;
        }
    }
    return MONGO_REFUSED;
}

/* To the library, a connection that breaks off while it authenticates is a failed authentication too: the server's own
 * words tell them apart. */
static bool is_unauthenticated(const bson_error_t *failure)
{
    return failure->domain == MONGOC_ERROR_CLIENT && failure->code == MONGOC_ERROR_CLIENT_AUTHENTICATE &&
           strstr(failure->message, "uthentication failed");
}

static bool is_unauthorized(const bson_error_t *failure)
{
    return failure->domain == MONGOC_ERROR_SERVER && failure->code == MONGO_CODE_UNAUTHORIZED;
}

bool mongo_fail(const struct mongo_store *store, const bson_error_t *failure, struct error *error)
{
    /* Whom an open store refuses it has let in before. */
    enum error_code denied = store->pool ? ERROR_UNAVAILABLE : ERROR_FORBIDDEN;
    if (is_unauthenticated(failure)) {
        return error_set(error, denied, "%s: the user or the password is refused", store->name);
    }
    if (is_unauthorized(failure)) {
        /* In its own words is the whole command, with a session that is another one each time. */
        return error_set(error, denied, "%s: the URI names no user who may read and write this database", store->name);
    }
    return error_set(error, ERROR_UNAVAILABLE, "%s: %s", store->name, failure->message);
}

bool mongo_is_unconfirmed(const bson_t *reply, bson_error_t *failure)
{
    if (!bson_has_field(reply, "writeConcernError")) {
        return false;
    }
    bson_set_error(failure, MONGOC_ERROR_WRITE_CONCERN, MONGOC_ERROR_WRITE_CONCERN_ERROR, "no majority has it: %s",
                   mongo_text(reply, "writeConcernError.errmsg"));
    return true;
}

mongoc_collection_t *mongo_collection(const struct mongo_store *store, mongoc_client_t *client, const char *name)
{
    mongoc_collection_t *collection = mongoc_client_get_collection(client, store->database, name);
    mongoc_collection_set_write_concern(collection, store->majority);
    mongoc_collection_set_read_concern(collection, store->committed);
    mongoc_read_prefs_t *primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
    mongoc_collection_set_read_prefs(collection, primary);
    mongoc_read_prefs_destroy(primary);
    return collection;
}

bool lease_take(struct mongo_store *store, const char *collection, struct lease *ret_lease, struct error *error)
{
    mongoc_client_t *client = mongoc_client_pool_pop(store->pool);
    if (!client) {
        return error_set(error, ERROR_UNAVAILABLE, "%s: no connection came free in time", store->name);
    }
    ret_lease->store = store;
    ret_lease->client = client;
    ret_lease->collection = mongo_collection(store, client, collection);
    return true;
}

void lease_give(struct lease *lease)
{
    if (lease->client) {
        mongoc_collection_destroy(lease->collection);
        mongoc_client_pool_push(lease->store->pool, lease->client);
        *lease = LEASE_INIT;
    }
}
