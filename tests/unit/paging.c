/* SPDX-License-Identifier: Apache-2.0
 * Tests of what all stores' lists share: cursors, plans and pages. The engine is an array, made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/query.h"

enum {
    TITLE_BYTES = 12,
    RECORDS_MAX = STORE_SCAN_MAX + 2,
    PAGE = 10,
    RAW_MAX = 600,
};

struct sample {
    char title[TITLE_BYTES];
    char email[EMAIL_MAX + 1];
    struct id owner;
    int64_t count;
    int64_t price;
    int64_t at;
    bool open;
    int32_t status;
};

static const char *const statuses[] = {"", "new", "old", NULL};
static const struct field fields[] = {
    FIELD(struct sample, title, FIELD_TEXT, .min = 1, .max = TITLE_BYTES - 1, .in = IN_ALL),
    FIELD(struct sample, email, FIELD_EMAIL, .in = IN_ALL),
    FIELD(struct sample, owner, FIELD_ID, .in = IN_ALL),
    FIELD(struct sample, count, FIELD_INTEGER, .min = INT64_MIN, .max = INT64_MAX, .required = true, .in = IN_ALL),
    FIELD(struct sample, price, FIELD_MONEY, .in = IN_ALL),
    FIELD(struct sample, at, FIELD_TIME, .in = IN_ALL),
    FIELD(struct sample, open, FIELD_BOOLEAN, .required = true, .in = IN_ALL),
    FIELD(struct sample, status, FIELD_CHOICE, .choices = statuses, .in = IN_ALL),
    {.name = NULL},
};
static const struct table table = {
    .name = "sample", .size = sizeof(struct sample), .versioned = true, .fields = fields};
static const struct index indexes[] = {
    {.name = "by_text", .fields = {"title", "owner", "status"}},
    {.name = "by_number", .fields = {"count", "price", "at", "open"}},
    {.name = "by_email", .fields = {"email"}},
    {.name = "by_status", .fields = {"status", "price"}},
    {.name = NULL},
};
static const struct collection samples = {.name = "samples", .table = &table, .indexes = indexes};
/* The same name of an index, over other fields. */
static const struct index other_indexes[] = {
    {.name = "by_text", .fields = {"count", "owner", "status"}},
    {.name = "by_other", .fields = {"title", "owner", "status"}},
    {.name = NULL},
};
static const struct collection others = {.name = "others", .table = &table, .indexes = other_indexes};

static struct store_collection collection, other_collection;

static const struct store_index *index_of(const struct store_collection *of, const char *name)
{
    for (size_t i = 0; i < of->index_count; i++) {
        if (text_equal(of->indexes[i].name, name)) {
            return &of->indexes[i];
        }
    }
    fail();
    return NULL;
}

static struct id make_id(unsigned number)
{
    struct id id;
    snprintf(id.hex, sizeof(id.hex), "%024x", number);
    return id;
}

static int setup_group(void **state UNUSED)
{
    store_collection_init(&collection, &samples, 0);
    store_collection_init(&other_collection, &others, 1);
    return 0;
}

/* ---- the engine that is made here ---- */

static struct {
    size_t count;
    struct record heads[RECORDS_MAX];
    struct sample values[RECORDS_MAX];
    size_t visited, limit; /* of the last scan */
    bool fails;
} engine;

static struct sample *add_record(const char *title, int32_t status, int64_t price)
{
    struct sample *sample = &engine.values[engine.count];
    engine.heads[engine.count] = (struct record){.id = make_id((unsigned)engine.count), .version = 1};
    *sample = (struct sample){.count = (int64_t)engine.count, .status = status, .price = price};
    text_copy_cut(sample->title, sizeof(sample->title), title);
    engine.count++;
    return sample;
}

static struct store_value value_at(const struct store_scan *scan, size_t position, size_t record)
{
    if (position == scan->index->field_count) {
        return (struct store_value){.kind = STORE_TEXT, .text = engine.heads[record].id.hex};
    }
    return store_value_of(&scan->collection->fields[scan->index->fields[position]], &engine.values[record]);
}

