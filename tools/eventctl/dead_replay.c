/* SPDX-License-Identifier: Apache-2.0
 * eventctl dead replay. An event is published before its letter is marked: if that breaks off in between, it is
 * published twice, which listeners take for once. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "tools/eventctl/command.h"
#include "tools/eventctl/dead.h"
#include "tools/eventctl/dead_selection.h"

static const char usage[] =
    "Usage: eventctl dead replay [OPTION]...\n"
    "Publishes the events of open dead letters again, as they were received and on the subjects that they came on, in\n"
    "the order of the letters. A letter whose event the bus has stored is not open any more.\n"
    "A letter keeps the beginning of a long event; all of it is read from the subject that it came on.\n"
    "Mend the cause first: an event that still cannot be applied comes back as a new letter.\n"
    "A TIME is like 2026-01-31T12:00:00Z, or an age like 30s, 10m, 2h, 1d.\n";

struct replay_options {
    struct dead_selection selection;
};

static const struct option options[] = {
    DEAD_SELECTION_OPTIONS(struct replay_options, selection),
    {.name = NULL},
};

struct replayer {
    struct dead_selection *selection;
    const struct signals *signals;
    size_t replayed, failed;
};

static int fail(struct replayer *replayer, const struct dead_item *item, const char *why)
{
    fprintf(stderr, "eventctl: " DEAD_LETTER_PREFIX "%s #%" PRIu64 " is not replayed: %s\n", item->subject,
            item->sequence, why);
    replayer->failed++;
    return STATUS_OK;
}

static int replay(struct replayer *replayer, struct connection *connection, const struct dead_item *item,
                  const char *event, size_t length)
{
    const struct dead_letter *letter = &item->letter;
    int status = connection_publish(connection, letter->channel, event, length);
    if (status != STATUS_OK) {
        return status;
    }
    replayer->replayed++;
    printf("Replayed " DEAD_LETTER_PREFIX "%s #%" PRIu64 " to %s\n", item->subject, item->sequence, letter->channel);
    status = dead_letter_resolve(connection, item, "replayed");
    if (status != STATUS_OK) {
        fprintf(stderr, "eventctl: " DEAD_LETTER_PREFIX "%s #%" PRIu64 " was replayed, but is still open\n",
                item->subject, item->sequence);
    }
    return status;
}

/* A letter keeps the beginning of a long event; all of it is where it came from, unless the bus began anew since. */
static int replay_original(struct replayer *replayer, struct connection *connection, const struct dead_item *item)
{
    const struct dead_letter *letter = &item->letter;
    CLEANUP(free_pointer) char *event = NULL;
    size_t length = 0;
    int status = STATUS_OK;
    if (letter->sequence > 0) {
        status = channel_read_one(&replayer->selection->connection, replayer->signals, letter->channel,
                                  letter->sequence, &event, &length);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (event == NULL || length < letter->event_length || memcmp(event, letter->event, letter->event_length) != 0) {
        return fail(replayer, item, "only the beginning of its event is kept");
    }
    if (length > BUS_MESSAGE_MAX) {
        return fail(replayer, item, "its event is too long to be published");
    }
    return replay(replayer, connection, item, event, length);
}

static int visit(struct connection *connection, const struct dead_item *item, void *context)
{
    struct replayer *replayer = context;
    const char *why = NULL;
    if (signals_arrived(replayer->signals)) {
        fprintf(stderr, "eventctl: interrupted\n");
        return STATUS_FAILED;
    }
    enum dead_choice choice = dead_selection_choose(replayer->selection, item, &why);
    if (choice != DEAD_CHOSEN) {
        return choice == DEAD_EXCLUDED ? fail(replayer, item, why) : STATUS_OK;
    }
    if (item->action != NULL) {
        bool is_named = replayer->selection->sequences.count > 0;
        return is_named ? fail(replayer, item, "it was dealt with before") : STATUS_OK;
    }
    if (item->problem != NULL) {
        return fail(replayer, item, item->problem);
    }
    if (!bus_subject_valid(item->letter.channel)) {
        return fail(replayer, item, "it does not say on what subject its event came");
    }
    if (item->letter.cut) {
        return replay_original(replayer, connection, item);
    }
    return replay(replayer, connection, item, item->letter.event, item->letter.event_length);
}

static int replay_all(struct dead_selection *selection)
{
    struct signals signals;
    signals_open(&signals);
    struct replayer replayer = {.selection = selection, .signals = &signals};
    int status = dead_letters_each(&selection->connection, &signals, &selection->checked, visit, &replayer);
    signals_close(&signals);
    if (status != STATUS_OK) {
        if (replayer.replayed > 0) {
            fprintf(stderr, "eventctl: dead letters replayed before that: %zu\n", replayer.replayed);
        }
        return status;
    }
    replayer.failed += dead_selection_missing(selection);
    printf("dead letters replayed: %zu", replayer.replayed);
    if (replayer.failed > 0) {
        printf(", not replayed: %zu", replayer.failed);
    }
    printf("\n");
    return replayer.failed > 0 ? STATUS_FAILED : STATUS_OK;
}

int dead_replay(int argc, char **argv)
{
    struct replay_options given = {.selection.listener = NULL};
    struct error error = ERROR_INIT;
    int status = STATUS_OK;
    enum options_result result = dead_selection_parse(options, "replay", argc, argv, &given, &given.selection, &error);
    return options_proceed(result, usage, options, &error, &status) ? replay_all(&given.selection) : status;
}
