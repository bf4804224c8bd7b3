/* SPDX-License-Identifier: Apache-2.0
 * GET /healthz, GET /readyz and GET /metrics. */
#ifndef TURNSTILE_SERVICE_HEALTH_H
#define TURNSTILE_SERVICE_HEALTH_H

#include "common/service/service.h"

/* The service's routes and these, NULL-terminated. */
void health_routes(const struct route *own, struct route ret_routes[static SERVICE_ROUTES_MAX]);

#endif
