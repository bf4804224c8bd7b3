/* SPDX-License-Identifier: Apache-2.0
 * What handlers of records have in common: idempotency keys, pages and their links, and the store's refusals. */
#ifndef TURNSTILE_SERVICE_RESOURCE_H
#define TURNSTILE_SERVICE_RESOURCE_H

#include "common/service/service.h"

enum {
    IDEMPOTENCY_KEY_MAX = 64, /* bytes */
    LIST_LIMIT_DEFAULT = 100,
    RESOURCE_YOUNG_MS = 60000, /* an unknown id younger than this may be on its way */
    RESOURCE_TRIES_MAX = 64,   /* how often a lost race is run again */
};

/* The id of a record that a POST creates: new, or derived from `owner` (a user's id or e-mail) and the
 * Idempotency-Key, so that a retry finds what the first try made; *ret_repeatable tells which. False: the key is
 * malformed and 400 was answered. */
bool resource_new_id(const struct service *service, struct http_request *request, const char *collection,
                     const char *owner, struct id *ret_id, bool *ret_repeatable) MUST_CHECK;

/* 422: the key was used for another body. */
void resource_respond_key_reused(struct http_request *request);

/* Reads a record. False: it is not there, or the store is not, and that was answered; 404 comes with Retry-After if the
 * id is so young that a replica may not have it yet. */
bool resource_load(struct http_request *request, const struct service *service, const struct collection *collection,
                   const struct id *id, struct record *ret_head, void *ret_value) MUST_CHECK;

/* 503 for STORE_UNAVAILABLE and STORE_OUTBOX_FULL, by `error`. */
void resource_respond_unwritten(struct http_request *request, enum store_result result, const struct error *error);

/* Reads ?limit= and ?after= into the query; what is wrong goes to `errors`. */
void resource_read_page(const struct http_request *request, struct query *query, struct field_errors *errors);

/* Answers a list as a JSON array, with a Link to the next page (RFC 8288), relative, in which the query parameters
 * `carried` (NULL-terminated names) are repeated; or the failure, a cursor that does not fit included. */
void resource_respond_list(struct http_request *request, const struct service *service,
                           const struct collection *collection, const struct query *query, const char *const *carried);

#endif
