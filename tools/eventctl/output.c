/* SPDX-License-Identifier: Apache-2.0
 * Writing to stdout, and text of unknown origin in it. */
#include "tools/eventctl/output.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/text.h"
#include "common/schema/schema.h"
#include "tools/eventctl/command.h"

enum {
    PIECE_MAX = 4096, /* bytes that a pipe takes without blocking when poll(2) says that it is writable */
};

enum output_result output_write(const struct signals *signals, const void *data, size_t length)
{
    const char *rest = data;
    if (fflush(stdout) != 0) {
        return errno == EPIPE ? OUTPUT_CLOSED : OUTPUT_FAILED;
    }
    while (length > 0) {
        if (signals_wait_file(signals, STDOUT_FILENO, POLLOUT, -1) == SIGNALS_ARRIVED) {
            return OUTPUT_INTERRUPTED;
        }
        ssize_t written = write(STDOUT_FILENO, rest, length < PIECE_MAX ? length : PIECE_MAX);
        if (written < 0 && errno == EPIPE) {
            return OUTPUT_CLOSED;
        }
        if (written < 0 && errno != EINTR && errno != EAGAIN) {
            fprintf(stderr, "eventctl: cannot write: %s\n", strerrordesc_np(errno));
            return OUTPUT_FAILED;
        }
        if (written > 0) {
            rest += written;
            length -= (size_t)written;
        }
    }
    return OUTPUT_WRITTEN;
}

int output_status(enum output_result result)
{
    return result == OUTPUT_FAILED ? STATUS_OUTPUT : STATUS_OK;
}

bool output_append_object_member(struct buffer *buffer, const char *name, const char *data, size_t length)
{
    struct field_errors errors = FIELD_ERRORS_INIT;
    CLEANUP(document_free) struct document *document = NULL;
    if (!document_parse(data, length, &document, &errors)) {
        return false;
    }
    buffer_printf(buffer, ",\"%s\":", name);
    for (size_t i = 0; i < length; i++) {
        /* Between the tokens, where alone they can be, newlines are as good as blanks. */
        buffer_append_char(buffer, data[i] == '\n' || data[i] == '\r' ? ' ' : data[i]);
    }
    return true;
}

void output_append_escaped(struct buffer *buffer, const char *data, size_t length)
{
    while (length > 0) {
        char piece[TEXT_ESCAPED_MAX + 1];
        size_t used = text_escape_next(data, length, piece);
        buffer_append_text(buffer, piece);
        data += used;
        length -= used;
    }
}
