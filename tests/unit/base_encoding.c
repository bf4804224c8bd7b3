/* SPDX-License-Identifier: Apache-2.0
 * Tests of base64 and of URL decoding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"

static void encodes_and_decodes_the_vectors_of_rfc_4648(void **state UNUSED)
{
    static const struct {
        const char *data;
        const char *base64;
        const char *base64url;
    } cases[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
        {"\xfb\xff\xfe", "+//+", "-__-"},
        {"\xfb\xf0", "+/A=", "-_A"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        size_t length = strlen(cases[i].data);
        CLEANUP(free_pointer) char *base64 = text_to_base64(cases[i].data, length);
        CLEANUP(free_pointer) char *base64url = text_to_base64url(cases[i].data, length);
        assert_string_equal(base64, cases[i].base64);
        assert_string_equal(base64url, cases[i].base64url);
        const char *const encoded[] = {base64, base64url};
        for (size_t form = 0; form < ARRAY_LENGTH(encoded); form++) {
            CLEANUP(free_pointer) char *data = NULL;
            size_t decoded_length = SIZE_MAX;
            assert_true(text_from_base64(encoded[form], &data, &decoded_length));
            assert_int_equal(decoded_length, length);
            assert_string_equal(data, cases[i].data);
        }
    }
}

static void brings_every_byte_back(void **state UNUSED)
{
    unsigned char bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)i;
    }
    for (size_t length = 0; length <= sizeof bytes; length++) {
        CLEANUP(free_pointer) char *text = text_to_base64(bytes + sizeof bytes - length, length);
        CLEANUP(free_pointer) char *data = NULL;
        size_t decoded_length;
        assert_true(text_from_base64(text, &data, &decoded_length));
        assert_int_equal(decoded_length, length);
        assert_memory_equal(data, bytes + sizeof bytes - length, length);
        assert_int_equal(data[length], '\0');
    }
}

static void refuses_what_no_base64_encoder_writes(void **state UNUSED)
{
    static const char *const cases[] = {
        "A",     "AAAAA",  "=",    "==",    "A=",   "A==",    "A===",  "Zg=",    "Zm8==",
        "Zm9v=", "Zm9v==", "====", "Zg===", "Z=g=", "Zg==Zg", "Zg ==", "Zm9v\n", " Zm9v",
        "Zm9*",  "Zm9v.",  "+_AA", "-/AA",  "Zh==", "Zh",     "Zm9=",  "Zm9",    "Zm\xc3\xa9",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char untouched[] = "untouched";
        char *data = untouched;
        size_t length = 42;
        if (text_from_base64(cases[i], &data, &length)) {
            fail_msg("\"%s\" is taken for base64", cases[i]);
        }
        assert_ptr_equal(data, untouched);
        assert_int_equal(length, 42);
    }
}

static void decodes_url_escapes(void **state UNUSED)
{
    static const struct {
        const char *text;
        bool plus_is_space;
        const char *expected; /* NULL: refused */
    } cases[] = {
        {"", false, ""},         {"plain", false, "plain"}, {"a%20b", false, "a b"}, {"a+b", false, "a+b"},
        {"a+b", true, "a b"},    {"a%2Bb", true, "a+b"},    {"%c3%A9", false, "é"},  {"%25", false, "%"},
        {"%2525", false, "%25"}, {"100%", false, NULL},     {"%2", false, NULL},     {"%", false, NULL},
        {"%zz", false, NULL},    {"%2g", false, NULL},      {"%%20", false, NULL},   {"%00", false, NULL},
        {"a%00b", false, NULL},  {"%c3", false, NULL},      {"%ff", false, NULL},    {"\xff", false, NULL},
        {"%c0%af", false, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(free_pointer) char *decoded = NULL;
        bool is_decoded = text_url_decode(cases[i].text, strlen(cases[i].text), cases[i].plus_is_space, &decoded);
        if (is_decoded != (cases[i].expected != NULL) || (decoded != NULL) != is_decoded) {
            fail_msg("\"%s\": decoded %d", cases[i].text, is_decoded);
        }
        if (is_decoded) {
            assert_string_equal(decoded, cases[i].expected);
        }
    }
}

static void decodes_no_further_than_the_given_length(void **state UNUSED)
{
    CLEANUP(free_pointer) char *decoded = NULL;
    assert_true(text_url_decode("ab%20", 2, false, &decoded));
    assert_string_equal(decoded, "ab");
    char *untouched = NULL;
    assert_false(text_url_decode("ab%20", 4, false, &untouched));
    assert_false(text_url_decode("a\0b", 3, false, &untouched));
    assert_null(untouched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_and_decodes_the_vectors_of_rfc_4648), cmocka_unit_test(brings_every_byte_back),
        cmocka_unit_test(refuses_what_no_base64_encoder_writes),       cmocka_unit_test(decodes_url_escapes),
        cmocka_unit_test(decodes_no_further_than_the_given_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
