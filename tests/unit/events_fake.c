/* SPDX-License-Identifier: Apache-2.0
 * A store and a bus in memory. */
#include "tests/unit/events_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/asking.h"
#include "common/events/commit.h"
#include "common/events/snapshot.h"

enum {
    RUN_STEPS_MAX = 100000,
    START = 1000000, /* of the monotonic clock */
};

const struct collection fake_tickets = {.name = "tickets", .table = &ticket_table};
struct fake fake;

struct delivery {
    struct fake_message *message;
    bool is_again;
};

unsigned fake_below(unsigned bound)
{
    fake.random = fake.random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)((fake.random >> 33) % bound);
}

struct id fake_id(unsigned number)
{
    struct id id;
    snprintf(id.hex, sizeof(id.hex), "%024x", number);
    return id;
}

static struct fake_record *find(struct fake_record *records, const struct id *id)
{
    for (size_t i = 0; i < FAKE_RECORDS; i++) {
        struct fake_record *record = &records[i];
        if (!id_is_set(&record->head.id)) {
            record->head.id = *id;
        }
        if (id_equal(&record->head.id, id)) {
            return record;
        }
    }
    fail_msg("too many records");
    return NULL;
}

struct fake_record *fake_record(const struct id *id)
{
    return find(fake.records, id);
}

struct fake_record *fake_owned(const struct id *id)
{
    return find(fake.owned, id);
}

static bool happens(int *count)
{
    return *count > 0 && (*count)-- > 0;
}

/* ---- the store ---- */

/* What the other instance does, with the same records, between a read and a write. */
static void interleave(void)
{
    struct shard *running = fake.running;
    if (!fake.interleaves || fake.depth > 0 || fake_below(3) != 0) {
        return;
    }
    fake.depth++;
    for (size_t i = 0; i < (size_t)FAKE_INSTANCES * FAKE_SHARDS; i++) {
        struct shard *shard = fake.instances[i / FAKE_SHARDS].shards[i % FAKE_SHARDS];
        if (shard == running) {
            fake_step((i / FAKE_SHARDS + 1) % FAKE_INSTANCES, i % FAKE_SHARDS);
            break;
        }
    }
    fake.depth--;
    fake.running = running;
}

static bool is_away(void)
{
    return happens(&fake.failures.away) || (fake.interleaves && fake_below(40) == 0);
}

bool store_get(struct store *store UNUSED, const struct collection *collection, const struct id *id,
               struct record *ret_head, void *ret_value, struct error *error)
{
    assert_ptr_equal(collection, &fake_tickets);
    if (is_away()) {
        return error_set(error, ERROR_UNAVAILABLE, "the store is away");
    }
    const struct fake_record found = *fake_record(id);
    interleave();
    if (found.head.version == 0) {
        return error_set(error, ERROR_NOT_FOUND, "there is none");
    }
    *ret_head = found.head;
    if (ret_value != NULL) {
        memcpy(ret_value, &found.value, sizeof(found.value));
    }
    return true;
}

enum store_result store_write(struct store *store UNUSED, const struct collection *collection, uint64_t expected,
                              struct record *record, const void *value, const struct outbox_entry *entry,
                              struct error *error)
{
    struct fake_record *stored = fake_record(&record->id);
    assert_ptr_equal(collection, &fake_tickets);
    if (is_away()) {
        error_set(error, ERROR_UNAVAILABLE, "the store is away");
        return STORE_UNAVAILABLE;
    }
    if (happens(&fake.failures.claim_conflicts)) {
        error_set(error, ERROR_CONFLICT, "the claim is taken");
        return STORE_CONFLICT_CLAIM;
    }
    if (happens(&fake.failures.full)) {
        error_set(error, ERROR_UNAVAILABLE, "the outbox is full");
        return STORE_OUTBOX_FULL;
    }
    if (stored->head.version != expected) {
        fake.conflicts++;
        error_set(error, ERROR_CONFLICT, "the record has another version");
        return expected == 0 ? STORE_CONFLICT_ID : STORE_CONFLICT_VERSION;
    }
    assert_true(record->version == expected + 1 || entry == NULL); /* only snapshots skip versions */
    assert_in_range(record->version, 1, FAKE_VERSIONS - 1);
    stored->head = *record;
    memcpy(&stored->value, value, sizeof(stored->value));
    stored->writes[record->version]++;
    if (happens(&fake.failures.unknown) || (fake.interleaves && fake_below(40) == 0)) {
        error_set(error, ERROR_UNAVAILABLE, "the connection died");
        return STORE_UNAVAILABLE;
    }
    return STORE_DONE;
}

