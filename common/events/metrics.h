/* SPDX-License-Identifier: Apache-2.0
 * What events count: as they arrive, are tried, wait and end; and what the relay has to do. */
#ifndef TURNSTILE_EVENTS_METRICS_H
#define TURNSTILE_EVENTS_METRICS_H

#include "common/events/apply.h"
#include "common/events/arrival.h"

struct relay;

/* Shows what is known of a subject that is listened to, until it is forgotten; on a route that no thread uses yet, or
 * uses no more. */
void event_metrics_watch(struct route *route);
void event_metrics_forget(struct route *route);

/* It has just come. `stored_at` is when the bus stored it. */
void event_metrics_received(struct arrival *arrival, int64_t stored_at, bool is_again);
/* It was tried, and this came of it. */
void event_metrics_tried(const struct arrival *arrival, enum outcome outcome);
/* It is held from now on, and until it ends. */
void event_metrics_held(struct arrival *arrival);
/* Its dead letter is kept. */
void event_metrics_buried(const struct arrival *arrival);
/* It is about to be acknowledged or dropped. */
void event_metrics_ended(struct arrival *arrival, bool is_acknowledged);

void event_metrics_watch_relay(struct relay *relay);
void event_metrics_forget_relay(struct relay *relay);

#endif
