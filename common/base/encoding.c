/* SPDX-License-Identifier: Apache-2.0
 * base64 in both alphabets, and decoding of URL escapes. */
#include <assert.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

static const char alphabet_standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char alphabet_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static char *encode_base64(const void *data, size_t length, const char *alphabet, bool pad)
{
    const unsigned char *bytes = data;
    assert(length < SIZE_MAX / 4 * 3 - 4);
    char *text = xmalloc((length + 2) / 3 * 4 + 1);
    size_t used = 0;
    for (size_t i = 0; i < length; i += 3) {
        size_t count = length - i < 3 ? length - i : 3;
        uint32_t group = (uint32_t)bytes[i] << 16;
        group |= count > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= count > 2 ? bytes[i + 2] : 0;
        for (size_t digit = 0; digit <= count; digit++) {
            text[used++] = alphabet[(group >> (18 - 6 * digit)) & 0x3f];
        }
        for (size_t digit = count + 1; pad && digit < 4; digit++) {
            text[used++] = '=';
        }
    }
    text[used] = '\0';
    return text;
}

char *text_to_base64(const void *data, size_t length)
{
    return encode_base64(data, length, alphabet_standard, true);
}

char *text_to_base64url(const void *data, size_t length)
{
    return encode_base64(data, length, alphabet_url, false);
}

/* The value of a digit in the alphabet of base64 or base64url, -1 for all else. */
static int base64_digit(char c, bool is_url)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == (is_url ? '-' : '+')) {
        return 62;
    }
    return c == (is_url ? '_' : '/') ? 63 : -1;
}

/* The number of digits before correct padding, or before the end where there is none. */
static bool count_base64_digits(const char *text, size_t *ret_count)
{
    size_t length = strlen(text);
    size_t count = length;
    while (count > 0 && length - count < 2 && text[count - 1] == '=') {
        count--;
    }
    if ((count < length && length % 4 != 0) || count % 4 == 1) {
        return false;
    }
    *ret_count = count;
    return true;
}

bool text_from_base64(const char *text, char **ret_data, size_t *ret_length)
{
    size_t count;
    if (!count_base64_digits(text, &count)) {
        return false;
    }
    bool is_url = strpbrk(text, "-_") != NULL;
    CLEANUP(free_pointer) char *data = xmalloc(count / 4 * 3 + 3);
    size_t length = 0;
    uint32_t group = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < count; i++) {
        int digit = base64_digit(text[i], is_url);
        if (digit < 0) {
            return false;
        }
        group = (group << 6 | (uint32_t)digit) & 0xffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            data[length++] = (char)(group >> bits & 0xff);
        }
    }
    /* Bits left over are zero in what encoders write; with others, many texts would mean the same bytes. */
    if ((group & ((UINT32_C(1) << bits) - 1)) != 0) {
        return false;
    }
    data[length] = '\0';
    *ret_data = TAKE(data);
    *ret_length = length;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool text_url_decode(const char *text, size_t length, bool plus_is_space, char **ret_text)
{
    CLEANUP(free_pointer) char *decoded = xmalloc(length + 1);
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '%') {
            int high = length - i > 2 ? hex_digit(text[i + 1]) : -1;
            int low = length - i > 2 ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        /* The result is a C string: a NUL would hide what follows it from every check. */
        if (c == '\0') {
            return false;
        }
        decoded[used++] = c;
    }
    if (!text_is_utf8(decoded, used)) {
        return false;
    }
    decoded[used] = '\0';
    *ret_text = TAKE(decoded);
    return true;
}
