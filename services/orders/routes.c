/* SPDX-License-Identifier: Apache-2.0
 * The HTTP endpoints of orders: reserve a ticket, look at one's orders, cancel one. */
#include "services/orders/routes.h"

#include <stddef.h>

#include "common/base/clock.h"
#include "common/service/resource.h"
#include "common/service/service.h"
#include "services/orders/order.h"

const struct config_option orders_options[] = {
    {"ORDER_HOLD_SECONDS", CONFIG_INTEGER, offsetof(struct orders_settings, hold_s), .default_value = "900", .min = 1,
     .max = 31536000, .help = "from createdAt to expiresAt; nothing expires an order in this version"},
    {.name = NULL},
};

/* ---- POST /api/orders ---- */

struct order_request {
    struct id ticket_id;
};

static const struct field order_request_fields[] = {
    FIELD_NAMED("ticketId", struct order_request, ticket_id, FIELD_ID, .required = true, .in = IN_REQUEST,
                .description = "The ticket to reserve"),
    {.name = NULL},
};

static const struct table order_request_table = {
    .name = "orderRequest", .size = sizeof(struct order_request), .fields = order_request_fields};

/* Looks whether an earlier try under the same idempotency key has made the order; if so, or if that cannot be told, it
 * has been answered. */
static bool answer_repeated(struct http_request *request, struct service *service, const struct id *id,
                            const struct id *ticket_id)
{
    struct record head = RECORD_INIT;
    struct order order;
    struct error error = ERROR_INIT;
    if (!store_get(service->store, &orders_collection, id, &head, &order, &error)) {
        if (error.code == ERROR_NOT_FOUND) {
            return false;
        }
        http_respond_failure(request, &error);
    } else if (!id_equal(&order.ticket.id, ticket_id)) {
        resource_respond_key_reused(request);
    } else {
        http_respond_record(request, 201, &order_table, &head, &order);
    }
    return true;
}

/* The order with the highest number of this ticket; *ret_count is 0 if there is none. */
static bool find_last_order(struct service *service, const struct id *ticket_id, struct id *ret_id,
                            struct order *ret_order, size_t *ret_count, struct error *error)
{
    struct query query = {
        .index = ORDERS_BY_TICKET,
        .descending = true,
        .conditions = {{.compare = QUERY_EQUAL, .field = "ticket.id", .text = ticket_id->hex}},
        .limit = 1,
    };
    CLEANUP(page_done) struct page page = PAGE_INIT;
    if (!store_list(service->store, &orders_collection, &query, &page, error)) {
        return false;
    }
    if (page.count > 0) {
        *ret_id = page.heads[0].id;
        *ret_order = *(const struct order *)page_value(&page, &orders_collection, 0);
    }
    *ret_count = page.count;
    return true;
}

enum placed {
    PLACED_ANSWERED,
    PLACED_LOST_RACE, /* somebody else took this number: look again who holds the ticket now */
};

/* One try: reads which order is the last one, and inserts its successor if that one is cancelled, which is final. The
 * claim decides between all who try this at once, in whatever instance. */
static enum placed try_to_place(struct http_request *request, struct service *service, const struct id *id,
                                bool repeatable, const struct record *ticket_head, const struct ticket *ticket)
{
    struct id last_id;
    struct order order;
    size_t count = 0;
    struct error error = ERROR_INIT;
    if (!find_last_order(service, &ticket_head->id, &last_id, &order, &count, &error)) {
        http_respond_failure(request, &error);
        return PLACED_ANSWERED;
    }
    if (count > 0 && !order_is_cancelled(&order)) {
        if (!repeatable || !answer_repeated(request, service, id, &ticket_head->id)) {
            http_respond_error(request, 409, NULL, "the ticket is already reserved");
        }
        return PLACED_ANSWERED;
    }
    const struct orders_settings *settings = service->own_settings;
    int64_t reservation = count > 0 ? order.reservation + 1 : 1;
    struct record head = {.id = *id};
    order_place(ticket_head, ticket, &http_identity(request)->id, reservation, clock_now(NULL), settings->hold_s * 1000,
                &head, &order);
    enum store_result result =
        events_write(service->events, &orders_collection, 0, &head, event_order_created(&order), &error);
    if (result == STORE_DONE) {
        http_respond_record(request, 201, &order_table, &head, &order);
    } else if (result == STORE_CONFLICT_CLAIM) {
        return PLACED_LOST_RACE;
    } else if (result != STORE_CONFLICT_ID || !repeatable || !answer_repeated(request, service, id, &ticket_head->id)) {
        resource_respond_unwritten(request, result, &error);
    }
    return PLACED_ANSWERED;
}

