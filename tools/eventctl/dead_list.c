/* SPDX-License-Identifier: Apache-2.0
 * eventctl dead list. */
#include <inttypes.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/message.h"
#include "tools/eventctl/command.h"
#include "tools/eventctl/dead.h"
#include "tools/eventctl/dead_letters.h"
#include "tools/eventctl/output.h"
#include "tools/eventctl/subject.h"

enum {
    LINE_MAX_BYTES = 16384, /* without the event */
    ESCAPED_BYTES = 5,      /* that one byte of the event may become, as in \\xff */
};

static const char usage[] =
    "Usage: eventctl dead list [OPTION]...\n"
    "Prints the dead letters that are open, of all subjects of the catalogue or of those that are named.\n";

struct list_options {
    struct connection_options connection;
    struct option_texts subjects;
    bool all;
    bool json;
};

static const struct option options[] = {
    {.name = "subject",
     .type = OPTION_TEXTS,
     .offset = offsetof(struct list_options, subjects),
     .value = "SUBJECT",
     .help = "of these subjects only"},
    {.name = "all",
     .type = OPTION_FLAG,
     .offset = offsetof(struct list_options, all),
     .help = "those that were dealt with, too"},
    {.name = "json",
     .type = OPTION_FLAG,
     .offset = offsetof(struct list_options, json),
     .help = "print each letter, with its event, as a JSON object on a line"},
    CONNECTION_OPTIONS(struct list_options, connection),
    {.name = NULL},
};

/* What is printed of a letter. */
struct row {
    char subject[BUS_SUBJECT_MAX];
    int64_t sequence;
    char state[DEAD_ACTION_MAX]; /* "open", or how it was dealt with */
    char problem[ERROR_MESSAGE_MAX];
    int64_t time;
    char listener[BUS_NAME_MAX];
    int64_t attempts;
    char reason[DEAD_LETTER_REASON_MAX];
    char event_id[EVENT_ID_MAX];
    int64_t event_sequence;
    bool cut;
};

static const struct field row_fields[] = {
    FIELD(struct row, subject, FIELD_TEXT, .required = true, .in = IN_RESPONSE),
    FIELD(struct row, sequence, FIELD_INTEGER, .required = true, .in = IN_RESPONSE),
    FIELD(struct row, state, FIELD_TEXT, .required = true, .in = IN_RESPONSE),
    FIELD(struct row, problem, FIELD_TEXT, .in = IN_RESPONSE),
    FIELD(struct row, time, FIELD_TIME, .in = IN_RESPONSE),
    FIELD(struct row, listener, FIELD_TEXT, .in = IN_RESPONSE),
    FIELD(struct row, attempts, FIELD_INTEGER, .in = IN_RESPONSE),
    FIELD(struct row, reason, FIELD_TEXT, .in = IN_RESPONSE),
    FIELD_NAMED("eventId", struct row, event_id, FIELD_TEXT, .in = IN_RESPONSE),
    FIELD_NAMED("eventSequence", struct row, event_sequence, FIELD_INTEGER, .in = IN_RESPONSE),
    FIELD(struct row, cut, FIELD_BOOLEAN, .in = IN_RESPONSE),
    {.name = NULL},
};

static const struct table row_table = {.name = "row", .size = sizeof(struct row), .fields = row_fields};

struct lister {
    const struct list_options *options;
    const struct signals *signals;
    size_t open, printed;
    enum output_result result; /* of the last line */
};

/* As the event says; else as its content has it, where that can be read; else "". */
static void find_event_id(const struct dead_letter *letter, char ret_id[static EVENT_ID_MAX])
{
    const struct subject *subject = catalogue_find(letter->channel);
    struct field_errors errors = FIELD_ERRORS_INIT;
    struct event_meta meta = {.time = 0};
    struct record head;
    CLEANUP(document_free) struct document *document = NULL;
    ret_id[0] = '\0';
    if (document_parse(letter->event, letter->event_length, &document, &errors) &&
        document_read(document, "meta", &event_meta_table, IN_EVENT, NULL, &meta, &errors)) {
        text_copy_cut(ret_id, EVENT_ID_MAX, meta.event_id);
    }
    if (ret_id[0] != '\0' || subject == NULL) {
        return;
    }
    CLEANUP(free_pointer) void *value = xmalloc(subject->entity->table->size);
    if (message_parse(subject, letter->event, letter->event_length, &head, value, &meta, &errors)) {
        message_event_id(subject, &head, value, ret_id);
    }
}

