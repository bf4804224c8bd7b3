/* SPDX-License-Identifier: Apache-2.0
 * Answering, as the owner of records, who asks what it has of one: see signals.h. */
#ifndef TURNSTILE_EVENTS_ANSWERING_H
#define TURNSTILE_EVENTS_ANSWERING_H

#include "common/bus/bus.h"
#include "common/store/store.h"

enum {
    ANSWERING_QUEUE_MAX = 1024, /* asks that wait; more are lost, and asked again */
    ANSWERING_SAME_MS = 1000,   /* for so long, one snapshot of a state is enough for all who ask */
    ANSWERING_SAME_MAX = 1024,  /* of so many records */
};

struct answering_config {
    const char *service; /* borrowed, as all of these */
    struct store *store;
    struct bus *bus;
    const struct collection *const *collections; /* of the service, NULL-terminated; may be NULL */
    const struct clock *clock;                   /* NULL: the system's */
};

struct answering;

/* Listens for asks about what the service publishes, and starts the thread that answers them: a thread of its own,
 * because answering reads the store. A service that publishes nothing has nothing to answer. */
bool answering_open(const struct answering_config *config, struct answering **ret_answering,
                    struct error *error) MUST_CHECK;
/* Tells the thread to end, without waiting for it. NULL is fine, here and in answering_stop. */
void answering_tell_stop(struct answering *answering);
/* Ends the thread; what waits is asked again. After bus_stop_receiving, before bus_close. */
void answering_stop(struct answering *answering);
/* After bus_close: until then signals may come. */
void answering_free(struct answering **answering);

#endif
