/* SPDX-License-Identifier: Apache-2.0
 * auth: people sign up and in; the token that they get is accepted by all services. */
#include <stddef.h>

#include "common/service/service.h"
#include "services/auth/routes.h"
#include "services/auth/user.h"

static const struct collection *const collections[] = {&users_collection, NULL};

static const struct service_definition definition = {
    .name = "auth",
    .summary = "Signs people up and in, and says who is signed in.",
    .options = auth_options,
    .settings_size = sizeof(struct auth_settings),
    .collections = collections,
    .routes = auth_routes,
    .no_store = true,
    .token_lifetime_s = auth_token_lifetime,
    .start = auth_service_start,
    .stop = auth_service_stop,
};

int main(int argc, char **argv)
{
    return service_main(argc, argv, &definition);
}
