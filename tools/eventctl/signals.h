/* SPDX-License-Identifier: Apache-2.0
 * SIGINT and SIGTERM as something that can be waited for together with files. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_SIGNALS_H
#define TURNSTILE_TOOLS_EVENTCTL_SIGNALS_H

#include "common/base/compiler.h"

struct signals {
    int descriptor; /* readable for good once a signal has come */
};

/* Blocks both signals for this thread and those that it starts. */
void signals_open(struct signals *ret_signals);
void signals_close(struct signals *signals); /* they stay blocked */

bool signals_arrived(const struct signals *signals);

enum signals_wait {
    SIGNALS_READY,   /* the file is, or has an error to tell */
    SIGNALS_ARRIVED, /* goes first */
    SIGNALS_TIMEOUT,
};

/* Waits for the events of poll(2) on a file; timeout_ms -1: for ever. */
enum signals_wait signals_wait_file(const struct signals *signals, int file, short events, int64_t timeout_ms);

#endif