static bool range_has(const struct store_scan *scan, const struct store_range *range, size_t record)
{
    for (size_t i = 0; i < range->equal_count; i++) {
        struct store_value value = value_at(scan, i, record);
        if (store_value_compare(&value, &range->equal[i]) != 0) {
            return false;
        }
    }
    struct store_value next = value_at(scan, range->equal_count, record);
    const struct store_bound *low = &range->low, *high = &range->high;
    if (range->present || low->kind != STORE_UNBOUNDED || high->kind != STORE_UNBOUNDED) {
        if (next.kind == STORE_ABSENT) {
            return false;
        }
    }
    int above = low->kind == STORE_UNBOUNDED ? 1 : store_value_compare(&next, &low->value);
    int below = high->kind == STORE_UNBOUNDED ? -1 : store_value_compare(&next, &high->value);
    return (above > 0 || (above == 0 && low->kind == STORE_INCLUSIVE)) &&
           (below < 0 || (below == 0 && high->kind == STORE_INCLUSIVE));
}

static const struct store_scan *sorted_by;

static int compare_records(const void *a, const void *b)
{
    for (size_t i = 0; i <= sorted_by->index->field_count; i++) {
        struct store_value first = value_at(sorted_by, i, *(const size_t *)a);
        struct store_value second = value_at(sorted_by, i, *(const size_t *)b);
        int order = store_value_compare(&first, &second);
        if (order != 0) {
            return sorted_by->descending ? -order : order;
        }
    }
    return 0;
}

/* Caller frees. */
static size_t *sort_records(const struct store_scan *scan)
{
    size_t *order = xcalloc(engine.count + 1, sizeof(order[0]));
    for (size_t i = 0; i < engine.count; i++) {
        order[i] = i;
    }
    sorted_by = scan;
    qsort(order, engine.count, sizeof(order[0]), compare_records);
    return order;
}

static bool scan_engine(void *state UNUSED, const struct store_scan *scan, const struct store_visitor *visitor,
                        struct error *error)
{
    CLEANUP(free_pointer) size_t *order = sort_records(scan);
    engine.visited = 0;
    engine.limit = scan->limit;
    bool goes_on = true;
    for (size_t range = 0; range < scan->range_count && goes_on; range++) {
        for (size_t i = 0; i < engine.count && goes_on && engine.visited < scan->limit; i++) {
            if (range_has(scan, &scan->ranges[range], order[i])) {
                engine.visited++;
                memcpy(visitor->entity, &engine.values[order[i]], sizeof(struct sample));
                goes_on = visitor->visit(visitor->context, &engine.heads[order[i]]);
            }
        }
    }
    return !engine.fails || error_set(error, ERROR_UNAVAILABLE, "it fails on purpose");
}

static const struct store_driver driver = {.scheme = "array:", .scan = scan_engine};

static bool list(const struct query *query, struct page *ret_page, struct error *error)
{
    CLEANUP(store_plan_done) struct store_plan plan = STORE_PLAN_INIT;
    return store_plan_make(&collection, query, &plan, error) &&
           store_page_read(&driver, NULL, &plan, query->limit, ret_page, error);
}

static int setup(void **state UNUSED)
{
    engine.count = 0;
    engine.fails = false;
    return 0;
}

/* ---- cursors ---- */

static struct sample full_sample(void)
{
    struct sample sample = {.count = INT64_MIN, .price = INT64_MAX, .at = 1700000000123, .open = true, .status = 2};
    text_copy_cut(sample.title, sizeof(sample.title), "\xc3\xa9t\xc3\xa9 \"1\"");
    memset(sample.email, 'a', EMAIL_MAX);
    sample.owner = make_id(77);
    return sample;
}

