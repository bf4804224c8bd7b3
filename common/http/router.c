/* SPDX-License-Identifier: Apache-2.0
 * Matching of paths and methods against a route table. Tables are short: each request looks at every row. */
#include "common/http/router.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    ALLOW_SIZE = 64, /* "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" and a NUL */
};

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

struct row {
    const struct route *route;
    struct url pattern;
    /* One bit a segment, the first one highest: of two rows that match one path, the greater has its first fixed
     * segment where the other has a parameter. Rows of equal bits that match one path have one shape. */
    uint32_t fixed;
    char allow[ALLOW_SIZE]; /* of all rows of this shape */
};

struct router {
    size_t row_count;
    struct row *rows;
    char allow[ALLOW_SIZE]; /* of all rows */
};

static bool is_parameter(const char *segment)
{
    return segment[0] == ':';
}

static bool is_method_for_rows(const char *method)
{
    for (size_t i = 0; i < ARRAY_LENGTH(methods); i++) {
        if (text_equal(methods[i], method)) {
            return !text_equal(method, "HEAD") && !text_equal(method, "OPTIONS");
        }
    }
    return false;
}

static bool have_one_shape(const struct row *a, const struct row *b)
{
    if (a->fixed != b->fixed || a->pattern.segment_count != b->pattern.segment_count) {
        return false;
    }
    for (size_t i = 0; i < a->pattern.segment_count; i++) {
        const char *segment = a->pattern.segments[i];
        if (!is_parameter(segment) && !text_equal(segment, b->pattern.segments[i])) {
            return false;
        }
    }
    return true;
}

static const char *check_segments(const struct url *pattern)
{
    size_t parameters = 0;
    for (size_t i = 0; i < pattern->segment_count; i++) {
        const char *segment = pattern->segments[i];
        bool is_root = pattern->segment_count == 1;
        if ((segment[0] == '\0' && !is_root) || text_equal(segment, ":")) {
            return "a segment of the path is empty";
        }
        parameters += is_parameter(segment) ? 1 : 0;
        for (size_t j = 0; j < i; j++) {
            if (is_parameter(segment) && text_equal(segment, pattern->segments[j])) {
                return "a parameter is there twice";
            }
        }
    }
    return parameters > HTTP_PARAMETERS_MAX ? "there are too many parameters" : NULL;
}

/* NULL or what is wrong. */
static const char *fill_row(struct row *row, const struct route *route)
{
    row->route = route;
    if (route->path == NULL || route->handler == NULL) {
        return "path or handler is missing";
    }
    if (!is_method_for_rows(route->method)) {
        return "the method is not one of GET, POST, PUT, PATCH, DELETE";
    }
    const char *problem = NULL;
    CLEANUP(free_pointer) char *field = NULL;
    if (!url_parse(route->path, &row->pattern, &problem, &field)) {
        return problem;
    }
    if (row->pattern.is_asterisk || row->pattern.has_too_many || strpbrk(route->path, "?%") != NULL) {
        return "the path is not one";
    }
    for (size_t i = 0; i < row->pattern.segment_count; i++) {
        uint32_t bit = UINT32_C(1) << (31 - i);
        row->fixed |= is_parameter(row->pattern.segments[i]) ? 0 : bit;
    }
    return check_segments(&row->pattern);
}

/* The methods of all rows of this row's shape, or of all rows for NULL. */
static void print_allow(const struct router *router, const struct row *row, char ret_allow[static ALLOW_SIZE])
{
    size_t length = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(methods); i++) {
        bool is_allowed = text_equal(methods[i], "OPTIONS");
        const char *as = text_equal(methods[i], "HEAD") ? "GET" : methods[i];
        for (size_t j = 0; j < router->row_count; j++) {
            const struct row *other = &router->rows[j];
            is_allowed |= text_equal(other->route->method, as) && (row == NULL || have_one_shape(row, other));
        }
        if (is_allowed) {
            int count = snprintf(ret_allow + length, ALLOW_SIZE - length, "%s%s", length > 0 ? ", " : "", methods[i]);
            length += (size_t)count;
        }
    }
}

