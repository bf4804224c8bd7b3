/* SPDX-License-Identifier: Apache-2.0
 * The contract of lists, for every driver: operators, orders, filters, and walks from page to page. */
#include "tests/contract/store_fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    WALK_MAX = 4096, /* records that a walk may see */
};

/* ---- walks ---- */

struct walk {
    size_t count;
    size_t pages;
    uint64_t ids[WALK_MAX];
};

/* A clock that only the test moves. */
static int64_t fixed_now(void *context)
{
    return atomic_load((atomic_int_fast64_t *)context);
}

static uint64_t number_of(const struct record *head)
{
    return strtoull(head->id.hex, NULL, 16);
}

static struct page list(struct store *store, const struct query *query)
{
    struct error error = ERROR_INIT;
    struct page page = PAGE_INIT;
    if (!store_list(store, &items, query, &page, &error)) {
        fail_msg("store_list: %s", error.message);
    }
    return page;
}

/* Follows `next` to the end. Whatever has a next one is full, unless it has filters. */
static void walk(struct store *store, struct query query, bool filtered, struct walk *ret_walk)
{
    char after[STORE_CURSOR_MAX] = "";
    *ret_walk = (struct walk){.count = 0};
    bool more = true;
    while (more) {
        query.after = after;
        CLEANUP(page_done) struct page page = list(store, &query);
        assert_true(page.count <= query.limit);
        assert_true(!page.more || filtered || page.count == query.limit);
        assert_true(page.count > 0 || page.more || ret_walk->pages == 0);
        for (size_t i = 0; i < page.count; i++) {
            assert_true(ret_walk->count < WALK_MAX);
            ret_walk->ids[ret_walk->count++] = number_of(&page.heads[i]);
        }
        ret_walk->pages++;
        more = page.more;
        assert_true(!more || strlen(page.next) > 0);
        assert_int_equal(strspn(page.next, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"),
                         strlen(page.next));
        memcpy(after, page.next, sizeof(after));
    }
}

static void assert_walk(struct store *store, const struct query *query, const uint64_t *expected, size_t count)
{
    for (size_t limit = 1; limit <= count + 1; limit++) {
        struct query limited = *query;
        struct walk *seen = xmalloc(sizeof(*seen));
        limited.limit = limit;
        walk(store, limited, false, seen);
        assert_int_equal(seen->count, count);
        assert_memory_equal(seen->ids, expected, count * sizeof(expected[0]));
        assert_int_equal(seen->pages, count == 0 ? 1 : (count + limit - 1) / limit);
        xfree(seen);
    }
}

#define ASSERT_WALK(store, query, ...)                                                                                 \
    assert_walk(store, query, (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* ---- orders and operators ---- */

static void an_empty_collection_is_one_empty_page(void **state)
{
    struct query query = {.index = "by_price", .limit = 10};
    CLEANUP(page_done) struct page page = list(*state, &query);
    assert_int_equal(page.count, 0);
    assert_false(page.more);
    assert_string_equal(page.next, "");
}

static void a_page_carries_heads_and_values(void **state)
{
    struct item item = fixture_item("title", 5);
    fixture_insert(*state, 1, "claim", &item, "event");
    struct query query = {.index = "by_price", .limit = 10};
    CLEANUP(page_done) struct page page = list(*state, &query);
    assert_int_equal(page.count, 1);
    assert_string_equal(page.heads[0].claim, "claim");
    assert_int_equal(page.heads[0].version, 1);
    assert_int_equal(page.heads[0].unconfirmed, 1);
    const struct item *value = page_value(&page, &items, 0);
    assert_string_equal(value->title, "title");
    assert_int_equal(value->price, 5);
}

static void numbers_order_by_value_and_ties_by_id(void **state)
{
    static const int64_t prices[] = {10, 9, 100, -5, 9, 0, 9};
    for (size_t i = 0; i < ARRAY_LENGTH(prices); i++) {
        struct item item = fixture_item("title", prices[i]);
        fixture_insert(*state, i + 1, "", &item, NULL);
    }
    struct query query = {.index = "by_price"};
    ASSERT_WALK(*state, &query, 4, 6, 2, 5, 7, 1, 3);
    query.descending = true;
    ASSERT_WALK(*state, &query, 3, 1, 7, 5, 2, 6, 4);
}

static void texts_order_bytewise(void **state)
{
    static const char *const titles[] = {"b", "a", "B", "ä", "aa", "", "🎫", "a\x01", "Z"};
    for (size_t i = 0; i < ARRAY_LENGTH(titles); i++) {
        struct item item = fixture_item(titles[i], 1);
        fixture_insert(*state, i + 1, "", &item, NULL);
    }
    struct query query = {.index = "by_title"};
    ASSERT_WALK(*state, &query, 6, 3, 9, 2, 8, 5, 1, 4, 7);
    query.descending = true;
    ASSERT_WALK(*state, &query, 7, 4, 1, 5, 8, 2, 9, 3, 6);
}

static void an_index_without_fields_orders_by_id(void **state)
{
    struct item item = fixture_item("title", 1);
    for (uint64_t i = 5; i-- > 0;) {
        fixture_insert(*state, i * 16, "", &item, NULL);
    }
    struct query query = {.index = "by_id"};
    ASSERT_WALK(*state, &query, 0, 16, 32, 48, 64);
    query.descending = true;
    ASSERT_WALK(*state, &query, 64, 48, 32, 16, 0);
}

static void without_an_index_records_come_in_the_order_of_their_ids(void **state)
{
    for (uint64_t i = 5; i-- > 0;) {
        struct item item = fixture_item(i % 2 ? "odd" : "even", (int64_t)(10 - i));
        fixture_insert(*state, i * 16, "", &item, NULL);
        struct record other = fixture_record(i * 16 + 1);
        struct error error = ERROR_INIT;
        assert_int_equal(store_write(*state, &others, 0, &other, &item, NULL, &error), STORE_DONE);
    }
    struct query query = {.index = NULL};
    ASSERT_WALK(*state, &query, 0, 16, 32, 48, 64);
    query.descending = true;
    ASSERT_WALK(*state, &query, 64, 48, 32, 16, 0);
    query.conditions[0] = (struct query_condition){.compare = QUERY_EQUAL, .field = "title", .text = "even"};
    ASSERT_WALK(*state, &query, 64, 32, 0);
    query.conditions[1] = (struct query_condition){.compare = QUERY_AT_LEAST, .field = "price", .number = 7};
    query.descending = false;
    ASSERT_WALK(*state, &query, 0, 32);
}

/* What was written in the moment that is asked for is among it. */
static void records_that_were_not_changed_since_are_left_out(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    atomic_int_fast64_t now = 0;
    struct clock clock = {.now = fixed_now, .monotonic = clock_system.monotonic, .context = &now};
    struct store_config config = {.uri = uri, .collections = fixture_collections, .readers = READERS, .clock = &clock};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    assert_true(store_open(&config, &store, &error));
    for (uint64_t i = 1; i <= 6; i++) {
        struct item item = fixture_item(i % 2 ? "odd" : "even", (int64_t)(10 - i));
        atomic_store(&now, (int64_t)i * 1000);
        fixture_insert(store, i, "", &item, NULL);
    }
    struct record second = fixture_record(2);
    struct item item = fixture_item("even", 5);
    atomic_store(&now, 7000);
    assert_int_equal(fixture_write(store, 1, &second, &item, NULL), STORE_DONE);
    struct query query = {.index = NULL, .changed_since = 4000};
    ASSERT_WALK(store, &query, 2, 4, 5, 6);
    query.changed_since = 4001;
    ASSERT_WALK(store, &query, 2, 5, 6);
    query.descending = true;
    ASSERT_WALK(store, &query, 6, 5, 2);
    query.index = "by_price";
    ASSERT_WALK(store, &query, 5, 2, 6);
    query.conditions[0] = (struct query_condition){.compare = QUERY_CONTAINS, .field = "title", .text = "EV"};
    ASSERT_WALK(store, &query, 2, 6);
    query.conditions[1] = (struct query_condition){.compare = QUERY_AT_LEAST, .field = "price", .number = 5};
    ASSERT_WALK(store, &query, 2);
    query.changed_since = 7001;
    ASSERT_WALK(store, &query, );
    query.changed_since = 7000;
    query.limit = 1;
    CLEANUP(page_done) struct page page = list(store, &query);
    assert_int_equal(page.count, 1);
    assert_int_equal(page.heads[0].changed, 7000);
    store_close(&store);
}

static void absent_values_come_first(void **state)
{
    static const uint64_t orders[] = {0, 5, 0, 3, 5, 0};
    for (size_t i = 0; i < ARRAY_LENGTH(orders); i++) {
        struct item item = fixture_item("title", 1);
        item.order = orders[i] ? fixture_id(orders[i]) : (struct id){.hex = ""};
        fixture_insert(*state, i + 1, "", &item, NULL);
    }
    struct query query = {.index = "by_order"};
    ASSERT_WALK(*state, &query, 1, 3, 6, 4, 2, 5);
    query.descending = true;
    ASSERT_WALK(*state, &query, 5, 2, 4, 6, 3, 1);
    query.conditions[0] = (struct query_condition){.compare = QUERY_ABSENT, .field = "order"};
    ASSERT_WALK(*state, &query, 6, 3, 1);
    struct id five = fixture_id(5);
    query.conditions[0] = (struct query_condition){.compare = QUERY_EQUAL, .field = "order", .text = five.hex};
    ASSERT_WALK(*state, &query, 5, 2);
}

static void bounds_are_inclusive_and_leave_out_what_is_absent(void **state)
{
    static const int64_t times[] = {0, 100, 200, 300, 0, 200};
    for (size_t i = 0; i < ARRAY_LENGTH(times); i++) {
        struct item item = fixture_item("title", 1);
        item.expires = times[i];
        fixture_insert(*state, i + 1, "", &item, NULL);
    }
    struct id owner = fixture_id(7);
    struct query query = {.index = "by_owner",
                          .conditions = {{.compare = QUERY_EQUAL, .field = "owner", .text = owner.hex},
                                         {.compare = QUERY_AT_MOST, .field = "expires", .number = 200}}};
    ASSERT_WALK(*state, &query, 2, 3, 6);
    query.descending = true;
    ASSERT_WALK(*state, &query, 6, 3, 2);
    query.conditions[1].compare = QUERY_AT_LEAST;
    ASSERT_WALK(*state, &query, 4, 6, 3);
    query.conditions[2] = (struct query_condition){.compare = QUERY_AT_MOST, .field = "expires", .number = 299};
    ASSERT_WALK(*state, &query, 6, 3);
    query.conditions[3] = (struct query_condition){.compare = QUERY_AT_LEAST, .field = "expires", .number = 201};
    ASSERT_WALK(*state, &query, );
}

static void choices_and_truths_are_found_and_order_by_name(void **state)
{
    static const int32_t states[] = {STATE_SOLD, STATE_OPEN, STATE_HELD, STATE_OPEN};
    for (size_t i = 0; i < ARRAY_LENGTH(states); i++) {
        struct item item = fixture_item("title", 1);
        item.state = states[i];
        item.listed = i % 2 == 0;
        fixture_insert(*state, i + 1, "", &item, NULL);
    }
    struct query query = {.index = "by_state"};
    ASSERT_WALK(*state, &query, 3, 2, 4, 1);
    query.conditions[0] = (struct query_condition){.compare = QUERY_EQUAL, .field = "state", .number = STATE_OPEN};
    ASSERT_WALK(*state, &query, 2, 4);
    query = (struct query){
        .index = "by_price", .limit = 10, .conditions = {{.compare = QUERY_EQUAL, .field = "listed", .number = 1}}};
    CLEANUP(page_done) struct page page = list(*state, &query);
    assert_int_equal(page.count, 2);
    assert_int_equal(number_of(&page.heads[0]), 1);
    assert_int_equal(number_of(&page.heads[1]), 3);
    assert_false(page.more);
}

static void a_filter_finds_text_in_any_case(void **state)
{
    static const char *const titles[] = {"Grüße", "GRÜSSE, GRÜẞE", "nothing", "xgrüßex"};
    for (size_t i = 0; i < ARRAY_LENGTH(titles); i++) {
        struct item item = fixture_item(titles[i], (int64_t)i);
        fixture_insert(*state, i + 1, "", &item, NULL);
    }
    struct query query = {
        .index = "by_price", .limit = 2, .conditions = {{.compare = QUERY_CONTAINS, .field = "title", .text = "GRÜ"}}};
    CLEANUP(page_done) struct page page = list(*state, &query);
    assert_int_equal(page.count, 2);
    assert_true(page.more);
    query.after = page.next;
    CLEANUP(page_done) struct page last = list(*state, &query);
    assert_int_equal(last.count, 1);
    assert_int_equal(number_of(&last.heads[0]), 4);
    assert_false(last.more);
    query.after = NULL;
    query.limit = 3;
    CLEANUP(page_done) struct page whole = list(*state, &query);
    assert_int_equal(whole.count, 3);
    assert_false(whole.more); /* what follows does not pass: a full page does not promise an empty one */
}

/* ---- cursors ---- */

static void assert_not_a_place(struct store *store, const struct query *query)
{
    struct error error = ERROR_INIT;
    struct page page = PAGE_INIT;
    assert_false(store_list(store, &items, query, &page, &error));
    assert_int_equal(error.code, ERROR_INVALID);
    assert_int_equal(page.count, 0);
}

static void a_cursor_that_is_none_is_refused(void **state)
{
    static const char *const wrong[] = {"x", "AAAA", "!", "=", "YnlfcHJpY2U", "YnlfcHJpY2UA", "a b"};
    struct query query = {.index = "by_price", .limit = 10};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        query.after = wrong[i];
        assert_not_a_place(*state, &query);
    }
    CLEANUP(free_pointer) char *lengthy = xmalloc(STORE_CURSOR_MAX + 1);
    memset(lengthy, 'A', STORE_CURSOR_MAX);
    lengthy[STORE_CURSOR_MAX] = '\0';
    query.after = lengthy;
    assert_not_a_place(*state, &query);
}

static void a_cursor_of_another_list_is_refused(void **state)
{
    struct item item = fixture_item("title", 5);
    fixture_insert(*state, 1, "", &item, NULL);
    fixture_insert(*state, 2, "", &item, NULL);
    struct query query = {.index = "by_price", .limit = 1};
    CLEANUP(page_done) struct page page = list(*state, &query);
    assert_true(page.more);
    query.index = "by_title";
    query.after = page.next;
    assert_not_a_place(*state, &query);
    query.index = "by_price";
    query.conditions[0] = (struct query_condition){.compare = QUERY_EQUAL, .field = "price", .number = 5};
    assert_not_a_place(*state, &query);
}

static void a_cursor_by_id_and_one_of_an_index_are_not_confused(void **state)
{
    struct item item = fixture_item("title", 5);
    fixture_insert(*state, 1, "", &item, NULL);
    fixture_insert(*state, 2, "", &item, NULL);
    struct query query = {.index = NULL, .limit = 1};
    CLEANUP(page_done) struct page by_id = list(*state, &query);
    assert_true(by_id.more);
    for (const struct index *index = items.indexes; index->name; index++) {
        query = (struct query){.index = index->name, .limit = 1};
        CLEANUP(page_done) struct page page = list(*state, &query);
        assert_true(page.more);
        query.after = by_id.next;
        assert_not_a_place(*state, &query);
        query.index = NULL;
        query.after = page.next;
        assert_not_a_place(*state, &query);
    }
}

/* A client may take the bounds of one list and the place of another: what it gets lies within the bounds. */
static void a_cursor_does_not_lead_out_of_the_bounds(void **state)
{
    static const int64_t prices[] = {1, 5, 9, 9, 9};
    for (size_t i = 0; i < ARRAY_LENGTH(prices); i++) {
        struct item item = fixture_item("title", prices[i]);
        fixture_insert(*state, i + 1, "", &item, NULL);
    }
    struct query query = {.index = "by_price", .limit = 3};
    CLEANUP(page_done) struct page third = list(*state, &query);
    query.limit = 10;
    query.after = third.next;
    query.conditions[0] = (struct query_condition){.compare = QUERY_AT_MOST, .field = "price", .number = 5};
    CLEANUP(page_done) struct page none = list(*state, &query);
    assert_int_equal(none.count, 0);
    query.descending = true;
    CLEANUP(page_done) struct page below = list(*state, &query);
    assert_int_equal(below.count, 2);
    assert_int_equal(number_of(&below.heads[0]), 2);
    query.conditions[0] = (struct query_condition){.compare = QUERY_AT_LEAST, .field = "price", .number = 10};
    CLEANUP(page_done) struct page above = list(*state, &query);
    assert_int_equal(above.count, 0);
}

/* Whatever a client makes of a cursor, it gets a page or ERROR_INVALID. */
static void a_damaged_cursor_does_no_harm(void **state)
{
    for (uint64_t i = 1; i <= 3; i++) {
        struct item item = fixture_item("title", 5);
        item.grade = i % 2 ? GRADE_GOLD : GRADE_NONE;
        item.expires = (int64_t)i;
        fixture_insert(*state, i, "", &item, NULL);
    }
    struct query query = {.index = "by_all", .limit = 1, .descending = true};
    CLEANUP(page_done) struct page page = list(*state, &query);
    char *data = NULL;
    size_t length = 0;
    assert_true(text_from_base64(page.next, &data, &length));
    size_t refused = 0;
    for (size_t i = 0; i < length * 256; i++) {
        CLEANUP(free_pointer) char *copy = xmemdup(data, length);
        copy[i / 256] = (char)(i % 256);
        CLEANUP(free_pointer) char *text = text_to_base64url(copy, length);
        query.after = text;
        struct error error = ERROR_INIT;
        CLEANUP(page_done) struct page got = PAGE_INIT;
        bool listed = store_list(*state, &items, &query, &got, &error);
        assert_true(listed || error.code == ERROR_INVALID);
        refused += !listed;
    }
    xfree(data);
    assert_true(refused > length * 100);
}

/* ---- against a model ---- */

struct model {
    uint64_t number;
    int64_t changed;
    struct item item;
};

struct model_value {
    bool present;
    const char *text; /* NULL: a number */
    int64_t number;
};

static const char *const state_names[] = {"open", "held", "sold"};
static const char *const grade_names[] = {"", "gold", "silver"};

static struct model_value text_value(const char *text, bool required)
{
    return (struct model_value){.present = required || text[0] != '\0', .text = text};
}

static struct model_value value_of(const struct item *item, const char *field)
{
    if (text_equal(field, "title")) {
        return text_value(item->title, true);
    }
    if (text_equal(field, "price")) {
        return (struct model_value){.present = true, .number = item->price};
    }
    if (text_equal(field, "owner")) {
        return text_value(item->owner.hex, true);
    }
    if (text_equal(field, "state")) {
        return text_value(state_names[item->state], true);
    }
    if (text_equal(field, "listed")) {
        return (struct model_value){.present = true, .number = item->listed};
    }
    if (text_equal(field, "note")) {
        return text_value(item->note, false);
    }
    if (text_equal(field, "order")) {
        return text_value(item->order.hex, false);
    }
    if (text_equal(field, "grade")) {
        return text_value(grade_names[item->grade], false);
    }
    if (text_equal(field, "place.town")) {
        return text_value(item->place.town, false);
    }
    bool expires = text_equal(field, "expires");
    int64_t number = expires ? item->expires : item->place.row;
    return (struct model_value){.present = number != 0, .number = number};
}

static int compare_values(struct model_value a, struct model_value b)
{
    if (!a.present || !b.present) {
        return (int)a.present - (int)b.present;
    }
    return a.text ? strcmp(a.text, b.text) : (a.number > b.number) - (a.number < b.number);
}

static const struct index *find_index(const char *name)
{
    for (const struct index *index = items.indexes; index->name; index++) {
        if (text_equal(index->name, name)) {
            return index;
        }
    }
    return NULL;
}

static bool passes(const struct item *item, const struct query_condition *condition)
{
    struct model_value value = value_of(item, condition->field);
    bool choice = text_equal(condition->field, "state") || text_equal(condition->field, "grade");
    struct model_value wanted = {.present = true, .text = condition->text, .number = condition->number};
    if (choice) {
        wanted.text = (text_equal(condition->field, "state") ? state_names : grade_names)[condition->number];
    }
    switch (condition->compare) {
    case QUERY_EQUAL:
        return value.present && compare_values(value, wanted) == 0;
    case QUERY_ABSENT:
        return !value.present;
    case QUERY_AT_LEAST:
        return value.present && value.number >= condition->number;
    case QUERY_AT_MOST:
        return value.present && value.number <= condition->number;
    case QUERY_CONTAINS:
        return value.present && text_contains_folded(value.text, condition->text);
    case QUERY_END:
        break;
    }
    return false;
}

static int compare_models(const void *left, const void *right, void *context)
{
    const struct query *query = context;
    const struct model *a = left, *b = right;
    const struct index *index = query->index ? find_index(query->index) : NULL;
    int order = 0;
    for (size_t i = 0; index && index->fields[i] && order == 0; i++) {
        order = compare_values(value_of(&a->item, index->fields[i]), value_of(&b->item, index->fields[i]));
    }
    if (order == 0) {
        order = (a->number > b->number) - (a->number < b->number);
    }
    return query->descending ? -order : order;
}

enum {
    MODEL_COUNT = 200,
    MODEL_QUERIES = 1500,
};

static const char *const texts[] = {"", "a", "b", "B", "ab"};

static struct item random_item(unsigned *seed)
{
    struct item item = fixture_item(texts[rand_r(seed) % 5], rand_r(seed) % 4 - 1);
    item.owner = fixture_id((uint64_t)(rand_r(seed) % 3));
    item.state = rand_r(seed) % 3;
    item.listed = rand_r(seed) % 2;
    text_copy_cut(item.note, sizeof(item.note), texts[rand_r(seed) % 5]);
    int order = rand_r(seed) % 4;
    item.order = order ? fixture_id((uint64_t)order) : (struct id){.hex = ""};
    item.expires = rand_r(seed) % 4;
    item.grade = rand_r(seed) % 3;
    text_copy_cut(item.place.town, sizeof(item.place.town), texts[rand_r(seed) % 5]);
    item.place.row = rand_r(seed) % 3 - 1;
    return item;
}

static struct query_condition random_condition(unsigned *seed, const struct index *index, const struct id *ids)
{
    static const char *const fields[] = {"title", "price",   "owner", "state",      "listed",   "note",
                                         "order", "expires", "grade", "place.town", "place.row"};
    size_t known = 0;
    while (index->fields[known]) {
        known++;
    }
    struct query_condition condition = {.compare = QUERY_EQUAL};
    bool of_index = known > 0 && rand_r(seed) % 4 != 0;
    condition.field = of_index ? index->fields[(size_t)rand_r(seed) % known] : fields[rand_r(seed) % 11];
    const char *field = condition.field;
    bool number = text_equal(field, "price") || text_equal(field, "expires") || text_equal(field, "place.row");
    bool text = text_equal(field, "title") || text_equal(field, "note") || text_equal(field, "place.town");
    int dice = rand_r(seed) % 4;
    if (dice == 0) {
        condition.compare = QUERY_ABSENT;
    } else if (number) {
        static const enum query_operator tests[] = {QUERY_EQUAL, QUERY_AT_LEAST, QUERY_AT_MOST};
        condition.compare = tests[rand_r(seed) % 3];
        condition.number = condition.compare == QUERY_EQUAL && !text_equal(field, "price") ? 1 + rand_r(seed) % 2
                                                                                           : rand_r(seed) % 4 - 1;
    } else if (text) {
        condition.compare = dice == 1 ? QUERY_CONTAINS : QUERY_EQUAL;
        condition.text = texts[1 + rand_r(seed) % 4];
    } else if (text_equal(field, "owner") || text_equal(field, "order")) {
        condition.text = ids[rand_r(seed) % 3 + (text_equal(field, "order") ? 1 : 0)].hex;
    } else {
        condition.number = text_equal(field, "grade") ? 1 + rand_r(seed) % 2 : rand_r(seed) % 2;
    }
    return condition;
}

static void check_against_model(struct store *store, const struct query *query, const struct model *models,
                                struct walk *seen)
{
    struct model *expected = xmalloc(MODEL_COUNT * sizeof(*expected));
    size_t count = 0;
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        bool passed = true;
        for (size_t j = 0; query->conditions[j].compare != QUERY_END; j++) {
            passed = passed && passes(&models[i].item, &query->conditions[j]);
        }
        if (passed && models[i].changed >= query->changed_since) {
            expected[count++] = models[i];
        }
    }
    struct query context = *query;
    qsort_r(expected, count, sizeof(*expected), compare_models, &context);
    walk(store, *query, true, seen);
    assert_int_equal(seen->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(seen->ids[i], expected[i].number);
    }
    /* Far from the scan's bound, a page with filters is full too. */
    assert_int_equal(seen->pages, count == 0 ? 1 : (count + query->limit - 1) / query->limit);
    xfree(expected);
}

static void every_query_finds_what_a_model_finds_in_its_order(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    atomic_int_fast64_t now = 0;
    struct clock clock = {.now = fixed_now, .monotonic = clock_system.monotonic, .context = &now};
    struct store_config config = {.uri = uri, .collections = fixture_collections, .readers = READERS, .clock = &clock};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    assert_true(store_open(&config, &store, &error));
    unsigned seed = 20260131;
    struct id ids[4];
    for (uint64_t i = 0; i < ARRAY_LENGTH(ids); i++) {
        ids[i] = fixture_id(i);
    }
    CLEANUP(free_pointer) struct model *models = xcalloc(MODEL_COUNT, sizeof(*models));
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        models[i] = (struct model){.number = i + 1, .changed = 1 + rand_r(&seed) % 5, .item = random_item(&seed)};
        atomic_store(&now, models[i].changed);
        fixture_insert(store, i + 1, "", &models[i].item, NULL);
    }
    CLEANUP(free_pointer) struct walk *seen = xmalloc(sizeof(*seen));
    size_t queries = fixture_is_slow() ? MODEL_QUERIES / 10 : MODEL_QUERIES;
    for (size_t i = 0; i < queries; i++) {
        const struct index *index = &items.indexes[rand_r(&seed) % 8];
        struct query query = {.index = rand_r(&seed) % 8 ? index->name : NULL,
                              .changed_since = rand_r(&seed) % 4 ? 0 : 1 + rand_r(&seed) % 5,
                              .descending = rand_r(&seed) % 2,
                              .limit = 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 2 ? 5 : 40)};
        size_t conditions = (size_t)rand_r(&seed) % 4;
        for (size_t j = 0; j < conditions; j++) {
            query.conditions[j] = random_condition(&seed, index, ids);
        }
        check_against_model(store, &query, models, seen);
    }
    store_close(&store);
}

