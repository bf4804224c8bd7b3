/* SPDX-License-Identifier: Apache-2.0
 * GET /metrics, and the numbers that are about the service as a whole. */
#ifndef TURNSTILE_SERVICE_METRICS_H
#define TURNSTILE_SERVICE_METRICS_H

#include "common/service/service.h"

struct service_metrics;

/* When everything has started: begins to count the outbox, about once a second, on a thread of its own, so that a store
 * that hangs makes no scrape hang. */
struct service_metrics *service_metrics_start(struct service *service);
/* Before anything stops: `service` is not looked at any more, but for the store by the thread. NULL is fine. */
void service_metrics_stop(struct service_metrics *metrics);
/* Before the store closes: waits for the thread. NULL inside is fine. */
void service_metrics_free(struct service_metrics **metrics);

/* An http_observer. */
void service_metrics_answered(const struct route *route, unsigned status, int64_t microseconds, void *context);

/* An http_handler. */
void service_metrics_get(struct http_request *request, void *context);

#endif
