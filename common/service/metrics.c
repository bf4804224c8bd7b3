/* SPDX-License-Identifier: Apache-2.0
 * What a service tells about itself at /metrics.
 *
 * A scrape takes no turn behind requests and waits for nothing: what takes time to find out, which is how many events
 * wait in the store, is found out by a thread beforehand. */
#include "common/service/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/service/health.h"
#include "common/service/process.h"
#include "common/store/metrics.h"

enum {
    METRICS_MAX = 4 << 20, /* bytes of a page */
    STATUS_SIZE = 12,
    COUNT_MS = 1000,      /* between two counts of the outbox, at least */
    COUNT_SHARE = 20,     /* and that many times as long as one took: a deep outbox takes long to count */
    COUNT_LATE_MS = 3000, /* when the next count is overdue by that, nothing is known any more */
};

static const double MICROSECONDS_IN_SECOND = 1e6;
static const double MILLISECONDS_IN_SECOND = 1e3;

static struct metric_family requests = {"turnstile_http_requests_total",
                                        "Answered requests. What no route was found for has the route \"unknown\".",
                                        METRIC_COUNTER, .labels = {"method", "route", "status"}};
static struct metric_family durations = {"turnstile_http_request_duration_seconds",
                                         "From a request's first line to its answer.", METRIC_HISTOGRAM,
                                         .labels = {"method", "route", "status"}};
static struct metric_family in_flight = {"turnstile_http_requests_in_flight",
                                         "Requests that wait for a worker or are being handled by one.", METRIC_GAUGE,
                                         .labels = {NULL}};
static struct metric_family queue = {"turnstile_http_queue_length", "Requests that wait for a worker.", METRIC_GAUGE,
                                     .labels = {NULL}};
static struct metric_family build = {"turnstile_build_info", "Always 1.", METRIC_GAUGE,
                                     .labels = {"service", "version"}};
static struct metric_family store_up = {"turnstile_store_up",
                                        "1: the last look at the store, and the last change of it, got through.",
                                        METRIC_GAUGE, .labels = {NULL}};
static struct metric_family outbox = {"turnstile_outbox_events",
                                      "Events in the store that the bus has not confirmed, of all instances together.",
                                      METRIC_GAUGE, .labels = {NULL}};
static struct metric_family outbox_age = {"turnstile_outbox_oldest_age_seconds",
                                          "Age of the oldest event in the outbox; 0: there is none.", METRIC_GAUGE,
                                          .labels = {NULL}};

struct service_metrics {
    struct service *service;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t stopping;
    bool is_stopping;
    bool is_counted; /* the following two are known */
    uint64_t outbox_count;
    int64_t outbox_oldest;
    int64_t valid_until; /* monotonic: when what is known is too old */
};

/* ---- requests ---- */

void service_metrics_answered(const struct route *route, unsigned status, int64_t microseconds, void *context UNUSED)
{
    char status_text[STATUS_SIZE];
    snprintf(status_text, sizeof status_text, "%u", status);
    const char *method = route != NULL ? route->method : "unknown";
    const char *path = route != NULL ? route->path : "unknown";
    metric_add(metric_with(&requests, method, path, status_text), 1);
    metric_observe(metric_with(&durations, method, path, status_text), (double)microseconds / MICROSECONDS_IN_SECOND);
}

