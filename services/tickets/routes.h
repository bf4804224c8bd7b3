/* SPDX-License-Identifier: Apache-2.0
 * The HTTP endpoints of tickets. */
#ifndef TURNSTILE_TICKETS_ROUTES_H
#define TURNSTILE_TICKETS_ROUTES_H

#include "common/http/http.h"

extern const struct route tickets_routes[];

#endif
