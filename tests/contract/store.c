/* SPDX-License-Identifier: Apache-2.0
 * The contract of the store, for every driver: writes and their conflicts, claims, reads, and the outbox. */
#include "tests/contract/store_fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

/* ---- reading back ---- */

static struct item full_item(void)
{
    struct item item = fixture_item("Grüße, \"Δ\" 🎫 100% _", 123456789012345);
    item.state = STATE_SOLD;
    item.listed = true;
    text_copy_cut(item.note, sizeof(item.note), "a note");
    item.order = fixture_id(99);
    item.expires = 1767225600123;
    item.grade = GRADE_SILVER;
    text_copy_cut(item.place.town, sizeof(item.place.town), "Köln");
    item.place.row = -3;
    return item;
}

static void assert_items_equal(const struct item *a, const struct item *b)
{
    assert_string_equal(a->title, b->title);
    assert_int_equal(a->price, b->price);
    assert_string_equal(a->owner.hex, b->owner.hex);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->listed, b->listed);
    assert_string_equal(a->note, b->note);
    assert_string_equal(a->order.hex, b->order.hex);
    assert_int_equal(a->expires, b->expires);
    assert_int_equal(a->grade, b->grade);
    assert_string_equal(a->place.town, b->place.town);
    assert_int_equal(a->place.row, b->place.row);
}

static struct record get(struct store *store, uint64_t number, struct item *ret_item)
{
    struct error error = ERROR_INIT;
    struct record head = RECORD_INIT;
    struct id id = fixture_id(number);
    assert_true(store_get(store, &items, &id, &head, ret_item, &error));
    return head;
}

static void a_record_is_read_as_it_was_written(void **state)
{
    struct store *store = *state;
    struct item written = full_item(), read = {.price = 5};
    struct record record = fixture_record(1);
    record.epoch = 3;
    text_copy_cut(record.claim, sizeof(record.claim), "mine/1");
    text_copy_cut(written.secret, sizeof(written.secret), "not for the store");
    assert_int_equal(fixture_write(store, 0, &record, &written, NULL), STORE_DONE);
    assert_int_equal(record.unconfirmed, 0);
    struct record head = get(store, 1, &read);
    assert_items_equal(&written, &read);
    assert_string_equal(read.secret, "");
    assert_string_equal(head.id.hex, record.id.hex);
    assert_int_equal(head.version, 1);
    assert_int_equal(head.epoch, 3);
    assert_string_equal(head.claim, "mine/1");
    assert_int_equal(head.unconfirmed, 0);
}

static void absent_fields_stay_absent(void **state)
{
    struct store *store = *state;
    struct item written = fixture_item("", 0), read = full_item();
    fixture_insert(store, 1, "", &written, NULL);
    struct record head = get(store, 1, &read);
    assert_items_equal(&written, &read);
    assert_string_equal(head.claim, "");
}

static void a_record_that_is_not_there_is_not_found(void **state)
{
    struct store *store = *state;
    struct id id = fixture_id(1);
    struct record head = fixture_record(77);
    struct item item = full_item(), before = full_item();
    struct error error = ERROR_INIT;
    assert_false(store_get(store, &items, &id, &head, &item, &error));
    assert_int_equal(error.code, ERROR_NOT_FOUND);
    assert_string_equal(head.id.hex, fixture_id(77).hex);
    assert_items_equal(&item, &before);
    error = ERROR_INIT;
    assert_false(store_get_by_claim(store, &items, "", &head, &item, &error));
    assert_int_equal(error.code, ERROR_NOT_FOUND);
}

static void the_head_alone_can_be_read(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    fixture_insert(store, 1, "", &item, NULL);
    assert_int_equal(get(store, 1, NULL).version, 1);
}

static void collections_are_separate(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct error error = ERROR_INIT;
    struct record record = fixture_record(1);
    fixture_insert(store, 1, "claim", &item, NULL);
    assert_false(store_get(store, &others, &record.id, &record, NULL, &error));
    text_copy_cut(record.claim, sizeof(record.claim), "claim");
    assert_int_equal(store_write(store, &others, 0, &record, &item, NULL, &error), STORE_DONE);
}

