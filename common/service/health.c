/* SPDX-License-Identifier: Apache-2.0
 * Tells a supervisor whether the process lives, and a load balancer whether to send it requests; its routes and that of
 * the metrics are those that all services have.
 *
 * DESIGN. No probe takes a turn behind requests or waits for the store: a service that is busy, say with passwords,
 * would be taken for one that is not ready, and its share would make the others so. A thread looks at the store, and
 * /readyz says on an I/O thread what it found. A look reads; it changes something, as requests want to, only if
 * somebody has asked since the last one, so that a service that nobody asks costs its store no changes, and as long as
 * the store was away, which only a change that gets through ends. A look that hangs is one that found nothing: what was
 * found is believed for LOOK_VALID_MS only. */
#include "common/service/health.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/service/metrics.h"

enum {
    HEALTH_BODY_MAX = 256,
    WHY_SIZE = 64,
    LOOK_MS = 1000, /* between two looks at the store */
    /* How old what the last look found may be. Drivers give up within some 3 s, so the next one is known 4 s later; the
     * rest is for a machine that is too loaded to let the thread run. */
    LOOK_VALID_MS = 5000,
};

static const char read_fact[] = "look"; /* which nobody sets */

struct health {
    struct store *store;
    pthread_t thread;
    atomic_bool is_asked; /* since the last look began */
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t stopping;
    bool is_stopping;
    bool is_good;      /* the last look; only the thread changes it */
    bool is_told;      /* that the store is away */
    int64_t looked_at; /* monotonic: when the last look ended */
};

/* ---- the store ---- */

/* Under the lock: once when it goes away, and once when it is back. */
static void tell(struct health *health, bool answers, const char *why)
{
    if (!answers && !health->is_told) {
        log_warning("the store does not answer: %s", why);
    } else if (answers && health->is_told) {
        log_info("the store answers again");
    }
    health->is_told = !answers;
}

static void look(struct health *health)
{
    struct error error = ERROR_INIT;
    int64_t unused = 0;
    bool must_change = atomic_exchange(&health->is_asked, false) || !health->is_good;
    bool is_good =
        must_change ? store_ping(health->store, &error) : store_fact_get(health->store, read_fact, &unused, &error);
    pthread_mutex_lock(&health->lock);
    health->is_good = is_good;
    health->looked_at = clock_monotonic(NULL);
    tell(health, is_good, error.message);
    pthread_mutex_unlock(&health->lock);
}

static bool wait_for_next(struct health *health)
{
    struct timespec next = clock_deadline(LOOK_MS);
    int waited = 0;
    pthread_mutex_lock(&health->lock);
    while (!health->is_stopping && waited == 0) {
        waited = pthread_cond_clockwait(&health->stopping, &health->lock, CLOCK_MONOTONIC, &next);
    }
    bool is_stopping = health->is_stopping;
    pthread_mutex_unlock(&health->lock);
    return !is_stopping;
}

static void *look_for_ever(void *context)
{
    struct health *health = context;
    pthread_setname_np(pthread_self(), "health");
    while (wait_for_next(health)) {
        look(health);
    }
    return NULL;
}

bool health_store_answers(struct health *health)
{
    char why[WHY_SIZE];
    pthread_mutex_lock(&health->lock);
    bool is_late = clock_monotonic(NULL) - health->looked_at > LOOK_VALID_MS;
    if (is_late) {
        snprintf(why, sizeof(why), "no look at it has ended for %d s", LOOK_VALID_MS / 1000);
        tell(health, false, why);
    }
    bool answers = health->is_good && !is_late;
    pthread_mutex_unlock(&health->lock);
    return answers;
}

/* ---- start and stop ---- */

static void free_health(struct health *health)
{
    pthread_cond_destroy(&health->stopping);
    pthread_mutex_destroy(&health->lock);
    xfree(health);
}

bool health_start(struct store *store, struct health **ret_health, struct error *error)
{
    struct health *health = xcalloc(1, sizeof *health);
    health->store = store;
    health->is_good = true; /* it was opened a moment ago: a read will do */
    pthread_mutex_init(&health->lock, NULL);
    pthread_cond_init(&health->stopping, NULL);
    look(health);
    int failure = pthread_create(&health->thread, NULL, look_for_ever, health);
    if (failure != 0) {
        free_health(health);
        return error_set(error, ERROR_INTERNAL, "the thread that looks at the store: %s", strerror(failure));
    }
    *ret_health = health;
    return true;
}

void health_stop(struct health *health)
{
    if (health == NULL) {
        return;
    }
    pthread_mutex_lock(&health->lock);
    health->is_stopping = true;
    pthread_cond_signal(&health->stopping);
    pthread_mutex_unlock(&health->lock);
}

void health_free(struct health **health)
{
    if (*health == NULL) {
        return;
    }
    pthread_join((*health)->thread, NULL);
    free_health(*health);
    *health = NULL;
}

/* ---- the routes ---- */

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
    bool store = health_store_answers(service->health);
    atomic_store(&service->health->is_asked, true);
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
    {.method = "GET", .path = "/readyz", .on_io_thread = true, .is_probe = true, .handler = get_readyz},
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
