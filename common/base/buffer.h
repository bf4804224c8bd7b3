/* SPDX-License-Identifier: Apache-2.0
 * A growing byte string with a limit. */
#ifndef TURNSTILE_BASE_BUFFER_H
#define TURNSTILE_BASE_BUFFER_H

#include <stdarg.h>

#include "common/base/compiler.h"

/* data is NUL-terminated whenever it is not NULL, which it is until something is appended. Start from
 * BUFFER_INIT(limit). */
struct buffer {
    char *data;
    size_t length;   /* bytes, without the NUL */
    size_t capacity; /* bytes allocated */
    size_t limit;    /* bytes that length may reach */
    bool overflowed; /* something did not fit: the content is not to be used */
};

#define BUFFER_INIT(maximum) ((struct buffer){.limit = (maximum)})

/* Appending past the limit stores nothing of that piece and sets `overflowed`, once for all, so that a
 * series of appends is checked at its end. */
void buffer_append(struct buffer *buffer, const void *data, size_t length);
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_append_char(struct buffer *buffer, char c);
void buffer_printf(struct buffer *buffer, const char *format, ...) PRINTF_LIKE(2, 3);

/* A JSON string in quotes. `text` must be valid UTF-8 (text_is_utf8). */
void buffer_append_json_string(struct buffer *buffer, const char *text, size_t length);

/* The content as a C string: "" while empty. Borrowed until the next append. */
const char *buffer_text(const struct buffer *buffer);

void buffer_clear(struct buffer *buffer); /* keeps the memory; `overflowed` is cleared as well */
void buffer_done(struct buffer *buffer);  /* frees it; usable with CLEANUP */

#endif
