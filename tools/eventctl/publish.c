/* SPDX-License-Identifier: Apache-2.0
 * eventctl publish: any bytes on any subject, with a warning where the catalogue knows better. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/message.h"
#include "tools/eventctl/command.h"
#include "tools/eventctl/connection.h"
#include "tools/eventctl/input.h"
#include "tools/eventctl/subject.h"

enum {
    COUNT_MAX = 1000000,
};

static const char usage[] =
    "Usage: eventctl publish SUBJECT (EVENT | @FILE | -) [OPTION]...\n"
    "Publishes an event, which is given here, in a file or on stdin, and waits until the bus has stored it.\n"
    "What breaks the schema of its subject is published all the same, after a warning.\n";

struct publish_options {
    struct connection_options connection;
    int64_t count;
    bool lines;
    bool strict;
};

static const struct option options[] = {
    {.name = "count",
     .type = OPTION_NUMBER,
     .offset = offsetof(struct publish_options, count),
     .min = 1,
     .max = COUNT_MAX,
     .value = "N",
     .help = "publish each event so many times"},
    {.name = "lines",
     .type = OPTION_FLAG,
     .offset = offsetof(struct publish_options, lines),
     .help = "each line that is not empty is an event, published in order"},
    {.name = "strict",
     .type = OPTION_FLAG,
     .offset = offsetof(struct publish_options, strict),
     .help = "publish only what the schema of the subject allows"},
    CONNECTION_OPTIONS(struct publish_options, connection),
    {.name = NULL},
};

struct publisher {
    const struct publish_options *options;
    const char *subject;
    struct input *input;
    const struct signals *signals;
    struct connection *connection;
    int64_t line;      /* that is being published; 0: not by lines */
    int64_t published; /* events */
};

static void print_schema_errors(const struct publisher *publisher, const struct field_errors *errors)
{
    const char *what = publisher->options->strict ? "refused" : "warning";
    for (size_t i = 0; i < errors->count; i++) {
        const char *name = errors->items[i].field;
        fprintf(stderr, "eventctl: %s: ", what);
        if (publisher->line > 0) {
            fprintf(stderr, "line %" PRId64 ": ", publisher->line);
        }
        fprintf(stderr, "the event breaks the schema of %s: %s%s%s\n", publisher->subject, name,
                name[0] != '\0' ? ": " : "", errors->items[i].message);
    }
    if (errors->dropped > 0) {
        fprintf(stderr, "eventctl: and %zu more errors\n", errors->dropped);
    }
}

/* True if it may be published. */
static bool check_event(const struct publisher *publisher, const char *data, size_t length)
{
    const struct subject *subject = catalogue_find(publisher->subject);
    if (subject == NULL) {
        return true;
    }
    struct field_errors errors = FIELD_ERRORS_INIT;
    struct record head;
    struct event_meta meta;
    CLEANUP(free_pointer) void *value = xmalloc(subject->entity->table->size);
    if (message_parse(subject, data, length, &head, value, &meta, &errors)) {
        return true;
    }
    print_schema_errors(publisher, &errors);
    return !publisher->options->strict;
}

static int publish_event(struct publisher *publisher, const char *data, size_t length)
{
    if (!check_event(publisher, data, length)) {
        return STATUS_DATA;
    }
    for (int64_t i = 0; i < publisher->options->count; i++) {
        if (signals_arrived(publisher->signals)) {
            fprintf(stderr, "eventctl: interrupted\n");
            return STATUS_FAILED;
        }
        int status = connection_publish(publisher->connection, publisher->subject, data, length);
        if (status != STATUS_OK) {
            return status;
        }
        publisher->published++;
        printf("Event published to subject %s\n", publisher->subject);
    }
    return STATUS_OK;
}

