/* SPDX-License-Identifier: Apache-2.0
 * The rules of one field, whatever its value was read from: for this module's own use. */
#ifndef TURNSTILE_SCHEMA_CHECK_H
#define TURNSTILE_SCHEMA_CHECK_H

#include "common/schema/errors.h"

/* Where a value goes, by which rules, and what errors call it. */
struct target {
    const struct field *field;
    const char *path;
    void *member;
    struct field_errors *errors;
};

/* Each stores the value at target->member, or adds one error and returns false. */
bool check_text(const struct target *target, const char *text,
                size_t length) MUST_CHECK;                                 /* all types that JSON has as strings */
bool check_number(const struct target *target, int64_t number) MUST_CHECK; /* FIELD_INTEGER, FIELD_MONEY in cents */
bool check_real(const struct target *target, double number) MUST_CHECK;    /* the same two, from a JSON number */
bool check_money_text(const struct target *target, const char *text) MUST_CHECK;
void check_boolean(const struct target *target, bool truth);

/* A whole number of currency units to cents, or an error. */
bool check_units(const struct target *target, int64_t units) MUST_CHECK;

/* The largest value, or number of code points, that the field may have. */
int64_t check_maximum(const struct field *field);

/* The smallest value that the field may have. */
int64_t check_minimum(const struct field *field);
/* The index of the first choice that is a valid input: choices[0] may stand for absence. */
int32_t check_first_choice(const struct field *field);

#endif
