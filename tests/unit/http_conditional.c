/* SPDX-License-Identifier: Apache-2.0
 * Tests of entity tags and preconditions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/http/conditional.h"

static void a_tag_is_the_version_in_quotes(void **state UNUSED)
{
    char tag[ETAG_SIZE];
    etag_print(7, tag);
    assert_string_equal(tag, "\"7\"");
    etag_print(UINT64_MAX, tag);
    assert_string_equal(tag, "\"18446744073709551615\"");
}

static void lists_are_searched_as_their_grammar_says(void **state UNUSED)
{
    static const struct {
        const char *list;
        enum etag_verdict strong, weak; /* for version 7 */
    } cases[] = {
        {"\"7\"", ETAG_LISTED, ETAG_LISTED},
        {" \t\"7\" ", ETAG_LISTED, ETAG_LISTED},
        {"\"6\", \"7\"", ETAG_LISTED, ETAG_LISTED},
        {"\"6\",\"7\",\"8\"", ETAG_LISTED, ETAG_LISTED},
        {", ,\"7\",", ETAG_LISTED, ETAG_LISTED},
        {"*", ETAG_LISTED, ETAG_LISTED},
        {" * ", ETAG_LISTED, ETAG_LISTED},
        {"W/\"7\"", ETAG_NOT_LISTED, ETAG_LISTED},
        {"W/\"7\", \"7\"", ETAG_LISTED, ETAG_LISTED},
        {"\"6\"", ETAG_NOT_LISTED, ETAG_NOT_LISTED},
        {"\"77\"", ETAG_NOT_LISTED, ETAG_NOT_LISTED},
        {"\"07\"", ETAG_NOT_LISTED, ETAG_NOT_LISTED},
        {"\"\"", ETAG_NOT_LISTED, ETAG_NOT_LISTED},
        {"\"6,\", \"a,7\"", ETAG_NOT_LISTED, ETAG_NOT_LISTED},
        {"\"\xc3\xa9\"", ETAG_NOT_LISTED, ETAG_NOT_LISTED},
        {"", ETAG_MALFORMED, ETAG_MALFORMED},
        {" , ", ETAG_MALFORMED, ETAG_MALFORMED},
        {"7", ETAG_MALFORMED, ETAG_MALFORMED},
        {"\"7", ETAG_MALFORMED, ETAG_MALFORMED},
        {"7\"", ETAG_MALFORMED, ETAG_MALFORMED},
        {"w/\"7\"", ETAG_MALFORMED, ETAG_MALFORMED},
        {"\"7\" \"8\"", ETAG_MALFORMED, ETAG_MALFORMED},
        {"\"7\", 8", ETAG_MALFORMED, ETAG_MALFORMED},
        {"\"7\", *", ETAG_MALFORMED, ETAG_MALFORMED},
        {"*, \"7\"", ETAG_MALFORMED, ETAG_MALFORMED},
        {"\"a b\"", ETAG_MALFORMED, ETAG_MALFORMED},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        enum etag_verdict strong = etag_find(cases[i].list, 7, false);
        enum etag_verdict weak = etag_find(cases[i].list, 7, true);
        if (strong != cases[i].strong || weak != cases[i].weak) {
            fail_msg("%s: %d, %d instead of %d, %d", cases[i].list, (int)strong, (int)weak, (int)cases[i].strong,
                     (int)cases[i].weak);
        }
    }
}

static void preconditions_follow_from_both_headers(void **state UNUSED)
{
    static const struct {
        const char *match, *none_match;
        uint64_t version;
        enum http_precondition verdict;
    } cases[] = {
        {NULL, NULL, 7, HTTP_PRECONDITION_NONE},         {"\"7\"", NULL, 7, HTTP_PRECONDITION_HOLDS},
        {"\"6\"", NULL, 7, HTTP_PRECONDITION_FAILED},    {"W/\"7\"", NULL, 7, HTTP_PRECONDITION_FAILED},
        {"seven", NULL, 7, HTTP_PRECONDITION_FAILED},    {"*", NULL, 7, HTTP_PRECONDITION_HOLDS},
        {"*", NULL, 0, HTTP_PRECONDITION_FAILED},        {"\"0\"", NULL, 0, HTTP_PRECONDITION_FAILED},
        {NULL, "*", 7, HTTP_PRECONDITION_FAILED},        {NULL, "*", 0, HTTP_PRECONDITION_HOLDS},
        {NULL, "\"7\"", 7, HTTP_PRECONDITION_FAILED},    {NULL, "W/\"7\"", 7, HTTP_PRECONDITION_FAILED},
        {NULL, "\"6\"", 7, HTTP_PRECONDITION_HOLDS},     {NULL, "six", 7, HTTP_PRECONDITION_FAILED},
        {"\"7\"", "\"6\"", 7, HTTP_PRECONDITION_HOLDS},  {"\"7\"", "\"7\"", 7, HTTP_PRECONDITION_FAILED},
        {"\"6\"", "\"6\"", 7, HTTP_PRECONDITION_FAILED},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        enum http_precondition verdict = conditional_check(cases[i].match, cases[i].none_match, cases[i].version);
        if (verdict != cases[i].verdict) {
            fail_msg("case %zu: %d instead of %d", i, (int)verdict, (int)cases[i].verdict);
        }
    }
}

static void reading_looks_at_if_match_first(void **state UNUSED)
{
    static const struct {
        const char *match, *none_match;
        enum conditional_get verdict; /* for version 7 */
    } cases[] = {
        {NULL, NULL, CONDITIONAL_GET_SEND},
        {"\"7\"", NULL, CONDITIONAL_GET_SEND},
        {"\"6\", \"7\"", NULL, CONDITIONAL_GET_SEND},
        {"*", NULL, CONDITIONAL_GET_SEND},
        {"\"6\"", NULL, CONDITIONAL_GET_FAILED},
        {"W/\"7\"", NULL, CONDITIONAL_GET_FAILED},
        {"seven", NULL, CONDITIONAL_GET_FAILED},
        {NULL, "\"7\"", CONDITIONAL_GET_NOT_MODIFIED},
        {NULL, "W/\"7\"", CONDITIONAL_GET_NOT_MODIFIED},
        {NULL, "*", CONDITIONAL_GET_NOT_MODIFIED},
        {NULL, "\"6\"", CONDITIONAL_GET_SEND},
        {NULL, "seven", CONDITIONAL_GET_SEND},
        {"\"6\"", "\"7\"", CONDITIONAL_GET_FAILED},
        {"\"6\"", "\"6\"", CONDITIONAL_GET_FAILED},
        {"\"7\"", "\"7\"", CONDITIONAL_GET_NOT_MODIFIED},
        {"\"7\"", "\"6\"", CONDITIONAL_GET_SEND},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        enum conditional_get verdict = conditional_get(cases[i].match, cases[i].none_match, 7);
        if (verdict != cases[i].verdict) {
            fail_msg("case %zu: %d instead of %d", i, (int)verdict, (int)cases[i].verdict);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tag_is_the_version_in_quotes),
        cmocka_unit_test(lists_are_searched_as_their_grammar_says),
        cmocka_unit_test(preconditions_follow_from_both_headers),
        cmocka_unit_test(reading_looks_at_if_match_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
