/* SPDX-License-Identifier: Apache-2.0
 * The contract of events between services, over a real store and a real bus: nothing is lost, nothing is applied twice
 * or out of order, whatever is killed or away in between. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "tests/contract/events_fixture.h"

#define TRACE "0123456789abcdef0123456789abcdef"

enum {
    RECORDS = 50,
    VERSIONS = 10,
    LEFTOVERS = 3000,
    DEEP = 300, /* of them, versions of one record */
};

/* ---- the way of an event ---- */

static void brings_a_change_to_the_replica(void **state)
{
    const struct world *world = *state;
    struct instance owner = instance_open(world, "writers", "writers-1");
    struct instance shop = instance_open(world, "shop", "shop-1");
    write_version(&owner, make_id(1), 1);
    wait_for_version(shop.store, &copies, make_id(1), 1);
    write_version(&owner, make_id(1), 2);
    wait_for_version(shop.store, &copies, make_id(1), 2);
    struct ticket copy;
    struct record head;
    struct error error = ERROR_INIT;
    const struct id id = make_id(1);
    assert_true(store_get(shop.store, &copies, &id, &head, &copy, &error));
    assert_int_equal(copy.price, 2);
    assert_string_equal(copy.title, "A concert");
    wait_for_empty_outbox(owner.store);
    wait_for_acknowledged(world, "shop", "ticket:created");
    wait_for_acknowledged(world, "shop", "ticket:updated");
    instance_close(&shop);
    instance_close(&owner);
}

static void brings_many_versions_of_many_records_by_two_instances_each(void **state)
{
    const struct world *world = *state;
    struct instance owners[2] = {instance_open(world, "writers", "writers-1"),
                                 instance_open(world, "writers", "writers-2")};
    struct instance shops[2] = {instance_open(world, "shop", "shop-1"), instance_open(world, "shop", "shop-2")};
    for (uint64_t version = 1; version <= VERSIONS; version++) {
        for (uint64_t record = 0; record < RECORDS; record++) {
            write_version(&owners[(version + record) % 2], make_id(100 + record), version);
        }
    }
    for (uint64_t record = 0; record < RECORDS; record++) {
        wait_for_version(shops[0].store, &copies, make_id(100 + record), VERSIONS);
    }
    wait_for_empty_outbox(owners[0].store);
    wait_for_acknowledged(world, "shop", "ticket:created");
    wait_for_acknowledged(world, "shop", "ticket:updated");
    for (size_t i = 0; i < 2; i++) {
        instance_close(&shops[i]);
        instance_close(&owners[i]);
    }
}

/* ---- gaps ---- */

static void holds_a_gap_and_applies_it_the_instant_it_closes(void **state)
{
    const struct world *world = *state;
    struct instance shop = instance_open(world, "shop", "shop-1");
    struct bus *bus = bus_connect(world);
    publish_version(bus, make_id(1), 3);
    publish_version(bus, make_id(1), 4);
    publish_version(bus, make_id(1), 2);
    publish_version(bus, make_id(2), 1);
    wait_for_version(shop.store, &copies, make_id(2), 1); /* nobody else waits */
    assert_int_equal(stored_version(shop.store, &copies, make_id(1)), 0);
    assert_int_equal(pending_of(world, "shop", "ticket:updated"), 3);
    int64_t before = clock_monotonic(NULL);
    publish_version(bus, make_id(1), 1);
    wait_for_version(shop.store, &copies, make_id(1), 4);
    assert_in_range(clock_monotonic(NULL) - before, 0, EVENT_ACK_WAIT_MS / 2); /* not by redelivery */
    wait_for_acknowledged(world, "shop", "ticket:updated");
    instance_close(&shop);
    bus_close(&bus, CLOSE_MS);
}

static void holds_as_many_gaps_as_may_be_in_flight(void **state)
{
    const struct world *world = *state;
    struct instance shop = instance_open(world, "shop", "shop-1");
    struct bus *bus = bus_connect(world);
    for (uint64_t version = 2; version <= IN_FLIGHT; version++) {
        publish_version(bus, make_id(1), version);
    }
    int64_t before = clock_monotonic(NULL);
    publish_version(bus, make_id(1), 1);
    wait_for_version(shop.store, &copies, make_id(1), IN_FLIGHT);
    assert_in_range(clock_monotonic(NULL) - before, 0, EVENT_ACK_WAIT_MS / 2); /* not by redelivery */
    wait_for_acknowledged(world, "shop", "ticket:updated");
    instance_close(&shop);
    bus_close(&bus, CLOSE_MS);
}

