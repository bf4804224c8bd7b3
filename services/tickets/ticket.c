/* SPDX-License-Identifier: Apache-2.0
 * The rules of tickets. */
#include "services/tickets/ticket.h"

#include <stdio.h>

static const struct index indexes[] = {
    {.name = TICKETS_BY_CREATION, .fields = {"orderId", "createdAt"}},
    {.name = TICKETS_BY_PRICE, .fields = {"orderId", "price"}},
    {.name = TICKETS_BY_SELLER, .fields = {"userId", "createdAt"}},
    {.name = TICKETS_FREE_BY_SELLER, .fields = {"userId", "orderId", "createdAt"}},
    {.name = NULL},
};

const struct collection tickets_collection = {.name = "tickets", .table = &ticket_table, .indexes = indexes};

bool ticket_is_reserved(const struct ticket *ticket)
{
    return id_is_set(&ticket->order_id);
}

struct id ticket_request_digest(const struct ticket *ticket)
{
    char text[TITLE_SIZE + 32];
    int length = snprintf(text, sizeof(text), "%lld\n%s", (long long)ticket->price, ticket->title);
    return id_derive(text, (size_t)length);
}

/* Below, at or above 0: the order's number against the highest that the ticket has seen. */
static int compare_reservation(const struct record *source, const struct order *order, const struct ticket *ticket)
{
    int64_t epoch = (int64_t)source->epoch;
    if (epoch != ticket->reservation_epoch) {
        return epoch < ticket->reservation_epoch ? -1 : 1;
    }
    return (order->reservation > ticket->reservation) - (order->reservation < ticket->reservation);
}

enum effect ticket_apply_order(const struct record *source, const void *entity, struct record *own, void *own_value,
                               struct event *ret_event)
{
    const struct order *order = entity;
    struct ticket *ticket = own_value;
    if (own->version == 0) {
        return EFFECT_STRAY;
    }
    int compared = compare_reservation(source, order, ticket);
    if (order->status != ORDER_CANCELLED) {
        if (compared <= 0) {
            return EFFECT_UNCHANGED;
        }
        ticket->order_id = source->id;
    } else {
        bool freed_already = compared == 0 && !ticket_is_reserved(ticket);
        if (compared < 0 || freed_already) {
            return EFFECT_UNCHANGED;
        }
        ticket->order_id = (struct id){.hex = ""};
    }
    ticket->reservation = order->reservation;
    ticket->reservation_epoch = (int64_t)source->epoch;
    *ret_event = event_ticket_updated(ticket);
    return EFFECT_CHANGED;
}
