/* SPDX-License-Identifier: Apache-2.0
 * The commands of eventctl and the statuses that they end with. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_COMMAND_H
#define TURNSTILE_TOOLS_EVENTCTL_COMMAND_H

#include "common/base/config.h"

/* As sysexits.h has them. */
enum {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 64,
    STATUS_DATA = 65,        /* the input is not what it should be */
    STATUS_NO_INPUT = 66,    /* the input cannot be read */
    STATUS_UNAVAILABLE = 69, /* the bus is away, or does not confirm */
    STATUS_OUTPUT = 74,      /* the output cannot be written */
    STATUS_CONFIG = CONFIG_EXIT_STATUS,
};

struct command {
    const char *name; /* NULL ends a table */
    const char *summary;
    /* The arguments begin with the command's own name. Returns the status of the process, and has told why. */
    int (*run)(int argc, char **argv);
};

/* The row of that name, or NULL. */
const struct command *command_find(const struct command *commands, const char *name);
/* One line for each, to stdout. */
void command_print_list(const struct command *commands);

int command_publish(int argc, char **argv);
int command_listen(int argc, char **argv);
int command_dead(int argc, char **argv);
int command_schema(int argc, char **argv);

#endif
