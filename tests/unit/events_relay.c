/* SPDX-License-Identifier: Apache-2.0
 * Tests of the relay's threads: two instances with writers of their own share an outbox and a bus, both made here,
 * which fail now and then. */
#include <inttypes.h>
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

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/relay.h"

enum {
    RECORDS = 16,
    VERSIONS = 40,
    WRITERS = 3, /* threads of each instance */
    INSTANCES = 2,
    NETWORK_MAX = 64,
    PAYLOAD = 2000,
    MEMORY_MAX = 130000,
    WAIT_MS = 20000,
    STOP_MS = 2000,
    POLL_US = 1000,
    IDLE_US = 100,
    SLOW_US = 20000,
};

static const struct collection collection = {.name = "tickets"};

struct sent {
    unsigned record;
    uint64_t version;
    bus_confirmed *confirmed;
    void *context;
};

/* The store's outbox and the bus, shared by all instances. */
static struct {
    pthread_mutex_t lock;
    unsigned random;
    bool fails; /* stores and confirmations, now and then */
    bool is_slow;
    bool is_losing; /* the bus stores nothing, and says so */
    bool is_up;
    bool is_closing;
    uint64_t written[RECORDS];
    bool waits[RECORDS][VERSIONS + 1];
    uint64_t stored[RECORDS];
    size_t reads, published;
    struct sent network[NETWORK_MAX];
    size_t network_count;
    const char *broken; /* what must not happen, and did */
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

static unsigned number_of(const struct id *id)
{
    return (unsigned)strtoul(id->hex, NULL, 16);
}

static void break_rule(const char *what)
{
    if (world.broken == NULL) {
        world.broken = what;
    }
}

/* ---- the store that is made here ---- */

static void add_item(struct outbox_page *page, unsigned record, uint64_t version)
{
    struct outbox_item *item = &page->items[page->count++];
    *item = (struct outbox_item){.collection = &collection, .id = make_id(record), .version = version};
    text_copy_cut(item->subject, sizeof(item->subject), "ticket:updated");
    item->payload = xasprintf("%u %u", record, (unsigned)version);
    item->length = strlen(item->payload);
}

bool store_outbox_read(struct store *store UNUSED, const struct outbox_query *query, struct outbox_page *ret_page,
                       struct error *error)
{
    pthread_mutex_lock(&world.lock);
    bool fails = chance(4);
    world.reads++;
    if (!fails) {
        ret_page->items = xcalloc(STORE_LIMIT_MAX, sizeof(struct outbox_item));
        for (unsigned record = 0; record < RECORDS; record++) {
            bool is_one = query->collection != NULL;
            if (is_one && record != number_of(&query->id)) {
                continue;
            }
            size_t found = 0;
            for (uint64_t version = 1; version <= VERSIONS; version++) {
                if (world.waits[record][version] && found++ < (is_one ? query->limit : 1)) {
                    add_item(ret_page, record, version);
                }
            }
            ret_page->more = is_one && found > query->limit;
        }
    }
    pthread_mutex_unlock(&world.lock);
    return !fails || error_set(error, ERROR_UNAVAILABLE, "it fails on purpose");
}

void outbox_page_done(struct outbox_page *page)
{
    for (size_t i = 0; i < page->count; i++) {
        xfree(page->items[i].payload);
    }
    xfree(page->items);
    *page = OUTBOX_PAGE_INIT;
}

bool store_outbox_remove(struct store *store UNUSED, const struct outbox_key *keys, size_t count, struct error *error)
{
    pthread_mutex_lock(&world.lock);
    bool fails = chance(4);
    for (size_t i = 0; i < count && !fails; i++) {
        unsigned record = number_of(&keys[i].id);
        if (keys[i].version > world.stored[record]) {
            break_rule("an event was removed that the bus does not have");
        }
        world.waits[record][keys[i].version] = false;
    }
    pthread_mutex_unlock(&world.lock);
    return !fails || error_set(error, ERROR_UNAVAILABLE, "it fails on purpose");
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
    unsigned record = 0, version = 0;
    char text[64] = "";
    char expected_id[BUS_MESSAGE_ID_MAX];
    memcpy(text, data, length < sizeof(text) - 1 ? length : sizeof(text) - 1);
    pthread_mutex_lock(&world.lock);
    if (sscanf(text, "%u %u", &record, &version) != 2 || !text_equal(subject, "ticket:updated")) {
        break_rule("what was published is not what was written");
    }
    snprintf(expected_id, sizeof(expected_id), "ticket/%s/%u-%016" PRIx64, make_id(record).hex, version,
             text_hash(data, length));
    if (!text_equal(message_id, expected_id)) {
        break_rule("the message's id is not that of the event and its payload");
    }
    bool accepted = world.is_up && world.network_count < NETWORK_MAX && !chance(8);
    if (accepted) {
        world.network[world.network_count++] =
            (struct sent){.record = record, .version = version, .confirmed = confirmed, .context = context};
    }
    pthread_mutex_unlock(&world.lock);
    return accepted;
}

/* Stores in any order; loses some, and some confirmations. */
static void *run_bus(void *context UNUSED)
{
    pthread_mutex_lock(&world.lock);
    while (!world.is_closing) {
        useconds_t pause = world.is_slow ? SLOW_US : IDLE_US;
        if (world.is_slow || world.network_count == 0) {
            pthread_mutex_unlock(&world.lock);
            usleep(pause);
            pthread_mutex_lock(&world.lock);
        }
        if (world.network_count == 0) {
            continue;
        }
        world.random = world.random * 1103515245 + 12345;
        size_t at = (world.random >> 16) % world.network_count;
        struct sent sent = world.network[at];
        world.network[at] = world.network[--world.network_count];
        bool is_lost = world.is_losing || chance(10);
        if (!is_lost && sent.version > world.stored[sent.record] + 1) {
            break_rule("a version came to the bus before a lower one");
        }
        if (!is_lost && sent.version > world.stored[sent.record]) {
            world.stored[sent.record] = sent.version;
        }
        bool is_confirmed = !is_lost && !chance(10);
        world.published++;
        pthread_mutex_unlock(&world.lock);
        sent.confirmed(is_confirmed, sent.context);
        pthread_mutex_lock(&world.lock);
    }
    pthread_mutex_unlock(&world.lock);
    return NULL;
}

/* ---- instances ---- */

static struct relay *new_relay(void)
{
    const struct relay_config config = {
        .service = "tickets",
        .memory_max = MEMORY_MAX,
        .records_max = RECORDS - 2, /* some are left to the sweep */
        .in_flight_max = 8,
        .sweep_ms = 20,
        .sweep_age_ms = 0,
    };
    struct relay *relay = relay_new(&config);
    relay_start(relay, (struct bus *)&world); /* never looked into */
    return relay;
}

static void *run_writer(void *context)
{
    struct relay *relay = context;
    char payload[PAYLOAD];
    memset(payload, ' ', sizeof(payload));
    for (;;) {
        struct record record = RECORD_INIT;
        pthread_mutex_lock(&world.lock);
        world.random = world.random * 1103515245 + 12345;
        unsigned number = (world.random >> 16) % RECORDS;
        unsigned tried = 0;
        while (world.written[number] == VERSIONS && tried++ < RECORDS) {
            number = (number + 1) % RECORDS;
        }
        if (tried > RECORDS) {
            pthread_mutex_unlock(&world.lock);
            return NULL;
        }
        record.id = make_id(number);
        record.version = ++world.written[number];
        world.waits[number][record.version] = true;
        for (uint64_t version = record.version; version >= 1; version--) {
            record.unconfirmed = world.waits[number][version] ? version : record.unconfirmed;
        }
        pthread_mutex_unlock(&world.lock);
        int length = snprintf(payload, sizeof(payload), "%u %u", number, (unsigned)record.version);
        payload[length] = ' ';
        const struct outbox_entry entry = {.subject = "ticket:updated", .payload = payload, .length = sizeof(payload)};
        relay_add(relay, &collection, &record, &entry);
    }
}

static bool is_outbox_empty(void)
{
    bool is_empty = true;
    pthread_mutex_lock(&world.lock);
    for (unsigned record = 0; record < RECORDS; record++) {
        for (uint64_t version = 1; version <= VERSIONS; version++) {
            is_empty = is_empty && !world.waits[record][version];
        }
    }
    pthread_mutex_unlock(&world.lock);
    return is_empty;
}

static void wait_for_empty_outbox(void)
{
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    while (!is_outbox_empty()) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
    }
}

