/* SPDX-License-Identifier: Apache-2.0
 * Tests of wishes, leases and positions, with a store's facts and a bus's positions that are made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/text.h"
#include "common/events/epoch.h"
#include "common/events/history.h"
#include "common/events/refresh.h"
#include "common/events/wish.h"

enum {
    FACTS_MAX = 32,
    NOW = 1000000,
};

struct fact {
    char name[STORE_FACT_NAME_MAX];
    int64_t value;
};

static struct {
    struct fact facts[FACTS_MAX];
    size_t fact_count;
    int fails_after;           /* so many calls that change facts succeed; -1: all */
    char changes[4096];        /* what was changed, in its order */
    uint64_t created, updated; /* the bus's positions */
    uint64_t expected;         /* of ticket:created, by bus_expect */
    int64_t now;
    bool may_publish;
    bool is_unreadable; /* the store */
    bus_signalled *asked, *noted;
    void *listener;
    char signals[512]; /* that were sent */
} world;

/* ---- the store and the bus that are made here ---- */

static int64_t *fact(const char *name)
{
    for (size_t i = 0; i < world.fact_count; i++) {
        if (text_equal(world.facts[i].name, name)) {
            return &world.facts[i].value;
        }
    }
    assert_true(world.fact_count < FACTS_MAX);
    text_copy_cut(world.facts[world.fact_count].name, STORE_FACT_NAME_MAX, name);
    world.facts[world.fact_count].value = 0;
    return &world.facts[world.fact_count++].value;
}

static bool change(const char *name, int64_t value, struct error *error)
{
    if (world.fails_after == 0) {
        return error_set(error, ERROR_UNAVAILABLE, "it fails on purpose");
    }
    world.fails_after -= world.fails_after > 0 ? 1 : 0;
    size_t length = strlen(world.changes);
    snprintf(world.changes + length, sizeof(world.changes) - length, "%s=%lld ", name, (long long)value);
    *fact(name) = value;
    return true;
}

bool store_fact_get(struct store *store UNUSED, const char *name, int64_t *ret_value, struct error *error)
{
    if (world.is_unreadable) {
        return error_set(error, ERROR_UNAVAILABLE, "it is away on purpose");
    }
    *ret_value = *fact(name);
    return true;
}

bool store_fact_raise(struct store *store UNUSED, const char *name, int64_t value, struct error *error)
{
    return *fact(name) >= value || change(name, value, error);
}

bool store_fact_replace(struct store *store UNUSED, const char *name, int64_t expected, int64_t value,
                        bool *ret_replaced, struct error *error)
{
    if (*fact(name) != expected) {
        *ret_replaced = false;
        return true;
    }
    *ret_replaced = true;
    return change(name, value, error);
}

uint64_t bus_position(struct bus *bus UNUSED, const char *subject)
{
    return text_equal(subject, "ticket:created")   ? world.created
           : text_equal(subject, "ticket:updated") ? world.updated
                                                   : 0;
}

void bus_expect(struct bus *bus UNUSED, const char *subject, uint64_t sequence)
{
    if (text_equal(subject, "ticket:created") && sequence > world.expected) {
        world.expected = sequence;
    }
}

/* What is linked, and not called here. */
bool store_get(struct store *store UNUSED, const struct collection *collection UNUSED, const struct id *id UNUSED,
               struct record *ret_head UNUSED, void *ret_value UNUSED, struct error *error UNUSED)
{
    abort();
}

bool store_list(struct store *store UNUSED, const struct collection *collection UNUSED,
                const struct query *query UNUSED, struct page *ret_page UNUSED, struct error *error UNUSED)
{
    abort();
}

enum bus_state bus_state(const struct bus *bus UNUSED)
{
    return BUS_UP;
}

bool bus_publish(struct bus *bus UNUSED, const char *subject UNUSED, const char *message_id UNUSED,
                 const void *data UNUSED, size_t length UNUSED, bus_confirmed *confirmed UNUSED, void *context UNUSED)
{
    abort();
}

void bus_signal(struct bus *bus UNUSED, const char *topic, const void *data, size_t length)
{
    size_t used = strlen(world.signals);
    snprintf(world.signals + used, sizeof(world.signals) - used, "%s: %.*s; ", topic, (int)length, (const char *)data);
}

