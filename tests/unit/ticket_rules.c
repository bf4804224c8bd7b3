/* SPDX-License-Identifier: Apache-2.0
 * What orders do to a ticket, in whatever order their events come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "services/tickets/ticket.h"

static struct id order_id(int64_t reservation)
{
    struct id id = {.hex = ""};
    snprintf(id.hex, sizeof(id.hex), "%024llx", (unsigned long long)reservation);
    return id;
}

static enum effect apply_of_epoch(struct ticket *ticket, uint64_t epoch, int64_t reservation, enum order_status status)
{
    struct record source = {.id = order_id(reservation), .version = 1, .epoch = epoch};
    struct record own = {.version = 1};
    struct order order = {.reservation = reservation, .status = status};
    struct event event = {.subject = NULL};
    enum effect effect = ticket_apply_order(&source, &order, &own, ticket, &event);
    if (effect == EFFECT_CHANGED) {
        assert_ptr_equal(event.subject, &subject_ticket_updated);
        assert_ptr_equal(event.value, ticket);
    } else {
        assert_null(event.subject);
    }
    return effect;
}

static enum effect apply(struct ticket *ticket, int64_t reservation, enum order_status status)
{
    return apply_of_epoch(ticket, 0, reservation, status);
}

static void a_live_order_reserves_and_its_cancellation_frees(void **state)
{
    (void)state;
    struct ticket ticket = {.title = "Concert"};
    assert_int_equal(apply(&ticket, 1, ORDER_CREATED), EFFECT_CHANGED);
    assert_true(ticket_is_reserved(&ticket));
    assert_string_equal(ticket.order_id.hex, order_id(1).hex);
    assert_int_equal(apply(&ticket, 1, ORDER_CREATED), EFFECT_UNCHANGED);
    assert_int_equal(apply(&ticket, 1, ORDER_AWAITING_PAYMENT), EFFECT_UNCHANGED);
    assert_int_equal(apply(&ticket, 1, ORDER_CANCELLED), EFFECT_CHANGED);
    assert_false(ticket_is_reserved(&ticket));
    assert_int_equal(apply(&ticket, 1, ORDER_CANCELLED), EFFECT_UNCHANGED);
}

static void a_complete_order_keeps_its_ticket(void **state)
{
    (void)state;
    struct ticket ticket = {.title = "Concert"};
    assert_int_equal(apply(&ticket, 1, ORDER_COMPLETE), EFFECT_CHANGED);
    assert_true(ticket_is_reserved(&ticket));
}

static void a_cancellation_that_comes_first_wins_over_its_creation(void **state)
{
    (void)state;
    struct ticket ticket = {.title = "Concert"};
    assert_int_equal(apply(&ticket, 1, ORDER_CANCELLED), EFFECT_CHANGED);
    assert_int_equal(ticket.reservation, 1);
    assert_int_equal(apply(&ticket, 1, ORDER_CREATED), EFFECT_UNCHANGED);
    assert_false(ticket_is_reserved(&ticket));
}

static void a_later_order_takes_over_before_the_cancellation_has_come(void **state)
{
    (void)state;
    struct ticket ticket = {.title = "Concert"};
    assert_int_equal(apply(&ticket, 1, ORDER_CREATED), EFFECT_CHANGED);
    assert_int_equal(apply(&ticket, 2, ORDER_CREATED), EFFECT_CHANGED);
    assert_string_equal(ticket.order_id.hex, order_id(2).hex);
    assert_int_equal(apply(&ticket, 1, ORDER_CANCELLED), EFFECT_UNCHANGED);
    assert_string_equal(ticket.order_id.hex, order_id(2).hex);
}

static void an_order_of_an_unknown_ticket_is_a_stray(void **state)
{
    (void)state;
    struct record source = {.version = 1}, own = RECORD_INIT;
    struct order order = {.reservation = 1, .status = ORDER_CREATED};
    struct ticket ticket = {.title = ""};
    struct event event = {.subject = NULL};
    assert_int_equal(ticket_apply_order(&source, &order, &own, &ticket, &event), EFFECT_STRAY);
}

/* Orders 4 and 5 were placed after the backup, and are forgotten. */
static void the_orders_of_a_restored_store_count_anew(void **state)
{
    (void)state;
    struct ticket ticket = {.title = "Concert"};
    apply(&ticket, 5, ORDER_CREATED);
    assert_int_equal(apply_of_epoch(&ticket, 1, 3, ORDER_CANCELLED), EFFECT_CHANGED);
    assert_false(ticket_is_reserved(&ticket));
    assert_int_equal(apply_of_epoch(&ticket, 1, 2, ORDER_CANCELLED), EFFECT_UNCHANGED);
    assert_int_equal(apply_of_epoch(&ticket, 0, 6, ORDER_CREATED), EFFECT_UNCHANGED);
    assert_int_equal(apply_of_epoch(&ticket, 1, 4, ORDER_CREATED), EFFECT_CHANGED);
    assert_int_equal(apply_of_epoch(&ticket, 0, 5, ORDER_CANCELLED), EFFECT_UNCHANGED);
    assert_string_equal(ticket.order_id.hex, order_id(4).hex);
    assert_int_equal(apply_of_epoch(&ticket, 1, 4, ORDER_CANCELLED), EFFECT_CHANGED);
    assert_false(ticket_is_reserved(&ticket));
}

