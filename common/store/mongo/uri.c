/* SPDX-License-Identifier: Apache-2.0
 * The store's URI: what has to be in it, and what is added where it says nothing. */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "common/base/buffer.h"
#include "common/base/memory.h"
#include "common/store/mongo/mongo.h"

enum {
    NAME_MAX_BYTES = 160, /* leaves room for the reason in an error's message */
};

static const char database_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

static const struct {
    const char *name;
    int32_t value;
} defaults[] = {
    {MONGOC_URI_SERVERSELECTIONTIMEOUTMS, MONGO_SELECT_MS},
    {MONGOC_URI_CONNECTTIMEOUTMS, MONGO_CONNECT_MS},
    {MONGOC_URI_SOCKETTIMEOUTMS, MONGO_SOCKET_MS},
    {MONGOC_URI_HEARTBEATFREQUENCYMS, MONGO_HEARTBEAT_MS},
    {MONGOC_URI_MAXPOOLSIZE, MONGO_POOL_MAX},
    {MONGOC_URI_WAITQUEUETIMEOUTMS, MONGO_POOL_WAIT_MS},
};

/* In place of the C library's, for libmongoc, which nobody else here would call it: as soon as it is loaded, it makes
 * shared memory for a tool that watches its counters, under the process's number. A process that is killed leaves that
 * behind, and the next one of the same number complains on stderr. Memory without a name does neither. */
int shm_open(const char *name, int flags UNUSED, mode_t mode UNUSED)
{
    return memfd_create(name, MFD_CLOEXEC);
}

static void drop_log(mongoc_log_level_t level UNUSED, const char *domain UNUSED, const char *message UNUSED,
                     void *context UNUSED)
{
}

/* The library is started once and lives as long as the process. What it has to say comes as errors too; it would log in
 * a format of its own. */
static void start_library(void)
{
    mongoc_log_set_handler(drop_log, NULL);
    mongoc_init();
}

/* Host and database as they should be, and not parts of a password whose @ or / is not percent-encoded: they are shown.
 */
static bool is_plain(const mongoc_uri_t *uri)
{
    const char *database = mongoc_uri_get_database(uri);
    if (!database || database[0] == '\0' || database[strspn(database, database_alphabet)] != '\0') {
        return false;
    }
    for (const mongoc_host_list_t *host = mongoc_uri_get_hosts(uri); host; host = host->next) {
        if (strchr(host->host_and_port, '@')) {
            return false;
        }
    }
    return true;
}

mongoc_uri_t *mongo_uri_parse(const char *text, struct error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_library);
    bson_error_t failure;
    mongoc_uri_t *uri = mongoc_uri_new_with_error(text, &failure);
    if (!uri) {
        error_set(error, ERROR_INVALID, "not a URI of MongoDB: mongodb://[user:password@]host[:port]/database is one");
        return NULL;
    }
    if (!is_plain(uri)) {
        mongoc_uri_destroy(uri);
        error_set(error, ERROR_INVALID, "the URI names no database: mongodb://host/database does");
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(defaults); i++) {
        if (!mongoc_uri_has_option(uri, defaults[i].name)) {
            mongoc_uri_set_option_as_int32(uri, defaults[i].name, defaults[i].value);
        }
    }
    return uri;
}

bool mongo_uri_valid(const char *text)
{
    struct error ignored = ERROR_INIT;
    mongoc_uri_t *uri = mongo_uri_parse(text, &ignored);
    mongoc_uri_destroy(uri);
    return uri != NULL;
}

char *mongo_uri_name(const mongoc_uri_t *uri)
{
    CLEANUP(buffer_done) struct buffer name = BUFFER_INIT(NAME_MAX_BYTES);
    buffer_append_text(&name, "mongodb://");
    const char *service = mongoc_uri_get_srv_hostname(uri);
    if (service) {
        buffer_append_text(&name, service);
    }
    for (const mongoc_host_list_t *host = service ? NULL : mongoc_uri_get_hosts(uri); host; host = host->next) {
        buffer_printf(&name, "%s%s", host->host_and_port, host->next ? "," : "");
    }
    buffer_printf(&name, "/%s", mongoc_uri_get_database(uri));
    return xstrdup(name.overflowed ? "mongodb" : buffer_text(&name));
}
