/* SPDX-License-Identifier: Apache-2.0
 * How long the store's operations take, and how they end. */
#ifndef TURNSTILE_STORE_METRICS_H
#define TURNSTILE_STORE_METRICS_H

#include "common/base/metrics.h"
#include "common/store/store.h"

/* `started` is from metrics_clock. These return what they were given. A failure counts by its error's code. */
bool store_measured_read(const char *operation, double started, bool done, const struct error *error);
bool store_measured_change(const char *operation, double started, bool done, const struct error *error);
enum store_result store_measured_write(const char *operation, double started, enum store_result result);

/* False: the last change that was tried did not get through, or it is not known whether it did. */
bool store_metrics_can_change(void);

#endif
