/* SPDX-License-Identifier: Apache-2.0
 * Tests of two instances of a listener that share a store and a bus, in thousands of random schedules: events come in
 * any order, doubled and again, instances interleave between read and write, crash, lose signals, and the store and the
 * dead letters fail now and then. Whatever happens, all converge and everything is acknowledged in the end. */
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
    SEEDS = 1000,
    RECORDS = 3,
    VERSIONS = 6,
    ORDERS = 4, /* of each ticket */
    IN_FLIGHT = 8,
    STEPS_MAX = 200000,
    TICK_MS = 60,
};

/* ---- schedules ---- */

/* As the real bus: only what is not acknowledged is delivered, to any instance, and again after a while. */
static void deliver_some(void)
{
    for (int i = 0; i < 2; i++) {
        size_t message = fake_below((unsigned)fake.message_count);
        if (!fake.messages[message].is_acknowledged && fake.messages[message].deliveries < 3) {
            fake_deliver(message, fake_below(FAKE_INSTANCES));
        }
    }
}

static bool is_all_acknowledged(void)
{
    for (size_t i = 0; i < fake.message_count; i++) {
        if (!fake.messages[i].is_acknowledged) {
            return false;
        }
    }
    return true;
}

static void run_schedule(uint64_t seed)
{
    fake.interleaves = true;
    for (int i = 0; !is_all_acknowledged(); i++) {
        if (i > STEPS_MAX) {
            fail_msg("seed %d: something is stuck", (int)seed);
        }
        unsigned choice = fake_below(100);
        if (choice < 15) {
            deliver_some();
        } else if (choice < 25 && fake.signal_count > 0) {
            fake_deliver_signal(fake_below((unsigned)fake.signal_count));
        } else if (choice < 26) {
            fake_crash(fake_below(FAKE_INSTANCES));
        } else if (choice < 40) {
            fake.now += fake_below(TICK_MS);
        } else {
            fake_step(fake_below(FAKE_INSTANCES), fake_below(FAKE_SHARDS));
        }
    }
    fake.interleaves = false;
    fake.signal_count = 0;
}

/* ---- replicas ---- */

static const struct listener replica = {.entity = &entity_ticket, .collection = &fake_tickets};

static void publish_tickets(void)
{
    for (unsigned record = 1; record <= RECORDS; record++) {
        for (uint64_t version = 1; version <= VERSIONS; version++) {
            struct ticket ticket = {.title = "A", .price = (int64_t)version, .user_id = fake_id(1)};
            struct event event = version == 1 ? event_ticket_created(&ticket) : event_ticket_updated(&ticket);
            fake_publish(event, fake_id(record), version);
            if (fake_below(4) == 0) {
                fake_publish(event, fake_id(record), version);
            }
        }
    }
}

static void replicas_converge_and_apply_each_version_once(void **state UNUSED)
{
    size_t conflicts = 0, letters = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        fake_begin(&replica, IN_FLIGHT, seed);
        publish_tickets();
        size_t broken = fake_below(3);
        for (size_t i = 0; i < broken; i++) {
            fake_publish_text(&subject_ticket_updated, "broken");
        }
        run_schedule(seed);
        for (unsigned record = 1; record <= RECORDS; record++) {
            const struct id id = fake_id(record);
            const struct fake_record *stored = fake_record(&id);
            assert_int_equal(stored->head.version, VERSIONS);
            assert_int_equal(stored->value.price, VERSIONS);
            for (uint64_t version = 1; version <= VERSIONS; version++) {
                assert_int_equal(stored->writes[version], 1);
            }
        }
        assert_true(fake.letters >= broken);
        conflicts += fake.conflicts;
        letters += fake.letters;
        fake_end();
    }
    assert_true(conflicts > SEEDS / 10); /* the schedules have it all */
    assert_true(letters > SEEDS / 2);
}

/* ---- effects ---- */

