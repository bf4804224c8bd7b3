/* SPDX-License-Identifier: Apache-2.0
 * The listener: subscriptions of what a service listens to, and the threads that apply it. */
#ifndef TURNSTILE_EVENTS_LISTENER_H
#define TURNSTILE_EVENTS_LISTENER_H

#include "common/events/events.h"

struct listeners;

/* Subscribes and starts the workers. All that config names is borrowed until listeners_free, and so is the bus. */
bool listeners_open(const struct events_config *config, struct events *events, struct bus *bus,
                    struct listeners **ret_listeners, struct error *error) MUST_CHECK;
/* A record was written by somebody else than a listener: what waits for that can go on. */
void listeners_changed(struct listeners *listeners, const struct collection *collection, const struct record *record);
/* Tells the workers to end, without waiting for them. NULL is fine, here and in listeners_stop. */
void listeners_tell_stop(struct listeners *listeners);
/* Finishes what runs and drops the rest; after bus_stop_receiving. */
void listeners_stop(struct listeners *listeners);
/* After bus_close: until then signals may come. */
void listeners_free(struct listeners **listeners);

#endif
