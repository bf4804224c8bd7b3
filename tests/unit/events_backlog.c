/* SPDX-License-Identifier: Apache-2.0
 * Tests of the relay's rule: which version of which record may be published next. The last ones let two instances
 * share an outbox and a bus that reorders, loses and repeats, in many thousands of random schedules with crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/backlog.h"

static const struct collection collection = {.name = "tickets"};

static struct id make_id(unsigned number)
{
    struct id id;
    snprintf(id.hex, sizeof(id.hex), "%024x", number);
    return id;
}

/* ---- one record at a time ---- */

enum {
    BYTES_MAX = 200000,
};

static void add(struct backlog *backlog, unsigned id, uint64_t version, uint64_t unconfirmed)
{
    struct record record = {.id = make_id(id), .version = version, .unconfirmed = unconfirmed};
    const struct outbox_entry entry = {.subject = "ticket:updated", .payload = "{}", .length = 2};
    assert_true(backlog_add(backlog, &collection, &record, &entry));
}

static struct backlog_record *take(struct backlog *backlog, uint64_t version)
{
    struct backlog_record *record = backlog_take_to_publish(backlog);
    assert_non_null(record);
    assert_int_equal(backlog_event(record)->version, version);
    return record;
}

static void remove_all(struct backlog *backlog)
{
    struct outbox_key keys[16];
    size_t count = backlog_take_removals(backlog, keys, ARRAY_LENGTH(keys));
    backlog_removed(backlog, keys, count);
}

static void publishes_one_version_of_a_record_at_a_time(void **state UNUSED)
{
    struct backlog *backlog = backlog_new(BYTES_MAX, 10);
    add(backlog, 1, 1, 1);
    add(backlog, 1, 2, 1);
    add(backlog, 2, 1, 1);
    struct backlog_record *first = take(backlog, 1);
    struct backlog_record *other = take(backlog, 1);
    assert_null(backlog_take_to_publish(backlog));
    backlog_confirmed(backlog, first);
    backlog_confirmed(backlog, take(backlog, 2)); /* before version 1 is removed */
    backlog_confirmed(backlog, other);
    assert_int_equal(backlog_counts(backlog).removals, 3);
    remove_all(backlog);
    assert_int_equal(backlog_counts(backlog).records, 0);
    assert_int_equal(backlog_counts(backlog).bytes, 0);
    backlog_free(&backlog);
}

static void publishes_again_from_the_version_that_failed(void **state UNUSED)
{
    struct backlog *backlog = backlog_new(BYTES_MAX, 10);
    add(backlog, 1, 1, 1);
    add(backlog, 1, 2, 1);
    backlog_failed(backlog, take(backlog, 1));
    backlog_failed(backlog, take(backlog, 1));
    backlog_confirmed(backlog, take(backlog, 1));
    backlog_confirmed(backlog, take(backlog, 2));
    remove_all(backlog);
    assert_int_equal(backlog_counts(backlog).records, 0);
    backlog_free(&backlog);
}

static void reads_what_another_instance_wrote_below(void **state UNUSED)
{
    struct backlog *backlog = backlog_new(BYTES_MAX, 10);
    char payload[] = "{}";
    struct outbox_item items[] = {
        {.collection = &collection, .id = make_id(1), .version = 4, .payload = payload, .length = 2},
        {.collection = &collection, .id = make_id(1), .version = 5, .payload = payload, .length = 2}};
    const struct outbox_page page = {.count = 2, .items = items};
    add(backlog, 1, 5, 4);
    assert_null(backlog_take_to_publish(backlog));
    struct backlog_record *record = backlog_take_to_read(backlog);
    assert_non_null(record);
    backlog_read(backlog, record, NULL); /* the store is away */
    record = backlog_take_to_read(backlog);
    backlog_read(backlog, record, &page);
    backlog_confirmed(backlog, take(backlog, 4));
    backlog_confirmed(backlog, take(backlog, 5));
    remove_all(backlog);
    assert_int_equal(backlog_counts(backlog).records, 0);
    backlog_free(&backlog);
}

