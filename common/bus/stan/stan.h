/* SPDX-License-Identifier: Apache-2.0
 * What the files of the NATS Streaming driver share. */
#ifndef TURNSTILE_BUS_STAN_STAN_H
#define TURNSTILE_BUS_STAN_STAN_H

#include "common/bus/nats/plain.h"

/* One connection; used by the link's thread only, but for `link`. */
struct stan_connection {
    struct bus_link *link; /* a reference */
    const struct bus_target *target;
    void *handle; /* for the connection's own callbacks */
    stanConnection *streaming;
    natsConnection *nats; /* the streaming connection's; only borrowed */

    /* Never freed before the connection is closed: libnats' reading thread may still use them. */
    struct stan_subscription {
        void *handle;
        stanSubscription *subscription;
    } subscriptions[BUS_SUBSCRIPTIONS_MAX];
    stanSubscription *probes[BUS_POSITIONS_MAX]; /* closed ones; see position.c */
    struct bus_nats_signals signals;
};

/* driver.c */
/* Puts into words why `status` came back from `what`, which is "cannot publish" or the like; false. The code
 * is ERROR_UNAVAILABLE if the connection is no good any more, else ERROR_CONFLICT. */
bool stan_fail(struct error *error, natsStatus status, const char *what);
/* The server does not know this client any more: all that helps is a new connection. */
bool stan_means_lost(const char *server_text);

/* connect.c */
bool stan_connect(struct bus_link *link, const struct bus_target *target, void **ret_connection, struct error *error);
void stan_disconnect(void *connection);

/* position.c */
bool stan_find_positions(void *connection, struct bus_position *positions, size_t count, struct error *error);

/* subscribe.c */
bool stan_subscribe(void *connection, const struct bus_desired *desired, struct error *error);
bool stan_listen(void *connection, const struct bus_listener *listener, struct error *error);
void stan_acknowledge(void *connection, const struct delivery *delivery);
void stan_signal(void *connection, const char *topic, const void *data, size_t length);
void stan_message_free(void *message);

/* publish.c */
bool stan_publish(void *connection, struct bus_publication *publication, struct error *error);

#endif
