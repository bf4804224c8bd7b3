/* SPDX-License-Identifier: Apache-2.0
 * Finds the row of a route table that a request is for. */
#ifndef TURNSTILE_HTTP_ROUTER_H
#define TURNSTILE_HTTP_ROUTER_H

#include "common/http/http.h"
#include "common/http/url.h"

struct router;

enum router_kind {
    ROUTER_NO_PATH,
    ROUTER_NO_METHOD,
    ROUTER_OPTIONS, /* asked what is allowed */
    ROUTER_FOUND,
};

/* Everything is borrowed, from the router and from the URL. */
struct router_match {
    enum router_kind kind;
    const struct route *route; /* only if found */
    const char *allow;         /* for the header Allow, unless ROUTER_NO_PATH */
    size_t parameter_count;
    struct {
        const char *name;
        const char *value;
    } parameters[HTTP_PARAMETERS_MAX];
};

/* ERROR_INVALID says which row is wrong: a bad method or path, too many parameters, no handler, there twice. */
bool router_new(const struct route *routes, struct router **ret_router, struct error *error) MUST_CHECK;
void router_free(struct router **router);

/* The path decides first (segment by segment from the left, fixed ones win over parameters), the method second. */
void router_find(const struct router *router, const char *method, const struct url *url,
                 struct router_match *ret_match);

#endif
