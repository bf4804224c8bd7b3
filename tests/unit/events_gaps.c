/* SPDX-License-Identifier: Apache-2.0
 * Tests of gaps that last: when their owner is asked, what its snapshot and its answer do, and what is a stray. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "tests/unit/events_fake.h"

enum {
    IN_FLIGHT = 16,
    TICK_MS = 10,
};

static void count_hint(const struct record *head UNUSED, const void *value UNUSED, void *context)
{
    struct fake *counted = context;
    counted->hints++;
}

static const struct listener replica = {.entity = &entity_ticket, .collection = &fake_tickets, .applied = count_hint};

static size_t publish_epoch(unsigned id, uint64_t version, uint64_t epoch)
{
    struct ticket ticket = {.title = "A", .price = (int64_t)version, .user_id = fake_id(1)};
    return fake_publish_epoch(version == 1 ? event_ticket_created(&ticket) : event_ticket_updated(&ticket), fake_id(id),
                              version, epoch);
}

static size_t publish(unsigned id, uint64_t version)
{
    return publish_epoch(id, version, 0);
}

static void own(unsigned id, uint64_t version)
{
    const struct id full = fake_id(id);
    struct fake_record *owned = fake_owned(&full);
    owned->head.version = version;
    owned->value = (struct ticket){.title = "A", .price = (int64_t)version, .user_id = fake_id(1)};
}

static const struct fake_record *stored(unsigned id)
{
    const struct id full = fake_id(id);
    return fake_record(&full);
}

static bool is_acknowledged(size_t message)
{
    return fake.messages[message].is_acknowledged;
}

static size_t deliver(size_t message, size_t instance)
{
    fake_deliver(message, instance);
    fake_run();
    return message;
}

/* What the owner has published meanwhile, delivered to this instance. */
static void deliver_snapshots(size_t from, size_t instance)
{
    for (size_t i = from; i < fake.message_count; i++) {
        if (fake.messages[i].subject->is_snapshot && !is_acknowledged(i)) {
            deliver(i, instance);
        }
    }
}

/* The same of what is of a later epoch: it waits until the owner, who is asked at once, has told of that. */
static size_t deliver_later(size_t message, size_t instance)
{
    assert_false(is_acknowledged(deliver(message, instance)));
    fake_pass(2 * EVENT_RECHECK_MS);
    return message;
}

/* ---- snapshots ---- */

static void takes_a_snapshot_without_its_predecessors(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    own(1, 7);
    assert_true(is_acknowledged(deliver(fake_publish_snapshot(fake_id(1)), 0)));
    assert_int_equal(stored(1)->head.version, 7);
    assert_int_equal(stored(1)->value.price, 7);
    assert_int_equal(fake.hints, 1);
    assert_true(is_acknowledged(deliver(publish(1, 5), 0))); /* its effect is in the store */
    assert_true(is_acknowledged(deliver(publish(1, 8), 1)));
    assert_int_equal(stored(1)->head.version, 8);
    assert_true(is_acknowledged(deliver(fake_publish_snapshot(fake_id(1)), 1))); /* of 7: too late */
    assert_int_equal(stored(1)->head.version, 8);
    fake_end();
}

static void follows_a_restored_owner_back(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    for (uint64_t version = 1; version <= 5; version++) {
        deliver(publish(1, version), 0);
    }
    fake.owner_answers = true;
    fake.owner_epoch = 3;
    own(1, 2);
    assert_true(is_acknowledged(deliver_later(fake_publish_snapshot(fake_id(1)), 0)));
    assert_int_equal(stored(1)->head.version, 2);
    assert_int_equal(stored(1)->head.epoch, 3);
    assert_int_equal(fake.epoch_fact, 3);
    assert_true(is_acknowledged(deliver(publish(1, 6), 0))); /* of the old history: done, not applied */
    assert_int_equal(stored(1)->head.version, 2);
    assert_true(is_acknowledged(deliver(publish_epoch(1, 3, 3), 1)));
    assert_int_equal(stored(1)->head.version, 3);
    fake_end();
}

