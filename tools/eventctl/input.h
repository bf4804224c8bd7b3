/* SPDX-License-Identifier: Apache-2.0
 * What to publish: an argument, a file or stdin, as a whole or line by line. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_INPUT_H
#define TURNSTILE_TOOLS_EVENTCTL_INPUT_H

#include "common/base/buffer.h"
#include "tools/eventctl/signals.h"

struct input {
    const struct signals *signals; /* borrowed */
    const char *name;              /* for messages; borrowed */
    int descriptor;                /* -1: everything is in `data` */
    bool ended;
    struct buffer data; /* read but not taken */
    size_t taken;       /* bytes of it that were */
    struct buffer line; /* the one that was taken last */
};

/* `source` is "-" for stdin, "@path" for a file, else the data itself. False, with errno, if a file cannot be opened.
 * Then input_done is not needed. */
bool input_open(const char *source, const struct signals *signals, struct input *ret_input) MUST_CHECK;
void input_done(struct input *input);

enum input_result {
    INPUT_TAKEN,
    INPUT_END,
    INPUT_TOO_LONG, /* over BUS_MESSAGE_MAX */
    INPUT_FAILED,   /* errno */
    INPUT_INTERRUPTED,
};

/* Everything there is. Borrowed until input_done. */
enum input_result input_take_all(struct input *input, const char **ret_data, size_t *ret_length) MUST_CHECK;
/* The next line, without its newline. Borrowed until the next call. */
enum input_result input_take_line(struct input *input, const char **ret_data, size_t *ret_length) MUST_CHECK;

#endif
