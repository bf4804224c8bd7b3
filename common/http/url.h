/* SPDX-License-Identifier: Apache-2.0
 * A request's target (RFC 9112 section 3.2), split first and decoded then, so that %2F stays inside its segment. */
#ifndef TURNSTILE_HTTP_URL_H
#define TURNSTILE_HTTP_URL_H

#include "common/base/compiler.h"

enum {
    URL_SEGMENTS_MAX = 16,   /* a path with more of them is no route's */
    URL_PARAMETERS_MAX = 32, /* of a query */
};

struct url {
    char *path;        /* as received, without the query */
    char *decoded;     /* what segments and parameters point into */
    bool is_asterisk;  /* OPTIONS * */
    bool has_too_many; /* segments */
    size_t segment_count;
    const char *segments[URL_SEGMENTS_MAX];
    size_t parameter_count;
    struct {
        const char *name;
        const char *value; /* "" for "?name" */
    } parameters[URL_PARAMETERS_MAX];
};

/* False: *ret_problem (static) says what is wrong; *ret_field, if not NULL, is the parameter's name, to be freed with
 * xfree. `ret_url` is to be freed with url_done either way. */
bool url_parse(const char *target, struct url *ret_url, const char **ret_problem, char **ret_field) MUST_CHECK;
void url_done(struct url *url);

/* NULL if absent. */
const char *url_parameter(const struct url *url, const char *name);

#endif
