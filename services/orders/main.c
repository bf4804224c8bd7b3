/* SPDX-License-Identifier: Apache-2.0
 * orders: people reserve tickets, each held by one order at a time. */
#include "common/service/service.h"
#include "services/orders/listeners.h"
#include "services/orders/order.h"
#include "services/orders/routes.h"

static const struct collection *const collections[] = {&orders_collection, &tickets_collection, NULL};

static const struct service_definition definition = {
    .name = "orders",
    .summary = "Reserves tickets: one live order for each, whoever asks first.",
    .options = orders_options,
    .settings_size = sizeof(struct orders_settings),
    .collections = collections,
    .routes = orders_routes,
    .no_store = true,
    .uses_bus = true,
    .listeners = orders_listeners,
};

int main(int argc, char **argv)
{
    return service_main(argc, argv, &definition);
}
