/* SPDX-License-Identifier: Apache-2.0
 * Tests of what becomes of an event: applied, held, tried again, buried, and when it is acknowledged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "tests/unit/events_fake.h"

enum {
    IN_FLIGHT = 16,
    LONG_MS = 60000,
};

static void count_hint(const struct record *head UNUSED, const void *value UNUSED, void *context)
{
    struct fake *counted = context;
    counted->hints++;
}

static const struct listener replica = {.entity = &entity_ticket, .collection = &fake_tickets, .applied = count_hint};

/* Takes the reservation of the order; says what the order's attempt tells it to say. */
static enum effect obey(const struct record *source, const void *entity, struct record *own, void *own_value,
                        struct event *ret_event)
{
    const struct order *order = entity;
    struct ticket *ticket = own_value;
    if (order->attempt > 0) {
        return (enum effect)(order->attempt - 1);
    }
    if (own->version == 0 && order->reservation > 1) {
        return EFFECT_GAP;
    }
    if (order->reservation <= ticket->reservation) {
        return EFFECT_UNCHANGED;
    }
    ticket->reservation = order->reservation;
    ticket->order_id = source->id;
    *ret_event = event_ticket_updated(ticket);
    return EFFECT_CHANGED;
}

static const struct listener effect = {.entity = &entity_order,
                                       .collection = &fake_tickets,
                                       .effect = obey,
                                       .own_id = offsetof(struct order, ticket.id),
                                       .applied = count_hint};

static size_t publish_ticket(unsigned id, uint64_t version)
{
    struct ticket ticket = {.title = "A", .price = (int64_t)version, .user_id = fake_id(1)};
    return fake_publish(version == 1 ? event_ticket_created(&ticket) : event_ticket_updated(&ticket), fake_id(id),
                        version);
}

static size_t publish_order(unsigned ticket, int64_t reservation, int64_t attempt)
{
    struct order order = {.status = ORDER_CREATED,
                          .user_id = fake_id(1),
                          .ticket = {.id = fake_id(ticket), .title = "A", .price = 1},
                          .reservation = reservation,
                          .attempt = attempt};
    return fake_publish(event_order_created(&order), fake_id(100 + (unsigned)reservation), 1);
}

static uint64_t version_of(unsigned id)
{
    const struct id full = fake_id(id);
    return fake_record(&full)->head.version;
}

static bool is_acknowledged(size_t message)
{
    return fake.messages[message].is_acknowledged;
}

static void deliver_and_run(size_t message, size_t instance)
{
    fake_deliver(message, instance);
    fake_run();
}

/* ---- replicas ---- */

static void acknowledges_what_it_has_applied(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t first = publish_ticket(1, 1);
    size_t second = publish_ticket(1, 2);
    deliver_and_run(first, 0);
    assert_true(is_acknowledged(first));
    deliver_and_run(second, 0);
    assert_true(is_acknowledged(second));
    assert_int_equal(version_of(1), 2);
    assert_int_equal(fake.hints, 2);
    fake_end();
}

static void acknowledges_a_double_without_applying_it(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t first = publish_ticket(1, 1);
    deliver_and_run(first, 0);
    fake.messages[first].is_acknowledged = false; /* the acknowledgement was lost */
    deliver_and_run(first, 1);
    assert_true(is_acknowledged(first));
    assert_int_equal(fake.hints, 1);
    fake_end();
}

