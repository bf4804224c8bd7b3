/* SPDX-License-Identifier: Apache-2.0
 * Putting what arrived to the dead letters. */
#ifndef TURNSTILE_EVENTS_LETTER_H
#define TURNSTILE_EVENTS_LETTER_H

#include "common/events/arrival.h"

/* Publishes the dead letter of an event as it was delivered, and waits until the bus has it. */
bool dead_letter_publish(const struct arrival *arrival, const struct delivery *delivery, const char *reason,
                         struct error *error) MUST_CHECK;

#endif
