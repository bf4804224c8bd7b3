/* SPDX-License-Identifier: Apache-2.0
 * SIGTERM and SIGINT, from before a service starts until it has stopped. */
#ifndef TURNSTILE_SERVICE_SIGNALS_H
#define TURNSTILE_SERVICE_SIGNALS_H

#include "common/base/error.h"

enum {
    SIGNALS_START_MS = 3000, /* that a start may go on after the signal; it has promised nothing to anybody yet */
};

struct signals;

/* Call before there are other threads: all of them inherit the mask, so that none of them takes a signal. A signal
 * during the start lets it come to its end, unless that takes longer than SIGNALS_START_MS (another process keeps the
 * store locked, say): then the process ends with status 0. */
bool signals_new(struct signals **ret_signals, struct error *error) MUST_CHECK;
/* The start is over: waits for a signal, which may have come already. */
void signals_wait(struct signals *signals);
/* For those who have something to do meanwhile: the start is over; and whether a signal has come. */
void signals_started(struct signals *signals);
bool signals_came(struct signals *signals);
/* Waits so long for one; whether it has come. */
bool signals_wait_for(struct signals *signals, int64_t wait_ms);
/* Further signals are ignored. */
void signals_free(struct signals **signals);

#endif