static void hears_of_what_another_process_applies(void **state)
{
    const struct world *world = *state;
    struct instance shop = instance_open(world, "shop", "shop-1");
    pid_t other = process_start(world, "shop", "shop-2", NULL, NULL);
    struct bus *bus = bus_connect(world);
    /* Whichever instance gets which: the later versions come first. */
    int64_t before = clock_monotonic(NULL);
    for (uint64_t version = 4; version >= 1; version--) {
        for (uint64_t record = 1; record <= RECORDS / 5; record++) {
            publish_version(bus, make_id(record), version);
        }
    }
    for (uint64_t record = 1; record <= RECORDS / 5; record++) {
        wait_for_version(shop.store, &copies, make_id(record), 4);
    }
    assert_in_range(clock_monotonic(NULL) - before, 0, EVENT_ACK_WAIT_MS - 1);
    wait_for_acknowledged(world, "shop", "ticket:created");
    wait_for_acknowledged(world, "shop", "ticket:updated");
    process_kill(other);
    instance_close(&shop);
    bus_close(&bus, CLOSE_MS);
}

static void makes_the_acknowledgement_of_a_double_good(void **state)
{
    const struct world *world = *state;
    struct instance shop = instance_open(world, "shop", "shop-1");
    struct bus *bus = bus_connect(world);
    publish_version(bus, make_id(1), 1);
    publish_version(bus, make_id(1), 1);
    publish_version(bus, make_id(1), 2);
    publish_version(bus, make_id(1), 1);
    wait_for_version(shop.store, &copies, make_id(1), 2);
    wait_for_acknowledged(world, "shop", "ticket:created");
    wait_for_acknowledged(world, "shop", "ticket:updated");
    assert_int_equal(stored_version(shop.store, &copies, make_id(1)), 2);
    instance_close(&shop);
    bus_close(&bus, CLOSE_MS);
}

/* ---- what is away ---- */

static void loses_nothing_while_the_bus_is_away(void **state)
{
    const struct world *world = *state;
    struct instance owner = instance_open(world, "writers", "writers-1");
    struct instance shop = instance_open(world, "shop", "shop-1");
    write_version(&owner, make_id(1), 1);
    wait_for_version(shop.store, &copies, make_id(1), 1);
    bus_server_kill(world->server);
    for (uint64_t version = 2; version <= VERSIONS; version++) {
        write_version(&owner, make_id(1), version);
    }
    for (uint64_t record = 2; record <= RECORDS; record++) {
        write_version(&owner, make_id(record), 1);
    }
    bus_server_start(world->server);
    wait_for_version(shop.store, &copies, make_id(1), VERSIONS);
    for (uint64_t record = 2; record <= RECORDS; record++) {
        wait_for_version(shop.store, &copies, make_id(record), 1);
    }
    wait_for_empty_outbox(owner.store);
    instance_close(&shop);
    instance_close(&owner);
}

static void applies_what_came_while_the_store_was_away(void **state)
{
    const struct world *world = *state;
    struct bus *bus = bus_connect(world);
    struct tap *dead = tap_new(bus, "dead:ticket:created");
    for (uint64_t record = 1; record <= RECORDS; record++) {
        publish_version(bus, make_id(record), 1);
    }
    /* More often than an event of its own may fail. */
    pid_t shop = process_start(world, "shop", "shop-1", "store.commit=fail:30", NULL);
    struct store *store = world_store(world, "shop", NULL);
    for (uint64_t record = 1; record <= RECORDS; record++) {
        wait_for_version(store, &copies, make_id(record), 1);
    }
    wait_for_acknowledged(world, "shop", "ticket:created");
    assert_int_equal(tap_count(dead), 0);
    process_kill(shop);
    store_close(&store);
    bus_close(&bus, CLOSE_MS);
    tap_free(&dead);
}

static void closes_in_time_while_the_bus_is_away_and_leaves_the_rest_to_the_next(void **state)
{
    const struct world *world = *state;
    struct instance owner = instance_open(world, "writers", "writers-1");
    struct instance shop = instance_open(world, "shop", "shop-1");
    write_version(&owner, make_id(1), 1);
    wait_for_version(shop.store, &copies, make_id(1), 1);
    bus_server_kill(world->server);
    write_version(&owner, make_id(1), 2);
    int64_t before = clock_monotonic(NULL);
    instance_close(&owner);
    assert_in_range(clock_monotonic(NULL) - before, 0, CLOSE_MS + CLOSE_MS / 2);
    bus_server_start(world->server);
    owner = instance_open(world, "writers", "writers-2");
    wait_for_version(shop.store, &copies, make_id(1), 2);
    wait_for_empty_outbox(owner.store);
    instance_close(&owner);
    instance_close(&shop);
}