static void forgets_what_another_instance_published(void **state UNUSED)
{
    struct backlog *backlog = backlog_new(BYTES_MAX, 10);
    const struct outbox_page nothing = OUTBOX_PAGE_INIT;
    add(backlog, 1, 5, 4);
    backlog_read(backlog, backlog_take_to_read(backlog), &nothing);
    assert_null(backlog_take_to_publish(backlog));
    assert_null(backlog_take_to_read(backlog));
    assert_int_equal(backlog_counts(backlog).records, 0);
    backlog_free(&backlog);
}

static void reads_again_what_was_written_during_a_read(void **state UNUSED)
{
    struct backlog *backlog = backlog_new(BYTES_MAX, 10);
    const struct outbox_page nothing = OUTBOX_PAGE_INIT;
    add(backlog, 1, 5, 4);
    struct backlog_record *record = backlog_take_to_read(backlog);
    add(backlog, 1, 6, 4);
    backlog_read(backlog, record, &nothing); /* as it was before version 6 */
    assert_null(backlog_take_to_publish(backlog));
    assert_ptr_equal(backlog_take_to_read(backlog), record);
    backlog_free(&backlog);
}

static void does_not_take_for_left_behind_what_it_has_confirmed(void **state UNUSED)
{
    struct backlog *backlog = backlog_new(BYTES_MAX, 10);
    char payload[] = "{}";
    const struct outbox_item item = {
        .collection = &collection, .id = make_id(1), .version = 1, .payload = payload, .length = 2};
    bool is_news = true;
    add(backlog, 1, 1, 1);
    backlog_sweep_begins(backlog); /* reads version 1 */
    backlog_confirmed(backlog, take(backlog, 1));
    remove_all(backlog);
    assert_true(backlog_add_swept(backlog, &item, &is_news));
    assert_false(is_news);
    backlog_sweep_ends(backlog);
    assert_null(backlog_take_to_publish(backlog));
    assert_int_equal(backlog_counts(backlog).records, 0);
    backlog_free(&backlog);
}

static void keeps_no_more_payload_than_it_may(void **state UNUSED)
{
    enum { LENGTH = 10000 };
    struct backlog *backlog = backlog_new(BYTES_MAX, 100);
    CLEANUP(free_pointer) char *payload = xcalloc(1, LENGTH);
    const struct outbox_entry entry = {.subject = "ticket:updated", .payload = payload, .length = LENGTH};
    for (unsigned i = 0; i < 100; i++) {
        struct record record = {.id = make_id(i), .version = 1, .unconfirmed = 1};
        assert_true(backlog_add(backlog, &collection, &record, &entry));
        assert_in_range(backlog_counts(backlog).bytes, 1, BYTES_MAX);
    }
    struct record record = {.id = make_id(100), .version = 1, .unconfirmed = 1};
    assert_false(backlog_add(backlog, &collection, &record, &entry)); /* a record too many */
    assert_int_equal(backlog_counts(backlog).to_read, 100 - backlog_counts(backlog).bytes / LENGTH);
    assert_null(backlog_take_to_read(backlog)); /* not until there is room */
    struct backlog_record *published;
    while ((published = backlog_take_to_publish(backlog)) != NULL) {
        backlog_confirmed(backlog, published);
    }
    assert_non_null(backlog_take_to_read(backlog));
    backlog_free(&backlog);
}

/* ---- the model ---- */

enum {
    SEEDS = 2000,
    STEPS = 500,
    RECORDS = 4,
    VERSIONS_MAX = 40,
    INSTANCES = 2,
    WAITING_MAX = 400,
    PAGE = 3,
    PAYLOAD_MAX = 16000,
    QUIET_ROUNDS_MAX = 2000,
};

struct hand_in {
    unsigned record;
    uint64_t version, unconfirmed;
};

struct flight {
    struct backlog_record *record;
    unsigned number;
    uint64_t version;
    bool stored;
};

struct message {
    unsigned record;
    uint64_t version;
    struct flight *flight; /* NULL: nobody waits for it any more */
};

struct pending_read {
    struct backlog_record *record;
    struct outbox_page page;
};

struct pending_removal {
    struct outbox_key keys[PAGE];
    size_t count;
};

struct instance {
    struct backlog *backlog;
    struct hand_in hand_ins[WAITING_MAX];
    size_t hand_in_count;
    struct flight *flights[RECORDS];
    size_t flight_count;
    struct pending_read reads[RECORDS];
    size_t read_count;
    struct pending_removal removal;
    struct outbox_page sweep;
    bool is_sweeping;
};