/* ---- when it was changed ---- */

/* A clock that only the test moves. */
static int64_t fixed_now(void *context)
{
    return atomic_load((atomic_int_fast64_t *)context);
}

static void a_record_tells_when_it_was_last_written(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    atomic_int_fast64_t now = 1700000000123;
    struct clock clock = {.now = fixed_now, .monotonic = clock_system.monotonic, .context = &now};
    struct store_config config = {.uri = uri, .collections = fixture_collections, .readers = READERS, .clock = &clock};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    assert_true(store_open(&config, &store, &error));
    struct item item = full_item();
    struct record record = fixture_record(1), head = RECORD_INIT;
    fixture_insert(store, 1, "claim", &item, "event");
    atomic_store(&now, 1700000000200);
    fixture_insert(store, 2, "", &item, NULL);
    assert_int_equal(get(store, 1, NULL).changed, 1700000000123);
    assert_int_equal(get(store, 2, NULL).changed, 1700000000200);
    assert_int_equal(fixture_write(store, 0, &record, &item, NULL), STORE_CONFLICT_ID);
    assert_int_equal(fixture_write(store, 7, &record, &item, NULL), STORE_CONFLICT_VERSION);
    assert_int_equal(get(store, 1, NULL).changed, 1700000000123);
    assert_int_equal(fixture_write(store, 1, &record, &item, NULL), STORE_DONE);
    assert_int_equal(get(store, 1, NULL).changed, 1700000000200);
    atomic_store(&now, 1600000000000); /* the clock was set back */
    record.changed = 42;               /* for nothing */
    assert_int_equal(fixture_write(store, 2, &record, &item, "event"), STORE_DONE);
    assert_true(store_get_by_claim(store, &items, "claim", &head, NULL, &error));
    assert_int_equal(head.changed, 1600000000000);
    struct outbox_key key = {.collection = &items, .id = head.id, .version = 1};
    atomic_store(&now, 1700000000300);
    assert_true(store_outbox_remove(store, &key, 1, &error)); /* a confirmation is no change */
    assert_int_equal(get(store, 1, NULL).changed, 1600000000000);
    store_close(&store);
    store = fixture_open(uri);
    assert_non_null(store);
    assert_int_equal(get(store, 1, NULL).changed, 1600000000000);
    int64_t before = clock_now(NULL);
    fixture_insert(store, 3, "", &item, NULL);
    assert_in_range(get(store, 3, NULL).changed, before, clock_now(NULL));
    store_close(&store);
}

/* ---- updates ---- */

static void an_update_replaces_everything_but_the_claim(void **state)
{
    struct store *store = *state;
    struct item first = full_item(), second = fixture_item("other", 2), read;
    struct record record = fixture_record(1);
    fixture_insert(store, 1, "claim", &first, NULL);
    text_copy_cut(record.claim, sizeof(record.claim), "another claim");
    record.epoch = 1;
    assert_int_equal(fixture_write(store, 1, &record, &second, NULL), STORE_DONE);
    assert_string_equal(record.claim, "claim");
    struct record head = get(store, 1, &read);
    assert_int_equal(head.version, 2);
    assert_int_equal(head.epoch, 1);
    assert_string_equal(head.claim, "claim");
    assert_items_equal(&read, &second);
}

static void a_snapshot_may_skip_versions(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct error error = ERROR_INIT;
    struct record record = fixture_record(1);
    record.version = 5;
    assert_int_equal(store_write(store, &items, 0, &record, &item, NULL, &error), STORE_DONE);
    record.version = 9;
    assert_int_equal(store_write(store, &items, 5, &record, &item, NULL, &error), STORE_DONE);
    assert_int_equal(get(store, 1, NULL).version, 9);
}

