/* SPDX-License-Identifier: Apache-2.0
 * Cursors: where in an index a page ended, as a text that clients carry around but cannot use for anything else.
 *
 * base64url of: the index's name, NUL; for each value 'a' (absent), or 'n' or 't' with its text and a NUL; the id. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/query.h"

enum {
    CURSOR_BYTES_MAX = (STORE_CURSOR_MAX - 1) / 4 * 3, /* before base64url */
    CURSOR_NUMBER_MAX = 20,                            /* characters of an int64_t */
};

static const char cursor_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

void store_cursor_done(struct store_cursor *cursor)
{
    xfree(cursor->data);
    *cursor = (struct store_cursor){.value_count = 0};
}

static size_t choice_length_max(const char *const *choices)
{
    size_t longest = 0;
    for (size_t i = 0; choices[i]; i++) {
        size_t length = strlen(choices[i]);
        longest = length > longest ? length : longest;
    }
    return longest;
}

bool store_cursor_fits(const struct store_collection *collection, const struct store_index *index)
{
    size_t bytes = strlen(index->name) + 1 + ID_LENGTH;
    for (size_t i = 0; i < index->field_count; i++) {
        const struct field *field = collection->fields[index->fields[i]].field;
        size_t length = CURSOR_NUMBER_MAX;
        if (field->type == FIELD_CHOICE) {
            length = choice_length_max(field->choices);
        } else if (store_field_kind(field) == STORE_TEXT) {
            length = field->size - 1;
        }
        bytes += 1 + length + 1;
    }
    return bytes <= CURSOR_BYTES_MAX;
}

void store_cursor_print(const struct store_collection *collection, const struct store_index *index, size_t skip,
                        const struct record *head, const void *entity, char ret_text[static STORE_CURSOR_MAX])
{
    CLEANUP(buffer_done) struct buffer buffer = BUFFER_INIT(CURSOR_BYTES_MAX);
    buffer_append(&buffer, index->name, strlen(index->name) + 1);
    for (size_t i = skip; i < index->field_count; i++) {
        struct store_value value = store_value_of(&collection->fields[index->fields[i]], entity);
        switch (value.kind) {
        case STORE_ABSENT:
            buffer_append_char(&buffer, 'a');
            break;
        case STORE_NUMBER:
            buffer_printf(&buffer, "n%" PRId64, value.number);
            buffer_append_char(&buffer, '\0');
            break;
        case STORE_TEXT:
            buffer_append_char(&buffer, 't');
            buffer_append(&buffer, value.text, strlen(value.text) + 1);
            break;
        }
    }
    buffer_append(&buffer, head->id.hex, ID_LENGTH);
    assert(!buffer.overflowed); /* store_cursor_fits */
    CLEANUP(free_pointer) char *text = text_to_base64url(buffer.data, buffer.length);
    bool fits = text_copy(ret_text, STORE_CURSOR_MAX, text);
    assert(fits);
    (void)fits;
}

/* Takes one NUL-terminated text off the front; NULL if there is none. */
static const char *take_text(const char **position, const char *end)
{
    const char *text = *position;
    const char *nul = memchr(text, '\0', (size_t)(end - text));
    if (!nul) {
        return NULL;
    }
    *position = nul + 1;
    return text;
}

static bool text_suits(const struct field *field, const char *text)
{
    if (field->type == FIELD_CHOICE) {
        return choice_from_text(field->choices, text) >= 0;
    }
    size_t length = strlen(text);
    return length < field->size && text_is_utf8(text, length);
}

static bool take_value(const struct field *field, const char **position, const char *end, struct store_value *ret_value)
{
    if (*position == end) {
        return false;
    }
    char tag = *(*position)++;
    if (tag == 'a') {
        *ret_value = (struct store_value){.kind = STORE_ABSENT};
        return true;
    }
    const char *text = take_text(position, end);
    enum store_kind kind = store_field_kind(field);
    if (!text || tag != (kind == STORE_TEXT ? 't' : 'n')) {
        return false;
    }
    *ret_value = (struct store_value){.kind = kind, .text = text};
    if (kind == STORE_TEXT) {
        return text_suits(field, text);
    }
    return text_to_int64(text, INT64_MIN, INT64_MAX, &ret_value->number);
}

static bool parse(const struct store_collection *collection, const struct store_index *index, size_t skip,
                  const char *data, size_t length, struct store_cursor *cursor)
{
    const char *end = data + length;
    const char *position = data;
    const char *name = take_text(&position, end);
    if (!name || !text_equal(name, index->name)) {
        return false;
    }
    for (size_t i = skip; i < index->field_count; i++) {
        const struct field *field = collection->fields[index->fields[i]].field;
        if (!take_value(field, &position, end, &cursor->values[cursor->value_count++])) {
            return false;
        }
    }
    /* What text_from_base64 returns ends with a NUL, which ends the id. */
    return end - position == ID_LENGTH && strlen(position) == ID_LENGTH && id_from_text(position, &cursor->id);
}

bool store_cursor_parse(const struct store_collection *collection, const struct store_index *index, size_t skip,
                        const char *text, struct store_cursor *ret_cursor, struct error *error)
{
    size_t text_length = strnlen(text, STORE_CURSOR_MAX);
    struct store_cursor cursor = {.value_count = 0};
    size_t length = 0;
    if (text_length == STORE_CURSOR_MAX || strspn(text, cursor_alphabet) != text_length ||
        !text_from_base64(text, &cursor.data, &length) ||
        !parse(collection, index, skip, cursor.data, length, &cursor)) {
        store_cursor_done(&cursor);
        return error_set(error, ERROR_INVALID, "this is not a place in this list");
    }
    *ret_cursor = cursor;
    return true;
}
