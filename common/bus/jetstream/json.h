/* SPDX-License-Identifier: Apache-2.0
 * Reads, and changes in place, the JSON that a JetStream server answers: values are pieces of its text. What is not
 * known here thus survives when a configuration is sent back with a change, unlike with libnats' own structures, which
 * have only the fields of its time. */
#ifndef TURNSTILE_BUS_JETSTREAM_JSON_H
#define TURNSTILE_BUS_JETSTREAM_JSON_H

#include "common/base/buffer.h"

/* The text of one value, without white space around it; borrowed. */
struct json {
    const char *start, *end;
};

/* Where one is in an object or array. Start from JSON_CURSOR_INIT. */
struct json_cursor {
    const char *at;
};
#define JSON_CURSOR_INIT ((struct json_cursor){.at = NULL})

/* The value that a text consists of; false if there is none. What it is made of is not checked any further: broken JSON
 * yields fewer values, or none, but nothing outside the text is ever read. */
bool json_from_text(const char *text, struct json *ret_value) MUST_CHECK;
/* The next member of an object (with its name, in quotes) or element of an array (name NULL); false at the end. */
bool json_next(struct json container, struct json_cursor *cursor, struct json *ret_name, struct json *ret_value);
bool json_member(struct json object, const char *name, struct json *ret_value);

bool json_to_uint64(struct json value, uint64_t *ret_number) MUST_CHECK;
/* True if it is this string; such with escapes equal nothing. */
bool json_equals(struct json value, const char *text);
/* A string's text for people, cut to `size` bytes with the NUL; "" if it is no string. Escapes of what is not printable
 * ASCII become '?'. */
void json_copy_cut(struct json value, char *ret_text, size_t size);

/* Appends the members of an object but those of the given names, without braces and with a comma behind each. */
void json_append_members(struct buffer *buffer, struct json object, const char *const *without, size_t without_count);

#endif
