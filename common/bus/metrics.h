/* SPDX-License-Identifier: Apache-2.0
 * What the bus counts: its connection, what is published, what is delivered and what becomes of it. */
#ifndef TURNSTILE_BUS_METRICS_H
#define TURNSTILE_BUS_METRICS_H

#include "common/bus/bus.h"

void bus_metrics_state(enum bus_state state);
/* A connection has been lost that was up. */
void bus_metrics_lost(void);
/* The subject's position is followed: so its losses are 0, and not absent, until there is one. */
void bus_metrics_followed(const char *subject);
void bus_metrics_history_lost(const char *subject);

/* A publish was not accepted; or was, and then has ended. `started`: metrics_clock when it was accepted. */
void bus_metrics_refused(const char *subject);
void bus_metrics_accepted(void);
void bus_metrics_published(const char *subject, bool stored, double started);

void bus_metrics_delivered(const char *subject);
void bus_metrics_acknowledged(const char *subject);
void bus_metrics_dropped(const char *subject);

#endif
