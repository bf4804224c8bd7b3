/* SPDX-License-Identifier: Apache-2.0
 * Checks one value by the rules of its field and stores it. Messages name limits and never what was given. */
#include "common/schema/check.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/schema/email.h"
#include "common/schema/money.h"
#include "common/schema/schema.h"

static const double EXACT_MAX = 9007199254740992.0; /* 2^53: up to here every whole number is a double of its own */

static bool refuse(const struct target *target, const char *message)
{
    return field_errors_add(target->errors, target->path, "%s", message);
}

static bool has_maximum(const struct field *field)
{
    return field->max != 0 || field->min < 0;
}

/* The largest value that the member, and JSON, can hold. */
static int64_t largest_fitting(const struct field *field)
{
    switch (field->type) {
    case FIELD_TEXT:
        return (int64_t)field->size - 1; /* a code point has at least one byte */
    case FIELD_MONEY:
        return MONEY_CENTS_MAX;
    default:
        return INT64_MAX;
    }
}

int64_t check_maximum(const struct field *field)
{
    int64_t largest = largest_fitting(field);
    return has_maximum(field) && field->max < largest ? field->max : largest;
}

int64_t check_minimum(const struct field *field)
{
    bool unfitting = field->type == FIELD_MONEY && field->min < -MONEY_CENTS_MAX;
    return unfitting ? -MONEY_CENTS_MAX : field->min;
}

static void number_to_text(const struct field *field, int64_t number, char ret_text[static MONEY_TEXT_SIZE])
{
    if (field->type == FIELD_MONEY) {
        money_to_text(number, ret_text);
    } else {
        snprintf(ret_text, MONEY_TEXT_SIZE, "%" PRId64, number);
    }
}

static bool refuse_range(const struct target *target, bool too_small)
{
    char minimum[MONEY_TEXT_SIZE];
    char maximum[MONEY_TEXT_SIZE];
    number_to_text(target->field, check_minimum(target->field), minimum);
    number_to_text(target->field, check_maximum(target->field), maximum);
    if (has_maximum(target->field)) {
        return field_errors_add(target->errors, target->path, "must be from %s to %s", minimum, maximum);
    }
    if (too_small) {
        return field_errors_add(target->errors, target->path, "must be at least %s", minimum);
    }
    return field_errors_add(target->errors, target->path, "must be at most %s", maximum);
}

bool check_number(const struct target *target, int64_t number)
{
    const struct field *field = target->field;
    assert(field->size == sizeof(number));
    if (number < check_minimum(field) || number > check_maximum(field)) {
        return refuse_range(target, number < check_minimum(field));
    }
    memcpy(target->member, &number, sizeof(number));
    return true;
}

static bool check_money(const struct target *target, enum money_result result, int64_t cents)
{
    switch (result) {
    case MONEY_VALID:
        return check_number(target, cents);
    case MONEY_TOO_LARGE:
    case MONEY_TOO_SMALL:
        return refuse_range(target, result == MONEY_TOO_SMALL);
    case MONEY_MALFORMED:
        break;
    }
    return refuse(target, "must be a number with at most two decimals");
}

bool check_money_text(const struct target *target, const char *text)
{
    int64_t cents = 0;
    enum money_result result = money_scan(text, &cents);
    return check_money(target, result, cents);
}

bool check_units(const struct target *target, int64_t units)
{
    int64_t cents = 0;
    if (__builtin_mul_overflow(units, MONEY_UNIT, &cents)) {
        return refuse_range(target, units < 0);
    }
    return check_number(target, cents);
}

bool check_real(const struct target *target, double number)
{
    const struct field *field = target->field;
    if (field->type == FIELD_MONEY) {
        int64_t cents = 0;
        enum money_result result = money_from_double(number, &cents);
        return check_money(target, result, cents);
    }
    if (number < (double)field->min || number > (double)check_maximum(field)) {
        return refuse_range(target, number < (double)field->min);
    }
    if (fabs(number) > EXACT_MAX || number != (double)(int64_t)number) {
        return refuse(target, "must be a whole number");
    }
    return check_number(target, (int64_t)number);
}

void check_boolean(const struct target *target, bool truth)
{
    assert(target->field->size == sizeof(truth));
    memcpy(target->member, &truth, sizeof(truth));
}

static bool refuse_length(const struct target *target)
{
    int64_t min = target->field->min;
    int64_t max = target->field->max;
    struct field_errors *errors = target->errors;
    if (min == 1 && max == 0) {
        return refuse(target, "must not be empty");
    }
    if (max == 0) {
        return field_errors_add(errors, target->path, "must be at least %" PRId64 " characters long", min);
    }
    if (min == 0) {
        return field_errors_add(errors, target->path, "must be at most %" PRId64 " characters long", max);
    }
    return field_errors_add(errors, target->path, "must be %" PRId64 " to %" PRId64 " characters long", min, max);
}

