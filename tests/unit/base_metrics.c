/* SPDX-License-Identifier: Apache-2.0
 * Tests of the metrics: what is counted, how it is printed, and that threads lose nothing. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/metrics.h"

enum {
    OUTPUT_MAX = 1 << 20,
    THREADS = 8,
    ROUNDS = 5000,
    NAMES = 40,
    ADDITIONS = 200000, /* of one thread to one counter: enough to meet, on two cores, too */
    PRINTS = 50,
};

/* What is printed about the families whose names start with the prefix. Freed by the caller. */
static char *printed(const char *prefix)
{
    CLEANUP(buffer_done) struct buffer all = BUFFER_INIT(OUTPUT_MAX);
    CLEANUP(buffer_done) struct buffer some = BUFFER_INIT(OUTPUT_MAX);
    metrics_print(&all);
    assert_false(all.overflowed);
    const char *line = buffer_text(&all);
    while (*line != '\0') {
        size_t length = strcspn(line, "\n") + 1;
        const char *name = strncmp(line, "# ", 2) == 0 ? line + strlen("# HELP ") : line;
        if (strncmp(name, prefix, strlen(prefix)) == 0) {
            buffer_append(&some, line, length);
        }
        line += length;
    }
    return xstrdup(buffer_text(&some));
}

static void assert_printed(const char *prefix, const char *expected)
{
    CLEANUP(free_pointer) char *text = printed(prefix);
    assert_string_equal(text, expected);
}

static void a_counter_without_labels_is_one_line(void **state UNUSED)
{
    static struct metric_family family = {"plain_total", "Things that happened.", METRIC_COUNTER, .labels = {NULL}};
    metric_add(metric_only(&family), 1);
    metric_add(metric_only(&family), 2);
    assert_printed("plain", "# HELP plain_total Things that happened.\n"
                            "# TYPE plain_total counter\n"
                            "plain_total 3\n");
}

static void children_are_printed_by_their_values(void **state UNUSED)
{
    static struct metric_family family = {"sorted_total", "Help.", METRIC_COUNTER, .labels = {"method", "status"}};
    metric_add(metric_with(&family, "POST", "201"), 1);
    metric_add(metric_with(&family, "GET", "404"), 2);
    metric_add(metric_with(&family, "GET", "200"), 3);
    metric_add(metric_with(&family, "POST", "201"), 4);
    assert_printed("sorted", "# HELP sorted_total Help.\n"
                             "# TYPE sorted_total counter\n"
                             "sorted_total{method=\"GET\",status=\"200\"} 3\n"
                             "sorted_total{method=\"GET\",status=\"404\"} 2\n"
                             "sorted_total{method=\"POST\",status=\"201\"} 5\n");
}

static void values_that_only_together_are_the_same_are_different_children(void **state UNUSED)
{
    static struct metric_family family = {"together", "Help.", METRIC_GAUGE, .labels = {"a", "b"}};
    metric_set(metric_with(&family, "ab", "c"), 1);
    metric_set(metric_with(&family, "a", "bc"), 2);
    metric_set(metric_with(&family, "", "abc"), 3);
    assert_printed("together", "# HELP together Help.\n"
                               "# TYPE together gauge\n"
                               "together{a=\"\",b=\"abc\"} 3\n"
                               "together{a=\"a\",b=\"bc\"} 2\n"
                               "together{a=\"ab\",b=\"c\"} 1\n");
}

static void a_gauge_goes_up_and_down_and_away(void **state UNUSED)
{
    static struct metric_family family = {"level", "Help.", METRIC_GAUGE, .labels = {"of"}};
    struct metric *water = metric_with(&family, "water");
    metric_set(water, 10);
    metric_add(water, -12.5);
    assert_printed("level", "# HELP level Help.\n# TYPE level gauge\nlevel{of=\"water\"} -2.5\n");
    metric_set(metric_with(&family, "oil"), 1);
    metric_set(water, NAN);
    assert_printed("level", "# HELP level Help.\n# TYPE level gauge\nlevel{of=\"oil\"} 1\n");
    metric_set(metric_with(&family, "oil"), NAN);
    assert_printed("level", "");
    metric_set(water, 7);
    assert_printed("level", "# HELP level Help.\n# TYPE level gauge\nlevel{of=\"water\"} 7\n");
}

