/* SPDX-License-Identifier: Apache-2.0
 * A driver of the event bus that does what the test says, for tests of the bus without a server. */
#ifndef TURNSTILE_TESTS_UNIT_BUS_FAKE_H
#define TURNSTILE_TESTS_UNIT_BUS_FAKE_H

#include "common/bus/internal.h"

enum {
    WAIT_MS = 10000,
    HANG_MS = 1000, /* after which the bus gives up what a test makes hang */
    CONNECTIONS_MAX = 16,
    PUBLICATIONS_MAX = 16,
    POSITIONS_MAX = 4,
};

struct fake {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t hang_connects;    /* so many attempts hang, as long as it is not 0 */
    size_t failing_connects; /* so many attempts fail */
    size_t hang_finds;       /* the same for looking for positions */
    size_t failing_finds;
    size_t publish_failure; /* an error_code */
    size_t hang_sends;      /* drops and extensions hang while it is not 0 */
    size_t attempts, connects, disconnects, finds;
    int64_t attempt_times[CONNECTIONS_MAX];
    struct bus_link *link;                    /* of the newest connection; a reference */
    struct bus_position asked[POSITIONS_MAX]; /* what the bus knew when it looked */
    uint64_t found[POSITIONS_MAX];            /* what it finds */
    size_t acknowledged, dropped, extended, messages_freed;
    char last_sent;                                         /* 'd' or 'e' */
    struct bus_publication *publications[PUBLICATIONS_MAX]; /* which wait to be confirmed */
    size_t publication_count;
};

extern struct fake fake;

/* For a test's setup and teardown. */
int fake_reset(void **state);
/* Waits until one of the fake's numbers is at least `wanted`. */
void fake_wait_for(const size_t *number, size_t wanted);
void fake_set(size_t *number, size_t value);
/* A bus on the driver, which cannot drop and extend; on one that can; with a configuration of the test's own. */
struct bus *fake_open(void);
struct bus *fake_open_capable(void);
struct bus *fake_open_as(const struct bus_config *config);
/* Loses the connection, and waits for the next one. */
void fake_lose_connection(struct bus *bus);

#define fake_test(function) cmocka_unit_test_setup_teardown(function, fake_reset, fake_reset)

#endif
