/* SPDX-License-Identifier: Apache-2.0
 * Tests of eventctl's command lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/compiler.h"
#include "tools/eventctl/listen_options.h"
#include "tools/eventctl/options.h"

enum {
    WORDS_MAX = 48,
};

struct values {
    bool flag, other;
    const char *text;
    struct option_texts texts;
    int64_t number;
    struct option_numbers numbers;
    int64_t seconds;
};

static const char *check_text(const char *value)
{
    return value[0] == '!' ? "must not begin with an exclamation mark" : NULL;
}

#define AT(member) .offset = offsetof(struct values, member)

static const struct option table[] = {
    {.name = "flag", .type = OPTION_FLAG, AT(flag), .group = 1, .help = ""},
    {.name = "other", .type = OPTION_FLAG, AT(other), .group = 1, .help = ""},
    {.name = "text", .type = OPTION_TEXT, AT(text), .help = "", .check = check_text},
    {.name = "texts", .type = OPTION_TEXTS, AT(texts), .help = ""},
    {.name = "number", .type = OPTION_NUMBER, AT(number), .min = -5, .max = 100, .help = ""},
    {.name = "numbers", .type = OPTION_NUMBERS, AT(numbers), .min = 1, .max = INT64_MAX, .help = ""},
    {.name = "seconds", .type = OPTION_SECONDS, AT(seconds), .min = 1, .max = 5000, .help = ""},
    {.name = NULL},
};

/* Splits at blanks, which stand for themselves nowhere here; "''" is an empty word. */
struct words {
    char text[1024];
    int count;
    char *items[WORDS_MAX];
};

static void split(const char *line, struct words *ret_words)
{
    ret_words->count = 0;
    assert_true(strlen(line) < sizeof(ret_words->text));
    memcpy(ret_words->text, line, strlen(line) + 1);
    for (char *rest = ret_words->text, *word; (word = strsep(&rest, " ")) != NULL;) {
        assert_true(ret_words->count < WORDS_MAX);
        ret_words->items[ret_words->count++] = strcmp(word, "''") == 0 ? word + 2 : word;
    }
}

static enum options_result parse(const char *line, struct words *words, struct values *values,
                                 struct option_texts *arguments, struct error *error)
{
    *values = (struct values){.number = 7, .seconds = 1500};
    *error = ERROR_INIT;
    split(line, words);
    return options_parse(table, words->count, words->items, values, arguments, error);
}

static void values_of_every_type_are_read_with_arguments_between_them(void **state UNUSED)
{
    struct words words;
    struct values values;
    struct option_texts arguments;
    struct error error;
    assert_int_equal(
        parse("tool a --flag --text x b --number=-5 --seconds 2.25 - --numbers=3", &words, &values, &arguments, &error),
        OPTIONS_READY);
    assert_true(values.flag);
    assert_false(values.other);
    assert_string_equal(values.text, "x");
    assert_int_equal(values.number, -5);
    assert_int_equal(values.seconds, 2250);
    assert_int_equal(values.numbers.count, 1);
    assert_int_equal(values.numbers.items[0], 3);
    assert_int_equal(arguments.count, 3);
    assert_string_equal(arguments.items[0], "a");
    assert_string_equal(arguments.items[1], "b");
    assert_string_equal(arguments.items[2], "-");
}

static void what_is_not_given_keeps_its_default(void **state UNUSED)
{
    struct words words;
    struct values values;
    struct option_texts arguments;
    struct error error;
    assert_int_equal(parse("tool", &words, &values, &arguments, &error), OPTIONS_READY);
    assert_int_equal(values.number, 7);
    assert_int_equal(values.seconds, 1500);
    assert_null(values.text);
    assert_int_equal(arguments.count, 0);
}

static void a_list_takes_all_values_up_to_the_next_option_and_may_be_repeated(void **state UNUSED)
{
    struct words words;
    struct values values;
    struct option_texts arguments;
    struct error error;
    assert_int_equal(
        parse("tool --texts a b --numbers 1 2 --texts=c d --texts - -- e", &words, &values, &arguments, &error),
        OPTIONS_READY);
    assert_int_equal(values.texts.count, 4);
    assert_string_equal(values.texts.items[0], "a");
    assert_string_equal(values.texts.items[1], "b");
    assert_string_equal(values.texts.items[2], "c");
    assert_string_equal(values.texts.items[3], "-");
    assert_int_equal(values.numbers.count, 2);
    assert_int_equal(values.numbers.items[1], 2);
    /* Behind an equals sign there is one value. */
    assert_int_equal(arguments.count, 2);
    assert_string_equal(arguments.items[0], "d");
    assert_string_equal(arguments.items[1], "e");
}

