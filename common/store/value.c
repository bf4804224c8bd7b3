/* SPDX-License-Identifier: Apache-2.0
 * Fields of an entity's struct as the plain values that engines keep. */
#include <assert.h>
#include <string.h>

#include "common/base/text.h"
#include "common/store/driver.h"

enum store_kind store_field_kind(const struct field *field)
{
    switch (field->type) {
    case FIELD_ID:
    case FIELD_TEXT:
    case FIELD_EMAIL:
    case FIELD_CHOICE:
        return STORE_TEXT;
    case FIELD_INTEGER:
    case FIELD_MONEY:
    case FIELD_TIME:
    case FIELD_BOOLEAN:
        return STORE_NUMBER;
    case FIELD_OBJECT:
        break;
    }
    assert(!"a flattened table has no objects");
    return STORE_ABSENT;
}

struct store_value store_value_of(const struct flat_field *field, const void *entity)
{
    const char *member = (const char *)entity + field->offset;
    struct store_value value = {.kind = store_field_kind(field->field)};
    if (!field->required && field_is_absent(field->field, member)) {
        value.kind = STORE_ABSENT;
        return value;
    }
    int32_t choice;
    bool truth;
    switch (field->field->type) {
    case FIELD_ID:
    case FIELD_TEXT:
    case FIELD_EMAIL:
        value.text = member; /* struct id is its text */
        break;
    case FIELD_CHOICE:
        memcpy(&choice, member, sizeof(choice));
        assert(choice >= 0);
        for (int32_t i = 0; i <= choice; i++) {
            assert(field->field->choices[i]);
        }
        value.text = field->field->choices[choice];
        break;
    case FIELD_BOOLEAN:
        memcpy(&truth, member, sizeof(truth));
        value.number = truth;
        break;
    default:
        memcpy(&value.number, member, sizeof(value.number));
        break;
    }
    return value;
}

static bool put_text(const struct flat_field *field, const char *text, char *member)
{
    if (field->field->type == FIELD_CHOICE) {
        int32_t choice = choice_from_text(field->field->choices, text);
        if (choice < 0) {
            return false;
        }
        memcpy(member, &choice, sizeof(choice));
        return true;
    }
    size_t length = strlen(text);
    if (length >= field->field->size) {
        return false;
    }
    memcpy(member, text, length + 1);
    return true;
}

bool store_value_put(const struct flat_field *field, const struct store_value *value, void *entity, struct error *error)
{
    char *member = (char *)entity + field->offset;
    if (value->kind == STORE_ABSENT) {
        return true;
    }
    if (value->kind != store_field_kind(field->field)) {
        return error_set(error, ERROR_INTERNAL, "the stored %s is of another type", field->path);
    }
    if (value->kind == STORE_TEXT) {
        return put_text(field, value->text, member) ||
               error_set(error, ERROR_INTERNAL, "the stored %s does not fit its field", field->path);
    }
    if (field->field->type == FIELD_BOOLEAN) {
        bool truth = value->number != 0;
        memcpy(member, &truth, sizeof(truth));
    } else {
        memcpy(member, &value->number, sizeof(value->number));
    }
    return true;
}

int store_value_compare(const struct store_value *a, const struct store_value *b)
{
    if (a->kind != b->kind) {
        return a->kind < b->kind ? -1 : 1;
    }
    switch (a->kind) {
    case STORE_NUMBER:
        return (a->number > b->number) - (a->number < b->number);
    case STORE_TEXT:
        return strcmp(a->text, b->text);
    case STORE_ABSENT:
        break;
    }
    return 0;
}
