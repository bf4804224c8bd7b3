/* SPDX-License-Identifier: Apache-2.0
 * Tests of reading JSON documents by field tables: syntax, structure, heads. */
#include "tests/unit/schema_fixture.h"

static void reads_every_field_of_an_event(void **state UNUSED)
{
    struct record expected_head, head;
    struct sample expected, sample;
    struct field_errors errors = FIELD_ERRORS_INIT;
    sample_fill(&expected_head, &expected);
    memset(&head, 'x', sizeof(head));
    assert_true(sample_parse(IN_EVENT, SAMPLE_EVENT, strlen(SAMPLE_EVENT), &head, &sample, &errors));
    assert_string_equal(head.id.hex, SAMPLE_ID);
    assert_int_equal(head.version, 7);
    assert_int_equal(head.epoch, 0);
    assert_string_equal(head.claim, "");
    assert_string_equal(sample.title, "Jazz");
    assert_int_equal(sample.price, 1250);
    assert_int_equal(sample.discount, -5);
    assert_int_equal(sample.place.row, 4);
    assert_int_equal(sample.created_at, SAMPLE_TIME);
    assert_true(schema_equal(&sample_table, IN_ALL, &sample, &expected));
}

static void zeroes_what_is_absent(void **state UNUSED)
{
    struct sample sample;
    struct field_errors errors = FIELD_ERRORS_INIT;
    memset(&sample, 'x', sizeof(sample));
    assert_true(sample_parse(IN_REQUEST, SAMPLE_REQUEST, strlen(SAMPLE_REQUEST), NULL, &sample, &errors));
    assert_string_equal(sample.email, "");
    assert_false(id_is_set(&sample.order_id));
    assert_int_equal(sample.discount, 0);
    assert_int_equal(sample.reason, 0);
    assert_string_equal(sample.second.name, "");
    assert_int_equal(sample.created_at, 0);
}

static void refuses_what_is_not_one_json_object(void **state UNUSED)
{
    static const struct {
        const char *text, *problem;
    } cases[] = {
        {"", "must be a JSON object\n"},
        {"[]", "must be a JSON object\n"},
        {"null", "must be a JSON object\n"},
        {"\"{}\"", "must be a JSON object\n"},
        {"5", "must be a JSON object\n"},
        {"   ", "invalid JSON: it ends too early (line 1, column 3)\n"},
        {"{\"a\":1", "invalid JSON: it ends too early (line 1, column 6)\n"},
        {"{\"a\":1}x", "invalid JSON: something follows its end (line 1, column 8)\n"},
        {"{}{}", "invalid JSON: something follows its end (line 1, column 3)\n"},
        {"{\"a\":1,\"a\":2}", "invalid JSON: a key appears twice in one object (line 1, column 10)\n"},
        {"{\"a\":{\"b\":1,\"\\u0062\":2}}", "invalid JSON: a key appears twice in one object (line 1, column 20)\n"},
        {"{\"a\":\"\\u0000\"}", "invalid JSON: NUL characters are not allowed (line 1, column 13)\n"},
        {"{\"\\u0000\":1}", "invalid JSON: NUL characters are not allowed (line 1, column 9)\n"},
        {"{\"a\":1e999}", "invalid JSON: a number is out of range (line 1, column 10)\n"},
        {"{\"a\":-1e999}", "invalid JSON: a number is out of range (line 1, column 11)\n"},
        {"{\"a\":9223372036854775808}", "invalid JSON: a number is out of range (line 1, column 24)\n"},
        {"{\"a\":-9223372036854775809}", "invalid JSON: a number is out of range (line 1, column 25)\n"},
        {"{\"ignored\":\"\xff\"}", "invalid JSON: it is not valid UTF-8\n"},
        {"{\"ignored\":\"\xed\xa0\x80\"}", "invalid JSON: it is not valid UTF-8\n"}, /* a surrogate */
        {"{\"ignored\":\"\xc0\xaf\"}", "invalid JSON: it is not valid UTF-8\n"},     /* overlong */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        assert_string_equal(sample_problems(IN_REQUEST, cases[i].text), cases[i].problem);
    }
}

