/* SPDX-License-Identifier: Apache-2.0
 * GET /healthz, GET /readyz and GET /metrics. */
#ifndef TURNSTILE_SERVICE_HEALTH_H
#define TURNSTILE_SERVICE_HEALTH_H

#include "common/service/service.h"

struct health;

/* Looks at the store, once before it returns and then about once a second on a thread of its own: before HTTP, whose
 * probes are answered from what was found. */
bool health_start(struct store *store, struct health **ret_health, struct error *error) MUST_CHECK;
/* When HTTP has stopped. NULL is fine. */
void health_stop(struct health *health);
/* Before the store closes: waits for the thread. NULL inside is fine. */
void health_free(struct health **health);
/* Whether the last look got through and is not too old. Does not block. */
bool health_store_answers(struct health *health);

/* The service's routes and these, NULL-terminated. */
void health_routes(const struct route *own, struct route ret_routes[static SERVICE_ROUTES_MAX]);

#endif
