/* SPDX-License-Identifier: Apache-2.0
 * What orders listens to. */
#ifndef TURNSTILE_ORDERS_LISTENERS_H
#define TURNSTILE_ORDERS_LISTENERS_H

#include "common/events/events.h"

extern const struct listener orders_listeners[];

#endif