static void refuses_what_the_grammar_does_not_have(void **state UNUSED)
{
    static const char *const values[] = {
        "NaN",
        "Infinity",
        "-Infinity",
        "nan",
        "+1",
        "01",
        "1.",
        ".5",
        "0x10",
        "1e",
        "'a'",
        "True",
        "[1,]",
        "{\"b\":}",
        "{b:1}",
        "{\"b\":1,}",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\u12\"",
        "\"a\nb\"",
        "/* */1",
        "1 2",
        "--1",
        "[1}",
        "\"",
        "\"\\\"",
        "\xef\xbb\xbf"
        "1",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        char text[64];
        snprintf(text, sizeof(text), "{\"ignored\":%s}", values[i]);
        const char *problems = sample_problems(IN_REQUEST, text);
        assert_true(text_starts_with(problems, "invalid JSON: "));
        assert_ptr_equal(strchr(problems, '\n'), problems + strlen(problems) - 1);
    }
}

static void refuses_nul_bytes_anywhere(void **state UNUSED)
{
    static const char text[] = SAMPLE_REQUEST;
    for (size_t i = 0; i <= strlen(text); i++) {
        char broken[sizeof(text)];
        struct sample sample;
        struct field_errors errors = FIELD_ERRORS_INIT;
        memcpy(broken, text, i);
        broken[i] = '\0';
        memcpy(broken + i + 1, text + i, strlen(text) - i);
        assert_false(sample_parse(IN_REQUEST, broken, sizeof(broken), NULL, &sample, &errors));
        assert_string_equal(sample_errors(&errors), "invalid JSON: NUL characters are not allowed\n");
    }
}

static void nests(struct buffer *buffer, size_t levels, const char *open, const char *close)
{
    buffer_clear(buffer);
    buffer_append_text(buffer, "{\"deep\":");
    for (size_t i = 1; i < levels; i++) {
        buffer_append_text(buffer, open);
    }
    buffer_append_text(buffer, "1");
    for (size_t i = 1; i < levels; i++) {
        buffer_append_text(buffer, close);
    }
    buffer_printf(buffer, ",%s", SAMPLE_REQUEST + 1);
}

static void bounds_the_depth_of_what_it_ignores_too(void **state UNUSED)
{
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    nests(&text, SCHEMA_DEPTH_MAX, "[", "]");
    assert_string_equal(sample_problems(IN_REQUEST, buffer_text(&text)), "");
    nests(&text, SCHEMA_DEPTH_MAX + 1, "[", "]");
    assert_string_equal(sample_problems(IN_REQUEST, buffer_text(&text)),
                        "invalid JSON: nested more than 16 levels deep\n");
    nests(&text, SCHEMA_DEPTH_MAX + 1, "{\"a\":", "}");
    assert_string_equal(sample_problems(IN_REQUEST, buffer_text(&text)),
                        "invalid JSON: nested more than 16 levels deep\n");
    nests(&text, 100000, "[", "]");
    assert_string_equal(sample_problems(IN_REQUEST, buffer_text(&text)),
                        "invalid JSON: nested more than 16 levels deep\n");
    buffer_done(&text);
}

static void takes_brackets_in_strings_for_text(void **state UNUSED)
{
    assert_string_equal(sample_problems_with("note", "\"[[[[[[[[[[[[[[[[[[[[{{{{{{{{{{{{{{{{{{{{\""), "");
    assert_string_equal(sample_problems_with("note", "\"\\\"[[[[[[[[[[[[[[[[[[[[\\\\\""), "");
    assert_string_equal(sample_problems_with("ignored", "[\"\\\\\",[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]"),
                        "invalid JSON: nested more than 16 levels deep\n");
}

