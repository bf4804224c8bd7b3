/* SPDX-License-Identifier: Apache-2.0
 * The metrics of events that are received.
 *
 * What is held is in one list a subject, in the order in which it was first held, so that the oldest is known without
 * looking at all of them. Gaps are rare: the lock of these lists is on nobody's usual way. */
#include "common/events/metrics.h"

#include <math.h>
#include <pthread.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"

static const double MILLISECONDS_IN_SECOND = 1e3;
static const double DELAYS[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 0};

static struct metric_family received = {"turnstile_events_received_total", "Events that the bus delivered.",
                                        METRIC_COUNTER, .labels = {"subject"}};
static struct metric_family redelivered = {"turnstile_events_redelivered_total",
                                           "Events that the bus delivered not for the first time.", METRIC_COUNTER,
                                           .labels = {"subject"}};
static struct metric_family tried = {"turnstile_events_outcomes_total",
                                     "What came of trying to apply an event; for one that is held, once.",
                                     METRIC_COUNTER, .labels = {"subject", "outcome"}};
static struct metric_family delays = {"turnstile_events_delay_seconds",
                                      "From when the bus stored an event until it was applied here.", METRIC_HISTOGRAM,
                                      .labels = {"subject"}, .buckets = DELAYS};
static struct metric_family held = {"turnstile_events_held", "Events that wait for a predecessor.", METRIC_GAUGE,
                                    .labels = {"subject"}};
static struct metric_family held_age = {"turnstile_events_held_oldest_age_seconds",
                                        "How long the event that is held longest has been; 0: none is.", METRIC_GAUGE,
                                        .labels = {"subject"}};
static struct metric_family last_received = {"turnstile_events_last_received_sequence",
                                             "The bus's sequence of the last new event that came to this process.",
                                             METRIC_GAUGE, .labels = {"subject"}};
static struct metric_family last_applied = {"turnstile_events_last_applied_sequence",
                                            "The highest sequence that this process has acknowledged.", METRIC_GAUGE,
                                            .labels = {"subject"}};
static struct metric_family lag = {"turnstile_events_lag",
                                   "The last received sequence less the highest that was acknowledged, at least 0.",
                                   METRIC_GAUGE, .labels = {"subject"}};
static struct metric_family letters = {"turnstile_dead_letters_total", "Events that were put to the dead letters.",
                                       METRIC_COUNTER, .labels = {"subject", "reason"}};
static const char *const outcome_names[] = {
    [OUTCOME_APPLIED] = "applied", [OUTCOME_DONE] = "done", [OUTCOME_GAP] = "gap",       [OUTCOME_EPOCH] = "epoch",
    [OUTCOME_AWAY] = "away",       [OUTCOME_BUSY] = "busy", [OUTCOME_FAILED] = "failed", [OUTCOME_STRAY] = "stray",
};
static const char *const reasons[] = {"malformed", "failed", "stray"};

static pthread_mutex_t held_lock = PTHREAD_MUTEX_INITIALIZER; /* of the lists of all routes */

static const char *subject_of(const struct arrival *arrival)
{
    return arrival->route->subject->name;
}

/* ---- as they come and go ---- */

/* A new event with a lower sequence than the last: the bus has lost its history, and counts anew. */
void event_metrics_received(struct arrival *arrival, int64_t stored_at, bool is_again)
{
    struct route_metrics *metrics = &arrival->route->metrics;
    arrival->metrics.stored_at = stored_at;
    metric_add(metric_with(&received, subject_of(arrival)), 1);
    if (is_again) {
        metric_add(metric_with(&redelivered, subject_of(arrival)), 1);
    } else {
        uint64_t last = atomic_load(&metrics->received);
        if (arrival->sequence < last) {
            atomic_store(&metrics->applied, 0);
        }
        if (last == 0 || arrival->sequence < last) {
            atomic_store(&metrics->first, arrival->sequence);
        }
        atomic_store(&metrics->received, arrival->sequence);
    }
}

void event_metrics_tried(const struct arrival *arrival, enum outcome outcome)
{
    if ((outcome == OUTCOME_GAP || outcome == OUTCOME_EPOCH) && arrival->is_held) {
        return;
    }
    metric_add(metric_with(&tried, subject_of(arrival), outcome_names[outcome]), 1);
    if (outcome == OUTCOME_APPLIED && arrival->metrics.stored_at > 0) {
        int64_t delay = clock_now(NULL) - arrival->metrics.stored_at;
        metric_observe(metric_with(&delays, subject_of(arrival)),
                       delay > 0 ? (double)delay / MILLISECONDS_IN_SECOND : 0);
    }
}