/* ---- what is killed ---- */

static void publishes_what_a_killed_instance_left_behind(void **state)
{
    const struct world *world = *state;
    struct instance other = instance_open(world, "writers", "writers-2");
    struct instance shop = instance_open(world, "shop", "shop-1");
    const struct id id = make_id(1);
    pid_t writer = process_start(world, "writers", "writers-1", "tickets.write.committed=kill", &id);
    process_wait_killed(writer, SIGKILL);
    assert_int_equal(stored_version(other.store, &tickets, id), 1);
    wait_for_version(shop.store, &copies, id, 1);
    wait_for_empty_outbox(other.store);
    instance_close(&shop);
    instance_close(&other);
}

static void publishes_again_what_was_confirmed_but_not_removed(void **state)
{
    const struct world *world = *state;
    struct bus *bus = bus_connect(world);
    struct tap *created = tap_new(bus, "ticket:created");
    struct instance shop = instance_open(world, "shop", "shop-1");
    const struct id id = make_id(1);
    pid_t writer = process_start(world, "writers", "writers-1", "tickets.relay.after_confirm=kill", &id);
    process_wait_killed(writer, SIGKILL);
    wait_for_version(shop.store, &copies, id, 1);
    struct instance next = instance_open(world, "writers", "writers-2");
    write_version(&next, id, 2);
    wait_for_version(shop.store, &copies, id, 2);
    /* The lower version went first, again: which JetStream knows by its id. */
    tap_wait(created, bus_server_is_jetstream() ? 1 : 2);
    wait_for_empty_outbox(next.store);
    instance_close(&next);
    instance_close(&shop);
    bus_close(&bus, CLOSE_MS);
    tap_free(&created);
}

/* Writes a version with its event, and publishes nothing. */
static void leave_behind(struct store *store, struct id id, uint64_t version)
{
    struct error error = ERROR_INIT;
    struct record record = RECORD_INIT;
    record.id = id;
    record.version = version;
    struct ticket ticket = make_ticket((int64_t)version);
    struct event event = version == 1 ? event_ticket_created(&ticket) : event_ticket_updated(&ticket);
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(EVENT_PAYLOAD_MAX);
    message_print(event.subject, &record, &ticket, 1000, &text);
    const struct outbox_entry entry = {.subject = event.subject->name, .payload = text.data, .length = text.length};
    assert_int_equal(store_write(store, &tickets, version - 1, &record, &ticket, &entry, &error), STORE_DONE);
}

static int64_t in_a_day(void *context UNUSED)
{
    return clock_now(NULL) + 86400000;
}

/* As when a machine started with a clock that was wrong, and has been set since. */
static void publishes_what_was_left_behind_before_the_clock_was_set_back(void **state)
{
    const struct world *world = *state;
    const struct clock future = {.now = in_a_day, .monotonic = clock_system.monotonic};
    struct store *store = world_store(world, "writers", &future);
    struct instance shop = instance_open(world, "shop", "shop-1");
    struct instance next = instance_open(world, "writers", "writers-2");
    leave_behind(store, make_id(1), 1);
    wait_for_version(shop.store, &copies, make_id(1), 1);
    wait_for_empty_outbox(store);
    instance_close(&next);
    instance_close(&shop);
    store_close(&store);
}

static int64_t a_minute_ago(void *context UNUSED)
{
    return clock_now(NULL) - 60000;
}

/* One entry of each of many records, and many of one: as if whole crowds of instances had crashed. */
static void drains_what_was_left_behind_at_the_speed_of_the_bus(void **state)
{
    const struct world *world = *state;
    const struct clock past = {.now = a_minute_ago, .monotonic = clock_system.monotonic};
    struct store *store = world_store(world, "writers", &past);
    for (uint64_t number = 1; number <= LEFTOVERS; number++) {
        bool is_deep = number <= DEEP;
        leave_behind(store, make_id(is_deep ? 1 : number), is_deep ? number : 1);
    }
    struct bus *bus = bus_connect(world);
    struct tap *created = tap_new(bus, "ticket:created");
    struct tap *updated = tap_new(bus, "ticket:updated");
    int64_t before = clock_monotonic(NULL);
    struct instance owner = instance_open(world, "writers", "writers-1");
    wait_for_empty_outbox(owner.store);
    print_message("%d events in %lld ms\n", LEFTOVERS, (long long)(clock_monotonic(NULL) - before));
    tap_wait(created, LEFTOVERS - DEEP + 1);
    tap_wait(updated, DEEP - 1);
    assert_int_equal(tap_count(created), LEFTOVERS - DEEP + 1); /* and not one twice */
    assert_int_equal(tap_count(updated), DEEP - 1);
    instance_close(&owner);
    store_close(&store);
    bus_close(&bus, CLOSE_MS);
    tap_free(&created);
    tap_free(&updated);
}

