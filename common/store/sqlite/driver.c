/* SPDX-License-Identifier: Apache-2.0
 * The embedded store's driver: opens a file under the lock that processes share, and answers store.c. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/sqlite/lock.h"
#include "common/store/sqlite/sqlite.h"

#define SCHEME "sqlite:"

enum {
    FILE_MODE = 0600,
    REASON_MAX = 128,
};

static bool uri_valid(const char *uri)
{
    const char *path = uri + strlen(SCHEME);
    size_t length = strlen(path);
    return length > 0 && path[length - 1] != '/';
}

/* A file whose name is not yet on the disk is lost in a power cut, whatever is synced into it. */
static bool sync_directory(const char *path, struct error *error)
{
    CLEANUP(free_pointer) char *copy = xstrdup(path);
    int directory = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = directory >= 0 && fsync(directory) == 0;
    if (!synced) {
        char reason[REASON_MAX];
        error_set(error, ERROR_UNAVAILABLE, "syncing its directory: %s", strerror_r(errno, reason, sizeof(reason)));
    }
    if (directory >= 0) {
        close(directory);
    }
    return synced;
}

/* Creates an empty file, which only its owner reads; SQLite gives its other files the same mode. A file that is there
 * is not opened here: closing it would release the locks that SQLite has on it in this process. */
static bool create_file(const char *path, struct error *error)
{
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (file >= 0) {
        close(file);
        return sync_directory(path, error);
    }
    struct stat status;
    char reason[REASON_MAX];
    if (errno == EEXIST && stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        return error_set(error, ERROR_UNAVAILABLE, "not a file");
    }
    return errno == EEXIST || error_set(error, ERROR_UNAVAILABLE, "%s", strerror_r(errno, reason, sizeof(reason)));
}

/* Before the lock makes a file beside it. */
static bool find_file(const char *path, struct error *error)
{
    struct stat status;
    return stat(path, &status) == 0 || (errno != ENOENT && errno != ENOTDIR) || store_refuse_absent(error);
}

static bool open_writer(const struct store_setup *setup, const char *path, int lock_file,
                        struct connection **ret_writer, struct error *error)
{
    CLEANUP(connection_close) struct connection *writer = NULL;
    if (!lock_take_within(lock_file, SQLITE_STORE_OPEN_WAIT_MS, error)) {
        return false;
    }
    bool opened = connection_open_writer(path, &writer, error) && migrate(writer, setup, error);
    lock_release(lock_file);
    if (opened) {
        *ret_writer = TAKE(writer);
    }
    return opened;
}

static bool open_parts(struct sqlite_store *store, const struct store_setup *setup, struct error *error)
{
    if ((setup->must_be_there && !find_file(store->path, error)) || !create_file(store->path, error)) {
        return false;
    }
    CLEANUP(lock_close) int lock_file = lock_open(store->path, error);
    struct connection *writer = NULL;
    if (lock_file < 0 || !open_writer(setup, store->path, lock_file, &writer, error)) {
        return false;
    }
    pool_init(&store->pool, store->path, setup->readers);
    store->committer = committer_start(store->path, store->texts, writer, lock_file);
    lock_file = -1;
    return true;
}

static void close_store(void *state)
{
    struct sqlite_store *store = state;
    if (store->committer) {
        pool_done(&store->pool);
        committer_stop(&store->committer);
    }
    for (size_t i = 0; i < store->collection_count; i++) {
        rows_texts_done(&store->texts[i]);
    }
    xfree(store->outbox_due);
    xfree(store->outbox_count);
    xfree(store->path);
    xfree(store);
}

static bool open_store(const struct store_setup *setup, void **ret_state, struct error *error)
{
    struct sqlite_store *store = xcalloc(1, sizeof(*store));
    store->path = xstrdup(setup->uri + strlen(SCHEME));
    store->collections = setup->collections;
    store->collection_count = setup->collection_count;
    for (size_t i = 0; i < setup->collection_count; i++) {
        rows_texts_init(&store->texts[i], &setup->collections[i]);
    }
    outbox_init(store);
    if (!open_parts(store, setup, error)) {
        error_prefix(error, "%s", store->path);
        close_store(store);
        return false;
    }
    if (!read_ping(store, SQLITE_STORE_READ_WAIT_MS, error)) {
        close_store(store);
        return false;
    }
    *ret_state = store;
    return true;
}

static bool ping(void *state, struct error *error)
{
    struct sqlite_store *store = state;
    int64_t deadline = clock_monotonic(NULL) + STORE_PING_WAIT_MS;
    return read_ping(store, STORE_PING_WAIT_MS, error) &&
           (committer_ping(store->committer, deadline - clock_monotonic(NULL), error) ||
            error_prefix(error, "%s", store->path));
}

static enum store_result write_record(void *state, const struct store_write_request *request,
                                      struct store_write_answer *ret_answer, struct error *error)
{
    struct sqlite_store *store = state;
    struct task task = {.kind = TASK_WRITE, .write = request};
    committer_run(store->committer, &task);
    if (task.result == STORE_DONE) {
        *ret_answer = task.answer;
    } else if (task.result == STORE_UNAVAILABLE) {
        error_set(error, task.error.code, "%s: %s", store->path, task.error.message);
    }
    return task.result;
}

const struct store_driver store_sqlite = {
    .scheme = SCHEME,
    .uri_valid = uri_valid,
    .open = open_store,
    .close = close_store,
    .ping = ping,
    .get = read_get,
    .scan = read_scan,
    .write = write_record,
    .outbox_scan = outbox_scan,
    .outbox_remove = outbox_remove,
    .outbox_count = outbox_count,
    .remove = remove_record,
    .fact_get = fact_get,
    .fact_raise = fact_raise,
    .fact_replace = fact_replace,
};