static void removes_what_a_restored_owner_does_not_have_and_does_not_bring_it_back(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    fake.owner_answers = true;
    deliver(publish(1, 1), 0);
    size_t old = publish(1, 1), older = publish(1, 2);
    own(1, 1);
    size_t stale = fake_publish_snapshot(fake_id(1));
    own(1, 0);
    fake.owner_epoch = 1;
    assert_true(is_acknowledged(deliver_later(fake_publish_snapshot(fake_id(1)), 0)));
    assert_int_equal(stored(1)->head.version, 0);
    assert_int_equal(fake.removals, 1);
    assert_true(is_acknowledged(deliver(stale, 1)));
    deliver(old, 1);
    deliver(older, 0);
    assert_false(is_acknowledged(old)); /* only the owner can tell */
    fake_pass(EVENT_ASK_MS + 2 * EVENT_RECHECK_MS);
    assert_true(is_acknowledged(old));
    assert_true(is_acknowledged(older));
    assert_int_equal(stored(1)->head.version, 0);
    assert_int_equal(fake.letters, 0);
    fake_end();
}

/* In the other instance: it finds nothing to remove yet. */
static void learn_that_the_record_is_gone(void)
{
    fake.owner_epoch = 1;
    fake.epoch_fact = 1;
    fake_deliver(fake_publish_snapshot(fake_id(1)), 1);
    for (size_t i = 0; i < 10; i++) {
        fake_step(1, i % FAKE_SHARDS);
    }
}

static void takes_back_what_was_inserted_while_another_instance_learnt_of_a_new_history(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t old = publish(1, 1);
    fake.after_fact = learn_that_the_record_is_gone;
    deliver(old, 0);
    assert_null(fake.after_fact);
    assert_int_equal(stored(1)->writes[1], 1);
    assert_int_equal(stored(1)->head.version, 0);
    assert_int_equal(fake.epoch_fact, 1);
    assert_int_equal(fake.hints, 0);
    assert_false(is_acknowledged(old)); /* held: its owner is asked */
    fake.owner_answers = true;
    fake_pass(EVENT_ASK_MS + 2 * EVENT_RECHECK_MS);
    assert_true(is_acknowledged(old));
    assert_int_equal(stored(1)->head.version, 0);
    fake_end();
}

static void ignores_that_a_record_was_not_there_yet(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    size_t early = fake_publish_snapshot(fake_id(1)); /* version 0 */
    deliver(publish(1, 1), 0);
    assert_true(is_acknowledged(deliver(early, 0)));
    assert_int_equal(stored(1)->head.version, 1);
    assert_int_equal(fake.removals, 0);
    fake_end();
}

static enum effect take_over(const struct record *source, const void *entity, struct record *own_head UNUSED,
                             void *own_value, struct event *ret_event)
{
    const struct order *order = entity;
    struct ticket *ticket = own_value;
    if (order->reservation <= ticket->reservation) {
        return EFFECT_UNCHANGED;
    }
    ticket->reservation = order->reservation;
    ticket->order_id = source->id;
    *ret_event = event_ticket_updated(ticket);
    return EFFECT_CHANGED;
}

static void gives_snapshots_to_effects_as_any_state(void **state UNUSED)
{
    static const struct listener effect = {.entity = &entity_order,
                                           .collection = &fake_tickets,
                                           .effect = take_over,
                                           .own_id = offsetof(struct order, ticket.id)};
    fake_begin(&effect, IN_FLIGHT, 1);
    static const char *const texts[] = {
        "{\"id\":\"0000000000000000000000aa\",\"version\":4,\"status\":\"created\",\"userId\":"
        "\"000000000000000000000001\",\"ticket\":{\"id\":\"000000000000000000000007\",\"title\":\"A\",\"price\":1},"
        "\"reservation\":2,\"createdAt\":\"2026-01-01T00:00:00.000Z\",\"expiresAt\":\"2026-01-01T00:00:00.000Z\"}",
        "{\"id\":\"0000000000000000000000aa\",\"version\":0,\"meta\":{\"epoch\":1}}",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        assert_true(is_acknowledged(deliver(fake_publish_text(&subject_order_snapshot, texts[i]), 0)));
    }
    assert_int_equal(stored(7)->value.reservation, 2);
    assert_int_equal(stored(7)->head.version, 1);
    assert_int_equal(fake.letters, 0);
    fake_end();
}

/* ---- asking ---- */