/* ---- while others write ---- */

enum {
    INSERTS_MAX = 480, /* of each: they stay between two of the records that are there */
};

struct inserter {
    struct store *store;
    atomic_bool stop;
    atomic_bool failed;
    uint64_t first;
    unsigned seed;
};

/* Between the records that are there already, and some of those that come are changed again. */
static void *insert_in_between(void *context)
{
    struct inserter *inserter = context;
    uint64_t number = inserter->first;
    for (size_t i = 0; i < INSERTS_MAX && !atomic_load(&inserter->stop); i++) {
        struct item item = fixture_item("new", rand_r(&inserter->seed) % 100);
        struct record record = fixture_record(number);
        bool written = fixture_write(inserter->store, 0, &record, &item, NULL) == STORE_DONE;
        item.price = rand_r(&inserter->seed) % 100;
        written = written && fixture_write(inserter->store, 1, &record, &item, NULL) == STORE_DONE;
        if (!written) {
            atomic_store(&inserter->failed, true);
            return NULL;
        }
        number += 2;
    }
    return NULL;
}

static void assert_complete(struct store *store, bool descending)
{
    enum { OLD = 300 };
    struct query query = {.index = "by_price", .descending = descending, .limit = 7};
    bool seen[OLD + 1] = {false};
    char after[STORE_CURSOR_MAX] = "";
    bool more = true;
    int64_t last = descending ? INT64_MAX : INT64_MIN;
    while (more) {
        query.after = after;
        CLEANUP(page_done) struct page page = list(store, &query);
        for (size_t i = 0; i < page.count; i++) {
            const struct item *item = page_value(&page, &items, i);
            assert_true(descending ? item->price <= last : item->price >= last);
            last = item->price;
            uint64_t number = number_of(&page.heads[i]);
            if (number % 1000 == 0) {
                assert_false(seen[number / 1000]);
                seen[number / 1000] = true;
            }
        }
        more = page.more;
        memcpy(after, page.next, sizeof(after));
    }
    for (size_t i = 1; i <= OLD; i++) {
        assert_true(seen[i]);
    }
}

