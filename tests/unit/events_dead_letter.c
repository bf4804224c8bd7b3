/* SPDX-License-Identifier: Apache-2.0
 * Tests of dead letters as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/dead_letter.h"

enum {
    TEXT_MAX = 2 * DEAD_LETTER_EVENT_MAX,
};

static struct dead_letter make_letter(char *event, size_t length)
{
    struct dead_letter letter = {
        .sequence = 1234567890123, .attempts = 5, .time = 1000, .event = event, .event_length = length};
    text_copy_cut(letter.channel, sizeof(letter.channel), "ticket:created");
    text_copy_cut(letter.reason, sizeof(letter.reason), "price: is required; it said \"12,50 \xE2\x82\xAC\"");
    text_copy_cut(letter.listener, sizeof(letter.listener), "orders-service");
    return letter;
}

static void check_same(const struct dead_letter *a, const struct dead_letter *b)
{
    assert_string_equal(a->channel, b->channel);
    assert_int_equal(a->sequence, b->sequence);
    assert_string_equal(a->reason, b->reason);
    assert_string_equal(a->listener, b->listener);
    assert_int_equal(a->attempts, b->attempts);
    assert_int_equal(a->time, b->time);
}

static void reads_what_it_printed(void **state UNUSED)
{
    static const char raw[] = "\0\xFF not JSON \x80\"";
    static const size_t lengths[] = {0, 1, 2, 3, sizeof(raw) - 1};
    for (size_t i = 0; i < ARRAY_LENGTH(lengths); i++) {
        CLEANUP(free_pointer) char *event = xmemdup(raw, sizeof(raw));
        const struct dead_letter letter = make_letter(event, lengths[i]);
        struct dead_letter read;
        struct error error = ERROR_INIT;
        CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(TEXT_MAX);
        dead_letter_print(&letter, &text);
        if (!dead_letter_parse(text.data, text.length, &read, &error)) {
            fail_msg("%s: %s", text.data, error.message);
        }
        check_same(&letter, &read);
        assert_int_equal(read.event_length, lengths[i]);
        assert_memory_equal(read.event, raw, lengths[i]);
        assert_int_equal(read.event[lengths[i]], '\0');
        assert_false(read.cut);
        dead_letter_done(&read);
        assert_null(read.event);
    }
}

static void cuts_an_event_that_is_too_long_and_says_so(void **state UNUSED)
{
    static const struct {
        size_t length, kept;
        bool cut;
    } examples[] = {{DEAD_LETTER_EVENT_MAX, DEAD_LETTER_EVENT_MAX, false},
                    {DEAD_LETTER_EVENT_MAX + 1, DEAD_LETTER_EVENT_MAX, true}};
    CLEANUP(free_pointer) char *event = xcalloc(1, DEAD_LETTER_EVENT_MAX + 2);
    memset(event, 'x', DEAD_LETTER_EVENT_MAX + 1);
    for (size_t i = 0; i < ARRAY_LENGTH(examples); i++) {
        const struct dead_letter letter = make_letter(event, examples[i].length);
        struct dead_letter read;
        struct error error = ERROR_INIT;
        CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(TEXT_MAX);
        dead_letter_print(&letter, &text);
        assert_false(text.overflowed);
        assert_in_range(text.length, 0, BUS_MESSAGE_MAX);
        assert_true(dead_letter_parse(text.data, text.length, &read, &error));
        assert_int_equal(read.event_length, examples[i].kept);
        assert_int_equal(read.cut, examples[i].cut);
        dead_letter_done(&read);
    }
}

static void keeps_that_a_letter_was_cut_before(void **state UNUSED)
{
    char event[] = "x";
    struct dead_letter letter = make_letter(event, 1);
    struct dead_letter read;
    struct error error = ERROR_INIT;
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(TEXT_MAX);
    letter.cut = true;
    dead_letter_print(&letter, &text);
    assert_true(dead_letter_parse(text.data, text.length, &read, &error));
    assert_true(read.cut);
    dead_letter_done(&read);
}

static void refuses_what_is_no_dead_letter(void **state UNUSED)
{
#define ENVELOPE                                                                                                       \
    "\"channel\":\"a\",\"sequence\":1,\"reason\":\"r\",\"listener\":\"l\",\"attempts\":1,"                             \
    "\"time\":\"2026-01-01T00:00:00.000Z\""
    static const struct {
        const char *text, *message;
    } examples[] = {
        {"{" ENVELOPE "}", "event: must be a string"},
        {"{" ENVELOPE ",\"event\":7}", "event: must be a string"},
        {"{" ENVELOPE ",\"event\":\"*\"}", "event: must be base64"},
        {"{\"event\":\"\"}", "channel: is required; sequence: is required; reason: is required; listener: is required; "
                             "attempts: is required; time: is required"},
        {"[]", "must be a JSON object"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(examples); i++) {
        struct dead_letter letter = {.sequence = 77};
        struct error error = ERROR_INIT;
        assert_false(dead_letter_parse(examples[i].text, strlen(examples[i].text), &letter, &error));
        assert_string_equal(error.message, examples[i].message);
        assert_int_equal(error.code, ERROR_INVALID);
        assert_int_equal(letter.sequence, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_printed),
        cmocka_unit_test(cuts_an_event_that_is_too_long_and_says_so),
        cmocka_unit_test(keeps_that_a_letter_was_cut_before),
        cmocka_unit_test(refuses_what_is_no_dead_letter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
