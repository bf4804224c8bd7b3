/* SPDX-License-Identifier: Apache-2.0
 * Tests of JSON made readable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/compiler.h"
#include "tools/eventctl/indent.h"

enum {
    OUTPUT_MAX = 4096,
};

static void check(const char *text, const char *expected)
{
    CLEANUP(buffer_done) struct buffer buffer = BUFFER_INIT(OUTPUT_MAX);
    indent_json(text, strlen(text), &buffer);
    assert_false(buffer.overflowed);
    assert_string_equal(buffer_text(&buffer), expected);
}

static void each_member_and_item_has_a_line_of_its_own(void **state UNUSED)
{
    check("{\"a\":1,\"b\":[true,null,-2.5e3],\"c\":{\"d\":\"e\"}}", "{\n"
                                                                    "  \"a\": 1,\n"
                                                                    "  \"b\": [\n"
                                                                    "    true,\n"
                                                                    "    null,\n"
                                                                    "    -2.5e3\n"
                                                                    "  ],\n"
                                                                    "  \"c\": {\n"
                                                                    "    \"d\": \"e\"\n"
                                                                    "  }\n"
                                                                    "}");
    check("[[1],[{\"a\":2}]]", "[\n"
                               "  [\n"
                               "    1\n"
                               "  ],\n"
                               "  [\n"
                               "    {\n"
                               "      \"a\": 2\n"
                               "    }\n"
                               "  ]\n"
                               "]");
}

static void what_is_empty_stays_on_its_line(void **state UNUSED)
{
    check("{}", "{}");
    check("[ \n ]", "[]");
    check("{\"a\":{},\"b\":[[],{}]}", "{\n"
                                      "  \"a\": {},\n"
                                      "  \"b\": [\n"
                                      "    [],\n"
                                      "    {}\n"
                                      "  ]\n"
                                      "}");
}

static void strings_are_left_as_they_are(void **state UNUSED)
{
    static const char *const strings[] = {
        "\"\"", "\"{}[],: \t\"", "\"a\\\"b,{\"", "\"\\\\\"", "\"\\\\\\\"[\"", "\"\\u00e9é\"",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(strings); i++) {
        CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(OUTPUT_MAX);
        CLEANUP(buffer_done) struct buffer expected = BUFFER_INIT(OUTPUT_MAX);
        check(strings[i], strings[i]);
        buffer_printf(&text, "{%s:[%s,%s]}", strings[i], strings[i], strings[i]);
        buffer_printf(&expected, "{\n  %s: [\n    %s,\n    %s\n  ]\n}", strings[i], strings[i], strings[i]);
        check(buffer_text(&text), buffer_text(&expected));
    }
}

static void white_space_between_the_tokens_is_replaced(void **state UNUSED)
{
    check(" \n{ \"a\"\t:\r\n\n1 , \"b\" : [ 2 ] } ", "{\n"
                                                     "  \"a\": 1,\n"
                                                     "  \"b\": [\n"
                                                     "    2\n"
                                                     "  ]\n"
                                                     "}");
    const char *once = "{\n  \"a\": [\n    1,\n    {}\n  ]\n}";
    check(once, once);
}

static void what_is_no_object_is_copied(void **state UNUSED)
{
    check("", "");
    check("12.50", "12.50");
    check("false", "false");
}

static void text_that_breaks_off_is_not_read_past_its_end(void **state UNUSED)
{
    static const char *const texts[] = {"\"", "\"a", "\"a\\", "{\"a\":\"b\\", "]}]", "{["};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(OUTPUT_MAX);
        CLEANUP(buffer_done) struct buffer indented = BUFFER_INIT(OUTPUT_MAX);
        buffer_printf(&text, "%sXXX", texts[i]);
        indent_json(buffer_text(&text), strlen(texts[i]), &indented);
        assert_null(strchr(buffer_text(&indented), 'X'));
    }
}

static void what_does_not_fit_is_told(void **state UNUSED)
{
    struct buffer buffer = BUFFER_INIT(4);
    indent_json("[1,2]", 5, &buffer);
    assert_true(buffer.overflowed);
    buffer_done(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_member_and_item_has_a_line_of_its_own),
        cmocka_unit_test(what_is_empty_stays_on_its_line),
        cmocka_unit_test(strings_are_left_as_they_are),
        cmocka_unit_test(white_space_between_the_tokens_is_replaced),
        cmocka_unit_test(what_is_no_object_is_copied),
        cmocka_unit_test(text_that_breaks_off_is_not_read_past_its_end),
        cmocka_unit_test(what_does_not_fit_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