static void a_snapshot_of_a_later_epoch_may_set_the_version_back(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct error error = ERROR_INIT;
    struct record record = fixture_record(1);
    record.version = 5;
    assert_int_equal(store_write(store, &items, 0, &record, &item, NULL, &error), STORE_DONE);
    record.version = 2;
    record.epoch = 1;
    assert_int_equal(store_write(store, &items, 5, &record, &item, NULL, &error), STORE_DONE);
    assert_int_equal(get(store, 1, NULL).version, 2);
}

static void an_update_of_another_version_conflicts(void **state)
{
    struct store *store = *state;
    struct item item = full_item(), other = fixture_item("other", 2), read;
    struct error error = ERROR_INIT;
    struct record record = fixture_record(1);
    fixture_insert(store, 1, "", &item, NULL);
    record.version = 3;
    record.unconfirmed = 42;
    assert_int_equal(store_write(store, &items, 2, &record, &other, NULL, &error), STORE_CONFLICT_VERSION);
    assert_int_equal(error.code, ERROR_CONFLICT);
    assert_int_equal(record.unconfirmed, 42);
    assert_int_equal(get(store, 1, &read).version, 1);
    assert_items_equal(&read, &item);
}

static void an_update_of_a_record_that_is_not_there_conflicts(void **state)
{
    struct item item = full_item();
    struct record record = fixture_record(1);
    assert_int_equal(fixture_write(*state, 1, &record, &item, "item:updated"), STORE_CONFLICT_VERSION);
}

/* ---- inserts ---- */

static void an_insert_of_an_id_that_is_there_conflicts(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct record record = fixture_record(1);
    fixture_insert(store, 1, "", &item, NULL);
    assert_int_equal(fixture_write(store, 0, &record, &item, "item:created"), STORE_CONFLICT_ID);
    assert_int_equal(get(store, 1, NULL).unconfirmed, 0);
}

static void a_claim_is_held_once(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct error error = ERROR_INIT;
    struct record record = fixture_record(2);
    fixture_insert(store, 1, "a@example.com", &item, NULL);
    text_copy_cut(record.claim, sizeof(record.claim), "a@example.com");
    assert_int_equal(store_write(store, &items, 0, &record, &item, NULL, &error), STORE_CONFLICT_CLAIM);
    assert_int_equal(error.code, ERROR_CONFLICT);
    error = ERROR_INIT;
    assert_false(store_get(store, &items, &record.id, &record, NULL, &error));
    text_copy_cut(record.claim, sizeof(record.claim), "A@example.com");
    assert_int_equal(store_write(store, &items, 0, &record, &item, NULL, &error), STORE_DONE);
}

static void the_holder_of_a_claim_is_found(void **state)
{
    struct store *store = *state;
    struct item item = full_item(), read;
    struct error error = ERROR_INIT;
    struct record head = RECORD_INIT;
    fixture_insert(store, 1, "one", &item, NULL);
    item.price = 2;
    fixture_insert(store, 2, "two", &item, "item:created");
    assert_true(store_get_by_claim(store, &items, "two", &head, &read, &error));
    assert_string_equal(head.id.hex, fixture_id(2).hex);
    assert_int_equal(head.unconfirmed, 1);
    assert_int_equal(read.price, 2);
    assert_false(store_get_by_claim(store, &items, "three", &head, &read, &error));
    assert_int_equal(error.code, ERROR_NOT_FOUND);
}

static void the_longest_claim_is_kept_whole(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct error error = ERROR_INIT;
    struct record record = fixture_record(1), head = RECORD_INIT;
    memset(record.claim, 'c', CLAIM_MAX);
    assert_int_equal(store_write(store, &items, 0, &record, &item, NULL, &error), STORE_DONE);
    assert_true(store_get_by_claim(store, &items, record.claim, &head, NULL, &error));
    assert_string_equal(head.claim, record.claim);
}

static void many_records_have_no_claim(void **state)
{
    struct item item = full_item();
    for (uint64_t i = 1; i <= 3; i++) {
        fixture_insert(*state, i, "", &item, NULL);
    }
}

