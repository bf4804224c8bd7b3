/* SPDX-License-Identifier: Apache-2.0
 * Reading the JSON that a JetStream server answers, and sending it back with a change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/bus/jetstream/json.h"

enum {
    OUTPUT_MAX = 1024,
    MUTATIONS = 20000,
};

static const char sample[] =
    " { \"type\" : \"info\", \"config\":{\"name\":\"turnstile\",\"subjects\":[\"a:b\", \"c\\\"}\" "
    ",\"*\"],\"max_age\":0,"
    "\"newer\":{\"deep\":[[1,{\"x\":\"]\"}],null]}},\"state\":{\"first_seq\":18446744073709551615,\"last\":-1}}\n";

static struct json parse(const char *text)
{
    struct json value;
    if (!json_from_text(text, &value)) {
        fail_msg("not parsed: %s", text);
    }
    return value;
}

static struct json member(struct json object, const char *name)
{
    struct json value;
    if (!json_member(object, name, &value)) {
        fail_msg("no member: %s", name);
    }
    return value;
}

static void finds_members_at_their_own_level(void **state)
{
    (void)state;
    struct json answer = parse(sample), value;
    assert_true(json_equals(member(answer, "type"), "info"));
    assert_true(json_equals(member(member(answer, "config"), "name"), "turnstile"));
    assert_false(json_member(answer, "name", &value));
    assert_false(json_member(answer, "x", &value));
    assert_false(json_member(member(answer, "type"), "type", &value));
    assert_false(json_member(member(member(answer, "config"), "subjects"), "a:b", &value));
}

static void reads_numbers_and_refuses_what_is_none(void **state)
{
    (void)state;
    struct json stream = member(parse(sample), "state");
    uint64_t number = 7;
    assert_true(json_to_uint64(member(stream, "first_seq"), &number));
    assert_true(number == UINT64_MAX);
    assert_false(json_to_uint64(member(stream, "last"), &number));
    assert_false(json_to_uint64(member(parse(sample), "type"), &number));
    assert_false(json_to_uint64(parse("18446744073709551616"), &number));
    assert_false(json_to_uint64(parse("123456789012345678901234567890"), &number));
    assert_true(number == UINT64_MAX);
}

static void goes_through_arrays(void **state)
{
    (void)state;
    static const char *const expected[] = {"\"a:b\"", "\"c\\\"}\"", "\"*\""};
    struct json subjects = member(member(parse(sample), "config"), "subjects");
    struct json_cursor cursor = JSON_CURSOR_INIT;
    struct json value;
    for (size_t i = 0; i < 3; i++) {
        assert_true(json_next(subjects, &cursor, NULL, &value));
        assert_int_equal(value.end - value.start, strlen(expected[i]));
        assert_memory_equal(value.start, expected[i], strlen(expected[i]));
    }
    assert_false(json_next(subjects, &cursor, NULL, &value));
    assert_false(json_next(subjects, &cursor, NULL, &value));
    cursor = JSON_CURSOR_INIT;
    assert_false(json_next(parse("[]"), &cursor, NULL, &value));
    assert_false(json_next(parse("{ }"), &cursor, NULL, &value));
    assert_false(json_next(parse("7"), &cursor, NULL, &value));
}

static void copies_all_members_but_some(void **state)
{
    (void)state;
    static const char *const without[] = {"subjects", "max_age"};
    CLEANUP(buffer_done) struct buffer buffer = BUFFER_INIT(OUTPUT_MAX);
    json_append_members(&buffer, member(parse(sample), "config"), without, ARRAY_LENGTH(without));
    assert_string_equal(buffer_text(&buffer), "\"name\":\"turnstile\",\"newer\":{\"deep\":[[1,{\"x\":\"]\"}],null]},");
    buffer_clear(&buffer);
    json_append_members(&buffer, parse("[1]"), without, ARRAY_LENGTH(without));
    assert_string_equal(buffer_text(&buffer), "");
}

static void copies_texts_for_people(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"\"replicas \\u003e 1\"", "replicas > 1"},
        {"\"\\\"a\\\\b\\/\\n\\u00e4\"", "\"a\\b/??"},
        {"\"\\u00\"", "?"},
        {"\"\\uzzzz.\"", "?."},
        {"\"0123456789abcdefXYZ\"", "0123456789abcde"},
        {"\"\"", ""},
        {"12", ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char text[16];
        json_copy_cut(parse(cases[i].json), text, sizeof(text));
        assert_string_equal(text, cases[i].text);
    }
}

static void refuses_what_is_no_value(void **state)
{
    (void)state;
    static const char *const bad[] = {"",  " ", "{", "[", "\"",  "\"\\",  "\"\\\"",     "{\"a\":1", "[[1]",
                                      "}", "]", ",", ":", "1 2", "{} {}", "{\"a\":\"}", "x\"y\"",   "[\"]"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct json value;
        if (json_from_text(bad[i], &value)) {
            fail_msg("parsed: %s", bad[i]);
        }
    }
}

/* Visits everything, so that a sanitizer sees any step outside the text. */
static size_t visit(struct json value, unsigned depth)
{
    struct json_cursor cursor = JSON_CURSOR_INIT;
    struct json name, inner;
    uint64_t number;
    char text[8];
    size_t count = 1 + json_to_uint64(value, &number) + json_equals(value, "a:b");
    json_copy_cut(value, text, sizeof(text));
    while (depth > 0 && json_next(value, &cursor, &name, &inner)) {
        count += visit(inner, depth - 1);
    }
    return count;
}

static void stays_within_broken_texts(void **state)
{
    (void)state;
    static const char marks[] = "{}[]\",:\\u0 x";
    size_t visited = 0;
    srand(1);
    for (size_t i = 0; i < MUTATIONS; i++) {
        char *text = xstrndup(sample, 1 + (size_t)rand() % (sizeof(sample) - 1)); /* its end is that of its memory */
        for (int changes = rand() % 6; changes > 0; changes--) {
            text[(size_t)rand() % strlen(text)] = marks[(size_t)rand() % (sizeof(marks) - 1)];
        }
        struct json value;
        if (json_from_text(text, &value)) {
            visited += visit(value, 8);
        }
        xfree(text);
    }
    assert_true(visited > MUTATIONS / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_members_at_their_own_level),
        cmocka_unit_test(reads_numbers_and_refuses_what_is_none),
        cmocka_unit_test(goes_through_arrays),
        cmocka_unit_test(copies_all_members_but_some),
        cmocka_unit_test(copies_texts_for_people),
        cmocka_unit_test(refuses_what_is_no_value),
        cmocka_unit_test(stays_within_broken_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
