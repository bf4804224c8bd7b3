/* SPDX-License-Identifier: Apache-2.0
 * Field tables as JSON Schema (draft 2020-12), for readers in other languages. */
#include <inttypes.h>
#include <string.h>

#include "common/base/text.h"
#include "common/schema/check.h"
#include "common/schema/money.h"
#include "common/schema/print.h"
#include "common/schema/schema.h"

#define DRAFT "https://json-schema.org/draft/2020-12/schema"

static void print_string(struct buffer *buffer, const char *text)
{
    print_text(buffer, text, strlen(text));
}

/* ,"key":"text" */
static void print_pair(struct buffer *buffer, const char *key, const char *text)
{
    buffer_printf(buffer, ",\"%s\":", key);
    print_string(buffer, text);
}

static void print_limit(struct buffer *buffer, const char *key, int64_t number)
{
    buffer_printf(buffer, ",\"%s\":%" PRId64, key, number);
}

/* Requests may bring upper-case digits; what we send has none. */
static void print_id_type(enum field_in in, struct buffer *buffer)
{
    buffer_append_text(buffer, "\"type\":\"string\"");
    print_pair(buffer, "pattern", in == IN_REQUEST ? "^[0-9A-Fa-f]{24}$" : "^[0-9a-f]{24}$");
}

static void print_text_type(const struct field *field, struct buffer *buffer)
{
    bool visible = (field->rules & RULE_NOT_BLANK) != 0;
    buffer_append_text(buffer, "\"type\":\"string\"");
    if (field->min > 0) {
        print_limit(buffer, "minLength", field->min);
    }
    print_limit(buffer, "maxLength", check_maximum(field));
    if ((field->rules & RULE_NO_CONTROL) != 0) {
        print_pair(buffer, "pattern",
                   visible ? "^(?=.*\\S)[^\\u0000-\\u001f\\u007f-\\u009f]*$" : "^[^\\u0000-\\u001f\\u007f-\\u009f]*$");
    } else if (visible) {
        print_pair(buffer, "pattern", "\\S");
    }
}

static void print_integer_type(const struct field *field, struct buffer *buffer)
{
    buffer_append_text(buffer, "\"type\":\"integer\"");
    print_limit(buffer, "minimum", field->min);
    print_limit(buffer, "maximum", check_maximum(field));
}

/* No multipleOf: validators that count in binary would refuse 19.99. The keywords for numbers and for strings apply
 * each to its own type. */
static void print_money_type(const struct field *field, enum field_in in, struct buffer *buffer)
{
    buffer_append_text(buffer, in == IN_REQUEST ? "\"type\":[\"number\",\"string\"]" : "\"type\":\"number\"");
    buffer_append_text(buffer, ",\"minimum\":");
    money_print(check_minimum(field), buffer);
    buffer_append_text(buffer, ",\"maximum\":");
    money_print(check_maximum(field), buffer);
    if (in == IN_REQUEST) {
        print_pair(buffer, "pattern", field->min < 0 ? "^-?[0-9]+(\\.[0-9]{1,2})?$" : "^[0-9]+(\\.[0-9]{1,2})?$");
    }
}

static void print_choice_type(const struct field *field, struct buffer *buffer)
{
    buffer_append_text(buffer, "\"type\":\"string\",\"enum\":[");
    int32_t first = check_first_choice(field);
    for (int32_t i = first; field->choices[i] != NULL; i++) {
        if (i > first) {
            buffer_append_char(buffer, ',');
        }
        print_string(buffer, field->choices[i]);
    }
    buffer_append_char(buffer, ']');
}

static void print_object_type(const struct table *table, enum field_in in, struct buffer *buffer);

