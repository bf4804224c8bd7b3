/* SPDX-License-Identifier: Apache-2.0
 * The rules of orders. */
#include "services/orders/order.h"

#include <stdio.h>
#include <string.h>

static const struct index order_indexes[] = {
    {.name = ORDERS_BY_BUYER, .fields = {"userId", "createdAt"}},
    {.name = ORDERS_BY_TICKET, .fields = {"ticket.id", "reservation"}},
    {.name = NULL},
};

const struct collection orders_collection = {.name = "orders", .table = &order_table, .indexes = order_indexes};
const struct collection tickets_collection = {.name = "tickets", .table = &ticket_table};

bool order_is_cancelled(const struct order *order)
{
    return order->status == ORDER_CANCELLED;
}

void order_place(const struct record *ticket_head, const struct ticket *ticket, const struct id *buyer,
                 int64_t reservation, int64_t now, int64_t hold_ms, struct record *ret_head, struct order *ret_order)
{
    memset(ret_order, 0, sizeof(*ret_order));
    ret_order->status = ORDER_CREATED;
    ret_order->user_id = *buyer;
    ret_order->ticket.id = ticket_head->id;
    memcpy(ret_order->ticket.title, ticket->title, sizeof(ret_order->ticket.title));
    ret_order->ticket.price = ticket->price;
    ret_order->reservation = reservation;
    ret_order->created_at = now;
    ret_order->expires_at = now + hold_ms;
    snprintf(ret_head->claim, sizeof(ret_head->claim), "%s/%lld", ticket_head->id.hex, (long long)reservation);
}

enum order_cancel order_cancel(struct order *order)
{
    switch ((enum order_status)order->status) {
    case ORDER_CREATED:
        order->status = ORDER_CANCELLED;
        return ORDER_CANCEL_DONE;
    case ORDER_AWAITING_PAYMENT:
        return ORDER_CANCEL_BEING_PAID;
    case ORDER_COMPLETE:
        return ORDER_CANCEL_COMPLETE;
    case ORDER_CANCELLED:
        break;
    }
    return ORDER_CANCEL_ALREADY;
}

static bool is_final(const struct order *order)
{
    return order->status == ORDER_COMPLETE || order->status == ORDER_CANCELLED;
}

static enum effect changed(const struct order *order, struct event *ret_event)
{
    *ret_event = order_is_cancelled(order) ? event_order_cancelled(order) : event_order_updated(order);
    return EFFECT_CHANGED;
}

enum effect order_apply_expiration(const struct record *source UNUSED, const void *entity UNUSED, struct record *own,
                                   void *own_value, struct event *ret_event)
{
    struct order *order = own_value;
    if (own->version == 0) {
        return EFFECT_STRAY;
    }
    if (order->status == ORDER_CREATED) {
        order->status = ORDER_CANCELLED;
        return changed(order, ret_event);
    }
    if (order->status == ORDER_AWAITING_PAYMENT && !order->expired) {
        order->expired = true;
        return changed(order, ret_event);
    }
    return EFFECT_UNCHANGED;
}

static enum effect apply_requested(const struct payment *payment, const struct id *payment_id, struct order *order,
                                   struct event *ret_event)
{
    if (payment->attempt <= order->attempt) {
        return EFFECT_UNCHANGED;
    }
    order->attempt = payment->attempt;
    order->payment_id = *payment_id;
    order->status = order->expired ? ORDER_CANCELLED : ORDER_AWAITING_PAYMENT;
    return changed(order, ret_event);
}

/* Also where the request of this attempt, or the failure of the one before, has not come: the number proves them. */
static enum effect apply_failed(const struct payment *payment, const struct id *payment_id, struct order *order,
                                struct event *ret_event)
{
    bool given_back_already = payment->attempt == order->attempt && order->status == ORDER_CREATED;
    if (payment->attempt < order->attempt || given_back_already) {
        return EFFECT_UNCHANGED;
    }
    order->attempt = payment->attempt;
    order->payment_id = *payment_id;
    order->status = order->expired ? ORDER_CANCELLED : ORDER_CREATED;
    return changed(order, ret_event);
}

static enum effect apply_charged(const struct payment *payment, const struct id *payment_id, struct order *order,
                                 struct event *ret_event)
{
    if (payment->attempt < order->attempt) {
        return EFFECT_UNCHANGED;
    }
    order->attempt = payment->attempt;
    order->payment_id = *payment_id;
    order->status = ORDER_COMPLETE;
    return changed(order, ret_event);
}

enum effect order_apply_payment(const struct record *source, const void *entity, struct record *own, void *own_value,
                                struct event *ret_event)
{
    const struct payment *payment = entity;
    struct order *order = own_value;
    if (own->version == 0) {
        return EFFECT_STRAY;
    }
    if (is_final(order)) {
        return EFFECT_UNCHANGED;
    }
    switch ((enum payment_status)payment->status) {
    case PAYMENT_PENDING:
        return apply_requested(payment, &source->id, order, ret_event);
    case PAYMENT_CHARGED:
        return apply_charged(payment, &source->id, order, ret_event);
    case PAYMENT_FAILED:
    case PAYMENT_REFUNDED: /* what was refunded had failed before, or was for an order that is gone */
        return apply_failed(payment, &source->id, order, ret_event);
    }
    return EFFECT_STRAY;
}