static void check_round_trip(const char *index_name, const struct sample *sample)
{
    const struct store_index *index = index_of(&collection, index_name);
    const struct record head = {.id = make_id(0xabcdef), .version = 3};
    for (size_t skip = 0; skip <= index->field_count; skip++) {
        CLEANUP(store_cursor_done) struct store_cursor cursor = {.value_count = 0};
        char text[STORE_CURSOR_MAX];
        struct error error = ERROR_INIT;
        store_cursor_print(&collection, index, skip, &head, sample, text);
        assert_int_equal(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"),
                         strlen(text));
        assert_true(store_cursor_parse(&collection, index, skip, text, &cursor, &error));
        assert_true(id_equal(&cursor.id, &head.id));
        assert_int_equal(cursor.value_count, index->field_count - skip);
        for (size_t i = skip; i < index->field_count; i++) {
            struct store_value expected = store_value_of(&collection.fields[index->fields[i]], sample);
            assert_int_equal(cursor.values[i - skip].kind, expected.kind);
            assert_int_equal(store_value_compare(&cursor.values[i - skip], &expected), 0);
        }
    }
}

static void cursors_come_back_as_they_went_for_every_type(void **state UNUSED)
{
    const struct sample full = full_sample();
    const struct sample absent = {.count = 0};
    for (size_t i = 0; indexes[i].name != NULL; i++) {
        check_round_trip(indexes[i].name, &full);
        check_round_trip(indexes[i].name, &absent);
    }
}

static void assert_refused(const struct store_collection *of, const char *index, size_t skip, const char *text)
{
    struct store_cursor cursor = {.value_count = 99};
    struct error error = ERROR_INIT;
    if (store_cursor_parse(of, index_of(of, index), skip, text, &cursor, &error)) {
        fail_msg("taken for a cursor of %s: \"%s\"", index, text);
    }
    assert_int_equal(error.code, ERROR_INVALID);
    assert_int_equal(cursor.value_count, 99);
}

static void cursors_of_other_lists_are_refused(void **state UNUSED)
{
    const struct sample sample = full_sample();
    const struct record head = {.id = make_id(1)};
    char text[STORE_CURSOR_MAX];
    store_cursor_print(&collection, index_of(&collection, "by_text"), 0, &head, &sample, text);
    assert_refused(&collection, "by_number", 0, text);
    assert_refused(&collection, "by_email", 0, text);
    assert_refused(&collection, "by_text", 1, text);
    assert_refused(&other_collection, "by_text", 0, text);
    assert_refused(&other_collection, "by_other", 0, text);
}

static void cursors_by_id_are_of_no_index_and_the_other_way_round(void **state UNUSED)
{
    const struct query by_id = {.index = NULL, .limit = 1};
    CLEANUP(store_plan_done) struct store_plan plan = STORE_PLAN_INIT;
    struct error error = ERROR_INIT;
    assert_true(store_plan_make(&collection, &by_id, &plan, &error));
    const struct sample sample = full_sample();
    const struct record head = {.id = make_id(0xabcdef)};
    char text[STORE_CURSOR_MAX];
    store_cursor_print(&collection, plan.scan.index, 0, &head, &sample, text);
    for (size_t i = 0; indexes[i].name != NULL; i++) {
        const struct store_index *index = index_of(&collection, indexes[i].name);
        for (size_t skip = 0; skip <= index->field_count; skip++) {
            char of_index[STORE_CURSOR_MAX];
            assert_refused(&collection, index->name, skip, text);
            store_cursor_print(&collection, index, skip, &head, &sample, of_index);
            CLEANUP(store_cursor_done) struct store_cursor cursor = {.value_count = 0};
            assert_false(store_cursor_parse(&collection, plan.scan.index, 0, of_index, &cursor, &error));
            assert_int_equal(error.code, ERROR_INVALID);
        }
    }
    CLEANUP(store_cursor_done) struct store_cursor cursor = {.value_count = 99};
    assert_true(store_cursor_parse(&collection, plan.scan.index, 0, text, &cursor, &error));
    assert_int_equal(cursor.value_count, 0);
    assert_true(id_equal(&cursor.id, &head.id));
}