static void asks_the_owner_about_a_gap_that_lasts_and_is_healed(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    fake.owner_answers = true;
    own(1, 6);
    deliver(publish(1, 1), 0);
    size_t first = deliver(publish(1, 3), 0), second = deliver(publish(1, 5), 1);
    fake_pass(EVENT_ASK_MS - TICK_MS);
    assert_int_equal(fake.asked, 0);
    fake_pass(EVENT_RECHECK_MS + 2 * TICK_MS);
    assert_int_equal(fake.asked, 2); /* each instance asks for what it holds */
    assert_false(is_acknowledged(first));
    assert_int_equal(fake.letters, 0);
    deliver_snapshots(second, 1);
    assert_int_equal(stored(1)->head.version, 6);
    assert_true(is_acknowledged(second)); /* at once */
    assert_true(is_acknowledged(first));  /* by signal, in the other instance */
    fake_pass(2 * EVENT_ASK_AGAIN_MS);
    assert_int_equal(fake.asked, 2);
    fake_end();
}

static void asks_again_as_long_as_there_is_no_answer(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    own(1, 3);
    size_t held = deliver(publish(1, 3), 0);
    fake_pass(EVENT_ASK_MS + 3 * EVENT_ASK_AGAIN_MS + 5 * EVENT_RECHECK_MS);
    assert_int_equal(fake.asked, 4);
    assert_false(is_acknowledged(held));
    fake.owner_answers = true;
    fake_pass(EVENT_ASK_AGAIN_MS + EVENT_RECHECK_MS);
    assert_int_equal(fake.asked, 5);
    deliver_snapshots(held, 0);
    assert_true(is_acknowledged(held));
    assert_int_equal(stored(1)->head.version, 3);
    fake_end();
}

static void does_not_ask_about_a_record_that_gets_on(void **state UNUSED)
{
    fake_begin(&replica, 4 * IN_FLIGHT, 1);
    for (uint64_t version = 1; version <= 40; version += 2) {
        deliver(publish(1, version + 1), 0);
        fake_pass(EVENT_ASK_MS / 4);
        deliver(publish(1, version), 0);
    }
    assert_int_equal(stored(1)->head.version, 40);
    assert_int_equal(fake.asked, 0);
    fake_end();
}

static void asks_early_where_one_record_takes_a_large_part_of_the_window(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    fake.owner_answers = true;
    own(1, 9);
    for (uint64_t version = 2; version <= 1 + IN_FLIGHT / 4; version++) {
        deliver(publish(1, version), 0);
    }
    fake_pass(8 * EVENT_ASK_EARLY_MS);
    assert_int_equal(fake.asked, 0);
    size_t last = deliver(publish(1, 9), 0); /* one too many */
    fake_pass(2 * EVENT_ASK_EARLY_MS);
    assert_int_equal(fake.asked, 1);
    deliver_snapshots(0, 1);
    fake_run();
    assert_true(is_acknowledged(last));
    assert_int_equal(atomic_load(&fake.instances[0].routes[1].held), 0);
    fake_end();
}

static void asks_early_where_many_records_share_the_window(void **state UNUSED)
{
    enum { GAPS = FAKE_RECORDS };
    fake_begin(&replica, 2 * GAPS - 2, 1);
    for (unsigned record = 1; record <= GAPS; record++) {
        deliver(publish(record, 2), 0);
        fake_pass(EVENT_ASK_EARLY_MS);
        assert_int_equal(fake.asked, 0);
        if (record == GAPS - 1) {
            break;
        }
    }
    deliver(publish(GAPS, 2), 0); /* more than half */
    fake_pass(2 * EVENT_ASK_EARLY_MS);
    assert_int_equal(fake.asked, GAPS);
    fake_pass(EVENT_ASK_EARLY_MS);
    assert_int_equal(fake.asked, GAPS); /* once a second */
    fake_end();
}

/* ---- strays ---- */