static void a_histogram_is_cumulative_and_ends_with_infinity(void **state UNUSED)
{
    static const double bounds[] = {0.1, 0.5, 2, 0};
    static struct metric_family family = {"took_seconds", "Help.", METRIC_HISTOGRAM, .labels = {"what"},
                                          .buckets = bounds};
    static const double values[] = {0, 0.1, 0.25, 0.5, 0.75, 2, 2.5, 100};
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        metric_observe(metric_with(&family, "x"), values[i]);
    }
    assert_printed("took", "# HELP took_seconds Help.\n"
                           "# TYPE took_seconds histogram\n"
                           "took_seconds_bucket{what=\"x\",le=\"0.1\"} 2\n"
                           "took_seconds_bucket{what=\"x\",le=\"0.5\"} 4\n"
                           "took_seconds_bucket{what=\"x\",le=\"2\"} 6\n"
                           "took_seconds_bucket{what=\"x\",le=\"+Inf\"} 8\n"
                           "took_seconds_sum{what=\"x\"} 106.1\n"
                           "took_seconds_count{what=\"x\"} 8\n");
}

static void a_histogram_without_labels_or_bounds_of_its_own(void **state UNUSED)
{
    static struct metric_family family = {"default_seconds", "Help.", METRIC_HISTOGRAM, .labels = {NULL}};
    metric_observe(metric_only(&family), 0.003);
    CLEANUP(free_pointer) char *text = printed("default_seconds");
    assert_non_null(strstr(text, "\ndefault_seconds_bucket{le=\"0.0005\"} 0\n"));
    assert_non_null(strstr(text, "\ndefault_seconds_bucket{le=\"0.0025\"} 0\n"));
    assert_non_null(strstr(text, "\ndefault_seconds_bucket{le=\"0.005\"} 1\n"));
    assert_non_null(strstr(text, "\ndefault_seconds_bucket{le=\"10\"} 1\n"));
    assert_non_null(strstr(text, "\ndefault_seconds_bucket{le=\"+Inf\"} 1\n"));
    assert_non_null(strstr(text, "\ndefault_seconds_sum 0.003\n"));
    assert_non_null(strstr(text, "\ndefault_seconds_count 1\n"));
}

static void what_has_a_meaning_in_the_format_is_escaped(void **state UNUSED)
{
    static struct metric_family family = {"escaped", "A \"quote\",\na line, a back\\slash.", METRIC_GAUGE,
                                          .labels = {"text"}};
    metric_set(metric_with(&family, "a \"quote\",\na line, a back\\slash, \xc3\xbc, \xff"), 1);
    assert_printed("escaped", "# HELP escaped A \"quote\",\\na line, a back\\\\slash.\n"
                              "# TYPE escaped gauge\n"
                              "escaped{text=\"a \\\"quote\\\",\\na line, a back\\\\slash, \xc3\xbc, ?\"} 1\n");
}

static void numbers_survive_the_way_there_and_back(void **state UNUSED)
{
    static struct metric_family family = {"number", "Help.", METRIC_GAUGE, .labels = {NULL}};
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-1, "-1"},
        {0.1, "0.1"},
        {1e15, "1000000000000000"},
        {9007199254740992, "9007199254740992"},
        {1e300, "1e+300"},
        {1.0 / 3, "0.3333333333333333"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1790000000.123, "1790000000.123"},
        {INFINITY, "+Inf"},
        {-INFINITY, "-Inf"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        metric_set(metric_only(&family), cases[i].value);
        CLEANUP(free_pointer) char *text = printed("number");
        CLEANUP(free_pointer)
        char *expected = xasprintf("# HELP number Help.\n# TYPE number gauge\nnumber %s\n", cases[i].text);
        assert_string_equal(text, expected);
    }
}

