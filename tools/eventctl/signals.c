/* SPDX-License-Identifier: Apache-2.0
 * SIGINT and SIGTERM by signalfd. What it has to read is left there, so that every later wait ends as well. */
#include "tools/eventctl/signals.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"

void signals_open(struct signals *ret_signals)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    ret_signals->descriptor = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (ret_signals->descriptor < 0) {
        log_error("cannot wait for signals: %s", strerrordesc_np(errno));
        abort();
    }
}

void signals_close(struct signals *signals)
{
    close(signals->descriptor);
    signals->descriptor = -1;
}

bool signals_arrived(const struct signals *signals)
{
    return signals_wait_file(signals, -1, 0, 0) == SIGNALS_ARRIVED;
}

enum signals_wait signals_wait_file(const struct signals *signals, int file, short events, int64_t timeout_ms)
{
    int64_t deadline = timeout_ms < 0 ? INT64_MAX : clock_monotonic(NULL) + timeout_ms;
    for (;;) {
        struct pollfd polled[] = {{.fd = signals->descriptor, .events = POLLIN}, {.fd = file, .events = events}};
        int64_t left = deadline == INT64_MAX ? -1 : deadline - clock_monotonic(NULL);
        left = left > INT_MAX ? INT_MAX : left;
        int ready = poll(polled, ARRAY_LENGTH(polled), left < 0 && timeout_ms >= 0 ? 0 : (int)left);
        if (ready > 0) {
            return polled[0].revents != 0 ? SIGNALS_ARRIVED : SIGNALS_READY;
        }
        if (timeout_ms >= 0 && clock_monotonic(NULL) >= deadline) {
            return SIGNALS_TIMEOUT;
        }
    }
}
