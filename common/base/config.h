/* SPDX-License-Identifier: Apache-2.0
 * Configuration from the environment: one table says name, type, default, range and help; everything wrong is
 * reported at once. The only place that reads the environment. */
#ifndef TURNSTILE_BASE_CONFIG_H
#define TURNSTILE_BASE_CONFIG_H

#include <stdio.h>

#include "common/base/compiler.h"

enum {
    CONFIG_TEXT_MAX = 512,    /* bytes of a value, with the NUL */
    CONFIG_PROBLEMS_MAX = 64, /* problems reported at once */
    CONFIG_EXIT_STATUS = 78,  /* EX_CONFIG of sysexits.h */
};

enum config_type {
    CONFIG_TEXT,    /* char[CONFIG_TEXT_MAX]; min and max are lengths in bytes, max 0: what fits */
    CONFIG_INTEGER, /* int64_t; min and max are values */
    CONFIG_BOOLEAN, /* bool: true|false|1|0|yes|no */
    CONFIG_SECRET,  /* as TEXT, printed as "(set)"; never has a default */
};

/* One variable. <NAME>_FILE is accepted for every SECRET and TEXT: the value is the file's content without its last
 * newline; setting both is an error. */
struct config_option {
    const char *name; /* NULL ends a table */
    enum config_type type;
    size_t offset;             /* of the value in the settings struct */
    const char *default_value; /* NULL: none; an unset optional TEXT is "" */
    bool required;
    int64_t min, max;
    const char *help; /* one line; for a required secret it says how to make one */
    /* Optional: checks a value further. Returns NULL if it is fine, else what is wrong, as a static text that
     * goes behind the name: "must be a stan:// or nats:// URI". */
    const char *(*check)(const char *value);
};

/* Reads every variable of `options` into `ret_settings`. Returns the number of problems; each is one line in
 * `problems` (caller closes; e.g. stderr): "JWT_KEY: missing: at least 32 bytes; make one with: openssl rand -hex 32".
 * An empty variable counts as unset. Values of secrets are never printed. With problems, the settings are not to be
 * used. Not thread-safe, as the environment is not. */
size_t config_load(const struct config_option *options, void *ret_settings, FILE *problems);

/* The table as --help shows it: name, type and range, default, help. */
void config_print_help(const struct config_option *options, FILE *file);

/* The names, one a line: for checks of docs and deployment files. */
void config_print_names(const struct config_option *options, FILE *file);

#endif
