/* SPDX-License-Identifier: Apache-2.0
 * JSON for people to read, token by token. */
#include "tools/eventctl/indent.h"

enum {
    INDENT_SPACES = 2, /* a level */
};

static void begin_line(struct buffer *buffer, size_t depth)
{
    buffer_append_char(buffer, '\n');
    for (size_t i = 0; i < INDENT_SPACES * depth; i++) {
        buffer_append_char(buffer, ' ');
    }
}

/* Of the string at the beginning, with both quotes. */
static size_t string_length(const char *text, size_t length)
{
    size_t i = 1;
    while (i < length && text[i] != '"') {
        i += text[i] == '\\' ? 2 : 1;
    }
    return i < length ? i + 1 : length;
}

void indent_json(const char *text, size_t length, struct buffer *buffer)
{
    size_t depth = 0;
    bool just_opened = false; /* the token before was { or [ */
    for (size_t i = 0, used; i < length; i += used) {
        char c = text[i];
        used = 1;
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            continue;
        }
        bool closes = c == '}' || c == ']';
        depth -= closes && depth > 0;
        if (just_opened != closes) {
            begin_line(buffer, depth);
        }
        just_opened = c == '{' || c == '[';
        depth += just_opened;
        used = c == '"' ? string_length(text + i, length - i) : 1;
        buffer_append(buffer, text + i, used);
        if (c == ',') {
            begin_line(buffer, depth);
        } else if (c == ':') {
            buffer_append_char(buffer, ' ');
        }
    }
}