bool bus_on_signal(struct bus *bus UNUSED, const char *topic UNUSED, bus_signalled *receive, void *context,
                   struct error *error UNUSED)
{
    world.noted = receive;
    world.listener = context;
    return true;
}

bool bus_on_signal_shared(struct bus *bus UNUSED, const char *topic UNUSED, const char *queue_group UNUSED,
                          bus_signalled *receive, void *context, struct error *error UNUSED)
{
    world.asked = receive;
    world.listener = context;
    return true;
}

static int64_t read_now(void *context UNUSED)
{
    return world.now;
}

static const struct clock test_clock = {.now = read_now, .monotonic = read_now};

static void may_publish(bool allowed, void *context UNUSED)
{
    world.may_publish = allowed;
}

static int begin(void **state UNUSED)
{
    memset(&world, 0, sizeof(world));
    world.fails_after = -1;
    world.now = NOW;
    return 0;
}

/* ---- wishes ---- */

static int64_t pending(void)
{
    struct error error = ERROR_INIT;
    int64_t wish = -1;
    assert_true(wish_pending(NULL, &wish, &error));
    return wish;
}

static void a_wish_is_pending_until_it_is_fulfilled(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    assert_int_equal(pending(), 0);
    assert_true(wish_make(NULL, WISH_LOST, NOW, &error));
    assert_int_equal(pending(), NOW);
    assert_true(wish_fulfilled(NULL, NOW, &error));
    assert_int_equal(pending(), 0);
}

static void a_wish_made_while_another_is_fulfilled_is_left(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    assert_true(wish_make(NULL, WISH_LOST, NOW, &error));
    int64_t begun = pending();
    assert_true(wish_make(NULL, WISH_LOST, NOW, &error)); /* in the same millisecond */
    assert_true(wish_fulfilled(NULL, begun, &error));
    assert_true(pending() > begun);
}

static void a_wish_counts_although_the_clock_was_turned_back(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    assert_true(wish_make(NULL, WISH_LOST, NOW, &error));
    assert_true(wish_fulfilled(NULL, NOW, &error));
    assert_true(wish_make(NULL, WISH_LOST, NOW / 2, &error));
    assert_int_equal(pending(), NOW + 1);
}

static void assert_reasons(const char *expected)
{
    char text[WISH_REASONS_SIZE] = "not set";
    struct error error = ERROR_INIT;
    assert_true(wish_reasons(NULL, text, &error));
    assert_string_equal(text, expected);
}

static void tells_why_until_the_wish_is_fulfilled(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    assert_reasons("");
    assert_true(wish_make(NULL, WISH_ASKED, NOW, &error));
    assert_reasons("another service has asked for it");
    int64_t asked = pending();
    assert_true(wish_make(NULL, WISH_RESTORED, NOW, &error));
    assert_true(wish_make(NULL, WISH_LOST, NOW, &error));
    assert_reasons("the event bus has lost history, and the store was restored, and another service has asked for it");
    assert_true(wish_fulfilled(NULL, asked, &error));
    assert_reasons("the event bus has lost history, and the store was restored");
    assert_true(wish_fulfilled(NULL, pending(), &error));
    assert_reasons("");
}

static void no_reason_is_told_while_the_store_is_away(void **state UNUSED)
{
    char text[WISH_REASONS_SIZE] = "untouched";
    struct error error = ERROR_INIT;
    world.is_unreadable = true;
    assert_false(wish_reasons(NULL, text, &error));
    assert_string_equal(text, "untouched");
}

static int64_t take_lease(int64_t now)
{
    struct error error = ERROR_INIT;
    int64_t lease = -1;
    assert_true(wish_take_lease(NULL, now, &lease, &error));
    return lease;
}

static void one_has_the_lease_until_it_ends_or_is_dropped(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    int64_t lease = take_lease(NOW);
    assert_true(lease > NOW);
    assert_int_equal(take_lease(NOW), 0);
    assert_int_equal(take_lease(NOW + WISH_LEASE_MS - 1), 0);
    assert_true(wish_renew_lease(NULL, NOW + WISH_LEASE_MS - 1, &lease, &error));
    assert_int_equal(take_lease(NOW + WISH_LEASE_MS), 0);
    wish_drop_lease(NULL, &lease);
    assert_int_equal(lease, 0);
    assert_true(take_lease(NOW + WISH_LEASE_MS) != 0);
}

