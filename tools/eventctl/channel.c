/* SPDX-License-Identifier: Apache-2.0
 * Reading everything that is on a channel, or one message of it. */
#include "tools/eventctl/channel.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "tools/eventctl/command.h"

enum {
    QUIET_MS = 1500,         /* nothing comes for so long after subscribing: the other channels are empty */
    ONE_TIMEOUT_MS = 5000,   /* nothing comes for so long where one message is asked for: it is not there */
    READ_TIMEOUT_MS = 30000, /* nothing comes for so long although there is something */
    ACK_WAIT_MS = 60000,
    IN_FLIGHT = 256,
};

static int interrupted(void)
{
    fprintf(stderr, "eventctl: interrupted\n");
    return STATUS_FAILED;
}

static int subscribe(struct connection *connection, const struct subscription *subscription)
{
    struct error error = ERROR_INIT;
    if (!connection_subscribe(connection, subscription, &error)) {
        fprintf(stderr, "eventctl: cannot read %s: %s\n", subscription->subject, error.message);
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

static int subscribe_channel(struct connection *connection, const struct channel *channel, enum bus_start start)
{
    const struct subscription subscription = {
        .subject = channel->subject,
        .start = start,
        .acknowledge_by_engine = true,
        .ack_wait_ms = ACK_WAIT_MS,
        .in_flight = IN_FLIGHT,
    };
    return subscribe(connection, &subscription);
}

/* ---- the end of each ---- */

/* True if nothing was known of that channel before. */
static bool note_last(struct channel *channels, size_t count, const struct delivery *delivery)
{
    for (size_t i = 0; i < count; i++) {
        if (text_equal(channels[i].subject, delivery_subject(delivery))) {
            bool is_news = channels[i].last == 0;
            if (delivery_sequence(delivery) > channels[i].last) {
                channels[i].last = delivery_sequence(delivery);
            }
            return is_news;
        }
    }
    return false;
}

/* Begins when the subscriptions are made. */
static int collect_last(struct connection *connection, struct channel *channels, size_t count)
{
    size_t unknown = count;
    int64_t quiet_at = clock_monotonic(NULL) + QUIET_MS;
    while (unknown > 0) {
        struct delivery *delivery = NULL;
        int64_t left = quiet_at - clock_monotonic(NULL);
        switch (connection_wait(connection, left > 0 ? left : 0, &delivery)) {
        case CONNECTION_UP:
            quiet_at = clock_monotonic(NULL) + QUIET_MS;
            break;
        case CONNECTION_DELIVERY:
            if (note_last(channels, count, delivery)) {
                unknown--;
                quiet_at = clock_monotonic(NULL) + QUIET_MS;
            }
            bus_ack(delivery);
            break;
        case CONNECTION_SIGNAL:
            return interrupted();
        case CONNECTION_TIMEOUT:
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

int channels_find_last(const struct connection_options *options, const struct signals *signals,
                       struct channel *channels, size_t count)
{
    CLEANUP(connection_close) struct connection *connection = NULL;
    int status = connection_open(options, signals, &connection);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        channels[i].last = 0;
        status = subscribe_channel(connection, &channels[i], BUS_START_LAST_RECEIVED);
    }
    if (status == STATUS_OK) {
        status = connection_wait_up(connection);
    }
    return status == STATUS_OK ? collect_last(connection, channels, count) : status;
}

/* ---- what is on one ---- */

/* What comes again, after the connection was lost, was visited already; so was what others still bring. */
static bool is_next(const struct channel *channel, uint64_t seen, const struct delivery *delivery)
{
    return text_equal(channel->subject, delivery_subject(delivery)) && delivery_sequence(delivery) > seen &&
           delivery_sequence(delivery) <= channel->last;
}

int channel_read(struct connection *connection, const struct channel *channel, channel_visit *visit, void *context)
{
    uint64_t seen = 0;
    int status = channel->last > 0 ? subscribe_channel(connection, channel, BUS_START_ALL) : STATUS_OK;
    int64_t deadline = clock_monotonic(NULL) + READ_TIMEOUT_MS;
    while (status == STATUS_OK && seen < channel->last) {
        struct delivery *delivery = NULL;
        int64_t left = deadline - clock_monotonic(NULL);
        switch (connection_wait(connection, left > 0 ? left : 0, &delivery)) {
        case CONNECTION_UP:
            break;
        case CONNECTION_DELIVERY:
            if (is_next(channel, seen, delivery)) {
                seen = delivery_sequence(delivery);
                status = visit(delivery, context);
                deadline = clock_monotonic(NULL) + READ_TIMEOUT_MS;
            }
            bus_ack(delivery);
            break;
        case CONNECTION_SIGNAL:
            return interrupted();
        case CONNECTION_TIMEOUT:
            fprintf(stderr, "eventctl: the event bus does not deliver what is on %s\n", channel->subject);
            return STATUS_UNAVAILABLE;
        }
    }
    return status;
}

/* ---- one message ---- */

/* Where it is gone, the bus delivers what follows it. */
static void copy_if_at(const struct delivery *delivery, uint64_t sequence, char **ret_data, size_t *ret_length)
{
    if (delivery_sequence(delivery) == sequence) {
        size_t length = delivery_length(delivery);
        *ret_data = xmalloc(length + 1);
        memcpy(*ret_data, delivery_data(delivery), length);
        (*ret_data)[length] = '\0';
        *ret_length = length;
    }
}

static int collect_one(struct connection *connection, uint64_t sequence, char **ret_data, size_t *ret_length)
{
    int64_t deadline = clock_monotonic(NULL) + ONE_TIMEOUT_MS;
    for (;;) {
        struct delivery *delivery = NULL;
        int64_t left = deadline - clock_monotonic(NULL);
        switch (connection_wait(connection, left > 0 ? left : 0, &delivery)) {
        case CONNECTION_UP:
            break;
        case CONNECTION_DELIVERY:
            copy_if_at(delivery, sequence, ret_data, ret_length);
            bus_ack(delivery);
            return STATUS_OK;
        case CONNECTION_SIGNAL:
            return interrupted();
        case CONNECTION_TIMEOUT:
            return STATUS_OK;
        }
    }
}

int channel_read_one(const struct connection_options *options, const struct signals *signals, const char *subject,
                     uint64_t sequence, char **ret_data, size_t *ret_length)
{
    struct connection_options own = *options;
    own.client_suffix = "one";
    const struct subscription subscription = {
        .subject = subject,
        .start = BUS_START_SEQUENCE,
        .start_sequence = sequence,
        .ack_wait_ms = ACK_WAIT_MS,
        .in_flight = 1, /* what follows is not wanted */
    };
    CLEANUP(connection_close) struct connection *connection = NULL;
    *ret_data = NULL;
    *ret_length = 0;
    int status = connection_open(&own, signals, &connection);
    if (status == STATUS_OK) {
        status = subscribe(connection, &subscription);
    }
    if (status == STATUS_OK) {
        status = connection_wait_up(connection);
    }
    return status == STATUS_OK ? collect_one(connection, sequence, ret_data, ret_length) : status;
}
