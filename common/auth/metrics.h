/* SPDX-License-Identifier: Apache-2.0
 * How much there is to hash, and how often a token need not be verified. */
#ifndef TURNSTILE_AUTH_METRICS_H
#define TURNSTILE_AUTH_METRICS_H

#include "common/base/metrics.h"

/* Around a password hash: it waits for a core, it has one, it is done. `started`: from metrics_clock, before it waited.
 */
void auth_metrics_hash_waits(void);
void auth_metrics_hash_runs(void);
void auth_metrics_hash_ends(double started);

void auth_metrics_token(bool was_cached);

#endif
