/* SPDX-License-Identifier: Apache-2.0
 * Reading everything that is on a channel, and knowing where that ends; and one message of it. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_CHANNEL_H
#define TURNSTILE_TOOLS_EVENTCTL_CHANNEL_H

#include "tools/eventctl/connection.h"

struct channel {
    char subject[BUS_SUBJECT_MAX];
    uint64_t last; /* sequence of the newest message; 0: there is none */
};

enum {
    CHANNELS_MAX = BUS_SUBSCRIPTIONS_MAX,
};

/* Finds out `last` of all the channels, over a connection of its own. Where there is no message the bus says nothing,
 * so that takes a moment, once for all. Returns STATUS_OK, or the process' status after telling why. */
int channels_find_last(const struct connection_options *options, const struct signals *signals,
                       struct channel *channels, size_t count) MUST_CHECK;

/* Ends the reading if it does not return STATUS_OK. The delivery is borrowed. */
typedef int channel_visit(const struct delivery *delivery, void *context);

/* Visits every message up to `last`, once and in the order of the sequences. Takes one of the connection's
 * subscriptions. The same returns. */
int channel_read(struct connection *connection, const struct channel *channel, channel_visit *visit,
                 void *context) MUST_CHECK;

/* Reads one message, over a connection of its own, beside another that may be open. *ret_data is NULL if the bus does
 * not have it, which can take a moment; the caller frees it. The same returns. */
int channel_read_one(const struct connection_options *options, const struct signals *signals, const char *subject,
                     uint64_t sequence, char **ret_data, size_t *ret_length) MUST_CHECK;

#endif
