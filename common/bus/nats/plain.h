/* SPDX-License-Identifier: Apache-2.0
 * What is plain NATS, and so the same for all engines on it: whether a server is there, how to connect,
 * failures in words, signals. */
#ifndef TURNSTILE_BUS_NATS_PLAIN_H
#define TURNSTILE_BUS_NATS_PLAIN_H

#include <nats/nats.h>

#include "common/bus/driver.h"

enum {
    BUS_NATS_ATTEMPT_MAX = sizeof("cannot connect to NATS at :65535") + BUS_HOST_MAX,
    BUS_NATS_PING_SECONDS = 5,             /* between pings, of NATS and of what is above it */
    BUS_NATS_NANOSECONDS_PER_MS = 1000000, /* servers tell times and durations in nanoseconds */
};

/* ---- probe.c ---- */

/* libnats 3.4.1 can spin for ever when a server stalls in the middle of the greeting: so first greet it here, within a
 * second, and connect with the library only if it answered. ERROR_UNAVAILABLE says why it did not. */
bool bus_nats_probe(const struct bus_target *target, struct error *error) MUST_CHECK;

/* ---- options.c ---- */

/* Whom to connect to, and when to give up. `handle` is that of the connection's callbacks, and stands for the link. */
natsStatus bus_nats_set_options(natsOptions *options, const struct bus_target *target, void *handle) MUST_CHECK;
/* A callback for the end of the connection: it is lost. */
void bus_nats_ended(natsConnection *nats, void *handle);

/* ---- failure.c ---- */

/* "cannot connect to NATS at <host>:<port>" */
void bus_nats_attempt(const struct bus_target *target, char ret_what[static BUS_NATS_ATTEMPT_MAX]);
/* What libnats says of the last failure on this thread, if it was this one; in the server's own words, if any. */
const char *bus_nats_last_error(natsStatus status);
/* Puts into words why `status` came back from `what`, which is "cannot publish" or the like; false. The code is
 * ERROR_CONFLICT if that one call was at fault; else ERROR_UNAVAILABLE, with `text` as the reason, or a better one. */
bool bus_nats_fail(struct error *error, natsStatus status, const char *what, const char *text);

/* ---- signal.c ---- */

/* The signals of a connection; used by the link's thread only. */
struct bus_nats_signals {
    natsConnection *nats;  /* borrowed, like what follows */
    struct bus_link *link; /* that the signals are for */
    const char *scope;     /* in the subject, so that two systems on one NATS do not hear each other */
    struct bus_nats_listener {
        void *handle;
        natsSubscription *subscription;
    } listeners[BUS_SUBSCRIPTIONS_MAX];
};

/* Keeps what it is given, which is to live as long. */
void bus_nats_signals_init(struct bus_nats_signals *signals, natsConnection *nats, struct bus_link *link,
                           const char *scope);
natsStatus bus_nats_listen(struct bus_nats_signals *signals, const struct bus_listener *listener) MUST_CHECK;
void bus_nats_signal(const struct bus_nats_signals *signals, const char *topic, const void *data, size_t length);
/* Once the connection is closed, and before it is destroyed: libnats' reading thread may use subscriptions until then.
 * All zero is fine. */
void bus_nats_signals_done(struct bus_nats_signals *signals);

#endif
