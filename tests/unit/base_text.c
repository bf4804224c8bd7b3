/* SPDX-License-Identifier: Apache-2.0
 * Tests of copying, UTF-8, numbers and searching in texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"

static void copies_what_fits_and_nothing_of_what_does_not(void **state UNUSED)
{
    char copy[5] = "old";
    assert_true(text_copy(copy, sizeof copy, "four"));
    assert_string_equal(copy, "four");
    assert_false(text_copy(copy, sizeof copy, "fiver"));
    assert_string_equal(copy, "");
    assert_true(text_copy(copy, 1, ""));
    assert_false(text_copy(copy, 0, ""));
}

static void cuts_between_characters_and_never_within_one(void **state UNUSED)
{
    static const struct {
        const char *text;
        size_t size;
        const char *expected;
    } cases[] = {
        {"abc", 4, "abc"},
        {"abcd", 4, "abc"},
        {"abc", 1, ""},
        {"aé", 4, "aé"},
        {"aé", 3, "a"},
        {"aéb", 4, "aé"},
        {"a€", 4, "a"},
        {"a€", 3, "a"},
        {"a😀", 5, "a"},
        {"a😀", 6, "a😀"},
        {"😀", 4, ""},
        {"€€", 4, "€"},
        /* Not UTF-8: nothing is gained by cutting further back. */
        {"\x80\x80\x80\x80\x80\x80", 6, "\x80\x80\x80\x80\x80"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char copy[16] = "unchanged";
        text_copy_cut(copy, cases[i].size, cases[i].text);
        assert_string_equal(copy, cases[i].expected);
    }
    char untouched[] = "x";
    text_copy_cut(untouched, 0, "abc");
    assert_string_equal(untouched, "x");
}

static void compares_texts(void **state UNUSED)
{
    assert_true(text_equal("a", "a"));
    assert_false(text_equal("a", "A"));
    assert_false(text_equal("a", "ab"));
    assert_true(text_equal_ignore_case("Content-TYPE", "content-type"));
    assert_false(text_equal_ignore_case("content", "content-type"));
    assert_false(text_equal_ignore_case("content-type", "content"));
    /* '[' and '{', '@' and '`' differ in the same bit as the cases of a letter do. */
    assert_false(text_equal_ignore_case("[", "{"));
    assert_false(text_equal_ignore_case("@", "`"));
    assert_false(text_equal_ignore_case("É", "é"));
    assert_true(text_starts_with("stan://x", "stan://"));
    assert_true(text_starts_with("x", ""));
    assert_false(text_starts_with("sta", "stan"));
}

