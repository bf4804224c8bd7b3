/* SPDX-License-Identifier: Apache-2.0
 * Tests of configuration from the environment, and of what it says about mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/config.h"
#include "common/base/text.h"

#define SECRET_VALUE "correct-horse-battery-staple-0123456789"

enum {
    OUTPUT_SIZE = 16384,
    PATH_SIZE = 128,
};

struct settings {
    char store[CONFIG_TEXT_MAX];
    char name[CONFIG_TEXT_MAX];
    char note[CONFIG_TEXT_MAX];
    char key[CONFIG_TEXT_MAX];
    int64_t port;
    int64_t offset;
    bool secure;
};

static const char *check_store(const char *value)
{
    return text_starts_with(value, "sqlite://") ? NULL : "must be a sqlite:// URI";
}

static const char *check_key(const char *value)
{
    return strchr(value, '!') == NULL ? NULL : "must not contain an exclamation mark";
}

static const struct config_option options[] = {
    {.name = "T_STORE_URI",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct settings, store),
     .required = true,
     .check = check_store,
     .help = "where records are kept, e.g. sqlite:///var/lib/x.db"},
    {.name = "T_NAME",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct settings, name),
     .default_value = "session",
     .min = 2,
     .max = 10,
     .help = "name of the cookie"},
    {.name = "T_NOTE", .type = CONFIG_TEXT, .offset = offsetof(struct settings, note), .help = "anything"},
    {.name = "T_KEY",
     .type = CONFIG_SECRET,
     .offset = offsetof(struct settings, key),
     .required = true,
     .min = 32,
     .check = check_key,
     .help = "at least 32 bytes; make one with: openssl rand -hex 32"},
    {.name = "T_PORT",
     .type = CONFIG_INTEGER,
     .offset = offsetof(struct settings, port),
     .default_value = "3000",
     .min = 1,
     .max = 65535,
     .help = "port to listen on"},
    {.name = "T_OFFSET",
     .type = CONFIG_INTEGER,
     .offset = offsetof(struct settings, offset),
     .min = -5,
     .max = 5,
     .help = "may be negative"},
    {.name = "T_SECURE",
     .type = CONFIG_BOOLEAN,
     .offset = offsetof(struct settings, secure),
     .default_value = "true",
     .help = "cookies over HTTPS only"},
    {.name = NULL},
};

static char directory[] = "/tmp/base-config-XXXXXX";
static char file_path[PATH_SIZE];
static struct settings settings;
static char output[OUTPUT_SIZE];

static int make_directory(void **state UNUSED)
{
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    snprintf(file_path, sizeof file_path, "%s/value", directory);
    return 0;
}

static int remove_directory(void **state UNUSED)
{
    unlink(file_path);
    return rmdir(directory);
}

/* A complete, correct environment; each test spoils a part of it. */
static int set_environment(void **state UNUSED)
{
    for (const struct config_option *option = options; option->name != NULL; option++) {
        char name[64];
        snprintf(name, sizeof name, "%s_FILE", option->name);
        unsetenv(option->name);
        unsetenv(name);
    }
    unlink(file_path);
    setenv("T_STORE_URI", "sqlite:///x.db", 1);
    setenv("T_KEY", SECRET_VALUE, 1);
    memset(&settings, 0x55, sizeof settings);
    return 0;
}

