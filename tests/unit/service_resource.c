/* SPDX-License-Identifier: Apache-2.0
 * Tests of how requests ask for pages, by ?limit= and ?after=, and how answers lead to the next one. The HTTP server
 * and the store are made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/service/resource.h"

enum {
    HEADER_MAX = 8192,
    LONG_VALUE = 5000, /* more than fits in a link */
    PARAMETERS_MAX = 4,
};

struct sample {
    int64_t count;
};

static const struct field fields[] = {
    FIELD(struct sample, count, FIELD_INTEGER, .min = 0, .max = 9, .required = true, .in = IN_ALL),
    {.name = NULL},
};
static const struct table table = {
    .name = "sample", .size = sizeof(struct sample), .versioned = true, .fields = fields};
static const struct collection samples = {.name = "samples", .table = &table};

static struct id make_id(unsigned number)
{
    struct id id;
    snprintf(id.hex, sizeof(id.hex), "%024x", number);
    return id;
}

/* ---- the HTTP server that is made here ---- */

static struct {
    const char *names[PARAMETERS_MAX], *values[PARAMETERS_MAX];
    bool has_link;
    char link[HEADER_MAX];
    unsigned status;
    char field[SCHEMA_PATH_MAX], body[HEADER_MAX];
    enum error_code failure;
    enum error_code store_fails; /* 0: it does not */
    bool more;
} http;

const char *http_header(const struct http_request *request UNUSED, const char *name UNUSED)
{
    return NULL;
}

const char *http_path(const struct http_request *request UNUSED)
{
    return "/api/samples";
}

const char *http_query(const struct http_request *request UNUSED, const char *name)
{
    for (size_t i = 0; i < PARAMETERS_MAX && http.names[i] != NULL; i++) {
        if (text_equal(http.names[i], name)) {
            return http.values[i];
        }
    }
    return NULL;
}

void http_set_header(struct http_request *request UNUSED, const char *name, const char *value)
{
    assert_string_equal(name, "Link");
    http.has_link = true;
    text_copy_cut(http.link, sizeof(http.link), value);
}

void http_respond_json(struct http_request *request UNUSED, unsigned status, struct buffer *body)
{
    http.status = status;
    text_copy_cut(http.body, sizeof(http.body), buffer_text(body));
}

void http_respond_error(struct http_request *request UNUSED, unsigned status, const char *field,
                        const char *format UNUSED, ...)
{
    http.status = status;
    text_copy_cut(http.field, sizeof(http.field), field != NULL ? field : "");
}

void http_respond_failure(struct http_request *request UNUSED, const struct error *error)
{
    http.failure = error->code;
}

bool store_get(struct store *store UNUSED, const struct collection *of UNUSED, const struct id *id UNUSED,
               struct record *ret_head UNUSED, void *ret_value UNUSED, struct error *error)
{
    return error_set(error, ERROR_NOT_FOUND, "no list reads single records");
}

bool store_list(struct store *store UNUSED, const struct collection *of UNUSED, const struct query *query UNUSED,
                struct page *ret_page, struct error *error)
{
    if (http.store_fails != 0) {
        return error_set(error, http.store_fails, "it fails on purpose");
    }
    *ret_page = (struct page){.count = 2, .more = http.more};
    ret_page->heads = xcalloc(2, sizeof(struct record));
    ret_page->values = xcalloc(2, sizeof(struct sample));
    ret_page->heads[0] = (struct record){.id = make_id(1), .version = 1};
    ret_page->heads[1] = (struct record){.id = make_id(2), .version = 1};
    text_copy_cut(ret_page->next, sizeof(ret_page->next), http.more ? "bmV4dA" : "");
    return true;
}

static int setup_http(void **state UNUSED)
{
    memset(&http, 0, sizeof(http));
    return 0;
}

static void set_parameter(const char *name, const char *value)
{
    size_t i = 0;
    while (http.names[i] != NULL) {
        i++;
    }
    assert_true(i < PARAMETERS_MAX);
    http.names[i] = name;
    http.values[i] = value;
}

/* ---- requests and answers ---- */

static void check_limit(const char *text, size_t expected, size_t problems)
{
    struct query query = {.index = "by_number"};
    struct field_errors errors = FIELD_ERRORS_INIT;
    memset(&http, 0, sizeof(http));
    set_parameter("limit", text);
    resource_read_page(NULL, &query, &errors);
    assert_int_equal(errors.count, problems);
    assert_int_equal(query.limit, expected);
    if (problems > 0) {
        assert_string_equal(errors.items[0].field, "limit");
        assert_string_equal(errors.items[0].message, "must be a whole number from 1 to 1000");
    }
}

