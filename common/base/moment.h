/* SPDX-License-Identifier: Apache-2.0
 * Moments as people write them on a command line: a time, or an age. */
#ifndef TURNSTILE_BASE_MOMENT_H
#define TURNSTILE_BASE_MOMENT_H

#include "common/base/error.h"

/* An ISO 8601 time, or an age like "10m": the time so long before now. `option` is what the error, ERROR_INVALID, calls
 * it. Times are in ms since 1970. */
bool moment_parse(const char *option, const char *text, int64_t now, int64_t *ret_time, struct error *error) MUST_CHECK;

#endif