static void conflicts_are_told_in_the_order_id_claim(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct record record = fixture_record(1);
    fixture_insert(store, 1, "one", &item, NULL);
    fixture_insert(store, 2, "two", &item, NULL);
    text_copy_cut(record.claim, sizeof(record.claim), "one");
    assert_int_equal(fixture_write(store, 0, &record, &item, NULL), STORE_CONFLICT_ID);
    text_copy_cut(record.claim, sizeof(record.claim), "two");
    assert_int_equal(fixture_write(store, 0, &record, &item, NULL), STORE_CONFLICT_ID);
    record.id = fixture_id(3);
    assert_int_equal(fixture_write(store, 0, &record, &item, NULL), STORE_CONFLICT_CLAIM);
}

/* ---- outbox ---- */

static struct outbox_page read_outbox(struct store *store, const struct outbox_query *query)
{
    struct error error = ERROR_INIT;
    struct outbox_page page = OUTBOX_PAGE_INIT;
    if (!store_outbox_read(store, query, &page, &error)) {
        fail_msg("store_outbox_read: %s", error.message);
    }
    return page;
}

static struct outbox_page read_record_outbox(struct store *store, uint64_t number, size_t limit, size_t bytes)
{
    struct outbox_query query = {.collection = &items, .id = fixture_id(number), .limit = limit, .bytes = bytes};
    return read_outbox(store, &query);
}

static void remove_entry(struct store *store, uint64_t number, uint64_t version)
{
    struct error error = ERROR_INIT;
    struct outbox_key key = {.collection = &items, .id = fixture_id(number), .version = version};
    assert_true(store_outbox_remove(store, &key, 1, &error));
}

static void a_write_with_an_event_leaves_it_in_the_outbox(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct record record = fixture_record(1);
    int64_t before = clock_now(NULL);
    assert_int_equal(fixture_write(store, 0, &record, &item, "item:created"), STORE_DONE);
    assert_int_equal(record.unconfirmed, 1);
    CLEANUP(outbox_page_done) struct outbox_page page = read_record_outbox(store, 1, 10, 0);
    assert_int_equal(page.count, 1);
    assert_false(page.more);
    const struct outbox_item *entry = &page.items[0];
    assert_ptr_equal(entry->collection, &items);
    assert_string_equal(entry->id.hex, record.id.hex);
    assert_int_equal(entry->version, 1);
    assert_string_equal(entry->subject, "item:created");
    assert_string_equal(entry->payload, "item:created");
    assert_int_equal(entry->length, strlen("item:created"));
    assert_in_range(entry->created, before, clock_now(NULL));
}

static void a_write_that_conflicts_leaves_no_event(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct record record = fixture_record(1);
    fixture_insert(store, 1, "", &item, NULL);
    assert_int_equal(fixture_write(store, 0, &record, &item, "item:created"), STORE_CONFLICT_ID);
    assert_int_equal(fixture_write(store, 7, &record, &item, "item:updated"), STORE_CONFLICT_VERSION);
    CLEANUP(outbox_page_done) struct outbox_page page = read_record_outbox(store, 1, 10, 0);
    assert_int_equal(page.count, 0);
}

static void the_lowest_unconfirmed_version_is_told(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct record record = fixture_record(1);
    fixture_insert(store, 1, "", &item, NULL);
    assert_int_equal(fixture_write(store, 1, &record, &item, "two"), STORE_DONE);
    assert_int_equal(record.unconfirmed, 2);
    assert_int_equal(fixture_write(store, 2, &record, &item, "three"), STORE_DONE);
    assert_int_equal(record.unconfirmed, 2);
    assert_int_equal(fixture_write(store, 3, &record, &item, NULL), STORE_DONE);
    assert_int_equal(record.unconfirmed, 2);
    assert_int_equal(get(store, 1, NULL).unconfirmed, 2);
    remove_entry(store, 1, 2);
    assert_int_equal(get(store, 1, NULL).unconfirmed, 3);
    remove_entry(store, 1, 3);
    assert_int_equal(get(store, 1, NULL).unconfirmed, 0);
    assert_int_equal(fixture_write(store, 4, &record, &item, NULL), STORE_DONE);
    assert_int_equal(record.unconfirmed, 0);
}

