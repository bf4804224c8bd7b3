/* SPDX-License-Identifier: Apache-2.0
 * Tests of writing JSON by field tables: entities, errors, and JSON Schemas. */
#include "tests/unit/schema_fixture.h"

static void prints_every_field_in_the_order_of_the_table(void **state UNUSED)
{
    struct record head;
    struct sample sample;
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    sample_fill(&head, &sample);
    schema_print(&sample_table, IN_EVENT, &head, &sample, &text);
    assert_string_equal(buffer_text(&text), SAMPLE_EVENT);
    buffer_done(&text);
}

static void leaves_out_what_is_absent_unless_it_is_required(void **state UNUSED)
{
    struct sample sample;
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    memset(&sample, 0, sizeof(sample));
    schema_print(&sample_table, IN_REQUEST, NULL, &sample, &text);
    assert_string_equal(buffer_text(&text), "{\"title\":\"\",\"userId\":\"\",\"price\":0,\"count\":0,\"open\":false,"
                                            "\"status\":\"new\",\"place\":{\"name\":\"\"}}");
    buffer_done(&text);
}

static void prints_a_field_only_where_it_appears(void **state UNUSED)
{
    struct record head;
    struct sample sample;
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    sample_fill(&head, &sample);
    sample.internal = 5;
    sample_set_text(sample.password, sizeof(sample.password), "hunter2");
    schema_print(&sample_table, IN_RESPONSE, &head, &sample, &text);
    assert_null(strstr(buffer_text(&text), "hunter2"));
    assert_null(strstr(buffer_text(&text), "internal"));
    buffer_clear(&text);
    schema_print(&sample_table, IN_STORE, NULL, &sample, &text);
    assert_null(strstr(buffer_text(&text), "hunter2"));
    assert_null(strstr(buffer_text(&text), "\"version\""));
    assert_non_null(strstr(buffer_text(&text), ",\"internal\":5,"));
    buffer_clear(&text);
    schema_print(&sample_table, IN_REQUEST, NULL, &sample, &text);
    assert_null(strstr(buffer_text(&text), "createdAt"));
    assert_null(strstr(buffer_text(&text), "\"row\""));
    buffer_done(&text);
}

static void prints_members_that_more_can_follow(void **state UNUSED)
{
    static const struct place hall = {.name = "hall", .row = 4}, nowhere;
    static const struct field optional_fields[] = {FIELD(struct place, row, FIELD_INTEGER, .in = IN_ALL),
                                                   {.name = NULL}};
    static const struct table optional = {.name = "row", .size = sizeof(struct place), .fields = optional_fields};
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    schema_print_members(&place_table, IN_EVENT, NULL, &hall, &text);
    assert_string_equal(buffer_text(&text), "\"name\":\"hall\",\"row\":4");
    buffer_clear(&text);
    schema_print_members(&optional, IN_EVENT, NULL, &nowhere, &text);
    assert_string_equal(buffer_text(&text), "");
    schema_print(&optional, IN_EVENT, NULL, &nowhere, &text);
    assert_string_equal(buffer_text(&text), "{}");
    buffer_done(&text);
}

static void prints_the_head_alone_in_an_event_of_version_0(void **state UNUSED)
{
    struct record head = RECORD_INIT;
    struct sample sample;
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    memset(&sample, 0, sizeof(sample));
    assert_true(id_from_text(SAMPLE_ID, &head.id));
    schema_print(&sample_table, IN_EVENT, &head, &sample, &text);
    assert_string_equal(buffer_text(&text), "{\"id\":\"" SAMPLE_ID "\",\"version\":0}");
    buffer_clear(&text);
    schema_print(&sample_table, IN_RESPONSE, &head, &sample, &text);
    assert_true(text_starts_with(buffer_text(&text), "{\"id\":\"" SAMPLE_ID "\",\"version\":0,\"title\":"));
    buffer_done(&text);
}

/* Every byte in a text, alone and between others; the output must parse, and what was UTF-8 come back as it was. */
static void prints_valid_json_whatever_a_text_holds(void **state UNUSED)
{
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    for (int byte = 1; byte < 256; byte++) {
        struct place place = {.name = {'a', (char)byte, '"', '\\'}}, back;
        struct field_errors errors = FIELD_ERRORS_INIT;
        buffer_clear(&text);
        schema_print(&place_table, IN_REQUEST, NULL, &place, &text);
        assert_true(schema_parse(&place_table, IN_REQUEST, buffer_text(&text), text.length, NULL, &back, &errors));
        assert_string_equal(back.name, byte < 0x80 ? place.name : "a\xef\xbf\xbd\"\\");
    }
    buffer_done(&text);
}