static void reports_every_invalid_field_with_its_path(void **state UNUSED)
{
    assert_string_equal(sample_problems(IN_EVENT, "{}"), "id: is required\n"
                                                         "version: is required\n"
                                                         "title: is required\n"
                                                         "userId: is required\n"
                                                         "price: is required\n"
                                                         "count: is required\n"
                                                         "createdAt: is required\n"
                                                         "open: is required\n"
                                                         "status: is required\n"
                                                         "place: is required\n");
    assert_string_equal(sample_problems(IN_EVENT,
                                        "{\"id\":\"x\",\"version\":-1,\"title\":5,\"email\":[],\"userId\":\"\","
                                        "\"orderId\":{},\"price\":\"1\",\"discount\":\"x\",\"count\":\"1\","
                                        "\"createdAt\":1,\"expiresAt\":\"soon\",\"open\":0,\"expired\":\"true\","
                                        "\"status\":\"young\",\"reason\":\"\",\"place\":{\"row\":100},"
                                        "\"second\":[]}"),
                        "id: must be 24 hex digits\n"
                        "version: must be from 0 to 9007199254740992\n"
                        "title: must be a string\n"
                        "email: must be a string\n"
                        "userId: must be 24 hex digits\n"
                        "orderId: must be a string\n"
                        "price: must be a number\n"
                        "discount: must be a number\n"
                        "count: must be a number\n"
                        "createdAt: must be a string\n"
                        "expiresAt: must be a time like 2026-01-31T12:00:00.000Z\n"
                        "open: must be true or false\n"
                        "expired: must be true or false\n"
                        "status: must be one of: new, old\n"
                        "reason: must be one of: lost, found\n"
                        "place.name: is required\n"
                        "place.row: must be from 1 to 99\n"
                        "second: must be an object\n");
}

static void reads_the_head_in_events_and_answers_only(void **state UNUSED)
{
    static const enum field_in without[] = {IN_REQUEST, IN_STORE};
    char text[1024];
    snprintf(text, sizeof(text), "{\"id\":\"nonsense\",\"version\":\"nonsense\",%s", strchr(SAMPLE_EVENT, 't') - 1);
    for (size_t i = 0; i < ARRAY_LENGTH(without); i++) {
        struct record head;
        struct sample sample;
        struct field_errors errors = FIELD_ERRORS_INIT;
        memset(&head, 'x', sizeof(head));
        assert_true(sample_parse(without[i], text, strlen(text), &head, &sample, &errors));
        assert_int_equal(head.version, 0);
        assert_false(id_is_set(&head.id));
    }
    assert_string_equal(sample_problems(IN_EVENT, text), "id: must be 24 hex digits\nversion: must be a number\n");
    assert_string_equal(sample_problems(IN_RESPONSE, text), "id: must be 24 hex digits\nversion: must be a number\n");
}

static void needs_nothing_but_the_head_in_an_event_of_version_0(void **state UNUSED)
{
    static const char text[] = "{\"id\":\"" SAMPLE_ID "\",\"version\":0,\"title\":5}";
    struct record head;
    struct sample sample, zero;
    struct field_errors errors = FIELD_ERRORS_INIT;
    memset(&zero, 0, sizeof(zero));
    assert_true(sample_parse(IN_EVENT, text, strlen(text), &head, &sample, &errors));
    assert_int_equal(head.version, 0);
    assert_string_equal(head.id.hex, SAMPLE_ID);
    assert_memory_equal(&sample, &zero, sizeof(zero));
    assert_string_equal(sample_problems(IN_EVENT, "{\"version\":0}") + strlen("id: "), "is required\n"
                                                                                       "title: is required\n"
                                                                                       "userId: is required\n"
                                                                                       "price: is required\n"
                                                                                       "count: is required\n"
                                                                                       "createdAt: is required\n"
                                                                                       "open: is required\n"
                                                                                       "status: is required\n"
                                                                                       "place: is required\n");
    assert_non_null(strstr(sample_problems(IN_RESPONSE, text), "title: must be a string\n"));
}

