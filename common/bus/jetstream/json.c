/* SPDX-License-Identifier: Apache-2.0
 * Reads, and changes in place, the JSON that a JetStream server answers. */
#include "common/bus/jetstream/json.h"

#include <string.h>

#include "common/base/text.h"

enum {
    NUMBER_MAX = 24, /* bytes of a number's text, with the NUL */
    UNICODE_DIGITS = 4,
};

static const char hex_digits[] = "0123456789abcdef";

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at)) {
        at++;
    }
    return at;
}

/* From an opening quote to behind the closing one; NULL if there is none. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '\\') {
            at++;
        } else if (*at == '"') {
            return at + 1;
        }
    }
    return NULL;
}

/* From an opening bracket to behind the one that closes it; NULL if there is none. */
static const char *skip_container(const char *at, const char *end)
{
    size_t depth = 0;
    while (at < end) {
        if (*at == '"') {
            at = skip_string(at, end);
            if (!at) {
                return NULL;
            }
            continue;
        }
        if (*at == '{' || *at == '[') {
            depth++;
        } else if ((*at == '}' || *at == ']') && --depth == 0) {
            return at + 1;
        }
        at++;
    }
    return NULL;
}

static const char *skip_word(const char *at, const char *end)
{
    const char *start = at;
    while (at < end && !is_space(*at) && !strchr(",:{}[]\"", *at)) {
        at++;
    }
    return at > start ? at : NULL;
}

/* From the first byte of a value to behind its last; NULL if there is none. */
static const char *skip_value(const char *at, const char *end)
{
    if (at >= end) {
        return NULL;
    }
    if (*at == '"') {
        return skip_string(at, end);
    }
    return *at == '{' || *at == '[' ? skip_container(at, end) : skip_word(at, end);
}

/* Reads a value, and moves behind it and the white space that follows. */
static bool take_value(const char **at, const char *end, struct json *ret_value)
{
    const char *start = skip_space(*at, end);
    const char *behind = skip_value(start, end);
    if (!behind) {
        return false;
    }
    *ret_value = (struct json){.start = start, .end = behind};
    *at = skip_space(behind, end);
    return true;
}

bool json_from_text(const char *text, struct json *ret_value)
{
    const char *end = text + strlen(text);
    return take_value(&text, end, ret_value) && text == end;
}

bool json_next(struct json container, struct json_cursor *cursor, struct json *ret_name, struct json *ret_value)
{
    bool is_object = *container.start == '{';
    if (!is_object && *container.start != '[') {
        return false;
    }
    const char *end = container.end - 1; /* the closing bracket */
    const char *at = cursor->at ? cursor->at : container.start + 1;
    struct json name = {.start = NULL}, value;
    if (is_object && (!take_value(&at, end, &name) || at == end || *at++ != ':')) {
        return false;
    }
    if (!take_value(&at, end, &value) || (at < end && *at != ',')) {
        return false;
    }
    cursor->at = at < end ? at + 1 : end;
    if (ret_name) {
        *ret_name = name;
    }
    *ret_value = value;
    return true;
}

bool json_member(struct json object, const char *name, struct json *ret_value)
{
    struct json_cursor cursor = JSON_CURSOR_INIT;
    struct json found, value;
    while (*object.start == '{' && json_next(object, &cursor, &found, &value)) {
        if (json_equals(found, name)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

bool json_to_uint64(struct json value, uint64_t *ret_number)
{
    char text[NUMBER_MAX];
    size_t length = (size_t)(value.end - value.start);
    if (length >= sizeof(text)) {
        return false;
    }
    memcpy(text, value.start, length);
    text[length] = '\0';
    return text_to_uint64(text, UINT64_MAX, ret_number);
}

bool json_equals(struct json value, const char *text)
{
    size_t length = strlen(text);
    return *value.start == '"' && (size_t)(value.end - value.start) == length + 2 &&
           memcmp(value.start + 1, text, length) == 0 && !memchr(value.start, '\\', length + 2);
}

/* The character behind a backslash at `*at`, which moves behind it; those that are not printable ASCII as '?'. */
static char unescape(const char **at, const char *end)
{
    const char *escape = *at;
    *at += 1;
    if (*escape != 'u') {
        return *escape == '"' || *escape == '\\' || *escape == '/' ? *escape : '?';
    }
    unsigned code = 0;
    for (int i = 0; i < UNICODE_DIGITS && *at < end; i++, *at += 1) {
        const char *digit = strchr(hex_digits, **at | ' ');
        code = code * 16 + (digit ? (unsigned)(digit - hex_digits) : UINT16_MAX);
    }
    return code >= ' ' && code <= '~' ? (char)code : '?';
}

void json_copy_cut(struct json value, char *ret_text, size_t size)
{
    size_t length = 0;
    const char *end = value.end - 1; /* the closing quote */
    for (const char *at = value.start + 1; *value.start == '"' && at < end && length < size - 1;) {
        char c = *at++;
        ret_text[length++] = c == '\\' && at < end ? unescape(&at, end) : c;
    }
    ret_text[length] = '\0';
}

static bool is_one_of(struct json name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (json_equals(name, names[i])) {
            return true;
        }
    }
    return false;
}

void json_append_members(struct buffer *buffer, struct json object, const char *const *without, size_t without_count)
{
    struct json_cursor cursor = JSON_CURSOR_INIT;
    struct json name, value;
    while (*object.start == '{' && json_next(object, &cursor, &name, &value)) {
        if (!is_one_of(name, without, without_count)) {
            buffer_append(buffer, name.start, (size_t)(name.end - name.start));
            buffer_append_char(buffer, ':');
            buffer_append(buffer, value.start, (size_t)(value.end - value.start));
            buffer_append_char(buffer, ',');
        }
    }
}