/* A live order with a higher reservation takes the ticket over; a cancelled one frees it. */
static enum effect reserve(const struct record *source, const void *entity, struct record *own, void *own_value,
                           struct event *ret_event)
{
    const struct order *order = entity;
    struct ticket *ticket = own_value;
    if (own->version == 0) {
        return EFFECT_GAP;
    }
    bool is_cancelled = order->status == ORDER_CANCELLED;
    bool is_later = order->reservation > ticket->reservation;
    bool is_held = order->reservation == ticket->reservation && id_is_set(&ticket->order_id);
    if (is_cancelled ? !is_later && !is_held : !is_later) {
        return EFFECT_UNCHANGED;
    }
    ticket->reservation = order->reservation;
    const struct id nobody = {.hex = ""};
    ticket->order_id = is_cancelled ? nobody : source->id;
    *ret_event = event_ticket_updated(ticket);
    return EFFECT_CHANGED;
}

static const struct listener effect = {.entity = &entity_order,
                                       .collection = &fake_tickets,
                                       .effect = reserve,
                                       .own_id = offsetof(struct order, ticket.id)};

static void publish_order(unsigned ticket, int64_t reservation, bool is_cancelled)
{
    struct order order = {.status = is_cancelled ? ORDER_CANCELLED : ORDER_CREATED,
                          .user_id = fake_id(1),
                          .ticket = {.id = fake_id(ticket), .title = "A", .price = 1},
                          .reservation = reservation};
    struct event event = is_cancelled ? event_order_cancelled(&order) : event_order_created(&order);
    fake_publish(event, fake_id(100 * ticket + (unsigned)reservation), is_cancelled ? 2 : 1);
    if (fake_below(4) == 0) {
        fake_publish(event, fake_id(100 * ticket + (unsigned)reservation), is_cancelled ? 2 : 1);
    }
}

static void make_tickets(void)
{
    for (unsigned ticket = 1; ticket <= RECORDS; ticket++) {
        const struct id id = fake_id(ticket);
        struct fake_record *record = fake_record(&id);
        record->head.version = 1;
        record->value = (struct ticket){.title = "A", .price = 1, .user_id = fake_id(1)};
    }
}

static void check_ticket(unsigned ticket, bool last_is_cancelled)
{
    const struct id id = fake_id(ticket);
    const struct fake_record *stored = fake_record(&id);
    assert_int_equal(stored->value.reservation, ORDERS);
    assert_string_equal(stored->value.order_id.hex, last_is_cancelled ? "" : fake_id(100 * ticket + ORDERS).hex);
    for (uint64_t version = 2; version <= stored->head.version; version++) {
        assert_int_equal(stored->writes[version], 1);
    }
    assert_in_range(stored->head.version, 2, 1 + 2 * ORDERS);
}

static void effects_converge_whatever_the_order(void **state UNUSED)
{
    size_t conflicts = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        fake_begin(&effect, IN_FLIGHT, seed);
        bool is_cancelled[RECORDS + 1];
        for (unsigned ticket = 1; ticket <= RECORDS; ticket++) {
            is_cancelled[ticket] = fake_below(2) == 0;
            for (int64_t reservation = 1; reservation <= ORDERS; reservation++) {
                publish_order(ticket, reservation, false);
                if (reservation < ORDERS || is_cancelled[ticket]) {
                    publish_order(ticket, reservation, true);
                }
            }
        }
        unsigned early = fake_below(100); /* what comes before the tickets are there is held */
        for (unsigned i = 0; i < early; i++) {
            deliver_some();
            fake_step(fake_below(FAKE_INSTANCES), fake_below(FAKE_SHARDS));
        }
        make_tickets();
        run_schedule(seed);
        for (unsigned ticket = 1; ticket <= RECORDS; ticket++) {
            check_ticket(ticket, is_cancelled[ticket]);
        }
        assert_int_equal(fake.letters, 0);
        conflicts += fake.conflicts;
        fake_end();
    }
    assert_true(conflicts > SEEDS / 10);
}

int main(void)
{
    log_init("events_listener", LOG_LEVEL_ERROR, LOG_FORMAT_HUMAN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_converge_and_apply_each_version_once),
        cmocka_unit_test(effects_converge_whatever_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
