/* SPDX-License-Identifier: Apache-2.0
 * A bounded first-in first-out queue of pointers between threads. */
#ifndef TURNSTILE_BASE_QUEUE_H
#define TURNSTILE_BASE_QUEUE_H

#include "common/base/compiler.h"

struct queue;

struct queue *queue_new(size_t limit);
void queue_free(struct queue **queue); /* not what is still in it */

/* Never blocks: false if the queue is full or closed. `item` is not NULL. Wakes a waiter only if there is one. */
bool queue_push(struct queue *queue, void *item) MUST_CHECK;
/* Waits up to `timeout_ms` (-1: for ever); NULL on timeout, or when the queue is closed and empty. */
void *queue_pop(struct queue *queue, int64_t timeout_ms);
/* No more pushes; pops drain what is left and then return NULL at once. */
void queue_close(struct queue *queue);
size_t queue_length(struct queue *queue);

#endif
