/* SPDX-License-Identifier: Apache-2.0
 * A bounded list of what is wrong with an input, field by field. */
#ifndef TURNSTILE_SCHEMA_ERRORS_H
#define TURNSTILE_SCHEMA_ERRORS_H

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/schema/table.h"

enum {
    FIELD_ERRORS_MAX = 32, /* further ones are counted in `dropped` */
    FIELD_MESSAGE_MAX = 160,
};

struct field_errors {
    size_t count;
    size_t dropped;
    struct {
        char field[SCHEMA_PATH_MAX]; /* "" for the input as a whole */
        char message[FIELD_MESSAGE_MAX];
    } items[FIELD_ERRORS_MAX];
};

#define FIELD_ERRORS_INIT ((struct field_errors){.count = 0})

/* `field` may be NULL. The message is for a person and does not repeat the field's name. Returns false. */
bool field_errors_add(struct field_errors *errors, const char *field, const char *format, ...) PRINTF_LIKE(3, 4);

/* {"errors":[{"message":"…","field":"…"}]}; `field` is left out when empty. */
void field_errors_print(const struct field_errors *errors, struct buffer *buffer);

/* "title: must not be blank; price: …" into an ERROR_INVALID, for logs and dead letters. Returns false. */
bool field_errors_to_error(const struct field_errors *errors, struct error *error);

#endif
