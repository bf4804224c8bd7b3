/* SPDX-License-Identifier: Apache-2.0
 * tickets: people list tickets and change them; orders reserve them. */
#include <stddef.h>

#include "common/service/service.h"
#include "services/tickets/listeners.h"
#include "services/tickets/routes.h"
#include "services/tickets/ticket.h"

static const struct collection *const collections[] = {&tickets_collection, NULL};

static const struct service_definition definition = {
    .name = "tickets",
    .summary = "Lists tickets for sale, and shows which are reserved.",
    .collections = collections,
    .routes = tickets_routes,
    .uses_bus = true,
    .listeners = tickets_listeners,
};

int main(int argc, char **argv)
{
    return service_main(argc, argv, &definition);
}
