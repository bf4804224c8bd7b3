/* SPDX-License-Identifier: Apache-2.0
 * Tests of matching a path and a method against a route table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/http/router.h"

static void handler(struct http_request *request UNUSED, void *context UNUSED)
{
}

#define ROUTE(method_, path_)                                                                                          \
    {                                                                                                                  \
        .method = (method_), .path = (path_), .handler = handler                                                       \
    }

static const struct route routes[] = {
    ROUTE("GET", "/"),
    ROUTE("GET", "/api/tickets/:id"),
    ROUTE("GET", "/api/tickets"),
    ROUTE("POST", "/api/tickets"),
    ROUTE("GET", "/api/tickets/mine"),
    ROUTE("PUT", "/api/tickets/:id"),
    ROUTE("DELETE", "/api/tickets/:ticket"),
    ROUTE("POST", "/api/:kind/mine"),
    ROUTE("GET", "/api/:kind/:id/notes/:note"),
    ROUTE("GET", "/api/tickets/:id/notes/last"),
    {.method = NULL},
};

struct fixture {
    struct router *router;
    struct url url;
};

static int setup(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof *fixture);
    struct error error = ERROR_INIT;
    assert_true(router_new(routes, &fixture->router, &error));
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    url_done(&fixture->url);
    router_free(&fixture->router);
    xfree(fixture);
    return 0;
}

static struct router_match find(struct fixture *fixture, const char *method, const char *path)
{
    const char *problem = NULL;
    CLEANUP(free_pointer) char *field = NULL;
    struct router_match match;
    url_done(&fixture->url);
    assert_true(url_parse(path, &fixture->url, &problem, &field));
    router_find(fixture->router, method, &fixture->url, &match);
    return match;
}

static void the_row_of_path_and_method_is_found(void **state)
{
    static const struct {
        const char *method, *path;
        size_t row;
    } cases[] = {
        {"GET", "/", 0},
        {"GET", "/api/tickets/1", 1},
        {"HEAD", "/api/tickets/1", 1},
        {"GET", "/api/tickets", 2},
        {"POST", "/api/tickets", 3},
        {"PUT", "/api/tickets/1", 5},
        {"DELETE", "/api/tickets/1", 6},
        {"GET", "/%61pi/ticket%73", 2},
        {"POST", "/api/orders/mine", 7},
        {"GET", "/api/orders/1/notes/2", 8},
        {"GET", "/api/tickets/1/notes/last", 9},
        /* A fixed segment further left decides, also against one further right. */
        {"GET", "/api/tickets/1/notes/2", 8},
        {"GET", "/api/orders/1/notes/last", 8},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct router_match match = find(*state, cases[i].method, cases[i].path);
        assert_int_equal(match.kind, ROUTER_FOUND);
        assert_ptr_equal(match.route, &routes[cases[i].row]);
    }
}

static void fixed_segments_win_over_parameters(void **state)
{
    assert_ptr_equal(find(*state, "GET", "/api/tickets/mine").route, &routes[4]);
    assert_ptr_equal(find(*state, "GET", "/api/tickets/min").route, &routes[1]);
    /* The path decides first: /api/tickets/mine is there, and is not for PUT or POST. */
    struct router_match match = find(*state, "PUT", "/api/tickets/mine");
    assert_int_equal(match.kind, ROUTER_NO_METHOD);
    assert_string_equal(match.allow, "GET, HEAD, OPTIONS");
    assert_int_equal(find(*state, "POST", "/api/tickets/mine").kind, ROUTER_NO_METHOD);
}

static void parameters_are_named_by_their_row(void **state)
{
    struct router_match match = find(*state, "DELETE", "/api/tickets/a%2Fb");
    assert_int_equal(match.parameter_count, 1);
    assert_string_equal(match.parameters[0].name, "ticket");
    assert_string_equal(match.parameters[0].value, "a/b");
    match = find(*state, "GET", "/api/orders/7/notes/8");
    assert_int_equal(match.parameter_count, 3);
    assert_string_equal(match.parameters[0].name, "kind");
    assert_string_equal(match.parameters[0].value, "orders");
    assert_string_equal(match.parameters[1].value, "7");
    assert_string_equal(match.parameters[2].name, "note");
    assert_string_equal(match.parameters[2].value, "8");
}