static void the_events_of_a_record_come_lowest_version_first(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct record record = fixture_record(1);
    for (uint64_t version = 0; version < 12; version++) {
        assert_int_equal(fixture_write(store, version, &record, &item, "event"), STORE_DONE);
    }
    fixture_insert(store, 2, "", &item, "of another");
    CLEANUP(outbox_page_done) struct outbox_page some = read_record_outbox(store, 1, 10, 0);
    assert_int_equal(some.count, 10);
    assert_true(some.more);
    for (size_t i = 0; i < some.count; i++) {
        assert_int_equal(some.items[i].version, i + 1);
    }
    CLEANUP(outbox_page_done) struct outbox_page all = read_record_outbox(store, 1, 12, 0);
    assert_int_equal(all.count, 12);
    assert_false(all.more);
}

static void a_page_of_the_outbox_is_bounded_in_bytes(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct record record = fixture_record(1);
    for (uint64_t version = 0; version < 4; version++) {
        assert_int_equal(fixture_write(store, version, &record, &item, "0123456789"), STORE_DONE);
    }
    CLEANUP(outbox_page_done) struct outbox_page one = read_record_outbox(store, 1, 10, 5);
    assert_int_equal(one.count, 1);
    assert_true(one.more);
    CLEANUP(outbox_page_done) struct outbox_page two = read_record_outbox(store, 1, 10, 29);
    assert_int_equal(two.count, 2);
    assert_true(two.more);
    CLEANUP(outbox_page_done) struct outbox_page four = read_record_outbox(store, 1, 10, 40);
    assert_int_equal(four.count, 4);
    assert_false(four.more);
}

static void what_is_due_is_the_lowest_entry_of_each_record_oldest_first(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    atomic_int_fast64_t now = 1000;
    struct clock clock = {.now = fixed_now, .monotonic = clock_system.monotonic, .context = &now};
    struct store_config config = {.uri = uri, .collections = fixture_collections, .readers = READERS, .clock = &clock};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    assert_true(store_open(&config, &store, &error));
    struct item item = full_item();
    struct record two = fixture_record(2), one = fixture_record(1), other = fixture_record(9);
    assert_int_equal(fixture_write(store, 0, &two, &item, "two/1"), STORE_DONE);
    atomic_store(&now, 2000);
    assert_int_equal(fixture_write(store, 0, &one, &item, "one/1"), STORE_DONE);
    assert_int_equal(fixture_write(store, 1, &two, &item, "two/2"), STORE_DONE);
    atomic_store(&now, 1500); /* the clock was set back: two/3 is created before two/2 */
    assert_int_equal(fixture_write(store, 2, &two, &item, "two/3"), STORE_DONE);
    atomic_store(&now, 3000);
    struct outbox_entry entry = {.subject = "other/1", .payload = "{}", .length = 2};
    assert_int_equal(store_write(store, &others, 0, &other, &item, &entry, &error), STORE_DONE);

    struct outbox_query query = {.created_until = 999, .limit = 10};
    CLEANUP(outbox_page_done) struct outbox_page none = read_outbox(store, &query);
    assert_int_equal(none.count, 0);
    query.created_until = 2000;
    CLEANUP(outbox_page_done) struct outbox_page due = read_outbox(store, &query);
    assert_int_equal(due.count, 2);
    assert_false(due.more);
    assert_string_equal(due.items[0].subject, "two/1");
    assert_string_equal(due.items[1].subject, "one/1");
    remove_entry(store, 2, 1);
    query.created_until = 1999;
    CLEANUP(outbox_page_done) struct outbox_page later = read_outbox(store, &query);
    assert_int_equal(later.count, 0); /* two/2 is the lowest, and two/3 has to wait for it */
    query.created_until = 0;
    query.created_from = 2000;
    CLEANUP(outbox_page_done) struct outbox_page future = read_outbox(store, &query);
    assert_int_equal(future.count, 3);
    assert_string_equal(future.items[0].subject, "one/1");
    assert_string_equal(future.items[1].subject, "two/2");
    query.created_from = 2001;
    CLEANUP(outbox_page_done) struct outbox_page far = read_outbox(store, &query);
    assert_int_equal(far.count, 1);
    assert_ptr_equal(far.items[0].collection, &others);
    query.created_from = 0;
    query.created_until = 3000;
    query.limit = 2;
    CLEANUP(outbox_page_done) struct outbox_page first = read_outbox(store, &query);
    assert_int_equal(first.count, 2);
    assert_true(first.more);
    query.limit = 3;
    CLEANUP(outbox_page_done) struct outbox_page all = read_outbox(store, &query);
    assert_int_equal(all.count, 3);
    assert_false(all.more);
    assert_ptr_equal(all.items[2].collection, &others);
    uint64_t count = 0;
    int64_t oldest = 0;
    assert_true(store_outbox_count(store, &count, &oldest, &error));
    assert_int_equal(count, 4);
    assert_int_equal(oldest, 1500);
    store_close(&store);
}

