/* SPDX-License-Identifier: Apache-2.0
 * Tables of commands. */
#include "tools/eventctl/command.h"

#include <stdio.h>
#include <string.h>

const struct command *command_find(const struct command *commands, const char *name)
{
    for (const struct command *command = commands; command->name != NULL; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

void command_print_list(const struct command *commands)
{
    for (const struct command *command = commands; command->name != NULL; command++) {
        printf("  %-9s %s\n", command->name, command->summary);
    }
}
