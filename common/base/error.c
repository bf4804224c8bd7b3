/* SPDX-License-Identifier: Apache-2.0
 * Filling in and extending errors. */
#include "common/base/error.h"

#include <stdio.h>
#include <string.h>

#include "common/base/text.h"

enum {
    /* Formatted with a few bytes to spare, so that the final cut sees a whole UTF-8 sequence at its edge. */
    FORMATTED_MAX = ERROR_MESSAGE_MAX + 8,
};

static void format_text(char ret_text[static FORMATTED_MAX], const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

static void format_text(char ret_text[static FORMATTED_MAX], const char *format, va_list arguments)
{
    if (vsnprintf(ret_text, FORMATTED_MAX, format, arguments) < 0) {
        ret_text[0] = '\0';
    }
}

bool error_set(struct error *error, enum error_code code, const char *format, ...)
{
    if (error == NULL) {
        return false;
    }
    /* By way of a local text: the arguments may contain error->message itself. */
    char message[FORMATTED_MAX];
    va_list arguments;
    va_start(arguments, format);
    format_text(message, format, arguments);
    va_end(arguments);
    error->code = code;
    text_copy_cut(error->message, sizeof error->message, message);
    return false;
}

bool error_prefix(struct error *error, const char *format, ...)
{
    if (error == NULL) {
        return false;
    }
    char context[FORMATTED_MAX];
    va_list arguments;
    va_start(arguments, format);
    format_text(context, format, arguments);
    va_end(arguments);
    char message[2 * FORMATTED_MAX];
    snprintf(message, sizeof message, "%s: %s", context, error->message);
    text_copy_cut(error->message, sizeof error->message, message);
    return false;
}

const char *error_code_name(enum error_code code)
{
    switch (code) {
    case ERROR_NONE:
        return "none";
    case ERROR_INVALID:
        return "invalid";
    case ERROR_UNAUTHORIZED:
        return "unauthorized";
    case ERROR_FORBIDDEN:
        return "forbidden";
    case ERROR_NOT_FOUND:
        return "not_found";
    case ERROR_CONFLICT:
        return "conflict";
    case ERROR_GAP:
        return "gap";
    case ERROR_UNAVAILABLE:
        return "unavailable";
    case ERROR_INTERNAL:
        return "internal";
    }
    return "unknown";
}