static void cursors_that_are_cut_or_longer_are_refused(void **state UNUSED)
{
    const struct sample sample = full_sample();
    const struct record head = {.id = make_id(1)};
    char text[STORE_CURSOR_MAX + 1], changed[STORE_CURSOR_MAX + 2];
    for (size_t i = 0; indexes[i].name != NULL; i++) {
        store_cursor_print(&collection, index_of(&collection, indexes[i].name), 0, &head, &sample, text);
        for (size_t length = 0; length < strlen(text); length++) {
            text_copy_cut(changed, length + 1, text);
            assert_refused(&collection, indexes[i].name, 0, changed);
        }
        for (const char *more = "A=+/ \n"; *more != '\0'; more++) {
            snprintf(changed, sizeof(changed), "%s%c", text, *more);
            assert_refused(&collection, indexes[i].name, 0, changed);
        }
    }
    memset(text, 'A', STORE_CURSOR_MAX);
    text[STORE_CURSOR_MAX] = '\0';
    assert_refused(&collection, "by_text", 0, text);
}

#define ID_TEXT "0123456789abcdef01234567"
/* The bytes of a literal that may hold NULs, with the one that it ends with: what follows the values is the id. */
#define RAW(literal)                                                                                                   \
    {                                                                                                                  \
        literal, sizeof(literal) - 1                                                                                   \
    }

static void cursors_with_anything_wrong_inside_are_refused(void **state UNUSED)
{
    static const struct {
        const char *bytes;
        size_t length;
    } wrong[] = {
        RAW(""),
        RAW("by_status"),
        RAW("by_status\0"),
        RAW("by_statu\0tnew\0n5\0" ID_TEXT),
        RAW("by_statusx\0tnew\0n5\0" ID_TEXT),
        RAW("by_status\0" ID_TEXT),
        RAW("by_status\0tnew\0" ID_TEXT),
        RAW("by_status\0tnew\0n5\0a" ID_TEXT),
        RAW("by_status\0tnone\0n5\0" ID_TEXT),
        RAW("by_status\0tNew\0n5\0" ID_TEXT),
        RAW("by_status\0nnew\0n5\0" ID_TEXT),
        RAW("by_status\0n1\0n5\0" ID_TEXT),
        RAW("by_status\0xnew\0n5\0" ID_TEXT),
        RAW("by_status\0tnew\0t5\0" ID_TEXT),
        RAW("by_status\0tnew\0n\0" ID_TEXT),
        RAW("by_status\0tnew\0nfive\0" ID_TEXT),
        RAW("by_status\0tnew\0n5x\0" ID_TEXT),
        RAW("by_status\0tnew\0n9223372036854775808\0" ID_TEXT),
        RAW("by_status\0tnew\0n5" ID_TEXT),
        RAW("by_status\0tnew\0n5\0"),
        RAW("by_status\0tnew\0n5\0" ID_TEXT "0"),
        RAW("by_status\0tnew\0n5\0" ID_TEXT "\0"),
        RAW("by_status\0tnew\0n5\0g123456789abcdef01234567"),
        RAW("by_status\0tnew\0n5\0"
            "01234567\0"
            "9abcdef01234567"),
        RAW("by_email\0a" ID_TEXT),
    };
    static const char right[] = "by_status\0tnew\0n5\0" ID_TEXT;
    CLEANUP(store_cursor_done) struct store_cursor cursor = {.value_count = 0};
    struct error error = ERROR_INIT;
    CLEANUP(free_pointer) char *text = text_to_base64url(right, sizeof(right) - 1);
    assert_true(store_cursor_parse(&collection, index_of(&collection, "by_status"), 0, text, &cursor, &error));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CLEANUP(free_pointer) char *changed = text_to_base64url(wrong[i].bytes, wrong[i].length);
        assert_refused(&collection, "by_status", 0, changed);
    }
}

static void cursors_with_texts_that_do_not_fit_are_refused(void **state UNUSED)
{
    static const char *const titles[] = {"123456789012", "\xff", "\xc3"};
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
        char raw[RAW_MAX];
        int length = snprintf(raw, sizeof(raw), "by_text%ct%s%caa" ID_TEXT, 0, titles[i], 0);
        CLEANUP(free_pointer) char *text = text_to_base64url(raw, (size_t)length);
        assert_refused(&collection, "by_text", 0, text);
    }
}

/* ---- plans ---- */

