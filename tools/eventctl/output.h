/* SPDX-License-Identifier: Apache-2.0
 * Writing to stdout without being stuck in it: a signal ends the wait for a reader that does not read. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_OUTPUT_H
#define TURNSTILE_TOOLS_EVENTCTL_OUTPUT_H

#include "common/base/buffer.h"
#include "tools/eventctl/signals.h"

enum output_result {
    OUTPUT_WRITTEN,
    OUTPUT_INTERRUPTED, /* by a signal, before all was written */
    OUTPUT_CLOSED,      /* nobody reads any more */
    OUTPUT_FAILED,      /* told on stderr */
};

/* Flushes stdio's buffer first, so that both can be used in turns. */
enum output_result output_write(const struct signals *signals, const void *data, size_t length) MUST_CHECK;

/* The process' status after a write that went so; a reader that has had enough, or a signal, is no failure. */
int output_status(enum output_result result);

/* Appends `,"name":` and the bytes, on one line, if they are a JSON object; else appends nothing and returns false. */
bool output_append_object_member(struct buffer *buffer, const char *name, const char *data, size_t length) MUST_CHECK;

/* Appends bytes of any origin as one line of text: control characters and what is no UTF-8 are written \xNN. */
void output_append_escaped(struct buffer *buffer, const char *data, size_t length);

#endif
