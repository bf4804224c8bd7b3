/* SPDX-License-Identifier: Apache-2.0
 * The HTTP endpoints of tickets: list one, change it, look for one. */
#include "services/tickets/routes.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/service/resource.h"
#include "common/service/service.h"
#include "services/tickets/ticket.h"

enum {
    SEARCH_MAX = 200, /* bytes of ?q= */
};

/* ---- POST /api/tickets ---- */

/* The id is taken. Under an idempotency key that is this request's own first try, if it asked for the same. */
static void respond_repeated(struct http_request *request, struct service *service, const struct record *wanted,
                             const struct ticket *input)
{
    struct record head = RECORD_INIT;
    struct ticket ticket;
    struct error error = ERROR_INIT;
    if (!store_get(service->store, &tickets_collection, &wanted->id, &head, &ticket, &error)) {
        http_respond_failure(request, &error);
    } else if (!id_equal(&ticket.request, &input->request)) {
        resource_respond_key_reused(request);
    } else {
        http_respond_record(request, 201, &ticket_table, &head, &ticket);
    }
}

static void create_ticket(struct http_request *request, void *context)
{
    struct service *service = context;
    const struct http_identity *user = http_identity(request);
    struct record head = RECORD_INIT;
    bool repeatable = false;
    if (!resource_new_id(service, request, tickets_collection.name, user->id.hex, &head.id, &repeatable)) {
        return;
    }
    struct ticket ticket = *(const struct ticket *)http_body(request);
    ticket.user_id = user->id;
    ticket.created_at = ticket.updated_at = clock_now(NULL);
    if (repeatable) {
        ticket.request = ticket_request_digest(&ticket);
    }
    struct error error = ERROR_INIT;
    enum store_result result =
        events_write(service->events, &tickets_collection, 0, &head, event_ticket_created(&ticket), &error);
    if (result == STORE_DONE) {
        http_respond_record(request, 201, &ticket_table, &head, &ticket);
    } else if (result == STORE_CONFLICT_ID && repeatable) {
        respond_repeated(request, service, &head, &ticket);
    } else {
        resource_respond_unwritten(request, result, &error);
    }
}

/* ---- GET /api/tickets, GET /api/tickets/mine, GET /api/tickets/:id ---- */

static const struct field search_price = {
    .name = "price", .type = FIELD_MONEY, .size = sizeof(int64_t), .min = 0, .max = PRICE_MAX};
static const struct field search_id = {.name = "userId", .type = FIELD_ID, .size = sizeof(struct id)};

static const char *const list_carried[] = {"limit", "q", "minPrice", "maxPrice", "userId", "sort", NULL};
static const char *const mine_carried[] = {"limit", NULL};

static void add_condition(struct query *query, struct query_condition condition)
{
    size_t count = 0;
    while (query->conditions[count].compare != QUERY_END) {
        count++;
    }
    query->conditions[count] = condition;
}

static void read_price(const struct http_request *request, const char *name, enum query_operator compare,
                       struct query *query, struct field_errors *errors)
{
    const char *text = http_query(request, name);
    int64_t cents = 0;
    if (text != NULL && schema_parse_text(&search_price, name, text, &cents, errors)) {
        add_condition(query, (struct query_condition){.compare = compare, .field = "price", .number = cents});
    }
}

/* The order decides which index is walked; what it cannot bound is filtered on the way. */
static void read_sort(const struct http_request *request, bool by_seller, struct query *query,
                      struct field_errors *errors)
{
    const char *sort = http_query(request, "sort");
    query->index = by_seller ? TICKETS_FREE_BY_SELLER : TICKETS_BY_CREATION;
    query->descending = true;
    if (sort == NULL || text_equal(sort, "newest")) {
        return;
    }
    if (text_equal(sort, "price") || text_equal(sort, "-price")) {
        query->index = TICKETS_BY_PRICE;
        query->descending = sort[0] == '-';
    } else {
        field_errors_add(errors, "sort", "must be newest, price or -price");
    }
}

static void read_search(const struct http_request *request, struct query *query, struct id *ret_seller,
                        struct field_errors *errors)
{
    resource_read_page(request, query, errors);
    add_condition(query, (struct query_condition){.compare = QUERY_ABSENT, .field = "orderId"});
    const char *seller = http_query(request, "userId");
    if (seller != NULL && schema_parse_text(&search_id, "userId", seller, ret_seller, errors)) {
        add_condition(query,
                      (struct query_condition){.compare = QUERY_EQUAL, .field = "userId", .text = ret_seller->hex});
    }
    read_price(request, "minPrice", QUERY_AT_LEAST, query, errors);
    read_price(request, "maxPrice", QUERY_AT_MOST, query, errors);
    const char *text = http_query(request, "q");
    if (text != NULL && strlen(text) > SEARCH_MAX) {
        field_errors_add(errors, "q", "must be at most %d bytes", SEARCH_MAX);
    } else if (text != NULL && text[0] != '\0') {
        add_condition(query, (struct query_condition){.compare = QUERY_CONTAINS, .field = "title", .text = text});
    }
    read_sort(request, seller != NULL, query, errors);
}

