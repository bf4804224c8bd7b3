/* SPDX-License-Identifier: Apache-2.0
 * The rules of tickets: what becomes of one, without any I/O. */
#ifndef TURNSTILE_TICKETS_TICKET_H
#define TURNSTILE_TICKETS_TICKET_H

#include "common/events/events.h"

extern const struct collection tickets_collection;

/* Indexes of the collection. */
#define TICKETS_BY_CREATION    "by_creation"    /* orderId, createdAt */
#define TICKETS_BY_PRICE       "by_price"       /* orderId, price */
#define TICKETS_BY_SELLER      "by_seller"      /* userId, createdAt */
#define TICKETS_FREE_BY_SELLER "free_by_seller" /* userId, orderId, createdAt */

/* A reserved ticket cannot be edited. */
bool ticket_is_reserved(const struct ticket *ticket);

/* A digest of title and price, to tell whether two requests ask for the same. */
struct id ticket_request_digest(const struct ticket *ticket);

/* What the state of an order means for the ticket that it names (effect_handler).
 *
 * The reservations of a ticket are numbered, and order n+1 exists only after order n was cancelled. So the highest
 * number ever seen is all that a ticket must remember: a live order with a higher one takes the ticket over (whether or
 * not the cancellation of the order before has come), a cancelled one with the same or a higher one frees it, and all
 * else is old news. When the store of orders was restored from a backup, its numbers go on from an earlier one: a
 * number of a later epoch is higher than any of an earlier one. */
enum effect ticket_apply_order(const struct record *source, const void *entity, struct record *own, void *own_value,
                               struct event *ret_event);

#endif
