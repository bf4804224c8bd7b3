/* SPDX-License-Identifier: Apache-2.0
 * The entities that services tell each other about: their structs and field tables.
 *
 * One table serves the request, the answer, the event and the row, so that they cannot drift apart. Fields that were
 * released never become required, change their type, or go away. */
#ifndef TURNSTILE_EVENTS_ENTITIES_H
#define TURNSTILE_EVENTS_ENTITIES_H

#include "common/schema/table.h"

enum {
    TITLE_LENGTH_MAX = 200,                /* characters */
    TITLE_SIZE = 4 * TITLE_LENGTH_MAX + 1, /* bytes, with the NUL */
    PRICE_MIN = 1,                         /* cents */
    PRICE_MAX = 100000000,                 /* cents: 1,000,000.00 */
    REASON_SIZE = 161,                     /* bytes, with the NUL */
    GATEWAY_ID_SIZE = 129,                 /* bytes, with the NUL */
};

/* Owned by tickets. */
struct ticket {
    char title[TITLE_SIZE];
    int64_t price; /* cents */
    struct id user_id;
    struct id order_id;        /* of the order that holds it; not set: it is free */
    int64_t reservation;       /* the highest reservation seen; in the owner's store only */
    int64_t reservation_epoch; /* of the orders that it is of: see ticket_apply_order; in the owner's store only */
    struct id request; /* digest of the request that created it under an idempotency key; in the owner's store only */
    int64_t created_at, updated_at;
};
extern const struct table ticket_table;

/* The order's copy of what was ordered, as it was then. */
struct ordered_ticket {
    struct id id;
    char title[TITLE_SIZE];
    int64_t price; /* cents */
};

enum order_status {
    ORDER_CREATED = 1,
    ORDER_AWAITING_PAYMENT,
    ORDER_COMPLETE,
    ORDER_CANCELLED,
};

/* Owned by orders. */
struct order {
    int32_t status; /* enum order_status */
    struct id user_id;
    struct ordered_ticket ticket;
    int64_t reservation;  /* numbers the orders of a ticket from 1; order n+1 exists only after n was cancelled */
    int64_t attempt;      /* the highest payment attempt seen; 0: none */
    struct id payment_id; /* of that attempt */
    bool expired;         /* its time ran out while it was being paid */
    int64_t created_at, expires_at;
};
extern const struct table order_table;
extern const char *const order_status_names[]; /* indexed by enum order_status; [0] is "" */

enum payment_status {
    PAYMENT_PENDING = 1,
    PAYMENT_CHARGED,
    PAYMENT_FAILED,
    PAYMENT_REFUNDED,
};

/* Owned by payments. */
struct payment {
    struct id order_id;
    struct id user_id;
    int64_t attempt; /* numbers the payments of an order from 1 */
    int32_t status;  /* enum payment_status */
    int64_t amount;  /* cents */
    char gateway_id[GATEWAY_ID_SIZE];
    char reason[REASON_SIZE]; /* of a failure */
    int64_t created_at;
};
extern const struct table payment_table;
extern const char *const payment_status_names[];

/* An order's time has run out. It is no record: it has no version, and is sent again until it took effect. */
struct expiration {
    struct id order_id;
};
extern const struct table expiration_table;

#endif
