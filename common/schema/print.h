/* SPDX-License-Identifier: Apache-2.0
 * Text of unknown origin into JSON: for this module's own use. */
#ifndef TURNSTILE_SCHEMA_PRINT_H
#define TURNSTILE_SCHEMA_PRINT_H

#include "common/base/buffer.h"

/* A JSON string of any bytes: what is not UTF-8 becomes U+FFFD, so that the output is always valid JSON. */
void print_text(struct buffer *buffer, const char *text, size_t length);

#endif