static void write_file(const void *data, size_t length)
{
    FILE *file = fopen(file_path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static size_t load_table(const struct config_option *table, void *ret_settings)
{
    memset(output, 0, sizeof output);
    FILE *problems = fmemopen(output, sizeof output - 1, "w");
    assert_non_null(problems);
    size_t count = config_load(table, ret_settings, problems);
    assert_int_equal(fclose(problems), 0);
    return count;
}

static void expect_problem(const char *expected)
{
    size_t count = load_table(options, &settings);
    assert_string_equal(output, expected);
    assert_int_equal(count, 1);
}

static void expect_none(void)
{
    size_t count = load_table(options, &settings);
    assert_string_equal(output, "");
    assert_int_equal(count, 0);
}

static void takes_defaults_for_what_is_not_set(void **state UNUSED)
{
    setenv("T_NAME", "", 1); /* empty is unset */
    setenv("T_PORT", "", 1);
    expect_none();
    assert_string_equal(settings.store, "sqlite:///x.db");
    assert_string_equal(settings.name, "session");
    assert_string_equal(settings.note, "");
    assert_string_equal(settings.key, SECRET_VALUE);
    assert_int_equal(settings.port, 3000);
    assert_int_equal(settings.offset, 0);
    assert_true(settings.secure);
}

static void takes_what_is_set(void **state UNUSED)
{
    setenv("T_NAME", "ab", 1);
    setenv("T_NOTE", "é", 1);
    setenv("T_PORT", "65535", 1);
    setenv("T_OFFSET", "-5", 1);
    setenv("T_SECURE", "no", 1);
    expect_none();
    assert_string_equal(settings.name, "ab");
    assert_string_equal(settings.note, "é");
    assert_int_equal(settings.port, 65535);
    assert_int_equal(settings.offset, -5);
    assert_false(settings.secure);
}

static void reads_booleans_in_their_spellings(void **state UNUSED)
{
    static const struct {
        const char *text;
        bool expected;
    } cases[] = {
        {"true", true}, {"1", true}, {"yes", true}, {"True", true}, {"false", false}, {"0", false}, {"no", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        setenv("T_SECURE", cases[i].text, 1);
        settings.secure = !cases[i].expected;
        expect_none();
        assert_int_equal(settings.secure, cases[i].expected);
    }
    setenv("T_SECURE", "on", 1);
    expect_problem("T_SECURE: must be true or false, not \"on\"\n");
}

static void names_the_range_and_the_value_of_a_wrong_integer(void **state UNUSED)
{
    static const char *const cases[] = {"abc", "0", "65536", "-1", "80 ", " 80", "0x50", "+80", "80.0", "8O"};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char expected[128];
        snprintf(expected, sizeof expected, "T_PORT: must be an integer from 1 to 65535, not \"%s\"\n", cases[i]);
        setenv("T_PORT", cases[i], 1);
        expect_problem(expected);
    }
}

static void says_how_to_get_what_is_missing(void **state UNUSED)
{
    unsetenv("T_KEY");
    expect_problem("T_KEY: missing: at least 32 bytes; make one with: openssl rand -hex 32\n");
    setenv("T_KEY", "", 1);
    expect_problem("T_KEY: missing: at least 32 bytes; make one with: openssl rand -hex 32\n");
}

static void reports_everything_at_once(void **state UNUSED)
{
    unsetenv("T_KEY");
    setenv("T_STORE_URI", "mysql://x", 1);
    setenv("T_NAME", "x", 1);
    setenv("T_PORT", "abc", 1);
    setenv("T_SECURE", "maybe", 1);
    assert_int_equal(load_table(options, &settings), 5);
    assert_string_equal(output, "T_STORE_URI: must be a sqlite:// URI, not \"mysql://x\"\n"
                                "T_NAME: must have at least 2 bytes, not 1\n"
                                "T_KEY: missing: at least 32 bytes; make one with: openssl rand -hex 32\n"
                                "T_PORT: must be an integer from 1 to 65535, not \"abc\"\n"
                                "T_SECURE: must be true or false, not \"maybe\"\n");
}

static void checks_the_length_of_texts(void **state UNUSED)
{
    char text[CONFIG_TEXT_MAX + 1];
    memset(text, 'x', sizeof text);
    setenv("T_NAME", "12345678901", 1);
    expect_problem("T_NAME: must have at most 10 bytes, not 11\n");
    unsetenv("T_NAME");
    text[CONFIG_TEXT_MAX - 1] = '\0';
    setenv("T_NOTE", text, 1);
    expect_none();
    assert_string_equal(settings.note, text);
    text[CONFIG_TEXT_MAX - 1] = 'x';
    text[CONFIG_TEXT_MAX] = '\0';
    setenv("T_NOTE", text, 1);
    expect_problem("T_NOTE: must have at most 511 bytes, not 512\n");
}

static void never_prints_a_secret(void **state UNUSED)
{
    char text[CONFIG_TEXT_MAX + 1];
    setenv("T_KEY", "hunter2", 1);
    expect_problem("T_KEY: must have at least 32 bytes, not 7\n");
    memset(text, 'x', sizeof text);
    text[CONFIG_TEXT_MAX] = '\0';
    setenv("T_KEY", text, 1);
    expect_problem("T_KEY: must have at most 511 bytes, not 512\n");
    setenv("T_KEY", SECRET_VALUE "!", 1);
    expect_problem("T_KEY: must not contain an exclamation mark\n");
    unsetenv("T_KEY");
    write_file("hunter2\n", 8);
    setenv("T_KEY_FILE", file_path, 1);
    assert_int_equal(load_table(options, &settings), 1);
    assert_null(strstr(output, "hunter2"));
}

static void names_the_file_that_a_wrong_value_is_from(void **state UNUSED)
{
    char expected[512];
    unsetenv("T_KEY");
    setenv("T_KEY_FILE", file_path, 1);
    setenv("T_PORT", "x", 1); /* this one is from the environment */
    write_file("short\n", 6);
    assert_int_equal(load_table(options, &settings), 2);
    snprintf(expected, sizeof expected,
             "T_KEY (from T_KEY_FILE=%s): must have at least 32 bytes, not 5\n"
             "T_PORT: must be an integer from 1 to 65535, not \"x\"\n",
             file_path);
    assert_string_equal(output, expected);
    unsetenv("T_PORT");
    write_file(SECRET_VALUE "!", strlen(SECRET_VALUE) + 1);
    snprintf(expected, sizeof expected, "T_KEY (from T_KEY_FILE=%s): must not contain an exclamation mark\n",
             file_path);
    expect_problem(expected);
}

static void hides_passwords_in_uris_and_control_characters(void **state UNUSED)
{
    static const struct {
        const char *value;
        const char *printed;
    } cases[] = {
        {"mongodb://user:pa@ss@host/x", "mongodb://***@host/x"},
        {"user:pass@host", "***@host"},
        {"mongodb://@host", "mongodb://@host"},
        {"@", "@"},
        {"a\nT_PORT: fine\x1b[0m", "a\\x0aT_PORT: fine\\x1b[0m"},
        {"\xff", "\\xff"},
        {"é", "é"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char expected[128];
        snprintf(expected, sizeof expected, "T_STORE_URI: must be a sqlite:// URI, not \"%s\"\n", cases[i].printed);
        setenv("T_STORE_URI", cases[i].value, 1);
        expect_problem(expected);
    }
}

static void cuts_long_values_in_problems(void **state UNUSED)
{
    char value[400];
    memset(value, 'x', sizeof value);
    value[sizeof value - 1] = '\0';
    setenv("T_PORT", value, 1);
    assert_int_equal(load_table(options, &settings), 1);
    assert_non_null(strstr(output, "xxx…\"\n"));
    assert_true(strlen(output) < 350);
}

static void reads_values_from_files(void **state UNUSED)
{
    static const struct {
        const char *content;
        const char *expected;
    } cases[] = {
        {"value", "value"}, {"value\n", "value"}, {"value\n\n", "value\n"}, {" value ", " value "}, {"a\nb\n", "a\nb"},
    };
    setenv("T_NOTE_FILE", file_path, 1);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        write_file(cases[i].content, strlen(cases[i].content));
        expect_none();
        assert_string_equal(settings.note, cases[i].expected);
    }
    unsetenv("T_NOTE_FILE");
    unsetenv("T_KEY");
    write_file(SECRET_VALUE "\n", strlen(SECRET_VALUE) + 1);
    setenv("T_KEY_FILE", file_path, 1);
    expect_none();
    assert_string_equal(settings.key, SECRET_VALUE);
    setenv("T_KEY", "", 1); /* empty is unset: the file counts */
    expect_none();
}

static void reads_files_up_to_the_length_of_a_value(void **state UNUSED)
{
    char content[CONFIG_TEXT_MAX + 10];
    char expected[256];
    memset(content, 'x', sizeof content);
    content[CONFIG_TEXT_MAX - 1] = '\n';
    setenv("T_NOTE_FILE", file_path, 1);
    write_file(content, CONFIG_TEXT_MAX);
    expect_none();
    assert_int_equal(strlen(settings.note), CONFIG_TEXT_MAX - 1);
    snprintf(expected, sizeof expected, "T_NOTE_FILE: cannot read %s: the file is too long for a value\n", file_path);
    content[CONFIG_TEXT_MAX - 1] = 'x';
    static const size_t lengths[] = {CONFIG_TEXT_MAX, CONFIG_TEXT_MAX + 1, CONFIG_TEXT_MAX + 2, CONFIG_TEXT_MAX + 10};
    for (size_t i = 0; i < ARRAY_LENGTH(lengths); i++) {
        write_file(content, lengths[i]);
        expect_problem(expected);
    }
    content[CONFIG_TEXT_MAX - 1] = '\n'; /* what follows the newline must not be overlooked */
    write_file(content, CONFIG_TEXT_MAX + 1);
    expect_problem(expected);
}

static void says_why_a_file_cannot_be_used(void **state UNUSED)
{
    char expected[256];
    setenv("T_NOTE_FILE", file_path, 1);
    snprintf(expected, sizeof expected, "T_NOTE_FILE: cannot read %s: No such file or directory\n", file_path);
    expect_problem(expected);
    write_file("\n", 1);
    snprintf(expected, sizeof expected, "T_NOTE_FILE: cannot read %s: the file is empty\n", file_path);
    expect_problem(expected);
    write_file("a\0b", 3);
    snprintf(expected, sizeof expected, "T_NOTE_FILE: cannot read %s: the file contains a NUL byte\n", file_path);
    expect_problem(expected);
    setenv("T_NOTE_FILE", directory, 1);
    snprintf(expected, sizeof expected, "T_NOTE_FILE: cannot read %s: Is a directory\n", directory);
    expect_problem(expected);
}

static void refuses_a_value_and_a_file_for_the_same_variable(void **state UNUSED)
{
    write_file(SECRET_VALUE, strlen(SECRET_VALUE));
    setenv("T_KEY_FILE", file_path, 1);
    expect_problem("T_KEY: set together with T_KEY_FILE: set one of them\n");
}

static void stops_reporting_at_its_limit_but_counts_on(void **state UNUSED)
{
    enum { TOO_MANY = CONFIG_PROBLEMS_MAX + 3 };
    struct config_option many[TOO_MANY + 1];
    for (size_t i = 0; i < TOO_MANY; i++) {
        many[i] = options[0];
    }
    many[TOO_MANY] = (struct config_option){.name = NULL};
    unsetenv("T_STORE_URI");
    assert_int_equal(load_table(many, &settings), TOO_MANY);
    size_t lines = 0;
    for (const char *c = output; *c != '\0'; c++) {
        lines += *c == '\n' ? 1 : 0;
    }
    assert_int_equal(lines, CONFIG_PROBLEMS_MAX + 1);
    assert_non_null(strstr(output, "\nand 3 more problems\n"));
}

static void prints_help_in_columns(void **state UNUSED)
{
    memset(output, 0, sizeof output);
    FILE *file = fmemopen(output, sizeof output - 1, "w");
    assert_non_null(file);
    config_print_help(options, file);
    assert_int_equal(fclose(file), 0);
    assert_string_equal(
        output,
        "NAME         VALUE                      DEFAULT   MEANING\n"
        "T_STORE_URI  text                       required  where records are kept, e.g. sqlite:///var/lib/x.db\n"
        "T_NAME       text, 2 to 10 bytes        session   name of the cookie\n"
        "T_NOTE       text                       -         anything\n"
        "T_KEY        secret, at least 32 bytes  required  at least 32 bytes; make one with: openssl rand -hex 32\n"
        "T_PORT       integer, 1 to 65535        3000      port to listen on\n"
        "T_OFFSET     integer, -5 to 5           -         may be negative\n"
        "T_SECURE     true or false              true      cookies over HTTPS only\n"
        "\n"
        "A text or secret can come from a file: <NAME>_FILE is its path, in place of <NAME>.\n");
}

static void prints_names_one_a_line(void **state UNUSED)
{
    memset(output, 0, sizeof output);
    FILE *file = fmemopen(output, sizeof output - 1, "w");
    assert_non_null(file);
    config_print_names(options, file);
    assert_int_equal(fclose(file), 0);
    assert_string_equal(output, "T_STORE_URI\nT_NAME\nT_NOTE\nT_KEY\nT_PORT\nT_OFFSET\nT_SECURE\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(takes_defaults_for_what_is_not_set, set_environment),
        cmocka_unit_test_setup(takes_what_is_set, set_environment),
        cmocka_unit_test_setup(reads_booleans_in_their_spellings, set_environment),
        cmocka_unit_test_setup(names_the_range_and_the_value_of_a_wrong_integer, set_environment),
        cmocka_unit_test_setup(says_how_to_get_what_is_missing, set_environment),
        cmocka_unit_test_setup(reports_everything_at_once, set_environment),
        cmocka_unit_test_setup(checks_the_length_of_texts, set_environment),
        cmocka_unit_test_setup(never_prints_a_secret, set_environment),
        cmocka_unit_test_setup(names_the_file_that_a_wrong_value_is_from, set_environment),
        cmocka_unit_test_setup(hides_passwords_in_uris_and_control_characters, set_environment),
        cmocka_unit_test_setup(cuts_long_values_in_problems, set_environment),
        cmocka_unit_test_setup(reads_values_from_files, set_environment),
        cmocka_unit_test_setup(reads_files_up_to_the_length_of_a_value, set_environment),
        cmocka_unit_test_setup(says_why_a_file_cannot_be_used, set_environment),
        cmocka_unit_test_setup(refuses_a_value_and_a_file_for_the_same_variable, set_environment),
        cmocka_unit_test_setup(stops_reporting_at_its_limit_but_counts_on, set_environment),
        cmocka_unit_test_setup(prints_help_in_columns, set_environment),
        cmocka_unit_test_setup(prints_names_one_a_line, set_environment),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
