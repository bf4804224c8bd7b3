/* SPDX-License-Identifier: Apache-2.0
 * A bounded queue between threads: a ring under one mutex. */
#include "common/base/queue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "common/base/clock.h"
#include "common/base/memory.h"

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* on CLOCK_MONOTONIC: setting the wall clock must not stretch a timeout */
    void **items;
    size_t limit;
    size_t first; /* index of the oldest item */
    size_t length;
    size_t waiters; /* threads inside a wait: without one, a push costs no system call */
    bool is_closed;
};

struct queue *queue_new(size_t limit)
{
    assert(limit > 0);
    struct queue *queue = xcalloc(1, sizeof *queue);
    queue->limit = limit;
    queue->items = xcalloc(limit, sizeof(void *));
    pthread_mutex_init(&queue->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return queue;
}

void queue_free(struct queue **queue)
{
    if (*queue == NULL) {
        return;
    }
    pthread_cond_destroy(&(*queue)->changed);
    pthread_mutex_destroy(&(*queue)->lock);
    xfree((*queue)->items);
    xfree(*queue);
    *queue = NULL;
}

bool queue_push(struct queue *queue, void *item)
{
    assert(item != NULL);
    pthread_mutex_lock(&queue->lock);
    bool has_room = !queue->is_closed && queue->length < queue->limit;
    if (has_room) {
        size_t to_end = queue->limit - queue->first;
        size_t index = queue->length < to_end ? queue->first + queue->length : queue->length - to_end;
        queue->items[index] = item;
        queue->length++;
        if (queue->waiters > 0) {
            pthread_cond_signal(&queue->changed);
        }
    }
    pthread_mutex_unlock(&queue->lock);
    return has_room;
}

/* With the lock held. False when the time is up. */
static bool wait_for_change(struct queue *queue, const struct timespec *deadline)
{
    queue->waiters++;
    int result = deadline != NULL ? pthread_cond_timedwait(&queue->changed, &queue->lock, deadline)
                                  : pthread_cond_wait(&queue->changed, &queue->lock);
    queue->waiters--;
    return result != ETIMEDOUT;
}

void *queue_pop(struct queue *queue, int64_t timeout_ms)
{
    struct timespec deadline;
    if (timeout_ms >= 0) {
        deadline = clock_deadline(timeout_ms);
    }
    void *item = NULL;
    pthread_mutex_lock(&queue->lock);
    while (queue->length == 0 && !queue->is_closed) {
        if (!wait_for_change(queue, timeout_ms >= 0 ? &deadline : NULL)) {
            break;
        }
    }
    if (queue->length > 0) {
        item = queue->items[queue->first];
        queue->first = queue->first + 1 < queue->limit ? queue->first + 1 : 0;
        queue->length--;
    }
    pthread_mutex_unlock(&queue->lock);
    return item;
}

void queue_close(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->is_closed = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

size_t queue_length(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    size_t length = queue->length;
    pthread_mutex_unlock(&queue->lock);
    return length;
}
