/* SPDX-License-Identifier: Apache-2.0
 * The metrics of passwords and tokens. */
#include "common/auth/metrics.h"

static struct metric_family waiting = {"turnstile_auth_password_hashes_waiting",
                                       "Password hashes that wait for a free core.", METRIC_GAUGE, .labels = {NULL}};
static struct metric_family running = {"turnstile_auth_password_hashes_running", "Password hashes at work.",
                                       METRIC_GAUGE, .labels = {NULL}};
static struct metric_family durations = {"turnstile_auth_password_hash_duration_seconds",
                                         "How long password hashes took, waiting for a core included.",
                                         METRIC_HISTOGRAM, .labels = {NULL}};
static struct metric_family tokens = {"turnstile_auth_token_cache_lookups_total",
                                      "Tokens that were looked up among those verified before.", METRIC_COUNTER,
                                      .labels = {"result"}};

void auth_metrics_hash_waits(void)
{
    metric_add(metric_only(&waiting), 1);
}

void auth_metrics_hash_runs(void)
{
    metric_add(metric_only(&waiting), -1);
    metric_add(metric_only(&running), 1);
}

void auth_metrics_hash_ends(double started)
{
    metric_add(metric_only(&running), -1);
    metric_observe(metric_only(&durations), metrics_clock() - started);
}

void auth_metrics_token(bool was_cached)
{
    metric_add(metric_with(&tokens, was_cached ? "hit" : "miss"), 1);
}