static void buries_what_its_owner_never_had(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    fake.owner_answers = true;
    own(1, 3);
    own(2, 0);
    deliver(publish(1, 1), 0);
    size_t true_one = deliver(publish(1, 3), 0), stray = deliver(publish(1, 5), 0);
    fake_pass(EVENT_ASK_MS + 2 * EVENT_RECHECK_MS);
    assert_int_equal(fake.letters, 1);
    assert_true(is_acknowledged(stray));
    assert_false(is_acknowledged(true_one)); /* that waits for the snapshot */
    assert_non_null(strstr(fake.last_letter, "\"reason\":\"stray: its owner has ticket 000000000000000000000001 at "
                                             "version 3 only\""));
    deliver_snapshots(0, 0);
    assert_true(is_acknowledged(true_one));
    size_t nowhere = deliver(publish(2, 4), 0);
    fake_pass(EVENT_ASK_MS + 2 * EVENT_RECHECK_MS);
    assert_true(is_acknowledged(nowhere));
    assert_int_equal(fake.letters, 2);
    assert_non_null(strstr(fake.last_letter, "\"reason\":\"stray: its owner has no ticket 000000000000000000000002\""));
    assert_int_equal(stored(1)->head.version, 3);
    assert_int_equal(stored(2)->head.version, 0);
    fake_end();
}

/* Moves the signals on until one of this topic is the next; returns its number. */
static size_t signal_on(const char *topic)
{
    for (size_t i = 0; i < fake.signal_count; i++) {
        if (strcmp(fake.signals[i].topic, topic) == 0) {
            return i;
        }
    }
    fail_msg("there is no signal on %s", topic);
    return 0;
}

/* Steps the shards, and leaves the signals where they are. */
static void step_all(void)
{
    for (size_t i = 0; i < 100; i++) {
        fake_step(i % FAKE_INSTANCES, i / FAKE_INSTANCES % FAKE_SHARDS);
    }
}

/* The answer is of a time at which the event may not have been there yet. */
static void does_not_judge_an_event_by_an_answer_to_an_earlier_ask(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    fake.owner_answers = true;
    own(1, 3);
    deliver(publish(1, 1), 0);
    size_t early = deliver(publish(1, 3), 0);
    fake.now += EVENT_ASK_MS;
    step_all();
    fake_deliver_signal(signal_on("tickets.ask")); /* the owner has 3, and says so */
    own(1, 4);
    size_t late = publish(1, 4);
    fake_deliver(late, 0);
    step_all(); /* it is held before the answer comes */
    fake_deliver_signal(signal_on("ticket.answer"));
    fake_run();
    assert_int_equal(fake.letters, 0);
    assert_false(is_acknowledged(late));
    deliver_snapshots(0, 0); /* of version 3 */
    assert_true(is_acknowledged(early));
    assert_true(is_acknowledged(late));
    assert_int_equal(stored(1)->head.version, 4);
    fake_end();
}

static void does_not_judge_by_answers_to_others_or_by_snapshots(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    own(1, 3);
    deliver(publish(1, 1), 0);
    size_t held = deliver(publish(1, 5), 0);
    deliver(fake_publish_snapshot(fake_id(1)), 1); /* nobody asked for it */
    fake_pass(EVENT_ASK_MS + 2 * EVENT_RECHECK_MS);
    assert_int_equal(fake.asked, 1);
    static const char *const answers[] = {
        "ticket 000000000000000000000001 ffffffffffffffffffffffff 3 0", /* to nobody here */
        "ticket 000000000000000000000001 000000000000000000000001 3 0",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(answers); i++) {
        bus_signal(NULL, "ticket.answer", answers[i], strlen(answers[i]));
    }
    struct notice about_another = {.collection = &fake_tickets, .id = fake_id(1), .version = 3, .ask = 2};
    for (size_t i = 0; i < FAKE_SHARDS; i++) {
        shard_tell_answer(fake.instances[0].shards[i], &about_another); /* our second ask was never made for it */
    }
    fake_run();
    assert_int_equal(fake.letters, 0);
    assert_false(is_acknowledged(held));
    fake_end();
}

static void holds_an_event_of_a_later_epoch_until_its_owner_has_told(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    fake.owner_answers = true;
    for (uint64_t version = 1; version <= 3; version++) {
        deliver(publish(1, version), 0);
    }
    own(1, 2);
    fake.owner_epoch = 1;
    size_t later = deliver(publish_epoch(1, 2, 1), 0), forged = deliver(publish_epoch(1, 3, 9), 0);
    assert_int_equal(fake.epoch_fact, 1); /* what is only held says nothing */
    fake_pass(EVENT_ASK_MS + 2 * EVENT_RECHECK_MS);
    assert_true(is_acknowledged(forged));
    assert_int_equal(fake.letters, 1);
    assert_non_null(strstr(fake.last_letter, "at version 2 of epoch 1, not of epoch 9"));
    deliver_snapshots(0, 0);
    assert_true(is_acknowledged(later));
    assert_int_equal(stored(1)->head.version, 2);
    assert_int_equal(stored(1)->head.epoch, 1);
    fake_end();
}