static void set_up(bool is_up)
{
    pthread_mutex_lock(&world.lock);
    world.is_up = is_up;
    pthread_mutex_unlock(&world.lock);
}

static void set_fails(bool fails)
{
    pthread_mutex_lock(&world.lock);
    world.fails = fails;
    pthread_mutex_unlock(&world.lock);
}

/* Asserts without the lock, which the threads need to end after a failure. */
static void check_all_published(void)
{
    size_t missing = 0;
    pthread_mutex_lock(&world.lock);
    for (unsigned record = 0; record < RECORDS; record++) {
        missing += world.written[record] - world.stored[record];
    }
    const char *broken = world.broken;
    pthread_mutex_unlock(&world.lock);
    if (broken != NULL) {
        fail_msg("%s", broken);
    }
    assert_int_equal(missing, 0);
}

/* What waits in the outbox although the bus has it, and what was removed although the bus does not. */
static void check_outbox_is_what_the_bus_lacks(void)
{
    size_t left = 0, removed = 0;
    pthread_mutex_lock(&world.lock);
    for (unsigned record = 0; record < RECORDS; record++) {
        for (uint64_t version = 1; version <= VERSIONS; version++) {
            bool is_stored = version <= world.stored[record];
            left += is_stored && world.waits[record][version];
            removed += !is_stored && !world.waits[record][version];
        }
    }
    pthread_mutex_unlock(&world.lock);
    assert_int_equal(left, 0);
    assert_int_equal(removed, 0);
}

