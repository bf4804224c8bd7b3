/* SPDX-License-Identifier: Apache-2.0
 * Threads that must start, and condition variables that wait by the monotonic clock: setting the wall clock must not
 * stretch a timeout. */
#ifndef TURNSTILE_EVENTS_THREAD_H
#define TURNSTILE_EVENTS_THREAD_H

#include <pthread.h>

#include "common/base/compiler.h"

/* Aborts if the system has no thread left, as for memory. */
void thread_start(pthread_t *ret_thread, void *(*run)(void *context), void *context);

void condition_init(pthread_cond_t *condition);
/* Waits for a signal, at most `timeout_ms` (-1: for ever), with the lock held. May wake without reason: the caller
 * looks again at what it waits for. */
void condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t timeout_ms);

#endif
