/* SPDX-License-Identifier: Apache-2.0
 * Money: decimal numbers outside, whole cents inside, without rounding in between. */
#include "common/schema/money.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "common/schema/schema.h"

enum {
    DECIMALS = 2,
    ROUNDING_STEPS = 4, /* half units in the last place that a sum may be off */
};

/* Keeps the tolerance far below what a third decimal makes, however large the number. */
static const double ROUNDING_MAX = 0.0001;

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

enum money_result money_scan(const char *text, int64_t *ret_cents)
{
    bool negative = *text == '-';
    const char *p = negative ? text + 1 : text;
    if (!is_digit(*p)) {
        return MONEY_MALFORMED;
    }
    int64_t cents = 0;
    bool too_large = false;
    int decimals = -1; /* no point yet */
    for (; is_digit(*p) || (*p == '.' && decimals < 0); p++) {
        if (*p == '.') {
            decimals = 0;
            continue;
        }
        decimals += decimals >= 0;
        too_large = too_large || cents > MONEY_CENTS_MAX / 10;
        cents = too_large ? 0 : cents * 10 + (*p - '0');
    }
    if (*p != '\0' || decimals == 0 || decimals > DECIMALS) {
        return MONEY_MALFORMED;
    }
    for (int i = decimals < 0 ? 0 : decimals; i < DECIMALS && !too_large; i++) {
        too_large = cents > MONEY_CENTS_MAX / 10;
        cents = too_large ? 0 : cents * 10;
    }
    if (too_large || cents > MONEY_CENTS_MAX) {
        return negative ? MONEY_TOO_SMALL : MONEY_TOO_LARGE;
    }
    *ret_cents = negative ? -cents : cents;
    return MONEY_VALID;
}

enum money_result money_from_double(double number, int64_t *ret_cents)
{
    double scaled = number * MONEY_UNIT;
    if (scaled > (double)MONEY_CENTS_MAX) {
        return MONEY_TOO_LARGE;
    }
    if (scaled < -(double)MONEY_CENTS_MAX) {
        return MONEY_TOO_SMALL;
    }
    int64_t cents = (int64_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    /* A division is rounded correctly: this is the very double that the decimal number stands for. */
    double nearest = (double)cents / MONEY_UNIT;
    double tolerance = ROUNDING_STEPS * DBL_EPSILON * fabs(number) / 2;
    if (tolerance > ROUNDING_MAX) {
        tolerance = ROUNDING_MAX;
    }
    if (fabs(number - nearest) > tolerance) {
        return MONEY_MALFORMED;
    }
    *ret_cents = cents;
    return MONEY_VALID;
}

/* Without undefined behaviour for INT64_MIN. */
static uint64_t magnitude(int64_t cents)
{
    return cents < 0 ? UINT64_C(0) - (uint64_t)cents : (uint64_t)cents;
}

void money_to_text(int64_t cents, char ret_text[static MONEY_TEXT_SIZE])
{
    uint64_t amount = magnitude(cents);
    snprintf(ret_text, MONEY_TEXT_SIZE, "%s%" PRIu64 ".%02u", cents < 0 ? "-" : "", amount / MONEY_UNIT,
             (unsigned)(amount % MONEY_UNIT));
}

bool money_from_text(const char *text, int64_t *ret_cents)
{
    return *text != '-' && money_scan(text, ret_cents) == MONEY_VALID;
}

void money_print(int64_t cents, struct buffer *buffer)
{
    uint64_t amount = magnitude(cents);
    unsigned decimals = (unsigned)(amount % MONEY_UNIT);
    buffer_printf(buffer, "%s%" PRIu64, cents < 0 ? "-" : "", amount / MONEY_UNIT);
    if (decimals % 10 != 0) {
        buffer_printf(buffer, ".%02u", decimals);
    } else if (decimals != 0) {
        buffer_printf(buffer, ".%u", decimals / 10);
    }
}
