/* SPDX-License-Identifier: Apache-2.0
 * Tests of publishing everything again: the store and the bus are made here, which fail now and then, the bus with a
 * thread of its own. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/republish.h"

enum {
    RECORDS = 1000,
    NETWORK_MAX = 64,
    EPOCH = 7,
    FAST = REPUBLISH_RATE_MAX,
    IDLE_US = 100,
};

static const struct collection tickets = {.name = "tickets", .table = &ticket_table};
static const struct collection users = {.name = "users", .table = &order_table}; /* that nobody publishes here */
static const struct collection *const collections[] = {&users, &tickets, NULL};

static struct {
    pthread_mutex_t lock;
    unsigned random;
    bool fails; /* the store and the bus, now and then */
    bool is_up;
    bool is_closing;
    unsigned stored[RECORDS + 1]; /* snapshots of each record; the last one: of one that is not there */
    char last[1024];
    struct {
        unsigned record;
        bus_confirmed *confirmed;
        void *context;
    } network[NETWORK_MAX];
    size_t network_count, told;
    uint64_t stop_after; /* so many are confirmed; 0: never */
    pthread_t thread;
} world;

static bool chance(unsigned one_in)
{
    world.random = world.random * 1103515245 + 12345;
    return world.fails && (world.random >> 16) % one_in == 0;
}

static struct id make_id(unsigned number)
{
    struct id id;
    snprintf(id.hex, sizeof(id.hex), "%024x", number);
    return id;
}

static void make_record(unsigned number, struct record *ret_head, struct ticket *ret_ticket)
{
    *ret_head = (struct record){.id = make_id(number), .version = number + 1};
    *ret_ticket = (struct ticket){.price = 100, .user_id = make_id(1), .created_at = 1, .updated_at = 1};
    text_copy_cut(ret_ticket->title, sizeof(ret_ticket->title), "Concert");
}

/* ---- the store that is made here ---- */

bool store_get(struct store *store UNUSED, const struct collection *collection, const struct id *id,
               struct record *ret_head, void *ret_value, struct error *error)
{
    assert_ptr_equal(collection, &tickets);
    pthread_mutex_lock(&world.lock);
    bool fails = chance(50);
    pthread_mutex_unlock(&world.lock);
    unsigned number = (unsigned)strtoul(id->hex, NULL, 16);
    if (fails) {
        return error_set(error, ERROR_UNAVAILABLE, "it fails on purpose");
    }
    if (number >= RECORDS) {
        return error_set(error, ERROR_NOT_FOUND, "there is none");
    }
    make_record(number, ret_head, ret_value);
    return true;
}

bool store_list(struct store *store UNUSED, const struct collection *collection, const struct query *query,
                struct page *ret_page, struct error *error)
{
    assert_ptr_equal(collection, &tickets);
    unsigned from = (unsigned)strtoul(query->after, NULL, 10);
    pthread_mutex_lock(&world.lock);
    bool fails = chance(50);
    pthread_mutex_unlock(&world.lock);
    if (fails) {
        return error_set(error, ERROR_UNAVAILABLE, "it fails on purpose");
    }
    ret_page->heads = xcalloc(query->limit, sizeof(struct record));
    struct ticket *values = xcalloc(query->limit, sizeof(struct ticket));
    for (; ret_page->count < query->limit && from + ret_page->count < RECORDS; ret_page->count++) {
        make_record((unsigned)(from + ret_page->count), &ret_page->heads[ret_page->count], &values[ret_page->count]);
    }
    ret_page->values = values;
    ret_page->more = from + ret_page->count < RECORDS;
    snprintf(ret_page->next, sizeof(ret_page->next), "%u", (unsigned)(from + ret_page->count));
    return true;
}

void page_done(struct page *page)
{
    xfree(page->heads);
    xfree(page->values);
    *page = PAGE_INIT;
}

const void *page_value(const struct page *page, const struct collection *collection UNUSED, size_t index)
{
    return (const struct ticket *)page->values + index;
}

/* ---- the bus that is made here ---- */

enum bus_state bus_state(const struct bus *bus UNUSED)
{
    pthread_mutex_lock(&world.lock);
    enum bus_state state = world.is_up ? BUS_UP : BUS_CONNECTING;
    pthread_mutex_unlock(&world.lock);
    return state;
}

bool bus_publish(struct bus *bus UNUSED, const char *subject, const char *message_id, const void *data, size_t length,
                 bus_confirmed *confirmed, void *context)
{
    unsigned record = 0;
    char text[1024];
    assert_string_equal(subject, "ticket:snapshot");
    assert_null(message_id);
    assert_true(length < sizeof(text));
    memcpy(text, data, length);
    text[length] = '\0';
    assert_int_equal(sscanf(text, "{\"id\":\"%x\"", &record), 1);
    assert_non_null(strstr(text, "\"epoch\":7"));
    pthread_mutex_lock(&world.lock);
    bool accepted = world.is_up && world.network_count < NETWORK_MAX && !chance(200);
    if (accepted) {
        world.network[world.network_count].record = record < RECORDS ? record : RECORDS;
        world.network[world.network_count].confirmed = confirmed;
        world.network[world.network_count++].context = context;
        text_copy_cut(world.last, sizeof(world.last), text);
    }
    pthread_mutex_unlock(&world.lock);
    return accepted;
}

