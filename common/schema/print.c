/* SPDX-License-Identifier: Apache-2.0
 * From structs to JSON by the field tables, straight into a buffer. */
#include "common/schema/print.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "common/base/text.h"
#include "common/schema/schema.h"

enum {
    UTF8_SEQUENCE_MAX = 4, /* bytes */
};

/* The length of the valid UTF-8 sequence at `text`, 0 if there is none. */
static size_t sequence_length(const char *text, size_t length)
{
    for (size_t i = 1; i <= UTF8_SEQUENCE_MAX && i <= length; i++) {
        if (text_is_utf8(text, i)) {
            return i;
        }
    }
    return 0;
}

static void print_repaired(struct buffer *buffer, const char *text, size_t length)
{
    struct buffer repaired = BUFFER_INIT(length * strlen("\xEF\xBF\xBD"));
    for (size_t i = 0; i < length;) {
        size_t sequence = sequence_length(text + i, length - i);
        if (sequence == 0) {
            buffer_append_text(&repaired, "\xEF\xBF\xBD");
            i++;
        } else {
            buffer_append(&repaired, text + i, sequence);
            i += sequence;
        }
    }
    buffer_append_json_string(buffer, buffer_text(&repaired), repaired.length);
    buffer_done(&repaired);
}

void print_text(struct buffer *buffer, const char *text, size_t length)
{
    if (text_is_utf8(text, length)) {
        buffer_append_json_string(buffer, text, length);
    } else {
        print_repaired(buffer, text, length);
    }
}

static void print_fields(const struct table *table, enum field_in in, const char *value, bool first,
                         struct buffer *buffer);

static void print_integer(const void *member, struct buffer *buffer)
{
    buffer_printf(buffer, "%" PRId64, *(const int64_t *)member);
}

static void print_time(const void *member, struct buffer *buffer)
{
    char text[CLOCK_TEXT_SIZE];
    clock_to_text(*(const int64_t *)member, text);
    buffer_append_json_string(buffer, text, strlen(text));
}

static void print_choice(const struct field *field, const void *member, struct buffer *buffer)
{
    const char *name = choice_to_text(field->choices, *(const int32_t *)member);
    if (name == NULL) {
        buffer_append_text(buffer, "null"); /* nothing that a reader could take for one of the choices */
    } else {
        print_text(buffer, name, strlen(name));
    }
}

static void print_member(const struct field *field, enum field_in in, const char *member, struct buffer *buffer)
{
    switch (field->type) {
    case FIELD_ID:
    case FIELD_TEXT:
    case FIELD_EMAIL:
        print_text(buffer, member, strnlen(member, field->size));
        return;
    case FIELD_INTEGER:
        print_integer(member, buffer);
        return;
    case FIELD_MONEY:
        money_print(*(const int64_t *)(const void *)member, buffer);
        return;
    case FIELD_TIME:
        print_time(member, buffer);
        return;
    case FIELD_BOOLEAN:
        buffer_append_text(buffer, *(const bool *)member ? "true" : "false");
        return;
    case FIELD_CHOICE:
        print_choice(field, member, buffer);
        return;
    case FIELD_OBJECT:
        buffer_append_char(buffer, '{');
        print_fields(field->object, in, member, true, buffer);
        buffer_append_char(buffer, '}');
        return;
    }
}

static void print_fields(const struct table *table, enum field_in in, const char *value, bool first,
                         struct buffer *buffer)
{
    for (const struct field *field = table->fields; field->name != NULL; field++) {
        const char *member = value + field->offset;
        if ((field->in & in) == 0 || (!field->required && field_is_absent(field, member))) {
            continue;
        }
        if (!first) {
            buffer_append_char(buffer, ',');
        }
        first = false;
        print_text(buffer, field->name, strlen(field->name));
        buffer_append_char(buffer, ':');
        print_member(field, in, member, buffer);
    }
}

void schema_print_members(const struct table *table, enum field_in in, const struct record *head, const void *value,
                          struct buffer *buffer)
{
    if (!table_has_head(table, in)) {
        print_fields(table, in, value, true, buffer);
        return;
    }
    assert(head != NULL);
    buffer_append_text(buffer, "\"id\":");
    print_text(buffer, head->id.hex, strnlen(head->id.hex, sizeof(head->id.hex)));
    buffer_printf(buffer, ",\"version\":%" PRIu64, head->version);
    if (in == IN_EVENT && head->version == 0) {
        return; /* there is no such record, and so nothing to tell of it */
    }
    print_fields(table, in, value, false, buffer);
}

void schema_print(const struct table *table, enum field_in in, const struct record *head, const void *value,
                  struct buffer *buffer)
{
    buffer_append_char(buffer, '{');
    schema_print_members(table, in, head, value, buffer);
    buffer_append_char(buffer, '}');
}