/* ---- dead letters ---- */

static void check_letter(struct tap *dead, size_t index, uint64_t sequence, const char *reason, const char *event,
                         size_t length)
{
    struct dead_letter letter;
    struct error error = ERROR_INIT;
    const char *text = tap_text(dead, index);
    if (!dead_letter_parse(text, strlen(text), &letter, &error)) {
        fail_msg("%s", error.message);
    }
    assert_string_equal(letter.channel, "ticket:created");
    assert_string_equal(letter.listener, "shop-service");
    assert_string_equal(letter.reason, reason);
    assert_int_equal(letter.sequence, sequence);
    assert_int_equal(letter.cut, length > DEAD_LETTER_EVENT_MAX);
    assert_int_equal(letter.event_length, length > DEAD_LETTER_EVENT_MAX ? DEAD_LETTER_EVENT_MAX : length);
    assert_memory_equal(letter.event, event, letter.event_length);
    dead_letter_done(&letter);
}

static void keeps_what_cannot_be_applied_and_lets_the_rest_pass(void **state)
{
    enum { HUGE = 512 << 10 };
    static const char broken[] = "not JSON";
    static const char without_price[] = "{\"id\":\"000000000000000000000001\",\"version\":1,\"title\":\"A\","
                                        "\"userId\":\"000000000000000000000001\","
                                        "\"createdAt\":\"2026-01-01T00:00:00.000Z\","
                                        "\"updatedAt\":\"2026-01-01T00:00:00.000Z\"}";
    const struct world *world = *state;
    struct bus *bus = bus_connect(world);
    struct tap *dead = tap_new(bus, "dead:ticket:created");
    char *huge = xmalloc(HUGE);
    memset(huge, 'x', HUGE);
    publish_text(bus, "ticket:created", broken, sizeof(broken) - 1);
    publish_text(bus, "ticket:created", without_price, sizeof(without_price) - 1);
    publish_text(bus, "ticket:created", huge, HUGE);
    publish_version(bus, make_id(1), 1);
    struct instance shop = instance_open(world, "shop", "shop-1");
    wait_for_version(shop.store, &copies, make_id(1), 1);
    wait_for_acknowledged(world, "shop", "ticket:created");
    tap_wait(dead, 3);
    assert_int_equal(tap_count(dead), 3);
    /* They may come in any order: find each by its sequence. */
    const struct {
        const char *mark, *reason, *event;
        size_t length;
    } expected[] = {{"\"sequence\":1,", "invalid JSON: a syntax error (line 1, column 3)", broken, sizeof(broken) - 1},
                    {"\"sequence\":2,", "price: is required", without_price, sizeof(without_price) - 1},
                    {"\"sequence\":3,", "larger than 65536 bytes", huge, HUGE}};
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        size_t index = 0;
        while (index < 3 && strstr(tap_text(dead, index), expected[i].mark) == NULL) {
            index++;
        }
        assert_in_range(index, 0, 2);
        check_letter(dead, index, i + 1, expected[i].reason, expected[i].event, expected[i].length);
    }
    xfree(huge);
    instance_close(&shop);
    bus_close(&bus, CLOSE_MS);
    tap_free(&dead);
}

/* ---- effects ---- */

static struct ticket read_ticket(struct store *store, struct id id)
{
    struct ticket ticket;
    struct record head;
    struct error error = ERROR_INIT;
    assert_true(store_get(store, &tickets, &id, &head, &ticket, &error));
    return ticket;
}

static void applies_an_effect_once_and_publishes_it(void **state)
{
    const struct world *world = *state;
    struct instance owner = instance_open(world, "tickets", "tickets-1");
    struct instance shop = instance_open(world, "shop", "shop-1");
    struct bus *bus = bus_connect(world);
    struct tap *updated = tap_new(bus, "ticket:updated");
    struct order order = make_order(make_id(1), 1, ORDER_CREATED);
    log_set_context("request", TRACE);
    publish_order(bus, make_id(7), 1, &order); /* comes before its ticket does */
    log_set_context(NULL, NULL);
    wait_for_version(shop.store, &copies, make_id(1), 0);
    write_version(&owner, make_id(1), 1);
    wait_for_version(shop.store, &copies, make_id(1), 2);
    assert_string_equal(read_ticket(owner.store, make_id(1)).order_id.hex, make_id(7).hex);
    publish_order(bus, make_id(7), 1, &order);
    order.status = ORDER_CANCELLED;
    publish_order(bus, make_id(7), 2, &order);
    wait_for_version(shop.store, &copies, make_id(1), 3);
    assert_string_equal(read_ticket(owner.store, make_id(1)).order_id.hex, "");
    wait_for_acknowledged(world, "tickets", "order:created");
    wait_for_acknowledged(world, "tickets", "order:cancelled");
    assert_int_equal(stored_version(owner.store, &tickets, make_id(1)), 3);
    tap_wait(updated, 2);
    assert_non_null(strstr(tap_text(updated, 0), "\"traceparent\":\"00-" TRACE "-"));
    assert_null(strstr(tap_text(updated, 1), TRACE));
    instance_close(&shop);
    instance_close(&owner);
    bus_close(&bus, CLOSE_MS);
    tap_free(&updated);
}

