/* SPDX-License-Identifier: Apache-2.0
 * Copying and comparing C strings, UTF-8, and numbers out of text. */
#include "common/base/text.h"

#include <string.h>

bool text_copy(char *ret, size_t size, const char *text)
{
    size_t length = strlen(text);
    if (size == 0) {
        return false;
    }
    if (length >= size) {
        ret[0] = '\0';
        return false;
    }
    memcpy(ret, text, length + 1);
    return true;
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

void text_copy_cut(char *ret, size_t size, const char *text)
{
    enum { CONTINUATIONS_MAX = 3 };
    if (size == 0) {
        return;
    }
    size_t length = strnlen(text, size);
    if (length == size) {
        length = size - 1;
        /* At most three steps back: what is not UTF-8 is cut where it is. */
        size_t whole = length;
        while (whole > 0 && length - whole < CONTINUATIONS_MAX && is_continuation(text[whole])) {
            whole--;
        }
        if (!is_continuation(text[whole])) {
            length = whole;
        }
    }
    memcpy(ret, text, length);
    ret[length] = '\0';
}

bool text_equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static char lower_ascii(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool text_equal_ignore_case(const char *a, const char *b)
{
    size_t i = 0;
    while (a[i] != '\0' && lower_ascii(a[i]) == lower_ascii(b[i])) {
        i++;
    }
    return a[i] == '\0' && b[i] == '\0';
}

bool text_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

size_t text_decode_utf8(const char *text, size_t length, uint32_t *ret_code_point)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000}; /* that needs so many bytes */
    if (length == 0) {
        return 0;
    }
    unsigned char first = (unsigned char)text[0];
    if (first < 0x80) {
        *ret_code_point = first;
        return 1;
    }
    size_t count = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || count > length) {
        return 0;
    }
    uint32_t code_point = first & (0xffU >> (count + 1));
    for (size_t i = 1; i < count; i++) {
        if (!is_continuation(text[i])) {
            return 0;
        }
        code_point = code_point << 6 | ((unsigned char)text[i] & 0x3f);
    }
    bool is_surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
    if (code_point < smallest[count] || is_surrogate || code_point > 0x10ffff) {
        return 0;
    }
    *ret_code_point = code_point;
    return count;
}

bool text_is_utf8(const char *text, size_t length)
{
    size_t i = 0;
    while (i < length) {
        uint32_t code_point;
        size_t count = text_decode_utf8(text + i, length - i, &code_point);
        if (count == 0) {
            return false;
        }
        i += count;
    }
    return true;
}

size_t text_length_utf8(const char *text, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        count += is_continuation(text[i]) ? 0 : 1;
    }
    return count;
}

static bool is_control(uint32_t code_point)
{
    return code_point < 0x20 || (code_point >= 0x7f && code_point <= 0x9f);
}

size_t text_escape_next(const char *text, size_t length, char ret_piece[static TEXT_ESCAPED_MAX + 1])
{
    static const char digits[] = "0123456789abcdef";
    uint32_t code_point = 0;
    size_t count = text_decode_utf8(text, length, &code_point);
    /* Line separators count as well: some viewers break lines there, so they could forge one. */
    if (count > 0 && !is_control(code_point) && code_point != 0x2028 && code_point != 0x2029) {
        memcpy(ret_piece, text, count);
        ret_piece[count] = '\0';
        return count;
    }
    count = count > 0 ? count : 1;
    for (size_t i = 0; i < count; i++) {
        unsigned byte = (unsigned char)text[i];
        memcpy(ret_piece + 4 * i, (char[]){'\\', 'x', digits[byte >> 4], digits[byte & 0xf]}, 4);
    }
    ret_piece[4 * count] = '\0';
    return count;
}

/* The White_Space property of Unicode: 25 code points, the same since version 6.3. */
static bool is_white_space(uint32_t code_point)
{
    switch (code_point) {
    case 0x20:
    case 0x85:
    case 0xa0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202f:
    case 0x205f:
    case 0x3000:
        return true;
    default:
        return (code_point >= 0x09 && code_point <= 0x0d) || (code_point >= 0x2000 && code_point <= 0x200a);
    }
}

/* Whether the property holds for any code point (`wanted` true), or fails to hold for any (`wanted` false). A byte that
 * is not UTF-8 has no property. */
static bool any_is(const char *text, size_t length, bool (*property)(uint32_t code_point), bool wanted)
{
    size_t i = 0;
    while (i < length) {
        uint32_t code_point = 0xfffd;
        size_t count = text_decode_utf8(text + i, length - i, &code_point);
        if (property(code_point) == wanted) {
            return true;
        }
        i += count > 0 ? count : 1;
    }
    return false;
}

bool text_has_control(const char *text, size_t length)
{
    return any_is(text, length, is_control, true);
}

bool text_is_blank(const char *text, size_t length)
{
    return !any_is(text, length, is_white_space, false);
}

bool text_to_uint64(const char *text, uint64_t max, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (text[0] == '\0') {
        return false;
    }
    for (size_t i = 0; text[i] != '\0'; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        unsigned digit = (unsigned)(text[i] - '0');
        if (number > (UINT64_MAX - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    if (number > max) {
        return false;
    }
    *ret_number = number;
    return true;
}

bool text_to_int64(const char *text, int64_t min, int64_t max, int64_t *ret_number)
{
    bool is_negative = text[0] == '-';
    uint64_t largest = (uint64_t)INT64_MAX + (is_negative ? 1 : 0);
    uint64_t magnitude;
    if (!text_to_uint64(text + (is_negative ? 1 : 0), largest, &magnitude)) {
        return false;
    }
    int64_t number;
    if (!is_negative) {
        number = (int64_t)magnitude;
    } else {
        number = magnitude == largest ? INT64_MIN : -(int64_t)magnitude;
    }
    if (number < min || number > max) {
        return false;
    }
    *ret_number = number;
    return true;
}

uint64_t text_hash(const void *data, size_t length)
{
    const unsigned char *bytes = data;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}
