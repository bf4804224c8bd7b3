/* SPDX-License-Identifier: Apache-2.0
 * The rules of orders: the status machine, without any I/O.
 *
 *   created ──────────► awaiting:payment ──► complete
 *      │  ◄── failed ──────┘ │
 *      ▼                     ▼ (expired meanwhile, and the payment failed)
 *   cancelled            cancelled
 *
 * Nothing leaves complete or cancelled. */
#ifndef TURNSTILE_ORDERS_ORDER_H
#define TURNSTILE_ORDERS_ORDER_H

#include "common/events/events.h"

extern const struct collection orders_collection;  /* our own records */
extern const struct collection tickets_collection; /* a replica of every ticket */

/* Indexes of the orders. */
#define ORDERS_BY_BUYER  "by_buyer"  /* userId, createdAt */
#define ORDERS_BY_TICKET "by_ticket" /* ticket.id, reservation */

/* True if the order no longer holds its ticket, which is final. */
bool order_is_cancelled(const struct order *order);

/* Fills an order for the ticket, as its replica shows it, numbered `reservation`; the claim makes the number unique. */
void order_place(const struct record *ticket_head, const struct ticket *ticket, const struct id *buyer,
                 int64_t reservation, int64_t now, int64_t hold_ms, struct record *ret_head, struct order *ret_order);

enum order_cancel {
    ORDER_CANCEL_DONE,    /* the order was changed */
    ORDER_CANCEL_ALREADY, /* it is cancelled */
    ORDER_CANCEL_BEING_PAID,
    ORDER_CANCEL_COMPLETE,
};

/* Its buyer cancels it. */
enum order_cancel order_cancel(struct order *order);

/* expiration:complete (effect_handler): cancels what is created, marks as expired what is being paid. */
enum effect order_apply_expiration(const struct record *source, const void *entity, struct record *own, void *own_value,
                                   struct event *ret_event);

/* The state of a payment (effect_handler). The attempts of an order are numbered, and attempt n+1 exists only after
 * attempt n has failed: an attempt lower than the highest one seen is old news. A new attempt moves the order to
 * awaiting:payment, or cancels it if its time ran out during the one before; a failed one gives it back, or cancels it
 * if its time ran out; a charged one completes it. */
enum effect order_apply_payment(const struct record *source, const void *entity, struct record *own, void *own_value,
                                struct event *ret_event);

#endif
