/* SPDX-License-Identifier: Apache-2.0
 * Collects what is wrong with an input and prints it for clients and for logs. */
#include "common/schema/errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/text.h"
#include "common/schema/print.h"

bool field_errors_add(struct field_errors *errors, const char *field, const char *format, ...)
{
    if (errors->count == FIELD_ERRORS_MAX) {
        errors->dropped++;
        return false;
    }
    char message[FIELD_MESSAGE_MAX + 4] = ""; /* longer than what is kept, so that the cut is made between characters */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    size_t i = errors->count++;
    text_copy_cut(errors->items[i].field, sizeof(errors->items[i].field), field == NULL ? "" : field);
    text_copy_cut(errors->items[i].message, sizeof(errors->items[i].message), message);
    return false;
}

void field_errors_print(const struct field_errors *errors, struct buffer *buffer)
{
    buffer_append_text(buffer, "{\"errors\":[");
    for (size_t i = 0; i < errors->count; i++) {
        const char *field = errors->items[i].field;
        const char *message = errors->items[i].message;
        buffer_append_text(buffer, i == 0 ? "{\"message\":" : ",{\"message\":");
        print_text(buffer, message, strlen(message));
        if (*field != '\0') {
            buffer_append_text(buffer, ",\"field\":");
            print_text(buffer, field, strlen(field));
        }
        buffer_append_char(buffer, '}');
    }
    if (errors->dropped > 0) {
        buffer_printf(buffer, ",{\"message\":\"and %zu more\"}", errors->dropped);
    }
    buffer_append_text(buffer, "]}");
}

bool field_errors_to_error(const struct field_errors *errors, struct error *error)
{
    char text[ERROR_MESSAGE_MAX] = "";
    size_t length = 0;
    for (size_t i = 0; i < errors->count && length < sizeof(text); i++) {
        const char *field = errors->items[i].field;
        int written = snprintf(text + length, sizeof(text) - length, "%s%s%s%s", i == 0 ? "" : "; ", field,
                               *field == '\0' ? "" : ": ", errors->items[i].message);
        length += written > 0 ? (size_t)written : 0;
    }
    return error_set(error, ERROR_INVALID, "%s", errors->count == 0 ? "invalid" : text);
}
