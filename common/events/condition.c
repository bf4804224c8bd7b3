/* SPDX-License-Identifier: Apache-2.0
 * Condition variables on the monotonic clock. */
#include "common/events/condition.h"

#include "common/base/clock.h"

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
