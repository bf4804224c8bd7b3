/* SPDX-License-Identifier: Apache-2.0
 * The HTTP server's metrics. */
#include "common/http/metrics.h"

#include "common/base/metrics.h"

static const double MICROSECONDS_IN_SECOND = 1e6;

static struct metric_family connections = {"turnstile_http_connections", "Open connections of clients.", METRIC_GAUGE,
                                           .labels = {NULL}};
static struct metric_family connections_total = {"turnstile_http_connections_total", "Connections that were accepted.",
                                                 METRIC_COUNTER, .labels = {NULL}};
static struct metric_family waits = {"turnstile_http_queue_wait_seconds",
                                     "How long requests waited in the queue for a worker.", METRIC_HISTOGRAM,
                                     .labels = {NULL}};
static struct metric_family rejections = {"turnstile_http_rejected_requests_total",
                                          "Requests that were answered 503 without being carried out.", METRIC_COUNTER,
                                          .labels = {"reason"}};
static const char *const rejection_names[] = {"queue_full", "queue_wait", "stopping"};

void http_metrics_connected(void)
{
    metric_add(metric_only(&connections), 1);
    metric_add(metric_only(&connections_total), 1);
}

void http_metrics_disconnected(void)
{
    metric_add(metric_only(&connections), -1);
}

void http_metrics_waited(int64_t microseconds)
{
    metric_observe(metric_only(&waits), (double)microseconds / MICROSECONDS_IN_SECOND);
}

void http_metrics_rejected(enum http_rejection why)
{
    metric_add(metric_with(&rejections, rejection_names[why]), 1);
}

void http_metrics_init(void)
{
    (void)metric_only(&connections);
    (void)metric_only(&connections_total);
    (void)metric_only(&waits);
    for (size_t i = 0; i < ARRAY_LENGTH(rejection_names); i++) {
        (void)metric_with(&rejections, rejection_names[i]);
    }
}