static bool check_plain_text(const struct target *target, const char *text, size_t length)
{
    const struct field *field = target->field;
    if ((field->rules & RULE_NOT_BLANK) != 0 && text_is_blank(text, length)) {
        return refuse(target, "must not be blank");
    }
    if ((field->rules & RULE_NO_CONTROL) != 0 && text_has_control(text, length)) {
        return refuse(target, "must not contain control characters");
    }
    int64_t points = (int64_t)text_length_utf8(text, length);
    if (points < field->min || (field->max != 0 && points > field->max)) {
        return refuse_length(target);
    }
    if (length >= field->size) {
        return field_errors_add(target->errors, target->path, "must be at most %zu bytes long", field->size - 1);
    }
    memcpy(target->member, text, length + 1);
    return true;
}

static bool check_email(const struct target *target, const char *text)
{
    assert(target->field->size == EMAIL_MAX + 1);
    return email_normalise(text, target->member) || refuse(target, "must be a valid email address");
}

static bool check_id(const struct target *target, const char *text)
{
    assert(target->field->size == sizeof(struct id));
    return id_from_text(text, target->member) || refuse(target, "must be 24 hex digits");
}

static bool check_time(const struct target *target, const char *text)
{
    int64_t milliseconds = 0;
    assert(target->field->size == sizeof(milliseconds));
    if (!clock_from_text(text, &milliseconds)) {
        return refuse(target, "must be a time like 2026-01-31T12:00:00.000Z");
    }
    memcpy(target->member, &milliseconds, sizeof(milliseconds));
    return true;
}

int32_t check_first_choice(const struct field *field)
{
    return field->required && *field->choices[0] != '\0' ? 0 : 1;
}

static bool check_choice(const struct target *target, const char *text)
{
    const struct field *field = target->field;
    int32_t first = check_first_choice(field);
    int32_t choice = choice_from_text(field->choices, text);
    assert(field->size == sizeof(choice));
    if (choice >= first) {
        memcpy(target->member, &choice, sizeof(choice));
        return true;
    }
    struct buffer names = BUFFER_INIT(FIELD_MESSAGE_MAX);
    for (const char *const *name = field->choices + first; *name != NULL; name++) {
        buffer_printf(&names, "%s%s", names.length == 0 ? "" : ", ", *name);
    }
    field_errors_add(target->errors, target->path, "must be one of: %s", buffer_text(&names));
    buffer_done(&names);
    return false;
}

bool check_text(const struct target *target, const char *text, size_t length)
{
    switch (target->field->type) {
    case FIELD_ID:
        return check_id(target, text);
    case FIELD_TEXT:
        return check_plain_text(target, text, length);
    case FIELD_EMAIL:
        return check_email(target, text);
    case FIELD_TIME:
        return check_time(target, text);
    case FIELD_CHOICE:
        return check_choice(target, text);
    case FIELD_INTEGER:
    case FIELD_MONEY:
    case FIELD_BOOLEAN:
    case FIELD_OBJECT:
        break;
    }
    assert(!"a type that JSON has as a string");
    return false;
}

static bool check_integer_text(const struct target *target, const char *text)
{
    int64_t number = 0;
    if (text_to_int64(text, INT64_MIN, INT64_MAX, &number)) {
        return check_number(target, number);
    }
    const char *digits = *text == '-' ? text + 1 : text;
    bool too_long = *digits != '\0' && digits[strspn(digits, "0123456789")] == '\0';
    return too_long ? refuse_range(target, *text == '-') : refuse(target, "must be a whole number");
}

static bool check_boolean_text(const struct target *target, const char *text)
{
    bool truth = text_equal(text, "true");
    if (!truth && !text_equal(text, "false")) {
        return refuse(target, "must be true or false");
    }
    check_boolean(target, truth);
    return true;
}

bool schema_parse_text(const struct field *field, const char *name, const char *text, void *ret_member,
                       struct field_errors *errors)
{
    const struct target target = {.field = field, .path = name, .member = ret_member, .errors = errors};
    size_t length = strlen(text);
    if (!text_is_utf8(text, length)) {
        return refuse(&target, "must be valid UTF-8");
    }
    switch (field->type) {
    case FIELD_INTEGER:
        return check_integer_text(&target, text);
    case FIELD_MONEY:
        return check_money_text(&target, text);
    case FIELD_BOOLEAN:
        return check_boolean_text(&target, text);
    case FIELD_ID:
    case FIELD_TEXT:
    case FIELD_EMAIL:
    case FIELD_TIME:
    case FIELD_CHOICE:
        return check_text(&target, text, length);
    case FIELD_OBJECT:
        break;
    }
    return refuse(&target, "must be a single value");
}