static void who_sleeps_too_long_loses_the_lease_and_does_not_take_it_from_the_next(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    int64_t first = take_lease(NOW);
    int64_t second = take_lease(NOW + WISH_LEASE_MS);
    assert_true(second != 0);
    assert_true(wish_renew_lease(NULL, NOW + WISH_LEASE_MS + 1, &first, &error));
    assert_int_equal(first, 0);
    wish_drop_lease(NULL, &first);
    assert_int_equal(take_lease(NOW + WISH_LEASE_MS + 1), 0);
    assert_int_equal(*fact("republish.lease"), second);
}

static void a_lease_of_a_far_future_was_taken_by_a_wrong_clock(void **state UNUSED)
{
    *fact("republish.lease") = NOW + 100 * WISH_LEASE_MS;
    assert_int_equal(take_lease(NOW), NOW + WISH_LEASE_MS);
}

/* ---- positions ---- */

static const struct collection tickets = {.name = "tickets", .table = &ticket_table};
static const struct collection *const collections[] = {&tickets, NULL};

static struct history *open_history(void)
{
    const struct history_config config = {
        .service = "tickets", .collections = collections, .clock = &test_clock, .may_publish = may_publish};
    struct history *history = NULL;
    struct error error = ERROR_INIT;
    assert_true(history_new(&config, &history, &error));
    return history;
}

static void save(struct history *history)
{
    struct error error = ERROR_INIT;
    assert_true(history_save(history, NULL, &error));
}

/* The connection ends, and the next one finds this; the bus tells of what is less than what it knew. */
static void reconnect(struct history *history, uint64_t created, uint64_t updated)
{
    struct error error = ERROR_INIT;
    history_state_changed(history, NULL, BUS_CONNECTING);
    assert_false(world.may_publish);
    assert_true(history_will_look(history, NULL, &error));
    uint64_t before = world.created > world.expected ? world.created : world.expected;
    world.created = created;
    world.updated = updated;
    world.expected = 0;
    if (created < before) {
        history_lost(history, "ticket:created", before, created);
    }
    history_state_changed(history, NULL, BUS_UP);
    assert_false(world.may_publish);
}

static void follows_what_it_publishes_the_snapshots_too(void **state UNUSED)
{
    *fact("position/ticket:created") = 7;
    struct history *history = open_history();
    const struct bus_position *positions = NULL;
    assert_int_equal(history_positions(history, &positions), 3);
    assert_string_equal(positions[0].subject, "ticket:created");
    assert_int_equal(positions[0].sequence, 7);
    assert_string_equal(positions[1].subject, "ticket:updated");
    assert_int_equal(positions[1].sequence, 0);
    assert_string_equal(positions[2].subject, "ticket:snapshot");
    history_free(&history);
}

static void a_bus_with_more_than_is_known_has_lost_nothing(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    struct history *history = open_history();
    reconnect(history, 3, 0);
    assert_true(history_look(history, NULL, &error));
    assert_true(world.may_publish);
    assert_string_equal(world.changes, ""); /* who only starts writes nothing */
    world.created = 5;
    save(history);
    assert_int_equal(*fact("position/ticket:created"), 5);
    reconnect(history, 5, 0);
    save(history);
    assert_true(world.may_publish);
    reconnect(history, 9, 0); /* another instance has published */
    save(history);
    assert_int_equal(*fact("position/ticket:created"), 9);
    assert_int_equal(pending(), 0);
    history_free(&history);
}

static void less_than_the_facts_is_lost_history_and_the_wish_comes_first(void **state UNUSED)
{
    *fact("position/ticket:created") = 100;
    struct history *history = open_history();
    reconnect(history, 40, 0);
    save(history);
    assert_true(world.may_publish);
    assert_string_equal(world.changes, "republish.lost=1000000 republish.wanted=1000000 position/ticket:created=40 ");
    history_free(&history);
}

