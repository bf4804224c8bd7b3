/* SPDX-License-Identifier: Apache-2.0
 * Tests of the rules of each kind of field: what is taken, what is refused, and in which words. */
#include "tests/unit/schema_fixture.h"

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
        assert_string_equal(sample_problems_with(cases[i].member, cases[i].json), cases[i].problem);
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
        assert_string_equal(sample_problems_with("price", cases[i].json), cases[i].problem);
        char text[512];
        struct sample sample;
        struct field_errors errors = FIELD_ERRORS_INIT;
        snprintf(text, sizeof(text),
                 "{\"title\":\"Jazz\",\"userId\":\"" SAMPLE_USER "\",\"price\":%s,\"count\":3,\"open\":true,"
                 "\"status\":\"new\",\"place\":{\"name\":\"hall\"}}",
                 cases[i].json);
        if (sample_parse(IN_REQUEST, text, strlen(text), NULL, &sample, &errors)) {
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
            assert_null(strstr(sample_problems_with(field->name, values[i]), "verysecret"));
        }
    }
    assert_string_equal(sample_problems_with("password", values[0]), "password: must be 4 to 20 characters long\n");
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
        cmocka_unit_test(checks_each_field_by_its_rules),
        cmocka_unit_test(reads_money_from_numbers_and_in_requests_from_text),
        cmocka_unit_test(normalises_email_addresses),
        cmocka_unit_test(bounds_the_length_of_email_addresses),
        cmocka_unit_test(never_repeats_what_it_was_given),
        cmocka_unit_test(takes_values_from_text_by_the_same_rules),
        cmocka_unit_test(words_each_bound_of_a_text),
        cmocka_unit_test(words_each_bound_of_a_number),
        cmocka_unit_test(keeps_money_within_what_json_can_carry),
        cmocka_unit_test(does_not_take_the_empty_choice_for_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