static void a_walk_neither_repeats_nor_misses_what_was_there_all_the_time(void **state)
{
    for (uint64_t i = 1; i <= 300; i++) {
        struct item item = fixture_item("old", (int64_t)(i * 7 % 50));
        fixture_insert(*state, i * 1000, "", &item, NULL);
    }
    struct inserter inserters[2];
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        inserters[i] = (struct inserter){.store = *state, .first = 1001 + i, .seed = (unsigned)i};
        assert_int_equal(pthread_create(&threads[i], NULL, insert_in_between, &inserters[i]), 0);
    }
    for (int round = 0; round < 6; round++) {
        assert_complete(*state, round % 2 == 1);
    }
    for (size_t i = 0; i < 2; i++) {
        atomic_store(&inserters[i].stop, true);
        pthread_join(threads[i], NULL);
        assert_false(atomic_load(&inserters[i].failed));
    }
}

/* ---- the scan's bound ---- */

enum {
    CROWD = STORE_SCAN_MAX + 100,
    CROWD_THREADS = 16,
};

struct crowd {
    struct store *store;
    uint64_t first, last, step;
    bool done;
};

static void *insert_crowd(void *context)
{
    struct crowd *crowd = context;
    for (uint64_t i = crowd->first; i <= crowd->last; i += crowd->step) {
        struct item item = fixture_item(i == 5 || i == CROWD ? "needle" : "hay", 1);
        struct record record = fixture_record(i);
        struct error error = ERROR_INIT;
        if (store_write(crowd->store, &items, 0, &record, &item, NULL, &error) != STORE_DONE) {
            return NULL;
        }
    }
    crowd->done = true;
    return NULL;
}

