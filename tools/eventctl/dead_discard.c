/* SPDX-License-Identifier: Apache-2.0
 * eventctl dead discard: puts down that nothing will come of a letter. */
#include <inttypes.h>
#include <stdio.h>

#include "tools/eventctl/command.h"
#include "tools/eventctl/dead.h"
#include "tools/eventctl/dead_selection.h"

static const char usage[] =
    "Usage: eventctl dead discard [OPTION]...\n"
    "Puts down that the events of open dead letters are not wanted: the letters are not open any more, nor replayed.\n"
    "Nothing is deleted; dead list --all shows them. Which ones has to be said, if only by --every.\n"
    "A TIME is like 2026-01-31T12:00:00Z, or an age like 30s, 10m, 2h, 1d.\n";

struct discard_options {
    struct dead_selection selection;
    bool every;
};

static const struct option options[] = {
    DEAD_SELECTION_OPTIONS(struct discard_options, selection),
    {.name = "every",
     .type = OPTION_FLAG,
     .offset = offsetof(struct discard_options, every),
     .help = "every letter that is open"},
    {.name = NULL},
};

struct discarder {
    struct dead_selection *selection;
    const struct signals *signals;
    size_t discarded, failed;
};

static int fail(struct discarder *discarder, const struct dead_item *item, const char *why)
{
    fprintf(stderr, "eventctl: " DEAD_LETTER_PREFIX "%s #%" PRIu64 " is not discarded: %s\n", item->subject,
            item->sequence, why);
    discarder->failed++;
    return STATUS_OK;
}

static int visit(struct connection *connection, const struct dead_item *item, void *context)
{
    struct discarder *discarder = context;
    const char *why = NULL;
    if (signals_arrived(discarder->signals)) {
        fprintf(stderr, "eventctl: interrupted\n");
        return STATUS_FAILED;
    }
    enum dead_choice choice = dead_selection_choose(discarder->selection, item, &why);
    if (choice != DEAD_CHOSEN) {
        return choice == DEAD_EXCLUDED ? fail(discarder, item, why) : STATUS_OK;
    }
    if (item->action != NULL) {
        bool is_named = discarder->selection->sequences.count > 0;
        return is_named ? fail(discarder, item, "it was dealt with before") : STATUS_OK;
    }
    int status = dead_letter_resolve(connection, item, "discarded");
    if (status == STATUS_OK) {
        discarder->discarded++;
        printf("Discarded " DEAD_LETTER_PREFIX "%s #%" PRIu64 "\n", item->subject, item->sequence);
    }
    return status;
}

static int discard(struct dead_selection *selection)
{
    struct signals signals;
    signals_open(&signals);
    struct discarder discarder = {.selection = selection, .signals = &signals};
    int status = dead_letters_each(&selection->connection, &signals, &selection->checked, visit, &discarder);
    signals_close(&signals);
    if (status != STATUS_OK) {
        if (discarder.discarded > 0) {
            fprintf(stderr, "eventctl: dead letters discarded before that: %zu\n", discarder.discarded);
        }
        return status;
    }
    discarder.failed += dead_selection_missing(selection);
    printf("dead letters discarded: %zu", discarder.discarded);
    if (discarder.failed > 0) {
        printf(", not discarded: %zu", discarder.failed);
    }
    printf("\n");
    return discarder.failed > 0 ? STATUS_FAILED : STATUS_OK;
}

int dead_discard(int argc, char **argv)
{
    struct discard_options given = {.every = false};
    struct error error = ERROR_INIT;
    int status = STATUS_OK;
    enum options_result result = dead_selection_parse(options, "discard", argc, argv, &given, &given.selection, &error);
    if (result == OPTIONS_READY && !given.every && !dead_selection_is_narrow(&given.selection)) {
        error_set(&error, ERROR_INVALID,
                  "dead discard needs to be told which letters; --every means all that are open");
        result = OPTIONS_WRONG;
    }
    return options_proceed(result, usage, options, &error, &status) ? discard(&given.selection) : status;
}