static void conditions_on_the_first_fields_bound_the_index_and_others_filter(void **state UNUSED)
{
    const struct query query = {.index = "by_status",
                                .limit = 1,
                                .conditions = {{QUERY_CONTAINS, "title", "x", 0},
                                               {QUERY_AT_LEAST, "price", NULL, 10},
                                               {QUERY_EQUAL, "status", NULL, 1},
                                               {QUERY_AT_MOST, "price", NULL, 50},
                                               {QUERY_AT_LEAST, "price", NULL, 20},
                                               {QUERY_EQUAL, "status", NULL, 2},
                                               {QUERY_AT_MOST, "count", NULL, 7}}};
    CLEANUP(store_plan_done) struct store_plan plan = STORE_PLAN_INIT;
    struct error error = ERROR_INIT;
    assert_true(store_plan_make(&collection, &query, &plan, &error));
    assert_int_equal(plan.fixed, 1);
    assert_int_equal(plan.scan.range_count, 1);
    assert_false(plan.scan.descending);
    const struct store_range *range = &plan.scan.ranges[0];
    assert_int_equal(range->equal_count, 1);
    assert_string_equal(range->equal[0].text, "new");
    assert_int_equal(range->low.kind, STORE_INCLUSIVE);
    assert_int_equal(range->low.value.number, 20);
    assert_int_equal(range->high.kind, STORE_INCLUSIVE);
    assert_int_equal(range->high.value.number, 50);
    assert_int_equal(plan.filter_count, 3);
    assert_int_equal(plan.filters[0].test, QUERY_CONTAINS);
    assert_int_equal(plan.filters[1].test, QUERY_EQUAL);
    assert_int_equal(plan.filters[2].test, QUERY_AT_MOST);
}

static void bounds_behind_a_field_that_is_not_fixed_filter(void **state UNUSED)
{
    const struct query query = {
        .index = "by_status", .descending = true, .limit = 1, .conditions = {{QUERY_AT_LEAST, "price", NULL, 10}}};
    CLEANUP(store_plan_done) struct store_plan plan = STORE_PLAN_INIT;
    struct error error = ERROR_INIT;
    assert_true(store_plan_make(&collection, &query, &plan, &error));
    assert_int_equal(plan.fixed, 0);
    assert_true(plan.scan.descending);
    assert_int_equal(plan.scan.range_count, 1);
    assert_int_equal(plan.scan.ranges[0].low.kind, STORE_UNBOUNDED);
    assert_int_equal(plan.filter_count, 1);
}

static void the_zero_of_an_optional_field_is_its_absence(void **state UNUSED)
{
    const struct query query = {.index = "by_status",
                                .limit = 1,
                                .conditions = {{QUERY_EQUAL, "status", NULL, 0},
                                               {QUERY_EQUAL, "price", NULL, 0},
                                               {QUERY_EQUAL, "title", "", 0}}};
    CLEANUP(store_plan_done) struct store_plan plan = STORE_PLAN_INIT;
    struct error error = ERROR_INIT;
    assert_true(store_plan_make(&collection, &query, &plan, &error));
    assert_int_equal(plan.fixed, 2);
    assert_int_equal(plan.scan.ranges[0].equal[0].kind, STORE_ABSENT);
    assert_int_equal(plan.scan.ranges[0].equal[1].kind, STORE_ABSENT);
    assert_int_equal(plan.filter_count, 1);
    assert_int_equal(plan.filters[0].test, QUERY_ABSENT);
}

static void what_no_list_can_have_is_refused(void **state UNUSED)
{
    char text[STORE_VALUE_TEXT_MAX + 1];
    memset(text, 'x', STORE_VALUE_TEXT_MAX);
    text[STORE_VALUE_TEXT_MAX] = '\0';
    const struct query queries[] = {
        {.index = "by_status", .limit = 1, .after = "x"},
        {.index = "by_status", .limit = 1, .conditions = {{QUERY_CONTAINS, "title", text, 0}}},
    };
    for (size_t i = 0; i < 2; i++) {
        struct page page = PAGE_INIT;
        struct error error = ERROR_INIT;
        assert_false(list(&queries[i], &page, &error));
        assert_int_equal(error.code, ERROR_INVALID);
        assert_null(page.heads);
    }
}

