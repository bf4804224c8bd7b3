/* SPDX-License-Identifier: Apache-2.0
 * A thread that takes the signals. */
#include "common/service/signals.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"

struct signals {
    sigset_t set;
    sem_t received;
    sem_t started; /* or over */
    atomic_bool is_over;
    pthread_t thread;
};

static bool wait_for(sem_t *semaphore, int64_t wait_ms)
{
    struct timespec deadline = clock_deadline(wait_ms);
    int result = 0;
    while ((result = sem_clockwait(semaphore, CLOCK_MONOTONIC, &deadline)) != 0 && errno == EINTR) {
    }
    return result == 0;
}

static void *take_signal(void *context)
{
    struct signals *signals = context;
    int number = 0;
    while (sigwait(&signals->set, &number) != 0) {
    }
    if (atomic_load(&signals->is_over)) {
        return NULL;
    }
    log_info("%s received, stopping", number == SIGINT ? "SIGINT" : "SIGTERM");
    sem_post(&signals->received);
    if (!wait_for(&signals->started, SIGNALS_START_MS)) {
        log_warning("the start has not come to its end, ending now");
        _exit(0);
    }
    return NULL;
}

static void done(struct signals *signals)
{
    sem_destroy(&signals->received);
    sem_destroy(&signals->started);
    xfree(signals);
}

bool signals_new(struct signals **ret_signals, struct error *error)
{
    struct signals *signals = xcalloc(1, sizeof(*signals));
    sigemptyset(&signals->set);
    sigaddset(&signals->set, SIGTERM);
    sigaddset(&signals->set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals->set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a full file is an error of write(2), not the end of the process */
    sem_init(&signals->received, 0, 0);
    sem_init(&signals->started, 0, 0);
    int result = pthread_create(&signals->thread, NULL, take_signal, signals);
    if (result != 0) {
        done(signals);
        return error_set(error, ERROR_UNAVAILABLE, "starting a thread: %s", strerror(result));
    }
    *ret_signals = signals;
    return true;
}

void signals_started(struct signals *signals)
{
    sem_post(&signals->started);
}

bool signals_came(struct signals *signals)
{
    int count = 0;
    return sem_getvalue(&signals->received, &count) == 0 && count > 0;
}

bool signals_wait_for(struct signals *signals, int64_t wait_ms)
{
    bool came = wait_for(&signals->received, wait_ms);
    if (came) {
        sem_post(&signals->received); /* for whoever asks next */
    }
    return came;
}

void signals_wait(struct signals *signals)
{
    signals_started(signals);
    while (sem_wait(&signals->received) != 0 && errno == EINTR) {
    }
}

void signals_free(struct signals **signals)
{
    if (*signals == NULL) {
        return;
    }
    atomic_store(&(*signals)->is_over, true);
    sem_post(&(*signals)->started);
    pthread_kill((*signals)->thread, SIGTERM); /* in case that it waits for one */
    pthread_join((*signals)->thread, NULL);
    done(*signals);
    *signals = NULL;
}
