/* SPDX-License-Identifier: Apache-2.0
 * What tickets listens to: orders, which reserve and free them. */
#include "services/tickets/listeners.h"

#include <stddef.h>

#include "services/tickets/ticket.h"

const struct listener tickets_listeners[] = {
    {.entity = &entity_order,
     .collection = &tickets_collection,
     .effect = ticket_apply_order,
     .own_id = offsetof(struct order, ticket.id)},
    {.entity = NULL},
};