static void create_order(struct http_request *request, void *context)
{
    struct service *service = context;
    const struct order_request *input = http_body(request);
    struct id id;
    bool repeatable = false;
    if (!resource_new_id(service, request, orders_collection.name, http_identity(request)->id.hex, &id, &repeatable) ||
        (repeatable && answer_repeated(request, service, &id, &input->ticket_id))) {
        return;
    }
    struct record ticket_head = RECORD_INIT;
    struct ticket ticket;
    if (!resource_load(request, service, &tickets_collection, &input->ticket_id, &ticket_head, &ticket)) {
        return;
    }
    for (int i = 0; i < RESOURCE_TRIES_MAX; i++) {
        if (try_to_place(request, service, &id, repeatable, &ticket_head, &ticket) == PLACED_ANSWERED) {
            return;
        }
    }
    http_respond_error(request, 503, NULL, "too many orders of this ticket at once");
}

/* ---- GET /api/orders, GET /api/orders/:id ---- */

static const char *const list_carried[] = {"limit", NULL};

static void list_orders(struct http_request *request, void *context)
{
    struct service *service = context;
    struct query query = {
        .index = ORDERS_BY_BUYER,
        .conditions = {{.compare = QUERY_EQUAL, .field = "userId", .text = http_identity(request)->id.hex}},
    };
    struct field_errors errors = FIELD_ERRORS_INIT;
    resource_read_page(request, &query, &errors);
    if (errors.count > 0) {
        http_respond_errors(request, 400, &errors);
        return;
    }
    resource_respond_list(request, service, &orders_collection, &query, list_carried);
}

/* An order of the signed-in user. */
static bool load_own_order(struct http_request *request, struct service *service, const struct id *id,
                           struct record *ret_head, struct order *ret_order)
{
    if (!resource_load(request, service, &orders_collection, id, ret_head, ret_order)) {
        return false;
    }
    if (!id_equal(&ret_order->user_id, &http_identity(request)->id)) {
        http_respond_error(request, 403, NULL, "this order is not yours");
        return false;
    }
    return true;
}

static void get_order(struct http_request *request, void *context)
{
    struct id id;
    struct record head = RECORD_INIT;
    struct order order;
    if (http_parameter_id(request, "id", &id) && load_own_order(request, context, &id, &head, &order)) {
        http_respond_record(request, 200, &order_table, &head, &order);
    }
}

/* ---- DELETE /api/orders/:id ---- */

static void respond_cancelled(struct http_request *request, enum order_cancel outcome)
{
    if (outcome == ORDER_CANCEL_BEING_PAID) {
        http_respond_error(request, 409, NULL, "the order is being paid");
    } else if (outcome == ORDER_CANCEL_COMPLETE) {
        http_respond_error(request, 409, NULL, "the order is complete");
    } else {
        http_respond_empty(request, 204);
    }
}

static void delete_order(struct http_request *request, void *context)
{
    struct service *service = context;
    struct id id;
    if (!http_parameter_id(request, "id", &id)) {
        return;
    }
    struct error error = ERROR_INIT;
    for (int i = 0; i < RESOURCE_TRIES_MAX; i++) {
        struct record head = RECORD_INIT;
        struct order order;
        if (!load_own_order(request, service, &id, &head, &order)) {
            return;
        }
        if (http_precondition(request, head.version) == HTTP_PRECONDITION_FAILED) {
            http_respond_error(request, 412, NULL, "the order has another version");
            return;
        }
        enum order_cancel outcome = order_cancel(&order);
        enum store_result result = STORE_DONE;
        if (outcome == ORDER_CANCEL_DONE) {
            result = events_write(service->events, &orders_collection, head.version, &head,
                                  event_order_cancelled(&order), &error);
        }
        if (result == STORE_DONE) {
            respond_cancelled(request, outcome);
            return;
        }
        if (result != STORE_CONFLICT_VERSION) {
            resource_respond_unwritten(request, result, &error);
            return;
        }
    }
    http_respond_error(request, 503, NULL, "too many changes of this order at once");
}

const struct route orders_routes[] = {
    {"POST", "/api/orders", ACCESS_REQUIRED, &order_request_table, .handler = create_order},
    {"GET", "/api/orders", ACCESS_REQUIRED, .handler = list_orders},
    {"GET", "/api/orders/:id", ACCESS_REQUIRED, .handler = get_order},
    {"DELETE", "/api/orders/:id", ACCESS_REQUIRED, .handler = delete_order},
    {.method = NULL},
};