/* Reads a list page by page and compares with one that is sorted and filtered here. Returns how many there are. */
static size_t check_walk(struct query query, size_t limit)
{
    CLEANUP(store_plan_done) struct store_plan plan = STORE_PLAN_INIT;
    struct error error = ERROR_INIT;
    char after[STORE_CURSOR_MAX] = "";
    query.limit = limit;
    query.after = NULL;
    assert_true(store_plan_make(&collection, &query, &plan, &error));
    CLEANUP(free_pointer) size_t *order = sort_records(&plan.scan);
    size_t at = 0, found = 0;
    for (bool more = true; more;) {
        CLEANUP(page_done) struct page page = PAGE_INIT;
        query.after = after;
        assert_true(list(&query, &page, &error));
        assert_true(page.count <= limit);
        for (size_t i = 0; i < page.count; i++, at++, found++) {
            while (at < engine.count &&
                   !(range_has(&plan.scan, &plan.scan.ranges[0], order[at]) &&
                     store_plan_accepts(&plan, &engine.heads[order[at]], &engine.values[order[at]]))) {
                at++;
            }
            assert_true(at < engine.count);
            assert_string_equal(page.heads[i].id.hex, engine.heads[order[at]].id.hex);
            const struct sample *value = page_value(&page, &samples, i);
            assert_int_equal(value->count, engine.values[order[at]].count);
        }
        more = page.more;
        assert_true(!more || page.count == limit);
        text_copy_cut(after, sizeof(after), page.next);
        assert_int_equal(more, after[0] != '\0');
    }
    for (; at < engine.count; at++) {
        assert_false(range_has(&plan.scan, &plan.scan.ranges[0], order[at]) &&
                     store_plan_accepts(&plan, &engine.heads[order[at]], &engine.values[order[at]]));
    }
    return found;
}

static void pages_bring_each_record_once_and_in_order(void **state UNUSED)
{
    static const struct {
        struct query query;
        size_t count;
    } cases[] = {
        {{.index = "by_status"}, 36},
        {{.index = "by_text"}, 36},
        {{.index = "by_number"}, 36},
        {{.index = "by_status", .conditions = {{QUERY_EQUAL, "status", NULL, 1}}}, 12},
        {{.index = "by_status", .conditions = {{QUERY_ABSENT, "status", NULL, 0}}}, 12},
        {{.index = "by_status", .conditions = {{QUERY_EQUAL, "status", NULL, 2}, {QUERY_AT_LEAST, "price", NULL, 1}}},
         9},
        {{.index = "by_status", .conditions = {{QUERY_EQUAL, "status", NULL, 2}, {QUERY_AT_MOST, "price", NULL, 2}}},
         6},
        {{.index = "by_status", .conditions = {{QUERY_EQUAL, "status", NULL, 2}, {QUERY_EQUAL, "price", NULL, 2}}}, 3},
        {{.index = "by_status", .conditions = {{QUERY_AT_LEAST, "price", NULL, 2}}}, 18},
        {{.index = "by_status", .conditions = {{QUERY_CONTAINS, "title", "ODD", 0}}}, 18},
        {{.index = NULL}, 36},
        {{.index = NULL, .conditions = {{QUERY_EQUAL, "status", NULL, 1}, {QUERY_AT_LEAST, "price", NULL, 2}}}, 6},
        {{.index = NULL, .changed_since = 30}, 7}, /* and one of which it is not known */
        {{.index = "by_number", .changed_since = 30}, 7},
        {{.index = "by_status", .changed_since = 31, .conditions = {{QUERY_EQUAL, "status", NULL, 1}}}, 2},
    };
    for (unsigned i = 0; i < 36; i++) {
        add_record(i % 2 ? "odd" : "even", (int32_t)(i % 3), i / 3 % 4);
        engine.heads[i].changed = i;
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t limit = 1; limit <= 37; limit += limit < 4 ? 1 : 11) {
            struct query query = cases[i].query;
            assert_int_equal(check_walk(query, limit), cases[i].count);
            query.descending = true;
            assert_int_equal(check_walk(query, limit), cases[i].count);
        }
    }
}

