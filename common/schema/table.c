/* SPDX-License-Identifier: Apache-2.0
 * Walks over field tables: flattening, finding, absence, equality. */
#include "common/schema/table.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/base/text.h"
#include "common/schema/schema.h"

struct flattening {
    struct flat_field *fields;
    size_t count;
};

static void flatten_into(struct flattening *flattening, const struct table *table, unsigned in, const char *prefix,
                         size_t base, bool required)
{
    for (const struct field *field = table->fields; field->name != NULL; field++) {
        unsigned where = in & field->in;
        if (where == 0) {
            continue;
        }
        char path[SCHEMA_PATH_MAX];
        int length = snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix == '\0' ? "" : ".", field->name);
        assert(length > 0 && (size_t)length < sizeof(path));
        (void)length;
        if (field->type == FIELD_OBJECT) {
            flatten_into(flattening, field->object, where, path, base + field->offset, required && field->required);
            continue;
        }
        assert(flattening->count < SCHEMA_FIELDS_MAX);
        struct flat_field *flat = &flattening->fields[flattening->count++];
        memcpy(flat->path, path, sizeof(path));
        flat->field = field;
        flat->offset = base + field->offset;
        flat->required = required && field->required;
    }
}

size_t table_flatten(const struct table *table, unsigned in, struct flat_field ret_fields[static SCHEMA_FIELDS_MAX])
{
    struct flattening flattening = {.fields = ret_fields, .count = 0};
    flatten_into(&flattening, table, in, "", 0, true);
    return flattening.count;
}

bool table_find(const struct table *table, unsigned in, const char *path, struct flat_field *ret_field)
{
    struct flat_field fields[SCHEMA_FIELDS_MAX];
    size_t count = table_flatten(table, in, fields);
    for (size_t i = 0; i < count; i++) {
        if (text_equal(fields[i].path, path)) {
            *ret_field = fields[i];
            return true;
        }
    }
    return false;
}

static bool object_is_absent(const struct table *table, const char *object)
{
    for (const struct field *field = table->fields; field->name != NULL; field++) {
        if (!field_is_absent(field, object + field->offset)) {
            return false;
        }
    }
    return true;
}

bool field_is_absent(const struct field *field, const void *member)
{
    switch (field->type) {
    case FIELD_ID:
    case FIELD_TEXT:
    case FIELD_EMAIL:
        return *(const char *)member == '\0'; /* struct id begins with its digits */
    case FIELD_INTEGER:
    case FIELD_MONEY:
    case FIELD_TIME:
        return *(const int64_t *)member == 0;
    case FIELD_BOOLEAN:
        return !*(const bool *)member;
    case FIELD_CHOICE:
        return *(const int32_t *)member == 0;
    case FIELD_OBJECT:
        return object_is_absent(field->object, member);
    }
    return true;
}

static bool members_equal(const struct field *field, unsigned in, const char *a, const char *b)
{
    switch (field->type) {
    case FIELD_ID:
    case FIELD_TEXT:
    case FIELD_EMAIL:
        return strncmp(a, b, field->size) == 0;
    case FIELD_INTEGER:
    case FIELD_MONEY:
    case FIELD_TIME:
        return memcmp(a, b, sizeof(int64_t)) == 0;
    case FIELD_BOOLEAN:
        return *(const bool *)a == *(const bool *)b;
    case FIELD_CHOICE:
        return memcmp(a, b, sizeof(int32_t)) == 0;
    case FIELD_OBJECT:
        return schema_equal(field->object, in, a, b);
    }
    return false;
}

bool schema_equal(const struct table *table, unsigned in, const void *a, const void *b)
{
    for (const struct field *field = table->fields; field->name != NULL; field++) {
        unsigned where = in & field->in;
        if (where != 0 &&
            !members_equal(field, where, (const char *)a + field->offset, (const char *)b + field->offset)) {
            return false;
        }
    }
    return true;
}

bool table_has_head(const struct table *table, enum field_in in)
{
    return table->versioned && (in == IN_EVENT || in == IN_RESPONSE);
}

int32_t choice_from_text(const char *const *choices, const char *text)
{
    for (int32_t i = 0; choices[i] != NULL; i++) {
        if (text_equal(choices[i], text)) {
            return i;
        }
    }
    return -1;
}

const char *choice_to_text(const char *const *choices, int32_t index)
{
    for (int32_t i = 0; choices[i] != NULL; i++) {
        if (i == index) {
            return choices[i];
        }
    }
    return NULL;
}
