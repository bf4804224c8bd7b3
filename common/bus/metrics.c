/* SPDX-License-Identifier: Apache-2.0
 * The bus's metrics. */
#include "common/bus/metrics.h"

#include "common/base/metrics.h"

static struct metric_family up = {"turnstile_bus_up", "1: connected to the event bus; 0: not.", METRIC_GAUGE,
                                  .labels = {NULL}};
static struct metric_family connects = {"turnstile_bus_connects_total", "Connections that came about.", METRIC_COUNTER,
                                        .labels = {NULL}};
static struct metric_family losses = {"turnstile_bus_connection_losses_total", "Connections that were lost.",
                                      METRIC_COUNTER, .labels = {NULL}};
static struct metric_family history_losses = {"turnstile_bus_history_lost_total",
                                              "Times the bus came back with less of a subject than it had stored.",
                                              METRIC_COUNTER, .labels = {"subject"}};
static struct metric_family publishes = {"turnstile_bus_publishes_total",
                                         "Publishes by how they ended: stored, failed (not known to be), or refused.",
                                         METRIC_COUNTER, .labels = {"subject", "outcome"}};
static struct metric_family confirmations = {"turnstile_bus_confirm_duration_seconds",
                                             "From a publish until the bus confirmed that it is stored.",
                                             METRIC_HISTOGRAM, .labels = {NULL}};
static struct metric_family in_flight = {"turnstile_bus_publishes_in_flight",
                                         "Publishes that are not confirmed yet, dead letters and all.", METRIC_GAUGE,
                                         .labels = {NULL}};
static struct metric_family deliveries = {"turnstile_bus_deliveries_total", "Messages that were handed over.",
                                          METRIC_COUNTER, .labels = {"subject"}};
static struct metric_family acknowledgements = {
    "turnstile_bus_acknowledgements_total", "Messages that were acknowledged.", METRIC_COUNTER, .labels = {"subject"}};
static struct metric_family drops = {"turnstile_bus_drops_total",
                                     "Messages that were given back, to be delivered again.", METRIC_COUNTER,
                                     .labels = {"subject"}};

void bus_metrics_state(enum bus_state state)
{
    metric_set(metric_only(&up), state == BUS_UP ? 1 : 0);
    metric_add(metric_only(&connects), state == BUS_UP ? 1 : 0);
    metric_add(metric_only(&losses), 0);
}

void bus_metrics_lost(void)
{
    metric_add(metric_only(&losses), 1);
}

void bus_metrics_followed(const char *subject)
{
    (void)metric_with(&history_losses, subject);
}

void bus_metrics_history_lost(const char *subject)
{
    metric_add(metric_with(&history_losses, subject), 1);
}

void bus_metrics_refused(const char *subject)
{
    metric_add(metric_with(&publishes, subject, "refused"), 1);
}

void bus_metrics_accepted(void)
{
    metric_add(metric_only(&in_flight), 1);
}

void bus_metrics_published(const char *subject, bool stored, double started)
{
    metric_add(metric_only(&in_flight), -1);
    metric_add(metric_with(&publishes, subject, stored ? "stored" : "failed"), 1);
    if (stored) {
        metric_observe(metric_only(&confirmations), metrics_clock() - started);
    }
}

void bus_metrics_delivered(const char *subject)
{
    metric_add(metric_with(&deliveries, subject), 1);
}

void bus_metrics_acknowledged(const char *subject)
{
    metric_add(metric_with(&acknowledgements, subject), 1);
}

void bus_metrics_dropped(const char *subject)
{
    metric_add(metric_with(&drops, subject), 1);
}