struct model {
    uint64_t random;
    uint64_t written[RECORDS];
    bool waits[RECORDS][VERSIONS_MAX + 1]; /* in the outbox */
    uint64_t stored[RECORDS];              /* on the bus: all up to this one */
    struct message network[WAITING_MAX];   /* on its way to the bus */
    size_t network_count;
    struct instance instances[INSTANCES];
    size_t crashes, doubles, failures;
    char payload[PAYLOAD_MAX];
};

static unsigned below(struct model *model, unsigned bound)
{
    model->random = model->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)((model->random >> 33) % bound);
}

static unsigned number_of(const struct backlog_record *record)
{
    return (unsigned)strtoul(record->id.hex, NULL, 16);
}

static uint64_t lowest(const struct model *model, unsigned record)
{
    for (uint64_t version = 1; version <= VERSIONS_MAX; version++) {
        if (model->waits[record][version]) {
            return version;
        }
    }
    return 0;
}

static size_t length_of(unsigned record, uint64_t version)
{
    return 1 + (record * 7919 + version * 104729) % PAYLOAD_MAX;
}

static void write_one(struct model *model, struct instance *instance)
{
    unsigned record = below(model, RECORDS);
    if (model->written[record] == VERSIONS_MAX || instance->hand_in_count == WAITING_MAX) {
        return;
    }
    uint64_t version = ++model->written[record];
    model->waits[record][version] = true;
    instance->hand_ins[instance->hand_in_count++] =
        (struct hand_in){.record = record, .version = version, .unconfirmed = lowest(model, record)};
}

/* Threads hand in what they wrote in any order. */
static void hand_in_one(struct model *model, struct instance *instance)
{
    if (instance->hand_in_count == 0) {
        return;
    }
    size_t at = below(model, (unsigned)instance->hand_in_count);
    struct hand_in hand_in = instance->hand_ins[at];
    instance->hand_ins[at] = instance->hand_ins[--instance->hand_in_count];
    struct record record = {
        .id = make_id(hand_in.record), .version = hand_in.version, .unconfirmed = hand_in.unconfirmed};
    const struct outbox_entry entry = {
        .subject = "ticket:updated", .payload = model->payload, .length = length_of(hand_in.record, hand_in.version)};
    (void)backlog_add(instance->backlog, &collection, &record, &entry);
    assert_in_range(backlog_counts(instance->backlog).bytes, 0, BYTES_MAX);
}

static void publish_one(struct model *model, struct instance *instance)
{
    if (model->network_count == WAITING_MAX) {
        return;
    }
    struct backlog_record *record = backlog_take_to_publish(instance->backlog);
    if (record == NULL) {
        return;
    }
    const struct backlog_event *event = backlog_event(record);
    assert_int_equal(event->length, length_of(number_of(record), event->version));
    if (below(model, 10) == 0) {
        backlog_failed(instance->backlog, record); /* the bus is not up */
        return;
    }
    for (size_t i = 0; i < instance->flight_count; i++) {
        assert_ptr_not_equal(instance->flights[i]->record, record);
    }
    struct flight *flight = xcalloc(1, sizeof(*flight));
    *flight = (struct flight){.record = record, .number = number_of(record), .version = event->version};
    instance->flights[instance->flight_count++] = flight;
    model->network[model->network_count++] =
        (struct message){.record = flight->number, .version = flight->version, .flight = flight};
}

/* The network brings messages in any order, and loses some. */
static void store_one(struct model *model, bool may_lose)
{
    if (model->network_count == 0) {
        return;
    }
    size_t at = below(model, (unsigned)model->network_count);
    struct message message = model->network[at];
    model->network[at] = model->network[--model->network_count];
    if (may_lose && below(model, 10) == 0) {
        return;
    }
    if (message.version <= model->stored[message.record]) {
        model->doubles++;
    } else if (message.version != model->stored[message.record] + 1) {
        fail_msg("version %d of record %u came to the bus while it had only %d", (int)message.version, message.record,
                 (int)model->stored[message.record]);
    } else {
        model->stored[message.record] = message.version;
    }
    if (message.flight != NULL) {
        message.flight->stored = true;
    }
}