void event_metrics_held(struct arrival *arrival)
{
    struct route_metrics *metrics = &arrival->route->metrics;
    arrival->metrics.held_since = clock_monotonic(NULL);
    pthread_mutex_lock(&held_lock);
    arrival->metrics.previous_held = metrics->last_held;
    arrival->metrics.next_held = NULL;
    *(metrics->last_held != NULL ? &metrics->last_held->metrics.next_held : &metrics->first_held) = arrival;
    metrics->last_held = arrival;
    metrics->held++;
    pthread_mutex_unlock(&held_lock);
}

static void release(struct arrival *arrival)
{
    struct route_metrics *metrics = &arrival->route->metrics;
    pthread_mutex_lock(&held_lock);
    *(arrival->metrics.previous_held != NULL ? &arrival->metrics.previous_held->metrics.next_held
                                             : &metrics->first_held) = arrival->metrics.next_held;
    *(arrival->metrics.next_held != NULL ? &arrival->metrics.next_held->metrics.previous_held : &metrics->last_held) =
        arrival->metrics.previous_held;
    metrics->held--;
    pthread_mutex_unlock(&held_lock);
    arrival->metrics.held_since = 0;
}

void event_metrics_buried(const struct arrival *arrival)
{
    const char *reason = arrival->reason != NULL                   ? "malformed"
                         : arrival->attempts >= EVENT_ATTEMPTS_MAX ? "failed"
                                                                   : "stray";
    metric_add(metric_with(&letters, subject_of(arrival), reason), 1);
}

void event_metrics_ended(struct arrival *arrival, bool is_acknowledged)
{
    if (arrival->metrics.held_since > 0) {
        release(arrival);
    }
    atomic_uint_fast64_t *applied = &arrival->route->metrics.applied;
    uint_fast64_t highest = atomic_load(applied);
    while (is_acknowledged && arrival->sequence > highest &&
           !atomic_compare_exchange_weak(applied, &highest, arrival->sequence)) {
    }
}

/* ---- what is looked up ---- */

static void collect_route(void *context)
{
    struct route *route = context;
    struct route_metrics *metrics = &route->metrics;
    const char *subject = route->subject->name;
    pthread_mutex_lock(&held_lock);
    size_t count = metrics->held;
    int64_t since = metrics->first_held != NULL ? metrics->first_held->metrics.held_since : 0;
    pthread_mutex_unlock(&held_lock);
    int64_t age = since > 0 ? clock_monotonic(NULL) - since : 0;
    metric_set(metric_with(&held, subject), (double)count);
    metric_set(metric_with(&held_age, subject), (double)age / MILLISECONDS_IN_SECOND);
    uint64_t applied_sequence = atomic_load(&metrics->applied);
    uint64_t received_sequence = atomic_load(&metrics->received);
    uint64_t first_sequence = atomic_load(&metrics->first);
    uint64_t done = applied_sequence > 0 || first_sequence == 0 ? applied_sequence : first_sequence - 1;
    uint64_t behind = received_sequence > done ? received_sequence - done : 0;
    /* Before something has come, where it will begin is not known: 0 would be a jump. */
    metric_set(metric_with(&last_received, subject), received_sequence > 0 ? (double)received_sequence : NAN);
    metric_set(metric_with(&last_applied, subject), applied_sequence > 0 ? (double)applied_sequence : NAN);
    metric_set(metric_with(&lag, subject), (double)behind);
}

void event_metrics_watch(struct route *route)
{
    const char *subject = route->subject->name;
    (void)metric_with(&received, subject);
    (void)metric_with(&redelivered, subject);
    (void)metric_with(&delays, subject);
    for (size_t i = 0; i < ARRAY_LENGTH(outcome_names); i++) {
        (void)metric_with(&tried, subject, outcome_names[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(reasons); i++) {
        (void)metric_with(&letters, subject, reasons[i]);
    }
    metrics_on_collect(collect_route, route);
}

void event_metrics_forget(struct route *route)
{
    metrics_forget(collect_route, route);
}