static void other_methods_learn_what_is_allowed(void **state)
{
    static const struct {
        const char *path, *allow;
    } cases[] = {
        {"/api/tickets", "GET, HEAD, POST, OPTIONS"},
        {"/api/tickets/1", "GET, HEAD, PUT, DELETE, OPTIONS"},
        {"/api/orders/mine", "POST, OPTIONS"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct router_match match = find(*state, "PATCH", cases[i].path);
        assert_int_equal(match.kind, ROUTER_NO_METHOD);
        assert_string_equal(match.allow, cases[i].allow);
        assert_null(match.route);
        match = find(*state, "OPTIONS", cases[i].path);
        assert_int_equal(match.kind, ROUTER_OPTIONS);
        assert_string_equal(match.allow, cases[i].allow);
    }
    assert_int_equal(find(*state, "HEAD", "/api/orders/mine").kind, ROUTER_NO_METHOD);
    assert_int_equal(find(*state, "get", "/").kind, ROUTER_NO_METHOD);
    struct router_match match = find(*state, "OPTIONS", "*");
    assert_int_equal(match.kind, ROUTER_OPTIONS);
    assert_string_equal(match.allow, "GET, HEAD, POST, PUT, DELETE, OPTIONS");
}

static void other_paths_are_not_found(void **state)
{
    static const char *const paths[] = {
        "/api",
        "/api/",
        "/api/tickets/",
        "/api//tickets",
        "/api/tickets/1/",
        "/API/tickets",
        "/api/tickets//",
        "/api/orders/1",
        "//",
        "/api/./tickets",
        "/api/x/1/notes/2/3",
        "/api%2Ftickets",
        "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        assert_int_equal(find(*state, "GET", paths[i]).kind, ROUTER_NO_PATH);
        assert_int_equal(find(*state, "OPTIONS", paths[i]).kind, ROUTER_NO_PATH);
    }
    assert_int_equal(find(*state, "GET", "*").kind, ROUTER_NO_PATH);
}

static void wrong_tables_are_refused(void **state UNUSED)
{
    static const struct {
        struct route first, second;
        const char *message;
    } cases[] = {
        {ROUTE("get", "/a"), {0}, "route get /a: the method is not one of GET, POST, PUT, PATCH, DELETE"},
        {ROUTE("HEAD", "/a"), {0}, "route HEAD /a: the method is not one of GET, POST, PUT, PATCH, DELETE"},
        {ROUTE("GET", "a"), {0}, "route GET a: the request's target is malformed"},
        {ROUTE("GET", "/a?b"), {0}, "route GET /a?b: the path is not one"},
        {ROUTE("GET", "/a/"), {0}, "route GET /a/: a segment of the path is empty"},
        {ROUTE("GET", "/a/:"), {0}, "route GET /a/:: a segment of the path is empty"},
        {ROUTE("GET", "/:a/:a"), {0}, "route GET /:a/:a: a parameter is there twice"},
        {ROUTE("GET", "/:a/:b/:c/:d/:e"), {0}, "route GET /:a/:b/:c/:d/:e: there are too many parameters"},
        {ROUTE("GET", "/:a"), ROUTE("GET", "/:b"), "route GET /:b: is there twice"},
        {{.method = "GET", .path = "/a"}, {0}, "route GET /a: path or handler is missing"},
        {{.method = "GET", .handler = handler}, {0}, "route GET (null): path or handler is missing"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct route table[] = {cases[i].first, cases[i].second, {.method = NULL}};
        struct router *router = NULL;
        struct error error = ERROR_INIT;
        assert_false(router_new(table, &router, &error));
        assert_null(router);
        assert_int_equal(error.code, ERROR_INVALID);
        assert_string_equal(error.message, cases[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_row_of_path_and_method_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(fixed_segments_win_over_parameters, setup, teardown),
        cmocka_unit_test_setup_teardown(parameters_are_named_by_their_row, setup, teardown),
        cmocka_unit_test_setup_teardown(other_methods_learn_what_is_allowed, setup, teardown),
        cmocka_unit_test_setup_teardown(other_paths_are_not_found, setup, teardown),
        cmocka_unit_test(wrong_tables_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
