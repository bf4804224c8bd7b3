/* SPDX-License-Identifier: Apache-2.0
 * Tests of splitting and decoding a request's target. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/http/url.h"

static void parse(const char *target, struct url *ret_url)
{
    const char *problem = NULL;
    CLEANUP(free_pointer) char *field = NULL;
    if (!url_parse(target, ret_url, &problem, &field)) {
        fail_msg("%s: %s", target, problem);
    }
    assert_null(field);
}

static void segments_are_split_before_they_are_decoded(void **state UNUSED)
{
    static const struct {
        const char *target;
        const char *path;
        size_t count;
        const char *segments[4];
    } cases[] = {
        {"/", "/", 1, {""}},
        {"/a/b", "/a/b", 2, {"a", "b"}},
        {"/a/", "/a/", 2, {"a", ""}},
        {"//a", "//a", 2, {"", "a"}},
        {"/a%2Fb/c%20d", "/a%2Fb/c%20d", 2, {"a/b", "c d"}},
        {"/%c3%A9", "/%c3%A9", 1, {"\xc3\xa9"}},
        {"/a+b?q=/x/y", "/a+b", 1, {"a+b"}},
        {"/..%2f/.", "/..%2f/.", 2, {"../", "."}},
        {"http://example.org/a/b?c", "/a/b", 2, {"a", "b"}},
        {"HTTPS://example.org", "/", 1, {""}},
        {"http://example.org?q=1", "/", 1, {""}},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(url_done) struct url url;
        parse(cases[i].target, &url);
        assert_string_equal(url.path, cases[i].path);
        assert_int_equal(url.segment_count, cases[i].count);
        for (size_t j = 0; j < cases[i].count; j++) {
            assert_string_equal(url.segments[j], cases[i].segments[j]);
        }
    }
}

static void parameters_are_decoded(void **state UNUSED)
{
    CLEANUP(url_done) struct url url;
    parse("/a?one=1&two=a+b%2Bc%26d&&empty=&alone&%C3%A9=%F0%9F%8E%9F&=nameless&eq=a=b", &url);
    assert_int_equal(url.parameter_count, 7);
    assert_string_equal(url_parameter(&url, "one"), "1");
    assert_string_equal(url_parameter(&url, "two"), "a b+c&d");
    assert_string_equal(url_parameter(&url, "empty"), "");
    assert_string_equal(url_parameter(&url, "alone"), "");
    assert_string_equal(url_parameter(&url, "\xc3\xa9"), "\xf0\x9f\x8e\x9f");
    assert_string_equal(url_parameter(&url, ""), "nameless");
    assert_string_equal(url_parameter(&url, "eq"), "a=b");
    assert_null(url_parameter(&url, "ONE"));
}

static void an_asterisk_is_no_path(void **state UNUSED)
{
    CLEANUP(url_done) struct url url;
    parse("*", &url);
    assert_true(url.is_asterisk);
    assert_int_equal(url.segment_count, 0);
}

static void broken_targets_are_refused(void **state UNUSED)
{
    static const char *const targets[] = {
        "",           "a/b",         "?q=1",     "*x",      "/%",      "/%4",      "/%zz",   "/%00",
        "/a%0",       "/%c3",        "/%ff",     "/\xff",   "/a b",    "/a#b",     "/a\x01", "/a\x7f",
        "/%ed%a0%80", "/%c0%af",     "/?q=%",    "/?q=%4",  "/?q=%00", "/?q=%ff",  "/?%=1",  "/?%00",
        "/?q=a#b",    "/?q=%c3&x=1", "/?q=\xff", "/?q=%g0", "/?q=%0g", "ftp://x/", "//\x02", "/?a=1&b=%",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(targets); i++) {
        const char *problem = NULL;
        char *field = NULL;
        struct url url;
        bool is_valid = url_parse(targets[i], &url, &problem, &field);
        url_done(&url);
        xfree(field);
        if (is_valid || problem == NULL) {
            fail_msg("\"%s\" was taken", targets[i]);
        }
    }
}

static void a_parameter_that_is_there_twice_is_named(void **state UNUSED)
{
    static const char *const targets[] = {"/?limit=1&limit=2", "/?limit=1&lim%69t=1", "/?limit&a=1&limit="};
    for (size_t i = 0; i < ARRAY_LENGTH(targets); i++) {
        const char *problem = NULL;
        CLEANUP(free_pointer) char *field = NULL;
        CLEANUP(url_done) struct url url;
        assert_false(url_parse(targets[i], &url, &problem, &field));
        assert_string_equal(problem, "must be given only once");
        assert_string_equal(field, "limit");
    }
}

static void the_number_of_segments_and_parameters_is_bounded(void **state UNUSED)
{
    char target[256] = "";
    for (size_t i = 0; i < URL_SEGMENTS_MAX; i++) {
        strncat(target, "/a", sizeof target - strlen(target) - 1);
    }
    struct url url;
    parse(target, &url);
    assert_int_equal(url.segment_count, URL_SEGMENTS_MAX);
    assert_false(url.has_too_many);
    url_done(&url);
    strncat(target, "/a", sizeof target - strlen(target) - 1);
    parse(target, &url);
    assert_true(url.has_too_many);
    url_done(&url);

    size_t length = (size_t)snprintf(target, sizeof target, "/?p");
    for (size_t i = 1; i < URL_PARAMETERS_MAX; i++) {
        length += (size_t)snprintf(target + length, sizeof target - length, "&p%zu", i);
    }
    parse(target, &url);
    assert_int_equal(url.parameter_count, URL_PARAMETERS_MAX);
    url_done(&url);
    snprintf(target + length, sizeof target - length, "&more");
    const char *problem = NULL;
    char *field = NULL;
    assert_false(url_parse(target, &url, &problem, &field));
    assert_string_equal(problem, "there are too many query parameters");
    url_done(&url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_are_split_before_they_are_decoded),
        cmocka_unit_test(parameters_are_decoded),
        cmocka_unit_test(an_asterisk_is_no_path),
        cmocka_unit_test(broken_targets_are_refused),
        cmocka_unit_test(a_parameter_that_is_there_twice_is_named),
        cmocka_unit_test(the_number_of_segments_and_parameters_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
