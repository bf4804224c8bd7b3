/* SPDX-License-Identifier: Apache-2.0
 * The turns that processes take to write one database file. */
#ifndef TURNSTILE_STORE_SQLITE_LOCK_H
#define TURNSTILE_STORE_SQLITE_LOCK_H

#include "common/base/error.h"

/* Opens the lock file beside a database, creating it; -1 with ERROR_UNAVAILABLE. */
int lock_open(const char *path, struct error *error);
void lock_close(int *file); /* also releases the lock */

/* Waits for the turn as long as it takes. */
void lock_take(int file);
/* The same, at most that long; ERROR_UNAVAILABLE when another process kept it, or locks are not possible here. */
bool lock_take_within(int file, int64_t milliseconds, struct error *error) MUST_CHECK;
void lock_release(int file);

#endif
