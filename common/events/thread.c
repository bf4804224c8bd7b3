/* SPDX-License-Identifier: Apache-2.0
 * Threads, and condition variables on the monotonic clock. */
#include "common/events/thread.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"

void thread_start(pthread_t *ret_thread, void *(*run)(void *context), void *context)
{
    int result = pthread_create(ret_thread, NULL, run, context);
    if (result != 0) {
        log_error("A thread cannot be started: %s", strerrordesc_np(result));
        abort();
    }
}

void condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

void condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t timeout_ms)
{
    if (timeout_ms < 0) {
        pthread_cond_wait(condition, lock);
        return;
    }
    struct timespec deadline = clock_deadline(timeout_ms);
    pthread_cond_timedwait(condition, lock, &deadline);
}
