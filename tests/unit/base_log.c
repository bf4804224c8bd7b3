/* SPDX-License-Identifier: Apache-2.0
 * Tests of what log entries look like. Standard error is a socket that keeps writes apart. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"

enum {
    THREADS = 4,
    ENTRIES_OF_A_THREAD = 200,
    RECEIVED_MAX = LOG_ENTRY_MAX + 1, /* one byte more than allowed, to see that it is more */
};

static int saved_stderr = -1;
static int receiver = -1;

static void start_capture(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(saved_stderr >= 0);
    receiver = pair[1];
    assert_true(dup2(pair[0], STDERR_FILENO) >= 0);
    close(pair[0]);
}

static void give_stderr_back(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    saved_stderr = -1;
}

/* The next write(2), as a text without its newline; false when there is no further one. */
static bool receive(char ret_entry[static RECEIVED_MAX + 1])
{
    ssize_t length = recv(receiver, ret_entry, RECEIVED_MAX, MSG_DONTWAIT);
    if (length <= 0) {
        return false;
    }
    assert_true(length <= LOG_ENTRY_MAX);
    assert_int_equal(ret_entry[length - 1], '\n');
    ret_entry[length - 1] = '\0';
    assert_int_equal(strlen(ret_entry), length - 1);
    assert_null(strchr(ret_entry, '\n'));
    return true;
}

static void end_capture(void)
{
    close(receiver);
    receiver = -1;
}

static int reset_log(void **state UNUSED)
{
    if (saved_stderr >= 0) {
        give_stderr_back();
    }
    if (receiver >= 0) {
        end_capture();
    }
    log_init("-", LOG_LEVEL_INFO, LOG_FORMAT_HUMAN);
    log_set_context(NULL, NULL);
    return 0;
}

/* Logs `message` and returns the entry, which must be the only one. */
static const char *entry_of(enum log_level level, const char *message)
{
    static char entry[RECEIVED_MAX + 1];
    char more[RECEIVED_MAX + 1];
    start_capture();
    log_write(level, "%s", message);
    give_stderr_back();
    assert_true(receive(entry));
    assert_false(receive(more));
    end_capture();
    return entry;
}

/* Checks that the text starts with a moment of just now; returns what follows. */
static const char *skip_time(const char *text)
{
    char time[CLOCK_TEXT_SIZE] = "";
    int64_t moment;
    assert_true(strlen(text) > CLOCK_TEXT_SIZE);
    memcpy(time, text, CLOCK_TEXT_SIZE - 1);
    assert_true(clock_from_text(time, &moment));
    assert_in_range(clock_now(NULL) - moment, 0, 600000);
    return text + CLOCK_TEXT_SIZE - 1;
}

static const char *skip_json_time(const char *entry)
{
    static const char start[] = "{\"time\":\"";
    assert_true(text_starts_with(entry, start));
    return skip_time(entry + strlen(start));
}

/* Steps over a JSON string, with RFC 8259's rules. */
static bool skip_json_string(const char **text)
{
    const char *c = *text;
    if (*c++ != '"') {
        return false;
    }
    for (; *c != '"'; c++) {
        if ((unsigned char)*c < 0x20) {
            return false;
        }
        if (*c == '\\') {
            c++;
            if (*c == 'u') {
                if (strspn(c + 1, "0123456789abcdefABCDEF") < 4) {
                    return false;
                }
                c += 4;
            } else if (*c == '\0' || strchr("\"\\/bfnrt", *c) == NULL) {
                return false;
            }
        }
    }
    *text = c + 1;
    return true;
}

static bool is_json_object_of_strings(const char *text)
{
    const char *c = text;
    if (!text_is_utf8(text, strlen(text)) || *c++ != '{') {
        return false;
    }
    while (skip_json_string(&c) && *c++ == ':' && skip_json_string(&c)) {
        if (*c == '}') {
            return c[1] == '\0';
        }
        if (*c++ != ',') {
            return false;
        }
    }
    return false;
}

static void writes_human_lines(void **state UNUSED)
{
    log_init("tickets", LOG_LEVEL_DEBUG, LOG_FORMAT_HUMAN);
    assert_string_equal(skip_time(entry_of(LOG_LEVEL_DEBUG, "one")), " DEBUG tickets one");
    assert_string_equal(skip_time(entry_of(LOG_LEVEL_INFO, "two")), " INFO  tickets two");
    assert_string_equal(skip_time(entry_of(LOG_LEVEL_WARNING, "three")), " WARN  tickets three");
    assert_string_equal(skip_time(entry_of(LOG_LEVEL_ERROR, "four")), " ERROR tickets four");
    log_set_context("request-1", "trace-1");
    assert_string_equal(skip_time(entry_of(LOG_LEVEL_INFO, "five")), " INFO  tickets [request-1] five");
    log_set_context("", NULL);
    assert_string_equal(skip_time(entry_of(LOG_LEVEL_INFO, "")), " INFO  tickets ");
}