static void two_dashes_end_the_options(void **state UNUSED)
{
    struct words words;
    struct values values;
    struct option_texts arguments;
    struct error error;
    assert_int_equal(parse("tool -- --flag --help -x --", &words, &values, &arguments, &error), OPTIONS_READY);
    assert_false(values.flag);
    assert_int_equal(arguments.count, 4);
    assert_string_equal(arguments.items[1], "--help");
}

static void help_goes_before_everything_else(void **state UNUSED)
{
    static const char *const lines[] = {"tool --help", "tool -h", "tool --nonsense x --help", "tool --number x -h"};
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++) {
        struct words words;
        struct values values;
        struct option_texts arguments;
        struct error error;
        assert_int_equal(parse(lines[i], &words, &values, &arguments, &error), OPTIONS_HELP);
    }
}

static void what_is_wrong_is_said(void **state UNUSED)
{
    static const struct {
        const char *line;
        const char *message;
    } cases[] = {
        {"tool --nonsense", "unknown option \"--nonsense\""},
        {"tool --fla", "unknown option \"--fla\""},
        {"tool --flags", "unknown option \"--flags\""},
        {"tool -f", "unknown option \"-f\""},
        {"tool -flag", "unknown option \"-flag\""},
        {"tool --=x", "unknown option \"--=x\""},
        {"tool --flag=yes", "--flag takes no value"},
        {"tool --flag --flag", "--flag is given twice"},
        {"tool --text a --text b", "--text is given twice"},
        {"tool --flag --other", "--flag and --other exclude each other"},
        {"tool --other --flag", "--other and --flag exclude each other"},
        {"tool --text", "--text needs a value"},
        {"tool --text --flag", "--text needs a value"},
        {"tool --texts", "--texts needs a value"},
        {"tool --text ''", "--text needs a value that is not empty"},
        {"tool --text=", "--text needs a value that is not empty"},
        {"tool --text !", "--text must not begin with an exclamation mark"},
        {"tool --text=!x", "--text must not begin with an exclamation mark"},
        {"tool --number -5", "--number needs a value"},
        {"tool --number 101", "--number must be an integer from -5 to 100, not \"101\""},
        {"tool --number=-6", "--number must be an integer from -5 to 100, not \"-6\""},
        {"tool --number 1x", "--number must be an integer from -5 to 100, not \"1x\""},
        {"tool --number 1.5", "--number must be an integer from -5 to 100, not \"1.5\""},
        {"tool --numbers 1 0", "--numbers must be an integer from 1 to 9223372036854775807, not \"0\""},
        {"tool --seconds 0", "--seconds must be seconds from 0.001 to 5, not \"0\""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct words words;
        struct values values;
        struct option_texts arguments = {.count = 99};
        struct error error;
        if (parse(cases[i].line, &words, &values, &arguments, &error) != OPTIONS_WRONG) {
            fail_msg("%s: is taken", cases[i].line);
        }
        assert_int_equal(error.code, ERROR_INVALID);
        assert_string_equal(error.message, cases[i].message);
        assert_int_equal(arguments.count, 99);
    }
}

static void seconds_may_have_three_decimals(void **state UNUSED)
{
    static const struct {
        const char *line;
        int64_t milliseconds; /* 0: refused */
    } cases[] = {
        {"tool --seconds 1", 1000},     {"tool --seconds 0.5", 500},
        {"tool --seconds 5.000", 5000}, {"tool --seconds 0.001", 1},
        {"tool --seconds 1.25", 1250},  {"tool --seconds 5.001", 0},
        {"tool --seconds 1.0000", 0},   {"tool --seconds 1.", 0},
        {"tool --seconds .5", 0},       {"tool --seconds 1.-5", 0},
        {"tool --seconds 1e3", 0},      {"tool --seconds 1s", 0},
        {"tool --seconds 0.000", 0},    {"tool --seconds=-1", 0},
        {"tool --seconds 1.5.5", 0},    {"tool --seconds 99999999999999999999999999", 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct words words;
        struct values values;
        struct option_texts arguments;
        struct error error;
        enum options_result result = parse(cases[i].line, &words, &values, &arguments, &error);
        if ((result == OPTIONS_READY) != (cases[i].milliseconds > 0)) {
            fail_msg("%s: %s", cases[i].line, result == OPTIONS_READY ? "is taken" : error.message);
        }
        if (result == OPTIONS_READY) {
            assert_int_equal(values.seconds, cases[i].milliseconds);
        }
    }
}

/* "tool" and as many words behind it. */
static void repeat(const char *start, size_t count, char ret_line[static 1024])
{
    size_t used = (size_t)snprintf(ret_line, 1024, "%s", start);
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(ret_line + used, 1024 - used, " 1");
    }
}

static void lists_have_limits(void **state UNUSED)
{
    static const char *const starts[] = {"tool", "tool --texts", "tool --numbers"};
    for (size_t i = 0; i < ARRAY_LENGTH(starts); i++) {
        struct words words;
        struct values values;
        struct option_texts arguments;
        struct error error;
        char line[1024];
        repeat(starts[i], OPTION_LIST_MAX, line);
        assert_int_equal(parse(line, &words, &values, &arguments, &error), OPTIONS_READY);
        repeat(starts[i], OPTION_LIST_MAX + 1, line);
        assert_int_equal(parse(line, &words, &values, &arguments, &error), OPTIONS_WRONG);
    }
}

/* ---- eventctl listen ---- */

#define NOW INT64_C(1700000000000)

struct listening {
    struct words words;
    struct listen_options options;
    struct option_texts subjects;
    struct subscription subscription;
    struct error error;
};

static enum options_result parse_listen(const char *line, struct listening *listening)
{
    *listening = (struct listening){.error = ERROR_INIT};
    split(line, &listening->words);
    return listen_options_parse(listening->words.count, listening->words.items, NOW, &listening->options,
                                &listening->subjects, &listening->subscription, &listening->error);
}

static void a_listener_begins_with_what_is_new_by_default(void **state UNUSED)
{
    struct listening listening;
    assert_int_equal(parse_listen("listen ticket:created order:created", &listening), OPTIONS_READY);
    assert_int_equal(listening.subjects.count, 2);
    assert_string_equal(listening.subjects.items[1], "order:created");
    assert_int_equal(listening.subscription.start, BUS_START_NEW);
    assert_null(listening.subscription.queue_group);
    assert_null(listening.subscription.durable);
    assert_int_equal(listening.subscription.ack_wait_ms, 30000);
    assert_int_equal(listening.subscription.in_flight, 128);
    assert_false(listening.subscription.acknowledge_by_engine);
    assert_int_equal(listening.options.connection.connect_timeout_ms, 0);
    assert_int_equal(listening.options.timeout_ms, 0);
    assert_int_equal(listening.options.count, 0);
}

static void every_option_of_a_subscription_reaches_it(void **state UNUSED)
{
    struct listening listening;
    assert_int_equal(parse_listen("listen x --queue-group g --durable d --start-sequence 12 --manual-ack --no-ack "
                                  "--ack-wait 2 --in-flight 1024 --count 3 --timeout 0.5 --json --bus stan://h/c",
                                  &listening),
                     OPTIONS_READY);
    assert_string_equal(listening.subscription.queue_group, "g");
    assert_string_equal(listening.subscription.durable, "d");
    assert_int_equal(listening.subscription.start, BUS_START_SEQUENCE);
    assert_int_equal(listening.subscription.start_sequence, 12);
    assert_int_equal(listening.subscription.ack_wait_ms, 2000);
    assert_int_equal(listening.subscription.in_flight, 1024);
    assert_true(listening.options.manual_ack);
    assert_true(listening.options.no_ack);
    assert_true(listening.options.json);
    assert_int_equal(listening.options.count, 3);
    assert_int_equal(listening.options.timeout_ms, 500);
    assert_string_equal(listening.options.connection.bus, "stan://h/c");
}

static void a_durable_names_its_client_unless_a_group_shares_it(void **state UNUSED)
{
    struct listening listening;
    assert_int_equal(parse_listen("listen x --durable d", &listening), OPTIONS_READY);
    assert_string_equal(listening.options.connection.client_name, "d");
    assert_int_equal(parse_listen("listen x --durable d --queue-group g", &listening), OPTIONS_READY);
    assert_null(listening.options.connection.client_name);
    assert_int_equal(parse_listen("listen x", &listening), OPTIONS_READY);
    assert_null(listening.options.connection.client_name);
}

static void a_listener_begins_where_it_is_told(void **state UNUSED)
{
    static const struct {
        const char *line;
        enum bus_start start;
        int64_t time;
    } cases[] = {
        {"listen x --deliver-all", BUS_START_ALL, 0},
        {"listen x --last-received", BUS_START_LAST_RECEIVED, 0},
        {"listen x --start-time 30s", BUS_START_TIME, NOW - 30000},
        {"listen x --start-time 10m", BUS_START_TIME, NOW - 600000},
        {"listen x --start-time 2h", BUS_START_TIME, NOW - 7200000},
        {"listen x --start-time 1d", BUS_START_TIME, NOW - 86400000},
        {"listen x --start-time 0s", BUS_START_TIME, NOW},
        {"listen x --start-time 1000000d", BUS_START_TIME, 0},
        {"listen x --start-time 1970-01-01T00:00:01Z", BUS_START_TIME, 1000},
        {"listen x --start-time 2023-11-14T23:13:20.123+01:00", BUS_START_TIME, NOW + 123},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct listening listening;
        if (parse_listen(cases[i].line, &listening) != OPTIONS_READY) {
            fail_msg("%s: %s", cases[i].line, listening.error.message);
        }
        assert_int_equal(listening.subscription.start, cases[i].start);
        assert_int_equal(listening.subscription.start_time, cases[i].time);
    }
}

static void command_lines_of_listen_that_make_no_sense_are_refused(void **state UNUSED)
{
    static const struct {
        const char *line;
        const char *part; /* of the message */
    } cases[] = {
        {"listen", "needs a subject"},
        {"listen ''", "a subject must be"},
        {"listen Ticket:Created", "not \"Ticket:Created\""},
        {"listen ticket.*", "a subject must be"},
        {"listen a b a", "the subject a is given twice"},
        {"listen x --deliver-all --last-received", "exclude each other"},
        {"listen x --start-sequence 1 --start-time 1s", "exclude each other"},
        {"listen x --deliver-all --start-sequence 1", "exclude each other"},
        {"listen x --last-received --start-time 1s", "exclude each other"},
        {"listen x --no-ack", "--no-ack needs --manual-ack"},
        {"listen x --start-time yesterday", "--start-time must be like"},
        {"listen x --start-time 10", "--start-time must be like"},
        {"listen x --start-time m", "--start-time must be like"},
        {"listen x --start-time=-5m", "--start-time must be like"},
        {"listen x --start-time 5w", "--start-time must be like"},
        {"listen x --start-time 1000001d", "--start-time must be like"},
        {"listen x --start-time 10000000000000000s", "--start-time must be like"},
        {"listen x --start-time 2026-02-30T00:00:00Z", "--start-time must be like"},
        {"listen x --start-sequence 0", "--start-sequence must be"},
        {"listen x --ack-wait 0", "--ack-wait must be"},
        {"listen x --ack-wait 3601", "--ack-wait must be"},
        {"listen x --in-flight 0", "--in-flight must be"},
        {"listen x --in-flight 1025", "--in-flight must be"},
        {"listen x --count 0", "--count must be"},
        {"listen x --timeout 0", "--timeout must be"},
        {"listen x --durable a:b", "--durable must be"},
        {"listen x --queue-group a.b", "--queue-group must be"},
        {"listen x --bus nonsense", "--bus must be stan://<host>:<port>/<cluster id>"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct listening listening;
        if (parse_listen(cases[i].line, &listening) != OPTIONS_WRONG) {
            fail_msg("%s: is taken", cases[i].line);
        }
        if (strstr(listening.error.message, cases[i].part) == NULL) {
            fail_msg("%s: %s", cases[i].line, listening.error.message);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_type_are_read_with_arguments_between_them),
        cmocka_unit_test(what_is_not_given_keeps_its_default),
        cmocka_unit_test(a_list_takes_all_values_up_to_the_next_option_and_may_be_repeated),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(help_goes_before_everything_else),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(seconds_may_have_three_decimals),
        cmocka_unit_test(lists_have_limits),
        cmocka_unit_test(a_listener_begins_with_what_is_new_by_default),
        cmocka_unit_test(every_option_of_a_subscription_reaches_it),
        cmocka_unit_test(a_durable_names_its_client_unless_a_group_shares_it),
        cmocka_unit_test(a_listener_begins_where_it_is_told),
        cmocka_unit_test(command_lines_of_listen_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
