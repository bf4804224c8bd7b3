/* SPDX-License-Identifier: Apache-2.0
 * Asking the services that this one listens to to publish everything again, because its own store was restored from an
 * older backup; and hearing the same from others.
 *
 * DESIGN
 * The wish is the fact "refresh/<publisher>", a moment, which `<service> --restored` raises. While it is higher than
 * the fact "refreshed/<publisher>", every instance signals "<publisher>.republish" with "<service> <moment>" every few
 * seconds. One instance of the publisher notes it in its own store, as the fact "refresh.noted/<service>" and a wish to
 * publish everything (see wish.h), and signals "<service>.republish.noted" with "<publisher> <moment>"; that raises
 * "refreshed/<publisher>". So whoever is away or dies in between, it is noted at last, and a wish that was noted is not
 * noted again. */
#ifndef TURNSTILE_EVENTS_REFRESH_H
#define TURNSTILE_EVENTS_REFRESH_H

#include "common/events/events.h"

struct refresh;

struct refresh_config {
    const char *service;              /* borrowed, as all here */
    const struct listener *listeners; /* may be NULL */
    bool publishes;                   /* others may ask this service */
    struct store *store;
    struct bus *bus;
    const struct clock *clock;    /* NULL: the system's */
    void (*heard)(void *context); /* a signal came: refresh_step has something to do; must not block */
    void *context;
};

/* Begins to listen to the signals. */
bool refresh_new(const struct refresh_config *config, struct refresh **ret_refresh, struct error *error) MUST_CHECK;
/* After bus_stop_receiving. */
void refresh_free(struct refresh **refresh);

/* Does what is due; blocks for the store. One thread at a time. */
bool refresh_step(struct refresh *refresh, struct error *error) MUST_CHECK;

/* Wishes for everything that this service listens to; durable when it returns. */
bool refresh_wish(struct store *store, const struct listener *listeners, int64_t now, struct error *error) MUST_CHECK;

/* For tests: "<name> <moment>"; the name is a service's. */
enum {
    REFRESH_NAME_MAX = 32, /* bytes of a service's name, with the NUL */
};
bool refresh_parse(const void *data, size_t length, char ret_name[static REFRESH_NAME_MAX],
                   int64_t *ret_moment) MUST_CHECK;

#endif
