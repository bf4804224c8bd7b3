/* SPDX-License-Identifier: Apache-2.0
 * The connections for reads: each is one thread's at a time, and keeps no snapshot while it is idle. */
#include <assert.h>

#include "common/store/sqlite/sqlite.h"

void pool_init(struct pool *pool, const char *path, size_t limit)
{
    assert(limit <= SQLITE_STORE_READERS_MAX);
    *pool = (struct pool){.path = path, .limit = limit};
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->given, NULL);
}

void pool_done(struct pool *pool)
{
    assert(pool->idle_count == pool->opened);
    for (size_t i = 0; i < pool->idle_count; i++) {
        connection_close(&pool->idle[i]);
    }
    pthread_cond_destroy(&pool->given);
    pthread_mutex_destroy(&pool->mutex);
}

static void give_up(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->opened--;
    pthread_cond_signal(&pool->given);
    pthread_mutex_unlock(&pool->mutex);
}

/* An idle connection; or NULL, having counted one that the caller is to open; or false. */
static bool take(struct pool *pool, int64_t wait_ms, struct connection **ret_connection)
{
    struct timespec deadline = clock_deadline(wait_ms);
    pthread_mutex_lock(&pool->mutex);
    int status = 0;
    while (status == 0 && pool->idle_count == 0 && pool->opened == pool->limit) {
        status = pthread_cond_clockwait(&pool->given, &pool->mutex, CLOCK_MONOTONIC, &deadline);
    }
    bool taken = true;
    if (pool->idle_count > 0) {
        *ret_connection = pool->idle[--pool->idle_count];
    } else if (pool->opened < pool->limit) {
        pool->opened++;
        *ret_connection = NULL;
    } else {
        taken = false;
    }
    pthread_mutex_unlock(&pool->mutex);
    return taken;
}

struct connection *pool_take(struct pool *pool, int64_t wait_ms, struct error *error)
{
    struct connection *connection = NULL;
    if (!take(pool, wait_ms, &connection)) {
        error_set(error, ERROR_UNAVAILABLE, "%s: all %zu connections for reads are busy", pool->path, pool->limit);
        return NULL;
    }
    if (connection && connection_is_astray(connection)) {
        connection_close(&connection);
    }
    if (!connection && !connection_open_reader(pool->path, &connection, error)) {
        error_prefix(error, "%s", pool->path);
        give_up(pool);
        return NULL;
    }
    return connection;
}

void pool_give(struct pool *pool, struct connection *connection)
{
    if (connection->failed) {
        connection_close(&connection);
        give_up(pool);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->idle[pool->idle_count++] = connection;
    pthread_cond_signal(&pool->given);
    pthread_mutex_unlock(&pool->mutex);
}
