/* SPDX-License-Identifier: Apache-2.0
 * eventctl: publishes events, follows channels, looks after dead letters and prints the schemas. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/eventctl/command.h"
#include "tools/eventctl/connection.h"

static const struct command commands[] = {
    {"publish", "publish events and wait until the bus has stored them", command_publish},
    {"listen", "print what is published", command_listen},
    {"dead", "list, show, replay and discard events that no listener could apply", command_dead},
    {"schema", "print what the events look like, as JSON Schema or AsyncAPI", command_schema},
    {.name = NULL},
};

static void usage(void)
{
    printf("Usage: eventctl COMMAND [ARGUMENT | OPTION]...\n"
           "Speaks to the event bus.\n\n"
           "Commands:\n");
    command_print_list(commands);
    printf("\n"
           "eventctl COMMAND --help tells more, eventctl --version the version.\n\n"
           "Environment:\n");
    connection_print_settings();
}

/* What the process was not given, another file would be opened as. The null device is opened for reading, so that
 * output that goes nowhere is an error. */
static void open_missing_descriptors(void)
{
    for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; descriptor++) {
        if (fcntl(descriptor, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0) {
            return;
        }
    }
}

/* Nobody who reads any more is no reason to complain. */
static int flush_output(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return status;
    }
    if (errno != EPIPE && status == STATUS_OK) {
        fprintf(stderr, "eventctl: cannot write: %s\n", strerrordesc_np(errno));
        return STATUS_OUTPUT;
    }
    return status;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "eventctl: a command is missing; try eventctl --help\n");
        return STATUS_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        usage();
        return STATUS_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("eventctl %s\n", TURNSTILE_VERSION);
        return STATUS_OK;
    }
    const struct command *command = command_find(commands, argv[1]);
    if (command == NULL) {
        fprintf(stderr, "eventctl: unknown %s \"%s\"; try eventctl --help\n", argv[1][0] == '-' ? "option" : "command",
                argv[1]);
        return STATUS_USAGE;
    }
    return command->run(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    open_missing_descriptors();
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    return flush_output(run(argc, argv));
}