static pthread_t bus_thread;

static int setup(void **state UNUSED)
{
    memset(&world, 0, sizeof(world));
    pthread_mutex_init(&world.lock, NULL);
    world.random = 42;
    world.is_up = true;
    return pthread_create(&bus_thread, NULL, run_bus, NULL);
}

static int teardown(void **state UNUSED)
{
    pthread_mutex_lock(&world.lock);
    world.is_closing = true;
    pthread_mutex_unlock(&world.lock);
    pthread_join(bus_thread, NULL);
    return 0;
}

/* ---- tests ---- */

static void brings_everything_in_order_through_failures(void **state UNUSED)
{
    struct relay *relays[INSTANCES];
    pthread_t writers[INSTANCES][WRITERS];
    set_fails(true);
    for (size_t i = 0; i < INSTANCES; i++) {
        relays[i] = new_relay();
        for (size_t j = 0; j < WRITERS; j++) {
            assert_int_equal(pthread_create(&writers[i][j], NULL, run_writer, relays[i]), 0);
        }
    }
    for (size_t i = 0; i < INSTANCES; i++) {
        for (size_t j = 0; j < WRITERS; j++) {
            pthread_join(writers[i][j], NULL);
        }
    }
    usleep(100 * POLL_US); /* some of it with failures; the rest would take long */
    set_fails(false);
    for (size_t i = 0; i < INSTANCES; i++) {
        relay_wake(relays[i]);
    }
    wait_for_empty_outbox();
    check_all_published();
    for (size_t i = 0; i < INSTANCES; i++) {
        relay_stop(relays[i], STOP_MS);
        relay_free(&relays[i]);
    }
}

static void waits_for_the_bus_and_goes_on_when_it_is_back(void **state UNUSED)
{
    struct relay *relay = new_relay();
    set_up(false);
    run_writer(relay); /* far more than it may keep in memory */
    set_up(true);
    int64_t before = clock_monotonic(NULL);
    relay_wake(relay);
    wait_for_empty_outbox();
    assert_in_range(clock_monotonic(NULL) - before, 0, WAIT_MS);
    check_all_published();
    relay_stop(relay, STOP_MS);
    relay_free(&relay);
}

static void publishes_each_event_once_while_nothing_fails(void **state UNUSED)
{
    struct relay *relay = new_relay();
    run_writer(relay);
    wait_for_empty_outbox();
    check_all_published();
    assert_int_equal(world.published, RECORDS * VERSIONS);
    relay_stop(relay, STOP_MS);
    relay_free(&relay);
}

static void wait_until_published(size_t count)
{
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    for (size_t published = 0; published < count;) {
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
        pthread_mutex_lock(&world.lock);
        published = world.published;
        pthread_mutex_unlock(&world.lock);
    }
}

static void set_losing(bool is_losing)
{
    pthread_mutex_lock(&world.lock);
    world.is_losing = is_losing;
    pthread_mutex_unlock(&world.lock);
}

static void keeps_and_repeats_what_the_bus_did_not_store(void **state UNUSED)
{
    struct relay *relay = new_relay();
    set_losing(true);
    run_writer(relay);
    wait_until_published(RECORDS);
    relay_stop(relay, STOP_MS); /* removes what it takes for confirmed */
    relay_free(&relay);
    check_outbox_is_what_the_bus_lacks();
    set_losing(false);
    relay = new_relay();
    wait_for_empty_outbox();
    check_all_published();
    relay_stop(relay, STOP_MS);
    relay_free(&relay);
}

static void removes_what_was_confirmed_before_it_stops(void **state UNUSED)
{
    struct relay *relay = new_relay();
    pthread_mutex_lock(&world.lock);
    world.is_slow = true;
    pthread_mutex_unlock(&world.lock);
    run_writer(relay);
    relay_stop(relay, STOP_MS);
    relay_free(&relay);
    pthread_mutex_lock(&world.lock);
    size_t in_flight = world.network_count;
    world.is_slow = false;
    pthread_mutex_unlock(&world.lock);
    assert_int_equal(in_flight, 0);
    check_outbox_is_what_the_bus_lacks();
    relay = new_relay(); /* the next process finds the rest */
    wait_for_empty_outbox();
    check_all_published();
    relay_stop(relay, STOP_MS);
    relay_free(&relay);
}

int main(void)
{
    log_init("events_relay", LOG_LEVEL_ERROR, LOG_FORMAT_HUMAN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(brings_everything_in_order_through_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(waits_for_the_bus_and_goes_on_when_it_is_back, setup, teardown),
        cmocka_unit_test_setup_teardown(publishes_each_event_once_while_nothing_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(keeps_and_repeats_what_the_bus_did_not_store, setup, teardown),
        cmocka_unit_test_setup_teardown(removes_what_was_confirmed_before_it_stops, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
