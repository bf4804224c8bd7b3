/* SPDX-License-Identifier: Apache-2.0
 * How long the store's operations take, and how they end. */
#ifndef TURNSTILE_STORE_METRICS_H
#define TURNSTILE_STORE_METRICS_H

#include "common/base/metrics.h"
#include "common/store/store.h"

/* `started` is from metrics_clock. Returns `done`. A failure counts by its error's code. */
bool store_measured(const char *operation, double started, bool done, const struct error *error);
/* The same for writes. */
enum store_result store_measured_write(const char *operation, double started, enum store_result result);

#endif
