/* SPDX-License-Identifier: Apache-2.0
 * The connection to the bus as a command uses it: settings, and one place to wait for what is received, for the
 * connection, for signals and for time to pass. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_CONNECTION_H
#define TURNSTILE_TOOLS_EVENTCTL_CONNECTION_H

#include "common/bus/bus.h"
#include "tools/eventctl/options.h"
#include "tools/eventctl/signals.h"

enum {
    CONNECT_TIMEOUT_MS = 5000, /* by default */
    CONNECT_TIMEOUT_MAX_MS = 24 * 60 * 60 * 1000,
    PUBLISH_TIMEOUT_MS = 10000, /* above what the bus itself waits for a confirmation */
};

struct connection_options {
    const char *bus;            /* URI; NULL: BUS_URI of the environment */
    int64_t connect_timeout_ms; /* 0: for ever */
    const char *client_name;    /* what tells this client from others, if NATS_CLIENT_ID is unset; NULL: random */
    const char *client_suffix;  /* tells a second connection from one that is open; NULL: there is none */
};

/* What is wrong with a URI; NULL: nothing. */
const char *connection_check_bus(const char *uri);

/* The rows of a command's table for a member of this type. */
#define CONNECTION_OPTIONS(struct_type, member)                                                                        \
    {.name = "bus",                                                                                                    \
     .type = OPTION_TEXT,                                                                                              \
     .offset = offsetof(struct_type, member.bus),                                                                      \
     .value = "URI",                                                                                                   \
     .help = "the event bus, instead of BUS_URI",                                                                      \
     .check = connection_check_bus},                                                                                   \
    {                                                                                                                  \
        .name = "connect-timeout", .type = OPTION_SECONDS, .offset = offsetof(struct_type, member.connect_timeout_ms), \
        .min = 1, .max = CONNECT_TIMEOUT_MAX_MS, .value = "SECONDS",                                                   \
        .help = "give up when the bus cannot be reached for so long"                                                   \
    }

/* The environment that connection_open reads, as --help shows it. */
void connection_print_settings(void);

struct connection;

/* Reads the settings and begins to connect. Returns STATUS_OK, or the process' status after telling why. `signals` is
 * borrowed. */
int connection_open(const struct connection_options *options, const struct signals *signals,
                    struct connection **ret_connection) MUST_CHECK;
/* Leaves the bus, which forgets this client at once; what was received and not taken will be delivered again. */
void connection_close(struct connection **connection);

/* As bus_subscribe; what is received comes out of connection_wait. */
bool connection_subscribe(struct connection *connection, const struct subscription *subscription,
                          struct error *error) MUST_CHECK;

enum connection_event {
    CONNECTION_UP,       /* connected, the first time or again, and subscribed */
    CONNECTION_DELIVERY, /* the caller ends it */
    CONNECTION_SIGNAL,   /* now and for ever after */
    CONNECTION_TIMEOUT,
};

/* Waits for what comes next; timeout_ms -1: for ever. Deliveries come only after the CONNECTION_UP before them, and
 * only if ret_delivery is not NULL. */
enum connection_event connection_wait(struct connection *connection, int64_t timeout_ms,
                                      struct delivery **ret_delivery);

/* Waits as long as the options say until the bus is up; returns STATUS_OK, or the process' status after telling why. */
int connection_wait_up(struct connection *connection) MUST_CHECK;

/* connection_wait_up, then publishes and waits for the confirmation. The same returns. */
int connection_publish(struct connection *connection, const char *subject, const void *data, size_t length) MUST_CHECK;

#endif
