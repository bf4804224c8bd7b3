/* SPDX-License-Identifier: Apache-2.0
 * What the tests of events between services have in common: a directory with stores, a bus's server, instances of two
 * services, and processes of their own that can be killed. */
#ifndef TURNSTILE_TESTS_CONTRACT_EVENTS_FIXTURE_H
#define TURNSTILE_TESTS_CONTRACT_EVENTS_FIXTURE_H

#include <sys/types.h>

#include "common/events/dead_letter.h"
#include "common/events/events.h"
#include "common/events/message.h"
#include "tests/contract/bus_server.h"

enum {
    WAIT_MS = 45000, /* for what must happen: generous, since it only ends a test that fails */
    CLOSE_MS = 5000,
    IN_FLIGHT = 64,
    WORKERS = 4,
};

/* tickets owns them, and lets orders reserve them; shop keeps copies. */
extern const struct collection tickets;
extern const struct collection copies;

struct world {
    char directory[64];
    struct bus_server *server;
};

/* For cmocka: *state is a struct world, its server running. */
int world_setup(void **state);
int world_teardown(void **state);

struct instance {
    struct store *store;
    struct events *events;
};

/* "tickets": its store, its relay, and the effect of orders. "writers": the same without listening. "shop": replicas
 * of tickets. Instances of one service share a store. */
struct instance instance_open(const struct world *world, const char *service, const char *client_id);
void instance_close(struct instance *instance);
struct store *world_store(const struct world *world, const char *service, const struct clock *clock);

/* A process of its own with one instance, which then does nothing, or writes version 1 of `id` if that is given.
 * `failpoints` may be NULL. */
pid_t process_start(const struct world *world, const char *service, const char *client_id, const char *failpoints,
                    const struct id *id);
void process_kill(pid_t process);
/* Waits until it has ended by this signal. */
void process_wait_killed(pid_t process, int by_signal);
/* Waits until it is stopped. */
void process_wait_stopped(pid_t process);
/* What such a process does, when main finds that it is one. */
int process_main(int count, char **arguments);

/* ---- what is written and published ---- */

struct id make_id(uint64_t number);
struct ticket make_ticket(int64_t price);
struct order make_order(struct id ticket, int64_t reservation, enum order_status status);
/* Writes the version through the instance; its price is the version. */
void write_version(struct instance *instance, struct id id, uint64_t version);

/* A bus connection of the test's own. */
struct bus *bus_connect(const struct world *world);
void publish_text(struct bus *bus, const char *subject, const char *text, size_t length);
/* Version `version` of a ticket, as its owner would publish it. */
void publish_version(struct bus *bus, struct id id, uint64_t version);
void publish_order(struct bus *bus, struct id order, uint64_t version, const struct order *value);

/* ---- what is waited for ---- */

bool eventually(bool (*condition)(void *context), void *context);
/* The version that is stored; 0: none. */
uint64_t stored_version(struct store *store, const struct collection *collection, struct id id);
void wait_for_version(struct store *store, const struct collection *collection, struct id id, uint64_t version);
void wait_for_empty_outbox(struct store *store);
/* Until the group of the service has nothing unacknowledged on the subject, and was sent everything. */
void wait_for_acknowledged(const struct world *world, const char *service, const char *subject);
/* The unacknowledged messages of the group on the subject. */
long pending_of(const struct world *world, const char *service, const char *subject);

/* Everything that was published on a subject so far, and comes from now on. */
struct tap;
struct tap *tap_new(struct bus *bus, const char *subject);
void tap_free(struct tap **tap); /* after the bus is closed */
void tap_wait(struct tap *tap, size_t count);
size_t tap_count(struct tap *tap);
/* The text of a message; borrowed. */
const char *tap_text(struct tap *tap, size_t index);

#endif