static void repairs_only_what_is_not_utf8(void **state UNUSED)
{
    static const struct {
        const char *text, *json;
    } cases[] = {
        {"\xc3\xa9\xff\xf0\x9f\x8e\xb7", "\"\xc3\xa9\xef\xbf\xbd\xf0\x9f\x8e\xb7\""},
        {"\xc3", "\"\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\""},
        {"</script>\n", "\"</script>\\n\""},
    };
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct place place = {.row = 0};
        char expected[64];
        sample_set_text(place.name, sizeof(place.name), cases[i].text);
        snprintf(expected, sizeof(expected), "{\"name\":%s}", cases[i].json);
        buffer_clear(&text);
        schema_print(&place_table, IN_REQUEST, NULL, &place, &text);
        assert_string_equal(buffer_text(&text), expected);
    }
    buffer_done(&text);
}

static void does_not_read_past_a_text_that_lacks_its_end(void **state UNUSED)
{
    struct place place = {.row = 7};
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    memset(place.name, 'x', sizeof(place.name));
    schema_print(&place_table, IN_EVENT, NULL, &place, &text);
    assert_string_equal(buffer_text(&text), "{\"name\":\"xxxxxxxxxxxxxxxx\",\"row\":7}");
    buffer_done(&text);
}

static void prints_an_unknown_choice_as_null(void **state UNUSED)
{
    struct sample sample;
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    static const int32_t unknown[] = {-1, 2, INT32_MAX, INT32_MIN};
    memset(&sample, 0, sizeof(sample));
    for (size_t i = 0; i < ARRAY_LENGTH(unknown); i++) {
        sample.status = unknown[i];
        buffer_clear(&text);
        schema_print(&sample_table, IN_REQUEST, NULL, &sample, &text);
        assert_non_null(strstr(buffer_text(&text), "\"status\":null,"));
    }
    buffer_done(&text);
}

static void marks_a_buffer_that_is_too_small(void **state UNUSED)
{
    struct record head;
    struct sample sample;
    sample_fill(&head, &sample);
    for (size_t limit = 0; limit <= strlen(SAMPLE_EVENT); limit++) {
        struct buffer text = BUFFER_INIT(limit);
        schema_print(&sample_table, IN_EVENT, &head, &sample, &text);
        assert_int_equal(text.overflowed, limit < strlen(SAMPLE_EVENT));
        buffer_done(&text);
    }
}

static void prints_errors_for_clients(void **state UNUSED)
{
    struct field_errors errors = FIELD_ERRORS_INIT;
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    field_errors_print(&errors, &text);
    assert_string_equal(buffer_text(&text), "{\"errors\":[]}");
    buffer_clear(&text);
    assert_false(field_errors_add(&errors, "title", "must be %d \"long\"", 5));
    assert_false(field_errors_add(&errors, NULL, "broken"));
    assert_false(field_errors_add(&errors, "a\xff", "\xff\n"));
    field_errors_print(&errors, &text);
    assert_string_equal(buffer_text(&text), "{\"errors\":[{\"message\":\"must be 5 \\\"long\\\"\",\"field\":\"title\"},"
                                            "{\"message\":\"broken\"},"
                                            "{\"message\":\"\xef\xbf\xbd\\n\",\"field\":\"a\xef\xbf\xbd\"}]}");
    buffer_done(&text);
}

static void bounds_errors_in_number_and_length(void **state UNUSED)
{
    struct field_errors errors = FIELD_ERRORS_INIT;
    char long_text[400];
    memset(long_text, 'a', sizeof(long_text));
    memcpy(long_text + FIELD_MESSAGE_MAX - 2, "\xc3\xa9", 2); /* across the end of what is kept */
    long_text[sizeof(long_text) - 1] = '\0';
    for (size_t i = 0; i < FIELD_ERRORS_MAX + 2; i++) {
        assert_false(field_errors_add(&errors, long_text, "%s", long_text));
    }
    assert_int_equal(errors.count, FIELD_ERRORS_MAX);
    assert_int_equal(errors.dropped, 2);
    assert_int_equal(strlen(errors.items[FIELD_ERRORS_MAX - 1].message), FIELD_MESSAGE_MAX - 2);
    assert_int_equal(strlen(errors.items[0].field), SCHEMA_PATH_MAX - 1);
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    field_errors_print(&errors, &text);
    assert_non_null(strstr(buffer_text(&text), "},{\"message\":\"and 2 more\"}]}"));
    buffer_done(&text);
}

