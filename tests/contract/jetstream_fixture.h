/* SPDX-License-Identifier: Apache-2.0
 * Asks a JetStream server as its administrator would, past the bus. */
#ifndef TURNSTILE_TESTS_CONTRACT_JETSTREAM_FIXTURE_H
#define TURNSTILE_TESTS_CONTRACT_JETSTREAM_FIXTURE_H

#include "tests/contract/bus_server.h"

/* The answer to a request of JetStream's interface, "STREAM.INFO.turnstile" or the like. Caller frees with xfree; no
 * answer fails the test. */
char *jetstream_ask(const struct bus_server *server, const char *what, const char *body);

#endif