static int input_status(const struct publisher *publisher, enum input_result result)
{
    const char *name = publisher->input->name;
    switch (result) {
    case INPUT_TAKEN:
    case INPUT_END:
        return STATUS_OK;
    case INPUT_TOO_LONG:
        fprintf(stderr, "eventctl: %s: ", name);
        if (publisher->line > 0) {
            fprintf(stderr, "line %" PRId64 ": ", publisher->line);
        }
        fprintf(stderr, "the event is too large: the bus takes at most %d bytes\n", BUS_MESSAGE_MAX);
        return STATUS_DATA;
    case INPUT_FAILED:
        fprintf(stderr, "eventctl: cannot read %s: %s\n", name, strerrordesc_np(errno));
        return STATUS_NO_INPUT;
    case INPUT_INTERRUPTED:
        fprintf(stderr, "eventctl: interrupted\n");
        break;
    }
    return STATUS_FAILED;
}

static int open_connection(struct publisher *publisher)
{
    return connection_open(&publisher->options->connection, publisher->signals, &publisher->connection);
}

/* All is read before the bus is asked for anything. */
static int publish_one(struct publisher *publisher)
{
    const char *data = NULL;
    size_t length = 0;
    int status = input_status(publisher, input_take_all(publisher->input, &data, &length));
    if (status == STATUS_OK) {
        status = open_connection(publisher);
    }
    return status == STATUS_OK ? publish_event(publisher, data, length) : status;
}

static int publish_lines(struct publisher *publisher)
{
    int status = open_connection(publisher);
    while (status == STATUS_OK) {
        const char *data = NULL;
        size_t length = 0;
        publisher->line++;
        enum input_result result = input_take_line(publisher->input, &data, &length);
        status = input_status(publisher, result);
        if (result == INPUT_END) {
            break;
        }
        if (status == STATUS_OK && length > 0) {
            status = publish_event(publisher, data, length);
        }
    }
    return status;
}

static int publish(const struct publish_options *given, const char *subject, const char *source)
{
    struct signals signals;
    struct input input;
    signals_open(&signals);
    if (!input_open(source, &signals, &input)) {
        fprintf(stderr, "eventctl: cannot read %s: %s\n", source + 1, strerrordesc_np(errno));
        signals_close(&signals);
        return STATUS_NO_INPUT;
    }
    struct publisher publisher = {.options = given, .subject = subject, .input = &input, .signals = &signals};
    int status = given->lines ? publish_lines(&publisher) : publish_one(&publisher);
    if (status != STATUS_OK && publisher.published > 0) {
        fprintf(stderr, "eventctl: events published before that: %" PRId64 "\n", publisher.published);
    }
    connection_close(&publisher.connection);
    input_done(&input);
    signals_close(&signals);
    return status;
}

int command_publish(int argc, char **argv)
{
    struct publish_options given = {.connection.connect_timeout_ms = CONNECT_TIMEOUT_MS, .count = 1};
    struct option_texts arguments = {.count = 0};
    struct error error = ERROR_INIT;
    int status = STATUS_OK;
    enum options_result result = options_parse(options, argc, argv, &given, &arguments, &error);
    if (result == OPTIONS_READY && arguments.count != 2) {
        error_set(&error, ERROR_INVALID, "publish takes a subject and an event, not %zu arguments", arguments.count);
        result = OPTIONS_WRONG;
    } else if (result == OPTIONS_READY && !bus_subject_valid(arguments.items[0])) {
        error_set(&error, ERROR_INVALID, "a subject must be 1 to %d of a-z, 0-9, ':', '_', '-', not \"%s\"",
                  BUS_SUBJECT_MAX - 1, arguments.items[0]);
        result = OPTIONS_WRONG;
    } else if (result == OPTIONS_READY && given.strict && catalogue_find(arguments.items[0]) == NULL) {
        error_set(&error, ERROR_INVALID, "the subject %s is not in the catalogue, so --strict refuses it",
                  arguments.items[0]);
        result = OPTIONS_WRONG;
    }
    if (!options_proceed(result, usage, options, &error, &status)) {
        return status;
    }
    subject_warn_channel(arguments.items[0]);
    return publish(&given, arguments.items[0], arguments.items[1]);
}
