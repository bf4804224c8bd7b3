/* SPDX-License-Identifier: Apache-2.0
 * Asks a NATS server for a sign of life, without the client library. */
#ifndef TURNSTILE_BUS_PROBE_H
#define TURNSTILE_BUS_PROBE_H

#include "common/bus/driver.h"

/* libnats 3.4.1 can spin for ever when a server stalls in the middle of the greeting: so first greet it here, within a
 * second, and connect with the library only if it answered. ERROR_UNAVAILABLE says why it did not. */
bool bus_probe(const struct bus_target *target, struct error *error) MUST_CHECK;

#endif