static void bounds_versions_to_what_all_readers_can_hold(void **state UNUSED)
{
    static const char *const head = "{\"id\":\"" SAMPLE_ID "\",\"version\":";
    static const struct {
        const char *version;
        bool valid;
    } cases[] = {{"9007199254740992", true}, {"9007199254740993", false}, {"1.0", true}, {"1.5", false}, {"-1", false}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char text[1024];
        snprintf(text, sizeof(text), "%s%s,%s", head, cases[i].version, strchr(SAMPLE_EVENT, 't') - 1);
        assert_int_equal(*sample_problems(IN_EVENT, text) == '\0', cases[i].valid);
    }
}

static void reads_an_object_inside_the_document(void **state UNUSED)
{
    static const char text[] =
        "{\"meta\":{\"name\":\"hall\",\"row\":3},\"bad\":{\"row\":0},\"nothing\":null,\"one\":1}";
    CLEANUP(document_free) struct document *document = NULL;
    struct field_errors errors = FIELD_ERRORS_INIT;
    struct place place;
    assert_true(document_parse(text, strlen(text), &document, &errors));
    assert_true(document_has(document, "meta"));
    assert_false(document_has(document, "nothing"));
    assert_false(document_has(document, "absent"));
    assert_true(document_read(document, "meta", &place_table, IN_EVENT, NULL, &place, &errors));
    assert_string_equal(place.name, "hall");
    assert_int_equal(place.row, 3);
    assert_false(document_read(document, "bad", &place_table, IN_EVENT, NULL, &place, &errors));
    assert_false(document_read(document, "nothing", &place_table, IN_EVENT, NULL, &place, &errors));
    assert_false(document_read(document, "absent", &place_table, IN_EVENT, NULL, &place, &errors));
    assert_false(document_read(document, "one", &place_table, IN_EVENT, NULL, &place, &errors));
    assert_string_equal(sample_errors(&errors), "bad.name: is required\nbad.row: must be from 1 to 99\n"
                                                "nothing: is required\nabsent: is required\none: must be an object\n");
}

static void lends_a_string_member_of_any_length(void **state UNUSED)
{
    static const char text[] = "{\"text\":\"\\u00e9\\n\",\"empty\":\"\",\"number\":1,\"nothing\":null}";
    CLEANUP(document_free) struct document *document = NULL;
    struct field_errors errors = FIELD_ERRORS_INIT;
    size_t length = 77;
    assert_true(document_parse(text, strlen(text), &document, &errors));
    assert_null(document_text(document, "number", &length));
    assert_null(document_text(document, "nothing", &length));
    assert_null(document_text(document, "absent", &length));
    assert_int_equal(length, 77);
    assert_string_equal(document_text(document, "text", &length), "\xc3\xa9\n");
    assert_int_equal(length, 3);
    assert_string_equal(document_text(document, "empty", &length), "");
    assert_int_equal(length, 0);
}

static void leaves_no_document_behind_when_it_fails(void **state UNUSED)
{
    struct document *document = NULL;
    struct field_errors errors = FIELD_ERRORS_INIT;
    assert_false(document_parse("[]", 2, &document, &errors));
    assert_null(document);
    document_free(&document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_field_of_an_event),
        cmocka_unit_test(zeroes_what_is_absent),
        cmocka_unit_test(refuses_what_is_not_one_json_object),
        cmocka_unit_test(refuses_what_the_grammar_does_not_have),
        cmocka_unit_test(refuses_nul_bytes_anywhere),
        cmocka_unit_test(bounds_the_depth_of_what_it_ignores_too),
        cmocka_unit_test(takes_brackets_in_strings_for_text),
        cmocka_unit_test(reports_every_invalid_field_with_its_path),
        cmocka_unit_test(reads_the_head_in_events_and_answers_only),
        cmocka_unit_test(needs_nothing_but_the_head_in_an_event_of_version_0),
        cmocka_unit_test(bounds_versions_to_what_all_readers_can_hold),
        cmocka_unit_test(reads_an_object_inside_the_document),
        cmocka_unit_test(lends_a_string_member_of_any_length),
        cmocka_unit_test(leaves_no_document_behind_when_it_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
