/* SPDX-License-Identifier: Apache-2.0
 * eventctl dead list, and dead show, which prints more of each. */
#include <inttypes.h>
#include <stdio.h>

#include "tools/eventctl/command.h"
#include "tools/eventctl/dead.h"
#include "tools/eventctl/dead_print.h"
#include "tools/eventctl/dead_selection.h"
#include "tools/eventctl/output.h"

static const char list_usage[] =
    "Usage: eventctl dead list [OPTION]...\n"
    "Prints the dead letters that are open, a line for each, of all subjects of the catalogue or of those that are\n"
    "named. A TIME is like 2026-01-31T12:00:00Z, or an age like 30s, 10m, 2h, 1d.\n";

static const char show_usage[] =
    "Usage: eventctl dead show [OPTION]...\n"
    "Prints all that is known of the dead letters that are open, and their events; with --sequence, of those, open or\n"
    "not. A TIME is like 2026-01-31T12:00:00Z, or an age like 30s, 10m, 2h, 1d.\n";

struct list_options {
    struct dead_selection selection;
    bool all;
    bool json;
};

static const struct option options[] = {
    DEAD_SELECTION_OPTIONS(struct list_options, selection),
    {.name = "all",
     .type = OPTION_FLAG,
     .offset = offsetof(struct list_options, all),
     .help = "those that were dealt with, too"},
    {.name = "json",
     .type = OPTION_FLAG,
     .offset = offsetof(struct list_options, json),
     .help = "print each letter, with its event, as a JSON object on a line"},
    {.name = NULL},
};

struct lister {
    struct list_options *options;
    const struct signals *signals;
    bool is_show;
    size_t open, printed, excluded;
    enum output_result result; /* of the last line */
};

static bool is_meant(struct lister *lister, const struct dead_item *item)
{
    const char *why = NULL;
    switch (dead_selection_choose(&lister->options->selection, item, &why)) {
    case DEAD_CHOSEN:
        return item->action == NULL || lister->options->all ||
               (lister->is_show && lister->options->selection.sequences.count > 0);
    case DEAD_EXCLUDED:
        fprintf(stderr, "eventctl: " DEAD_LETTER_PREFIX "%s #%" PRIu64 " is not shown: %s\n", item->subject,
                item->sequence, why);
        lister->excluded++;
        return false;
    case DEAD_NOT_MEANT:
        break;
    }
    return false;
}

static int print_item(struct connection *connection UNUSED, const struct dead_item *item, void *context)
{
    struct lister *lister = context;
    if (!is_meant(lister, item)) {
        return STATUS_OK;
    }
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(dead_print_limit(item));
    if (lister->options->json) {
        dead_print_json(item, &text);
    } else if (lister->is_show) {
        buffer_append_text(&text, lister->printed > 0 ? "\n" : "");
        dead_print_whole(item, &text);
    } else {
        dead_print_line(item, &text);
    }
    lister->open += item->action == NULL;
    lister->printed++;
    lister->result = output_write(lister->signals, text.data, text.length);
    return lister->result == OUTPUT_WRITTEN ? STATUS_OK : STATUS_FAILED;
}

static void print_counts(const struct lister *lister)
{
    if (lister->options->json || (lister->is_show && lister->printed > 0)) {
        return;
    }
    if (lister->options->all) {
        printf("dead letters: %zu, open: %zu\n", lister->printed, lister->open);
    } else {
        printf("open dead letters: %zu\n", lister->open);
    }
}

static int list(struct lister *lister)
{
    const struct dead_selection *selection = &lister->options->selection;
    int status = dead_letters_each(&selection->connection, lister->signals, &selection->checked, print_item, lister);
    if (lister->result != OUTPUT_WRITTEN) {
        return output_status(lister->result);
    }
    if (status != STATUS_OK) {
        return status;
    }
    bool is_complete = dead_selection_missing(selection) == 0 && lister->excluded == 0;
    print_counts(lister);
    return is_complete ? STATUS_OK : STATUS_FAILED;
}

static int run(int argc, char **argv, const char *command, const char *usage)
{
    struct list_options given = {.all = false};
    struct error error = ERROR_INIT;
    int status = STATUS_OK;
    enum options_result result = dead_selection_parse(options, command, argc, argv, &given, &given.selection, &error);
    if (!options_proceed(result, usage, options, &error, &status)) {
        return status;
    }
    struct signals signals;
    signals_open(&signals);
    struct lister lister = {
        .options = &given, .signals = &signals, .is_show = usage == show_usage, .result = OUTPUT_WRITTEN};
    status = list(&lister);
    signals_close(&signals);
    return status;
}

int dead_list(int argc, char **argv)
{
    return run(argc, argv, "list", list_usage);
}

int dead_show(int argc, char **argv)
{
    return run(argc, argv, "show", show_usage);
}