static void fill_row(const struct dead_item *item, struct row *ret_row)
{
    const struct dead_letter *letter = &item->letter;
    struct row row = {.sequence = (int64_t)item->sequence};
    text_copy_cut(row.subject, sizeof(row.subject), item->subject);
    text_copy_cut(row.state, sizeof(row.state), item->action != NULL ? item->action : "open");
    if (item->problem != NULL) {
        text_copy_cut(row.problem, sizeof(row.problem), item->problem);
    } else {
        row.time = letter->time;
        row.attempts = letter->attempts;
        row.event_sequence = (int64_t)letter->sequence;
        row.cut = letter->cut;
        text_copy_cut(row.listener, sizeof(row.listener), letter->listener);
        text_copy_cut(row.reason, sizeof(row.reason), letter->reason);
        find_event_id(letter, row.event_id);
    }
    *ret_row = row;
}

static void append_text(struct buffer *line, const struct row *row)
{
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(LINE_MAX_BYTES);
    buffer_printf(&text, DEAD_LETTER_PREFIX "%s #%" PRId64 " (%s%s)", row->subject, row->sequence, row->state,
                  row->cut ? ", cut" : "");
    if (row->problem[0] != '\0') {
        buffer_printf(&text, " cannot be read: %s", row->problem);
    } else {
        char time[CLOCK_TEXT_SIZE];
        clock_to_text(row->time, time);
        buffer_printf(&text, " %s %s, event %s, %" PRId64 " attempt%s: %s", time, row->listener,
                      row->event_id[0] != '\0' ? row->event_id : "without id", row->attempts,
                      row->attempts == 1 ? "" : "s", row->reason);
    }
    output_append_escaped(line, buffer_text(&text), text.length);
}

/* The event as it is, if it is a JSON object of which nothing is missing; else as text. */
static void append_json(struct buffer *line, const struct row *row, const struct dead_letter *letter)
{
    buffer_append_char(line, '{');
    schema_print_members(&row_table, IN_RESPONSE, NULL, row, line);
    if (letter->event != NULL &&
        (letter->cut || !output_append_object_member(line, "event", letter->event, letter->event_length))) {
        CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(ESCAPED_BYTES * letter->event_length);
        output_append_escaped(&text, letter->event, letter->event_length);
        buffer_append_text(line, ",\"eventText\":");
        buffer_append_json_string(line, buffer_text(&text), text.length);
    }
    buffer_append_char(line, '}');
}

static int print_item(struct connection *connection UNUSED, const struct dead_item *item, void *context)
{
    struct lister *lister = context;
    struct row row;
    if (item->action != NULL && !lister->options->all) {
        return STATUS_OK;
    }
    CLEANUP(buffer_done) struct buffer line = BUFFER_INIT(LINE_MAX_BYTES + ESCAPED_BYTES * item->letter.event_length);
    fill_row(item, &row);
    if (lister->options->json) {
        append_json(&line, &row, &item->letter);
    } else {
        append_text(&line, &row);
    }
    buffer_append_char(&line, '\n');
    lister->open += item->action == NULL;
    lister->printed++;
    lister->result = output_write(lister->signals, line.data, line.length);
    return lister->result == OUTPUT_WRITTEN ? STATUS_OK : STATUS_FAILED;
}

static int list(const struct list_options *given, const struct option_texts *subjects)
{
    struct signals signals;
    signals_open(&signals);
    struct lister lister = {.options = given, .signals = &signals, .result = OUTPUT_WRITTEN};
    int status = dead_letters_each(&given->connection, &signals, subjects, print_item, &lister);
    signals_close(&signals);
    if (lister.result != OUTPUT_WRITTEN) {
        return output_status(lister.result);
    }
    if (status == STATUS_OK && !given->json && given->all) {
        printf("dead letters: %zu, open: %zu\n", lister.printed, lister.open);
    } else if (status == STATUS_OK && !given->json) {
        printf("open dead letters: %zu\n", lister.open);
    }
    return status;
}

int dead_list(int argc, char **argv)
{
    struct list_options given = {.connection.connect_timeout_ms = CONNECT_TIMEOUT_MS};
    struct option_texts arguments = {.count = 0};
    struct option_texts subjects = {.count = 0};
    struct error error = ERROR_INIT;
    int status = STATUS_OK;
    enum options_result result = options_parse(options, argc, argv, &given, &arguments, &error);
    if (result == OPTIONS_READY && arguments.count > 0) {
        error_set(&error, ERROR_INVALID, "dead list takes options only, not \"%s\"", arguments.items[0]);
        result = OPTIONS_WRONG;
    } else if (result == OPTIONS_READY && !dead_subjects(&given.subjects, &subjects, &error)) {
        result = OPTIONS_WRONG;
    }
    if (!options_proceed(result, usage, options, &error, &status)) {
        return status;
    }
    subjects_warn(&subjects);
    return list(&given, &subjects);
}