/* The cursor's price lies outside of the bounds of the list that it is used for. */
static void a_cursor_of_other_bounds_leads_to_what_is_behind_it(void **state UNUSED)
{
    struct query query = {.index = "by_status", .limit = 1, .conditions = {{QUERY_EQUAL, "status", NULL, 1}}};
    struct error error = ERROR_INIT;
    for (int64_t price = 1; price <= 5; price++) {
        add_record("x", 1, price);
        add_record("x", 1, price);
    }
    CLEANUP(page_done) struct page first = PAGE_INIT;
    assert_true(list(&query, &first, &error));
    query.after = first.next;
    query.limit = PAGE;
    query.conditions[1] = (struct query_condition){QUERY_AT_LEAST, "price", NULL, 3};
    CLEANUP(page_done) struct page page = PAGE_INIT;
    assert_true(list(&query, &page, &error));
    assert_int_equal(page.count, 6);
    query.descending = true;
    CLEANUP(page_done) struct page none = PAGE_INIT;
    assert_true(list(&query, &none, &error));
    assert_int_equal(none.count, 0);
}

/* ---- pages ---- */

/* The number of the record that the next page begins behind. */
static unsigned long next_behind(const struct page *page)
{
    CLEANUP(store_cursor_done) struct store_cursor cursor = {.value_count = 0};
    struct error error = ERROR_INIT;
    assert_true(page->more);
    assert_true(store_cursor_parse(&collection, index_of(&collection, "by_number"), 0, page->next, &cursor, &error));
    return strtoul(cursor.id.hex, NULL, 16);
}

static void a_page_has_more_only_if_there_is_a_record_behind_it(void **state UNUSED)
{
    static const size_t counts[] = {0, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 1};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        const struct query query = {.index = "by_number", .limit = PAGE};
        CLEANUP(page_done) struct page page = PAGE_INIT;
        struct error error = ERROR_INIT;
        while (engine.count < counts[i]) {
            add_record("x", 1, 1);
        }
        assert_true(list(&query, &page, &error));
        assert_int_equal(engine.limit, PAGE + 1);
        assert_int_equal(page.count, counts[i] < PAGE ? counts[i] : PAGE);
        if (counts[i] > PAGE) {
            assert_int_equal(next_behind(&page), PAGE - 1);
        } else {
            assert_false(page.more);
            assert_string_equal(page.next, "");
        }
    }
}

static const struct query filtered = {
    .index = "by_number", .limit = 2, .conditions = {{QUERY_CONTAINS, "title", "yes", 0}}};

/* Fills the engine with records of which only these pass, and reads the first page. */
static void read_filtered(size_t count, const size_t *passing, size_t passing_count, struct page *ret_page)
{
    struct error error = ERROR_INIT;
    engine.count = 0;
    while (engine.count < count) {
        bool passes = false;
        for (size_t i = 0; i < passing_count; i++) {
            passes = passes || passing[i] == engine.count;
        }
        add_record(passes ? "yes" : "no", 1, 1);
    }
    assert_true(list(&filtered, ret_page, &error));
    assert_true(engine.visited <= STORE_SCAN_MAX + 1);
}

static void a_filtered_page_looks_for_one_more_that_passes(void **state UNUSED)
{
    CLEANUP(page_done) struct page last = PAGE_INIT;
    read_filtered(50, (const size_t[]){3, 7}, 2, &last);
    assert_int_equal(last.count, 2);
    assert_false(last.more);
    CLEANUP(page_done) struct page page = PAGE_INIT;
    read_filtered(50, (const size_t[]){3, 7, 30}, 3, &page);
    assert_int_equal(page.count, 2);
    assert_int_equal(next_behind(&page), 29); /* the last that was looked at and is not on the next page */
    assert_int_equal(engine.visited, 31);
}

