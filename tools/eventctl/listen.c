/* SPDX-License-Identifier: Apache-2.0
 * eventctl listen: prints what is published on some subjects. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "tools/eventctl/command.h"
#include "tools/eventctl/connection.h"
#include "tools/eventctl/listen_options.h"
#include "tools/eventctl/output.h"
#include "tools/eventctl/subject.h"

enum {
    HEAD_MAX = 1024,   /* bytes of a line beside the data */
    ESCAPED_BYTES = 6, /* that one byte may become, as in \u0000 */
};

static const char usage[] =
    "Usage: eventctl listen SUBJECT... [OPTION]...\n"
    "Prints what is published on the subjects, from now on or from where the options say, until it is stopped by\n"
    "SIGINT or SIGTERM. Waits for the bus as long as it is away.\n";

struct listener {
    const struct listen_options *options;
    const struct signals *signals;
    struct connection *connection;
    bool was_up;
    int64_t printed;
    int64_t connect_deadline, message_deadline; /* monotonic ms; INT64_MAX: none */
};

/* An object as it is, on one line; what else is text as a string; what is no text in base64. */
static void append_json_data(struct buffer *line, const char *data, size_t length)
{
    if (output_append_object_member(line, "data", data, length)) {
        return;
    }
    if (text_is_utf8(data, length)) {
        buffer_append_text(line, ",\"data\":");
        buffer_append_json_string(line, data, length);
    } else {
        CLEANUP(free_pointer) char *base64 = text_to_base64(data, length);
        buffer_printf(line, ",\"dataBase64\":\"%s\"", base64);
    }
}

static void append_json(struct buffer *line, const struct delivery *delivery)
{
    char time[CLOCK_TEXT_SIZE];
    clock_to_text(delivery_time(delivery), time);
    buffer_printf(line, "{\"subject\":\"%s\",\"sequence\":%" PRIu64 ",\"redelivered\":%s,\"time\":\"%s\"",
                  delivery_subject(delivery), delivery_sequence(delivery),
                  delivery_redelivered(delivery) ? "true" : "false", time);
    append_json_data(line, delivery_data(delivery), delivery_length(delivery));
    buffer_append_text(line, "}\n");
}

static void append_text(struct buffer *line, const struct delivery *delivery)
{
    buffer_printf(line, "%s #%" PRIu64 " %s", delivery_subject(delivery), delivery_sequence(delivery),
                  delivery_redelivered(delivery) ? "(redelivered) " : "");
    output_append_escaped(line, delivery_data(delivery), delivery_length(delivery));
    buffer_append_char(line, '\n');
}

/* By hand, a message counts as done when it is printed; else as soon as it is here. */
static enum output_result print(struct listener *listener, struct delivery *delivery)
{
    const struct listen_options *options = listener->options;
    CLEANUP(buffer_done) struct buffer line = BUFFER_INIT(HEAD_MAX + ESCAPED_BYTES * delivery_length(delivery));
    if (options->json) {
        append_json(&line, delivery);
    } else {
        append_text(&line, delivery);
    }
    if (!options->manual_ack) {
        bus_ack(TAKE(delivery));
    }
    enum output_result result = output_write(listener->signals, line.data, line.length);
    if (delivery != NULL && result == OUTPUT_WRITTEN && !options->no_ack) {
        bus_ack(delivery);
    } else if (delivery != NULL) {
        bus_drop(delivery);
    }
    return result;
}

/* JSON goes to programs, which want nothing else on their input. */
static enum output_result announce(struct listener *listener)
{
    static const char text[] = "connected to NATS\n";
    listener->was_up = true;
    if (listener->options->json) {
        fputs(text, stderr);
        return OUTPUT_WRITTEN;
    }
    return output_write(listener->signals, text, strlen(text));
}

static int64_t deadline_in(int64_t timeout_ms)
{
    return timeout_ms > 0 ? clock_monotonic(NULL) + timeout_ms : INT64_MAX;
}

/* For connection_wait. */
static int64_t time_left(const struct listener *listener)
{
    int64_t deadline = listener->message_deadline;
    if (!listener->was_up && listener->connect_deadline < deadline) {
        deadline = listener->connect_deadline;
    }
    int64_t left = deadline - clock_monotonic(NULL);
    return deadline == INT64_MAX ? -1 : left > 0 ? left : 0;
}

static int tell_timeout(const struct listener *listener)
{
    const struct listen_options *options = listener->options;
    if (!listener->was_up) {
        fprintf(stderr, "eventctl: the event bus could not be reached in time\n");
        return STATUS_UNAVAILABLE;
    }
    if (options->count > 0) {
        fprintf(stderr, "eventctl: %" PRId64 " of %" PRId64 " messages came in time\n", listener->printed,
                options->count);
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

static int run(struct listener *listener)
{
    const struct listen_options *options = listener->options;
    enum output_result result = OUTPUT_WRITTEN;
    listener->connect_deadline = deadline_in(options->connection.connect_timeout_ms);
    listener->message_deadline = deadline_in(options->timeout_ms);
    while (result == OUTPUT_WRITTEN && (options->count == 0 || listener->printed < options->count)) {
        struct delivery *delivery = NULL;
        switch (connection_wait(listener->connection, time_left(listener), &delivery)) {
        case CONNECTION_UP:
            result = announce(listener);
            break;
        case CONNECTION_DELIVERY:
            result = print(listener, delivery);
            listener->printed++;
            listener->message_deadline = deadline_in(options->timeout_ms);
            break;
        case CONNECTION_SIGNAL:
            return STATUS_OK;
        case CONNECTION_TIMEOUT:
            return tell_timeout(listener);
        }
    }
    return output_status(result);
}

static int subscribe(struct listener *listener, const struct option_texts *subjects, struct subscription subscription)
{
    for (size_t i = 0; i < subjects->count; i++) {
        struct error error = ERROR_INIT;
        subscription.subject = subjects->items[i];
        if (!connection_subscribe(listener->connection, &subscription, &error)) {
            fprintf(stderr, "eventctl: cannot listen to %s: %s\n", subscription.subject, error.message);
            return STATUS_FAILED;
        }
    }
    return STATUS_OK;
}

static int listen(const struct listen_options *options, const struct option_texts *subjects,
                  const struct subscription *subscription)
{
    struct signals signals;
    signals_open(&signals);
    struct listener listener = {.options = options, .signals = &signals};
    int status = connection_open(&options->connection, &signals, &listener.connection);
    if (status == STATUS_OK) {
        status = subscribe(&listener, subjects, *subscription);
        status = status == STATUS_OK ? run(&listener) : status;
        connection_close(&listener.connection);
        if (listener.was_up) {
            fprintf(stderr, "NATS connection closed!\n");
        }
    }
    signals_close(&signals);
    return status;
}

int command_listen(int argc, char **argv)
{
    struct listen_options options;
    struct option_texts subjects;
    struct subscription subscription;
    struct error error = ERROR_INIT;
    int status = STATUS_OK;
    enum options_result result =
        listen_options_parse(argc, argv, clock_now(NULL), &options, &subjects, &subscription, &error);
    if (!options_proceed(result, usage, listen_option_table, &error, &status)) {
        return status;
    }
    for (size_t i = 0; i < subjects.count; i++) {
        subject_warn_channel(subjects.items[i]);
    }
    return listen(&options, &subjects, &subscription);
}
