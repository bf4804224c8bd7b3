/* SPDX-License-Identifier: Apache-2.0
 * What tickets listens to. */
#ifndef TURNSTILE_TICKETS_LISTENERS_H
#define TURNSTILE_TICKETS_LISTENERS_H

#include "common/events/events.h"

extern const struct listener tickets_listeners[];

#endif