static void families_are_printed_by_name(void **state UNUSED)
{
    static struct metric_family families[] = {
        {"order_c", "Help.", METRIC_GAUGE, .labels = {NULL}},
        {"order_a", "Help.", METRIC_GAUGE, .labels = {NULL}},
        {"order_d", "Help.", METRIC_GAUGE, .labels = {NULL}},
        {"order_b", "Help.", METRIC_GAUGE, .labels = {NULL}},
        {"order_never_used", "Help.", METRIC_GAUGE, .labels = {NULL}},
    };
    for (size_t i = 0; i < 4; i++) {
        metric_set(metric_only(&families[i]), 1);
    }
    assert_printed("order_", "# HELP order_a Help.\n# TYPE order_a gauge\norder_a 1\n"
                             "# HELP order_b Help.\n# TYPE order_b gauge\norder_b 1\n"
                             "# HELP order_c Help.\n# TYPE order_c gauge\norder_c 1\n"
                             "# HELP order_d Help.\n# TYPE order_d gauge\norder_d 1\n");
}

static void long_values_are_cut_and_still_found(void **state UNUSED)
{
    static struct metric_family family = {"long_total", "Help.", METRIC_COUNTER, .labels = {"text"}};
    char value[METRIC_LABEL_SIZE * 2];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    metric_add(metric_with(&family, value), 1);
    metric_add(metric_with(&family, value), 1);
    value[METRIC_LABEL_SIZE - 1] = '\0';
    metric_add(metric_with(&family, value), 1);
    CLEANUP(free_pointer)
    char *expected =
        xasprintf("# HELP long_total Help.\n# TYPE long_total counter\nlong_total{text=\"%s\"} 3\n", value);
    assert_printed("long", expected);
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)) != NULL; text++) {
        count++;
    }
    return count;
}

static void too_many_children_count_in_one_called_other(void **state UNUSED)
{
    static struct metric_family family = {"many_total", "Help.", METRIC_COUNTER, .labels = {"one", "two"}};
    enum { BEYOND = 20 };
    for (int i = 0; i < METRIC_CHILDREN_MAX + BEYOND; i++) {
        CLEANUP(free_pointer) char *value = xasprintf("value %d", i);
        metric_add(metric_with(&family, value, "same"), 1);
    }
    metric_add(metric_with(&family, "value 0", "same"), 1);
    CLEANUP(free_pointer) char *text = printed("many");
    assert_int_equal(count_of(text, "\nmany_total{"), METRIC_CHILDREN_MAX + 1);
    assert_non_null(strstr(text, "\nmany_total{one=\"other\",two=\"other\"} 20\n"));
    assert_non_null(strstr(text, "\nmany_total{one=\"value 0\",two=\"same\"} 2\n"));
}

static void set_to_seven(void *context)
{
    metric_set(metric_only(context), 7);
}

static void collectors_run_before_a_print_until_they_are_forgotten(void **state UNUSED)
{
    static struct metric_family family = {"looked_up", "Help.", METRIC_GAUGE, .labels = {NULL}};
    assert_printed("looked_up", "");
    metrics_on_collect(set_to_seven, &family);
    assert_printed("looked_up", "# HELP looked_up Help.\n# TYPE looked_up gauge\nlooked_up 7\n");
    metrics_forget(set_to_seven, NULL); /* another one */
    metric_set(metric_only(&family), 1);
    assert_printed("looked_up", "# HELP looked_up Help.\n# TYPE looked_up gauge\nlooked_up 7\n");
    metrics_forget(set_to_seven, &family);
    metric_set(metric_only(&family), 1);
    assert_printed("looked_up", "# HELP looked_up Help.\n# TYPE looked_up gauge\nlooked_up 1\n");
    metrics_forget(set_to_seven, &family); /* not there any more */
}

