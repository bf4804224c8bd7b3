/* SPDX-License-Identifier: Apache-2.0
 * Idempotency keys, pages and their links, and the store's refusals. */
#include "common/service/resource.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/text.h"

enum {
    LINK_MAX = 4096, /* bytes */
};

static bool idempotency_key_valid(const char *key)
{
    size_t length = strlen(key);
    for (size_t i = 0; i < length; i++) {
        if (key[i] < 0x20 || key[i] > 0x7e) {
            return false;
        }
    }
    return length >= 1 && length <= IDEMPOTENCY_KEY_MAX;
}

bool resource_new_id(const struct service *service, struct http_request *request, const char *collection,
                     const char *owner, struct id *ret_id, bool *ret_repeatable)
{
    const char *key = http_header(request, "Idempotency-Key");
    if (key == NULL) {
        *ret_id = id_new(service->ids);
        *ret_repeatable = false;
        return true;
    }
    if (!idempotency_key_valid(key)) {
        http_respond_error(request, 400, NULL, "Idempotency-Key must be 1 to %d printable ASCII characters",
                           IDEMPOTENCY_KEY_MAX);
        return false;
    }
    /* None of the three contains a newline, so no two triples give the same text. */
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(1024);
    buffer_printf(&text, "%s\n%s\n%s", collection, owner, key);
    *ret_id = id_derive(text.data, text.length);
    *ret_repeatable = true;
    return true;
}

void resource_respond_key_reused(struct http_request *request)
{
    http_respond_error(request, 422, NULL, "Idempotency-Key was used for another request");
}

static void respond_unknown(struct http_request *request, const char *what, const struct id *id)
{
    int64_t age = clock_now(NULL) - id_time(id);
    if (age >= 0 && age < RESOURCE_YOUNG_MS) {
        http_set_header(request, "Retry-After", "1");
    }
    http_respond_error(request, 404, NULL, "%s not found", what);
}

bool resource_load(struct http_request *request, const struct service *service, const struct collection *collection,
                   const struct id *id, struct record *ret_head, void *ret_value)
{
    struct error error = ERROR_INIT;
    if (store_get(service->store, collection, id, ret_head, ret_value, &error)) {
        return true;
    }
    if (error.code == ERROR_NOT_FOUND) {
        respond_unknown(request, collection->table->name, id);
    } else {
        http_respond_failure(request, &error);
    }
    return false;
}

void resource_respond_unwritten(struct http_request *request, enum store_result result, const struct error *error)
{
    if (result == STORE_OUTBOX_FULL) {
        http_respond_error(request, 503, NULL, "too many changes of this record wait for the event bus");
        return;
    }
    http_respond_failure(request, error);
}

void resource_read_page(const struct http_request *request, struct query *query, struct field_errors *errors)
{
    int64_t limit = LIST_LIMIT_DEFAULT;
    const char *text = http_query(request, "limit");
    if (text != NULL && !text_to_int64(text, 1, STORE_LIMIT_MAX, &limit)) {
        field_errors_add(errors, "limit", "must be a whole number from 1 to %d", STORE_LIMIT_MAX);
    }
    query->limit = (size_t)limit;
    query->after = http_query(request, "after");
}

/* RFC 3986 section 2.1: everything but unreserved characters. */
static void append_url_encoded(struct buffer *buffer, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        bool unreserved = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                          strchr("-._~", *c) != NULL;
        if (unreserved) {
            buffer_append_char(buffer, (char)*c);
        } else {
            buffer_printf(buffer, "%%%02X", *c);
        }
    }
}

static void set_next_link(struct http_request *request, const char *next, const char *const *carried)
{
    CLEANUP(buffer_done) struct buffer link = BUFFER_INIT(LINK_MAX);
    buffer_printf(&link, "<%s?", http_path(request));
    for (const char *const *name = carried; *name != NULL; name++) {
        const char *value = http_query(request, *name);
        if (value != NULL) {
            buffer_printf(&link, "%s=", *name);
            append_url_encoded(&link, value);
            buffer_append_char(&link, '&');
        }
    }
    buffer_printf(&link, "after=%s>; rel=\"next\"", next);
    if (!link.overflowed) {
        http_set_header(request, "Link", buffer_text(&link));
    }
}

static void respond_page(struct http_request *request, const struct collection *collection, const struct page *page,
                         const char *const *carried)
{
    CLEANUP(buffer_done) struct buffer body = BUFFER_INIT(HTTP_RESPONSE_MAX);
    buffer_append_char(&body, '[');
    for (size_t i = 0; i < page->count; i++) {
        if (i > 0) {
            buffer_append_char(&body, ',');
        }
        schema_print(collection->table, IN_RESPONSE, &page->heads[i], page_value(page, collection, i), &body);
    }
    buffer_append_char(&body, ']');
    if (page->more) {
        set_next_link(request, page->next, carried);
    }
    http_respond_json(request, 200, &body);
}

void resource_respond_list(struct http_request *request, const struct service *service,
                           const struct collection *collection, const struct query *query, const char *const *carried)
{
    CLEANUP(page_done) struct page page = PAGE_INIT;
    struct error error = ERROR_INIT;
    if (store_list(service->store, collection, query, &page, &error)) {
        respond_page(request, collection, &page, carried);
    } else if (error.code == ERROR_INVALID) {
        http_respond_error(request, 400, "after", "is not a position in this list");
    } else {
        http_respond_failure(request, &error);
    }
}
