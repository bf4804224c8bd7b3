/* SPDX-License-Identifier: Apache-2.0
 * Tests of the growing buffer and its limit, and of the errors' texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/base/memory.h"
#include "common/base/text.h"

static void is_an_empty_text_from_the_start(void **state UNUSED)
{
    CLEANUP(buffer_done) struct buffer buffer = BUFFER_INIT(10);
    assert_string_equal(buffer_text(&buffer), "");
    buffer_append(&buffer, NULL, 0);
    buffer_append_text(&buffer, "");
    buffer_printf(&buffer, "%s", "");
    assert_string_equal(buffer_text(&buffer), "");
    assert_int_equal(buffer.length, 0);
    assert_false(buffer.overflowed);
}

static void appends_pieces_of_every_kind(void **state UNUSED)
{
    CLEANUP(buffer_done) struct buffer buffer = BUFFER_INIT(100);
    buffer_append_text(&buffer, "one");
    buffer_append_char(&buffer, ',');
    buffer_append(&buffer, "two!", 3);
    buffer_printf(&buffer, ",%d", 3);
    assert_string_equal(buffer_text(&buffer), "one,two,3");
    assert_int_equal(buffer.length, 9);
    buffer_append(&buffer, "\0x", 2);
    assert_int_equal(buffer.length, 11);
    assert_memory_equal(buffer.data, "one,two,3\0x", 12);
}

static void grows_up_to_its_limit_exactly(void **state UNUSED)
{
    static const size_t limits[] = {0, 1, 127, 128, 129, 255, 256, 1000};
    for (size_t i = 0; i < ARRAY_LENGTH(limits); i++) {
        CLEANUP(buffer_done) struct buffer buffer = BUFFER_INIT(limits[i]);
        for (size_t count = 0; count < limits[i]; count++) {
            buffer_append_char(&buffer, 'x');
        }
        assert_int_equal(buffer.length, limits[i]);
        assert_false(buffer.overflowed);
        assert_true(buffer.capacity <= limits[i] + 1);
        buffer_append_char(&buffer, 'y');
        assert_true(buffer.overflowed);
        assert_int_equal(buffer.length, limits[i]);
    }
}

static void stores_nothing_from_the_first_piece_that_does_not_fit(void **state UNUSED)
{
    CLEANUP(buffer_done) struct buffer buffer = BUFFER_INIT(5);
    buffer_append_text(&buffer, "abc");
    buffer_append_text(&buffer, "def");
    assert_true(buffer.overflowed);
    assert_string_equal(buffer_text(&buffer), "abc");
    buffer_append_text(&buffer, "d"); /* would fit, but would hide the hole */
    assert_string_equal(buffer_text(&buffer), "abc");
    buffer_printf(&buffer, "%d", 1);
    assert_string_equal(buffer_text(&buffer), "abc");
    buffer_clear(&buffer);
    assert_false(buffer.overflowed);
    assert_string_equal(buffer_text(&buffer), "");
    buffer_printf(&buffer, "%s", "12345");
    assert_string_equal(buffer_text(&buffer), "12345");
    buffer_append(&buffer, "", SIZE_MAX); /* no sum of lengths may wrap around */
    assert_true(buffer.overflowed);
}