static struct metric_family shared_total = {"shared_total", "Help.", METRIC_COUNTER, .labels = {"name"}};
static struct metric_family shared_gauge = {"shared_gauge", "Help.", METRIC_GAUGE, .labels = {NULL}};
static struct metric_family shared_seconds = {"shared_seconds", "Help.", METRIC_HISTOGRAM, .labels = {"name"}};

static void *count_much(void *unused UNUSED)
{
    for (int i = 0; i < ROUNDS; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i % NAMES);
        metric_add(metric_with(&shared_total, name), 1);
        metric_add(metric_only(&shared_gauge), i % 2 == 0 ? 1 : -1);
        metric_observe(metric_with(&shared_seconds, name), 0.25);
    }
    return NULL;
}

static void *print_often(void *unused UNUSED)
{
    for (int i = 0; i < PRINTS; i++) {
        CLEANUP(free_pointer) char *text = printed("shared");
        assert_int_equal(count_of(text, "# TYPE shared_total"), count_of(text, "\nshared_total{") > 0 ? 1 : 0);
    }
    return NULL;
}

static double sum_of(const char *text, const char *line_start)
{
    double sum = 0;
    for (; (text = strstr(text, line_start)) != NULL; text++) {
        sum += strtod(strchr(text, ' ') + 1, NULL);
    }
    return sum;
}

static void threads_lose_nothing_while_others_print(void **state UNUSED)
{
    pthread_t threads[THREADS + 1];
    for (size_t i = 0; i <= THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, i < THREADS ? count_much : print_often, NULL), 0);
    }
    for (size_t i = 0; i <= THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    CLEANUP(free_pointer) char *text = printed("shared");
    assert_int_equal(count_of(text, "\nshared_total{"), NAMES);
    assert_float_equal(sum_of(text, "\nshared_total{"), THREADS * ROUNDS, 0);
    assert_float_equal(sum_of(text, "\nshared_gauge "), 0, 0);
    assert_float_equal(sum_of(text, "\nshared_seconds_count{"), THREADS * ROUNDS, 0);
    assert_float_equal(sum_of(text, "\nshared_seconds_sum{"), THREADS * ROUNDS / 4.0, 0);
}

static void *add_to_one(void *context)
{
    for (int i = 0; i < ADDITIONS; i++) {
        metric_add(context, 1);
    }
    return NULL;
}

static void threads_that_count_the_same_lose_nothing(void **state UNUSED)
{
    static struct metric_family family = {"same_total", "Help.", METRIC_COUNTER, .labels = {NULL}};
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_to_one, metric_only(&family)), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    CLEANUP(free_pointer) char *text = printed("same_total");
    assert_float_equal(sum_of(text, "\nsame_total "), (double)THREADS * ADDITIONS, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_without_labels_is_one_line),
        cmocka_unit_test(children_are_printed_by_their_values),
        cmocka_unit_test(values_that_only_together_are_the_same_are_different_children),
        cmocka_unit_test(a_gauge_goes_up_and_down_and_away),
        cmocka_unit_test(a_histogram_is_cumulative_and_ends_with_infinity),
        cmocka_unit_test(a_histogram_without_labels_or_bounds_of_its_own),
        cmocka_unit_test(what_has_a_meaning_in_the_format_is_escaped),
        cmocka_unit_test(numbers_survive_the_way_there_and_back),
        cmocka_unit_test(families_are_printed_by_name),
        cmocka_unit_test(long_values_are_cut_and_still_found),
        cmocka_unit_test(too_many_children_count_in_one_called_other),
        cmocka_unit_test(collectors_run_before_a_print_until_they_are_forgotten),
        cmocka_unit_test(threads_lose_nothing_while_others_print),
        cmocka_unit_test(threads_that_count_the_same_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