static void list_tickets(struct http_request *request, void *context)
{
    struct query query = {.index = NULL};
    struct id seller = {.hex = ""};
    struct field_errors errors = FIELD_ERRORS_INIT;
    read_search(request, &query, &seller, &errors);
    if (errors.count > 0) {
        http_respond_errors(request, 400, &errors);
        return;
    }
    resource_respond_list(request, context, &tickets_collection, &query, list_carried);
}

static void list_own_tickets(struct http_request *request, void *context)
{
    struct query query = {
        .index = TICKETS_BY_SELLER,
        .descending = true,
        .conditions = {{.compare = QUERY_EQUAL, .field = "userId", .text = http_identity(request)->id.hex}},
    };
    struct field_errors errors = FIELD_ERRORS_INIT;
    resource_read_page(request, &query, &errors);
    if (errors.count > 0) {
        http_respond_errors(request, 400, &errors);
        return;
    }
    http_set_header(request, "Cache-Control", "no-store");
    resource_respond_list(request, context, &tickets_collection, &query, mine_carried);
}

static void get_ticket(struct http_request *request, void *context)
{
    struct id id;
    struct record head = RECORD_INIT;
    struct ticket ticket;
    if (http_parameter_id(request, "id", &id) &&
        resource_load(request, context, &tickets_collection, &id, &head, &ticket)) {
        http_respond_record(request, 200, &ticket_table, &head, &ticket);
    }
}

/* ---- PUT /api/tickets/:id ---- */

/* Answers what stands against an edit of this version of the ticket, if anything does. */
static bool may_edit(struct http_request *request, const struct record *head, const struct ticket *ticket)
{
    if (!id_equal(&ticket->user_id, &http_identity(request)->id)) {
        http_respond_error(request, 403, NULL, "this ticket is not yours");
    } else if (http_precondition(request, head->version) == HTTP_PRECONDITION_FAILED) {
        http_respond_error(request, 412, NULL, "the ticket has another version");
    } else if (ticket_is_reserved(ticket)) {
        http_respond_error(request, 409, NULL, "a reserved ticket cannot be changed");
    } else {
        return true;
    }
    return false;
}

/* A lost race is run again against the new version, where If-Match, if there is one, decides anew. */
static void update_ticket(struct http_request *request, void *context)
{
    struct service *service = context;
    const struct ticket *input = http_body(request);
    struct id id;
    if (!http_parameter_id(request, "id", &id)) {
        return;
    }
    struct error error = ERROR_INIT;
    for (int i = 0; i < RESOURCE_TRIES_MAX; i++) {
        struct record head = RECORD_INIT;
        struct ticket ticket;
        if (!resource_load(request, service, &tickets_collection, &id, &head, &ticket) ||
            !may_edit(request, &head, &ticket)) {
            return;
        }
        enum store_result result = STORE_DONE;
        if (!text_equal(ticket.title, input->title) || ticket.price != input->price) {
            memcpy(ticket.title, input->title, sizeof(ticket.title));
            ticket.price = input->price;
            ticket.updated_at = clock_now(NULL);
            result = events_write(service->events, &tickets_collection, head.version, &head,
                                  event_ticket_updated(&ticket), &error);
        }
        if (result == STORE_DONE) {
            http_respond_record(request, 200, &ticket_table, &head, &ticket);
            return;
        }
        if (result != STORE_CONFLICT_VERSION) {
            resource_respond_unwritten(request, result, &error);
            return;
        }
    }
    http_respond_error(request, 503, NULL, "too many changes of this ticket at once");
}

const struct route tickets_routes[] = {
    {"POST", "/api/tickets", ACCESS_REQUIRED, &ticket_table, .handler = create_ticket},
    {"GET", "/api/tickets", ACCESS_PUBLIC, .handler = list_tickets},
    {"GET", "/api/tickets/mine", ACCESS_REQUIRED, .handler = list_own_tickets},
    {"GET", "/api/tickets/:id", ACCESS_PUBLIC, .handler = get_ticket},
    {"PUT", "/api/tickets/:id", ACCESS_REQUIRED, &ticket_table, .handler = update_ticket},
    {.method = NULL},
};
