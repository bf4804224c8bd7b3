/* SPDX-License-Identifier: Apache-2.0
 * Numbers about the running process, in Prometheus' text format (exposition format 0.0.4).
 *
 * A family is a static variable: its name, help, type and label names. Its children, one for each combination of label
 * values, are made when they are first used, and live as long as the process; callers keep the pointer where they use
 * it often. What is to be shown as 0 before it happens is used once at the start. Everything is thread-safe; counting
 * takes no lock. There is one registry per process. */
#ifndef TURNSTILE_BASE_METRICS_H
#define TURNSTILE_BASE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/buffer.h"
#include "common/base/compiler.h"

enum {
    METRIC_LABELS_MAX = 4,
    METRIC_LABEL_SIZE = 96,    /* bytes of a value, with the NUL; longer ones are cut */
    METRIC_CHILDREN_MAX = 512, /* of one family; what is beyond counts in one child whose labels are all "other" */
    METRIC_BUCKETS_MAX = 16,
};

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric;

struct metric_family {
    const char *name; /* "turnstile_http_requests_total"; base units; counters end in _total */
    const char *help;
    enum metric_type type;
    const char *labels[METRIC_LABELS_MAX + 1]; /* NULL-terminated */
    const double *buckets; /* histograms: upper bounds, ascending, ended by 0; NULL: METRIC_SECONDS */
    _Atomic(struct metric_children *) children; /* the module's own */
};

extern const double METRIC_SECONDS[]; /* 0.5 ms to 10 s */

/* The child with these label values, NULL-terminated, as many as there are labels. Never NULL. */
struct metric *metric_of(struct metric_family *family, const char *const *values);
/* Of a family without labels. */
struct metric *metric_only(struct metric_family *family);
/* metric_with(&family, "GET", "200"): the values as arguments. */
#define metric_with(family, ...) metric_of((family), (const char *const[]){__VA_ARGS__, NULL})

void metric_add(struct metric *metric, double value); /* counters: not negative; gauges: any */
/* Gauges, and counters that somebody else counts. NAN: not known now; such a child is not printed. */
void metric_set(struct metric *metric, double value);
void metric_observe(struct metric *metric, double value); /* histograms */
/* Seconds since some moment, never going back: what took from one call to another is observed. */
double metrics_clock(void);

/* Called before each print, for numbers that are looked up rather than counted; on the printing thread, one at a time.
 * It must not block: a print may run on a thread that serves others. metrics_forget waits for one that runs. */
typedef void metrics_collect(void *context);
void metrics_on_collect(metrics_collect *collect, void *context);
void metrics_forget(metrics_collect *collect, void *context);

/* Everything there is: families by name, children by their values. A family without children to print is left out. */
void metrics_print(struct buffer *buffer);

#endif
