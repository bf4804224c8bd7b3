/* SPDX-License-Identifier: Apache-2.0
 * Command lines by a table: long options, each written `--name value` or `--name=value`, and arguments between them. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_OPTIONS_H
#define TURNSTILE_TOOLS_EVENTCTL_OPTIONS_H

#include "common/base/error.h"

enum {
    OPTION_LIST_MAX = 32,  /* values of one option, or arguments */
    OPTION_TABLE_MAX = 32, /* rows of a table */
};

enum option_type {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char *, not empty; borrowed from the command line */
    OPTION_TEXTS,   /* struct option_texts; takes all values up to the next option, and may be repeated */
    OPTION_NUMBER,  /* int64_t; min and max are values */
    OPTION_NUMBERS, /* struct option_numbers; as TEXTS */
    OPTION_SECONDS, /* int64_t milliseconds, written as seconds with up to three decimals; min and max in ms */
};

struct option_texts {
    size_t count;
    const char *items[OPTION_LIST_MAX];
};

struct option_numbers {
    size_t count;
    int64_t items[OPTION_LIST_MAX];
};

struct option {
    const char *name; /* without the dashes; NULL ends a table */
    enum option_type type;
    size_t offset; /* of the value in the struct of values */
    int64_t min, max;
    unsigned group;    /* at most one option of a group may be given; 0: none */
    const char *value; /* what the help calls the value */
    const char *help;  /* one line */
    /* TEXT: what is wrong with the value, to be told behind the option's name; NULL: nothing. May be NULL. */
    const char *(*check)(const char *value);
};

enum options_result {
    OPTIONS_READY,
    OPTIONS_HELP,  /* --help is there: what else is there does not matter */
    OPTIONS_WRONG, /* the error says how */
};

/* argv[0] is skipped. What is not given keeps its value in *values, which the caller has set to the defaults. `--` ends
 * the options; a lone `-` is an argument. */
enum options_result options_parse(const struct option *options, int argc, char **argv, void *values,
                                  struct option_texts *ret_arguments, struct error *error) MUST_CHECK;

/* The table as --help shows it, to stdout. */
void options_print_help(const struct option *options);

/* What every command does with what options_parse returned: prints `usage` and the table, or the error; true if the
 * command is to run, else *ret_status is the process' status. */
bool options_proceed(enum options_result result, const char *usage, const struct option *options,
                     const struct error *error, int *ret_status) MUST_CHECK;

#endif