static void end_flight(struct model *model, struct flight *flight)
{
    for (size_t i = 0; i < model->network_count; i++) {
        if (model->network[i].flight == flight) {
            model->network[i].flight = NULL; /* it may still arrive */
        }
    }
    xfree(flight);
}

static void answer_one(struct model *model, struct instance *instance, bool may_fail)
{
    if (instance->flight_count == 0) {
        return;
    }
    size_t at = below(model, (unsigned)instance->flight_count);
    struct flight *flight = instance->flights[at];
    bool has_failed = may_fail && below(model, 8) == 0;
    if (!flight->stored && !has_failed && may_fail) {
        return;
    }
    instance->flights[at] = instance->flights[--instance->flight_count];
    if (flight->stored && !has_failed) {
        backlog_confirmed(instance->backlog, flight->record);
    } else {
        model->failures++;
        backlog_failed(instance->backlog, flight->record);
    }
    end_flight(model, flight);
}

static void add_item(struct model *model, struct outbox_page *page, unsigned record, uint64_t version)
{
    page->items[page->count++] = (struct outbox_item){.collection = &collection,
                                                      .id = make_id(record),
                                                      .version = version,
                                                      .subject = "ticket:updated",
                                                      .payload = model->payload,
                                                      .length = length_of(record, version)};
}

static void begin_read(struct model *model, struct instance *instance)
{
    struct backlog_record *record = backlog_take_to_read(instance->backlog);
    if (record == NULL) {
        return;
    }
    struct pending_read *read = &instance->reads[instance->read_count++];
    read->record = record;
    read->page = (struct outbox_page){.items = xcalloc(PAGE, sizeof(struct outbox_item))};
    unsigned number = number_of(record);
    for (uint64_t version = 1; version <= VERSIONS_MAX; version++) {
        if (model->waits[number][version] && read->page.count < PAGE) {
            add_item(model, &read->page, number, version);
        } else if (model->waits[number][version]) {
            read->page.more = true;
        }
    }
}

static void end_read(struct model *model, struct instance *instance, bool may_fail)
{
    if (instance->read_count == 0) {
        return;
    }
    size_t at = below(model, (unsigned)instance->read_count);
    struct pending_read read = instance->reads[at];
    instance->reads[at] = instance->reads[--instance->read_count];
    backlog_read(instance->backlog, read.record, may_fail && below(model, 6) == 0 ? NULL : &read.page);
    xfree(read.page.items);
}

static void begin_or_end_removal(struct model *model, struct instance *instance, bool may_fail)
{
    struct pending_removal *removal = &instance->removal;
    if (removal->count == 0) {
        removal->count = backlog_take_removals(instance->backlog, removal->keys, PAGE);
        return;
    }
    if (may_fail && below(model, 6) == 0) {
        backlog_not_removed(instance->backlog, removal->keys, removal->count);
    } else {
        for (size_t i = 0; i < removal->count; i++) {
            unsigned record = (unsigned)strtoul(removal->keys[i].id.hex, NULL, 16);
            assert_in_range(removal->keys[i].version, 1, model->stored[record]); /* nothing that the bus has not */
            model->waits[record][removal->keys[i].version] = false;
        }
        backlog_removed(instance->backlog, removal->keys, removal->count);
    }
    removal->count = 0;
}

static void begin_or_end_sweep(struct model *model, struct instance *instance)
{
    if (!instance->is_sweeping) {
        if (!backlog_can_sweep(instance->backlog)) {
            return;
        }
        backlog_sweep_begins(instance->backlog);
        instance->is_sweeping = true;
        instance->sweep = (struct outbox_page){.items = xcalloc(RECORDS, sizeof(struct outbox_item))};
        for (unsigned record = 0; record < RECORDS; record++) {
            if (lowest(model, record) != 0) {
                add_item(model, &instance->sweep, record, lowest(model, record));
            }
        }
        return;
    }
    for (size_t i = 0; i < instance->sweep.count; i++) {
        bool is_news = false;
        if (!backlog_add_swept(instance->backlog, &instance->sweep.items[i], &is_news)) {
            break;
        }
    }
    backlog_sweep_ends(instance->backlog);
    instance->is_sweeping = false;
    xfree(instance->sweep.items);
}