enum store_result store_remove(struct store *store UNUSED, const struct collection *collection, const struct id *id,
                               uint64_t expected, struct error *error)
{
    struct fake_record *stored = fake_record(id);
    assert_ptr_equal(collection, &fake_tickets);
    if (is_away()) {
        error_set(error, ERROR_UNAVAILABLE, "the store is away");
        return STORE_UNAVAILABLE;
    }
    if (stored->head.version != 0 && stored->head.version != expected) {
        fake.conflicts++;
        error_set(error, ERROR_CONFLICT, "the record has another version");
        return STORE_CONFLICT_VERSION;
    }
    stored->head = RECORD_INIT;
    stored->head.id = *id;
    fake.removals++;
    return STORE_DONE;
}

static void check_fact(const char *name)
{
    assert_string_equal(name, "epoch/tickets");
}

bool store_fact_get(struct store *store UNUSED, const char *name, int64_t *ret_value, struct error *error)
{
    check_fact(name);
    if (is_away()) {
        return error_set(error, ERROR_UNAVAILABLE, "the store is away");
    }
    *ret_value = fake.epoch_fact;
    if (fake.after_fact != NULL) {
        void (*run)(void) = TAKE(fake.after_fact);
        struct shard *running = fake.running;
        run();
        fake.running = running;
    }
    interleave();
    return true;
}

bool store_fact_raise(struct store *store UNUSED, const char *name, int64_t value, struct error *error)
{
    check_fact(name);
    if (is_away()) {
        return error_set(error, ERROR_UNAVAILABLE, "the store is away");
    }
    fake.epoch_fact = value > fake.epoch_fact ? value : fake.epoch_fact;
    interleave();
    return true;
}

enum store_result events_commit(struct events *events UNUSED, const struct collection *collection, uint64_t expected,
                                struct record *record, struct event event, struct error *error)
{
    const struct outbox_entry entry = {.subject = event.subject->name};
    record->version = expected + 1;
    return store_write(NULL, collection, expected, record, event.value, &entry, error);
}

/* ---- the bus ---- */

const char *delivery_subject(const struct delivery *delivery)
{
    return delivery->message->subject->name;
}

const char *delivery_data(const struct delivery *delivery)
{
    return delivery->message->text;
}

size_t delivery_length(const struct delivery *delivery)
{
    return delivery->message->length;
}

uint64_t delivery_sequence(const struct delivery *delivery)
{
    return delivery->message->sequence;
}

bool delivery_redelivered(const struct delivery *delivery)
{
    return delivery->is_again;
}

static void end_delivery(struct delivery *delivery)
{
    delivery->message->deliveries--;
    xfree(delivery);
}

void bus_ack(struct delivery *delivery)
{
    delivery->message->is_acknowledged = true;
    end_delivery(delivery);
}

void bus_drop(struct delivery *delivery)
{
    end_delivery(delivery);
}

void bus_extend(struct delivery *delivery)
{
    delivery->message->extended++;
}

void bus_signal(struct bus *bus UNUSED, const char *topic, const void *data, size_t length)
{
    fake.signals_sent++;
    if (fake.loses_signals || fake.signal_count == FAKE_SIGNALS || (fake.interleaves && fake_below(4) == 0)) {
        return;
    }
    struct fake_signal *signal = &fake.signals[fake.signal_count++];
    text_copy_cut(signal->topic, sizeof(signal->topic), topic);
    assert_in_range(length, 1, sizeof(signal->text) - 1);
    memcpy(signal->text, data, length);
    signal->text[length] = '\0';
}

bool bus_publish(struct bus *bus UNUSED, const char *subject, const char *message_id UNUSED, const void *data UNUSED,
                 size_t length UNUSED, bus_confirmed *confirmed UNUSED, void *context UNUSED)
{
    fail_msg("nobody here publishes without waiting, as on %s", subject);
    return false;
}