static void quotes_and_escapes_json_strings(void **state UNUSED)
{
    static const struct {
        const char *text;
        size_t length;
        const char *expected;
    } cases[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
        {"\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\""},
        {"a\0b\x1f", 4, "\"a\\u0000b\\u001f\""},
        {"é€😀", 9, "\"é€😀\""},
        {"end\n", 4, "\"end\\n\""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(buffer_done) struct buffer buffer = BUFFER_INIT(100);
        buffer_append_json_string(&buffer, cases[i].text, cases[i].length);
        assert_string_equal(buffer_text(&buffer), cases[i].expected);
    }
}

static void stores_nothing_of_a_json_string_that_does_not_fit(void **state UNUSED)
{
    for (size_t limit = 0; limit < 6; limit++) {
        CLEANUP(buffer_done) struct buffer buffer = BUFFER_INIT(limit);
        buffer_append_json_string(&buffer, "a\nb", 3);
        assert_true(buffer.overflowed);
        assert_int_equal(buffer.length, 0);
        assert_string_equal(buffer_text(&buffer), "");
    }
    CLEANUP(buffer_done) struct buffer buffer = BUFFER_INIT(8);
    buffer_append_text(&buffer, "x:");
    buffer_append_json_string(&buffer, "a\nb", 3);
    assert_false(buffer.overflowed);
    assert_string_equal(buffer_text(&buffer), "x:\"a\\nb\"");
    buffer_append_json_string(&buffer, "", 0);
    assert_true(buffer.overflowed);
    assert_string_equal(buffer_text(&buffer), "x:\"a\\nb\"");
}

static void can_be_used_again_after_it_was_freed(void **state UNUSED)
{
    struct buffer buffer = BUFFER_INIT(10);
    buffer_append_text(&buffer, "abc");
    buffer_done(&buffer);
    assert_null(buffer.data);
    buffer_append_text(&buffer, "def");
    assert_string_equal(buffer_text(&buffer), "def");
    buffer_done(&buffer);
    buffer_done(&buffer);
}

static void an_error_says_what_happened_and_where(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    assert_false(error_set(&error, ERROR_CONFLICT, "version %d is taken", 3));
    assert_int_equal(error.code, ERROR_CONFLICT);
    assert_string_equal(error.message, "version 3 is taken");
    assert_false(error_prefix(&error, "ticket %s", "abc"));
    assert_int_equal(error.code, ERROR_CONFLICT);
    assert_string_equal(error.message, "ticket abc: version 3 is taken");
    assert_false(error_set(&error, ERROR_INTERNAL, "again: %s", error.message));
    assert_string_equal(error.message, "again: ticket abc: version 3 is taken");
    assert_false(error_set(NULL, ERROR_INTERNAL, "nobody asked"));
    assert_false(error_prefix(NULL, "nobody asked"));
}

static void an_error_cuts_long_texts_between_characters(void **state UNUSED)
{
    char text[3 * ERROR_MESSAGE_MAX];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    struct error error = ERROR_INIT;
    assert_false(error_set(&error, ERROR_INVALID, "%s", text));
    assert_int_equal(strlen(error.message), ERROR_MESSAGE_MAX - 1);
    assert_false(error_prefix(&error, "%s", text));
    assert_int_equal(strlen(error.message), ERROR_MESSAGE_MAX - 1);
    for (size_t shift = 0; shift < 4; shift++) {
        char wide[2 * ERROR_MESSAGE_MAX] = "abc";
        size_t length = shift;
        while (length + 4 < sizeof wide) {
            memcpy(wide + length, "😀", 5);
            length += 4;
        }
        assert_false(error_set(&error, ERROR_INVALID, "%s", wide));
        assert_true(text_is_utf8(error.message, strlen(error.message)));
        assert_in_range(strlen(error.message), ERROR_MESSAGE_MAX - 4, ERROR_MESSAGE_MAX - 1);
        assert_false(error_prefix(&error, "%s", wide));
        assert_true(text_is_utf8(error.message, strlen(error.message)));
    }
}

static void every_error_code_has_a_name_of_its_own(void **state UNUSED)
{
    for (int a = ERROR_NONE; a <= ERROR_INTERNAL; a++) {
        assert_string_not_equal(error_code_name((enum error_code)a), "unknown");
        for (int b = ERROR_NONE; b < a; b++) {
            assert_string_not_equal(error_code_name((enum error_code)a), error_code_name((enum error_code)b));
        }
    }
    assert_string_equal(error_code_name(ERROR_UNAVAILABLE), "unavailable");
}

static void memory_is_copied_and_freed(void **state UNUSED)
{
    CLEANUP(free_pointer) char *all = xstrdup("text");
    CLEANUP(free_pointer) char *some = xstrndup("text", 2);
    CLEANUP(free_pointer) char *more = xstrndup("text", 20);
    CLEANUP(free_pointer) char *bytes = xmemdup("a\0b", 3);
    CLEANUP(free_pointer) char *formatted = xasprintf("%s %d", "text", 5);
    assert_string_equal(all, "text");
    assert_string_equal(some, "te");
    assert_string_equal(more, "text");
    assert_memory_equal(bytes, "a\0b", 3);
    assert_string_equal(formatted, "text 5");
    int *numbers = xcalloc(3, sizeof *numbers);
    assert_int_equal(numbers[2], 0);
    numbers = xreallocarray(numbers, 5, sizeof *numbers);
    numbers[4] = 1;
    free_pointer(&numbers);
    assert_null(numbers);
    void *nothing[] = {xmalloc(0), xcalloc(0, 8), xreallocarray(NULL, 0, 8)};
    for (size_t i = 0; i < ARRAY_LENGTH(nothing); i++) {
        assert_non_null(nothing[i]);
        xfree(nothing[i]);
    }
    char secret[] = "secret";
    memory_wipe(secret, sizeof secret);
    assert_memory_equal(secret, "\0\0\0\0\0\0", sizeof secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_an_empty_text_from_the_start),
        cmocka_unit_test(appends_pieces_of_every_kind),
        cmocka_unit_test(grows_up_to_its_limit_exactly),
        cmocka_unit_test(stores_nothing_from_the_first_piece_that_does_not_fit),
        cmocka_unit_test(quotes_and_escapes_json_strings),
        cmocka_unit_test(stores_nothing_of_a_json_string_that_does_not_fit),
        cmocka_unit_test(can_be_used_again_after_it_was_freed),
        cmocka_unit_test(an_error_says_what_happened_and_where),
        cmocka_unit_test(an_error_cuts_long_texts_between_characters),
        cmocka_unit_test(every_error_code_has_a_name_of_its_own),
        cmocka_unit_test(memory_is_copied_and_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
