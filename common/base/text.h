/* SPDX-License-Identifier: Apache-2.0
 * C strings with limits, UTF-8, and numbers out of text. All functions are pure and thread-safe. */
#ifndef TURNSTILE_BASE_TEXT_H
#define TURNSTILE_BASE_TEXT_H

#include "common/base/compiler.h"

enum {
    TEXT_ESCAPED_MAX = 16, /* bytes of one character that text_escape_next escaped, without the NUL */
};

/* Copies with the terminating NUL into `size` bytes; false, with an empty string in `ret`, if it does not fit. */
bool text_copy(char *ret, size_t size, const char *text) MUST_CHECK;
/* The same, cutting what does not fit (never within a UTF-8 sequence): for messages and logs. */
void text_copy_cut(char *ret, size_t size, const char *text);

bool text_equal(const char *a, const char *b);
bool text_equal_ignore_case(const char *a, const char *b); /* ASCII */
bool text_starts_with(const char *text, const char *prefix);

/* RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF. NUL bytes are valid UTF-8. */
bool text_is_utf8(const char *text, size_t length);
/* The first code point; returns how many bytes it takes, 0 if they are not UTF-8 (as above) or `length` is 0. */
size_t text_decode_utf8(const char *text, size_t length, uint32_t *ret_code_point) MUST_CHECK;
/* Copies the first character for a log or a message: as it is, or its bytes as \xNN if it is a control character, a
 * line separator (U+2028, U+2029) or no UTF-8. Returns how many bytes of `text` that were, at least 1; `length` > 0. */
size_t text_escape_next(const char *text, size_t length, char ret_piece[static TEXT_ESCAPED_MAX + 1]);
/* Code points in valid UTF-8. */
size_t text_length_utf8(const char *text, size_t length);
/* True if there is a C0 or C1 control character or DEL (U+0000–U+001F, U+007F–U+009F). Valid UTF-8 in. */
bool text_has_control(const char *text, size_t length);
/* True if nothing but white space (Unicode's White_Space) is there. Valid UTF-8 in. */
bool text_is_blank(const char *text, size_t length);
/* Case-insensitive search with simple Unicode case folding of the Latin, Greek and Cyrillic scripts. Valid UTF-8 in. */
bool text_contains_folded(const char *text, const char *part);

/* The whole text must be one decimal number in the range; no white space, no '+'. */
bool text_to_int64(const char *text, int64_t min, int64_t max, int64_t *ret_number) MUST_CHECK;
bool text_to_uint64(const char *text, uint64_t max, uint64_t *ret_number) MUST_CHECK;

/* base64 (RFC 4648 section 4, padded) of `length` bytes. Caller frees with xfree. */
char *text_to_base64(const void *data, size_t length);
/* base64url (section 5), without padding. Caller frees with xfree. */
char *text_to_base64url(const void *data, size_t length);
/* Either alphabet, padded or not; false on anything else. Caller frees *ret_data (NUL-terminated) with xfree. */
bool text_from_base64(const char *text, char **ret_data, size_t *ret_length) MUST_CHECK;

/* Decodes %XX and, if asked, '+'. Caller frees *ret_text. False on a broken escape, %00, or invalid UTF-8. */
bool text_url_decode(const char *text, size_t length, bool plus_is_space, char **ret_text) MUST_CHECK;

/* A 64-bit hash (FNV-1a) for tables and sharding; not for untrusted tables without a bound. */
uint64_t text_hash(const void *data, size_t length);

#endif