static void print_type(const struct field *field, enum field_in in, struct buffer *buffer)
{
    switch (field->type) {
    case FIELD_ID:
        print_id_type(in, buffer);
        return;
    case FIELD_TEXT:
        print_text_type(field, buffer);
        return;
    case FIELD_EMAIL:
        buffer_append_text(buffer, "\"type\":\"string\",\"format\":\"email\"");
        print_limit(buffer, "maxLength", EMAIL_MAX);
        return;
    case FIELD_INTEGER:
        print_integer_type(field, buffer);
        return;
    case FIELD_MONEY:
        print_money_type(field, in, buffer);
        return;
    case FIELD_TIME:
        buffer_append_text(buffer, "\"type\":\"string\",\"format\":\"date-time\"");
        return;
    case FIELD_BOOLEAN:
        buffer_append_text(buffer, "\"type\":\"boolean\"");
        return;
    case FIELD_CHOICE:
        print_choice_type(field, buffer);
        return;
    case FIELD_OBJECT:
        print_object_type(field->object, in, buffer);
        return;
    }
}

static void print_property(const struct field *field, enum field_in in, struct buffer *buffer)
{
    print_string(buffer, field->name);
    buffer_append_text(buffer, ":{");
    print_type(field, in, buffer);
    if (field->description != NULL) {
        print_pair(buffer, "description", field->description);
    } else if (field->type == FIELD_MONEY) {
        print_pair(buffer, "description", "An amount with at most two decimals.");
    }
    if ((field->rules & RULE_SECRET) != 0) {
        buffer_append_text(buffer, ",\"writeOnly\":true");
    }
    buffer_append_char(buffer, '}');
}

/* The names of the required fields, separated by commas; `first`: nothing stands before them. */
static void print_required(const struct table *table, enum field_in in, bool first, struct buffer *buffer)
{
    for (const struct field *field = table->fields; field->name != NULL; field++) {
        if ((field->in & in) == 0 || !field->required) {
            continue;
        }
        if (!first) {
            buffer_append_char(buffer, ',');
        }
        first = false;
        print_string(buffer, field->name);
    }
}

static void print_properties(const struct table *table, enum field_in in, bool first, struct buffer *buffer)
{
    for (const struct field *field = table->fields; field->name != NULL; field++) {
        if ((field->in & in) == 0) {
            continue;
        }
        if (!first) {
            buffer_append_char(buffer, ',');
        }
        first = false;
        print_property(field, in, buffer);
    }
}

static void print_object_type(const struct table *table, enum field_in in, struct buffer *buffer)
{
    buffer_append_text(buffer, "\"type\":\"object\",\"properties\":{");
    print_properties(table, in, true, buffer);
    buffer_append_text(buffer, "},\"required\":[");
    print_required(table, in, true, buffer);
    buffer_append_text(buffer, "],\"additionalProperties\":true");
}

static void print_versioned_type(const struct table *table, enum field_in in, struct buffer *buffer)
{
    buffer_append_text(buffer, "\"type\":\"object\",\"properties\":{\"id\":{");
    print_id_type(in, buffer);
    buffer_append_text(buffer, "},\"version\":{\"type\":\"integer\"");
    bool may_be_absent = table->may_be_absent;
    print_limit(buffer, "minimum", may_be_absent ? 0 : 1);
    print_limit(buffer, "maximum", RECORD_VERSION_MAX);
    print_pair(buffer, "description",
               may_be_absent ? "1 when created, one more for each change; 0: there is no such record"
                             : "1 when created, one more for each change");
    buffer_append_char(buffer, '}');
    print_properties(table, in, false, buffer);
    buffer_append_text(buffer, "},\"required\":[\"id\",\"version\"");
    if (may_be_absent) {
        buffer_append_text(buffer, "],\"anyOf\":[{\"properties\":{\"version\":{\"const\":0}}},{\"properties\":{"
                                   "\"version\":{\"minimum\":1}},\"required\":[\"id\",\"version\"");
    }
    print_required(table, in, false, buffer);
    buffer_append_text(buffer, may_be_absent ? "]}],\"additionalProperties\":true" : "],\"additionalProperties\":true");
}

void schema_print_json_schema(const struct table *table, enum field_in in, struct buffer *buffer)
{
    buffer_append_text(buffer, "{\"$schema\":\"" DRAFT "\",\"title\":");
    print_string(buffer, table->name);
    buffer_append_char(buffer, ',');
    if (table_has_head(table, in)) {
        print_versioned_type(table, in, buffer);
    } else {
        print_object_type(table, in, buffer);
    }
    buffer_append_char(buffer, '}');
}