static void tells_utf8_from_what_only_looks_like_it(void **state UNUSED)
{
    static const struct {
        const char *text;
        size_t length;
        bool is_valid;
    } cases[] = {
        {"", 0, true},
        {"plain", 5, true},
        {"a\0b", 3, true},
        {"\xc2\x80", 2, true},
        {"\xdf\xbf", 2, true},
        {"\xe0\xa0\x80", 3, true},
        {"\xed\x9f\xbf", 3, true},
        {"\xee\x80\x80", 3, true},
        {"\xef\xbf\xbf", 3, true},
        {"\xf0\x90\x80\x80", 4, true},
        {"\xf4\x8f\xbf\xbf", 4, true},
        {"\x80", 1, false},                 /* a continuation alone */
        {"\xc0\x80", 2, false},             /* overlong NUL */
        {"\xc1\xbf", 2, false},             /* overlong DEL */
        {"\xe0\x80\x80", 3, false},         /* overlong */
        {"\xe0\x9f\xbf", 3, false},         /* overlong */
        {"\xf0\x8f\xbf\xbf", 4, false},     /* overlong */
        {"\xed\xa0\x80", 3, false},         /* U+D800 */
        {"\xed\xbf\xbf", 3, false},         /* U+DFFF */
        {"\xf4\x90\x80\x80", 4, false},     /* U+110000 */
        {"\xf5\x80\x80\x80", 4, false},     /* no such lead byte */
        {"\xf8\x88\x80\x80\x80", 5, false}, /* five bytes */
        {"\xff", 1, false},
        {"\xc3", 1, false},             /* cut short */
        {"\xe2\x82", 2, false},         /* cut short */
        {"\xf0\x9f\x98", 3, false},     /* cut short */
        {"\xc3z", 2, false},            /* no continuation */
        {"\xe2\x82z", 3, false},        /* no continuation */
        {"\xf0\x9f\x98z", 4, false},    /* no continuation */
        {"\xe2\x82\xc3\xa9", 4, false}, /* a new lead byte too early */
        {"ok\xfe", 3, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        if (text_is_utf8(cases[i].text, cases[i].length) != cases[i].is_valid) {
            fail_msg("case %zu: expected %s", i, cases[i].is_valid ? "valid" : "invalid");
        }
    }
}

static void decodes_every_code_point_that_was_encoded(void **state UNUSED)
{
    for (uint32_t expected = 0; expected <= 0x10ffff; expected++) {
        char text[4];
        size_t length;
        if (expected < 0x80) {
            length = 1;
            text[0] = (char)expected;
        } else {
            static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
            length = expected < 0x800 ? 2 : expected < 0x10000 ? 3 : 4;
            uint32_t rest = expected;
            for (size_t i = length - 1; i > 0; i--) {
                text[i] = (char)(0x80 | (rest & 0x3f));
                rest >>= 6;
            }
            text[0] = (char)(leads[length] | rest);
        }
        bool is_surrogate = expected >= 0xd800 && expected <= 0xdfff;
        uint32_t found = UINT32_MAX;
        size_t taken = text_decode_utf8(text, length, &found);
        if (is_surrogate ? taken != 0 || found != UINT32_MAX : taken != length || found != expected) {
            fail_msg("U+%04X: %zu bytes, U+%04X", (unsigned)expected, taken, (unsigned)found);
        }
    }
}

static void escapes_what_could_forge_a_line(void **state UNUSED)
{
    static const struct {
        const char *text;
        size_t taken;
        const char *piece;
    } cases[] = {
        {"a", 1, "a"},
        {"\n", 1, "\\x0a"},
        {"\x1b[0m", 1, "\\x1b"},
        {"\x7f", 1, "\\x7f"},
        {"\\", 1, "\\"},
        {"é", 2, "é"},
        {"😀", 4, "😀"},
        {"\xc2\x85", 2, "\\xc2\\x85"},
        {"\xe2\x80\xa8", 3, "\\xe2\\x80\\xa8"},
        {"\xe2\x80", 1, "\\xe2"},
        {"\xff", 1, "\\xff"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char piece[TEXT_ESCAPED_MAX + 1];
        size_t taken = text_escape_next(cases[i].text, strlen(cases[i].text), piece);
        assert_string_equal(piece, cases[i].piece);
        assert_int_equal(taken, cases[i].taken);
    }
}

static void counts_characters_and_not_bytes(void **state UNUSED)
{
    assert_int_equal(text_length_utf8("", 0), 0);
    assert_int_equal(text_length_utf8("abc", 3), 3);
    assert_int_equal(text_length_utf8("aé€😀", 10), 4);
    assert_int_equal(text_length_utf8("a\0b", 3), 3);
}

static void finds_control_characters(void **state UNUSED)
{
    static const struct {
        const char *text;
        size_t length;
        bool expected;
    } cases[] = {
        {"", 0, false},
        {"plain text é€😀", 18, false},
        {"a\0b", 3, true},
        {"\t", 1, true},
        {"a\n", 2, true},
        {"\x1f", 1, true},
        {" ", 1, false},
        {"~", 1, false},
        {"\x7f", 1, true},
        {"\xc2\x80", 2, true},
        {"\xc2\x9f", 2, true},
        {"\xc2\xa0", 2, false},
        {"é\xc2\x85", 4, true},
        /* The continuation bytes of these lie where control characters would be in Latin-1. */
        {"\xe2\x82\x80", 3, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        if (text_has_control(cases[i].text, cases[i].length) != cases[i].expected) {
            fail_msg("case %zu: expected %d", i, cases[i].expected);
        }
    }
}

static void knows_all_white_space_and_nothing_else(void **state UNUSED)
{
    static const char *const blank[] = {
        "",
        " ",
        "\t\n\v\f\r",
        "\xc2\x85",
        "\xc2\xa0",
        "\xe1\x9a\x80",
        "\xe2\x80\x80",
        "\xe2\x80\x8a",
        "\xe2\x80\xa8",
        "\xe2\x80\xa9",
        "\xe2\x80\xaf",
        "\xe2\x81\x9f",
        "\xe3\x80\x80",
        " \xc2\xa0\xe3\x80\x80 ",
    };
    static const char *const not_blank[] = {
        "a",
        " a",
        "\xc2\xa0x",
        "\x1f",
        "\xe2\x80\x8b" /* zero width space is none */,
        "\xef\xbb\xbf",
        "\xe1\xa0\x8e",
        "\xff",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(blank); i++) {
        if (!text_is_blank(blank[i], strlen(blank[i]))) {
            fail_msg("blank %zu is taken for text", i);
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(not_blank); i++) {
        if (text_is_blank(not_blank[i], strlen(not_blank[i]))) {
            fail_msg("text %zu is taken for blank", i);
        }
    }
    assert_false(text_is_blank(" \0 ", 3));
}

static void finds_a_part_whatever_its_case(void **state UNUSED)
{
    static const struct {
        const char *text;
        const char *part;
        bool expected;
    } cases[] = {
        {"Concert", "CERT", true},
        {"Concert", "", true},
        {"", "", true},
        {"", "a", false},
        {"Concert", "concerto", false},
        {"aaab", "AAB", true},
        {"[x", "{X", false},
        {"CAFÉ", "café", true},
        {"ÀÖØÞ", "àöøþ", true},
        {"×", "÷", false}, /* between the letters, and none */
        {"ÿ", "Ÿ", true},
        {"ŁÓDŹ", "łódź", true},
        {"ĲSBEER", "ĳsbeer", true},
        {"ĸ", "Ĺ", false}, /* where the pairs change from even to odd */
        {"Ňŉ", "ňŉ", true},
        {"ſ", "S", true},
        {"µ", "Μ", true}, /* micro sign, capital mu */
        {"ΟΔΥΣΣΕΥΣ", "οδυσσευς", true},
        {"Άλφα", "ΆΛΦΑ", true},
        {"ЖЁЛТЫЙ", "жёлтый", true},
        {"Ѐ", "ѐ", true},
        {"Ґ", "ґ", true},
        {"VIỆT", "việt", true},
        {"Å", "å", true}, /* Angstrom sign, a with ring */
        {"ẞ", "ß", true},
        {"Straße", "STRASSE", false}, /* simple folding maps one to one */
        {"İ", "i", false},
        {"😀A", "😀a", true},
        {"日本語", "本", true},
        {"é", "\xa9", false},         /* not within a character */
        {"ababababc", "ABABC", true}, /* begins again within what it has found */
        {"abababab", "ababc", false},
        {"ааБааБааа", "ААбАаА", true},
        {"aabaabaaab", "aabaaab", true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        if (text_contains_folded(cases[i].text, cases[i].part) != cases[i].expected) {
            fail_msg("\"%s\" in \"%s\": expected %d", cases[i].part, cases[i].text, cases[i].expected);
        }
    }
}

static void finds_parts_in_time_that_grows_with_the_length_and_not_with_its_square(void **state UNUSED)
{
    enum { LENGTH = 1 << 20, HANGS_S = 60 };
    char *text = xmalloc(LENGTH + 1);
    char *part = xmalloc(LENGTH / 2 + 1);
    memset(text, 'a', LENGTH);
    memset(part, 'A', LENGTH / 2);
    text[LENGTH] = '\0';
    part[LENGTH / 2] = '\0';
    part[LENGTH / 2 - 1] = 'b';
    alarm(HANGS_S); /* ends the program, which fails the test */
    assert_false(text_contains_folded(text, part));
    text[LENGTH - 1] = 'B';
    assert_true(text_contains_folded(text, part));
    alarm(0);
    xfree(text);
    xfree(part);
}

static void reads_signed_numbers_in_their_range_only(void **state UNUSED)
{
    static const struct {
        const char *text;
        int64_t min, max;
        bool is_number;
        int64_t expected;
    } cases[] = {
        {"0", 0, 10, true, 0},
        {"10", 0, 10, true, 10},
        {"11", 0, 10, false, 0},
        {"-1", 0, 10, false, 0},
        {"-1", -1, 10, true, -1},
        {"007", 0, 10, true, 7},
        {"-0", 0, 10, true, 0},
        {"9223372036854775807", INT64_MIN, INT64_MAX, true, INT64_MAX},
        {"9223372036854775808", INT64_MIN, INT64_MAX, false, 0},
        {"-9223372036854775807", INT64_MIN, INT64_MAX, true, -INT64_MAX},
        {"-9223372036854775808", INT64_MIN, INT64_MAX, true, INT64_MIN},
        {"-9223372036854775809", INT64_MIN, INT64_MAX, false, 0},
        {"99999999999999999999999", INT64_MIN, INT64_MAX, false, 0},
        {"", INT64_MIN, INT64_MAX, false, 0},
        {"-", INT64_MIN, INT64_MAX, false, 0},
        {"--1", INT64_MIN, INT64_MAX, false, 0},
        {"+1", INT64_MIN, INT64_MAX, false, 0},
        {" 1", INT64_MIN, INT64_MAX, false, 0},
        {"1 ", INT64_MIN, INT64_MAX, false, 0},
        {"1.0", INT64_MIN, INT64_MAX, false, 0},
        {"0x1", INT64_MIN, INT64_MAX, false, 0},
        {"1e3", INT64_MIN, INT64_MAX, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        int64_t number = 42;
        bool is_number = text_to_int64(cases[i].text, cases[i].min, cases[i].max, &number);
        int64_t expected = cases[i].is_number ? cases[i].expected : 42;
        if (is_number != cases[i].is_number || number != expected) {
            fail_msg("\"%s\": %d, %lld", cases[i].text, is_number, (long long)number);
        }
    }
}

static void reads_unsigned_numbers_in_their_range_only(void **state UNUSED)
{
    static const struct {
        const char *text;
        uint64_t max;
        bool is_number;
        uint64_t expected;
    } cases[] = {
        {"0", 0, true, 0},
        {"1", 0, false, 0},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"18446744073709551620", UINT64_MAX, false, 0},
        {"184467440737095516150", UINT64_MAX, false, 0},
        {"-1", UINT64_MAX, false, 0},
        {"", UINT64_MAX, false, 0},
        {"1a", UINT64_MAX, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        uint64_t number = 42;
        bool is_number = text_to_uint64(cases[i].text, cases[i].max, &number);
        uint64_t expected = cases[i].is_number ? cases[i].expected : 42;
        if (is_number != cases[i].is_number || number != expected) {
            fail_msg("\"%s\": %d, %llu", cases[i].text, is_number, (unsigned long long)number);
        }
    }
}

static void hashes_as_fnv_1a_does(void **state UNUSED)
{
    assert_true(text_hash("", 0) == UINT64_C(0xcbf29ce484222325));
    assert_true(text_hash("a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(text_hash("foobar", 6) == UINT64_C(0x85944171f73967e8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_what_fits_and_nothing_of_what_does_not),
        cmocka_unit_test(cuts_between_characters_and_never_within_one),
        cmocka_unit_test(compares_texts),
        cmocka_unit_test(tells_utf8_from_what_only_looks_like_it),
        cmocka_unit_test(decodes_every_code_point_that_was_encoded),
        cmocka_unit_test(escapes_what_could_forge_a_line),
        cmocka_unit_test(counts_characters_and_not_bytes),
        cmocka_unit_test(finds_control_characters),
        cmocka_unit_test(knows_all_white_space_and_nothing_else),
        cmocka_unit_test(finds_a_part_whatever_its_case),
        cmocka_unit_test(finds_parts_in_time_that_grows_with_the_length_and_not_with_its_square),
        cmocka_unit_test(reads_signed_numbers_in_their_range_only),
        cmocka_unit_test(reads_unsigned_numbers_in_their_range_only),
        cmocka_unit_test(hashes_as_fnv_1a_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
