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

#include "common/base/log.h"
#include "common/base/memory.h"

struct signals {
    sigset_t set;
    sem_t received;
    atomic_bool is_started;
    pthread_t thread;
};

static void *take_signal(void *context)
{
    struct signals *signals = context;
    int number = 0;
    while (sigwait(&signals->set, &number) != 0) {
    }
    log_info("%s received, stopping", number == SIGINT ? "SIGINT" : "SIGTERM");
    sem_post(&signals->received);
    if (!atomic_load(&signals->is_started)) {
        sleep(SIGNALS_START_MS / 1000);
        if (!atomic_load(&signals->is_started)) {
            log_warning("the start has not come to its end, ending now");
            _exit(0);
        }
    }
    return NULL;
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
    int result = pthread_create(&signals->thread, NULL, take_signal, signals);
    if (result != 0) {
        sem_destroy(&signals->received);
        xfree(signals);
        return error_set(error, ERROR_UNAVAILABLE, "starting a thread: %s", strerror(result));
    }
    *ret_signals = signals;
    return true;
}

void signals_wait(struct signals *signals)
{
    atomic_store(&signals->is_started, true);
    while (sem_wait(&signals->received) != 0 && errno == EINTR) {
    }
}

void signals_free(struct signals **signals)
{
    if (*signals == NULL) {
        return;
    }
    pthread_cancel((*signals)->thread); /* it waits, or has ended */
    pthread_join((*signals)->thread, NULL);
    sem_destroy(&(*signals)->received);
    xfree(*signals);
    *signals = NULL;
}
