/* SPDX-License-Identifier: Apache-2.0
 * Events as text, there and back. */
#include "common/events/message.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/text.h"

enum {
    SPAN_LENGTH = 16,             /* hex digits */
    TRACE_AT = sizeof("00-") - 1, /* where the trace begins in a traceparent */
    TRACEPARENT_LENGTH = TRACE_AT + TRACE_LENGTH + 1 + SPAN_LENGTH + 1 + 2,
};

static const struct field event_meta_fields[] = {
    FIELD_NAMED("eventId", struct event_meta, event_id, FIELD_TEXT, .min = 1, .max = EVENT_ID_MAX - 1, .in = IN_EVENT,
                .description = "<entity>/<id>/<version>"),
    FIELD(struct event_meta, time, FIELD_TIME, .in = IN_EVENT, .description = "When it was made"),
    FIELD(struct event_meta, traceparent, FIELD_TEXT, .min = 1, .max = TRACEPARENT_MAX - 1, .in = IN_EVENT,
          .description = "W3C Trace Context"),
    FIELD(struct event_meta, epoch, FIELD_INTEGER, .min = 0, .max = RECORD_VERSION_MAX, .in = IN_EVENT,
          .description = "Raised when the owner's store was restored from an older backup; absent: 0"),
    {.name = NULL},
};

const struct table event_meta_table = {
    .name = "eventMeta", .size = sizeof(struct event_meta), .fields = event_meta_fields};

/* The epoch decides what becomes of the event, so it must not be lost when another part of meta is broken. */
static const struct field event_epoch_fields[] = {
    FIELD(struct event_meta, epoch, FIELD_INTEGER, .min = 0, .max = RECORD_VERSION_MAX, .in = IN_EVENT),
    {.name = NULL},
};

static const struct table event_epoch_table = {
    .name = "eventEpoch", .size = sizeof(struct event_meta), .fields = event_epoch_fields};

static bool is_hex(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!isxdigit((unsigned char)text[i]) || isupper((unsigned char)text[i])) {
            return false;
        }
    }
    return true;
}

/* All zeros is what the standard calls invalid. */
static bool is_trace(const char *text)
{
    return is_hex(text, TRACE_LENGTH) && strspn(text, "0") < TRACE_LENGTH;
}

bool message_trace(const struct event_meta *meta, char ret_trace[static TRACE_LENGTH + 1])
{
    const char *text = meta->traceparent;
    if (strlen(text) < TRACEPARENT_LENGTH || !is_hex(text, 2) || text[2] != '-' || !is_trace(text + TRACE_AT) ||
        text[TRACE_AT + TRACE_LENGTH] != '-') {
        return false;
    }
    memcpy(ret_trace, text + TRACE_AT, TRACE_LENGTH);
    ret_trace[TRACE_LENGTH] = '\0';
    return true;
}

/* Goes on with the trace of what this thread works on, or begins one. */
static void make_traceparent(char ret_text[static TRACEPARENT_MAX])
{
    char trace[TRACE_LENGTH + 1];
    char span[SPAN_LENGTH + 1];
    if (strlen(log_context_trace()) == TRACE_LENGTH && is_trace(log_context_trace())) {
        text_copy_cut(trace, sizeof(trace), log_context_trace());
    } else {
        random_hex(trace, TRACE_LENGTH);
    }
    random_hex(span, SPAN_LENGTH);
    snprintf(ret_text, TRACEPARENT_MAX, "00-%s-%s-01", trace, span);
}

/* What an entity without versions is called by: the first id in it. */
static const char *unversioned_id(const struct table *table, const void *value)
{
    for (const struct field *field = table->fields; field->name != NULL; field++) {
        if (field->type == FIELD_ID) {
            return ((const struct id *)(const void *)((const char *)value + field->offset))->hex;
        }
    }
    return "";
}

void message_event_id(const struct subject *subject, const struct record *head, const void *value,
                      char ret_text[static EVENT_ID_MAX])
{
    const struct entity *entity = subject->entity;
    if (entity->table->versioned) {
        snprintf(ret_text, EVENT_ID_MAX, "%s/%s/%" PRIu64, entity->name, head->id.hex, head->version);
    } else {
        snprintf(ret_text, EVENT_ID_MAX, "%s/%s", entity->name, unversioned_id(entity->table, value));
    }
}

void message_print(const struct subject *subject, const struct record *head, const void *value, int64_t now,
                   struct buffer *buffer)
{
    struct event_meta meta = {.time = now, .epoch = (int64_t)head->epoch};
    message_event_id(subject, head, value, meta.event_id);
    make_traceparent(meta.traceparent);
    buffer_append_char(buffer, '{');
    schema_print_members(subject->entity->table, IN_EVENT, head, value, buffer);
    buffer_append_text(buffer, ",\"meta\":");
    schema_print(&event_meta_table, IN_EVENT, NULL, &meta, buffer);
    buffer_append_char(buffer, '}');
}

static void read_meta(const struct document *document, struct event_meta *ret_meta)
{
    struct field_errors ignored = FIELD_ERRORS_INIT;
    if (document_read(document, "meta", &event_meta_table, IN_EVENT, NULL, ret_meta, &ignored)) {
        return;
    }
    if (!document_read(document, "meta", &event_epoch_table, IN_EVENT, NULL, ret_meta, &ignored)) {
        *ret_meta = (struct event_meta){.time = 0};
    }
}

bool message_parse(const struct subject *subject, const char *text, size_t length, struct record *ret_head,
                   void *ret_value, struct event_meta *ret_meta, struct field_errors *errors)
{
    const struct table *table = subject->entity->table;
    CLEANUP(document_free) struct document *document = NULL;
    if (!document_parse(text, length, &document, errors) ||
        !document_read(document, NULL, table, IN_EVENT, ret_head, ret_value, errors)) {
        return false;
    }
    if (table->versioned && ret_head->version == 0 && !subject->is_snapshot) {
        return field_errors_add(errors, "version", "must be at least 1");
    }
    read_meta(document, ret_meta);
    ret_head->epoch = (uint64_t)ret_meta->epoch;
    return true;
}
