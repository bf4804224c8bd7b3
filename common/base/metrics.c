/* SPDX-License-Identifier: Apache-2.0
 * The registry of metrics: finds children without a lock, counts with atomics, prints.
 *
 * A family's children hang in a small hash table whose chains only grow at their heads: a reader follows them without a
 * lock, and sees every child complete, because its pointer is stored (release) after it was filled. The lock is for
 * those who add. */
#include "common/base/metrics.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    SLOTS = 64,
    DIGITS_MIN = 15, /* of a decimal number that survive the way through a double */
    DIGITS_MAX = 17, /* tell any two doubles apart */
    NUMBER_SIZE = 40,
};

static const double EXACT_INTEGERS = 9007199254740992; /* 2^53: a double holds every integer up to it */

struct metric {
    const struct metric_family *family;
    struct metric *next_in_slot; /* never changes */
    struct metric *next;         /* of all in the family; never changes */
    uint64_t hash;
    char values[METRIC_LABELS_MAX][METRIC_LABEL_SIZE];
    _Atomic double value;           /* of histograms: the sum */
    atomic_uint_fast64_t buckets[]; /* histograms: how many are in each, not in those below; the last is +Inf */
};

struct metric_children {
    _Atomic(struct metric *) slots[SLOTS];
    _Atomic(struct metric *) all; /* the newest first */
    size_t count;                 /* under registry.lock */
};

/* The label values as they are compared and printed. */
struct key {
    uint64_t hash;
    size_t count;
    char values[METRIC_LABELS_MAX][METRIC_LABEL_SIZE];
};

struct collector {
    struct collector *next;
    metrics_collect *collect;
    void *context;
};

static struct {
    pthread_mutex_t lock; /* families, and adding children */
    struct metric_family **families;
    size_t count;
    pthread_mutex_t collect_lock; /* collectors, and running them; taken before `lock` */
    struct collector *collectors;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER, .collect_lock = PTHREAD_MUTEX_INITIALIZER};

const double METRIC_SECONDS[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 0};

static const double *bounds_of(const struct metric_family *family)
{
    return family->buckets != NULL ? family->buckets : METRIC_SECONDS;
}

/* Without +Inf. */
static size_t bound_count(const struct metric_family *family)
{
    size_t count = 0;
    if (family->type == METRIC_HISTOGRAM) {
        while (bounds_of(family)[count] > 0) {
            count++;
        }
        assert(count <= METRIC_BUCKETS_MAX);
    }
    return count;
}

static size_t label_count(const struct metric_family *family)
{
    size_t count = 0;
    while (family->labels[count] != NULL) {
        count++;
    }
    return count;
}

static struct key make_key(const struct metric_family *family, const char *const *values)
{
    struct key key;
    key.hash = 0;
    key.count = label_count(family);
    for (size_t i = 0; i < key.count; i++) {
        assert(values[i] != NULL);
        text_copy_cut(key.values[i], METRIC_LABEL_SIZE, values[i]);
        key.hash = key.hash * 31 + text_hash(key.values[i], strlen(key.values[i]));
    }
    assert(values[key.count] == NULL);
    return key;
}

static struct metric *find(struct metric_children *children, const struct key *key)
{
    struct metric *metric = atomic_load_explicit(&children->slots[key->hash % SLOTS], memory_order_acquire);
    for (; metric != NULL; metric = metric->next_in_slot) {
        if (metric->hash != key->hash) {
            continue;
        }
        size_t same = 0;
        while (same < key->count && strcmp(metric->values[same], key->values[same]) == 0) {
            same++;
        }
        if (same == key->count) {
            return metric;
        }
    }
    return NULL;
}

/* Under the lock. */
static struct metric *add_child(const struct metric_family *family, struct metric_children *children,
                                const struct key *key)
{
    size_t buckets = family->type == METRIC_HISTOGRAM ? bound_count(family) + 1 : 0;
    struct metric *metric = xcalloc(1, sizeof *metric + buckets * sizeof metric->buckets[0]);
    metric->family = family;
    metric->hash = key->hash;
    memcpy(metric->values, key->values, key->count * sizeof key->values[0]);
    metric->next = atomic_load_explicit(&children->all, memory_order_relaxed);
    metric->next_in_slot = atomic_load_explicit(&children->slots[key->hash % SLOTS], memory_order_relaxed);
    atomic_store_explicit(&children->all, metric, memory_order_release);
    atomic_store_explicit(&children->slots[key->hash % SLOTS], metric, memory_order_release);
    children->count++;
    return metric;
}

