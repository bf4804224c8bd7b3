/* SPDX-License-Identifier: Apache-2.0
 * An event bus's server for tests: private ports and a private store; it can be stopped, killed, frozen and started
 * again. TEST_BUS says which engine: stan (the default), jetstream. */
#ifndef TURNSTILE_TESTS_CONTRACT_BUS_SERVER_H
#define TURNSTILE_TESTS_CONTRACT_BUS_SERVER_H

#include "common/base/compiler.h"

struct bus_server;

enum bus_server_store {
    BUS_SERVER_FILE,
    BUS_SERVER_MEMORY, /* forgets everything when it ends */
    BUS_SERVER_NONE,   /* of JetStream: without JetStream */
};

/* For the few tests in which engines rightly differ. */
bool bus_server_is_jetstream(void);

/* Chooses ports and a directory; starts nothing yet. `user` and `password` may be NULL. A failure fails the test. */
struct bus_server *bus_server_new(enum bus_server_store store, const char *user, const char *password);
/* The same, of this engine, whatever TEST_BUS says. */
struct bus_server *bus_server_new_of(const char *engine, enum bus_server_store store, const char *user,
                                     const char *password);
/* Further lines for the server's settings, from its next start on. */
void bus_server_configure(struct bus_server *server, const char *settings);
/* Kills what runs, removes the directory. */
void bus_server_free(struct bus_server **server);

/* The address to give to bus_open. */
const char *bus_server_uri(const struct bus_server *server);
unsigned bus_server_port(const struct bus_server *server);

/* The folder with what it stores, which can be copied and put back while it does not run. */
const char *bus_server_data(const struct bus_server *server);

/* Returns when it takes connections. */
void bus_server_start(struct bus_server *server);
/* The two halves of it, for servers that only together get ready. */
void bus_server_launch(struct bus_server *server);
void bus_server_wait(struct bus_server *server);
void bus_server_stop(struct bus_server *server);    /* the polite way */
void bus_server_kill(struct bus_server *server);    /* with SIGKILL */
void bus_server_restart(struct bus_server *server); /* politely */
void bus_server_freeze(struct bus_server *server);  /* does nothing more once it returns */
void bus_server_thaw(struct bus_server *server);

/* While it does not run, and has a file store: empties the store; copies it aside; puts the copy in its place. */
void bus_server_wipe(struct bus_server *server);
void bus_server_save(struct bus_server *server);
void bus_server_revert(struct bus_server *server);

/* What the server's monitoring answers to GET `path`; NULL if it does not. Caller frees with xfree. */
char *bus_server_monitor(const struct bus_server *server, const char *path);

/* What the members of a durable group, of the same name, have and did not acknowledge; -1 if not everything that is
 * there was delivered yet. */
long bus_server_pending(const struct bus_server *server, const char *subject, const char *group);

/* A port of the loopback address that nothing listens on. */
unsigned bus_server_free_port(void);

#endif
