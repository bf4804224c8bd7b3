/* SPDX-License-Identifier: Apache-2.0
 * Tests of money: cents are exact on every way in and out. */
#include "common/schema/money.h"

#include <stdlib.h>

#include "tests/unit/schema_fixture.h"

static void reads_decimal_text(void **state UNUSED)
{
    static const struct {
        const char *text;
        int64_t cents; /* -1: refused */
    } cases[] = {
        {"12.50", 1250},
        {"12.5", 1250},
        {"12", 1200},
        {"0", 0},
        {"0.01", 1},
        {"0.1", 10},
        {"007.50", 750},
        {"9999999999999.99", MONEY_CENTS_MAX},
        {"10000000000000", -1},
        {"10000000000000.00", -1},
        {"99999999999999999999999999", -1},
        {"18446744073709551616", -1},
        {"", -1},
        {".", -1},
        {".5", -1},
        {"5.", -1},
        {"12.345", -1},
        {"12.500", -1},
        {"1.2.3", -1},
        {"-1", -1},
        {"-0", -1},
        {"+1", -1},
        {" 1", -1},
        {"1 ", -1},
        {"1e2", -1},
        {"1,5", -1},
        {"0x10", -1},
        {"\xd9\xa1", -1}, /* a digit, but not ASCII */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        int64_t cents = -77;
        bool valid = money_from_text(cases[i].text, &cents);
        assert_int_equal(valid, cases[i].cents >= 0);
        assert_int_equal(cents, valid ? cases[i].cents : -77);
    }
}

static void prints_the_shortest_number(void **state UNUSED)
{
    static const struct {
        int64_t cents;
        const char *number, *text;
    } cases[] = {
        {0, "0", "0.00"},
        {1, "0.01", "0.01"},
        {10, "0.1", "0.10"},
        {1250, "12.5", "12.50"},
        {1200, "12", "12.00"},
        {1205, "12.05", "12.05"},
        {-5, "-0.05", "-0.05"},
        {-1250, "-12.5", "-12.50"},
        {100000000, "1000000", "1000000.00"},
        {INT64_MAX, "92233720368547758.07", "92233720368547758.07"},
        {INT64_MIN, "-92233720368547758.08", "-92233720368547758.08"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char text[MONEY_TEXT_SIZE];
        struct buffer number = BUFFER_INIT(MONEY_TEXT_SIZE);
        money_print(cases[i].cents, &number);
        money_to_text(cases[i].cents, text);
        assert_string_equal(buffer_text(&number), cases[i].number);
        assert_string_equal(text, cases[i].text);
        buffer_done(&number);
    }
}

static void comes_back(int64_t cents)
{
    struct buffer text = BUFFER_INIT(MONEY_TEXT_SIZE);
    int64_t from_number = -1, from_text = -1;
    money_print(cents, &text);
    enum money_result result = money_from_double(strtod(buffer_text(&text), NULL), &from_number);
    assert_int_equal(result, MONEY_VALID);
    assert_int_equal(from_number, cents);
    result = money_scan(buffer_text(&text), &from_text);
    assert_int_equal(result, MONEY_VALID);
    assert_int_equal(from_text, cents);
    buffer_done(&text);
}

static void brings_every_amount_back_from_json_as_it_was(void **state UNUSED)
{
    for (int64_t cents = 0; cents <= 1000000; cents++) {
        comes_back(cents);
    }
    uint64_t seed = 1;
    for (int i = 0; i < 200000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        int64_t cents = (int64_t)(seed >> (14 + i % 48)) % MONEY_CENTS_MAX;
        comes_back(i % 2 == 0 ? cents : -cents);
    }
    comes_back(MONEY_CENTS_MAX);
    comes_back(-MONEY_CENTS_MAX);
}

static void refuses_a_third_decimal_however_large_the_amount(void **state UNUSED)
{
    for (double amount = 0; amount < 4e12; amount = amount * 3 + 1) {
        for (int third = 1; third < 10; third++) {
            char text[64];
            int64_t cents = 0;
            snprintf(text, sizeof(text), "%.0f.12%d", amount, third);
            enum money_result result = money_from_double(strtod(text, NULL), &cents);
            assert_int_equal(result, MONEY_MALFORMED);
        }
    }
}

static void forgives_what_binary_sums_leave(void **state UNUSED)
{
    static const struct {
        double number;
        int64_t cents;
    } cases[] = {
        {0.1 + 0.2, 30}, {0.7 + 0.1, 80}, {1.1 + 2.2, 330}, {3 * 1.1, 330}, {1.005 * 1000, 100500}, {4.35 * 100, 43500},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        int64_t cents = 0;
        enum money_result result = money_from_double(cases[i].number, &cents);
        assert_int_equal(result, MONEY_VALID);
        assert_int_equal(cents, cases[i].cents);
    }
}

static void tells_too_large_from_too_small(void **state UNUSED)
{
    static const struct {
        const char *text;
        enum money_result result;
    } cases[] = {
        {"9999999999999.99", MONEY_VALID},
        {"10000000000000", MONEY_TOO_LARGE},
        {"1000000000000000", MONEY_TOO_LARGE},
        {"-9999999999999.99", MONEY_VALID},
        {"-10000000000000", MONEY_TOO_SMALL},
        {"--1", MONEY_MALFORMED},
        {"-", MONEY_MALFORMED},
        {"99999999999999999999x", MONEY_MALFORMED},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        int64_t cents = 0;
        enum money_result result = money_scan(cases[i].text, &cents);
        assert_int_equal(result, cases[i].result);
        if (result != MONEY_MALFORMED) {
            result = money_from_double(strtod(cases[i].text, NULL), &cents);
            assert_int_equal(result, cases[i].result);
        }
    }
    int64_t cents = 0;
    enum money_result result = money_from_double(1e308, &cents);
    assert_int_equal(result, MONEY_TOO_LARGE);
    result = money_from_double(-1e308, &cents);
    assert_int_equal(result, MONEY_TOO_SMALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_decimal_text),
        cmocka_unit_test(prints_the_shortest_number),
        cmocka_unit_test(brings_every_amount_back_from_json_as_it_was),
        cmocka_unit_test(refuses_a_third_decimal_however_large_the_amount),
        cmocka_unit_test(forgives_what_binary_sums_leave),
        cmocka_unit_test(tells_too_large_from_too_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
