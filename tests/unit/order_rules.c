/* SPDX-License-Identifier: Apache-2.0
 * The status machine of orders: what a buyer, the clock and a payment can do to an order in each of its states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "services/orders/order.h"

static const struct id payment_1 = {.hex = "aaaaaaaaaaaaaaaaaaaaaaa1"};
static const struct id payment_2 = {.hex = "aaaaaaaaaaaaaaaaaaaaaaa2"};

static struct order an_order(enum order_status status, int64_t attempt, bool expired)
{
    struct order order = {.status = status, .attempt = attempt, .expired = expired, .reservation = 1};
    if (attempt == 1) {
        order.payment_id = payment_1;
    }
    return order;
}

static enum effect pay(struct order *order, int64_t attempt, enum payment_status status, struct event *ret_event)
{
    struct record source = {.id = attempt == 1 ? payment_1 : payment_2, .version = 1};
    struct record own = {.version = 3};
    struct payment payment = {.attempt = attempt, .status = status};
    return order_apply_payment(&source, &payment, &own, order, ret_event);
}

struct payment_case {
    const char *what;
    enum order_status from;
    int64_t from_attempt;
    bool expired;
    int64_t attempt;
    enum payment_status payment;
    enum effect effect;
    enum order_status to;
    int64_t to_attempt;
    const struct subject *subject;
};

static const struct payment_case payment_cases[] = {
    {"a request moves a created order", ORDER_CREATED, 0, false, 1, PAYMENT_PENDING, EFFECT_CHANGED,
     ORDER_AWAITING_PAYMENT, 1, &subject_order_updated},
    {"the same request again", ORDER_AWAITING_PAYMENT, 1, false, 1, PAYMENT_PENDING, EFFECT_UNCHANGED,
     ORDER_AWAITING_PAYMENT, 1, NULL},
    {"a later request, whose predecessor's failure has not come", ORDER_AWAITING_PAYMENT, 1, false, 2, PAYMENT_PENDING,
     EFFECT_CHANGED, ORDER_AWAITING_PAYMENT, 2, &subject_order_updated},
    {"a later request of an order whose time ran out", ORDER_AWAITING_PAYMENT, 1, true, 2, PAYMENT_PENDING,
     EFFECT_CHANGED, ORDER_CANCELLED, 2, &subject_order_cancelled},
    {"a failure gives the order back", ORDER_AWAITING_PAYMENT, 1, false, 1, PAYMENT_FAILED, EFFECT_CHANGED,
     ORDER_CREATED, 1, &subject_order_updated},
    {"a failure cancels an order whose time ran out", ORDER_AWAITING_PAYMENT, 1, true, 1, PAYMENT_FAILED,
     EFFECT_CHANGED, ORDER_CANCELLED, 1, &subject_order_cancelled},
    {"the same failure again", ORDER_CREATED, 1, false, 1, PAYMENT_FAILED, EFFECT_UNCHANGED, ORDER_CREATED, 1, NULL},
    {"a failure before its request", ORDER_CREATED, 0, false, 1, PAYMENT_FAILED, EFFECT_CHANGED, ORDER_CREATED, 1,
     &subject_order_updated},
    {"a request after its failure", ORDER_CREATED, 1, false, 1, PAYMENT_PENDING, EFFECT_UNCHANGED, ORDER_CREATED, 1,
     NULL},
    {"an older failure", ORDER_AWAITING_PAYMENT, 2, false, 1, PAYMENT_FAILED, EFFECT_UNCHANGED, ORDER_AWAITING_PAYMENT,
     2, NULL},
    {"a charge completes", ORDER_AWAITING_PAYMENT, 1, false, 1, PAYMENT_CHARGED, EFFECT_CHANGED, ORDER_COMPLETE, 1,
     &subject_order_updated},
    {"a charge completes an order whose time ran out", ORDER_AWAITING_PAYMENT, 1, true, 1, PAYMENT_CHARGED,
     EFFECT_CHANGED, ORDER_COMPLETE, 1, &subject_order_updated},
    {"a charge before its request", ORDER_CREATED, 0, false, 1, PAYMENT_CHARGED, EFFECT_CHANGED, ORDER_COMPLETE, 1,
     &subject_order_updated},
    {"a charge of an attempt that is over", ORDER_AWAITING_PAYMENT, 2, false, 1, PAYMENT_CHARGED, EFFECT_UNCHANGED,
     ORDER_AWAITING_PAYMENT, 2, NULL},
    {"a refund gives the order back as its failure would", ORDER_AWAITING_PAYMENT, 1, false, 1, PAYMENT_REFUNDED,
     EFFECT_CHANGED, ORDER_CREATED, 1, &subject_order_updated},
};

static void a_payment_does_what_its_attempt_allows(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(payment_cases); i++) {
        const struct payment_case *c = &payment_cases[i];
        struct order order = an_order(c->from, c->from_attempt, c->expired);
        struct event event = {.subject = NULL};
        enum effect effect = pay(&order, c->attempt, c->payment, &event);
        if (effect != c->effect || order.status != (int32_t)c->to || order.attempt != c->to_attempt ||
            event.subject != c->subject) {
            fail_msg("%s: effect %d, status %s, attempt %lld", c->what, (int)effect, order_status_names[order.status],
                     (long long)order.attempt);
        }
        if (effect == EFFECT_CHANGED) {
            assert_string_equal(order.payment_id.hex, c->attempt == 1 ? payment_1.hex : payment_2.hex);
            assert_ptr_equal(event.value, &order);
        }
    }
}

static void nothing_leaves_complete_or_cancelled(void **state)
{
    (void)state;
    const enum order_status final[] = {ORDER_COMPLETE, ORDER_CANCELLED};
    for (size_t i = 0; i < ARRAY_LENGTH(final); i++) {
        for (enum payment_status status = PAYMENT_PENDING; status <= PAYMENT_REFUNDED; status++) {
            struct order order = an_order(final[i], 1, false);
            struct event event = {.subject = NULL};
            assert_int_equal(pay(&order, 2, status, &event), EFFECT_UNCHANGED);
            assert_int_equal(order.status, final[i]);
            assert_int_equal(order.attempt, 1);
        }
        struct order order = an_order(final[i], 1, false);
        struct event event = {.subject = NULL};
        struct record own = {.version = 3};
        assert_int_equal(order_apply_expiration(&own, NULL, &own, &order, &event), EFFECT_UNCHANGED);
        assert_int_equal(order.status, final[i]);
    }
}

static void expiry_cancels_what_is_created_and_marks_what_is_being_paid(void **state)
{
    (void)state;
    struct record own = {.version = 3};
    struct event event = {.subject = NULL};
    struct order order = an_order(ORDER_CREATED, 0, false);
    assert_int_equal(order_apply_expiration(&own, NULL, &own, &order, &event), EFFECT_CHANGED);
    assert_int_equal(order.status, ORDER_CANCELLED);
    assert_ptr_equal(event.subject, &subject_order_cancelled);

    order = an_order(ORDER_AWAITING_PAYMENT, 1, false);
    assert_int_equal(order_apply_expiration(&own, NULL, &own, &order, &event), EFFECT_CHANGED);
    assert_int_equal(order.status, ORDER_AWAITING_PAYMENT);
    assert_true(order.expired);
    assert_ptr_equal(event.subject, &subject_order_updated);

    assert_int_equal(order_apply_expiration(&own, NULL, &own, &order, &event), EFFECT_UNCHANGED);
}

static void events_about_unknown_orders_are_strays(void **state)
{
    (void)state;
    struct record source = {.version = 1}, own = RECORD_INIT;
    struct payment payment = {.attempt = 1, .status = PAYMENT_PENDING};
    struct order order = {.status = 0};
    struct event event = {.subject = NULL};
    assert_int_equal(order_apply_payment(&source, &payment, &own, &order, &event), EFFECT_STRAY);
    assert_int_equal(order_apply_expiration(&source, &payment, &own, &order, &event), EFFECT_STRAY);
}

static void a_buyer_cancels_only_what_is_created(void **state)
{
    (void)state;
    const struct {
        enum order_status from, to;
        enum order_cancel outcome;
    } cases[] = {
        {ORDER_CREATED, ORDER_CANCELLED, ORDER_CANCEL_DONE},
        {ORDER_CANCELLED, ORDER_CANCELLED, ORDER_CANCEL_ALREADY},
        {ORDER_AWAITING_PAYMENT, ORDER_AWAITING_PAYMENT, ORDER_CANCEL_BEING_PAID},
        {ORDER_COMPLETE, ORDER_COMPLETE, ORDER_CANCEL_COMPLETE},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct order order = an_order(cases[i].from, 0, false);
        assert_int_equal(order_cancel(&order), cases[i].outcome);
        assert_int_equal(order.status, cases[i].to);
    }
}

static void an_order_copies_the_ticket_and_claims_its_number(void **state)
{
    (void)state;
    struct record ticket_head = {.id = {.hex = "0123456789abcdef01234567"}, .version = 7};
    struct ticket ticket = {.title = "Concert", .price = 1250};
    struct id buyer = {.hex = "bbbbbbbbbbbbbbbbbbbbbbbb"};
    struct record head = RECORD_INIT;
    struct order order;
    order_place(&ticket_head, &ticket, &buyer, 12, 1000, 900000, &head, &order);
    assert_string_equal(head.claim, "0123456789abcdef01234567/12");
    assert_int_equal(order.status, ORDER_CREATED);
    assert_string_equal(order.ticket.title, "Concert");
    assert_int_equal(order.ticket.price, 1250);
    assert_true(id_equal(&order.ticket.id, &ticket_head.id));
    assert_true(id_equal(&order.user_id, &buyer));
    assert_int_equal(order.reservation, 12);
    assert_int_equal(order.created_at, 1000);
    assert_int_equal(order.expires_at, 901000);
    assert_int_equal(order.attempt, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_payment_does_what_its_attempt_allows),
        cmocka_unit_test(nothing_leaves_complete_or_cancelled),
        cmocka_unit_test(expiry_cancels_what_is_created_and_marks_what_is_being_paid),
        cmocka_unit_test(events_about_unknown_orders_are_strays),
        cmocka_unit_test(a_buyer_cancels_only_what_is_created),
        cmocka_unit_test(an_order_copies_the_ticket_and_claims_its_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
