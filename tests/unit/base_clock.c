/* SPDX-License-Identifier: Apache-2.0
 * Tests of the clock and of ISO 8601. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "common/base/clock.h"

static const int64_t time_max = INT64_C(253402300799999);

static void prints_and_reads_the_same_moment(void **state UNUSED)
{
    static const struct {
        int64_t milliseconds;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {86399999, "1970-01-01T23:59:59.999Z"},
        {68169600000, "1972-02-29T00:00:00.000Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {951868799999, "2000-02-29T23:59:59.999Z"},
        {951868800000, "2000-03-01T00:00:00.000Z"},
        {978307199000, "2000-12-31T23:59:59.000Z"},
        {1769860800000, "2026-01-31T12:00:00.000Z"},
        {2147483648000, "2038-01-19T03:14:08.000Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char text[CLOCK_TEXT_SIZE];
        clock_to_text(cases[i].milliseconds, text);
        assert_string_equal(text, cases[i].text);
        int64_t read = -1;
        assert_true(clock_from_text(text, &read));
        assert_int_equal(read, cases[i].milliseconds);
    }
}

static void prints_every_day_as_the_c_library_does(void **state UNUSED)
{
    for (int64_t seconds = 43200; seconds * 1000 < time_max; seconds += 86400) {
        time_t moment = (time_t)seconds;
        struct tm parts;
        char expected[CLOCK_TEXT_SIZE];
        char text[CLOCK_TEXT_SIZE];
        int64_t read = -1;
        assert_non_null(gmtime_r(&moment, &parts));
        assert_int_equal(strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S.007Z", &parts), CLOCK_TEXT_SIZE - 1);
        clock_to_text(seconds * 1000 + 7, text);
        assert_string_equal(text, expected);
        assert_true(clock_from_text(text, &read));
        assert_int_equal(read, seconds * 1000 + 7);
    }
}

static void prints_the_nearer_end_outside_its_years(void **state UNUSED)
{
    char text[CLOCK_TEXT_SIZE];
    clock_to_text(-1, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_to_text(INT64_MIN, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_to_text(time_max + 1, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
    clock_to_text(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

static void reads_fractions_and_offsets(void **state UNUSED)
{
    static const struct {
        const char *text;
        const char *same_as;
    } cases[] = {
        {"2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"},
        {"2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.500Z"},
        {"2026-01-31T12:00:00.05Z", "2026-01-31T12:00:00.050Z"},
        {"2026-01-31T12:00:00.0059Z", "2026-01-31T12:00:00.005Z"},
        {"2026-01-31T12:00:00.999999999999999999999Z", "2026-01-31T12:00:00.999Z"},
        {"2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00.000Z"},
        {"2026-01-31T12:00:00-00:00", "2026-01-31T12:00:00.000Z"},
        {"2026-01-31T12:00:00+02:30", "2026-01-31T09:30:00.000Z"},
        {"2026-01-31T12:00:00.250-11:45", "2026-01-31T23:45:00.250Z"},
        {"2026-03-01T00:30:00+01:00", "2026-02-28T23:30:00.000Z"},
        {"2024-02-29T23:30:00-01:00", "2024-03-01T00:30:00.000Z"},
        {"1969-12-31T23:00:00-01:00", "1970-01-01T00:00:00.000Z"},
        {"9999-12-31T23:59:59.999-00:00", "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        int64_t read = -1;
        int64_t expected = -1;
        if (!clock_from_text(cases[i].text, &read)) {
            fail_msg("%s is refused", cases[i].text);
        }
        assert_true(clock_from_text(cases[i].same_as, &expected));
        assert_int_equal(read, expected);
    }
}

static void refuses_what_is_no_moment(void **state UNUSED)
{
    static const char *const cases[] = {
        "",
        "2026",
        "2026-01-31",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31t12:00:00Z",
        "2026-01-31T12:00:00z",
        "2026-01-31T12:00:00Z ",
        " 2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00ZZ",
        "2026-1-31T12:00:00Z",
        "2026-00-31T12:00:00Z",
        "2026-13-31T12:00:00Z",
        "2026-01-00T12:00:00Z",
        "2026-01-32T12:00:00Z",
        "2026-04-31T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2024-02-30T12:00:00Z",
        "2100-02-29T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:60:00Z",
        "2026-01-31T12:00:60Z",
        "2016-12-31T23:59:60Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T12:00:00.5",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00+02:60",
        "2026-01-31T12:00:00+0200",
        "2026-01-31T12:00:00+02",
        "2026-01-31T12:00:00+2:00",
        "2026-01-31T12:00:00+02:00Z",
        "+026-01-31T12:00:00Z",
        "-2026-01-31T12:00:00Z",
        "10000-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "0000-01-01T00:00:00Z",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        int64_t read = 42;
        if (clock_from_text(cases[i], &read)) {
            fail_msg("\"%s\" is taken for a moment", cases[i]);
        }
        assert_int_equal(read, 42);
    }
}

static int64_t fixed(void *context)
{
    return *(const int64_t *)context;
}

static int64_t fixed_and_one(void *context)
{
    return *(const int64_t *)context + 1;
}

static void asks_the_clock_it_is_given(void **state UNUSED)
{
    int64_t moment = 1234;
    const struct clock clock = {.now = fixed, .monotonic = fixed_and_one, .context = &moment};
    assert_int_equal(clock_now(&clock), 1234);
    assert_int_equal(clock_monotonic(&clock), 1235);
}

static void asks_the_system_when_it_is_given_none(void **state UNUSED)
{
    int64_t before = (int64_t)time(NULL) - 1; /* time() reads a coarser clock, which may lag behind */
    int64_t now = clock_now(NULL);
    int64_t after = (int64_t)time(NULL) + 1;
    assert_in_range(now / 1000, before, after);
    int64_t first = clock_monotonic(NULL);
    int64_t second = clock_monotonic(&clock_system);
    assert_true(second >= first);
    assert_true(second - first < 60000);
}

static int64_t milliseconds_until(struct timespec deadline)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (deadline.tv_sec - now.tv_sec) * INT64_C(1000) + (deadline.tv_nsec - now.tv_nsec) / 1000000;
}

static void deadlines_lie_as_far_ahead_as_asked(void **state UNUSED)
{
    for (int64_t wait = 0; wait < 5000; wait += 333) {
        struct timespec deadline = clock_deadline(wait);
        assert_in_range(deadline.tv_nsec, 0, 999999999);
        int64_t left = milliseconds_until(deadline);
        assert_true(left <= wait);
        assert_true(left > wait - 60000);
    }
    assert_true(milliseconds_until(clock_deadline(-5)) <= 0);
    assert_true(milliseconds_until(clock_deadline(INT64_MAX)) > INT64_C(1000) * 86400 * 365);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_and_reads_the_same_moment),
        cmocka_unit_test(prints_every_day_as_the_c_library_does),
        cmocka_unit_test(prints_the_nearer_end_outside_its_years),
        cmocka_unit_test(reads_fractions_and_offsets),
        cmocka_unit_test(refuses_what_is_no_moment),
        cmocka_unit_test(asks_the_clock_it_is_given),
        cmocka_unit_test(asks_the_system_when_it_is_given_none),
        cmocka_unit_test(deadlines_lie_as_far_ahead_as_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