static void what_was_not_changed_since_counts_as_looked_at(void **state UNUSED)
{
    const struct query query = {.index = NULL, .limit = 2, .changed_since = 5};
    struct error error = ERROR_INIT;
    for (size_t i = 0; i < STORE_SCAN_MAX + 1; i++) {
        add_record("x", 1, 1);
        engine.heads[i].changed = i == 3 || i == 7 ? 5 : 4;
    }
    CLEANUP(page_done) struct page page = PAGE_INIT;
    assert_true(list(&query, &page, &error));
    assert_int_equal(page.count, 2);
    assert_int_equal(page.heads[1].changed, 5);
    assert_int_equal(engine.limit, STORE_SCAN_MAX + 1);
    assert_true(page.more);
    struct query behind = query;
    behind.after = page.next;
    CLEANUP(page_done) struct page last = PAGE_INIT;
    assert_true(list(&behind, &last, &error));
    assert_int_equal(engine.visited, 1); /* the one that the first page could not look at */
    assert_int_equal(last.count, 0);
    assert_false(last.more);
}

static void a_filtered_page_ends_where_it_may_look_no_further(void **state UNUSED)
{
    CLEANUP(page_done) struct page all = PAGE_INIT;
    read_filtered(STORE_SCAN_MAX, NULL, 0, &all);
    assert_int_equal(all.count, 0);
    assert_false(all.more);
    CLEANUP(page_done) struct page none = PAGE_INIT;
    read_filtered(STORE_SCAN_MAX + 1, NULL, 0, &none);
    assert_int_equal(none.count, 0);
    assert_int_equal(next_behind(&none), STORE_SCAN_MAX - 1);
    CLEANUP(page_done) struct page full = PAGE_INIT;
    read_filtered(STORE_SCAN_MAX + 2, (const size_t[]){0, 1, STORE_SCAN_MAX}, 3, &full);
    assert_int_equal(full.count, 2);
    assert_int_equal(next_behind(&full), STORE_SCAN_MAX - 1);
    CLEANUP(page_done) struct page last = PAGE_INIT;
    struct error error = ERROR_INIT;
    struct query query = filtered;
    query.after = full.next;
    assert_true(list(&query, &last, &error));
    assert_int_equal(last.count, 1);
    assert_string_equal(last.heads[0].id.hex, make_id(STORE_SCAN_MAX).hex);
    assert_false(last.more);
}

static void a_scan_that_fails_leaves_the_page_alone(void **state UNUSED)
{
    struct page page = PAGE_INIT;
    struct error error = ERROR_INIT;
    const struct query query = {.index = "by_number", .limit = PAGE};
    add_record("x", 1, 1);
    engine.fails = true;
    assert_false(list(&query, &page, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_int_equal(page.count, 0);
    assert_null(page.heads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cursors_come_back_as_they_went_for_every_type),
        cmocka_unit_test(cursors_of_other_lists_are_refused),
        cmocka_unit_test(cursors_by_id_are_of_no_index_and_the_other_way_round),
        cmocka_unit_test(cursors_that_are_cut_or_longer_are_refused),
        cmocka_unit_test(cursors_with_anything_wrong_inside_are_refused),
        cmocka_unit_test(cursors_with_texts_that_do_not_fit_are_refused),
        cmocka_unit_test(conditions_on_the_first_fields_bound_the_index_and_others_filter),
        cmocka_unit_test(bounds_behind_a_field_that_is_not_fixed_filter),
        cmocka_unit_test(the_zero_of_an_optional_field_is_its_absence),
        cmocka_unit_test_setup(what_no_list_can_have_is_refused, setup),
        cmocka_unit_test_setup(pages_bring_each_record_once_and_in_order, setup),
        cmocka_unit_test_setup(a_cursor_of_other_bounds_leads_to_what_is_behind_it, setup),
        cmocka_unit_test_setup(a_page_has_more_only_if_there_is_a_record_behind_it, setup),
        cmocka_unit_test_setup(a_filtered_page_looks_for_one_more_that_passes, setup),
        cmocka_unit_test_setup(what_was_not_changed_since_counts_as_looked_at, setup),
        cmocka_unit_test_setup(a_filtered_page_ends_where_it_may_look_no_further, setup),
        cmocka_unit_test_setup(a_scan_that_fails_leaves_the_page_alone, setup),
    };
    return cmocka_run_group_tests(tests, setup_group, NULL);
}
