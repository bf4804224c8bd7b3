/* SPDX-License-Identifier: Apache-2.0
 * The HTTP endpoints of auth. */
#ifndef TURNSTILE_AUTH_ROUTES_H
#define TURNSTILE_AUTH_ROUTES_H

#include "common/base/config.h"
#include "common/service/service.h"

struct auth_settings {
    int64_t token_lifetime_s;
    bool cookie_secure;
    int64_t signups_per_minute;
};

extern const struct config_option auth_options[];
extern const struct route auth_routes[];

/* In seconds. */
int64_t auth_token_lifetime(const void *own_settings);

/* Makes and ends the service's own state: the rate limits. */
bool auth_service_start(struct service *service, void **ret_state, struct error *error) MUST_CHECK;
void auth_service_stop(void *state);

#endif
