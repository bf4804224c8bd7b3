/* SPDX-License-Identifier: Apache-2.0
 * The thread that fulfils wishes to publish everything again, and looks after what restored stores leave behind. */
#include "common/events/upkeep.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/events/audit.h"
#include "common/events/epoch.h"
#include "common/events/refresh.h"
#include "common/events/republish.h"
#include "common/events/thread.h"
#include "common/events/wish.h"

enum {
    LOOK_MS = 1000, /* how often it looks for what there is to do */
    FAILPOINT_SIZE = 96,
};

static struct metric_family republished = {"turnstile_republished_snapshots_total",
                                           "Snapshots published because everything was to be published again.",
                                           METRIC_COUNTER, .labels = {NULL}};
static struct metric_family pending = {"turnstile_republish_pending",
                                       "1: everything is to be published again, by whichever instance.", METRIC_GAUGE,
                                       .labels = {NULL}};

struct upkeep {
    const struct events_config *config;
    struct bus *bus;
    struct history *history;
    atomic_uint_fast64_t *epoch;
    char republishing[FAILPOINT_SIZE]; /* failpoint: in the middle of publishing everything again */
    bool publishes;
    struct refresh *refresh;
    struct audit *audit;
    pthread_t thread;
    bool is_started;

    /* The thread's own. */
    bool was_away;    /* the store, when it was last looked at */
    uint64_t counted; /* snapshots of this run that the metric has */
    int64_t lease;
    int64_t renew_at; /* monotonic */

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    bool is_stopping;
    bool has_heard;
};

static bool is_stopping(struct upkeep *upkeep)
{
    pthread_mutex_lock(&upkeep->lock);
    bool stopping = upkeep->is_stopping;
    pthread_mutex_unlock(&upkeep->lock);
    return stopping;
}

static void on_heard(void *context)
{
    struct upkeep *upkeep = context;
    pthread_mutex_lock(&upkeep->lock);
    upkeep->has_heard = true;
    pthread_cond_signal(&upkeep->changed);
    pthread_mutex_unlock(&upkeep->lock);
}

/* ---- what is small ---- */

static bool raise_epoch(const struct upkeep *upkeep, struct error *error)
{
    uint64_t epoch = 0;
    if (!epoch_read(upkeep->config->store, &epoch, error)) {
        return false;
    }
    if (epoch > atomic_load(upkeep->epoch)) {
        atomic_store(upkeep->epoch, epoch);
        log_info("The store is of epoch %" PRIu64 " now", epoch);
    }
    return true;
}

static bool do_small(struct upkeep *upkeep, struct error *error)
{
    return raise_epoch(upkeep, error) && refresh_step(upkeep->refresh, error) &&
           audit_step(upkeep->audit, clock_monotonic(NULL), error);
}

/* A store that is away is told of once. */
static void tell_away(struct upkeep *upkeep, bool answered, const struct error *error)
{
    if (!answered && !upkeep->was_away) {
        log_warning("The store does not say what is to be published again: %s, retrying", error->message);
    }
    upkeep->was_away = !answered;
}

/* ---- publishing everything ---- */

static void count_snapshots(struct upkeep *upkeep, const struct republish_progress *progress)
{
    metric_add(metric_only(&republished), (double)(progress->published - upkeep->counted));
    upkeep->counted = progress->published;
}

/* Several times a second, from republish_run. What is small goes on meanwhile. */
static bool keep_lease(const struct republish_progress *progress, void *context)
{
    struct upkeep *upkeep = context;
    struct error error = ERROR_INIT;
    int64_t now = clock_monotonic(NULL);
    count_snapshots(upkeep, progress);
    failpoint(upkeep->republishing);
    if (is_stopping(upkeep)) {
        return false;
    }
    if (now < upkeep->renew_at) {
        return true;
    }
    upkeep->renew_at = now + LOOK_MS;
    bool answered = do_small(upkeep, &error) &&
                    wish_renew_lease(upkeep->config->store, clock_now(upkeep->config->clock), &upkeep->lease, &error);
    tell_away(upkeep, answered, &error);
    return upkeep->lease != 0;
}

static double seconds_since(int64_t start)
{
    return (double)(clock_monotonic(NULL) - start) / 1000;
}

/* Only when the facts know that the snapshots are on the bus: else they could be lost again, and nobody would know. */
static bool note_done(struct upkeep *upkeep, int64_t wish, struct error *error)
{
    return history_save(upkeep->history, upkeep->bus, error) && wish_fulfilled(upkeep->config->store, wish, error);
}

static void tell_begin(const struct upkeep *upkeep)
{
    char reasons[WISH_REASONS_SIZE] = "";
    struct error error = ERROR_INIT;
    bool is_known = wish_reasons(upkeep->config->store, reasons, &error) && reasons[0] != '\0';
    log_warning("Publishing everything again, as snapshots%s%s", is_known ? ": " : "", reasons);
}