static void exactly_what_is_named_is_removed(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct error error = ERROR_INIT;
    struct record record = fixture_record(1);
    for (uint64_t version = 0; version < 4; version++) {
        assert_int_equal(fixture_write(store, version, &record, &item, "event"), STORE_DONE);
    }
    struct id one = fixture_id(1), two = fixture_id(2);
    struct outbox_key keys[] = {
        {.collection = &items, .id = one, .version = 2},  {.collection = &items, .id = one, .version = 4},
        {.collection = &items, .id = one, .version = 99}, {.collection = &items, .id = two, .version = 1},
        {.collection = &others, .id = one, .version = 1},
    };
    assert_true(store_outbox_remove(store, keys, ARRAY_LENGTH(keys), &error));
    assert_true(store_outbox_remove(store, keys, ARRAY_LENGTH(keys), &error));
    assert_true(store_outbox_remove(store, NULL, 0, &error));
    CLEANUP(outbox_page_done) struct outbox_page page = read_record_outbox(store, 1, 10, 0);
    assert_int_equal(page.count, 2);
    assert_int_equal(page.items[0].version, 1);
    assert_int_equal(page.items[1].version, 3);
}

static void an_empty_outbox_counts_nothing(void **state)
{
    struct error error = ERROR_INIT;
    uint64_t count = 7;
    int64_t oldest = 7;
    assert_true(store_outbox_count(*state, &count, &oldest, &error));
    assert_int_equal(count, 0);
    assert_int_equal(oldest, 0);
}

static void the_outbox_of_a_record_is_bounded(void **state)
{
    struct store *store = *state;
    struct item item = full_item(), read;
    struct error error = ERROR_INIT;
    struct record record = fixture_record(1);
    for (uint64_t version = 0; version < STORE_OUTBOX_MAX; version++) {
        assert_int_equal(fixture_write(store, version, &record, &item, "event"), STORE_DONE);
    }
    item.price = 1;
    record.version = STORE_OUTBOX_MAX + 1;
    struct outbox_entry entry = {.subject = "event", .payload = "{}", .length = 2};
    assert_int_equal(store_write(store, &items, STORE_OUTBOX_MAX, &record, &item, &entry, &error), STORE_OUTBOX_FULL);
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_int_equal(get(store, 1, &read).version, STORE_OUTBOX_MAX);
    assert_int_not_equal(read.price, 1);
    /* A conflict is told first; writes without an event, and of other records, are not held up. */
    assert_int_equal(store_write(store, &items, 5, &record, &item, &entry, &error), STORE_CONFLICT_VERSION);
    fixture_insert(store, 2, "", &item, "event");
    assert_int_equal(fixture_write(store, STORE_OUTBOX_MAX, &record, &item, NULL), STORE_DONE);
    remove_entry(store, 1, 500);
    assert_int_equal(fixture_write(store, STORE_OUTBOX_MAX + 1, &record, &item, "event"), STORE_DONE);
}

