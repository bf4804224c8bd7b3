/* SPDX-License-Identifier: Apache-2.0
 * Tests of reading JSON and text by field tables: what is taken, what is refused, and in which words. */
#include "tests/unit/schema_fixture.h"

#include "common/base/memory.h"
#include "common/base/text.h"

/* Parses from memory that ends where the text ends, so that a sanitizer sees any step beyond. */
static bool parse(enum field_in in, const char *text, size_t length, struct record *ret_head, struct sample *ret_sample,
                  struct field_errors *errors)
{
    char *exact = xmalloc(length + 1);
    memcpy(exact + 1, text, length);
    bool valid = schema_parse(&sample_table, in, exact + 1, length, ret_head, ret_sample, errors);
    xfree(exact);
    return valid;
}

static const char *problems_of(enum field_in in, const char *text)
{
    struct record head;
    struct sample sample;
    struct field_errors errors = FIELD_ERRORS_INIT;
    bool valid = parse(in, text, strlen(text), &head, &sample, &errors);
    assert_int_equal(valid, errors.count == 0);
    return sample_errors(&errors);
}

/* A request that is valid but for what is put in the place of, or behind, its title. */
static const char *problems_with(const char *member, const char *json)
{
    static const struct {
        const char *name, *json;
    } members[] = {
        {"title", "\"Jazz\""}, {"userId", "\"" SAMPLE_USER "\""}, {"price", "1"}, {"count", "1"}, {"open", "true"},
        {"status", "\"new\""}, {"place", "{\"name\":\"hall\"}"}};
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    buffer_append_char(&text, '{');
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        if (!text_equal(members[i].name, member)) {
            buffer_printf(&text, "\"%s\":%s,", members[i].name, members[i].json);
        }
    }
    buffer_printf(&text, "\"%s\":%s}", member, json);
    const char *problems = problems_of(IN_REQUEST, buffer_text(&text));
    buffer_done(&text);
    return problems;
}

static void reads_every_field_of_an_event(void **state UNUSED)
{
    struct record expected_head, head;
    struct sample expected, sample;
    struct field_errors errors = FIELD_ERRORS_INIT;
    sample_fill(&expected_head, &expected);
    memset(&head, 'x', sizeof(head));
    assert_true(parse(IN_EVENT, SAMPLE_EVENT, strlen(SAMPLE_EVENT), &head, &sample, &errors));
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
    assert_true(parse(IN_REQUEST, SAMPLE_REQUEST, strlen(SAMPLE_REQUEST), NULL, &sample, &errors));
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
        assert_string_equal(problems_of(IN_REQUEST, cases[i].text), cases[i].problem);
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
        const char *problems = problems_of(IN_REQUEST, text);
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
        assert_false(parse(IN_REQUEST, broken, sizeof(broken), NULL, &sample, &errors));
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
    assert_string_equal(problems_of(IN_REQUEST, buffer_text(&text)), "");
    nests(&text, SCHEMA_DEPTH_MAX + 1, "[", "]");
    assert_string_equal(problems_of(IN_REQUEST, buffer_text(&text)), "invalid JSON: nested more than 16 levels deep\n");
    nests(&text, SCHEMA_DEPTH_MAX + 1, "{\"a\":", "}");
    assert_string_equal(problems_of(IN_REQUEST, buffer_text(&text)), "invalid JSON: nested more than 16 levels deep\n");
    nests(&text, 100000, "[", "]");
    assert_string_equal(problems_of(IN_REQUEST, buffer_text(&text)), "invalid JSON: nested more than 16 levels deep\n");
    buffer_done(&text);
}

static void takes_brackets_in_strings_for_text(void **state UNUSED)
{
    assert_string_equal(problems_with("note", "\"[[[[[[[[[[[[[[[[[[[[{{{{{{{{{{{{{{{{{{{{\""), "");
    assert_string_equal(problems_with("note", "\"\\\"[[[[[[[[[[[[[[[[[[[[\\\\\""), "");
    assert_string_equal(problems_with("ignored", "[\"\\\\\",[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]"),
                        "invalid JSON: nested more than 16 levels deep\n");
}

