/* SPDX-License-Identifier: Apache-2.0
 * Tests of asking owners, with real stores and a real bus: what asks and answers look like to others, gaps that are
 * healed, and strays. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "tests/contract/events_fixture.h"

enum {
    ANSWERS_MAX = 64,
    VERSIONS = 600, /* far more than fit in flight, and less than an outbox may hold */
    RECORDS = 10,
    ASK_SIZE = 128,
};

/* ---- answers, as anyone on the bus gets them ---- */

struct answers {
    pthread_mutex_t lock;
    size_t count;
    char texts[ANSWERS_MAX][ASK_SIZE];
};

static void on_answer(const void *data, size_t length, void *context)
{
    struct answers *answers = context;
    pthread_mutex_lock(&answers->lock);
    if (answers->count < ANSWERS_MAX && length < ASK_SIZE) {
        memcpy(answers->texts[answers->count], data, length);
        answers->texts[answers->count++][length] = '\0';
    }
    pthread_mutex_unlock(&answers->lock);
}

static void answers_init(struct answers *answers, struct bus *bus)
{
    memset(answers, 0, sizeof(*answers));
    pthread_mutex_init(&answers->lock, NULL);
    struct error error = ERROR_INIT;
    assert_true(bus_on_signal(bus, "ticket.answer", on_answer, answers, &error));
    assert_true(bus_wait_up(bus, WAIT_MS));
}

static size_t count_of(struct answers *answers, const char *text)
{
    size_t count = 0;
    pthread_mutex_lock(&answers->lock);
    for (size_t i = 0; i < answers->count; i++) {
        count += text_equal(answers->texts[i], text);
    }
    pthread_mutex_unlock(&answers->lock);
    return count;
}

struct expected {
    struct answers *answers;
    const char *text;
};

static bool has_come(void *context)
{
    const struct expected *expected = context;
    return count_of(expected->answers, expected->text) > 0;
}

static void ask(struct bus *bus, const char *text)
{
    bus_signal(bus, "tickets.ask", text, strlen(text));
}

/* Until the owner listens, an ask is lost. */
static void ask_until_answered(struct bus *bus, struct answers *answers, const char *text, const char *answer)
{
    struct expected expected = {.answers = answers, .text = answer};
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    while (!has_come(&expected)) {
        assert_true(clock_monotonic(NULL) < deadline);
        ask(bus, text);
        struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
        nanosleep(&pause, NULL);
    }
}

#define NONCE      "00000000000000000000000"
#define FIRST      "000000000000000000000001"
#define SECOND     "000000000000000000000002"
#define IS_UP      "ticket " SECOND " " NONCE "f"
#define IS_UP_THEN IS_UP " 0 0"

static void says_what_it_has_once_and_answers_everyone(void **state)
{
    const struct world *world = *state;
    /* An instance whose connection is new gets asks before it may publish answers: asked is when both may. */
    pid_t other = process_start(world, "tickets", "tickets-2", NULL, NULL);
    struct bus *bus = bus_connect(world);
    struct answers answers;
    answers_init(&answers, bus);
    struct tap *tap = tap_new(bus, "ticket:snapshot");
    ask_until_answered(bus, &answers, IS_UP, IS_UP_THEN);
    struct instance owner = instance_open(world, "tickets", "tickets-1");
    for (uint64_t version = 1; version <= 3; version++) {
        write_version(&owner, make_id(1), version);
    }
    wait_for_empty_outbox(owner.store);
    static const char *const rubbish[] = {
        "", "ticket", "ticket " FIRST, "order " FIRST " " NONCE "1", "ticket x y", "ticket " FIRST " " NONCE "1 2"};
    for (size_t i = 0; i < ARRAY_LENGTH(rubbish); i++) {
        ask(bus, rubbish[i]);
    }
    for (char digit = '0'; digit <= '9'; digit++) {
        char text[ASK_SIZE];
        snprintf(text, sizeof(text), "ticket " FIRST " " NONCE "%c", digit);
        ask(bus, text);
    }
    for (char digit = '0'; digit <= '9'; digit++) {
        char text[ASK_SIZE];
        snprintf(text, sizeof(text), "ticket " FIRST " " NONCE "%c 3 0", digit);
        struct expected expected = {.answers = &answers, .text = text};
        assert_true(eventually(has_come, &expected));
        assert_int_equal(count_of(&answers, text), 1); /* of the two instances one has answered */
    }
    tap_wait(tap, 2); /* of what is not there, and of what is; another one from the other instance, perhaps */
    size_t present = 0;
    for (size_t i = 0; i < tap_count(tap); i++) {
        const char *text = tap_text(tap, i);
        bool is_present = strstr(text, "{\"id\":\"" FIRST "\",\"version\":3,\"title\":") == text;
        bool is_absent = strstr(text, "{\"id\":\"" SECOND "\",\"version\":0,\"meta\":") == text;
        assert_true(is_present || is_absent);
        present += is_present;
    }
    assert_in_range(present, 1, 2);
    process_kill(other);
    instance_close(&owner);
    bus_close(&bus, CLOSE_MS);
    tap_free(&tap);
}