/* Loses some. What is under way when it closes is lost, too. */
static void *run_bus(void *context UNUSED)
{
    pthread_mutex_lock(&world.lock);
    while (!world.is_closing || world.network_count > 0) {
        if (world.network_count == 0) {
            pthread_mutex_unlock(&world.lock);
            usleep(IDLE_US);
            pthread_mutex_lock(&world.lock);
            continue;
        }
        unsigned record = world.network[0].record;
        bus_confirmed *confirmed = world.network[0].confirmed;
        void *of = world.network[0].context;
        world.network[0] = world.network[--world.network_count];
        bool is_stored = !world.is_closing && !chance(10);
        world.stored[record] += is_stored ? 1 : 0;
        pthread_mutex_unlock(&world.lock);
        confirmed(is_stored, of);
        pthread_mutex_lock(&world.lock);
    }
    pthread_mutex_unlock(&world.lock);
    return NULL;
}

static int begin(void **state UNUSED)
{
    memset(&world, 0, sizeof(world));
    pthread_mutex_init(&world.lock, NULL);
    world.random = 1;
    world.is_up = true;
    return pthread_create(&world.thread, NULL, run_bus, NULL);
}

static int end(void **state UNUSED)
{
    pthread_mutex_lock(&world.lock);
    world.is_closing = true;
    pthread_mutex_unlock(&world.lock);
    pthread_join(world.thread, NULL);
    pthread_mutex_destroy(&world.lock);
    return 0;
}

/* ---- the tests ---- */

static bool go_on(const struct republish_progress *progress, void *context UNUSED)
{
    world.told++;
    if (progress->bus_is_away) { /* it comes back when somebody has noticed */
        pthread_mutex_lock(&world.lock);
        world.is_up = true;
        pthread_mutex_unlock(&world.lock);
    }
    return world.stop_after == 0 || progress->published < world.stop_after;
}

static bool run(int64_t rate, const char *id, struct republish_progress *ret_progress)
{
    struct republish_config config = {
        .service = "tickets", .collections = collections, .epoch = EPOCH, .rate = rate, .go_on = go_on};
    if (id != NULL) {
        assert_true(id_from_text(id, &config.id));
    }
    return republish_run(&config, ret_progress);
}

static void check_all_stored(void)
{
    for (unsigned record = 0; record < RECORDS; record++) {
        if (world.stored[record] == 0) {
            fail_msg("record %u was not published", record);
        }
    }
}

static void publishes_everything_once(void **state UNUSED)
{
    struct republish_progress progress = {.published = 0};
    assert_true(run(FAST, NULL, &progress));
    check_all_stored();
    assert_int_equal(progress.published, RECORDS);
    assert_int_equal(progress.failed, 0);
    assert_false(progress.is_absent);
}

static void publishes_again_what_was_not_stored_whatever_fails(void **state UNUSED)
{
    struct republish_progress progress = {.published = 0};
    world.fails = true;
    assert_true(run(FAST, NULL, &progress));
    check_all_stored();
    assert_int_equal(progress.published, RECORDS);
    assert_int_equal(progress.failed, 0);
}

static void waits_for_a_bus_that_is_away(void **state UNUSED)
{
    struct republish_progress progress = {.published = 0};
    world.is_up = false;
    assert_true(run(FAST, NULL, &progress));
    check_all_stored();
    assert_true(world.told > 0);
}

static void stops_in_the_middle_and_leaves_what_is_under_way(void **state UNUSED)
{
    struct republish_progress progress = {.published = 0};
    world.stop_after = 20;
    assert_false(run(REPUBLISH_RATE, NULL, &progress));
    assert_true(progress.published >= 20 && progress.published < RECORDS);
}

static void keeps_the_rate(void **state UNUSED)
{
    struct republish_progress progress = {.published = 0};
    int64_t start = clock_monotonic(NULL);
    world.stop_after = 50;
    assert_false(run(100, NULL, &progress));
    assert_true(clock_monotonic(NULL) - start >= 400);
}

static void publishes_one_and_says_so_of_one_that_is_not_there(void **state UNUSED)
{
    struct republish_progress progress = {.published = 0};
    assert_true(run(FAST, make_id(5).hex, &progress));
    assert_int_equal(progress.published, 1);
    assert_int_equal(world.stored[5], 1);
    assert_false(progress.is_absent);
    assert_true(run(FAST, make_id(RECORDS + 5).hex, &progress));
    assert_int_equal(progress.published, 1);
    assert_true(progress.is_absent);
    assert_int_equal(world.stored[RECORDS], 1);
    assert_non_null(strstr(world.last, "\"version\":0,\"meta\""));
}

static void knows_who_publishes(void **state UNUSED)
{
    assert_true(republish_can("tickets", collections));
    assert_false(republish_can("auth", collections));
    assert_false(republish_can("tickets", NULL));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(publishes_everything_once),
        TEST(publishes_again_what_was_not_stored_whatever_fails),
        TEST(waits_for_a_bus_that_is_away),
        TEST(stops_in_the_middle_and_leaves_what_is_under_way),
        TEST(keeps_the_rate),
        TEST(publishes_one_and_says_so_of_one_that_is_not_there),
        TEST(knows_who_publishes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