/* What it had in memory is gone; what it sent may still arrive. */
static void crash(struct model *model, struct instance *instance)
{
    for (size_t i = 0; i < instance->flight_count; i++) {
        end_flight(model, instance->flights[i]);
    }
    for (size_t i = 0; i < instance->read_count; i++) {
        xfree(instance->reads[i].page.items);
    }
    if (instance->is_sweeping) {
        xfree(instance->sweep.items);
    }
    backlog_free(&instance->backlog);
    *instance = (struct instance){.backlog = backlog_new(BYTES_MAX, RECORDS - 1)};
    model->crashes++;
}

static void step(struct model *model, bool is_quiet)
{
    struct instance *instance = &model->instances[below(model, INSTANCES)];
    switch (below(model, is_quiet ? 9 : 16)) {
    case 0:
        begin_read(model, instance);
        break;
    case 1:
        end_read(model, instance, !is_quiet);
        break;
    case 2:
        begin_or_end_removal(model, instance, !is_quiet);
        break;
    case 3:
        begin_or_end_sweep(model, instance);
        break;
    case 4:
        hand_in_one(model, instance);
        break;
    case 5:
        answer_one(model, instance, !is_quiet || model->network_count > 0);
        break;
    case 6:
        store_one(model, !is_quiet);
        break;
    case 7:
    case 8:
        publish_one(model, instance);
        break;
    case 9:
        if (below(model, 20) == 0) {
            crash(model, instance);
        }
        break;
    default:
        write_one(model, instance);
        break;
    }
}

static bool is_done(const struct model *model)
{
    for (unsigned record = 0; record < RECORDS; record++) {
        if (lowest(model, record) != 0) {
            return false;
        }
    }
    for (size_t i = 0; i < INSTANCES; i++) {
        if (model->instances[i].hand_in_count > 0 || backlog_counts(model->instances[i].backlog).records > 0) {
            return false;
        }
    }
    return true;
}

static void run_schedule(struct model *model, uint64_t seed)
{
    model->random = seed;
    for (size_t i = 0; i < INSTANCES; i++) {
        model->instances[i] = (struct instance){.backlog = backlog_new(BYTES_MAX, RECORDS - 1)};
    }
    for (int i = 0; i < STEPS; i++) {
        step(model, false);
    }
    int rounds = 0;
    while (!is_done(model)) {
        if (++rounds > QUIET_ROUNDS_MAX) {
            fail_msg("seed %d: something is stuck", (int)seed);
        }
        for (int i = 0; i < STEPS / 10; i++) {
            step(model, true);
        }
    }
    for (unsigned record = 0; record < RECORDS; record++) {
        assert_int_equal(model->stored[record], model->written[record]);
    }
    for (size_t i = 0; i < INSTANCES; i++) {
        assert_int_equal(backlog_counts(model->instances[i].backlog).bytes, 0);
        assert_int_equal(backlog_counts(model->instances[i].backlog).removals, 0);
        crash(model, &model->instances[i]);
        backlog_free(&model->instances[i].backlog);
    }
}

static void keeps_the_order_and_loses_nothing_in_any_schedule(void **state UNUSED)
{
    size_t crashes = 0, doubles = 0, failures = 0;
    struct model *model = xcalloc(1, sizeof(*model));
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        memset(model, 0, sizeof(*model));
        run_schedule(model, seed);
        crashes += model->crashes;
        doubles += model->doubles;
        failures += model->failures;
    }
    xfree(model);
    /* The schedules are worth something only if they have it all. */
    assert_true(crashes > 3 * (size_t)SEEDS);
    assert_true(doubles > (size_t)SEEDS);
    assert_true(failures > (size_t)SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publishes_one_version_of_a_record_at_a_time),
        cmocka_unit_test(publishes_again_from_the_version_that_failed),
        cmocka_unit_test(reads_what_another_instance_wrote_below),
        cmocka_unit_test(forgets_what_another_instance_published),
        cmocka_unit_test(reads_again_what_was_written_during_a_read),
        cmocka_unit_test(does_not_take_for_left_behind_what_it_has_confirmed),
        cmocka_unit_test(keeps_no_more_payload_than_it_may),
        cmocka_unit_test(keeps_the_order_and_loses_nothing_in_any_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