/* Whoever believed it would never again believe what the owner says. */
static void an_epoch_that_its_owner_never_had_changes_nothing(void **state UNUSED)
{
    static const char snapshot[] = "{\"id\":\"000000000000000000000001\",\"version\":0,"
                                   "\"meta\":{\"epoch\":9007199254740991}}";
    fake_begin(&replica, IN_FLIGHT, 1);
    deliver(publish(1, 1), 0);
    own(1, 1);
    size_t forged = deliver(publish_epoch(1, 2, RECORD_VERSION_MAX), 0);
    size_t other = deliver(publish_epoch(2, 1, RECORD_VERSION_MAX), 1);
    size_t removal = deliver(fake_publish_text(&subject_ticket_snapshot, snapshot), 1);
    fake_pass(EVENT_ASK_MS); /* the owner is away: they wait, and nobody waits for them */
    assert_int_equal(fake.letters, 0);
    size_t next = deliver(publish(1, 3), 0);
    assert_true(is_acknowledged(deliver(publish(1, 2), 0)));
    assert_true(is_acknowledged(next));
    own(1, 3);
    fake.owner_answers = true;
    fake_pass(2 * EVENT_ASK_EARLY_MS + 1000);
    assert_true(is_acknowledged(forged) && is_acknowledged(other) && is_acknowledged(removal));
    assert_int_equal(fake.letters, 3);
    assert_non_null(strstr(fake.last_letter, "stray"));
    assert_int_equal(fake.epoch_fact, 0);
    assert_int_equal(stored(1)->head.version, 3);
    assert_int_equal(stored(1)->head.epoch, 0);
    assert_int_equal(stored(2)->head.version, 0);
    assert_true(is_acknowledged(deliver(publish(2, 1), 0)));
    assert_int_equal(stored(2)->head.version, 1);
    fake_end();
}

static void asks_about_an_epoch_once_and_then_believes_it(void **state UNUSED)
{
    fake_begin(&replica, IN_FLIGHT, 1);
    fake.owner_answers = true;
    fake.owner_epoch = 5;
    own(1, 1);
    deliver_later(publish_epoch(1, 1, 5), 0);
    assert_int_equal(fake.asked, 1);
    assert_int_equal(fake.epoch_fact, 5);
    for (unsigned id = 2; id < 6; id++) {
        assert_true(is_acknowledged(deliver(publish_epoch(id, 1, 5), id % FAKE_INSTANCES)));
        assert_int_equal(stored(id)->head.epoch, 5);
    }
    assert_int_equal(fake.asked, 1);
    fake_end();
}

int main(void)
{
    log_init("events_gaps", LOG_LEVEL_ERROR, LOG_FORMAT_HUMAN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_snapshot_without_its_predecessors),
        cmocka_unit_test(follows_a_restored_owner_back),
        cmocka_unit_test(removes_what_a_restored_owner_does_not_have_and_does_not_bring_it_back),
        cmocka_unit_test(takes_back_what_was_inserted_while_another_instance_learnt_of_a_new_history),
        cmocka_unit_test(ignores_that_a_record_was_not_there_yet),
        cmocka_unit_test(gives_snapshots_to_effects_as_any_state),
        cmocka_unit_test(asks_the_owner_about_a_gap_that_lasts_and_is_healed),
        cmocka_unit_test(asks_again_as_long_as_there_is_no_answer),
        cmocka_unit_test(does_not_ask_about_a_record_that_gets_on),
        cmocka_unit_test(asks_early_where_one_record_takes_a_large_part_of_the_window),
        cmocka_unit_test(asks_early_where_many_records_share_the_window),
        cmocka_unit_test(buries_what_its_owner_never_had),
        cmocka_unit_test(does_not_judge_an_event_by_an_answer_to_an_earlier_ask),
        cmocka_unit_test(does_not_judge_by_answers_to_others_or_by_snapshots),
        cmocka_unit_test(holds_an_event_of_a_later_epoch_until_its_owner_has_told),
        cmocka_unit_test(an_epoch_that_its_owner_never_had_changes_nothing),
        cmocka_unit_test(asks_about_an_epoch_once_and_then_believes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