static void keeps_a_stray(void **state)
{
    const struct world *world = *state;
    struct instance owner = instance_open(world, "tickets", "tickets-1");
    struct bus *bus = bus_connect(world);
    struct tap *dead = tap_new(bus, "dead:order:created");
    struct order order = make_order(make_id(1), 1, ORDER_CREATED);
    order.ticket.price = 5;
    write_version(&owner, make_id(1), 1);
    publish_order(bus, make_id(7), 1, &order);
    tap_wait(dead, 1);
    wait_for_acknowledged(world, "tickets", "order:created");
    assert_int_equal(stored_version(owner.store, &tickets, make_id(1)), 1);
    instance_close(&owner);
    bus_close(&bus, CLOSE_MS);
    tap_free(&dead);
}

static bool was_reserved_and_freed(void *context)
{
    const struct ticket ticket = read_ticket(context, make_id(1));
    return ticket.reservation == 1 && !id_is_set(&ticket.order_id);
}

/* It has read the ticket as free and is about to write; meanwhile another reserves it and lets it go. */
static void changes_nothing_when_it_thaws(void **state)
{
    const struct world *world = *state;
    struct bus *bus = bus_connect(world);
    struct instance writer = instance_open(world, "writers", "writers-1");
    write_version(&writer, make_id(1), 1);
    wait_for_empty_outbox(writer.store);
    pid_t frozen = process_start(world, "tickets", "tickets-1", "tickets.effect.before_write=stop", NULL);
    struct order order = make_order(make_id(1), 1, ORDER_CREATED);
    publish_order(bus, make_id(7), 1, &order);
    process_wait_stopped(frozen);
    struct instance other = instance_open(world, "tickets", "tickets-2");
    order.status = ORDER_CANCELLED;
    publish_order(bus, make_id(7), 2, &order);
    assert_true(eventually(was_reserved_and_freed, other.store)); /* what the frozen one got is delivered again */
    uint64_t version = stored_version(other.store, &tickets, make_id(1));
    kill(frozen, SIGCONT);
    wait_for_acknowledged(world, "tickets", "order:created");
    wait_for_acknowledged(world, "tickets", "order:cancelled");
    assert_true(was_reserved_and_freed(other.store));
    assert_int_equal(stored_version(other.store, &tickets, make_id(1)), version);
    process_kill(frozen);
    instance_close(&other);
    instance_close(&writer);
    bus_close(&bus, CLOSE_MS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(int count, char **arguments)
{
    if (count > 1 && text_equal(arguments[1], "process")) {
        return process_main(count, arguments);
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    const struct CMUnitTest tests[] = {
        TEST(brings_a_change_to_the_replica),
        TEST(brings_many_versions_of_many_records_by_two_instances_each),
        TEST(holds_a_gap_and_applies_it_the_instant_it_closes),
        TEST(holds_as_many_gaps_as_may_be_in_flight),
        TEST(hears_of_what_another_process_applies),
        TEST(makes_the_acknowledgement_of_a_double_good),
        TEST(loses_nothing_while_the_bus_is_away),
        TEST(applies_what_came_while_the_store_was_away),
        TEST(closes_in_time_while_the_bus_is_away_and_leaves_the_rest_to_the_next),
        TEST(publishes_what_a_killed_instance_left_behind),
        TEST(publishes_again_what_was_confirmed_but_not_removed),
        TEST(publishes_what_was_left_behind_before_the_clock_was_set_back),
        TEST(drains_what_was_left_behind_at_the_speed_of_the_bus),
        TEST(keeps_what_cannot_be_applied_and_lets_the_rest_pass),
        TEST(applies_an_effect_once_and_publishes_it),
        TEST(keeps_a_stray),
        TEST(changes_nothing_when_it_thaws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