static void a_crash_while_a_loss_is_noted_means_that_it_is_noted_again(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    *fact("position/ticket:created") = 100;
    struct history *history = open_history();
    world.fails_after = 2; /* the wish is made */
    reconnect(history, 40, 0);
    assert_false(history_save(history, NULL, &error));
    assert_false(world.may_publish); /* what is new must not hide what is missing */
    history_free(&history);
    assert_int_equal(pending(), NOW);
    assert_int_equal(*fact("position/ticket:created"), 100);

    world.fails_after = -1;
    history = open_history();
    reconnect(history, 40, 0);
    save(history);
    assert_true(pending() > NOW);
    assert_int_equal(*fact("position/ticket:created"), 40);
    history_free(&history);
}

static void what_was_confirmed_and_not_saved_yet_is_lost_too(void **state UNUSED)
{
    *fact("position/ticket:created") = 95;
    struct history *history = open_history();
    reconnect(history, 95, 0);
    save(history);
    world.created = 100;       /* confirmed, and nothing saved since */
    reconnect(history, 97, 0); /* more than the facts know of */
    save(history);
    assert_int_equal(pending(), NOW);
    assert_int_equal(*fact("position/ticket:created"), 97);
    history_free(&history);
}

static void of_two_instances_the_first_notes_the_loss(void **state UNUSED)
{
    struct history *first = open_history();
    struct history *second = open_history();
    reconnect(first, 100, 0);
    save(first);
    reconnect(second, 100, 0);
    save(second);
    reconnect(first, 0, 0);
    save(first);
    int64_t wish = pending();
    assert_true(wish != 0);
    world.created = 3; /* the first has published */
    save(first);
    world.created = 100;
    reconnect(second, 3, 0);
    save(second);
    assert_int_equal(pending(), wish);
    assert_int_equal(*fact("position/ticket:created"), 3);
    history_free(&first);
    history_free(&second);
}

/* The second raises the position to what was true before the loss: one more wish, and then it is over. */
static void a_late_raise_means_one_more_wish_and_no_more(void **state UNUSED)
{
    struct history *history = open_history();
    reconnect(history, 100, 0);
    save(history);
    reconnect(history, 0, 0);
    save(history);
    *fact("position/ticket:created") = 120;
    world.now++;
    reconnect(history, 2, 0);
    save(history);
    int64_t wish = pending();
    assert_int_equal(wish, NOW + 1);
    world.now++;
    for (uint64_t i = 2; i < 6; i++) {
        reconnect(history, i, 0);
        save(history);
    }
    assert_int_equal(pending(), wish);
    history_free(&history);
}

static void learns_what_others_have_published(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    struct history *history = open_history();
    reconnect(history, 0, 0);
    save(history);
    *fact("position/ticket:created") = 50;
    assert_true(history_look(history, NULL, &error));
    assert_int_equal(world.expected, 50);
    reconnect(history, 0, 0);
    save(history);
    assert_int_equal(pending(), NOW);
    history_free(&history);
}

static void what_others_publish_after_the_look_is_not_lost(void **state UNUSED)
{
    *fact("position/ticket:created") = 10;
    struct history *history = open_history();
    reconnect(history, 10, 0);
    *fact("position/ticket:created") = 15;
    save(history);
    assert_true(world.may_publish);
    assert_int_equal(pending(), 0);
    assert_int_equal(*fact("position/ticket:created"), 15);
    world.created = 16;
    save(history);
    assert_int_equal(*fact("position/ticket:created"), 16);
    history_free(&history);
}

