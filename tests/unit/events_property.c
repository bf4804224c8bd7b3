/* SPDX-License-Identifier: Apache-2.0
 * A property of the listener, looked for in thousands of random histories: whatever becomes of the events of an owner
 * on their way (any order, doubles, losses, strays, snapshots in between, the owner restored from a backup), and of the
 * two instances that follow them (crashes, lost signals, a store that fails now and then), in the end everything is
 * acknowledged and each replica is what its owner has; and where nothing was lost, the versions applied are 1, 2, 3, …
 *
 * Usage: events_property [FIRST_SEED [HOW_MANY]] */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/text.h"
#include "tests/unit/events_fake.h"

enum {
    SEEDS = 2000,
    RECORDS_MAX = 8,
    VERSIONS_MAX = 8,
    STRAY_VERSION = VERSIONS_MAX + 2, /* no version of the owner's, nor one behind its last */
    IN_FLIGHT = 8,
    STEPS_MAX = 400000,
    TICK_MS = 600,
    CRASH_STEPS = 500, /* one in so many */
    ROUNDS_MAX = 5,
};

static uint64_t first_seed = 1, seed_count = SEEDS;

/* One history in the making. */
static struct {
    uint64_t seed;
    bool has_ended;
    unsigned records, versions; /* how many of each */
    unsigned loss, stray;       /* per cent of the events */
    bool is_restored;
    bool will_be_restored;
    bool misses_last[RECORDS_MAX + 1]; /* its last event was lost */
    bool is_gone[RECORDS_MAX + 1];     /* made after the backup, and not made again */
    size_t strays;
} history;

/* What to type to see it again. */
#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            print_error(__VA_ARGS__);                                                                                  \
            fail_msg("%s", #condition);                                                                                \
        }                                                                                                              \
    } while (0)

static int tell_the_seed(void **state UNUSED)
{
    if (!history.has_ended) {
        print_error("The history of seed %d has failed. To run it again: %s %d 1\n", (int)history.seed,
                    program_invocation_name, (int)history.seed);
    }
    return 0;
}

/* ---- the owner ---- */

static struct fake_record *owned(unsigned record)
{
    const struct id id = fake_id(record);
    return fake_owned(&id);
}

static bool chance(unsigned per_cent)
{
    return fake_below(100) < per_cent;
}

static void publish(unsigned record, uint64_t version)
{
    struct ticket ticket = owned(record)->value;
    struct event event = version == 1 ? event_ticket_created(&ticket) : event_ticket_updated(&ticket);
    fake_publish_epoch(event, fake_id(record), version, fake.owner_epoch);
    if (chance(20)) {
        fake_publish_epoch(event, fake_id(record), version, fake.owner_epoch);
    }
}

static bool has_all(unsigned record)
{
    return owned(record)->head.version >= history.versions || history.is_gone[record];
}

static void change(unsigned record)
{
    struct fake_record *changed = owned(record);
    if (has_all(record)) {
        return;
    }
    changed->head.version++;
    changed->value = (struct ticket){
        .title = "A", .price = (int64_t)(1000 * fake.owner_epoch + changed->head.version), .user_id = fake_id(1)};
    history.misses_last[record] = chance(history.loss);
    if (!history.misses_last[record]) {
        publish(record, changed->head.version);
    }
    if (chance(history.stray)) {
        struct ticket ticket = {.title = "stray", .price = 1, .user_id = fake_id(1)};
        fake_publish_epoch(event_ticket_updated(&ticket), fake_id(record), STRAY_VERSION + fake_below(5),
                           fake.owner_epoch);
        history.strays++;
    }
}

/* An older backup: each record as it was at some time, some of them not there yet. Everything is published again; of
 * what is not there, the replicas ask (audit.h), which here is the same. */
static void restore(void)
{
    fake.owner_epoch++;
    history.is_restored = true;
    for (unsigned record = 1; record <= history.records; record++) {
        struct fake_record *restored = owned(record);
        restored->head.version = fake_below((unsigned)restored->head.version + 1);
        history.is_gone[record] = restored->head.version == 0 && chance(70);
        restored->value.price = (int64_t)restored->head.version;
        restored->value.user_id = fake_id(1);
        text_copy_cut(restored->value.title, sizeof(restored->value.title), "A");
        history.misses_last[record] = false;
        fake_publish_snapshot(fake_id(record));
    }
}

static void let_the_owner_work(void)
{
    unsigned record = 1 + fake_below(history.records);
    if (chance(3)) {
        fake_publish_snapshot(fake_id(record));
    } else if (history.will_be_restored && chance(5)) {
        history.will_be_restored = false;
        restore();
    } else {
        change(record);
    }
}

static bool owner_has_ended(void)
{
    for (unsigned record = 1; record <= history.records; record++) {
        if (!has_all(record)) {
            return false;
        }
    }
    return true;
}

/* ---- schedules ---- */

static bool is_all_acknowledged(void)
{
    for (size_t i = 0; i < fake.message_count; i++) {
        if (!fake.messages[i].is_acknowledged) {
            return false;
        }
    }
    return true;
}

