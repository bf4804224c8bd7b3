/* SPDX-License-Identifier: Apache-2.0
 * Reading what to publish, as far as it can be published. */
#include "tools/eventctl/input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/bus/bus.h"

enum {
    READ_SIZE = 65536,
    DATA_MAX = BUS_MESSAGE_MAX + READ_SIZE + 1,
};

bool input_open(const char *source, const struct signals *signals, struct input *ret_input)
{
    struct input input = {
        .signals = signals,
        .name = source,
        .descriptor = -1,
        .data = BUFFER_INIT(DATA_MAX),
        .line = BUFFER_INIT(DATA_MAX),
    };
    if (strcmp(source, "-") == 0) {
        input.name = "stdin";
        input.descriptor = STDIN_FILENO;
    } else if (source[0] == '@') {
        input.name = source + 1;
        input.descriptor = open(source + 1, O_RDONLY | O_CLOEXEC);
        if (input.descriptor < 0) {
            return false;
        }
    } else {
        input.name = "the argument";
        input.ended = true;
        buffer_append(&input.data, source, strlen(source));
    }
    *ret_input = input;
    return true;
}

void input_done(struct input *input)
{
    if (input->descriptor > STDIN_FILENO) {
        close(input->descriptor);
        input->descriptor = -1;
    }
    buffer_done(&input->data);
    buffer_done(&input->line);
}

/* Reads some more behind what is there; INPUT_TAKEN if there was some. */
static enum input_result read_more(struct input *input)
{
    char piece[READ_SIZE];
    if (signals_wait_file(input->signals, input->descriptor, POLLIN, -1) == SIGNALS_ARRIVED) {
        return INPUT_INTERRUPTED;
    }
    ssize_t length = read(input->descriptor, piece, sizeof(piece));
    if (length < 0) {
        return errno == EINTR || errno == EAGAIN ? INPUT_TAKEN : INPUT_FAILED;
    }
    if (length == 0) {
        input->ended = true;
        return INPUT_END;
    }
    buffer_append(&input->data, piece, (size_t)length);
    return INPUT_TAKEN;
}

enum input_result input_take_all(struct input *input, const char **ret_data, size_t *ret_length)
{
    while (!input->ended && input->data.length <= BUS_MESSAGE_MAX) {
        enum input_result result = read_more(input);
        if (result != INPUT_TAKEN && result != INPUT_END) {
            return result;
        }
    }
    if (input->data.length > BUS_MESSAGE_MAX || input->data.overflowed) {
        return INPUT_TOO_LONG;
    }
    *ret_data = buffer_text(&input->data);
    *ret_length = input->data.length;
    return INPUT_TAKEN;
}

/* Forgets what was taken. */
static void move_up(struct input *input)
{
    input->data.length -= input->taken;
    if (input->data.length > 0) {
        memmove(input->data.data, input->data.data + input->taken, input->data.length);
    }
    input->taken = 0;
}

enum input_result input_take_line(struct input *input, const char **ret_data, size_t *ret_length)
{
    size_t searched = 0;
    for (;;) {
        const char *start = buffer_text(&input->data) + input->taken;
        size_t available = input->data.length - input->taken;
        const char *newline = memchr(start + searched, '\n', available - searched);
        size_t length = newline != NULL ? (size_t)(newline - start) : available;
        if (length > BUS_MESSAGE_MAX) {
            return INPUT_TOO_LONG;
        }
        if (newline != NULL || (input->ended && available > 0)) {
            buffer_clear(&input->line);
            buffer_append(&input->line, start, length);
            input->taken += length + (newline != NULL);
            *ret_data = buffer_text(&input->line);
            *ret_length = length;
            return INPUT_TAKEN;
        }
        if (input->ended) {
            return INPUT_END;
        }
        searched = available;
        move_up(input);
        enum input_result result = read_more(input);
        if (result != INPUT_TAKEN && result != INPUT_END) {
            return result;
        }
    }
}
