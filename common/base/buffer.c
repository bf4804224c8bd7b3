/* SPDX-License-Identifier: Apache-2.0
 * A growing byte string that never exceeds its limit. */
#include "common/base/buffer.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"

enum {
    FIRST_CAPACITY = 128,
};

/* Makes room for `length` more bytes and the NUL. */
static bool reserve(struct buffer *buffer, size_t length)
{
    if (buffer->overflowed) {
        return false;
    }
    if (length > buffer->limit - buffer->length) {
        buffer->overflowed = true;
        return false;
    }
    size_t needed = buffer->length + length + 1;
    if (needed <= buffer->capacity) {
        return true;
    }
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : FIRST_CAPACITY;
    while (capacity < needed) {
        /* Near the top of size_t doubling would wrap around; then exactly what is needed is the right size. */
        capacity = capacity <= SIZE_MAX / 2 ? capacity * 2 : needed;
    }
    if (capacity - 1 > buffer->limit) {
        capacity = buffer->limit + 1;
    }
    buffer->data = xreallocarray(buffer->data, capacity, 1);
    buffer->capacity = capacity;
    return true;
}

void buffer_append(struct buffer *buffer, const void *data, size_t length)
{
    if (length == 0 || !reserve(buffer, length)) {
        return;
    }
    memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
}

void buffer_append_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_append_char(struct buffer *buffer, char c)
{
    buffer_append(buffer, &c, 1);
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        buffer->overflowed = true;
    } else if (length > 0 && reserve(buffer, (size_t)length)) {
        vsnprintf(buffer->data + buffer->length, (size_t)length + 1, format, again);
        buffer->length += (size_t)length;
    }
    va_end(again);
}

/* The letter of a two-character escape, or 0. */
static char short_escape(char c)
{
    switch (c) {
    case '"':
    case '\\':
        return c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return '\0';
    }
}

static void append_escaped(struct buffer *buffer, char c)
{
    static const char digits[] = "0123456789abcdef";
    char letter = short_escape(c);
    if (letter != '\0') {
        buffer_append(buffer, (char[]){'\\', letter}, 2);
        return;
    }
    unsigned byte = (unsigned char)c;
    buffer_append(buffer, (char[]){'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 0xf]}, 6);
}

void buffer_append_json_string(struct buffer *buffer, const char *text, size_t length)
{
    size_t start = buffer->length;
    size_t plain = 0; /* where the run that needs no escape begins */
    buffer_append_char(buffer, '"');
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] >= 0x20 && text[i] != '"' && text[i] != '\\') {
            continue;
        }
        buffer_append(buffer, text + plain, i - plain);
        append_escaped(buffer, text[i]);
        plain = i + 1;
    }
    buffer_append(buffer, text + plain, length - plain);
    buffer_append_char(buffer, '"');
    if (buffer->overflowed && buffer->length > start) {
        buffer->length = start;
        buffer->data[start] = '\0';
    }
}

const char *buffer_text(const struct buffer *buffer)
{
    return buffer->length > 0 ? buffer->data : "";
}

void buffer_clear(struct buffer *buffer)
{
    buffer->length = 0;
    buffer->overflowed = false;
    if (buffer->data != NULL) {
        buffer->data[0] = '\0';
    }
}

void buffer_done(struct buffer *buffer)
{
    xfree(buffer->data);
    *buffer = BUFFER_INIT(buffer->limit);
}