static void deliver_some(void)
{
    for (int i = 0; i < 3 && fake.message_count > 0; i++) {
        size_t message = fake_below((unsigned)fake.message_count);
        if (!fake.messages[message].is_acknowledged && fake.messages[message].deliveries < 3) {
            fake_deliver(message, fake_below(FAKE_INSTANCES));
        }
    }
}

static void run_schedule(void)
{
    fake.interleaves = true;
    for (int i = 0; !owner_has_ended() || !is_all_acknowledged(); i++) {
        CHECK(i < STEPS_MAX, "Something is stuck.\n");
        unsigned choice = fake_below(100);
        if (fake_below(CRASH_STEPS) == 0) {
            fake_crash(fake_below(FAKE_INSTANCES));
        } else if (choice < 15) {
            deliver_some();
        } else if (choice < 30 && fake.signal_count > 0) {
            fake_deliver_signal(fake_below((unsigned)fake.signal_count));
        } else if (choice < 45) {
            fake.now += fake_below(TICK_MS);
        } else if (choice < 50 && !owner_has_ended()) {
            let_the_owner_work();
        } else {
            fake_step(fake_below(FAKE_INSTANCES), fake_below(FAKE_SHARDS));
        }
    }
    fake.interleaves = false;
}

/* What nobody can miss because nothing came after it: an owner that knows of a loss publishes again. */
static unsigned publish_again(void)
{
    unsigned count = 0;
    for (unsigned record = 1; record <= history.records; record++) {
        const struct id id = fake_id(record);
        if (history.misses_last[record]) {
            fake_publish_snapshot(id);
            history.misses_last[record] = false;
            count++;
        }
    }
    return count;
}

/* ---- the property ---- */

static bool had_snapshots(unsigned record)
{
    const struct id id = fake_id(record);
    for (size_t i = 0; i < fake.message_count; i++) {
        if (fake.messages[i].subject->is_snapshot && strstr(fake.messages[i].text, id.hex) != NULL) {
            return true;
        }
    }
    return false;
}

static void check_record(unsigned record)
{
    const struct id id = fake_id(record);
    const struct fake_record *stored = fake_record(&id), *owner = fake_owned(&id);
    CHECK(stored->head.version == owner->head.version, "Record %u is at version %d, its owner at %d.\n", record,
          (int)stored->head.version, (int)owner->head.version);
    if (owner->head.version == 0) {
        return;
    }
    CHECK(stored->value.price == owner->value.price, "Record %u has not its owner's state.\n", record);
    CHECK(stored->head.epoch == fake.owner_epoch, "Record %u is of epoch %d.\n", record, (int)stored->head.epoch);
    for (uint64_t version = 1; version <= history.versions && !history.is_restored; version++) {
        CHECK(stored->writes[version] <= 1, "Version %d of record %u was applied twice.\n", (int)version, record);
        CHECK(stored->writes[version] == 1 || had_snapshots(record), "Version %d of record %u was left out.\n",
              (int)version, record);
    }
}

static void begin_history(uint64_t seed)
{
    static const struct listener replica = {.entity = &entity_ticket, .collection = &fake_tickets};
    fake_begin(&replica, IN_FLIGHT, seed);
    memset(&history, 0, sizeof(history));
    history.seed = seed;
    history.records = 1 + fake_below(RECORDS_MAX);
    history.versions = 1 + fake_below(VERSIONS_MAX);
    history.loss = fake_below(3) == 0 ? fake_below(40) : 0;
    history.stray = fake_below(3) == 0 ? fake_below(20) : 0;
    history.will_be_restored = fake_below(4) == 0;
    fake.owner_answers = true;
}

static void run_history(uint64_t seed)
{
    begin_history(seed);
    int rounds = 0;
    do {
        CHECK(rounds++ < ROUNDS_MAX, "It does not settle.\n");
        run_schedule();
    } while (publish_again() > 0);
    for (unsigned record = 1; record <= history.records; record++) {
        check_record(record);
    }
    CHECK(history.strays > 0 || fake.letters == 0, "A true event was buried: %s\n", fake.last_letter);
    CHECK(history.is_restored || fake.letters >= history.strays, "A stray was not buried.\n");
    history.has_ended = true;
}

static void every_replica_becomes_what_its_owner_has(void **state UNUSED)
{
    size_t restored = 0, letters = 0, asked = 0, removals = 0;
    for (uint64_t seed = first_seed; seed < first_seed + seed_count; seed++) {
        run_history(seed);
        restored += history.is_restored;
        letters += fake.letters;
        asked += fake.asked;
        removals += fake.removals;
        fake_end();
    }
    if (seed_count >= SEEDS) { /* they have it all */
        assert_true(restored > SEEDS / 20);
        assert_true(letters > SEEDS / 20);
        assert_true(asked > SEEDS / 5);
        assert_true(removals > SEEDS / 50);
    }
}

int main(int argc, char **argv)
{
    if ((argc > 1 && !text_to_uint64(argv[1], INT32_MAX, &first_seed)) ||
        (argc > 2 && !text_to_uint64(argv[2], INT32_MAX, &seed_count))) {
        fprintf(stderr, "Usage: events_property [FIRST_SEED [HOW_MANY]]\n");
        return 2;
    }
    log_init("events_property", LOG_LEVEL_ERROR, LOG_FORMAT_HUMAN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_replica_becomes_what_its_owner_has, tell_the_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
