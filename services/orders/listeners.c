/* SPDX-License-Identifier: Apache-2.0
 * What orders listens to: tickets, of which it keeps a replica. */
#include "services/orders/listeners.h"

#include "services/orders/order.h"

const struct listener orders_listeners[] = {
    {.entity = &entity_ticket, .collection = &tickets_collection},
    {.entity = NULL},
};