static void holds_a_gap_until_it_closes_here(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    fake.loses_signals = true; /* and without any */
    size_t messages[4];
    for (size_t i = 4; i > 0; i--) {
        messages[i - 1] = publish_ticket(1, i);
        deliver_and_run(messages[i - 1], 0);
        assert_int_equal(is_acknowledged(messages[i - 1]), i == 1);
        assert_int_equal(version_of(1), i == 1 ? 4 : 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_true(is_acknowledged(messages[i]));
    }
    fake_end();
}

static void goes_on_at_the_signal_of_another_instance(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t second = publish_ticket(1, 2);
    size_t first = publish_ticket(1, 1);
    deliver_and_run(second, 0);
    assert_false(is_acknowledged(second));
    assert_int_equal(fake.signals_sent, 1);
    deliver_and_run(first, 1); /* no time passes */
    assert_true(is_acknowledged(second));
    assert_int_equal(version_of(1), 2);
    fake_end();
}

static void is_answered_when_the_lacking_is_there_already(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    const struct notice lacking = {.collection = &fake_tickets, .id = fake_id(1), .version = 1};
    deliver_and_run(publish_ticket(1, 1), 0);
    assert_int_equal(fake.signals_sent, 0);
    shard_tell_lacking(fake.instances[0].shards[0], &lacking);
    (void)shard_step(fake.instances[0].shards[0], fake.now);
    assert_int_equal(fake.signals_sent, 1);
    assert_string_equal(fake.signals[0].topic, "shop.applied");
    assert_string_equal(fake.signals[0].text, "tickets 000000000000000000000001 1");
    fake_run();
    fake_end();
}

static void looks_again_when_no_signal_came(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t second = publish_ticket(1, 2);
    fake_deliver(second, 0);
    fake_run();
    deliver_and_run(publish_ticket(2, 1), 0); /* another record does not matter */
    const struct id id = fake_id(1);
    fake_record(&id)->head.version = 1; /* applied by somebody who said nothing */
    fake_pass(EVENT_RECHECK_MS - 50);
    assert_false(is_acknowledged(second));
    fake_pass(100);
    assert_true(is_acknowledged(second));
    fake_end();
}

static void asks_for_more_time_while_it_holds(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t second = publish_ticket(1, 2);
    deliver_and_run(second, 0);
    fake_pass(EVENT_ACK_WAIT_MS);
    assert_in_range(fake.messages[second].extended, 2, 3);
    fake_end();
}

static void renews_the_handle_of_what_is_delivered_again(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t second = publish_ticket(1, 2);
    for (int i = 0; i < 1000; i++) {
        deliver_and_run(second, 0);
        assert_int_equal(fake.messages[second].deliveries, 1);
    }
    deliver_and_run(publish_ticket(1, 1), 0);
    assert_true(is_acknowledged(second));
    assert_int_equal(fake.messages[second].deliveries, 0);
    fake_end();
}

static void tells_an_event_of_a_new_history_from_a_redelivery(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t old = publish_ticket(1, 2);
    deliver_and_run(old, 0); /* held */
    struct fake_message *other = &fake.messages[publish_ticket(1, 3)];
    other->sequence = fake.messages[old].sequence;
    deliver_and_run((size_t)(other - fake.messages), 0); /* held as well, not instead */
    assert_int_equal(fake.messages[old].deliveries, 1);
    assert_int_equal(other->deliveries, 1);
    deliver_and_run(publish_ticket(1, 1), 0);
    assert_int_equal(version_of(1), 3);
    assert_true(is_acknowledged(old));
    assert_true(other->is_acknowledged);
    fake_end();
}

/* Who comes back is given everything that is unacknowledged, however much that is. */
static void holds_as_much_as_may_be_in_flight_and_drops_the_rest(void **state UNUSED)
{
    enum { GAPS = IN_FLIGHT + IN_FLIGHT / 2 };
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t messages[GAPS];
    for (uint64_t i = 0; i < GAPS; i++) {
        messages[i] = publish_ticket(1, i + 2);
        deliver_and_run(messages[i], 0);
        assert_false(is_acknowledged(messages[i]));
        assert_int_equal(fake.messages[messages[i]].deliveries, i < IN_FLIGHT);
    }
    deliver_and_run(publish_ticket(1, 1), 0);
    assert_int_equal(version_of(1), 1 + IN_FLIGHT);
    for (uint64_t i = IN_FLIGHT; i < GAPS; i++) {
        deliver_and_run(messages[i], 0); /* the bus delivers them again */
    }
    assert_int_equal(version_of(1), 1 + GAPS);
    fake_end();
}

/* ---- failures ---- */

static void waits_for_the_store_however_long_it_is_away(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t first = publish_ticket(1, 1);
    fake.failures.away = 10 * EVENT_ATTEMPTS_MAX;
    fake_deliver(first, 0);
    for (int i = 0; i < 20; i++) {
        fake_pass(1000);
        fake_deliver(first, 0);
        assert_int_equal(fake.messages[first].deliveries, 1);
    }
    fake_pass(2 * LONG_MS);
    assert_true(is_acknowledged(first));
    assert_int_equal(fake.letters, 0);
    assert_int_equal(version_of(1), 1);
    fake_end();
}

static void finds_out_what_became_of_a_write_without_an_answer(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t first = publish_ticket(1, 1);
    fake.failures.unknown = 1;
    fake_deliver(first, 0);
    fake_pass(1000);
    const struct id id = fake_id(1);
    assert_true(is_acknowledged(first));
    assert_int_equal(fake_record(&id)->writes[1], 1);
    fake_end();
}

static void buries_what_fails_by_itself_after_some_attempts(void **state UNUSED)
{
    fake_begin(&effect, IN_FLIGHT, 1);
    size_t order = publish_order(1, 1, 0);
    size_t other = publish_order(2, 1, 0);
    fake.failures.claim_conflicts = EVENT_ATTEMPTS_MAX;
    deliver_and_run(order, 0); /* the first attempt */
    fake.failures.claim_conflicts = 0;
    deliver_and_run(other, 0);
    assert_true(is_acknowledged(other)); /* the others do not wait for it */
    fake.failures.claim_conflicts = EVENT_ATTEMPTS_MAX - 1;
    fake_pass(LONG_MS);
    assert_int_equal(fake.letters, 1);
    assert_true(is_acknowledged(order));
    assert_non_null(strstr(fake.last_letter, "\"reason\":\"the claim is taken\""));
    assert_non_null(strstr(fake.last_letter, "\"attempts\":5"));
    assert_int_equal(fake.failures.claim_conflicts, 0);
    fake_end();
}

static void succeeds_before_the_last_attempt(void **state UNUSED)
{
    fake_begin(&effect, IN_FLIGHT, 1);
    size_t order = publish_order(1, 1, 0);
    fake.failures.claim_conflicts = EVENT_ATTEMPTS_MAX - 1;
    fake_deliver(order, 0);
    fake_pass(LONG_MS);
    assert_int_equal(fake.letters, 0);
    assert_true(is_acknowledged(order));
    assert_int_equal(version_of(1), 1);
    fake_end();
}

static void waits_for_room_in_the_outbox(void **state UNUSED)
{
    fake_begin(&effect, IN_FLIGHT, 1);
    size_t order = publish_order(1, 1, 0);
    fake.failures.full = 10 * EVENT_ATTEMPTS_MAX;
    fake_deliver(order, 0);
    fake_run();
    size_t other = publish_order(2, 1, 0);
    fake.failures.full = 0;
    deliver_and_run(other, 0); /* others go on at once */
    assert_true(is_acknowledged(other));
    assert_false(is_acknowledged(order));
    fake.failures.full = 10 * EVENT_ATTEMPTS_MAX;
    fake_pass(LONG_MS);
    assert_int_equal(fake.letters, 0);
    assert_true(is_acknowledged(order));
    fake_end();
}

/* ---- dead letters ---- */

static void buries_what_cannot_be_parsed(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t broken = fake_publish_text(&subject_ticket_created, "{}");
    deliver_and_run(broken, 0);
    assert_int_equal(fake.letters, 1);
    assert_true(is_acknowledged(broken));
    assert_non_null(strstr(fake.last_letter, "\"channel\":\"ticket:created\",\"sequence\":1,"));
    assert_non_null(strstr(fake.last_letter, "\"listener\":\"shop-service\",\"attempts\":1,"));
    assert_non_null(strstr(fake.last_letter, "\"event\":\"e30=\""));
    assert_non_null(strstr(fake.last_letter, "id: is required"));
    fake_end();
}

static void acknowledges_only_when_the_letter_is_confirmed(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t broken = fake_publish_text(&subject_ticket_created, "[]");
    fake.failures.broken_letters = 2;
    for (int i = 0; i < 3; i++) {
        assert_false(is_acknowledged(broken));
        deliver_and_run(broken, 0);
    }
    assert_true(is_acknowledged(broken));
    assert_int_equal(fake.letters, 1);
    fake_end();
}

static void takes_an_event_of_64_kib_and_not_one_byte_more(void **state UNUSED)
{
    enum { LARGEST = EVENT_PAYLOAD_MAX };
    static const char rest[] = "{\"id\":\"000000000000000000000001\",\"version\":1,\"title\":\"A\",\"price\":1,"
                               "\"userId\":\"000000000000000000000001\",\"createdAt\":\"2026-01-01T00:00:00.000Z\","
                               "\"updatedAt\":\"2026-01-01T00:00:00.000Z\"}";
    fake_begin(&replica, IN_FLIGHT, 1);
    CLEANUP(free_pointer) char *text = xmalloc(LARGEST + 2);
    memset(text, ' ', LARGEST + 1);
    memcpy(text, rest, sizeof(rest) - 1);
    text[LARGEST + 1] = '\0';
    deliver_and_run(fake_publish_text(&subject_ticket_created, text), 0);
    assert_int_equal(fake.letters, 1);
    assert_non_null(strstr(fake.last_letter, "\"reason\":\"larger than 65536 bytes\""));
    assert_int_equal(version_of(1), 0);
    text[LARGEST] = '\0';
    deliver_and_run(fake_publish_text(&subject_ticket_created, text), 0);
    assert_int_equal(fake.letters, 1);
    assert_int_equal(version_of(1), 1);
    fake_end();
}

/* ---- effects ---- */

static void writes_what_the_effect_changed(void **state UNUSED)
{
    fake_begin(&effect, IN_FLIGHT, 1);
    size_t order = publish_order(1, 1, 0);
    deliver_and_run(order, 0);
    const struct id id = fake_id(1);
    assert_true(is_acknowledged(order));
    assert_int_equal(fake_record(&id)->value.reservation, 1);
    assert_int_equal(version_of(1), 1);
    assert_int_equal(fake.hints, 1);
    deliver_and_run(publish_order(1, 2, 0), 0);
    assert_int_equal(version_of(1), 2);
    size_t old = publish_order(1, 1, 0);
    deliver_and_run(old, 0); /* it changes nothing any more */
    assert_true(is_acknowledged(old));
    assert_int_equal(version_of(1), 2);
    assert_int_equal(fake.hints, 2);
    fake_end();
}

static void holds_an_effect_until_its_record_has_changed(void **state UNUSED)
{
    fake_begin(&effect, IN_FLIGHT, 1);
    fake.loses_signals = true;
    size_t second = publish_order(1, 2, 0);
    size_t first = publish_order(1, 1, 0);
    deliver_and_run(second, 0);
    assert_false(is_acknowledged(second));
    deliver_and_run(first, 0);
    assert_true(is_acknowledged(second));
    assert_int_equal(version_of(1), 2);
    fake_end();
}

static void goes_on_when_a_request_has_changed_the_record(void **state UNUSED)
{
    fake_begin(&effect, IN_FLIGHT, 1);
    size_t second = publish_order(1, 2, 0);
    deliver_and_run(second, 0);
    const struct id id = fake_id(1);
    fake_record(&id)->head.version = 1;
    const struct notice changed = {.collection = &fake_tickets, .id = id, .version = 1};
    shard_tell_changed(fake.instances[0].shards[0], &changed);
    shard_tell_changed(fake.instances[0].shards[1], &changed);
    fake_run();
    assert_true(is_acknowledged(second));
    assert_int_equal(version_of(1), 2);
    fake_end();
}

static void buries_a_stray(void **state UNUSED)
{
    fake_begin(&effect, IN_FLIGHT, 1);
    size_t stray = publish_order(1, 1, 1 + EFFECT_STRAY);
    deliver_and_run(stray, 0);
    assert_int_equal(fake.letters, 1);
    assert_true(is_acknowledged(stray));
    assert_int_equal(version_of(1), 0);
    fake_end();
}

/* Once taken, it would be above every epoch that --restored can give. */
static void buries_an_effect_of_an_epoch_of_the_future(void **state UNUSED)
{
    enum { DAY_MS = 24 * 60 * 60 * 1000 };
    fake_begin(&effect, IN_FLIGHT, 1);
    struct order order = {.status = ORDER_CREATED,
                          .user_id = fake_id(1),
                          .ticket = {.id = fake_id(1), .title = "A", .price = 1},
                          .reservation = 1};
    uint64_t now = (uint64_t)clock_now(NULL);
    size_t forged = fake_publish_epoch(event_order_created(&order), fake_id(101), 1, now + 2 * DAY_MS);
    deliver_and_run(forged, 0);
    assert_int_equal(fake.letters, 1);
    assert_non_null(strstr(fake.last_letter, "its epoch is of the future"));
    assert_int_equal(version_of(1), 0);
    size_t restored = fake_publish_epoch(event_order_created(&order), fake_id(101), 1, now);
    deliver_and_run(restored, 0);
    assert_int_equal(fake.letters, 1);
    assert_int_equal(version_of(1), 1);
    fake_end();
}

/* An expiration has no version: only what it does to our record counts. */
static enum effect expire(const struct record *source UNUSED, const void *entity UNUSED, struct record *own,
                          void *own_value, struct event *ret_event)
{
    struct ticket *ticket = own_value;
    if (own->version == 0) {
        return EFFECT_GAP;
    }
    if (ticket->reservation == 1) {
        return EFFECT_UNCHANGED;
    }
    ticket->reservation = 1;
    *ret_event = event_ticket_updated(ticket);
    return EFFECT_CHANGED;
}

static void applies_what_has_no_version_as_often_as_it_changes_something(void **state UNUSED)
{
    static const struct listener expirations = {.entity = &entity_expiration,
                                                .collection = &fake_tickets,
                                                .effect = expire,
                                                .own_id = offsetof(struct expiration, order_id)};
    fake_begin(&expirations, IN_FLIGHT, 1);
    const struct expiration expiration = {.order_id = fake_id(1)};
    size_t first = fake_publish(event_expiration_complete(&expiration), fake_id(0), 0);
    size_t second = fake_publish(event_expiration_complete(&expiration), fake_id(0), 0);
    deliver_and_run(first, 0);
    assert_false(is_acknowledged(first));
    fake_record(&expiration.order_id)->head.version = 1;
    deliver_and_run(second, 0);
    fake_pass(EVENT_RECHECK_MS);
    assert_true(is_acknowledged(first));
    assert_true(is_acknowledged(second));
    assert_int_equal(version_of(1), 2);
    fake_end();
}

static void ignores_what_is_about_none_of_our_records(void **state UNUSED)
{
    static const struct listener by_payment = {.entity = &entity_order,
                                               .collection = &fake_tickets,
                                               .effect = obey,
                                               .own_id = offsetof(struct order, payment_id)};
    fake_begin(&by_payment, IN_FLIGHT, 1);
    size_t order = publish_order(1, 1, 0);
    deliver_and_run(order, 0);
    assert_true(is_acknowledged(order));
    assert_int_equal(fake.letters, 0);
    fake_end();
}

int main(void)
{
    log_init("events_shard", LOG_LEVEL_ERROR, LOG_FORMAT_HUMAN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledges_what_it_has_applied),
        cmocka_unit_test(acknowledges_a_double_without_applying_it),
        cmocka_unit_test(holds_a_gap_until_it_closes_here),
        cmocka_unit_test(goes_on_at_the_signal_of_another_instance),
        cmocka_unit_test(is_answered_when_the_lacking_is_there_already),
        cmocka_unit_test(looks_again_when_no_signal_came),
        cmocka_unit_test(asks_for_more_time_while_it_holds),
        cmocka_unit_test(renews_the_handle_of_what_is_delivered_again),
        cmocka_unit_test(tells_an_event_of_a_new_history_from_a_redelivery),
        cmocka_unit_test(holds_as_much_as_may_be_in_flight_and_drops_the_rest),
        cmocka_unit_test(waits_for_the_store_however_long_it_is_away),
        cmocka_unit_test(finds_out_what_became_of_a_write_without_an_answer),
        cmocka_unit_test(buries_what_fails_by_itself_after_some_attempts),
        cmocka_unit_test(succeeds_before_the_last_attempt),
        cmocka_unit_test(waits_for_room_in_the_outbox),
        cmocka_unit_test(buries_what_cannot_be_parsed),
        cmocka_unit_test(acknowledges_only_when_the_letter_is_confirmed),
        cmocka_unit_test(takes_an_event_of_64_kib_and_not_one_byte_more),
        cmocka_unit_test(writes_what_the_effect_changed),
        cmocka_unit_test(holds_an_effect_until_its_record_has_changed),
        cmocka_unit_test(goes_on_when_a_request_has_changed_the_record),
        cmocka_unit_test(buries_a_stray),
        cmocka_unit_test(buries_an_effect_of_an_epoch_of_the_future),
        cmocka_unit_test(applies_what_has_no_version_as_often_as_it_changes_something),
        cmocka_unit_test(ignores_what_is_about_none_of_our_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