bool bus_publish_wait(struct bus *bus UNUSED, const char *subject, const char *message_id UNUSED, const void *data,
                      size_t length, int64_t timeout_ms UNUSED, struct error *error)
{
    assert_true(text_starts_with(subject, "dead:"));
    if (happens(&fake.failures.broken_letters) || (fake.interleaves && fake_below(4) == 0)) {
        return error_set(error, ERROR_UNAVAILABLE, "not confirmed");
    }
    size_t kept = length < sizeof(fake.last_letter) - 1 ? length : sizeof(fake.last_letter) - 1;
    memcpy(fake.last_letter, data, kept);
    fake.last_letter[kept] = '\0';
    fake.letters++;
    return true;
}

size_t fake_publish_text(const struct subject *subject, const char *text)
{
    assert_in_range(fake.message_count, 0, FAKE_MESSAGES - 1);
    struct fake_message *message = &fake.messages[fake.message_count];
    *message = (struct fake_message){
        .subject = subject, .sequence = fake.message_count + 1, .text = xstrdup(text), .length = strlen(text)};
    return fake.message_count++;
}

size_t fake_publish(struct event event, struct id id, uint64_t version)
{
    return fake_publish_epoch(event, id, version, 0);
}

size_t fake_publish_epoch(struct event event, struct id id, uint64_t version, uint64_t epoch)
{
    struct record head = {.id = id, .version = version, .epoch = epoch};
    struct buffer text = BUFFER_INIT(EVENT_PAYLOAD_MAX);
    message_print(event.subject, &head, event.value, 1000, &text);
    size_t message = fake_publish_text(event.subject, text.data);
    buffer_done(&text);
    return message;
}

/* ---- the owner ---- */

size_t fake_publish_snapshot(struct id id)
{
    const struct fake_record *owned = fake_owned(&id);
    struct record head = owned->head;
    head.epoch = fake.owner_epoch;
    struct buffer text = BUFFER_INIT(EVENT_PAYLOAD_MAX);
    snapshot_print(&entity_ticket, &head, &owned->value, 1000, &text);
    size_t message = fake_publish_text(&subject_ticket_snapshot, text.data);
    buffer_done(&text);
    return message;
}

static void answer(const char *text)
{
    static const struct entity *const entities[] = {&entity_ticket};
    struct ask ask;
    char answered[ASK_TEXT_SIZE];
    assert_true(ask_parse(text, strlen(text), entities, 1, &ask));
    fake.asked++;
    if (!fake.owner_answers) {
        return;
    }
    fake_publish_snapshot(ask.id);
    ask.version = fake_owned(&ask.id)->head.version;
    ask.epoch = fake.owner_epoch;
    answer_print(&ask, answered);
    bus_signal(NULL, "ticket.answer", answered, strlen(answered));
}

/* ---- instances ---- */

static struct shard *shard_of(struct fake_instance *instance, const struct id *id)
{
    return instance->shards[text_hash(id->hex, strlen(id->hex)) % FAKE_SHARDS];
}

void fake_deliver(size_t number, size_t instance_number)
{
    struct fake_message *message = &fake.messages[number];
    struct fake_instance *instance = &fake.instances[instance_number];
    for (size_t i = 0; i < instance->route_count; i++) {
        if (instance->routes[i].subject != message->subject) {
            continue;
        }
        struct delivery *delivery = xcalloc(1, sizeof(*delivery));
        delivery->message = message;
        message->deliveries++;
        struct arrival *arrival = arrival_new(&instance->routes[i], delivery);
        shard_push(shard_of(instance, &arrival->own_id), arrival);
        return;
    }
    fail_msg("%s is not listened to", message->subject->name);
}

static void deliver_answer(const char *text)
{
    static const struct entity *const entities[] = {&entity_ticket};
    struct ask answered;
    assert_true(answer_parse(text, strlen(text), entities, 1, &answered));
    struct notice notice = {
        .collection = &fake_tickets, .id = answered.id, .version = answered.version, .epoch = answered.epoch};
    for (size_t i = 0; i < FAKE_INSTANCES; i++) {
        if (asker_number(fake.instances[i].listening.asker, &answered.nonce, &notice.ask)) {
            shard_tell_answer(shard_of(&fake.instances[i], &notice.id), &notice);
        }
    }
}