/* Each `step`th number, up to `last`. */
static void insert_many(struct store *store, uint64_t last, uint64_t step)
{
    struct crowd crowds[CROWD_THREADS];
    pthread_t threads[CROWD_THREADS];
    for (size_t i = 0; i < CROWD_THREADS; i++) {
        crowds[i] = (struct crowd){.store = store, .first = (i + 1) * step, .last = last, .step = CROWD_THREADS * step};
        assert_int_equal(pthread_create(&threads[i], NULL, insert_crowd, &crowds[i]), 0);
    }
    for (size_t i = 0; i < CROWD_THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(crowds[i].done);
    }
}

/* The others insert between them, and behind the last. */
static void a_walk_by_id_is_complete_while_others_insert(void **state)
{
    enum { STEP = 1000 };
    const uint64_t old = fixture_is_slow() ? 300 : 3000;
    insert_many(*state, old * STEP, STEP);
    struct inserter inserters[2];
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        uint64_t first = i == 0 ? STEP + 1 : old * STEP + 1;
        inserters[i] = (struct inserter){.store = *state, .first = first, .seed = (unsigned)i};
        assert_int_equal(pthread_create(&threads[i], NULL, insert_in_between, &inserters[i]), 0);
    }
    static const size_t limits[] = {100, 7, STORE_LIMIT_MAX};
    for (size_t round = 0; round < 2 * ARRAY_LENGTH(limits); round++) {
        struct query query = {.index = NULL, .descending = round % 2 == 1, .limit = limits[round / 2]};
        uint64_t seen = 0, last = query.descending ? UINT64_MAX : 0;
        char after[STORE_CURSOR_MAX] = "";
        for (bool more = true; more;) {
            query.after = after;
            CLEANUP(page_done) struct page page = list(*state, &query);
            for (size_t i = 0; i < page.count; i++) {
                uint64_t number = number_of(&page.heads[i]);
                assert_true(query.descending ? number < last : number > last);
                last = number;
                seen += number % STEP == 0 && number <= old * STEP;
            }
            more = page.more;
            memcpy(after, page.next, sizeof(after));
        }
        assert_int_equal(seen, old);
    }
    for (size_t i = 0; i < 2; i++) {
        atomic_store(&inserters[i].stop, true);
        pthread_join(threads[i], NULL);
        assert_false(atomic_load(&inserters[i].failed));
    }
}

