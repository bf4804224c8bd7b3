/* SPDX-License-Identifier: Apache-2.0
 * Dead letters as text, there and back. */
#include "common/events/dead_letter.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/schema/schema.h"

/* All of a letter but the event, which no bounded field can hold. */
struct envelope {
    char channel[BUS_SUBJECT_MAX];
    int64_t sequence;
    char reason[DEAD_LETTER_REASON_MAX];
    char listener[BUS_NAME_MAX];
    int64_t attempts;
    int64_t time;
    bool cut;
};

static const struct field envelope_fields[] = {
    FIELD(struct envelope, channel, FIELD_TEXT, .min = 1, .max = BUS_SUBJECT_MAX - 1, .required = true, .in = IN_EVENT),
    FIELD(struct envelope, sequence, FIELD_INTEGER, .min = 0, .max = INT64_MAX, .required = true, .in = IN_EVENT),
    FIELD(struct envelope, reason, FIELD_TEXT, .min = 0, .max = DEAD_LETTER_REASON_MAX - 1, .required = true,
          .in = IN_EVENT),
    FIELD(struct envelope, listener, FIELD_TEXT, .min = 0, .max = BUS_NAME_MAX - 1, .required = true, .in = IN_EVENT),
    FIELD(struct envelope, attempts, FIELD_INTEGER, .min = 0, .max = INT64_MAX, .required = true, .in = IN_EVENT),
    FIELD(struct envelope, time, FIELD_TIME, .required = true, .in = IN_EVENT),
    FIELD(struct envelope, cut, FIELD_BOOLEAN, .in = IN_EVENT),
    {.name = NULL},
};

static const struct table envelope_table = {
    .name = "deadLetter", .size = sizeof(struct envelope), .fields = envelope_fields};

void dead_letter_print(const struct dead_letter *letter, struct buffer *buffer)
{
    struct envelope envelope = {
        .sequence = (int64_t)letter->sequence,
        .attempts = letter->attempts,
        .time = letter->time,
        .cut = letter->cut || letter->event_length > DEAD_LETTER_EVENT_MAX,
    };
    text_copy_cut(envelope.channel, sizeof(envelope.channel), letter->channel);
    text_copy_cut(envelope.reason, sizeof(envelope.reason), letter->reason);
    text_copy_cut(envelope.listener, sizeof(envelope.listener), letter->listener);
    size_t kept = letter->event_length < DEAD_LETTER_EVENT_MAX ? letter->event_length : DEAD_LETTER_EVENT_MAX;
    CLEANUP(free_pointer) char *base64 = text_to_base64(letter->event, kept);
    buffer_append_char(buffer, '{');
    schema_print_members(&envelope_table, IN_EVENT, NULL, &envelope, buffer);
    buffer_append_text(buffer, ",\"event\":\"");
    buffer_append_text(buffer, base64);
    buffer_append_text(buffer, "\"}");
}

bool dead_letter_parse(const char *text, size_t length, struct dead_letter *ret_letter, struct error *error)
{
    struct field_errors errors = FIELD_ERRORS_INIT;
    struct envelope envelope;
    CLEANUP(document_free) struct document *document = NULL;
    if (!document_parse(text, length, &document, &errors) ||
        !document_read(document, NULL, &envelope_table, IN_EVENT, NULL, &envelope, &errors)) {
        return field_errors_to_error(&errors, error);
    }
    size_t base64_length = 0;
    const char *base64 = document_text(document, "event", &base64_length);
    if (base64 == NULL) {
        return error_set(error, ERROR_INVALID, "event: must be a string");
    }
    char *event = NULL;
    size_t event_length = 0;
    if (!text_from_base64(base64, &event, &event_length)) {
        return error_set(error, ERROR_INVALID, "event: must be base64");
    }
    *ret_letter = (struct dead_letter){
        .sequence = (uint64_t)envelope.sequence,
        .attempts = envelope.attempts,
        .time = envelope.time,
        .event = event,
        .event_length = event_length,
        .cut = envelope.cut,
    };
    text_copy_cut(ret_letter->channel, sizeof(ret_letter->channel), envelope.channel);
    text_copy_cut(ret_letter->reason, sizeof(ret_letter->reason), envelope.reason);
    text_copy_cut(ret_letter->listener, sizeof(ret_letter->listener), envelope.listener);
    return true;
}

void dead_letter_done(struct dead_letter *letter)
{
    xfree(letter->event);
    *letter = (struct dead_letter){.sequence = 0};
}
