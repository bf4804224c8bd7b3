/* SPDX-License-Identifier: Apache-2.0
 * Tells a supervisor whether the process lives, and a load balancer whether to send it requests; its routes and that of
 * the metrics are those that all services have. */
#include "common/service/health.h"

#include <assert.h>

#include "common/base/log.h"
#include "common/service/metrics.h"

enum {
    HEALTH_BODY_MAX = 256,
};

static void get_healthz(struct http_request *request, void *context UNUSED)
{
    http_respond_text(request, 200, "{\"status\":\"alive\"}");
}

static const char *bus_state_name(enum bus_state state)
{
    return state == BUS_UP ? "up" : state == BUS_CONNECTING ? "connecting" : "closed";
}

/* Ready is who can serve requests: that takes the store. While the bus is away, requests are served and events wait. */
static void get_readyz(struct http_request *request, void *context)
{
    struct service *service = context;
    struct error error = ERROR_INIT;
    bool store = store_ping(service->store, &error);
    if (!store) {
        log_warning("not ready: %s", error.message);
    }
    bool stopping = atomic_load(&service->stopping);
    bool ready = store && !stopping;
    CLEANUP(buffer_done) struct buffer body = BUFFER_INIT(HEALTH_BODY_MAX);
    buffer_printf(&body, "{\"status\":\"%s\",\"store\":\"%s\"",
                  ready      ? "ready"
                  : stopping ? "stopping"
                             : "unavailable",
                  store ? "up" : "down");
    if (service->events != NULL) {
        buffer_printf(&body, ",\"bus\":\"%s\"", bus_state_name(events_bus_state(service->events)));
    }
    buffer_append_char(&body, '}');
    http_respond_json(request, ready ? 200 : 503, &body);
}

static const struct route routes[] = {
    {.method = "GET", .path = "/healthz", .on_io_thread = true, .is_probe = true, .handler = get_healthz},
    {.method = "GET", .path = "/readyz", .is_probe = true, .handler = get_readyz},
    {.method = "GET", .path = "/metrics", .on_io_thread = true, .is_probe = true, .handler = service_metrics_get},
};

void health_routes(const struct route *own, struct route ret_routes[static SERVICE_ROUTES_MAX])
{
    size_t count = 0;
    for (; own[count].method != NULL; count++) {
        assert(count + ARRAY_LENGTH(routes) + 1 < SERVICE_ROUTES_MAX);
        ret_routes[count] = own[count];
    }
    for (size_t i = 0; i < ARRAY_LENGTH(routes); i++) {
        ret_routes[count++] = routes[i];
    }
    ret_routes[count] = (struct route){.method = NULL};
}
