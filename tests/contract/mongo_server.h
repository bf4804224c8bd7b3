/* SPDX-License-Identifier: Apache-2.0
 * A MongoDB server for tests, on a private port; it can be killed, frozen and started again. */
#ifndef TURNSTILE_TESTS_CONTRACT_MONGO_SERVER_H
#define TURNSTILE_TESTS_CONTRACT_MONGO_SERVER_H

struct mongo_server;

/* With a file, what it answered before it was killed is there again; in memory, it is faster. */
enum mongo_server_store { MONGO_SERVER_FILE, MONGO_SERVER_MEMORY };

/* Chooses a port and a directory; starts nothing yet. A failure fails the test. */
struct mongo_server *mongo_server_new(enum mongo_server_store store);
/* Kills what runs, removes the directory. */
void mongo_server_free(struct mongo_server **server);

unsigned mongo_server_port(const struct mongo_server *server);
/* Returns when it takes connections. */
void mongo_server_start(struct mongo_server *server);
void mongo_server_kill(struct mongo_server *server);   /* with SIGKILL */
void mongo_server_freeze(struct mongo_server *server); /* with SIGSTOP */
void mongo_server_thaw(struct mongo_server *server);

#endif