static void puts_errors_on_one_line_for_logs(void **state UNUSED)
{
    struct field_errors errors = FIELD_ERRORS_INIT;
    struct error error = ERROR_INIT;
    assert_false(field_errors_add(&errors, "title", "must not be blank"));
    assert_false(field_errors_add(&errors, NULL, "broken"));
    assert_false(field_errors_to_error(&errors, &error));
    assert_int_equal(error.code, ERROR_INVALID);
    assert_string_equal(error.message, "title: must not be blank; broken");
    for (size_t i = 0; i < FIELD_ERRORS_MAX; i++) {
        assert_false(field_errors_add(&errors, "title", "must not be blank"));
    }
    assert_false(field_errors_to_error(&errors, &error));
    assert_int_equal(strlen(error.message), ERROR_MESSAGE_MAX - 1);
    assert_false(field_errors_to_error(&errors, NULL));
}

/* What a JSON Schema says about one property, read back by tables of this module. */
struct described {
    char type[16], pattern[80], format[16], description[80];
    int64_t min_length, max_length, minimum, maximum;
};

static const struct field described_fields[] = {
    FIELD(struct described, type, FIELD_TEXT, .in = IN_EVENT),
    FIELD(struct described, pattern, FIELD_TEXT, .in = IN_EVENT),
    FIELD(struct described, format, FIELD_TEXT, .in = IN_EVENT),
    FIELD(struct described, description, FIELD_TEXT, .in = IN_EVENT),
    FIELD_NAMED("minLength", struct described, min_length, FIELD_INTEGER, .in = IN_EVENT),
    FIELD_NAMED("maxLength", struct described, max_length, FIELD_INTEGER, .in = IN_EVENT),
    FIELD(struct described, minimum, FIELD_MONEY, .min = INT64_MIN, .max = INT64_MAX, .in = IN_EVENT),
    FIELD(struct described, maximum, FIELD_MONEY, .min = INT64_MIN, .max = INT64_MAX, .in = IN_EVENT),
    {.name = NULL},
};
static const struct table described_table = {
    .name = "described", .size = sizeof(struct described), .fields = described_fields};

struct properties {
    struct described id, title, email, price, created_at, open, place;
};

static const struct field properties_fields[] = {
    FIELD(struct properties, id, FIELD_OBJECT, .in = IN_EVENT, .object = &described_table),
    FIELD(struct properties, title, FIELD_OBJECT, .required = true, .in = IN_EVENT, .object = &described_table),
    FIELD(struct properties, email, FIELD_OBJECT, .required = true, .in = IN_EVENT, .object = &described_table),
    FIELD(struct properties, price, FIELD_OBJECT, .required = true, .in = IN_EVENT, .object = &described_table),
    FIELD_NAMED("createdAt", struct properties, created_at, FIELD_OBJECT, .in = IN_EVENT, .object = &described_table),
    FIELD(struct properties, open, FIELD_OBJECT, .required = true, .in = IN_EVENT, .object = &described_table),
    FIELD(struct properties, place, FIELD_OBJECT, .required = true, .in = IN_EVENT, .object = &described_table),
    {.name = NULL},
};
static const struct table properties_table = {
    .name = "properties", .size = sizeof(struct properties), .fields = properties_fields};

static void describes_events_as_json_schema(void **state UNUSED)
{
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    CLEANUP(document_free) struct document *document = NULL;
    struct field_errors errors = FIELD_ERRORS_INIT;
    struct properties found;
    schema_print_json_schema(&sample_table, IN_EVENT, &text);
    assert_true(document_parse(buffer_text(&text), text.length, &document, &errors));
    assert_true(document_read(document, "properties", &properties_table, IN_EVENT, NULL, &found, &errors));
    assert_string_equal(found.id.type, "string");
    assert_string_equal(found.id.pattern, "^[0-9a-f]{24}$");
    assert_string_equal(found.title.type, "string");
    assert_int_equal(found.title.min_length, 2);
    assert_int_equal(found.title.max_length, 5);
    assert_string_equal(found.title.pattern, "^(?=.*\\S)[^\\u0000-\\u001f\\u007f-\\u009f]*$");
    assert_string_equal(found.title.description, "What it is called");
    assert_string_equal(found.email.format, "email");
    assert_int_equal(found.email.max_length, EMAIL_MAX);
    assert_string_equal(found.price.type, "number");
    assert_int_equal(found.price.minimum, 1);
    assert_int_equal(found.price.maximum, 100000000);
    assert_string_equal(found.created_at.format, "date-time");
    assert_string_equal(found.open.type, "boolean");
    assert_string_equal(found.place.type, "object");
    assert_null(strstr(buffer_text(&text), "password"));
    buffer_done(&text);
}