void service_metrics_get(struct http_request *request, void *context UNUSED)
{
    struct buffer body = BUFFER_INIT(METRICS_MAX);
    metrics_print(&body);
    http_respond_content(request, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

static void collect_requests(void *context)
{
    struct service *service = context;
    struct http_figures figures;
    http_figures(service->http, &figures);
    metric_set(metric_only(&in_flight), (double)figures.active);
    metric_set(metric_only(&queue), (double)figures.queue_length);
}

/* ---- the store ---- */

/* It is looked at by reading, and by a change when somebody asks whether the service is ready; so the last change of
 * all tells more. */
static bool store_is_up(const struct service *service)
{
    return health_store_answers(service->health) && store_metrics_can_change();
}

static void collect_store(void *context)
{
    struct service_metrics *metrics = context;
    pthread_mutex_lock(&metrics->lock);
    bool is_counted = metrics->is_counted && clock_monotonic(NULL) <= metrics->valid_until;
    double count = (double)metrics->outbox_count;
    int64_t oldest = metrics->outbox_oldest;
    pthread_mutex_unlock(&metrics->lock);
    int64_t age_ms = oldest > 0 ? clock_now(NULL) - oldest : 0;
    double age = age_ms > 0 ? (double)age_ms / MILLISECONDS_IN_SECOND : 0;
    metric_set(metric_only(&store_up), store_is_up(metrics->service) ? 1 : 0);
    metric_set(metric_only(&outbox), is_counted ? count : NAN);
    metric_set(metric_only(&outbox_age), is_counted ? age : NAN);
}

/* Returns how long to wait for the next count. That the store is away is told by who looks at it. */
static int64_t count_outbox(struct service_metrics *metrics)
{
    struct error error = ERROR_INIT;
    uint64_t count = 0;
    int64_t oldest = 0;
    int64_t before = clock_monotonic(NULL);
    bool is_counted = store_outbox_count(metrics->service->store, &count, &oldest, &error);
    int64_t after = clock_monotonic(NULL);
    int64_t pause = is_counted ? COUNT_SHARE * (after - before) : 0;
    pause = pause > COUNT_MS ? pause : COUNT_MS;
    pthread_mutex_lock(&metrics->lock);
    metrics->is_counted = is_counted;
    metrics->outbox_count = count;
    metrics->outbox_oldest = oldest;
    metrics->valid_until = after + pause + COUNT_LATE_MS;
    pthread_mutex_unlock(&metrics->lock);
    return pause;
}

static void *count_for_ever(void *context)
{
    struct service_metrics *metrics = context;
    bool is_stopping = false;
    pthread_setname_np(pthread_self(), "metrics");
    while (!is_stopping) {
        struct timespec next = clock_deadline(count_outbox(metrics));
        pthread_mutex_lock(&metrics->lock);
        int waited = 0;
        while (!metrics->is_stopping && waited == 0) {
            waited = pthread_cond_clockwait(&metrics->stopping, &metrics->lock, CLOCK_MONOTONIC, &next);
        }
        is_stopping = metrics->is_stopping;
        pthread_mutex_unlock(&metrics->lock);
    }
    return NULL;
}

/* ---- the whole ---- */

struct service_metrics *service_metrics_start(struct service *service)
{
    struct service_metrics *metrics = xcalloc(1, sizeof *metrics);
    metrics->service = service;
    pthread_mutex_init(&metrics->lock, NULL);
    pthread_cond_init(&metrics->stopping, NULL);
    int failure = pthread_create(&metrics->thread, NULL, count_for_ever, metrics);
    if (failure != 0) {
        log_error("cannot start the thread that counts the outbox: %s", strerror(failure));
        pthread_cond_destroy(&metrics->stopping);
        pthread_mutex_destroy(&metrics->lock);
        xfree(metrics);
        return NULL;
    }
    metric_set(metric_with(&build, service->definition->name, TURNSTILE_VERSION), 1);
    metrics_on_collect(process_collect, NULL);
    metrics_on_collect(collect_requests, service);
    metrics_on_collect(collect_store, metrics);
    return metrics;
}

void service_metrics_stop(struct service_metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    metrics_forget(collect_store, metrics);
    metrics_forget(collect_requests, metrics->service);
    metrics_forget(process_collect, NULL);
    pthread_mutex_lock(&metrics->lock);
    metrics->is_stopping = true;
    pthread_cond_signal(&metrics->stopping);
    pthread_mutex_unlock(&metrics->lock);
}

void service_metrics_free(struct service_metrics **metrics)
{
    if (*metrics == NULL) {
        return;
    }
    pthread_join((*metrics)->thread, NULL);
    pthread_cond_destroy(&(*metrics)->stopping);
    pthread_mutex_destroy(&(*metrics)->lock);
    xfree(*metrics);
    *metrics = NULL;
}