enum {
    ORDERS = 5,
    EVENTS = ORDERS * 2,
    SHUFFLES = 20000,
};

/* Orders 1 to 4 were created and cancelled, 5 holds the ticket: whatever permutation of these events, with doubles,
 * arrives, order 5 holds it at the end. */
static void any_order_of_events_ends_with_the_right_holder(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int shuffle = 0; shuffle < SHUFFLES; shuffle++) {
        int events[EVENTS * 2];
        for (int i = 0; i < EVENTS * 2; i++) {
            events[i] = i % EVENTS;
        }
        for (int i = EVENTS * 2 - 1; i > 0; i--) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            int j = (int)((seed >> 33) % (uint64_t)(i + 1));
            int swapped = events[i];
            events[i] = events[j];
            events[j] = swapped;
        }
        struct ticket ticket = {.title = "Concert"};
        for (int i = 0; i < EVENTS * 2; i++) {
            int64_t reservation = events[i] / 2 + 1;
            bool cancelled = events[i] % 2 == 1 && reservation < ORDERS;
            apply(&ticket, reservation, cancelled ? ORDER_CANCELLED : ORDER_CREATED);
        }
        assert_string_equal(ticket.order_id.hex, order_id(ORDERS).hex);
        assert_int_equal(ticket.reservation, ORDERS);
    }
}

static void requests_that_ask_for_the_same_have_the_same_digest(void **state)
{
    (void)state;
    struct ticket a = {.title = "Concert", .price = 100}, b = a, other_title = a, other_price = a;
    snprintf(other_title.title, sizeof(other_title.title), "Concerts");
    other_price.price = 101;
    struct id digest = ticket_request_digest(&a), same = ticket_request_digest(&b);
    assert_string_equal(digest.hex, same.hex);
    assert_string_not_equal(digest.hex, ticket_request_digest(&other_title).hex);
    assert_string_not_equal(digest.hex, ticket_request_digest(&other_price).hex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_live_order_reserves_and_its_cancellation_frees),
        cmocka_unit_test(a_complete_order_keeps_its_ticket),
        cmocka_unit_test(a_cancellation_that_comes_first_wins_over_its_creation),
        cmocka_unit_test(a_later_order_takes_over_before_the_cancellation_has_come),
        cmocka_unit_test(an_order_of_an_unknown_ticket_is_a_stray),
        cmocka_unit_test(the_orders_of_a_restored_store_count_anew),
        cmocka_unit_test(any_order_of_events_ends_with_the_right_holder),
        cmocka_unit_test(requests_that_ask_for_the_same_have_the_same_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
