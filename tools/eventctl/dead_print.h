/* SPDX-License-Identifier: Apache-2.0
 * Dead letters for people and for programs to read. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_DEAD_PRINT_H
#define TURNSTILE_TOOLS_EVENTCTL_DEAD_PRINT_H

#include "tools/eventctl/dead_letters.h"

/* Bytes that any of these may append for a letter. */
size_t dead_print_limit(const struct dead_item *item);

/* What is known of a letter, on a line. */
void dead_print_line(const struct dead_item *item, struct buffer *buffer);
/* All of it, its event too, as a JSON object on a line: the event as it is, if it is a JSON object of which nothing is
 * missing; else as text. */
void dead_print_json(const struct dead_item *item, struct buffer *buffer);
/* All of it, with the event indented, on lines. */
void dead_print_whole(const struct dead_item *item, struct buffer *buffer);

#endif
