/* SPDX-License-Identifier: Apache-2.0
 * Time, from a source that tests can replace. */
#ifndef TURNSTILE_BASE_CLOCK_H
#define TURNSTILE_BASE_CLOCK_H

#include <time.h>

#include "common/base/compiler.h"

enum {
    CLOCK_TEXT_SIZE = 25, /* "2026-01-31T12:00:00.000Z" and NUL */
};

/* now: wall clock, milliseconds since 1970-01-01 UTC. monotonic: milliseconds, never goes back, no epoch. */
struct clock {
    int64_t (*now)(void *context);
    int64_t (*monotonic)(void *context);
    void *context;
};

extern const struct clock clock_system; /* immutable */

int64_t clock_now(const struct clock *clock);       /* NULL: the system's */
int64_t clock_monotonic(const struct clock *clock); /* NULL: the system's */

/* ISO 8601, UTC, milliseconds. Years 1970 to 9999; outside, the nearer end. */
void clock_to_text(int64_t milliseconds, char ret_text[static CLOCK_TEXT_SIZE]);
/* Accepts "YYYY-MM-DDThh:mm:ss[.fraction](Z|±hh:mm)"; the fraction is cut to milliseconds. False for dates that
 * are in no calendar, leap seconds, and moments that clock_to_text could not print. */
bool clock_from_text(const char *text, int64_t *ret_milliseconds) MUST_CHECK;

/* The CLOCK_MONOTONIC moment `milliseconds` from now, for pthread_cond_clockwait and the like. */
struct timespec clock_deadline(int64_t milliseconds);

#endif
