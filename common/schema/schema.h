/* SPDX-License-Identifier: Apache-2.0
 * JSON in and out by field tables (RFC 8259). */
#ifndef TURNSTILE_SCHEMA_SCHEMA_H
#define TURNSTILE_SCHEMA_SCHEMA_H

#include "common/schema/errors.h"

/* A parsed JSON object. Strict: broken JSON, invalid UTF-8, NUL (also as \u0000), NaN and infinities, numbers that
 * do not fit, duplicate keys, nesting over SCHEMA_DEPTH_MAX, anything behind the object, and a top level that is not
 * an object are each one error without a field name. */
struct document;
bool document_parse(const char *text, size_t length, struct document **ret_document,
                    struct field_errors *errors) MUST_CHECK;
void document_free(struct document **document);

/* Reads the fields that appear in `in` (one field_in) into *ret_value, which is zeroed first, and the head (id,
 * version) into *ret_head if the table is versioned and `in` is IN_EVENT or IN_RESPONSE (ret_head may be NULL
 * otherwise; its other members are zeroed). `member` names an object inside the document, NULL is the document itself;
 * a missing member is an error. Every invalid field is reported, with its path. Unknown fields are ignored. JSON null
 * counts as absent. An event of version 0 says that there is no such record: its other fields are not read. On failure
 * the outputs are not to be used. */
bool document_read(const struct document *document, const char *member, const struct table *table, enum field_in in,
                   struct record *ret_head, void *ret_value, struct field_errors *errors) MUST_CHECK;
bool document_has(const struct document *document, const char *member);
/* The bytes of a string member of any length, NUL-terminated; NULL if it is absent or no string. Borrowed from the
 * document. */
const char *document_text(const struct document *document, const char *member, size_t *ret_length);

/* document_parse, document_read of the whole, document_free. */
bool schema_parse(const struct table *table, enum field_in in, const char *text, size_t length, struct record *ret_head,
                  void *ret_value, struct field_errors *errors) MUST_CHECK;

/* Checks a value that did not come from JSON (a query parameter, a form) by the rules of one field and stores it at
 * `ret_member`. `name` is what errors call it. */
bool schema_parse_text(const struct field *field, const char *name, const char *text, void *ret_member,
                       struct field_errors *errors) MUST_CHECK;

/* Appends {"id":…,"version":…,<fields>}, the head under the same conditions as above; `head` may be NULL without it.
 * Of an event of version 0 only the head is printed. Bytes that are not UTF-8 become U+FFFD. */
void schema_print(const struct table *table, enum field_in in, const struct record *head, const void *value,
                  struct buffer *buffer);
/* The same without the braces, so that more members can follow. */
void schema_print_members(const struct table *table, enum field_in in, const struct record *head, const void *value,
                          struct buffer *buffer);

/* True if both values are equal in all fields that appear in `in`. */
bool schema_equal(const struct table *table, unsigned in, const void *a, const void *b);

/* Appends the JSON Schema (draft 2020-12) of the object as it appears in `in`. */
void schema_print_json_schema(const struct table *table, enum field_in in, struct buffer *buffer);

/* "12.50" or "12.5" or "12" to cents; no sign, at most two decimals, no exponent, at most 15 digits with the cents. */
bool money_from_text(const char *text, int64_t *ret_cents) MUST_CHECK;
/* The shortest JSON number: 12.5, 12, 0.01. */
void money_print(int64_t cents, struct buffer *buffer);

#endif
