/* SPDX-License-Identifier: Apache-2.0
 * Command lines by a table. */
#include "tools/eventctl/options.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/text.h"
#include "tools/eventctl/command.h"

enum {
    SECONDS_DECIMALS = 3,
    SECONDS_TEXT_MAX = 24, /* bytes, with the NUL */
    HELP_COLUMN_SIZE = 64,
};

struct parser {
    const struct option *options;
    char **rest; /* what is still to be read */
    char **end;
    void *values;
    bool given[OPTION_TABLE_MAX];
    struct error *error;
};

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

static bool wrong(struct parser *parser, const char *name, const char *what)
{
    return error_set(parser->error, ERROR_INVALID, "--%s %s", name, what);
}

/* "1.25" to 1250. */
static bool seconds_from_text(const char *text, int64_t min, int64_t max, int64_t *ret_ms)
{
    char digits[SECONDS_TEXT_MAX];
    const char *point = strchr(text, '.');
    size_t whole = point != NULL ? (size_t)(point - text) : strlen(text);
    const char *decimals = point != NULL ? point + 1 : "";
    size_t count = strlen(decimals);
    if (whole == 0 || whole + SECONDS_DECIMALS >= sizeof(digits) || count > SECONDS_DECIMALS ||
        (point != NULL && count == 0) || strspn(decimals, "0123456789") != count) {
        return false;
    }
    memcpy(digits, text, whole);
    memset(digits + whole, '0', SECONDS_DECIMALS);
    memcpy(digits + whole, decimals, count);
    digits[whole + SECONDS_DECIMALS] = '\0';
    return text_to_int64(digits, min, max, ret_ms);
}

static bool store_text(struct parser *parser, const struct option *option, const char *text, const char **ret_text)
{
    const char *problem = option->check != NULL ? option->check(text) : NULL;
    if (problem != NULL) {
        return wrong(parser, option->name, problem);
    }
    *ret_text = text;
    return true;
}

static bool store_number(struct parser *parser, const struct option *option, const char *text, int64_t *ret_number)
{
    if (text_to_int64(text, option->min, option->max, ret_number)) {
        return true;
    }
    return error_set(parser->error, ERROR_INVALID,
                     "--%s must be an integer from %" PRId64 " to %" PRId64 ", not \"%s\"", option->name, option->min,
                     option->max, text);
}

static bool store(struct parser *parser, const struct option *option, const char *text)
{
    char *place = (char *)parser->values + option->offset;
    if (text[0] == '\0') {
        return wrong(parser, option->name, "needs a value that is not empty");
    }
    switch (option->type) {
    case OPTION_TEXT:
        return store_text(parser, option, text, (const char **)(void *)place);
    case OPTION_NUMBER:
        return store_number(parser, option, text, (int64_t *)(void *)place);
    case OPTION_SECONDS:
        if (!seconds_from_text(text, option->min, option->max, (int64_t *)(void *)place)) {
            return error_set(parser->error, ERROR_INVALID, "--%s must be seconds from %g to %g, not \"%s\"",
                             option->name, (double)option->min / 1000, (double)option->max / 1000, text);
        }
        return true;
    case OPTION_TEXTS: {
        struct option_texts *texts = (void *)place;
        if (texts->count == OPTION_LIST_MAX) {
            return wrong(parser, option->name, "has too many values");
        }
        texts->items[texts->count++] = text;
        return true;
    }
    case OPTION_NUMBERS: {
        struct option_numbers *numbers = (void *)place;
        if (numbers->count == OPTION_LIST_MAX) {
            return wrong(parser, option->name, "has too many values");
        }
        return store_number(parser, option, text, &numbers->items[numbers->count++]);
    }
    case OPTION_FLAG:
        break;
    }
    return false;
}

static const struct option *find(const struct parser *parser, const char *name, size_t length)
{
    for (const struct option *option = parser->options; option->name != NULL; option++) {
        if (strlen(option->name) == length && memcmp(option->name, name, length) == 0) {
            return option;
        }
    }
    return NULL;
}

/* Notes that the option is there; false if it may not be. */
static bool note(struct parser *parser, const struct option *option)
{
    size_t index = (size_t)(option - parser->options);
    bool is_list = option->type == OPTION_TEXTS || option->type == OPTION_NUMBERS;
    assert(index < OPTION_TABLE_MAX);
    if (parser->given[index] && !is_list) {
        return wrong(parser, option->name, "is given twice");
    }
    for (const struct option *other = parser->options; other->name != NULL && option->group != 0; other++) {
        if (other != option && other->group == option->group && parser->given[other - parser->options]) {
            return error_set(parser->error, ERROR_INVALID, "--%s and --%s exclude each other", other->name,
                             option->name);
        }
    }
    parser->given[index] = true;
    return true;
}

