/* SPDX-License-Identifier: Apache-2.0
 * What a service does when it is asked on the command line, instead of running: publishes again what it has, or takes
 * note that its store was restored. */
#ifndef TURNSTILE_SERVICE_OPERATIONS_H
#define TURNSTILE_SERVICE_OPERATIONS_H

#include <stdio.h>

#include "common/service/service.h"

enum operation_kind {
    OPERATION_NONE, /* the service runs */
    OPERATION_REPUBLISH,
    OPERATION_RESTORED,
};

struct operation {
    enum operation_kind kind;
    struct id id;  /* set: only this one */
    int64_t since; /* ms since 1970; 0: whenever it was written */
    int64_t rate;  /* snapshots a second */
};

/* Reads the arguments behind the program's name. ERROR_INVALID, with one line about it. */
bool operation_parse(int argc, char **argv, const struct service_definition *definition,
                     struct operation *ret_operation, struct error *error) MUST_CHECK;
/* The lines of --help. */
void operation_print_help(const struct service_definition *definition, FILE *file);

/* Needs the settings; returns the exit status: 0, or 1 and a line on stderr that says why. */
int operation_run(struct service *service, const struct operation *operation);

#endif