static void a_filter_looks_at_so_many_records_a_page(void **state)
{
    insert_many(*state, CROWD, 1);
    struct query query = {
        .index = "by_id", .limit = 1, .conditions = {{.compare = QUERY_CONTAINS, .field = "title", .text = "NEEDLE"}}};
    CLEANUP(page_done) struct page first = list(*state, &query);
    assert_int_equal(first.count, 1);
    assert_int_equal(number_of(&first.heads[0]), 5);
    assert_true(first.more); /* it does not know: the bound was reached in looking for the next */
    query.after = first.next;
    CLEANUP(page_done) struct page second = list(*state, &query);
    assert_int_equal(second.count, 1);
    assert_int_equal(number_of(&second.heads[0]), CROWD);
    assert_false(second.more);

    query.after = NULL;
    query.conditions[0].text = "nowhere";
    CLEANUP(page_done) struct page none = list(*state, &query);
    assert_int_equal(none.count, 0);
    assert_true(none.more);
    query.after = none.next;
    CLEANUP(page_done) struct page end = list(*state, &query);
    assert_int_equal(end.count, 0);
    assert_false(end.more);

    query = (struct query){.index = NULL, .limit = 1, .changed_since = INT64_MAX};
    CLEANUP(page_done) struct page unchanged = list(*state, &query);
    assert_int_equal(unchanged.count, 0);
    assert_true(unchanged.more);
    query.after = unchanged.next;
    CLEANUP(page_done) struct page last = list(*state, &query);
    assert_int_equal(last.count, 0);
    assert_false(last.more);
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(an_empty_collection_is_one_empty_page),
        WITH_STORE(a_page_carries_heads_and_values),
        WITH_STORE(numbers_order_by_value_and_ties_by_id),
        WITH_STORE(texts_order_bytewise),
        WITH_STORE(an_index_without_fields_orders_by_id),
        WITH_STORE(without_an_index_records_come_in_the_order_of_their_ids),
        cmocka_unit_test(records_that_were_not_changed_since_are_left_out),
        WITH_STORE(absent_values_come_first),
        WITH_STORE(bounds_are_inclusive_and_leave_out_what_is_absent),
        WITH_STORE(choices_and_truths_are_found_and_order_by_name),
        WITH_STORE(a_filter_finds_text_in_any_case),
        WITH_STORE(a_cursor_that_is_none_is_refused),
        WITH_STORE(a_cursor_of_another_list_is_refused),
        WITH_STORE(a_cursor_by_id_and_one_of_an_index_are_not_confused),
        WITH_STORE(a_cursor_does_not_lead_out_of_the_bounds),
        WITH_STORE(a_damaged_cursor_does_no_harm),
        cmocka_unit_test(every_query_finds_what_a_model_finds_in_its_order),
        WITH_STORE(a_walk_neither_repeats_nor_misses_what_was_there_all_the_time),
        WITH_STORE(a_walk_by_id_is_complete_while_others_insert),
        WITH_STORE(a_filter_looks_at_so_many_records_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, fixture_cleanup);
}
