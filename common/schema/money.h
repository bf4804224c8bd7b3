/* SPDX-License-Identifier: Apache-2.0
 * Decimal numbers to cents and back, with the reasons why one is refused: for this module's own use. */
#ifndef TURNSTILE_SCHEMA_MONEY_H
#define TURNSTILE_SCHEMA_MONEY_H

#include "common/base/compiler.h"

/* Up to 15 digits a decimal number and its double are one to one; beyond, cents would be lost on the way through JSON.
 */
#define MONEY_CENTS_MAX INT64_C(999999999999999)

enum {
    MONEY_UNIT = 100,     /* cents */
    MONEY_TEXT_SIZE = 32, /* "-92233720368547758.08" and NUL */
};

enum money_result {
    MONEY_VALID,
    MONEY_MALFORMED, /* not a number, or more than two decimals */
    MONEY_TOO_LARGE, /* over MONEY_CENTS_MAX */
    MONEY_TOO_SMALL, /* below -MONEY_CENTS_MAX */
};

/* "[-]digits[.d[d]]". *ret_cents is set if the result is MONEY_VALID. */
enum money_result money_scan(const char *text, int64_t *ret_cents) MUST_CHECK;
/* The difference to a number of two decimals may be no more than what adding a few such numbers in binary leaves. */
enum money_result money_from_double(double number, int64_t *ret_cents) MUST_CHECK;
/* Always with two decimals: "1000000.00". */
void money_to_text(int64_t cents, char ret_text[static MONEY_TEXT_SIZE]);

#endif