static void describes_a_small_table_in_full(void **state UNUSED)
{
    static const struct table versioned = {
        .name = "place", .size = sizeof(struct place), .versioned = true, .fields = place_fields};
    static const char name_and_row[] = "\"name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":15},"
                                       "\"row\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":99}}";
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    char expected[1024];
    snprintf(expected, sizeof(expected),
             "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"place\",\"type\":\"object\","
             "\"properties\":{%s,\"required\":[\"name\"],\"additionalProperties\":true}",
             name_and_row);
    schema_print_json_schema(&place_table, IN_EVENT, &text);
    assert_string_equal(buffer_text(&text), expected);
    buffer_clear(&text);
    snprintf(expected, sizeof(expected),
             "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"place\",\"type\":\"object\","
             "\"properties\":{\"id\":{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{24}$\"},"
             "\"version\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":9007199254740992,"
             "\"description\":\"1 when created, one more for each change\"},%s,"
             "\"required\":[\"id\",\"version\",\"name\"],\"additionalProperties\":true}",
             name_and_row);
    schema_print_json_schema(&versioned, IN_RESPONSE, &text);
    assert_string_equal(buffer_text(&text), expected);
    buffer_clear(&text);
    schema_print_json_schema(&versioned, IN_EVENT, &text);
    assert_string_equal(buffer_text(&text), expected);
    buffer_done(&text);
}

static void describes_requests_as_they_may_come(void **state UNUSED)
{
    static const char *const pieces[] = {
        "\"userId\":{\"type\":\"string\",\"pattern\":\"^[0-9A-Fa-f]{24}$\"}",
        "\"price\":{\"type\":[\"number\",\"string\"],\"minimum\":0.01,\"maximum\":1000000,"
        "\"pattern\":\"^[0-9]+(\\\\.[0-9]{1,2})?$\",",
        "\"discount\":{\"type\":[\"number\",\"string\"],\"minimum\":-5,\"maximum\":5,"
        "\"pattern\":\"^-?[0-9]+(\\\\.[0-9]{1,2})?$\",",
        "\"password\":{\"type\":\"string\",\"minLength\":4,\"maxLength\":20,\"writeOnly\":true}",
        "\"status\":{\"type\":\"string\",\"enum\":[\"new\",\"old\"]}",
        "\"reason\":{\"type\":\"string\",\"enum\":[\"lost\",\"found\"]}",
        "\"note\":{\"type\":\"string\",\"maxLength\":299}",
        "\"required\":[\"title\",\"userId\",\"price\",\"count\",\"open\",\"status\",\"place\"],",
    };
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    schema_print_json_schema(&sample_table, IN_REQUEST, &text);
    for (size_t i = 0; i < ARRAY_LENGTH(pieces); i++) {
        if (strstr(buffer_text(&text), pieces[i]) == NULL) {
            fail_msg("%s is not in %s", pieces[i], buffer_text(&text));
        }
    }
    assert_null(strstr(buffer_text(&text), "createdAt"));
    assert_null(strstr(buffer_text(&text), "\"version\""));
    buffer_done(&text);
}

static void describes_no_longer_text_than_fits(void **state UNUSED)
{
    static const struct field fields[] = {
        FIELD(struct place, name, FIELD_TEXT, .max = 100, .in = IN_ALL),
        {.name = NULL},
    };
    static const struct table table = {.name = "t", .size = sizeof(struct place), .fields = fields};
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    schema_print_json_schema(&table, IN_EVENT, &text);
    assert_non_null(strstr(buffer_text(&text), "\"name\":{\"type\":\"string\",\"maxLength\":15}"));
    buffer_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_every_field_in_the_order_of_the_table),
        cmocka_unit_test(leaves_out_what_is_absent_unless_it_is_required),
        cmocka_unit_test(prints_a_field_only_where_it_appears),
        cmocka_unit_test(prints_members_that_more_can_follow),
        cmocka_unit_test(prints_the_head_alone_in_an_event_of_version_0),
        cmocka_unit_test(prints_valid_json_whatever_a_text_holds),
        cmocka_unit_test(repairs_only_what_is_not_utf8),
        cmocka_unit_test(does_not_read_past_a_text_that_lacks_its_end),
        cmocka_unit_test(prints_an_unknown_choice_as_null),
        cmocka_unit_test(marks_a_buffer_that_is_too_small),
        cmocka_unit_test(prints_errors_for_clients),
        cmocka_unit_test(bounds_errors_in_number_and_length),
        cmocka_unit_test(puts_errors_on_one_line_for_logs),
        cmocka_unit_test(describes_events_as_json_schema),
        cmocka_unit_test(describes_a_small_table_in_full),
        cmocka_unit_test(describes_requests_as_they_may_come),
        cmocka_unit_test(describes_no_longer_text_than_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