static void an_event_has_a_largest_size(void **state)
{
    struct store *store = *state;
    struct item item = full_item();
    struct error error = ERROR_INIT;
    struct record record = fixture_record(1);
    CLEANUP(free_pointer) char *payload = xmalloc(STORE_EVENT_MAX + 2);
    memset(payload, 'x', STORE_EVENT_MAX + 1);
    payload[STORE_EVENT_MAX + 1] = '\0';
    struct outbox_entry entry = {.subject = "event", .payload = payload, .length = STORE_EVENT_MAX + 1};
    assert_int_equal(store_write(store, &items, 0, &record, &item, &entry, &error), STORE_UNAVAILABLE);
    assert_int_equal(error.code, ERROR_INVALID);
    entry.length = STORE_EVENT_MAX;
    assert_int_equal(store_write(store, &items, 0, &record, &item, &entry, &error), STORE_DONE);
    CLEANUP(outbox_page_done) struct outbox_page page = read_record_outbox(store, 1, 1, 0);
    assert_int_equal(page.count, 1);
    assert_int_equal(page.items[0].length, STORE_EVENT_MAX);
    assert_int_equal(strlen(page.items[0].payload), STORE_EVENT_MAX);
    CLEANUP(free_pointer) char *subject = xstrndup(payload, STORE_SUBJECT_MAX);
    entry = (struct outbox_entry){.subject = subject, .payload = "{}", .length = 2};
    record.version = 2;
    error = ERROR_INIT;
    assert_int_equal(store_write(store, &items, 1, &record, &item, &entry, &error), STORE_UNAVAILABLE);
    assert_int_equal(error.code, ERROR_INVALID);
}

/* ---- threads ---- */

struct racer {
    struct store *store;
    pthread_barrier_t *barrier;
    uint64_t number;
    enum store_result results[20];
};

static void *race_for_claims(void *context)
{
    struct racer *racer = context;
    struct item item = fixture_item("raced", 1);
    for (size_t round = 0; round < ARRAY_LENGTH(racer->results); round++) {
        struct error error = ERROR_INIT;
        struct record record = fixture_record(1 + round * 100 + racer->number);
        CLEANUP(free_pointer) char *claim = xasprintf("claim %zu", round);
        text_copy_cut(record.claim, sizeof(record.claim), claim);
        pthread_barrier_wait(racer->barrier);
        racer->results[round] = store_write(racer->store, &items, 0, &record, &item, NULL, &error);
    }
    return NULL;
}