static bool fill_rows(struct router *router, const struct route *routes, struct error *error)
{
    for (size_t i = 0; i < router->row_count; i++) {
        struct row *row = &router->rows[i];
        const char *problem = fill_row(row, &routes[i]);
        for (size_t j = 0; j < i && problem == NULL; j++) {
            if (text_equal(router->rows[j].route->method, row->route->method) &&
                have_one_shape(row, &router->rows[j])) {
                problem = "is there twice";
            }
        }
        if (problem != NULL) {
            const char *path = routes[i].path != NULL ? routes[i].path : "(null)";
            return error_set(error, ERROR_INVALID, "route %s %s: %s", routes[i].method, path, problem);
        }
    }
    for (size_t i = 0; i < router->row_count; i++) {
        print_allow(router, &router->rows[i], router->rows[i].allow);
    }
    print_allow(router, NULL, router->allow);
    return true;
}

bool router_new(const struct route *routes, struct router **ret_router, struct error *error)
{
    CLEANUP(router_free) struct router *router = xcalloc(1, sizeof *router);
    while (routes[router->row_count].method != NULL) {
        router->row_count++;
    }
    router->rows = xcalloc(router->row_count + 1, sizeof *router->rows);
    if (!fill_rows(router, routes, error)) {
        return false;
    }
    *ret_router = TAKE(router);
    return true;
}

void router_free(struct router **router)
{
    if (*router == NULL) {
        return;
    }
    for (size_t i = 0; i < (*router)->row_count; i++) {
        url_done(&(*router)->rows[i].pattern);
    }
    xfree((*router)->rows);
    xfree(*router);
    *router = NULL;
}

static bool path_matches(const struct row *row, const struct url *url)
{
    if (url->has_too_many || url->segment_count != row->pattern.segment_count) {
        return false;
    }
    for (size_t i = 0; i < url->segment_count; i++) {
        const char *segment = row->pattern.segments[i];
        bool matches = is_parameter(segment) ? url->segments[i][0] != '\0' : text_equal(segment, url->segments[i]);
        if (!matches) {
            return false;
        }
    }
    return true;
}

static void take_parameters(const struct row *row, const struct url *url, struct router_match *match)
{
    for (size_t i = 0; i < url->segment_count; i++) {
        if (is_parameter(row->pattern.segments[i])) {
            match->parameters[match->parameter_count].name = row->pattern.segments[i] + 1;
            match->parameters[match->parameter_count].value = url->segments[i];
            match->parameter_count++;
        }
    }
}

void router_find(const struct router *router, const char *method, const struct url *url, struct router_match *ret_match)
{
    *ret_match = (struct router_match){.kind = ROUTER_NO_PATH};
    bool is_options = text_equal(method, "OPTIONS");
    if (url->is_asterisk) {
        ret_match->kind = is_options ? ROUTER_OPTIONS : ROUTER_NO_PATH;
        ret_match->allow = router->allow;
        return;
    }
    const struct row *best = NULL;
    bool has_method = false;
    for (size_t i = 0; i < router->row_count; i++) {
        const struct row *row = &router->rows[i];
        if (!path_matches(row, url) || (best != NULL && row->fixed < best->fixed)) {
            continue;
        }
        bool is_better = best == NULL || row->fixed > best->fixed;
        bool is_for_method = text_equal(row->route->method, text_equal(method, "HEAD") ? "GET" : method);
        if (is_better || is_for_method) {
            best = row;
            has_method = is_for_method;
        }
    }
    if (best == NULL) {
        return;
    }
    ret_match->allow = best->allow;
    ret_match->kind = is_options ? ROUTER_OPTIONS : has_method ? ROUTER_FOUND : ROUTER_NO_METHOD;
    if (ret_match->kind == ROUTER_FOUND) {
        ret_match->route = best->route;
        take_parameters(best, url, ret_match);
    }
}
