/* SPDX-License-Identifier: Apache-2.0
 * eventctl dead replay. An event is published before its letter is marked: if that breaks off in between, it is
 * published twice, which listeners take for once. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "tools/eventctl/command.h"
#include "tools/eventctl/dead.h"
#include "tools/eventctl/dead_letters.h"
#include "tools/eventctl/subject.h"

static const char usage[] =
    "Usage: eventctl dead replay [OPTION]...\n"
    "Publishes the events of open dead letters again, as they were received and on the subjects that they came on, in\n"
    "the order of the letters. A letter whose event the bus has stored is not open any more.\n"
    "A letter keeps the beginning of a long event; all of it is read from the subject that it came on.\n"
    "Mend the cause first: an event that still cannot be applied comes back as a new letter.\n";

struct replay_options {
    struct connection_options connection;
    struct option_texts subjects;
    struct option_numbers sequences;
    const char *listener;
};

static const struct option options[] = {
    {.name = "subject",
     .type = OPTION_TEXTS,
     .offset = offsetof(struct replay_options, subjects),
     .value = "SUBJECT",
     .help = "of these subjects only"},
    {.name = "sequence",
     .type = OPTION_NUMBERS,
     .offset = offsetof(struct replay_options, sequences),
     .min = 1,
     .max = INT64_MAX,
     .value = "N",
     .help = "these letters only, as dead list numbers them; needs one --subject"},
    {.name = "listener",
     .type = OPTION_TEXT,
     .offset = offsetof(struct replay_options, listener),
     .value = "NAME",
     .help = "letters of this listener only, like orders-service"},
    CONNECTION_OPTIONS(struct replay_options, connection),
    {.name = NULL},
};

struct replayer {
    const struct replay_options *options;
    const struct signals *signals;
    bool found[OPTION_LIST_MAX]; /* the sequences that were asked for */
    size_t replayed, failed;
};

/* True if this letter was asked for by number. */
static bool is_named(struct replayer *replayer, uint64_t sequence)
{
    const struct option_numbers *sequences = &replayer->options->sequences;
    bool is_there = false;
    for (size_t i = 0; i < sequences->count; i++) {
        if ((uint64_t)sequences->items[i] == sequence) {
            replayer->found[i] = true;
            is_there = true;
        }
    }
    return is_there;
}

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
        status = channel_read_one(&replayer->options->connection, replayer->signals, letter->channel, letter->sequence,
                                  &event, &length);
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
    const struct replay_options *given = replayer->options;
    bool named = is_named(replayer, item->sequence);
    if (signals_arrived(replayer->signals)) {
        fprintf(stderr, "eventctl: interrupted\n");
        return STATUS_FAILED;
    }
    if (given->sequences.count > 0 && !named) {
        return STATUS_OK;
    }
    if (item->action != NULL) {
        return named ? fail(replayer, item, "it was dealt with before") : STATUS_OK;
    }
    if (given->listener != NULL && (item->problem != NULL || !text_equal(item->letter.listener, given->listener))) {
        return named ? fail(replayer, item, "it is of another listener") : STATUS_OK;
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

static void report(struct replayer *replayer)
{
    const struct option_numbers *sequences = &replayer->options->sequences;
    for (size_t i = 0; i < sequences->count; i++) {
        if (!replayer->found[i]) {
            fprintf(stderr, "eventctl: there is no dead letter #%" PRId64 "\n", sequences->items[i]);
            replayer->failed++;
        }
    }
    printf("dead letters replayed: %zu", replayer->replayed);
    if (replayer->failed > 0) {
        printf(", not replayed: %zu", replayer->failed);
    }
    printf("\n");
}

int dead_replay(int argc, char **argv)
{
    struct replay_options given = {.connection.connect_timeout_ms = CONNECT_TIMEOUT_MS};
    struct option_texts arguments = {.count = 0};
    struct option_texts subjects = {.count = 0};
    struct error error = ERROR_INIT;
    int status = STATUS_OK;
    enum options_result result = options_parse(options, argc, argv, &given, &arguments, &error);
    if (result == OPTIONS_READY && arguments.count > 0) {
        error_set(&error, ERROR_INVALID, "dead replay takes options only, not \"%s\"", arguments.items[0]);
        result = OPTIONS_WRONG;
    } else if (result == OPTIONS_READY && !dead_subjects(&given.subjects, &subjects, &error)) {
        result = OPTIONS_WRONG;
    } else if (result == OPTIONS_READY && given.sequences.count > 0 && given.subjects.count != 1) {
        error_set(&error, ERROR_INVALID, "--sequence needs one --subject, whose letters it numbers");
        result = OPTIONS_WRONG;
    }
    if (!options_proceed(result, usage, options, &error, &status)) {
        return status;
    }
    subjects_warn(&subjects);
    struct signals signals;
    signals_open(&signals);
    struct replayer replayer = {.options = &given, .signals = &signals};
    status = dead_letters_each(&given.connection, &signals, &subjects, visit, &replayer);
    signals_close(&signals);
    if (status == STATUS_OK) {
        report(&replayer);
    } else if (replayer.replayed > 0) {
        fprintf(stderr, "eventctl: dead letters replayed before that: %zu\n", replayer.replayed);
    }
    return status == STATUS_OK && replayer.failed > 0 ? STATUS_FAILED : status;
}