/* ---- gaps ---- */

/* A change whose event is not there. */
static void write_silently(struct instance *instance, struct id id, uint64_t version)
{
    struct record record = RECORD_INIT;
    struct ticket ticket = make_ticket((int64_t)version);
    struct error error = ERROR_INIT;
    record.id = id;
    record.version = version;
    assert_int_equal(store_write(instance->store, &tickets, version - 1, &record, &ticket, NULL, &error), STORE_DONE);
}

static void heals_a_gap_before_it_plugs_the_window(void **state)
{
    const struct world *world = *state;
    struct instance owner = instance_open(world, "tickets", "tickets-1");
    struct instance shop = instance_open(world, "shop", "shop-1");
    pid_t other = process_start(world, "shop", "shop-2", NULL, NULL);
    write_version(&owner, make_id(1), 1);
    wait_for_version(shop.store, &copies, make_id(1), 1);
    write_silently(&owner, make_id(1), 2);
    for (uint64_t version = 3; version <= VERSIONS; version++) {
        write_version(&owner, make_id(1), version);
    }
    for (uint64_t record = 0; record < RECORDS; record++) {
        write_version(&owner, make_id(100 + record), 1);
        write_version(&owner, make_id(100 + record), 2);
    }
    for (uint64_t record = 0; record < RECORDS; record++) {
        wait_for_version(shop.store, &copies, make_id(100 + record), 2);
    }
    wait_for_version(shop.store, &copies, make_id(1), VERSIONS);
    wait_for_empty_outbox(owner.store);
    wait_for_acknowledged(world, "shop", "ticket:updated");
    wait_for_acknowledged(world, "shop", "ticket:snapshot");
    assert_int_equal(stored_version(shop.store, &copies, make_id(1)), VERSIONS);
    process_kill(other);
    instance_close(&shop);
    instance_close(&owner);
}

static void buries_many_strays_and_lets_the_rest_pass(void **state)
{
    enum { STRAYS = 5 * IN_FLIGHT };
    const struct world *world = *state;
    struct instance owner = instance_open(world, "tickets", "tickets-1");
    struct instance shop = instance_open(world, "shop", "shop-1");
    struct bus *bus = bus_connect(world);
    struct tap *tap = tap_new(bus, "dead:ticket:updated");
    write_version(&owner, make_id(1), 1);
    wait_for_version(shop.store, &copies, make_id(1), 1);
    for (uint64_t version = 3; version < 3 + STRAYS; version++) {
        publish_version(bus, make_id(1), version);
    }
    write_version(&owner, make_id(2), 1);
    write_version(&owner, make_id(2), 2);
    wait_for_version(shop.store, &copies, make_id(2), 2);
    tap_wait(tap, STRAYS);
    wait_for_acknowledged(world, "shop", "ticket:updated");
    for (size_t i = 0; i < tap_count(tap); i++) {
        assert_non_null(
            strstr(tap_text(tap, i), "\"reason\":\"stray: its owner has ticket " FIRST " at version 1 only\""));
    }
    assert_int_equal(stored_version(shop.store, &copies, make_id(1)), 1);
    instance_close(&shop);
    instance_close(&owner);
    bus_close(&bus, CLOSE_MS);
    tap_free(&tap);
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
        TEST(says_what_it_has_once_and_answers_everyone),
        TEST(heals_a_gap_before_it_plugs_the_window),
        TEST(buries_many_strays_and_lets_the_rest_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
