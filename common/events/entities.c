/* SPDX-License-Identifier: Apache-2.0
 * The field tables of the entities. */
#include "common/events/entities.h"

#include <stddef.h>

static const struct field ticket_fields[] = {
    FIELD(struct ticket, title, FIELD_TEXT, .min = 1, .max = TITLE_LENGTH_MAX, .required = true, .in = IN_ALL,
          .rules = RULE_NOT_BLANK | RULE_NO_CONTROL, .description = "What is sold"),
    FIELD(struct ticket, price, FIELD_MONEY, .min = PRICE_MIN, .max = PRICE_MAX, .required = true, .in = IN_ALL,
          .description = "In the currency's unit, with at most two decimals"),
    FIELD_NAMED("userId", struct ticket, user_id, FIELD_ID, .required = true, .in = IN_PUBLIC,
                .description = "Who sells it"),
    FIELD_NAMED("orderId", struct ticket, order_id, FIELD_ID, .in = IN_PUBLIC,
                .description = "The order that holds it; absent while it is free"),
    FIELD(struct ticket, reservation, FIELD_INTEGER, .min = 1, .max = INT64_MAX, .in = IN_STORE),
    FIELD_NAMED("reservationEpoch", struct ticket, reservation_epoch, FIELD_INTEGER, .min = 1,
                .max = RECORD_VERSION_MAX, .in = IN_STORE),
    FIELD(struct ticket, request, FIELD_ID, .in = IN_STORE),
    FIELD_NAMED("createdAt", struct ticket, created_at, FIELD_TIME, .required = true, .in = IN_PUBLIC),
    FIELD_NAMED("updatedAt", struct ticket, updated_at, FIELD_TIME, .required = true, .in = IN_PUBLIC),
    {.name = NULL},
};

const struct table ticket_table = {
    .name = "ticket", .size = sizeof(struct ticket), .versioned = true, .fields = ticket_fields};

static const struct field ordered_ticket_fields[] = {
    FIELD(struct ordered_ticket, id, FIELD_ID, .required = true, .in = IN_PUBLIC),
    FIELD(struct ordered_ticket, title, FIELD_TEXT, .min = 1, .max = TITLE_LENGTH_MAX, .required = true,
          .in = IN_PUBLIC),
    FIELD(struct ordered_ticket, price, FIELD_MONEY, .min = PRICE_MIN, .max = PRICE_MAX, .required = true,
          .in = IN_PUBLIC),
    {.name = NULL},
};

static const struct table ordered_ticket_table = {
    .name = "orderedTicket", .size = sizeof(struct ordered_ticket), .fields = ordered_ticket_fields};

const char *const order_status_names[] = {"", "created", "awaiting:payment", "complete", "cancelled", NULL};

static const struct field order_fields[] = {
    FIELD(struct order, status, FIELD_CHOICE, .required = true, .in = IN_PUBLIC, .choices = order_status_names),
    FIELD_NAMED("userId", struct order, user_id, FIELD_ID, .required = true, .in = IN_PUBLIC,
                .description = "Who buys"),
    FIELD(struct order, ticket, FIELD_OBJECT, .required = true, .in = IN_PUBLIC, .object = &ordered_ticket_table,
          .description = "The ticket as it was when the order was placed"),
    FIELD(struct order, reservation, FIELD_INTEGER, .min = 1, .max = INT64_MAX, .required = true, .in = IN_PUBLIC,
          .description = "Numbers the orders of a ticket from 1"),
    FIELD(struct order, attempt, FIELD_INTEGER, .min = 1, .max = INT64_MAX, .in = IN_PUBLIC,
          .description = "The highest payment attempt so far"),
    FIELD_NAMED("paymentId", struct order, payment_id, FIELD_ID, .in = IN_PUBLIC),
    FIELD(struct order, expired, FIELD_BOOLEAN, .in = IN_PUBLIC,
          .description = "Its time ran out while it was being paid"),
    FIELD_NAMED("createdAt", struct order, created_at, FIELD_TIME, .required = true, .in = IN_PUBLIC),
    FIELD_NAMED("expiresAt", struct order, expires_at, FIELD_TIME, .required = true, .in = IN_PUBLIC),
    {.name = NULL},
};

const struct table order_table = {
    .name = "order", .size = sizeof(struct order), .versioned = true, .fields = order_fields};

const char *const payment_status_names[] = {"", "pending", "charged", "failed", "refunded", NULL};

static const struct field payment_fields[] = {
    FIELD_NAMED("orderId", struct payment, order_id, FIELD_ID, .required = true, .in = IN_PUBLIC),
    FIELD_NAMED("userId", struct payment, user_id, FIELD_ID, .required = true, .in = IN_PUBLIC),
    FIELD(struct payment, attempt, FIELD_INTEGER, .min = 1, .max = INT64_MAX, .required = true, .in = IN_PUBLIC,
          .description = "Numbers the payments of an order from 1"),
    FIELD(struct payment, status, FIELD_CHOICE, .required = true, .in = IN_PUBLIC, .choices = payment_status_names),
    FIELD(struct payment, amount, FIELD_MONEY, .min = PRICE_MIN, .max = PRICE_MAX, .required = true, .in = IN_PUBLIC),
    FIELD_NAMED("gatewayId", struct payment, gateway_id, FIELD_TEXT, .min = 1, .max = GATEWAY_ID_SIZE - 1,
                .in = IN_PUBLIC),
    FIELD(struct payment, reason, FIELD_TEXT, .min = 1, .max = REASON_SIZE - 1, .in = IN_PUBLIC),
    FIELD_NAMED("createdAt", struct payment, created_at, FIELD_TIME, .required = true, .in = IN_PUBLIC),
    {.name = NULL},
};

const struct table payment_table = {
    .name = "payment", .size = sizeof(struct payment), .versioned = true, .fields = payment_fields};

static const struct field expiration_fields[] = {
    FIELD_NAMED("orderId", struct expiration, order_id, FIELD_ID, .required = true, .in = IN_EVENT),
    {.name = NULL},
};

const struct table expiration_table = {
    .name = "expiration", .size = sizeof(struct expiration), .fields = expiration_fields};