static void reports_every_invalid_field_with_its_path(void **state UNUSED)
{
    assert_string_equal(problems_of(IN_EVENT, "{}"), "id: is required\n"
                                                     "version: is required\n"
                                                     "title: is required\n"
                                                     "userId: is required\n"
                                                     "price: is required\n"
                                                     "count: is required\n"
                                                     "createdAt: is required\n"
                                                     "open: is required\n"
                                                     "status: is required\n"
                                                     "place: is required\n");
    assert_string_equal(problems_of(IN_EVENT, "{\"id\":\"x\",\"version\":-1,\"title\":5,\"email\":[],\"userId\":\"\","
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

static void checks_each_field_by_its_rules(void **state UNUSED)
{
    static const struct {
        const char *member, *json, *problem;
    } cases[] = {
        {"title", "\"ab\"", ""},
        {"title", "\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\"", ""}, /* 4 characters in 8 bytes */
        {"title", "\"abcde\"", ""},
        {"title", "\"abcdef\"", "title: must be 2 to 5 characters long\n"},
        {"title", "\"a\"", "title: must be 2 to 5 characters long\n"},
        {"title", "\"\xc3\xa9\"", "title: must be 2 to 5 characters long\n"},
        {"title", "\"\xf0\x9f\x8e\xb7\xf0\x9f\x8e\xb7\xf0\x9f\x8e\xb7\"", "title: must be at most 8 bytes long\n"},
        {"title", "\"  \\t\"", "title: must not be blank\n"},
        {"title", "\"\\u00a0\\u3000\"", "title: must not be blank\n"},
        {"title", "\"\"", "title: must not be blank\n"},
        {"title", "\"a\\nb\"", "title: must not contain control characters\n"},
        {"title", "\"a\\u0085b\"", "title: must not contain control characters\n"},
        {"title", "null", "title: is required\n"},
        {"password", "\"abc\"", "password: must be 4 to 20 characters long\n"},
        {"password", "\"a\\nbc\"", ""},
        {"password", "\"\"", "password: must be 4 to 20 characters long\n"},
        {"note", "\"\"", ""},
        {"note", "null", ""},
        {"userId", "\"AAAAAAAAAAAAAAAAAAAAAAAA\"", ""},
        {"userId", "\"aaaaaaaaaaaaaaaaaaaaaaa\"", "userId: must be 24 hex digits\n"},
        {"userId", "\"aaaaaaaaaaaaaaaaaaaaaaaaa\"", "userId: must be 24 hex digits\n"},
        {"userId", "\"gaaaaaaaaaaaaaaaaaaaaaaa\"", "userId: must be 24 hex digits\n"},
        {"userId", "7", "userId: must be a string\n"},
        {"orderId", "\"\"", "orderId: must be 24 hex digits\n"},
        {"count", "1", ""},
        {"count", "10", ""},
        {"count", "5.0", ""},
        {"count", "1e1", ""},
        {"count", "0", "count: must be from 1 to 10\n"},
        {"count", "-0", "count: must be from 1 to 10\n"},
        {"count", "11", "count: must be from 1 to 10\n"},
        {"count", "5.5", "count: must be a whole number\n"},
        {"count", "1e300", "count: must be from 1 to 10\n"},
        {"count", "-1e300", "count: must be from 1 to 10\n"},
        {"count", "true", "count: must be a number\n"},
        {"delta", "9223372036854775807", ""},
        {"delta", "-9223372036854775808", ""},
        {"delta", "9007199254740992.0", ""},
        {"delta", "9007199254740994.0", "delta: must be a whole number\n"},
        {"delta", "9223372036854775808.0", "delta: must be a whole number\n"},
        {"delta", "1e19", "delta: must be from -9223372036854775808 to 9223372036854775807\n"},
        {"delta", "0", ""},
        {"open", "true", ""},
        {"open", "null", "open: is required\n"},
        {"open", "1", "open: must be true or false\n"},
        {"status", "\"new\"", ""},
        {"status", "\"New\"", "status: must be one of: new, old\n"},
        {"status", "\"\"", "status: must be one of: new, old\n"},
        {"reason", "\"lost\"", ""},
        {"reason", "0", "reason: must be a string\n"},
        {"expiresAt", "\"2026-01-31T12:00:00Z\"", ""},
        {"expiresAt", "\"2026-01-31T13:00:00.5+01:00\"", ""},
        {"expiresAt", "\"2026-02-30T12:00:00Z\"", "expiresAt: must be a time like 2026-01-31T12:00:00.000Z\n"},
        {"expiresAt", "\"1969-12-31T23:59:59Z\"", "expiresAt: must be a time like 2026-01-31T12:00:00.000Z\n"},
        {"place", "{\"name\":\"\"}", "place.name: must be 1 to 15 characters long\n"},
        {"place", "{\"name\":\"x\",\"row\":\"not in requests\"}", ""},
        {"place", "null", "place: is required\n"},
        {"place", "\"x\"", "place: must be an object\n"},
        {"internal", "\"only the store's\"", ""},
        {"ignored", "{\"anything\":[1,2,{}]}", ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        assert_string_equal(problems_with(cases[i].member, cases[i].json), cases[i].problem);
    }
}

static void reads_money_from_numbers_and_in_requests_from_text(void **state UNUSED)
{
    static const struct {
        const char *json;
        int64_t cents; /* 0: refused */
        const char *problem;
    } cases[] = {
        {"12", 1200, ""},
        {"12.5", 1250, ""},
        {"12.50", 1250, ""},
        {"0.01", 1, ""},
        {"1e2", 10000, ""},
        {"19.99", 1999, ""},
        {"1000000.00", 100000000, ""},
        {"0.30000000000000004", 30, ""}, /* what 0.1 + 0.2 is */
        {"\"12.50\"", 1250, ""},
        {"\"12\"", 1200, ""},
        {"12.345", 0, "price: must be a number with at most two decimals\n"},
        {"0.001", 0, "price: must be a number with at most two decimals\n"},
        {"999999.999", 0, "price: must be a number with at most two decimals\n"},
        {"\"12.345\"", 0, "price: must be a number with at most two decimals\n"},
        {"\"1,5\"", 0, "price: must be a number with at most two decimals\n"},
        {"\"\"", 0, "price: must be a number with at most two decimals\n"},
        {"0", 0, "price: must be from 0.01 to 1000000.00\n"},
        {"-1", 0, "price: must be from 0.01 to 1000000.00\n"},
        {"\"-1\"", 0, "price: must be from 0.01 to 1000000.00\n"},
        {"1000000.01", 0, "price: must be from 0.01 to 1000000.00\n"},
        {"\"99999999999999999999999\"", 0, "price: must be from 0.01 to 1000000.00\n"},
        {"9223372036854775807", 0, "price: must be from 0.01 to 1000000.00\n"},
        {"-9223372036854775808", 0, "price: must be from 0.01 to 1000000.00\n"},
        {"1e300", 0, "price: must be from 0.01 to 1000000.00\n"},
        {"true", 0, "price: must be a number\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        assert_string_equal(problems_with("price", cases[i].json), cases[i].problem);
        char text[512];
        struct sample sample;
        struct field_errors errors = FIELD_ERRORS_INIT;
        snprintf(text, sizeof(text),
                 "{\"title\":\"Jazz\",\"userId\":\"" SAMPLE_USER "\",\"price\":%s,\"count\":3,\"open\":true,"
                 "\"status\":\"new\",\"place\":{\"name\":\"hall\"}}",
                 cases[i].json);
        if (parse(IN_REQUEST, text, strlen(text), NULL, &sample, &errors)) {
            assert_int_equal(sample.price, cases[i].cents);
        }
    }
}

#define LABEL_63 "a23456789b23456789c23456789d23456789e23456789f23456789g23456789"

static void normalises_email_addresses(void **state UNUSED)
{
    static const struct {
        const char *text, *normal; /* NULL: refused */
    } cases[] = {
        {"Ann@Example.COM", "ann@example.com"},
        {"  ann@example.com\r\n", "ann@example.com"},
        {"\xc2\xa0\xe3\x80\x80"
         "a@b.c\xe3\x80\x80",
         "a@b.c"},
        {"a.b+c_d-e'f@x-y.example.org", "a.b+c_d-e'f@x-y.example.org"},
        {"J\xc3\x96RG@ex\xc3\xa4mple.de", "j\xc3\x96rg@ex\xc3\xa4mple.de"},
        {"", NULL},
        {" ", NULL},
        {"ann", NULL},
        {"@", NULL},
        {"@example.com", NULL},
        {"ann@", NULL},
        {"ann@localhost", NULL},
        {"ann@.com", NULL},
        {"ann@example.", NULL},
        {"ann@example..com", NULL},
        {"ann@-example.com", NULL},
        {"ann@example-.com", NULL},
        {"ann@exam ple.com", NULL},
        {"ann@exam_ple.com", NULL},
        {"ann@" LABEL_63 ".com", "ann@" LABEL_63 ".com"},
        {"ann@" LABEL_63 "x.com", NULL},
        {"\"ann\"@example.com", NULL},
        {"ann,bob@example.com", NULL},
        {"<ann@example.com", NULL},
        {"an n@example.com", NULL},
        {"an\xe3\x80\x80n@example.com", NULL},
        {"an\tn@example.com", NULL},
        {"an\x01n@example.com", NULL},
        {"ann@bob@example.com", NULL},
        {"ann@[127.0.0.1]", NULL},
        {"Ann <ann@example.com>", NULL},
        {"ann@example.com,bob@example.com", NULL},
        {"ann@example.com@", NULL},
    };
    static const struct field field = {
        .name = "email", .type = FIELD_EMAIL, .size = EMAIL_MAX + 1, .required = true, .in = IN_REQUEST};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char email[EMAIL_MAX + 1] = "untouched";
        struct field_errors errors = FIELD_ERRORS_INIT;
        bool valid = schema_parse_text(&field, "email", cases[i].text, email, &errors);
        assert_string_equal(email, cases[i].normal != NULL ? cases[i].normal : "untouched");
        assert_string_equal(sample_errors(&errors), valid ? "" : "email: must be a valid email address\n");
    }
}

static void bounds_the_length_of_email_addresses(void **state UNUSED)
{
    static const struct field field = {.name = "email", .type = FIELD_EMAIL, .size = EMAIL_MAX + 1, .in = IN_REQUEST};
    char text[EMAIL_MAX + 4];
    for (size_t length = EMAIL_MAX - 1; length <= EMAIL_MAX + 2; length++) {
        char email[EMAIL_MAX + 1];
        struct field_errors errors = FIELD_ERRORS_INIT;
        memset(text, 'a', length);
        memcpy(text + length - strlen("@b.c"), "@b.c", sizeof("@b.c"));
        assert_int_equal(schema_parse_text(&field, "email", text, email, &errors), length <= EMAIL_MAX);
    }
}

static void never_repeats_what_it_was_given(void **state UNUSED)
{
    static const char *const values[] = {"\"verysecretverysecretverysecretverysecret\"",
                                         "[\"verysecret\"]",
                                         "{\"verysecret\":\"verysecret\"}",
                                         "\"verysecret",
                                         "verysecret",
                                         "\"verysecret\",\"verysecret\":1,\"verysecret\":1"};
    for (const struct field *field = sample_fields; field->name != NULL; field++) {
        for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
            assert_null(strstr(problems_with(field->name, values[i]), "verysecret"));
        }
    }
    assert_string_equal(problems_with("password", values[0]), "password: must be 4 to 20 characters long\n");
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
        assert_true(parse(without[i], text, strlen(text), &head, &sample, &errors));
        assert_int_equal(head.version, 0);
        assert_false(id_is_set(&head.id));
    }
    assert_string_equal(problems_of(IN_EVENT, text), "id: must be 24 hex digits\nversion: must be a number\n");
    assert_string_equal(problems_of(IN_RESPONSE, text), "id: must be 24 hex digits\nversion: must be a number\n");
}

static void needs_nothing_but_the_head_in_an_event_of_version_0(void **state UNUSED)
{
    static const char text[] = "{\"id\":\"" SAMPLE_ID "\",\"version\":0,\"title\":5}";
    struct record head;
    struct sample sample, zero;
    struct field_errors errors = FIELD_ERRORS_INIT;
    memset(&zero, 0, sizeof(zero));
    assert_true(parse(IN_EVENT, text, strlen(text), &head, &sample, &errors));
    assert_int_equal(head.version, 0);
    assert_string_equal(head.id.hex, SAMPLE_ID);
    assert_memory_equal(&sample, &zero, sizeof(zero));
    assert_string_equal(problems_of(IN_EVENT, "{\"version\":0}") + strlen("id: "), "is required\n"
                                                                                   "title: is required\n"
                                                                                   "userId: is required\n"
                                                                                   "price: is required\n"
                                                                                   "count: is required\n"
                                                                                   "createdAt: is required\n"
                                                                                   "open: is required\n"
                                                                                   "status: is required\n"
                                                                                   "place: is required\n");
    assert_non_null(strstr(problems_of(IN_RESPONSE, text), "title: must be a string\n"));
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
        assert_int_equal(*problems_of(IN_EVENT, text) == '\0', cases[i].valid);
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

static void takes_values_from_text_by_the_same_rules(void **state UNUSED)
{
    static const struct {
        const char *path, *text, *problem;
    } cases[] = {
        {"title", "Jazz", ""},
        {"title", "J", "q: must be 2 to 5 characters long\n"},
        {"title", "\xff\xff", "q: must be valid UTF-8\n"},
        {"userId", "ABCDEFabcdef012345678901", ""},
        {"userId", "", "q: must be 24 hex digits\n"},
        {"price", "12.5", ""},
        {"price", "12.345", "q: must be a number with at most two decimals\n"},
        {"price", "0", "q: must be from 0.01 to 1000000.00\n"},
        {"count", "7", ""},
        {"count", "7.0", "q: must be a whole number\n"},
        {"count", " 7", "q: must be a whole number\n"},
        {"count", "", "q: must be a whole number\n"},
        {"count", "-", "q: must be a whole number\n"},
        {"count", "11", "q: must be from 1 to 10\n"},
        {"count", "99999999999999999999", "q: must be from 1 to 10\n"},
        {"count", "-99999999999999999999", "q: must be from 1 to 10\n"},
        {"internal", "0", "q: must be at least 1\n"},
        {"createdAt", "2026-01-31T12:00:00.000Z", ""},
        {"createdAt", "yesterday", "q: must be a time like 2026-01-31T12:00:00.000Z\n"},
        {"open", "true", ""},
        {"open", "false", ""},
        {"open", "1", "q: must be true or false\n"},
        {"status", "old", ""},
        {"status", "young", "q: must be one of: new, old\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct sample sample, before;
        struct flat_field flat;
        struct field_errors errors = FIELD_ERRORS_INIT;
        memset(&sample, 0x55, sizeof(sample));
        memset(&before, 0x55, sizeof(before));
        assert_true(table_find(&sample_table, IN_ALL, cases[i].path, &flat));
        bool valid = schema_parse_text(flat.field, "q", cases[i].text, (char *)&sample + flat.offset, &errors);
        assert_string_equal(sample_errors(&errors), cases[i].problem);
        assert_int_equal(valid, errors.count == 0);
        if (!valid) {
            assert_memory_equal(&sample, &before, sizeof(sample));
        }
    }
}

static void words_each_bound_of_a_text(void **state UNUSED)
{
    static const struct {
        int64_t min, max;
        const char *text, *problem;
    } cases[] = {
        {1, 0, "", "q: must not be empty\n"},
        {3, 0, "ab", "q: must be at least 3 characters long\n"},
        {0, 3, "abcd", "q: must be at most 3 characters long\n"},
        {0, 0, "abcdefgh", "q: must be at most 7 bytes long\n"},
        {0, 0, "abcdefg", ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char member[8];
        struct field_errors errors = FIELD_ERRORS_INIT;
        const struct field field = {.name = "t",
                                    .type = FIELD_TEXT,
                                    .size = sizeof(member),
                                    .min = cases[i].min,
                                    .max = cases[i].max,
                                    .in = IN_REQUEST};
        assert_int_equal(schema_parse_text(&field, "q", cases[i].text, member, &errors), *cases[i].problem == '\0');
        assert_string_equal(sample_errors(&errors), cases[i].problem);
    }
}

static void words_each_bound_of_a_number(void **state UNUSED)
{
    static const struct {
        enum field_type type;
        int64_t min, max;
        const char *text, *problem;
    } cases[] = {
        {FIELD_INTEGER, -5, 0, "1", "q: must be from -5 to 0\n"},
        {FIELD_INTEGER, -5, 0, "0", ""},
        {FIELD_INTEGER, 0, 0, "-1", "q: must be at least 0\n"},
        {FIELD_INTEGER, 0, 0, "9223372036854775807", ""},
        {FIELD_INTEGER, 0, 0, "9223372036854775808", "q: must be at most 9223372036854775807\n"},
        {FIELD_MONEY, 1, 0, "0", "q: must be at least 0.01\n"},
        {FIELD_MONEY, 1, 0, "9999999999999.99", ""},
        {FIELD_MONEY, 1, 0, "10000000000000", "q: must be at most 9999999999999.99\n"},
        {FIELD_MONEY, 1, INT64_MAX, "10000000000000", "q: must be from 0.01 to 9999999999999.99\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        int64_t member = 0;
        struct field_errors errors = FIELD_ERRORS_INIT;
        const struct field field = {.name = "n",
                                    .type = cases[i].type,
                                    .size = sizeof(member),
                                    .min = cases[i].min,
                                    .max = cases[i].max,
                                    .in = IN_REQUEST};
        assert_int_equal(schema_parse_text(&field, "q", cases[i].text, &member, &errors), *cases[i].problem == '\0');
        assert_string_equal(sample_errors(&errors), cases[i].problem);
    }
}

/* Amounts whose cents a double cannot hold are refused even where the table sets no limit. */
static void keeps_money_within_what_json_can_carry(void **state UNUSED)
{
    static const char *const amounts[] = {"10000000000000", "-10000000000000",   "10000000000000.0",
                                          "-1e13",          "92233720368547758", "-92233720368547759",
                                          "1e308",          "184467440737095517"};
    static const struct field fields[] = {
        {.name = "n", .type = FIELD_MONEY, .size = sizeof(int64_t), .min = INT64_MIN, .max = INT64_MAX, .in = IN_EVENT},
        {.name = NULL},
    };
    static const struct table table = {.name = "t", .size = sizeof(int64_t), .fields = fields};
    for (size_t i = 0; i < ARRAY_LENGTH(amounts); i++) {
        char text[64];
        int64_t cents;
        struct field_errors errors = FIELD_ERRORS_INIT;
        snprintf(text, sizeof(text), "{\"n\":%s}", amounts[i]);
        assert_false(schema_parse(&table, IN_EVENT, text, strlen(text), NULL, &cents, &errors));
        assert_string_equal(sample_errors(&errors), "n: must be from -9999999999999.99 to 9999999999999.99\n");
    }
}

static void does_not_take_the_empty_choice_for_one(void **state UNUSED)
{
    for (int required = 0; required < 2; required++) {
        int32_t choice = 77;
        struct field_errors errors = FIELD_ERRORS_INIT;
        const struct field field = {.name = "reason",
                                    .type = FIELD_CHOICE,
                                    .size = sizeof(choice),
                                    .required = required == 1,
                                    .in = IN_REQUEST,
                                    .choices = sample_reasons};
        assert_false(schema_parse_text(&field, "q", "", &choice, &errors));
        assert_string_equal(sample_errors(&errors), "q: must be one of: lost, found\n");
        assert_int_equal(choice, 77);
    }
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
        cmocka_unit_test(checks_each_field_by_its_rules),
        cmocka_unit_test(reads_money_from_numbers_and_in_requests_from_text),
        cmocka_unit_test(normalises_email_addresses),
        cmocka_unit_test(bounds_the_length_of_email_addresses),
        cmocka_unit_test(never_repeats_what_it_was_given),
        cmocka_unit_test(reads_the_head_in_events_and_answers_only),
        cmocka_unit_test(needs_nothing_but_the_head_in_an_event_of_version_0),
        cmocka_unit_test(bounds_versions_to_what_all_readers_can_hold),
        cmocka_unit_test(reads_an_object_inside_the_document),
        cmocka_unit_test(lends_a_string_member_of_any_length),
        cmocka_unit_test(leaves_no_document_behind_when_it_fails),
        cmocka_unit_test(takes_values_from_text_by_the_same_rules),
        cmocka_unit_test(words_each_bound_of_a_text),
        cmocka_unit_test(words_each_bound_of_a_number),
        cmocka_unit_test(keeps_money_within_what_json_can_carry),
        cmocka_unit_test(does_not_take_the_empty_choice_for_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