/* It could not be told from what others have published since. */
static void no_connection_is_compared_while_the_store_is_away(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    *fact("position/ticket:created") = 10;
    struct history *history = open_history();
    world.is_unreadable = true;
    assert_false(history_will_look(history, NULL, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    world.is_unreadable = false;
    *fact("position/ticket:created") = 15;
    reconnect(history, 15, 0);
    *fact("position/ticket:created") = 17;
    save(history);
    assert_int_equal(pending(), 0);
    assert_true(world.may_publish);
    history_free(&history);
}

/* Another instance raised it to what was true before a loss, and then noted the loss. */
static void raises_a_position_that_was_lowered_after_it_was_learned(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    struct history *history = open_history();
    reconnect(history, 5, 0);
    save(history);
    *fact("position/ticket:created") = 120;
    assert_true(history_look(history, NULL, &error));
    *fact("position/ticket:created") = 5;
    assert_true(history_look(history, NULL, &error));
    world.created = 9;
    save(history);
    assert_int_equal(*fact("position/ticket:created"), 9);
    reconnect(history, 9, 0); /* less than was learned, but that was dealt with */
    save(history);
    assert_int_equal(pending(), 0);
    history_free(&history);
}

static void nothing_is_published_on_a_connection_that_was_replaced_while_it_was_compared(void **state UNUSED)
{
    struct history *history = open_history();
    reconnect(history, 0, 0);
    save(history);
    assert_true(world.may_publish);
    history_state_changed(history, NULL, BUS_CONNECTING);
    save(history);
    assert_false(world.may_publish);
    history_lost(history, "ticket:created", 5, 0); /* and then the connection was lost again */
    save(history);
    assert_int_equal(pending(), NOW);
    assert_false(world.may_publish);
    history_free(&history);
}

static void what_somebody_else_has_published_is_noted_and_never_lowered(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    world.created = 7;
    assert_true(history_note(NULL, NULL, "ticket:created", &error));
    assert_int_equal(*fact("position/ticket:created"), 7);
    world.created = 5;
    assert_true(history_note(NULL, NULL, "ticket:created", &error));
    assert_int_equal(*fact("position/ticket:created"), 7);
    world.created = 9;
    world.fails_after = 0;
    assert_false(history_note(NULL, NULL, "ticket:created", &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
}

/* ---- epochs ---- */

static void every_restore_gives_a_later_epoch_whatever_the_backup_knows(void **state UNUSED)
{
    static const struct listener listeners[] = {{.entity = &entity_order, .collection = &tickets}, {.entity = NULL}};
    struct error error = ERROR_INIT;
    uint64_t first = 0, second = 0, third = 0;
    assert_true(epoch_raise(NULL, "tickets", collections, listeners, &test_clock, &first, &error));
    assert_int_equal(first, NOW);
    assert_string_equal(world.changes,
                        "epoch=1000000 republish.restored=1000000 republish.wanted=1000000 refresh/orders=1000000 ");
    world.fact_count = 0; /* the backup */
    world.now = NOW + 5;
    assert_true(epoch_raise(NULL, "tickets", collections, listeners, &test_clock, &second, &error));
    assert_true(second > first);
    assert_true(epoch_raise(NULL, "tickets", collections, listeners, &test_clock, &third, &error));
    assert_true(third > second);
    uint64_t read = 0;
    assert_true(epoch_read(NULL, &read, &error));
    assert_int_equal(read, third);
}

static void a_restore_that_fails_can_be_repeated(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    uint64_t epoch = 0;
    for (int after = 0; after < 3; after++) {
        world.fails_after = after;
        assert_false(epoch_raise(NULL, "tickets", collections, NULL, &test_clock, &epoch, &error));
        assert_int_equal(epoch, 0);
    }
    world.fails_after = -1;
    assert_true(epoch_raise(NULL, "tickets", collections, NULL, &test_clock, &epoch, &error));
    assert_true(pending() != 0);
}

static void ignore(void *context UNUSED)
{
}

static struct refresh *open_refresh(void)
{
    static const struct listener listeners[] = {{.entity = &entity_order, .collection = &tickets}, {.entity = NULL}};
    const struct refresh_config config = {
        .service = "tickets", .listeners = listeners, .publishes = true, .clock = &test_clock, .heard = ignore};
    struct refresh *refresh = NULL;
    struct error error = ERROR_INIT;
    assert_true(refresh_new(&config, &refresh, &error));
    return refresh;
}

static void hear(struct refresh *refresh, bus_signalled *receive, const char *text)
{
    struct error error = ERROR_INIT;
    receive(text, strlen(text), world.listener);
    assert_true(refresh_step(refresh, &error));
}

static void a_request_is_noted_once_and_answered_each_time(void **state UNUSED)
{
    struct refresh *refresh = open_refresh();
    hear(refresh, world.asked, "orders 500");
    int64_t wish = pending();
    assert_true(wish != 0);
    hear(refresh, world.asked, "orders 500");
    assert_int_equal(pending(), wish);
    assert_string_equal(world.signals, "orders.republish.noted: tickets 500; orders.republish.noted: tickets 500; ");
    refresh_free(&refresh);
}

static void a_request_is_noted_whatever_others_have_made_up(void **state UNUSED)
{
    struct refresh *refresh = open_refresh();
    hear(refresh, world.asked, "orders 9223372036854775807");
    int64_t wish = pending();
    hear(refresh, world.asked, "orders 500");
    assert_true(pending() > wish);
    refresh_free(&refresh);
}

static void only_what_was_asked_counts_as_noted(void **state UNUSED)
{
    struct error error = ERROR_INIT;
    struct refresh *refresh = open_refresh();
    hear(refresh, world.noted, "orders 9223372036854775807");
    hear(refresh, world.noted, "payments 7");
    assert_string_equal(world.changes, "");
    *fact("refresh/orders") = 500;
    hear(refresh, world.noted, "orders 501");
    assert_string_equal(world.changes, "");
    hear(refresh, world.noted, "orders 500");
    assert_string_equal(world.changes, "refreshed/orders=500 ");
    assert_true(refresh_step(refresh, &error));
    refresh_free(&refresh);
}

static void requests_to_publish_again_are_understood_or_refused(void **state UNUSED)
{
    static const char *const bad[] = {
        "",
        "orders",
        "orders ",
        " 5",
        "orders 0",
        "orders -1",
        "orders 5 ",
        "orders  5",
        "Orders 5",
        "or/ders 5",
        "orders x",
        "orders 99999999999999999999",
        "abcdefghijklmnopqrstuvwxyzabcdefghijklmnop 5",
    };
    char name[REFRESH_NAME_MAX];
    int64_t moment = 0;
    assert_true(refresh_parse("orders 1790000000000", 20, name, &moment));
    assert_string_equal(name, "orders");
    assert_int_equal(moment, INT64_C(1790000000000));
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        if (refresh_parse(bad[i], strlen(bad[i]), name, &moment)) {
            fail_msg("understood: \"%s\"", bad[i]);
        }
    }
    assert_false(refresh_parse("orders\0 5", 9, name, &moment));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, begin)
    const struct CMUnitTest tests[] = {
        TEST(a_wish_is_pending_until_it_is_fulfilled),
        TEST(a_wish_made_while_another_is_fulfilled_is_left),
        TEST(a_wish_counts_although_the_clock_was_turned_back),
        TEST(tells_why_until_the_wish_is_fulfilled),
        TEST(no_reason_is_told_while_the_store_is_away),
        TEST(one_has_the_lease_until_it_ends_or_is_dropped),
        TEST(who_sleeps_too_long_loses_the_lease_and_does_not_take_it_from_the_next),
        TEST(a_lease_of_a_far_future_was_taken_by_a_wrong_clock),
        TEST(follows_what_it_publishes_the_snapshots_too),
        TEST(a_bus_with_more_than_is_known_has_lost_nothing),
        TEST(less_than_the_facts_is_lost_history_and_the_wish_comes_first),
        TEST(a_crash_while_a_loss_is_noted_means_that_it_is_noted_again),
        TEST(what_was_confirmed_and_not_saved_yet_is_lost_too),
        TEST(of_two_instances_the_first_notes_the_loss),
        TEST(a_late_raise_means_one_more_wish_and_no_more),
        TEST(learns_what_others_have_published),
        TEST(what_others_publish_after_the_look_is_not_lost),
        TEST(no_connection_is_compared_while_the_store_is_away),
        TEST(raises_a_position_that_was_lowered_after_it_was_learned),
        TEST(nothing_is_published_on_a_connection_that_was_replaced_while_it_was_compared),
        TEST(what_somebody_else_has_published_is_noted_and_never_lowered),
        TEST(every_restore_gives_a_later_epoch_whatever_the_backup_knows),
        TEST(a_restore_that_fails_can_be_repeated),
        TEST(a_request_is_noted_once_and_answered_each_time),
        TEST(a_request_is_noted_whatever_others_have_made_up),
        TEST(only_what_was_asked_counts_as_noted),
        TEST(requests_to_publish_again_are_understood_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
