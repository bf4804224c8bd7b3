/* SPDX-License-Identifier: Apache-2.0
 * The metrics of the relay. */
#include "common/base/metrics.h"
#include "common/events/metrics.h"
#include "common/events/relay.h"

static struct metric_family relay_records = {
    "turnstile_relay_records", "Records whose events the relay has to look after.", METRIC_GAUGE, .labels = {NULL}};
static struct metric_family relay_memory = {"turnstile_relay_memory_bytes",
                                            "Payload of events that the relay keeps in memory.", METRIC_GAUGE,
                                            .labels = {NULL}};
static struct metric_family relay_in_flight = {"turnstile_relay_publishes_in_flight",
                                               "Events that the relay has published and the bus has not confirmed.",
                                               METRIC_GAUGE, .labels = {NULL}};
static struct metric_family relay_removals = {"turnstile_relay_removals_pending",
                                              "Confirmed events that are still in the outbox.", METRIC_GAUGE,
                                              .labels = {NULL}};

static void collect_relay(void *context)
{
    struct relay_figures figures;
    relay_figures(context, &figures);
    metric_set(metric_only(&relay_records), (double)figures.records);
    metric_set(metric_only(&relay_memory), (double)figures.bytes);
    metric_set(metric_only(&relay_in_flight), (double)figures.in_flight);
    metric_set(metric_only(&relay_removals), (double)figures.removals);
}

void event_metrics_watch_relay(struct relay *relay)
{
    metrics_on_collect(collect_relay, relay);
}

void event_metrics_forget_relay(struct relay *relay)
{
    metrics_forget(collect_relay, relay);
}