/* Under the lock. Families stay sorted by name. */
static struct metric_children *add_family(struct metric_family *family)
{
    struct metric_children *children = atomic_load_explicit(&family->children, memory_order_relaxed);
    if (children != NULL) {
        return children;
    }
    registry.families = xreallocarray(registry.families, registry.count + 1, sizeof(struct metric_family *));
    size_t at = registry.count++;
    for (; at > 0 && strcmp(registry.families[at - 1]->name, family->name) > 0; at--) {
        registry.families[at] = registry.families[at - 1];
    }
    assert(at == 0 || strcmp(registry.families[at - 1]->name, family->name) != 0);
    registry.families[at] = family;
    children = xcalloc(1, sizeof *children);
    atomic_store_explicit(&family->children, children, memory_order_release);
    return children;
}

static struct metric *find_or_add(struct metric_family *family, const struct key *key)
{
    pthread_mutex_lock(&registry.lock);
    struct metric_children *children = add_family(family);
    struct metric *metric = find(children, key);
    if (metric == NULL && (children->count < METRIC_CHILDREN_MAX || key->count == 0)) {
        metric = add_child(family, children, key);
    } else if (metric == NULL) {
        static const char *const others[METRIC_LABELS_MAX] = {"other", "other", "other", "other"};
        const char *values[METRIC_LABELS_MAX + 1] = {NULL};
        memcpy(values, others, key->count * sizeof values[0]);
        struct key other = make_key(family, values);
        metric = find(children, &other);
        if (metric == NULL) {
            metric = add_child(family, children, &other);
        }
    }
    pthread_mutex_unlock(&registry.lock);
    return metric;
}

struct metric *metric_of(struct metric_family *family, const char *const *values)
{
    struct key key = make_key(family, values);
    struct metric_children *children = atomic_load_explicit(&family->children, memory_order_acquire);
    struct metric *metric = children != NULL ? find(children, &key) : NULL;
    return metric != NULL ? metric : find_or_add(family, &key);
}

struct metric *metric_only(struct metric_family *family)
{
    return metric_of(family, (const char *const[]){NULL});
}

static void add(_Atomic double *sum, double value)
{
    double old = atomic_load_explicit(sum, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(sum, &old, old + value, memory_order_relaxed, memory_order_relaxed)) {
    }
}

void metric_add(struct metric *metric, double value)
{
    assert(metric->family->type != METRIC_HISTOGRAM);
    assert(metric->family->type == METRIC_GAUGE || value >= 0);
    add(&metric->value, value);
}

void metric_set(struct metric *metric, double value)
{
    assert(metric->family->type != METRIC_HISTOGRAM);
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void metric_observe(struct metric *metric, double value)
{
    assert(metric->family->type == METRIC_HISTOGRAM);
    const double *bounds = bounds_of(metric->family);
    size_t bucket = 0;
    while (bounds[bucket] > 0 && value > bounds[bucket]) {
        bucket++;
    }
    atomic_fetch_add_explicit(&metric->buckets[bucket], 1, memory_order_relaxed);
    add(&metric->value, value);
}

double metrics_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void metrics_on_collect(metrics_collect *collect, void *context)
{
    struct collector *collector = xmalloc(sizeof *collector);
    pthread_mutex_lock(&registry.collect_lock);
    *collector = (struct collector){.next = registry.collectors, .collect = collect, .context = context};
    registry.collectors = collector;
    pthread_mutex_unlock(&registry.collect_lock);
}

void metrics_forget(metrics_collect *collect, void *context)
{
    pthread_mutex_lock(&registry.collect_lock);
    struct collector **link = &registry.collectors;
    while (*link != NULL && ((*link)->collect != collect || (*link)->context != context)) {
        link = &(*link)->next;
    }
    struct collector *collector = *link;
    if (collector != NULL) {
        *link = collector->next;
    }
    pthread_mutex_unlock(&registry.collect_lock);
    xfree(collector);
}

static void run_collectors(void)
{
    pthread_mutex_lock(&registry.collect_lock);
    for (struct collector *collector = registry.collectors; collector != NULL; collector = collector->next) {
        collector->collect(collector->context);
    }
    pthread_mutex_unlock(&registry.collect_lock);
}

/* ---- printing ---- */

/* The shortest text that reads back as the same number. No locale is ever set: the point is a point. */
static void print_number(struct buffer *buffer, double value)
{
    if (isnan(value)) {
        buffer_append_text(buffer, "NaN");
    } else if (isinf(value)) {
        buffer_append_text(buffer, value > 0 ? "+Inf" : "-Inf");
    } else if (value >= -EXACT_INTEGERS && value <= EXACT_INTEGERS && value == (double)(int64_t)value) {
        buffer_printf(buffer, "%.0f", value);
    } else {
        char text[NUMBER_SIZE];
        for (int digits = DIGITS_MIN; digits <= DIGITS_MAX; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, value);
            if (strtod(text, NULL) == value) {
                break;
            }
        }
        buffer_append_text(buffer, text);
    }
}