static void writes_json_lines(void **state UNUSED)
{
    log_init("orders", LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    assert_string_equal(skip_json_time(entry_of(LOG_LEVEL_WARNING, "one")),
                        "\",\"level\":\"warning\",\"service\":\"orders\",\"message\":\"one\"}");
    log_set_context("event-1", "trace-1");
    assert_string_equal(skip_json_time(entry_of(LOG_LEVEL_DEBUG, "")), "\",\"level\":\"debug\",\"service\":\"orders\","
                                                                       "\"id\":\"event-1\",\"trace\":\"trace-1\","
                                                                       "\"message\":\"\"}");
    log_set_context(NULL, "trace\"2");
    assert_string_equal(skip_json_time(entry_of(LOG_LEVEL_ERROR, "x")), "\",\"level\":\"error\",\"service\":\"orders\","
                                                                        "\"trace\":\"trace\\\"2\",\"message\":\"x\"}");
}

static void escapes_what_must_not_reach_a_terminal_or_a_parser(void **state UNUSED)
{
    static const struct {
        const char *message;
        const char *human;
        const char *json;
    } cases[] = {
        {"plain é€😀", "plain é€😀", "plain é€😀"},
        {"a\nERROR forged", "a\\x0aERROR forged", "a\\u000aERROR forged"},
        {"\x1b[31mred\r\t", "\\x1b[31mred\\x0d\\x09", "\\u001b[31mred\\u000d\\u0009"},
        {"say \"no\" to C:\\", "say \"no\" to C:\\", "say \\\"no\\\" to C:\\\\"},
        {"\x7f\xc2\x9b", "\\x7f\\xc2\\x9b", "\\u007f\\u009b"},
        {"\xe2\x80\xa8.", "\\xe2\\x80\\xa8.", "\\u2028."},
        {"bad \xff\xc3.", "bad \\xff\\xc3.", "bad \\ufffd\\ufffd."},
        {"end \xe2\x82", "end \\xe2\\x82", "end \\ufffd\\ufffd"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char expected[256];
        log_init("s", LOG_LEVEL_INFO, LOG_FORMAT_HUMAN);
        snprintf(expected, sizeof expected, " INFO  s %s", cases[i].human);
        assert_string_equal(skip_time(entry_of(LOG_LEVEL_INFO, cases[i].message)), expected);
        log_init("s", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
        snprintf(expected, sizeof expected, "\",\"level\":\"info\",\"service\":\"s\",\"message\":\"%s\"}",
                 cases[i].json);
        const char *entry = entry_of(LOG_LEVEL_INFO, cases[i].message);
        assert_true(is_json_object_of_strings(entry));
        assert_string_equal(skip_json_time(entry), expected);
    }
}

static void escapes_the_context_as_it_does_the_message(void **state UNUSED)
{
    log_init("s", LOG_LEVEL_INFO, LOG_FORMAT_HUMAN);
    log_set_context("a]\n", NULL);
    assert_string_equal(skip_time(entry_of(LOG_LEVEL_INFO, "m")), " INFO  s [a]\\x0a] m");
}

/* Every length around the limit, so that each possible place of the cut is met: before, in and behind an escape. */
static void cuts_long_entries_and_keeps_them_whole(void **state UNUSED)
{
    static const char *const fillers[] = {"x", "é", "😀", "\"", "\n", "\xff", "\xe2\x80\xa8"};
    for (size_t i = 0; i < ARRAY_LENGTH(fillers); i++) {
        size_t step = strlen(fillers[i]);
        for (size_t shift = 0; shift < 20; shift++) {
            char message[2 * LOG_ENTRY_MAX];
            size_t length = shift;
            memset(message, 'a', shift);
            while (length + step < sizeof message) {
                memcpy(message + length, fillers[i], step);
                length += step;
            }
            message[length] = '\0';
            log_init("s", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
            const char *json = entry_of(LOG_LEVEL_INFO, message);
            assert_true(is_json_object_of_strings(json));
            assert_non_null(strstr(json, "…\"}"));
            assert_true(strlen(json) > LOG_ENTRY_MAX - 32);
            log_init("s", LOG_LEVEL_INFO, LOG_FORMAT_HUMAN);
            const char *human = entry_of(LOG_LEVEL_INFO, message);
            assert_true(text_is_utf8(human, strlen(human)));
            assert_string_equal(human + strlen(human) - strlen("…"), "…");
            assert_true(strlen(human) > LOG_ENTRY_MAX - 32);
        }
    }
}

static void does_not_cut_what_just_fits(void **state UNUSED)
{
    log_init("s", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    size_t frame = strlen(entry_of(LOG_LEVEL_INFO, "")) + 1;
    char message[LOG_ENTRY_MAX];
    size_t fitting = LOG_ENTRY_MAX - frame - strlen("…");
    memset(message, 'x', sizeof message);
    message[fitting] = '\0';
    assert_null(strstr(entry_of(LOG_LEVEL_INFO, message), "…"));
    message[fitting] = 'x';
    message[fitting + 1] = '\0';
    assert_non_null(strstr(entry_of(LOG_LEVEL_INFO, message), "…"));
}

static void writes_nothing_below_its_level(void **state UNUSED)
{
    char entry[RECEIVED_MAX + 1];
    log_init("s", LOG_LEVEL_WARNING, LOG_FORMAT_HUMAN);
    assert_false(log_enabled(LOG_LEVEL_INFO));
    assert_true(log_enabled(LOG_LEVEL_WARNING));
    start_capture();
    log_debug("no");
    log_info("no");
    log_warning("yes %d", 1);
    log_error("yes %d", 2);
    give_stderr_back();
    assert_true(receive(entry));
    assert_string_equal(skip_time(entry), " WARN  s yes 1");
    assert_true(receive(entry));
    assert_string_equal(skip_time(entry), " ERROR s yes 2");
    assert_false(receive(entry));
    end_capture();
}

static void keeps_errno_even_when_it_cannot_write(void **state UNUSED)
{
    start_capture();
    errno = ENOENT;
    log_info("written");
    int after_writing = errno;
    close(receiver);
    receiver = -1;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    bool is_redirected = full >= 0 && dup2(full, STDERR_FILENO) >= 0;
    errno = ENOENT;
    log_info("lost");
    int after_failing = errno;
    close(full);
    give_stderr_back();
    assert_true(is_redirected);
    assert_int_equal(after_writing, ENOENT);
    assert_int_equal(after_failing, ENOENT);
}

static void cuts_long_contexts_between_characters(void **state UNUSED)
{
    char text[2 * LOG_CONTEXT_MAX];
    memset(text, 'x', sizeof text);
    memcpy(text + LOG_CONTEXT_MAX - 1, "é", 2);
    text[sizeof text - 1] = '\0';
    log_set_context(text, text + 1);
    assert_int_equal(strlen(log_context_id()), LOG_CONTEXT_MAX - 1);
    assert_int_equal(strlen(log_context_trace()), LOG_CONTEXT_MAX);
    assert_true(text_is_utf8(log_context_trace(), LOG_CONTEXT_MAX));
    log_set_context(NULL, "");
    assert_string_equal(log_context_id(), "");
    assert_string_equal(log_context_trace(), "");
}

static void *log_with_own_context(void *context)
{
    const char *name = context;
    if (log_context_id()[0] != '\0') {
        log_error("inherited");
    }
    log_set_context(name, NULL);
    for (int i = 0; i < ENTRIES_OF_A_THREAD; i++) {
        log_info("%s", name);
    }
    return NULL;
}

struct reader {
    size_t counts[THREADS];
    size_t strange;
};

static void *count_entries(void *context)
{
    struct reader *reader = context;
    char entry[RECEIVED_MAX + 1];
    ssize_t length;
    while ((length = recv(receiver, entry, RECEIVED_MAX, 0)) > 1) {
        char expected[64];
        unsigned index = (unsigned char)entry[length - 2] - (unsigned)'0';
        entry[length] = '\0';
        snprintf(expected, sizeof expected, " INFO  s [thread-%u] thread-%u\n", index, index);
        bool is_expected = index < THREADS && text_equal(entry + CLOCK_TEXT_SIZE - 1, expected);
        reader->counts[is_expected ? index : 0] += is_expected ? 1 : 0;
        reader->strange += is_expected ? 0 : 1;
    }
    return NULL;
}

static void threads_have_contexts_of_their_own_and_do_not_mix_lines(void **state UNUSED)
{
    static char names[THREADS][16];
    struct reader reader = {0};
    pthread_t threads[THREADS];
    pthread_t counter;
    log_init("s", LOG_LEVEL_INFO, LOG_FORMAT_HUMAN);
    log_set_context("main", NULL);
    start_capture();
    int failures = pthread_create(&counter, NULL, count_entries, &reader);
    for (size_t i = 0; i < THREADS; i++) {
        snprintf(names[i], sizeof names[i], "thread-%zu", i);
        failures += pthread_create(&threads[i], NULL, log_with_own_context, names[i]);
    }
    for (size_t i = 0; i < THREADS; i++) {
        failures += pthread_join(threads[i], NULL);
    }
    give_stderr_back(); /* closes the last sending end: the reader sees the end */
    failures += pthread_join(counter, NULL);
    end_capture();
    assert_int_equal(failures, 0);
    assert_int_equal(reader.strange, 0);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(reader.counts[i], ENTRIES_OF_A_THREAD);
    }
    assert_string_equal(log_context_id(), "main");
}

static void fill(int pipe_end)
{
    char piece[LOG_ENTRY_MAX] = "";
    int flags = fcntl(pipe_end, F_GETFL);
    assert_int_equal(fcntl(pipe_end, F_SETFL, flags | O_NONBLOCK), 0);
    while (write(pipe_end, piece, sizeof piece) > 0) {
    }
    assert_int_equal(fcntl(pipe_end, F_SETFL, flags), 0);
}

/* Everything that is in the pipe behind what filled it. */
static void drain(int pipe_end, char *ret_text, size_t size)
{
    size_t length = 0;
    char c;
    assert_int_equal(fcntl(pipe_end, F_SETFL, O_NONBLOCK), 0);
    while (read(pipe_end, &c, 1) == 1) {
        if (c != '\0' && length < size - 1) {
            ret_text[length++] = c;
        }
    }
    ret_text[length] = '\0';
}

static void does_not_hang_where_nobody_reads_and_says_later_what_is_lost(void **state UNUSED)
{
    enum { HANGS_S = 60 };
    int ends[2];
    char text[RECEIVED_MAX];
    assert_int_equal(pipe(ends), 0);
    fill(ends[1]);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    log_set_context("request-1", NULL);
    alarm(HANGS_S);                 /* ends the program, which fails the test */
    for (int i = 0; i < 200; i++) { /* each may not wait again, or this takes minutes */
        log_info("lost");
    }
    drain(ends[0], text, sizeof text);
    assert_string_equal(text, "");
    log_info("heard");
    log_info("heard as well");
    alarm(0);
    give_stderr_back();
    drain(ends[0], text, sizeof text);
    close(ends[0]);
    close(ends[1]);
    const char *rest = skip_time(text);
    static const char loss[] = " WARN  - 200 log entries are lost: nobody read them\n";
    assert_true(text_starts_with(rest, loss));
    rest = skip_time(rest + strlen(loss));
    static const char heard[] = " INFO  - [request-1] heard\n";
    assert_true(text_starts_with(rest, heard));
    assert_string_equal(skip_time(rest + strlen(heard)), " INFO  - [request-1] heard as well\n");
}

static void reads_levels_and_formats(void **state UNUSED)
{
    enum log_level level = LOG_LEVEL_DEBUG;
    enum log_format format = LOG_FORMAT_HUMAN;
    assert_true(log_level_from_text("warning", &level));
    assert_int_equal(level, LOG_LEVEL_WARNING);
    assert_true(log_level_from_text("ERROR", &level));
    assert_int_equal(level, LOG_LEVEL_ERROR);
    assert_true(log_level_from_text("info", &level));
    assert_int_equal(level, LOG_LEVEL_INFO);
    assert_false(log_level_from_text("loud", &level));
    assert_false(log_level_from_text("", &level));
    assert_int_equal(level, LOG_LEVEL_INFO);
    assert_true(log_format_from_text("json", &format));
    assert_int_equal(format, LOG_FORMAT_JSON);
    assert_false(log_format_from_text("xml", &format));
    assert_int_equal(format, LOG_FORMAT_JSON);
    assert_true(log_format_from_text("human", &format));
    assert_int_equal(format, LOG_FORMAT_HUMAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(writes_human_lines, reset_log),
        cmocka_unit_test_teardown(writes_json_lines, reset_log),
        cmocka_unit_test_teardown(escapes_what_must_not_reach_a_terminal_or_a_parser, reset_log),
        cmocka_unit_test_teardown(escapes_the_context_as_it_does_the_message, reset_log),
        cmocka_unit_test_teardown(cuts_long_entries_and_keeps_them_whole, reset_log),
        cmocka_unit_test_teardown(does_not_cut_what_just_fits, reset_log),
        cmocka_unit_test_teardown(writes_nothing_below_its_level, reset_log),
        cmocka_unit_test_teardown(keeps_errno_even_when_it_cannot_write, reset_log),
        cmocka_unit_test_teardown(cuts_long_contexts_between_characters, reset_log),
        cmocka_unit_test_teardown(threads_have_contexts_of_their_own_and_do_not_mix_lines, reset_log),
        cmocka_unit_test_teardown(does_not_hang_where_nobody_reads_and_says_later_what_is_lost, reset_log),
        cmocka_unit_test_teardown(reads_levels_and_formats, reset_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