static void of_many_threads_exactly_one_gets_a_claim(void **state)
{
    enum { THREADS = 16 };
    pthread_barrier_t barrier;
    pthread_t threads[THREADS];
    struct racer racers[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (size_t i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){.store = *state, .barrier = &barrier, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, race_for_claims, &racers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
    for (size_t round = 0; round < ARRAY_LENGTH(racers[0].results); round++) {
        size_t winners = 0, winner = 0;
        for (size_t i = 0; i < THREADS; i++) {
            bool won = racers[i].results[round] == STORE_DONE;
            assert_true(won || racers[i].results[round] == STORE_CONFLICT_CLAIM);
            winner = won ? i : winner;
            winners += won;
        }
        assert_int_equal(winners, 1);
        struct error error = ERROR_INIT;
        struct record head = RECORD_INIT;
        CLEANUP(free_pointer) char *claim = xasprintf("claim %zu", round);
        assert_true(store_get_by_claim(*state, &items, claim, &head, NULL, &error));
        assert_string_equal(head.id.hex, fixture_id(1 + round * 100 + winner).hex);
    }
}

struct reader {
    struct store *store;
    uint64_t number;
    bool done;
};

static void *write_and_read_back(void *context)
{
    struct reader *reader = context;
    struct item item = fixture_item("own", 0), read = {.price = -1};
    struct record record = fixture_record(reader->number), head = RECORD_INIT;
    struct error error = ERROR_INIT;
    for (uint64_t version = 0; version < 40; version++) {
        item.price = (int64_t)version;
        if (fixture_write(reader->store, version, &record, &item, "event") != STORE_DONE ||
            !store_get(reader->store, &items, &record.id, &head, &read, &error) || head.version != version + 1 ||
            read.price != item.price) {
            return NULL;
        }
    }
    reader->done = true;
    return NULL;
}

static void a_read_sees_every_write_that_returned(void **state)
{
    enum { THREADS = 16 };
    pthread_t threads[THREADS];
    struct reader readers[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        readers[i] = (struct reader){.store = *state, .number = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, write_and_read_back, &readers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(readers[i].done);
    }
}

/* ---- the store itself ---- */

static void a_store_that_works_answers_pings(void **state)
{
    struct error error = ERROR_INIT;
    for (int i = 0; i < 3; i++) {
        assert_true(store_ping(*state, &error));
    }
}

static void what_was_written_is_there_after_reopening(void **state UNUSED)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    struct store *store = fixture_open(uri);
    assert_non_null(store);
    struct item item = full_item(), read;
    fixture_insert(store, 1, "claim", &item, "event");
    store_close(&store);
    assert_null(store);
    store = fixture_open(uri);
    assert_non_null(store);
    assert_int_equal(get(store, 1, &read).unconfirmed, 1);
    assert_items_equal(&read, &item);
    store_close(&store);
    store_close(&store);
}

static void a_uri_that_is_none_is_refused(void **state UNUSED)
{
    static const char *const wrong[] = {"", "sqlite", "sqlite:", "file:x", "sqlite:dir/", "http://x"};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        assert_false(store_uri_valid(wrong[i]));
        struct store_config config = {.uri = wrong[i], .collections = fixture_collections, .readers = 1};
        struct store *store = NULL;
        struct error error = ERROR_INIT;
        assert_false(store_open(&config, &store, &error));
        assert_int_equal(error.code, ERROR_INVALID);
        assert_null(store);
    }
    assert_false(store_uri_valid(NULL));
    CLEANUP(free_pointer) char *uri = fixture_uri();
    assert_true(store_uri_valid(uri));
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_record_is_read_as_it_was_written),
        WITH_STORE(absent_fields_stay_absent),
        WITH_STORE(a_record_that_is_not_there_is_not_found),
        WITH_STORE(the_head_alone_can_be_read),
        WITH_STORE(collections_are_separate),
        cmocka_unit_test(a_record_tells_when_it_was_last_written),
        WITH_STORE(an_update_replaces_everything_but_the_claim),
        WITH_STORE(a_snapshot_may_skip_versions),
        WITH_STORE(a_snapshot_of_a_later_epoch_may_set_the_version_back),
        WITH_STORE(an_update_of_another_version_conflicts),
        WITH_STORE(an_update_of_a_record_that_is_not_there_conflicts),
        WITH_STORE(an_insert_of_an_id_that_is_there_conflicts),
        WITH_STORE(a_claim_is_held_once),
        WITH_STORE(the_holder_of_a_claim_is_found),
        WITH_STORE(the_longest_claim_is_kept_whole),
        WITH_STORE(many_records_have_no_claim),
        WITH_STORE(conflicts_are_told_in_the_order_id_claim),
        WITH_STORE(a_write_with_an_event_leaves_it_in_the_outbox),
        WITH_STORE(a_write_that_conflicts_leaves_no_event),
        WITH_STORE(the_lowest_unconfirmed_version_is_told),
        WITH_STORE(the_events_of_a_record_come_lowest_version_first),
        WITH_STORE(a_page_of_the_outbox_is_bounded_in_bytes),
        cmocka_unit_test(what_is_due_is_the_lowest_entry_of_each_record_oldest_first),
        WITH_STORE(exactly_what_is_named_is_removed),
        WITH_STORE(an_empty_outbox_counts_nothing),
        WITH_STORE(the_outbox_of_a_record_is_bounded),
        WITH_STORE(an_event_has_a_largest_size),
        WITH_STORE(of_many_threads_exactly_one_gets_a_claim),
        WITH_STORE(a_read_sees_every_write_that_returned),
        WITH_STORE(a_store_that_works_answers_pings),
        cmocka_unit_test(what_was_written_is_there_after_reopening),
        cmocka_unit_test(a_uri_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, fixture_cleanup);
}
