/* SPDX-License-Identifier: Apache-2.0
 * The options of eventctl listen, and the subscription that they make. */
#include "tools/eventctl/listen_options.h"

#include "common/base/moment.h"
#include "common/base/text.h"

enum {
    ACK_WAIT_S = 30, /* by default */
    ACK_WAIT_MAX_S = 3600,
    IN_FLIGHT = 128,
    IN_FLIGHT_MAX = 1024,
    TIMEOUT_MAX_MS = 24 * 60 * 60 * 1000,
    START_GROUP = 1,
};

#define AT(member) .offset = offsetof(struct listen_options, member)

const struct option listen_option_table[] = {
    {.name = "queue-group",
     .type = OPTION_TEXT,
     AT(queue_group),
     .value = "NAME",
     .help = "share the messages with the other members of the group"},
    {.name = "durable",
     .type = OPTION_TEXT,
     AT(durable),
     .value = "NAME",
     .help = "go on where the last listener of this name has stopped"},
    {.name = "deliver-all",
     .type = OPTION_FLAG,
     AT(deliver_all),
     .group = START_GROUP,
     .help = "begin with the oldest message"},
    {.name = "last-received",
     .type = OPTION_FLAG,
     AT(last_received),
     .group = START_GROUP,
     .help = "begin with the newest message that is there"},
    {.name = "start-sequence",
     .type = OPTION_NUMBER,
     AT(start_sequence),
     .min = 1,
     .max = INT64_MAX,
     .group = START_GROUP,
     .value = "N",
     .help = "begin with this sequence"},
    {.name = "start-time",
     .type = OPTION_TEXT,
     AT(start_time),
     .group = START_GROUP,
     .value = "TIME",
     .help = "begin then: 2026-01-31T12:00:00Z, or an age like 30s, 10m, 2h, 1d"},
    {.name = "manual-ack",
     .type = OPTION_FLAG,
     AT(manual_ack),
     .help = "acknowledge a message when it is printed, not when it is received"},
    {.name = "no-ack",
     .type = OPTION_FLAG,
     AT(no_ack),
     .help = "with --manual-ack: never acknowledge, so that everything comes again"},
    {.name = "ack-wait",
     .type = OPTION_NUMBER,
     AT(ack_wait_s),
     .min = 1,
     .max = ACK_WAIT_MAX_S,
     .value = "SECONDS",
     .help = "until what is not acknowledged comes again (30)"},
    {.name = "in-flight",
     .type = OPTION_NUMBER,
     AT(in_flight),
     .min = 1,
     .max = IN_FLIGHT_MAX,
     .value = "N",
     .help = "messages of a subject that may be unacknowledged at once (128)"},
    {.name = "count",
     .type = OPTION_NUMBER,
     AT(count),
     .min = 1,
     .max = INT64_MAX,
     .value = "N",
     .help = "end after so many messages"},
    {.name = "timeout",
     .type = OPTION_SECONDS,
     AT(timeout_ms),
     .min = 1,
     .max = TIMEOUT_MAX_MS,
     .value = "SECONDS",
     .help = "end after so long without a message; status 1 if --count is not reached"},
    {.name = "json", .type = OPTION_FLAG, AT(json), .help = "print each message as a JSON object on a line"},
    CONNECTION_OPTIONS(struct listen_options, connection),
    {.name = NULL},
};

#undef AT

static bool set_start(const struct listen_options *options, int64_t now, struct subscription *subscription,
                      struct error *error)
{
    if (options->deliver_all) {
        subscription->start = BUS_START_ALL;
    } else if (options->last_received) {
        subscription->start = BUS_START_LAST_RECEIVED;
    } else if (options->start_sequence > 0) {
        subscription->start = BUS_START_SEQUENCE;
        subscription->start_sequence = (uint64_t)options->start_sequence;
    } else if (options->start_time != NULL) {
        subscription->start = BUS_START_TIME;
        return moment_parse("--start-time", options->start_time, now, &subscription->start_time, error);
    }
    return true;
}

static bool check_subjects(const struct option_texts *subjects, struct error *error)
{
    if (subjects->count == 0) {
        return error_set(error, ERROR_INVALID, "listen needs a subject");
    }
    for (size_t i = 0; i < subjects->count; i++) {
        if (!bus_subject_valid(subjects->items[i])) {
            return error_set(error, ERROR_INVALID, "a subject must be 1 to %d of a-z, 0-9, ':', '_', '-', not \"%s\"",
                             BUS_SUBJECT_MAX - 1, subjects->items[i]);
        }
        for (size_t j = 0; j < i; j++) {
            if (text_equal(subjects->items[i], subjects->items[j])) {
                return error_set(error, ERROR_INVALID, "the subject %s is given twice", subjects->items[i]);
            }
        }
    }
    return true;
}

/* Durables and queue groups are named by the same rule as clients. */
static bool check_name(const char *option, const char *name, struct error *error)
{
    return name == NULL || bus_client_id_valid(name) ||
           error_set(error, ERROR_INVALID, "--%s must be 1 to %d letters, digits, '_' or '-', not \"%s\"", option,
                     BUS_NAME_MAX - 1, name);
}

enum options_result listen_options_parse(int argc, char **argv, int64_t now, struct listen_options *ret_options,
                                         struct option_texts *ret_subjects, struct subscription *ret_subscription,
                                         struct error *error)
{
    struct listen_options options = {.ack_wait_s = ACK_WAIT_S, .in_flight = IN_FLIGHT};
    struct option_texts subjects = {.count = 0};
    enum options_result result = options_parse(listen_option_table, argc, argv, &options, &subjects, error);
    if (result != OPTIONS_READY) {
        return result;
    }
    /* Never by the engine, which would take for done also what --count leaves unprinted. */
    struct subscription subscription = {
        .queue_group = options.queue_group,
        .durable = options.durable,
        .start = BUS_START_NEW,
        .acknowledge_by_engine = false,
        .ack_wait_ms = options.ack_wait_s * 1000,
        .in_flight = (size_t)options.in_flight,
    };
    if (options.no_ack && !options.manual_ack) {
        error_set(error, ERROR_INVALID, "--no-ack needs --manual-ack");
        return OPTIONS_WRONG;
    }
    if (!set_start(&options, now, &subscription, error) || !check_subjects(&subjects, error) ||
        !check_name("queue-group", options.queue_group, error) || !check_name("durable", options.durable, error)) {
        return OPTIONS_WRONG;
    }
    /* The bus keeps the position of a durable for its client, unless a group shares it. */
    if (options.durable != NULL && options.queue_group == NULL) {
        options.connection.client_name = options.durable;
    }
    *ret_options = options;
    *ret_subjects = subjects;
    *ret_subscription = subscription;
    return OPTIONS_READY;
}
