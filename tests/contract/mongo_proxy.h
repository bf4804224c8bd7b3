/* SPDX-License-Identifier: Apache-2.0
 * A proxy in front of a MongoDB server, for tests: it loses answers, hides records, and looks at what is asked. */
#ifndef TURNSTILE_TESTS_CONTRACT_MONGO_PROXY_H
#define TURNSTILE_TESTS_CONTRACT_MONGO_PROXY_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

enum { MONGO_PROXY_CONNECTIONS_MAX = 64 };

/* While it swallows, requests reach the server, and answers to writes end the connection instead of reaching the
 * client. */
struct proxy {
    int listener;
    unsigned port;        /* where it listens */
    unsigned server_port; /* both on loopback */
    pthread_t thread;
    atomic_bool stop;
    atomic_int swallow; /* so many answers to writes */
    atomic_int swallowed;
    atomic_int hide; /* so many records that were found are not shown, as if a majority did not have them yet */
    atomic_int pages, sorted_pages;      /* asked of outboxes; those that are sorted before they are cut */
    atomic_int counts, unlimited_counts; /* of outboxes; those that the server may be at for ever */
    /* [0]: the listener; then pairs of client and server; -1: none */
    struct pollfd ends[1 + 2 * MONGO_PROXY_CONNECTIONS_MAX];
};

/* Asserts that it can. The caller ends it with proxy_stop. */
struct proxy *proxy_start(unsigned server_port);
void proxy_stop(struct proxy *proxy);

#endif
