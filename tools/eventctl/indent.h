/* SPDX-License-Identifier: Apache-2.0
 * JSON for people to read. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_INDENT_H
#define TURNSTILE_TOOLS_EVENTCTL_INDENT_H

#include "common/base/buffer.h"

/* Appends valid JSON with each member and item on a line of its own, indented by two spaces a level; no newline behind
 * it. White space between the tokens is replaced; what is empty stays {} and []. */
void indent_json(const char *text, size_t length, struct buffer *buffer);

#endif