/* Backslash and line feed are escaped, in label values the quote as well; what is no UTF-8 becomes a question mark. */
static void print_escaped(struct buffer *buffer, const char *text, bool is_label)
{
    size_t left = strlen(text);
    while (left > 0) {
        uint32_t code_point;
        size_t length = text_decode_utf8(text, left, &code_point);
        if (length == 0) {
            buffer_append_char(buffer, '?');
            length = 1;
        } else if (*text == '\n') {
            buffer_append_text(buffer, "\\n");
        } else {
            if (*text == '\\' || (is_label && *text == '"')) {
                buffer_append_char(buffer, '\\');
            }
            buffer_append(buffer, text, length);
        }
        text += length;
        left -= length;
    }
}

/* {a="x",b="y",le="0.1"}; `bound` NULL: without le. */
static void print_labels(struct buffer *buffer, const struct metric *metric, const double *bound)
{
    const char *separator = "{";
    for (size_t i = 0; metric->family->labels[i] != NULL; i++) {
        buffer_printf(buffer, "%s%s=\"", separator, metric->family->labels[i]);
        print_escaped(buffer, metric->values[i], true);
        buffer_append_char(buffer, '"');
        separator = ",";
    }
    if (bound != NULL) {
        buffer_printf(buffer, "%sle=\"", separator);
        print_number(buffer, *bound);
        buffer_append_char(buffer, '"');
        separator = ",";
    }
    if (*separator == ',') {
        buffer_append_char(buffer, '}');
    }
}

static void print_sample(struct buffer *buffer, const struct metric *metric, const char *suffix, const double *bound,
                         double value)
{
    buffer_printf(buffer, "%s%s", metric->family->name, suffix);
    print_labels(buffer, metric, bound);
    buffer_append_char(buffer, ' ');
    print_number(buffer, value);
    buffer_append_char(buffer, '\n');
}

/* The count is the sum of the buckets, so that it is that of +Inf even while others observe. */
static void print_histogram(struct buffer *buffer, const struct metric *metric)
{
    const double *bounds = bounds_of(metric->family);
    size_t count = bound_count(metric->family);
    double total = 0;
    for (size_t i = 0; i <= count; i++) {
        double bound = i < count ? bounds[i] : INFINITY;
        total += (double)atomic_load_explicit(&metric->buckets[i], memory_order_relaxed);
        print_sample(buffer, metric, "_bucket", &bound, total);
    }
    print_sample(buffer, metric, "_sum", NULL, atomic_load_explicit(&metric->value, memory_order_relaxed));
    print_sample(buffer, metric, "_count", NULL, total);
}

static int compare_children(const void *left, const void *right)
{
    const struct metric *a = *(struct metric *const *)left;
    const struct metric *b = *(struct metric *const *)right;
    for (size_t i = 0; a->family->labels[i] != NULL; i++) {
        int order = strcmp(a->values[i], b->values[i]);
        if (order != 0) {
            return order;
        }
    }
    return 0;
}

static void print_family(struct buffer *buffer, const struct metric_family *family)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    struct metric *sorted[METRIC_CHILDREN_MAX + 1]; /* and "other" */
    size_t count = 0;
    struct metric_children *children = atomic_load_explicit(&family->children, memory_order_acquire);
    struct metric *metric = atomic_load_explicit(&children->all, memory_order_acquire);
    for (; metric != NULL; metric = metric->next) {
        if (!isnan(atomic_load_explicit(&metric->value, memory_order_relaxed))) {
            sorted[count++] = metric;
        }
    }
    if (count == 0) {
        return;
    }
    qsort(sorted, count, sizeof sorted[0], compare_children);
    buffer_printf(buffer, "# HELP %s ", family->name);
    print_escaped(buffer, family->help, false);
    buffer_printf(buffer, "\n# TYPE %s %s\n", family->name, types[family->type]);
    for (size_t i = 0; i < count; i++) {
        if (family->type == METRIC_HISTOGRAM) {
            print_histogram(buffer, sorted[i]);
        } else {
            print_sample(buffer, sorted[i], "", NULL, atomic_load_explicit(&sorted[i]->value, memory_order_relaxed));
        }
    }
}

void metrics_print(struct buffer *buffer)
{
    run_collectors();
    pthread_mutex_lock(&registry.lock);
    size_t count = registry.count;
    CLEANUP(free_pointer)
    struct metric_family **families = xmemdup(registry.families, count * sizeof(struct metric_family *));
    pthread_mutex_unlock(&registry.lock);
    for (size_t i = 0; i < count; i++) {
        print_family(buffer, families[i]);
    }
}