/* With the lease. */
static void republish(struct upkeep *upkeep, int64_t wish)
{
    const struct events_config *config = upkeep->config;
    const struct republish_config republish = {
        .service = config->service,
        .store = config->store,
        .bus = upkeep->bus,
        .collections = config->collections,
        .clock = config->clock,
        .epoch = atomic_load(upkeep->epoch),
        .rate = REPUBLISH_RATE,
        .go_on = keep_lease,
        .context = upkeep,
    };
    struct republish_progress progress = {.published = 0};
    struct error error = ERROR_INIT;
    int64_t start = clock_monotonic(NULL);
    tell_begin(upkeep);
    upkeep->counted = 0;
    bool done = republish_run(&republish, &progress);
    count_snapshots(upkeep, &progress);
    if (!done) {
        log_info("Stopped publishing everything again, after %" PRIu64 " snapshots; another instance begins anew",
                 progress.published);
    } else if (!note_done(upkeep, wish, &error)) {
        log_warning("That everything was published again cannot be noted: %s, so it is done again", error.message);
    } else {
        log_warning("Everything was published again: %" PRIu64 " snapshot%s in %.1f s", progress.published,
                    progress.published == 1 ? "" : "s", seconds_since(start));
    }
}

static bool fulfil(struct upkeep *upkeep, struct error *error)
{
    struct store *store = upkeep->config->store;
    int64_t wish = 0;
    if (!upkeep->publishes || bus_state(upkeep->bus) != BUS_UP) {
        return true;
    }
    if (!wish_pending(store, &wish, error)) {
        return false;
    }
    metric_set(metric_only(&pending), wish != 0 ? 1 : 0);
    if (wish == 0) {
        return true;
    }
    if (!wish_take_lease(store, clock_now(upkeep->config->clock), &upkeep->lease, error)) {
        return false;
    }
    /* The epoch is read after the wish, which may be there because it was raised. */
    bool answered = upkeep->lease == 0 || raise_epoch(upkeep, error);
    if (upkeep->lease != 0 && answered) {
        republish(upkeep, wish);
    }
    wish_drop_lease(store, &upkeep->lease);
    return answered;
}

/* ---- the thread ---- */

static void *run(void *context)
{
    struct upkeep *upkeep = context;
    pthread_mutex_lock(&upkeep->lock);
    while (!upkeep->is_stopping) {
        upkeep->has_heard = false;
        pthread_mutex_unlock(&upkeep->lock);
        struct error error = ERROR_INIT;
        bool answered = do_small(upkeep, &error) && fulfil(upkeep, &error);
        tell_away(upkeep, answered, &error);
        pthread_mutex_lock(&upkeep->lock);
        if (!upkeep->is_stopping && !upkeep->has_heard) {
            condition_wait(&upkeep->changed, &upkeep->lock, LOOK_MS);
        }
    }
    pthread_mutex_unlock(&upkeep->lock);
    return NULL;
}

bool upkeep_open(const struct events_config *config, struct bus *bus, struct history *history,
                 atomic_uint_fast64_t *epoch, struct upkeep **ret_upkeep, struct error *error)
{
    struct upkeep *upkeep = xcalloc(1, sizeof(*upkeep));
    upkeep->config = config;
    upkeep->bus = bus;
    upkeep->history = history;
    upkeep->epoch = epoch;
    snprintf(upkeep->republishing, sizeof(upkeep->republishing), "%s.upkeep.republishing", config->service);
    upkeep->publishes = republish_can(config->service, config->collections);
    pthread_mutex_init(&upkeep->lock, NULL);
    condition_init(&upkeep->changed);
    upkeep->audit = audit_new(config->listeners, config->store, bus);
    *ret_upkeep = upkeep;
    const struct refresh_config refresh = {
        .service = config->service,
        .listeners = config->listeners,
        .publishes = upkeep->publishes,
        .store = config->store,
        .bus = bus,
        .clock = config->clock,
        .heard = on_heard,
        .context = upkeep,
    };
    if (!refresh_new(&refresh, &upkeep->refresh, error)) {
        return false;
    }
    if (upkeep->publishes) {
        metric_add(metric_only(&republished), 0);
        metric_set(metric_only(&pending), 0);
    }
    thread_start(&upkeep->thread, run, upkeep);
    upkeep->is_started = true;
    return true;
}

void upkeep_tell_stop(struct upkeep *upkeep)
{
    if (upkeep == NULL) {
        return;
    }
    pthread_mutex_lock(&upkeep->lock);
    upkeep->is_stopping = true;
    pthread_cond_signal(&upkeep->changed);
    pthread_mutex_unlock(&upkeep->lock);
}

void upkeep_stop(struct upkeep *upkeep)
{
    if (upkeep == NULL || !upkeep->is_started) {
        return;
    }
    upkeep_tell_stop(upkeep);
    pthread_join(upkeep->thread, NULL);
    upkeep->is_started = false;
}

void upkeep_free(struct upkeep **upkeep)
{
    if (*upkeep == NULL) {
        return;
    }
    refresh_free(&(*upkeep)->refresh);
    audit_free(&(*upkeep)->audit);
    pthread_cond_destroy(&(*upkeep)->changed);
    pthread_mutex_destroy(&(*upkeep)->lock);
    xfree(*upkeep);
    *upkeep = NULL;
}
