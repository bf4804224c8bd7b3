/* SPDX-License-Identifier: Apache-2.0
 * Named places where a test can freeze, kill, delay or fail a process. Compiled out unless TURNSTILE_FAILPOINTS
 * is defined (every build variant but release).
 *
 *   FAILPOINTS=orders.effect.before_write=stop,store.commit=fail:3
 *
 * Actions: stop (SIGSTOP to the own process), kill (SIGKILL), sleep:<ms>, fail (failpoint() returns true).
 * Each takes an optional count behind it (fail:3, sleep:50:2): after that many times the failpoint is off. Without
 * one it stays on, except `stop`, which is once: a process that is continued goes on. */
#ifndef TURNSTILE_BASE_FAILPOINT_H
#define TURNSTILE_BASE_FAILPOINT_H

#include "common/base/compiler.h"
#include "common/base/error.h"

#ifdef TURNSTILE_FAILPOINTS
/* Reads the specification; ERROR_INVALID names the part that is wrong. Call before other threads start. */
bool failpoint_configure(const char *specification, struct error *error) MUST_CHECK;
/* Performs the action, if any. Returns true when the caller is to fail here. Logs the name first. Thread-safe. */
bool failpoint(const char *name);
#else
static inline bool failpoint(const char *name UNUSED)
{
    return false;
}
#endif

#endif
