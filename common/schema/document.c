/* SPDX-License-Identifier: Apache-2.0
 * From JSON to structs by the field tables. */
#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/schema/check.h"
#include "common/schema/schema.h"

struct document {
    json_t *root; /* an object */
};

/* Brackets within strings are text. What is no JSON at all is the parser's to find. */
static bool too_deep(const char *text, size_t length)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > SCHEMA_DEPTH_MAX) {
                return true;
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

/* In words of our own: the parser's would repeat what it stumbled over. */
static const char *parser_problem(const json_error_t *problem)
{
    switch (json_error_code(problem)) {
    case json_error_duplicate_key:
        return "a key appears twice in one object";
    case json_error_numeric_overflow:
        return "a number is out of range";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "NUL characters are not allowed";
    case json_error_premature_end_of_input:
        return "it ends too early";
    case json_error_end_of_input_expected:
        return "something follows its end";
    default:
        return "a syntax error";
    }
}

bool document_parse(const char *text, size_t length, struct document **ret_document, struct field_errors *errors)
{
    if (length == 0) {
        return field_errors_add(errors, NULL, "must be a JSON object");
    }
    if (memchr(text, '\0', length) != NULL) {
        return field_errors_add(errors, NULL, "invalid JSON: NUL characters are not allowed");
    }
    if (!text_is_utf8(text, length)) {
        return field_errors_add(errors, NULL, "invalid JSON: it is not valid UTF-8");
    }
    if (too_deep(text, length)) {
        return field_errors_add(errors, NULL, "invalid JSON: nested more than %d levels deep", SCHEMA_DEPTH_MAX);
    }
    json_error_t problem;
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (root == NULL) {
        return field_errors_add(errors, NULL, "invalid JSON: %s (line %d, column %d)", parser_problem(&problem),
                                problem.line, problem.column);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return field_errors_add(errors, NULL, "must be a JSON object");
    }
    struct document *document = xmalloc(sizeof(*document));
    document->root = root;
    *ret_document = document;
    return true;
}

void document_free(struct document **document)
{
    if (*document != NULL) {
        json_decref((*document)->root);
        xfree(*document);
        *document = NULL;
    }
}

/* NULL if the member is absent or null. */
static const json_t *member_of(const json_t *object, const char *name)
{
    const json_t *member = json_object_get(object, name);
    return json_is_null(member) ? NULL : member;
}

static void join_path(char ret_path[static SCHEMA_PATH_MAX], const char *prefix, const char *name)
{
    snprintf(ret_path, SCHEMA_PATH_MAX, "%s%s%s", prefix, *prefix == '\0' ? "" : ".", name);
}

static bool read_fields(const json_t *object, const char *prefix, const struct table *table, enum field_in in,
                        char *value, struct field_errors *errors);

static bool read_money(const struct target *target, enum field_in in, const json_t *json)
{
    if (json_is_integer(json)) {
        return check_units(target, json_integer_value(json));
    }
    if (json_is_real(json)) {
        return check_real(target, json_real_value(json));
    }
    if (json_is_string(json) && in == IN_REQUEST) {
        return check_money_text(target, json_string_value(json));
    }
    return field_errors_add(target->errors, target->path, "must be a number");
}

static bool read_integer(const struct target *target, const json_t *json)
{
    if (json_is_integer(json)) {
        return check_number(target, json_integer_value(json));
    }
    if (json_is_real(json)) {
        return check_real(target, json_real_value(json));
    }
    return field_errors_add(target->errors, target->path, "must be a number");
}

static bool read_value(const struct target *target, enum field_in in, const json_t *json)
{
    switch (target->field->type) {
    case FIELD_ID:
    case FIELD_TEXT:
    case FIELD_EMAIL:
    case FIELD_TIME:
    case FIELD_CHOICE:
        if (!json_is_string(json)) {
            return field_errors_add(target->errors, target->path, "must be a string");
        }
        return check_text(target, json_string_value(json), json_string_length(json));
    case FIELD_INTEGER:
        return read_integer(target, json);
    case FIELD_MONEY:
        return read_money(target, in, json);
    case FIELD_BOOLEAN:
        if (!json_is_boolean(json)) {
            return field_errors_add(target->errors, target->path, "must be true or false");
        }
        check_boolean(target, json_is_true(json));
        return true;
    case FIELD_OBJECT:
        if (!json_is_object(json)) {
            return field_errors_add(target->errors, target->path, "must be an object");
        }
        return read_fields(json, target->path, target->field->object, in, target->member, target->errors);
    }
    return false;
}

static bool read_field(const json_t *object, const char *prefix, const struct field *field, enum field_in in,
                       void *member, struct field_errors *errors)
{
    char path[SCHEMA_PATH_MAX];
    join_path(path, prefix, field->name);
    const json_t *json = member_of(object, field->name);
    if (json == NULL) {
        return !field->required || field_errors_add(errors, path, "is required");
    }
    const struct target target = {.field = field, .path = path, .member = member, .errors = errors};
    return read_value(&target, in, json);
}

static bool read_fields(const json_t *object, const char *prefix, const struct table *table, enum field_in in,
                        char *value, struct field_errors *errors)
{
    bool valid = true;
    for (const struct field *field = table->fields; field->name != NULL; field++) {
        if ((field->in & in) != 0) {
            valid = read_field(object, prefix, field, in, value + field->offset, errors) && valid;
        }
    }
    return valid;
}

static bool read_head(const json_t *object, const char *prefix, struct record *ret_head, struct field_errors *errors)
{
    static const struct field id = {.name = "id", .type = FIELD_ID, .size = sizeof(struct id), .required = true};
    static const struct field version = {
        .name = "version", .type = FIELD_INTEGER, .size = sizeof(int64_t), .max = RECORD_VERSION_MAX, .required = true};
    int64_t number = 0;
    *ret_head = RECORD_INIT;
    bool valid = read_field(object, prefix, &id, IN_ALL, &ret_head->id, errors);
    valid = read_field(object, prefix, &version, IN_ALL, &number, errors) && valid;
    ret_head->version = (uint64_t)number;
    return valid;
}

bool document_read(const struct document *document, const char *member, const struct table *table, enum field_in in,
                   struct record *ret_head, void *ret_value, struct field_errors *errors)
{
    const char *prefix = member == NULL ? "" : member;
    const json_t *object = member == NULL ? document->root : member_of(document->root, member);
    memset(ret_value, 0, table->size);
    if (object == NULL) {
        return field_errors_add(errors, member, "is required");
    }
    if (!json_is_object(object)) {
        return field_errors_add(errors, member, "must be an object");
    }
    bool valid = true;
    if (table_has_head(table, in)) {
        assert(ret_head != NULL);
        valid = read_head(object, prefix, ret_head, errors);
        if (valid && in == IN_EVENT && ret_head->version == 0) {
            return true; /* there is no such record: nothing else is said of it */
        }
    } else if (ret_head != NULL) {
        *ret_head = RECORD_INIT;
    }
    return read_fields(object, prefix, table, in, ret_value, errors) && valid;
}

bool document_has(const struct document *document, const char *member)
{
    return member_of(document->root, member) != NULL;
}

const char *document_text(const struct document *document, const char *member, size_t *ret_length)
{
    const json_t *json = member_of(document->root, member);
    if (!json_is_string(json)) {
        return NULL;
    }
    *ret_length = json_string_length(json);
    return json_string_value(json);
}

bool schema_parse(const struct table *table, enum field_in in, const char *text, size_t length, struct record *ret_head,
                  void *ret_value, struct field_errors *errors)
{
    CLEANUP(document_free) struct document *document = NULL;
    return document_parse(text, length, &document, errors) &&
           document_read(document, NULL, table, in, ret_head, ret_value, errors);
}
