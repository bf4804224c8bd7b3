/* SPDX-License-Identifier: Apache-2.0
 * The store's metrics. */
#include "common/store/metrics.h"

static struct metric_family durations = {"turnstile_store_operation_duration_seconds",
                                         "How long operations on the store took, waiting for its turn included.",
                                         METRIC_HISTOGRAM, .labels = {"operation", "result"}};

static atomic_bool last_change_failed; /* a process has one store */

static void observe(const char *operation, double started, const char *result)
{
    metric_observe(metric_with(&durations, operation, result), metrics_clock() - started);
}

static const char *failure_name(const struct error *error)
{
    switch (error != NULL ? error->code : ERROR_UNAVAILABLE) {
    case ERROR_NOT_FOUND:
        return "not_found";
    case ERROR_INVALID:
        return "invalid";
    case ERROR_UNAVAILABLE:
        return "unavailable";
    default:
        return "failed";
    }
}

bool store_measured_read(const char *operation, double started, bool done, const struct error *error)
{
    observe(operation, started, done ? "done" : failure_name(error));
    return done;
}

bool store_measured_change(const char *operation, double started, bool done, const struct error *error)
{
    atomic_store(&last_change_failed, !done);
    return store_measured_read(operation, started, done, error);
}

enum store_result store_measured_write(const char *operation, double started, enum store_result result)
{
    static const char *const names[] = {
        [STORE_DONE] = "done",
        [STORE_CONFLICT_ID] = "conflict_id",
        [STORE_CONFLICT_CLAIM] = "conflict_claim",
        [STORE_CONFLICT_VERSION] = "conflict_version",
        [STORE_OUTBOX_FULL] = "outbox_full",
        [STORE_UNAVAILABLE] = "unavailable",
    };
    atomic_store(&last_change_failed, result == STORE_UNAVAILABLE);
    observe(operation, started, names[result]);
    return result;
}

bool store_metrics_can_change(void)
{
    return !atomic_load(&last_change_failed);
}
