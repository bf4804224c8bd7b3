/* SPDX-License-Identifier: Apache-2.0
 * Dead letters for people and for programs to read. */
#include "tools/eventctl/dead_print.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/message.h"
#include "tools/eventctl/indent.h"
#include "tools/eventctl/output.h"

enum {
    HEAD_BYTES = 16384,  /* a letter without its event */
    ESCAPED_BYTES = 5,   /* that one byte of the event may become, as in \\xff */
    INDENTED_BYTES = 64, /* the same, in JSON that is indented: as deep as documents may be */
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

size_t dead_print_limit(const struct dead_item *item)
{
    return HEAD_BYTES + INDENTED_BYTES * item->letter.event_length;
}

static void append_title(struct buffer *text, const struct row *row)
{
    buffer_printf(text, DEAD_LETTER_PREFIX "%s #%" PRId64 " (%s%s)", row->subject, row->sequence, row->state,
                  row->cut ? ", cut" : "");
    if (row->problem[0] != '\0') {
        buffer_printf(text, " cannot be read: %s", row->problem);
    }
}

void dead_print_line(const struct dead_item *item, struct buffer *buffer)
{
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(HEAD_BYTES);
    struct row row;
    fill_row(item, &row);
    append_title(&text, &row);
    if (row.problem[0] == '\0') {
        char time[CLOCK_TEXT_SIZE];
        clock_to_text(row.time, time);
        buffer_printf(&text, " %s %s, event %s, %" PRId64 " attempt%s: %s", time, row.listener,
                      row.event_id[0] != '\0' ? row.event_id : "without id", row.attempts, row.attempts == 1 ? "" : "s",
                      row.reason);
    }
    output_append_escaped(buffer, buffer_text(&text), text.length);
    buffer_append_char(buffer, '\n');
}

void dead_print_json(const struct dead_item *item, struct buffer *buffer)
{
    const struct dead_letter *letter = &item->letter;
    struct row row;
    fill_row(item, &row);
    buffer_append_char(buffer, '{');
    schema_print_members(&row_table, IN_RESPONSE, NULL, &row, buffer);
    if (letter->event != NULL &&
        (letter->cut || !output_append_object_member(buffer, "event", letter->event, letter->event_length))) {
        CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(ESCAPED_BYTES * letter->event_length);
        output_append_escaped(&text, letter->event, letter->event_length);
        buffer_append_text(buffer, ",\"eventText\":");
        buffer_append_json_string(buffer, buffer_text(&text), text.length);
    }
    buffer_append_text(buffer, "}\n");
}

/* One line of "  name      value". */
static void append_member(struct buffer *buffer, const char *name, const char *value)
{
    buffer_printf(buffer, "  %-9s ", name);
    output_append_escaped(buffer, value, strlen(value));
    buffer_append_char(buffer, '\n');
}

static void append_event(struct buffer *buffer, const struct dead_letter *letter)
{
    struct field_errors errors = FIELD_ERRORS_INIT;
    CLEANUP(document_free) struct document *document = NULL;
    if (!letter->cut && document_parse(letter->event, letter->event_length, &document, &errors)) {
        indent_json(letter->event, letter->event_length, buffer);
    } else {
        output_append_escaped(buffer, letter->event, letter->event_length);
    }
    buffer_append_char(buffer, '\n');
}

void dead_print_whole(const struct dead_item *item, struct buffer *buffer)
{
    const struct dead_letter *letter = &item->letter;
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(HEAD_BYTES);
    struct row row;
    fill_row(item, &row);
    append_title(&text, &row);
    output_append_escaped(buffer, buffer_text(&text), text.length);
    buffer_append_char(buffer, '\n');
    if (item->problem != NULL) {
        return;
    }
    char time[CLOCK_TEXT_SIZE];
    clock_to_text(row.time, time);
    append_member(buffer, "reason", row.reason);
    append_member(buffer, "listener", row.listener);
    append_member(buffer, "time", time);
    buffer_printf(buffer, "  %-9s %" PRId64 "\n", "attempts", row.attempts);
    append_member(buffer, "event", row.event_id[0] != '\0' ? row.event_id : "without id");
    buffer_clear(&text);
    buffer_printf(&text, "%s #%" PRId64, letter->channel, row.event_sequence);
    append_member(buffer, "from", buffer_text(&text));
    if (letter->cut) {
        buffer_printf(buffer,
                      "  %-9s the letter keeps the first %zu bytes of the event, all of it is where it is from\n",
                      "cut", letter->event_length);
    }
    append_event(buffer, letter);
}