static void a_limit_is_1_to_1000_and_100_if_there_is_none(void **state UNUSED)
{
    static const char *const wrong[] = {"0", "1001", "-1", "", "x", "1.5", "1e2", " 5", "5 ", "99999999999999999999"};
    check_limit(NULL, LIST_LIMIT_DEFAULT, 0);
    check_limit("1", 1, 0);
    check_limit("7", 7, 0);
    check_limit("1000", 1000, 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        check_limit(wrong[i], LIST_LIMIT_DEFAULT, 1);
    }
    assert_int_equal(LIST_LIMIT_DEFAULT, 100);
}

static void after_is_passed_on_as_it_is(void **state UNUSED)
{
    static const char *const texts[] = {NULL, "", "b2s", "no cursor at all"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct query query = {.after = "before"};
        struct field_errors errors = FIELD_ERRORS_INIT;
        memset(&http, 0, sizeof(http));
        set_parameter("after", texts[i]);
        resource_read_page(NULL, &query, &errors);
        assert_ptr_equal(query.after, texts[i]);
        assert_int_equal(errors.count, 0);
    }
}

static void respond(const char *const *carried)
{
    const struct service service = {.store = NULL};
    const struct query query = {.index = "by_number", .limit = 2};
    resource_respond_list(NULL, &service, &samples, &query, carried);
}

static const char *const carried_names[] = {"limit", "title", "sort", NULL};

static void the_link_repeats_the_parameters_escaped(void **state UNUSED)
{
    http.more = true;
    set_parameter("title", "a b&c=\xc3\xa9/?#%+\">,~-._Z9");
    set_parameter("limit", "2");
    set_parameter("after", "old");
    set_parameter("unknown", "x");
    respond(carried_names);
    assert_int_equal(http.status, 200);
    assert_string_equal(http.link, "</api/samples?limit=2&title=a%20b%26c%3D%C3%A9%2F%3F%23%25%2B%22%3E%2C~-._Z9"
                                   "&after=bmV4dA>; rel=\"next\"");
    assert_non_null(strstr(http.body, make_id(1).hex));
    assert_non_null(strstr(http.body, make_id(2).hex));
}

static void the_link_needs_no_parameters_and_keeps_empty_ones(void **state UNUSED)
{
    http.more = true;
    respond(carried_names);
    assert_string_equal(http.link, "</api/samples?after=bmV4dA>; rel=\"next\"");
    set_parameter("title", "");
    respond(carried_names);
    assert_string_equal(http.link, "</api/samples?title=&after=bmV4dA>; rel=\"next\"");
}

static void the_last_page_has_no_link_nor_has_one_that_is_too_long(void **state UNUSED)
{
    static char value[LONG_VALUE];
    respond(carried_names);
    assert_int_equal(http.status, 200);
    assert_false(http.has_link);
    http.more = true;
    memset(value, 'x', sizeof(value) - 1);
    set_parameter("title", value);
    respond(carried_names);
    assert_int_equal(http.status, 200);
    assert_false(http.has_link);
}

static void a_wrong_position_is_told_of_after_and_other_failures_as_they_are(void **state UNUSED)
{
    http.store_fails = ERROR_INVALID;
    respond(carried_names);
    assert_int_equal(http.status, 400);
    assert_string_equal(http.field, "after");
    memset(&http, 0, sizeof(http));
    http.store_fails = ERROR_UNAVAILABLE;
    respond(carried_names);
    assert_int_equal(http.status, 0);
    assert_int_equal(http.failure, ERROR_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_is_1_to_1000_and_100_if_there_is_none),
        cmocka_unit_test(after_is_passed_on_as_it_is),
        cmocka_unit_test_setup(the_link_repeats_the_parameters_escaped, setup_http),
        cmocka_unit_test_setup(the_link_needs_no_parameters_and_keeps_empty_ones, setup_http),
        cmocka_unit_test_setup(the_last_page_has_no_link_nor_has_one_that_is_too_long, setup_http),
        cmocka_unit_test_setup(a_wrong_position_is_told_of_after_and_other_failures_as_they_are, setup_http),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