/* parser->rest is behind the option's own word. */
static bool take_values(struct parser *parser, const struct option *option, const char *value)
{
    if (option->type == OPTION_FLAG) {
        if (value != NULL) {
            return wrong(parser, option->name, "takes no value");
        }
        *((bool *)parser->values + option->offset) = true;
        return true;
    }
    bool is_list = option->type == OPTION_TEXTS || option->type == OPTION_NUMBERS;
    if (value == NULL) {
        if (parser->rest == parser->end || is_option(*parser->rest)) {
            return wrong(parser, option->name, "needs a value");
        }
        value = *parser->rest++;
        while (is_list && parser->rest < parser->end && !is_option(*parser->rest)) {
            if (!store(parser, option, value)) {
                return false;
            }
            value = *parser->rest++;
        }
    }
    return store(parser, option, value);
}

static bool parse_option(struct parser *parser, const char *word)
{
    const char *name = word + 2;
    size_t length = strcspn(name, "=");
    const struct option *option = word[1] == '-' ? find(parser, name, length) : NULL;
    if (option == NULL) {
        return error_set(parser->error, ERROR_INVALID, "unknown option \"%s\"", word);
    }
    return note(parser, option) && take_values(parser, option, name[length] == '=' ? name + length + 1 : NULL);
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && !text_equal(argv[i], "--"); i++) {
        if (text_equal(argv[i], "--help") || text_equal(argv[i], "-h")) {
            return true;
        }
    }
    return false;
}

enum options_result options_parse(const struct option *options, int argc, char **argv, void *values,
                                  struct option_texts *ret_arguments, struct error *error)
{
    if (asks_for_help(argc, argv)) {
        return OPTIONS_HELP;
    }
    struct parser parser = {.options = options, .rest = argv + 1, .end = argv + argc, .values = values, .error = error};
    struct option_texts arguments = {.count = 0};
    bool options_ended = false;
    while (parser.rest < parser.end) {
        const char *word = *parser.rest++;
        if (!options_ended && text_equal(word, "--")) {
            options_ended = true;
        } else if (!options_ended && is_option(word)) {
            if (!parse_option(&parser, word)) {
                return OPTIONS_WRONG;
            }
        } else if (arguments.count == OPTION_LIST_MAX) {
            error_set(error, ERROR_INVALID, "more than %d arguments", OPTION_LIST_MAX);
            return OPTIONS_WRONG;
        } else {
            arguments.items[arguments.count++] = word;
        }
    }
    *ret_arguments = arguments;
    return OPTIONS_READY;
}

/* As it is written on the command line. */
static void describe(const struct option *option, char ret_text[static HELP_COLUMN_SIZE])
{
    bool is_list = option->type == OPTION_TEXTS || option->type == OPTION_NUMBERS;
    snprintf(ret_text, HELP_COLUMN_SIZE, "--%s%s%s%s", option->name, option->value != NULL ? " " : "",
             option->value != NULL ? option->value : "", is_list ? "..." : "");
}

void options_print_help(const struct option *options)
{
    char column[HELP_COLUMN_SIZE];
    int width = 0;
    for (const struct option *option = options; option->name != NULL; option++) {
        describe(option, column);
        width = (int)strlen(column) > width ? (int)strlen(column) : width;
    }
    printf("Options:\n");
    for (const struct option *option = options; option->name != NULL; option++) {
        describe(option, column);
        printf("  %-*s  %s\n", width, column, option->help);
    }
    printf("  %-*s  %s\n", width, "--help", "print this");
}

bool options_proceed(enum options_result result, const char *usage, const struct option *options,
                     const struct error *error, int *ret_status)
{
    switch (result) {
    case OPTIONS_READY:
        return true;
    case OPTIONS_HELP:
        printf("%s\n", usage);
        options_print_help(options);
        *ret_status = STATUS_OK;
        return false;
    case OPTIONS_WRONG:
        break;
    }
    /* The first line of a usage is "Usage: eventctl <command> …". */
    fprintf(stderr, "eventctl: %s\n%.*s\n", error->message, (int)strcspn(usage, "\n"), usage);
    *ret_status = STATUS_USAGE;
    return false;
}