void fake_deliver_signal(size_t number)
{
    static const struct collection *const collections[] = {&fake_tickets};
    struct fake_signal signal = fake.signals[number];
    fake.signals[number] = fake.signals[--fake.signal_count];
    struct notice notice;
    if (text_equal(signal.topic, "tickets.ask")) {
        answer(signal.text);
        return;
    }
    if (text_equal(signal.topic, "ticket.answer")) {
        deliver_answer(signal.text);
        return;
    }
    assert_true(notice_parse(signal.text, strlen(signal.text), collections, 1, &notice));
    for (size_t i = 0; i < FAKE_INSTANCES; i++) {
        struct shard *shard = shard_of(&fake.instances[i], &notice.id);
        if (text_equal(signal.topic, "shop.lacking")) {
            shard_tell_lacking(shard, &notice);
        } else {
            assert_string_equal(signal.topic, "shop.applied");
            shard_tell_changed(shard, &notice);
        }
    }
}

static void start(struct fake_instance *instance)
{
    instance->listening.asker = asker_new();
    atomic_store(&instance->epoch, 0);
    for (size_t i = 0; i < FAKE_SHARDS; i++) {
        instance->shards[i] = shard_new(&instance->listening);
    }
}

static void stop(struct fake_instance *instance)
{
    for (size_t i = 0; i < FAKE_SHARDS; i++) {
        shard_free(&instance->shards[i]);
    }
    for (size_t i = 0; i < instance->route_count; i++) {
        assert_int_equal(atomic_load(&instance->routes[i].held), 0);
    }
    asker_free(&instance->listening.asker);
}

void fake_crash(size_t instance)
{
    stop(&fake.instances[instance]);
    start(&fake.instances[instance]);
}

void fake_begin(const struct listener *listener, size_t in_flight, uint64_t seed)
{
    memset(&fake, 0, sizeof(fake));
    fake.random = seed;
    fake.now = START;
    for (size_t i = 0; i < FAKE_INSTANCES; i++) {
        struct fake_instance *instance = &fake.instances[i];
        struct listening *listening = &instance->listening;
        listening->service = "shop";
        listening->context = &fake;
        text_copy_cut(listening->queue_group, sizeof(listening->queue_group), "shop-service");
        text_copy_cut(listening->before_write, sizeof(listening->before_write), "shop.effect.before_write");
        text_copy_cut(listening->lacking, sizeof(listening->lacking), "shop.lacking");
        text_copy_cut(listening->applied, sizeof(listening->applied), "shop.applied");
        for (const struct subject *const *subject = catalogue_subjects; *subject != NULL; subject++) {
            if ((*subject)->entity == listener->entity) {
                struct route *route = &instance->routes[instance->route_count];
                route->listening = listening;
                route->listener = listener;
                route->subject = *subject;
                route->number = instance->route_count++;
                route->epoch = &instance->epoch;
                route->held_max = in_flight;
            }
        }
        start(instance);
    }
}

void fake_end(void)
{
    for (size_t i = 0; i < FAKE_INSTANCES; i++) {
        stop(&fake.instances[i]);
    }
    for (size_t i = 0; i < fake.message_count; i++) {
        assert_int_equal(fake.messages[i].deliveries, 0);
        xfree(fake.messages[i].text);
    }
}

void fake_step(size_t instance, size_t shard)
{
    fake.running = fake.instances[instance].shards[shard];
    (void)shard_step(fake.running, fake.now);
    fake.running = NULL;
}

void fake_run(void)
{
    int idle = 0;
    for (int i = 0; idle < 2; i++) {
        assert_in_range(i, 0, RUN_STEPS_MAX);
        idle++;
        for (size_t j = 0; j < (size_t)FAKE_INSTANCES * FAKE_SHARDS; j++) {
            if (shard_step(fake.instances[j / FAKE_SHARDS].shards[j % FAKE_SHARDS], fake.now) == 0) {
                idle = 0;
            }
        }
        while (fake.signal_count > 0) {
            fake_deliver_signal(0);
            idle = 0;
        }
    }
}

void fake_pass(int64_t milliseconds)
{
    enum { TICK_MS = 10 };
    for (int64_t passed = 0; passed < milliseconds; passed += TICK_MS) {
        fake_run();
        fake.now += TICK_MS;
    }
    fake_run();
}
