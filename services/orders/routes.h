/* SPDX-License-Identifier: Apache-2.0
 * The HTTP endpoints of orders. */
#ifndef TURNSTILE_ORDERS_ROUTES_H
#define TURNSTILE_ORDERS_ROUTES_H

#include "common/base/config.h"
#include "common/http/http.h"

struct orders_settings {
    int64_t hold_s; /* from createdAt to expiresAt; nothing expires an order in this version */
};

extern const struct config_option orders_options[];
extern const struct route orders_routes[];

#endif
