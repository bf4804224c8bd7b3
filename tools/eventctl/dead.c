/* SPDX-License-Identifier: Apache-2.0
 * eventctl dead: looks after the events that no listener could apply. */
#include "tools/eventctl/dead.h"

#include <stdio.h>

#include "common/base/text.h"
#include "tools/eventctl/command.h"

static const struct command commands[] = {
    {"list", "print the dead letters that are open, a line for each", dead_list},
    {"show", "print all of dead letters, with their events", dead_show},
    {"replay", "publish events again to the channels that they came on", dead_replay},
    {"discard", "put down that events are not wanted", dead_discard},
    {.name = NULL},
};

int command_dead(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "eventctl: dead needs a command; try eventctl dead --help\n");
        return STATUS_USAGE;
    }
    if (text_equal(argv[1], "--help") || text_equal(argv[1], "-h")) {
        printf(
            "Usage: eventctl dead COMMAND [OPTION]...\n"
            "An event that no listener could apply is kept on dead:<subject>, as a dead letter, which is open until\n"
            "it is dealt with.\n\n"
            "Commands:\n");
        command_print_list(commands);
        printf("\neventctl dead COMMAND --help tells more.\n");
        return STATUS_OK;
    }
    const struct command *command = command_find(commands, argv[1]);
    if (command == NULL) {
        fprintf(stderr, "eventctl: unknown command \"dead %s\"; try eventctl dead --help\n", argv[1]);
        return STATUS_USAGE;
    }
    return command->run(argc - 1, argv + 1);
}
