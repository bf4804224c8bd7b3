/* SPDX-License-Identifier: Apache-2.0
 * Moments as people write them on a command line. */
#include "common/base/moment.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/text.h"

enum {
    AGE_TEXT_MAX = 16, /* bytes of the number, with the NUL */
    AGE_MAX = 1000000, /* units */
};

static bool age_to_time(const char *text, int64_t now, int64_t *ret_time)
{
    static const struct {
        char unit;
        int64_t milliseconds;
    } units[] = {{'s', 1000}, {'m', 60 * 1000}, {'h', 60 * 60 * 1000}, {'d', 24 * 60 * 60 * 1000}};
    char number[AGE_TEXT_MAX];
    size_t length = strlen(text);
    int64_t count = 0;
    if (length < 2 || length > sizeof(number)) {
        return false;
    }
    memcpy(number, text, length - 1);
    number[length - 1] = '\0';
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++) {
        if (text[length - 1] == units[i].unit) {
            if (!text_to_int64(number, 0, AGE_MAX, &count)) {
                return false;
            }
            int64_t time = now - count * units[i].milliseconds;
            *ret_time = time > 0 ? time : 0;
            return true;
        }
    }
    return false;
}

bool moment_parse(const char *option, const char *text, int64_t now, int64_t *ret_time, struct error *error)
{
    return age_to_time(text, now, ret_time) || clock_from_text(text, ret_time) ||
           error_set(error, ERROR_INVALID,
                     "%s must be like 2026-01-31T12:00:00Z, or an age like 30s, 10m, 2h, 1d, not \"%s\"", option, text);
}
