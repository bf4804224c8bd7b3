/* SPDX-License-Identifier: Apache-2.0
 * The options of eventctl listen: those of a subscription, and when to end. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_LISTEN_OPTIONS_H
#define TURNSTILE_TOOLS_EVENTCTL_LISTEN_OPTIONS_H

#include "common/bus/bus.h"
#include "tools/eventctl/connection.h"
#include "tools/eventctl/options.h"

struct listen_options {
    struct connection_options connection;
    const char *queue_group;
    const char *durable;
    bool deliver_all;
    bool last_received;
    int64_t start_sequence; /* 0: not given */
    const char *start_time; /* as it was written; NULL: not given */
    bool manual_ack;
    bool no_ack;
    int64_t ack_wait_s;
    int64_t in_flight;
    int64_t count;      /* 0: no end */
    int64_t timeout_ms; /* 0: none */
    bool json;
};

extern const struct option listen_option_table[];

/* Parses the command line; *ret_subjects are the arguments. Of *ret_subscription everything but the subject is set; it
 * borrows from the command line. `now` is in ms since 1970. */
enum options_result listen_options_parse(int argc, char **argv, int64_t now, struct listen_options *ret_options,
                                         struct option_texts *ret_subjects, struct subscription *ret_subscription,
                                         struct error *error) MUST_CHECK;

#endif
