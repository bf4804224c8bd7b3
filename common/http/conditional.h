/* SPDX-License-Identifier: Apache-2.0
 * Entity tags and preconditions (RFC 9110 sections 8.8.3 and 13.1). A record's tag is its version in quotes. */
#ifndef TURNSTILE_HTTP_CONDITIONAL_H
#define TURNSTILE_HTTP_CONDITIONAL_H

#include "common/http/http.h"

enum {
    ETAG_SIZE = 24, /* "\"18446744073709551615\"" and a NUL */
};

enum etag_verdict { ETAG_LISTED, ETAG_NOT_LISTED, ETAG_MALFORMED };

void etag_print(uint64_t version, char ret_tag[static ETAG_SIZE]);

/* Looks for the version in the value of If-Match or If-None-Match; "*" lists every version but 0. Weak tags count only
 * if they may (If-None-Match). */
enum etag_verdict etag_find(const char *list, uint64_t version, bool weak_counts);

/* The two headers' values, NULL where absent. */
enum http_precondition conditional_check(const char *if_match, const char *if_none_match, uint64_t version);

enum conditional_get { CONDITIONAL_GET_SEND, CONDITIONAL_GET_NOT_MODIFIED, CONDITIONAL_GET_FAILED };

/* The same of a request that reads, in the order of RFC 9110 section 13.2.2: If-Match decides first. */
enum conditional_get conditional_get(const char *if_match, const char *if_none_match, uint64_t version);

#endif
