/* SPDX-License-Identifier: Apache-2.0
 * Publishing again, as snapshots, what a service has: all of it, one record, or what was written since a moment. */
#ifndef TURNSTILE_EVENTS_REPUBLISH_H
#define TURNSTILE_EVENTS_REPUBLISH_H

#include "common/bus/bus.h"
#include "common/events/catalogue.h"
#include "common/store/store.h"

enum {
    REPUBLISH_RATE = 500,        /* snapshots a second, unless somebody says otherwise */
    REPUBLISH_RATE_MAX = 100000, /* what somebody can say */
};

/* How far it has come. */
struct republish_progress {
    uint64_t published; /* and confirmed */
    uint64_t failed;    /* given up: the log says why */
    bool is_absent;     /* there is no record of that id */
    /* What it waits for: */
    bool bus_is_away;
    bool store_is_away;
};

struct republish_config {
    const char *service;
    struct store *store;
    struct bus *bus;
    const struct collection *const *collections; /* NULL-terminated; what the service does not publish is left out */
    const struct clock *clock;                   /* NULL: the system's */
    uint64_t epoch;                              /* of the store */
    int64_t rate;                                /* snapshots a second, 1 to REPUBLISH_RATE_MAX */
    struct id id;                                /* set: only this record, also if there is none (version 0) */
    int64_t since;                               /* not 0: only what was written at or after it, ms since 1970 */
    /* Called several times a second, from republish_run; false: stop. */
    bool (*go_on)(const struct republish_progress *progress, void *context);
    void *context;
};

/* True if the service publishes any of its collections. */
bool republish_can(const char *service, const struct collection *const *collections);

/* Publishes, in the order of the ids, and waits until all of it is confirmed; what was not confirmed is read and
 * published again; a store or a bus that is away is waited for. False if `go_on` stopped it. Not on a bus thread. */
bool republish_run(const struct republish_config *config, struct republish_progress *ret_progress) MUST_CHECK;

#endif
