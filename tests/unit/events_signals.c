/* SPDX-License-Identifier: Apache-2.0
 * Tests of what instances tell each other, and of the memory of what others lack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/events/signals.h"

enum {
    LIMIT = 3,
    LIFETIME_MS = 100,
};

static const struct collection tickets = {.name = "tickets"};
static const struct collection orders = {.name = "orders"};
static const struct collection *const collections[] = {&tickets, &orders};

static struct notice make_notice(unsigned id, uint64_t version)
{
    struct notice notice = {.collection = &orders, .version = version};
    snprintf(notice.id.hex, sizeof(notice.id.hex), "%024x", id);
    return notice;
}

static bool parse(const char *text, size_t length, struct notice *ret_notice)
{
    return notice_parse(text, length, collections, ARRAY_LENGTH(collections), ret_notice);
}

static void reads_what_it_printed(void **state UNUSED)
{
    static const uint64_t versions[] = {1, 17, RECORD_VERSION_MAX};
    for (size_t i = 0; i < ARRAY_LENGTH(versions); i++) {
        const struct notice notice = make_notice(0xabc, versions[i]);
        struct notice read;
        char text[NOTICE_TEXT_SIZE];
        notice_print(&notice, text);
        assert_true(parse(text, strlen(text), &read));
        assert_ptr_equal(read.collection, &orders);
        assert_string_equal(read.id.hex, notice.id.hex);
        assert_int_equal(read.version, versions[i]);
    }
}

static void refuses_what_is_no_notice(void **state UNUSED)
{
    static const char *const texts[] = {
        "",
        " ",
        "orders",
        "orders ",
        "orders 000000000000000000000001",
        "orders 000000000000000000000001 ",
        "orders 000000000000000000000001 x",
        "orders 000000000000000000000001 -1",
        "orders 000000000000000000000001 1 ",
        "orders 000000000000000000000001 1 2",
        "orders  000000000000000000000001 1",
        "orders 00000000000000000000000 1",
        "orders 000000000000000000000001 9007199254740993",
        "orders 000000000000000000000001 99999999999999999999",
        "users 000000000000000000000001 1",
        "ORDERS 000000000000000000000001 1",
    };
    struct notice notice = make_notice(5, 5);
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        if (parse(texts[i], strlen(texts[i]), &notice)) {
            fail_msg("\"%s\" was understood", texts[i]);
        }
    }
    static const char with_nul[] = "orders 000000000000000000000001 1\0002";
    assert_false(parse(with_nul, sizeof(with_nul) - 1, &notice));
    char large[NOTICE_TEXT_SIZE * 2];
    memset(large, '1', sizeof(large));
    assert_false(parse(large, sizeof(large), &notice));
    assert_int_equal(notice.version, 5);
}

static const struct entity *const entities[] = {&entity_order, &entity_ticket};

#define ID    "000000000000000000000abc"
#define NONCE "fedcba9876543210fedcba98"

static void reads_the_asks_and_answers_that_it_printed(void **state UNUSED)
{
    struct ask ask = {
        .entity = &entity_ticket, .id = {ID}, .nonce = {NONCE}, .version = 7, .epoch = RECORD_VERSION_MAX};
    struct ask read = {.entity = NULL};
    char text[ASK_TEXT_SIZE];
    ask_print(&ask, text);
    assert_string_equal(text, "ticket " ID " " NONCE);
    assert_true(ask_parse(text, strlen(text), entities, ARRAY_LENGTH(entities), &read));
    assert_ptr_equal(read.entity, &entity_ticket);
    assert_string_equal(read.id.hex, ID);
    assert_string_equal(read.nonce.hex, NONCE);
    assert_int_equal(read.version, 0);
    answer_print(&ask, text);
    assert_string_equal(text, "ticket " ID " " NONCE " 7 9007199254740992");
    assert_true(answer_parse(text, strlen(text), entities, ARRAY_LENGTH(entities), &read));
    assert_string_equal(read.nonce.hex, NONCE);
    assert_int_equal(read.version, 7);
    assert_int_equal(read.epoch, RECORD_VERSION_MAX);
}

/* Anyone on the bus can send anything. */
static void refuses_what_is_no_ask_and_no_answer(void **state UNUSED)
{
    static const char *const texts[] = {
        "",
        " ",
        "ticket",
        "ticket " ID,
        "ticket " ID " ",
        "ticket " ID " " NONCE " ",
        "ticket " ID " " NONCE " 1",
        "ticket " ID " " NONCE " 1 ",
        "ticket " ID " " NONCE " 1 2 3",
        "ticket " ID " " NONCE " 1 -2",
        "ticket " ID " " NONCE " x 2",
        "ticket " ID " " NONCE " 1 9007199254740993",
        "ticket " ID " " NONCE " 99999999999999999999 1",
        "ticket  " ID " " NONCE,
        " ticket " ID " " NONCE,
        "ticket " ID " fedcba9876543210fedcba9",
        "ticket " ID " fedcba9876543210fedcba9g",
        "payment " ID " " NONCE,
        "payment " ID " " NONCE " 1 2",
        "ticketticketticketticketticketticketticketticketticketticketticketticketticketticketticketticketticketticket "
        "ticketticketticketticketticketticket",
    };
    struct ask read = {.version = 5};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        if (ask_parse(texts[i], strlen(texts[i]), entities, ARRAY_LENGTH(entities), &read) ||
            answer_parse(texts[i], strlen(texts[i]), entities, ARRAY_LENGTH(entities), &read)) {
            fail_msg("\"%s\" was understood", texts[i]);
        }
    }
    static const char with_nul[] = "ticket " ID " " NONCE "\0 1 2";
    assert_false(ask_parse(with_nul, sizeof(with_nul) - 1, entities, ARRAY_LENGTH(entities), &read));
    assert_false(answer_parse(with_nul, sizeof(with_nul) - 1, entities, ARRAY_LENGTH(entities), &read));
    assert_int_equal(read.version, 5); /* untouched */
}

static void knows_once_that_a_version_is_wanted(void **state UNUSED)
{
    struct wanted *wanted = wanted_new(LIMIT, LIFETIME_MS);
    const struct notice third = make_notice(1, 3), fourth = make_notice(1, 4), other = make_notice(2, 9);
    wanted_add(wanted, &fourth, 0);
    assert_false(wanted_take(wanted, &third, 1)); /* not yet the wanted one */
    assert_false(wanted_take(wanted, &other, 1));
    assert_true(wanted_take(wanted, &fourth, 1));
    assert_false(wanted_take(wanted, &fourth, 1));
    wanted_add(wanted, &fourth, 2);
    wanted_add(wanted, &third, 2);
    assert_true(wanted_take(wanted, &third, 3)); /* the lowest that anyone wants */
    assert_int_equal(wanted_count(wanted), 0);
    wanted_free(&wanted);
}

static void forgets_what_was_wanted_long_ago(void **state UNUSED)
{
    struct wanted *wanted = wanted_new(LIMIT, LIFETIME_MS);
    const struct notice notice = make_notice(1, 1);
    wanted_add(wanted, &notice, 0);
    assert_false(wanted_take(wanted, &notice, LIFETIME_MS));
    wanted_add(wanted, &notice, 0);
    wanted_add(wanted, &notice, LIFETIME_MS); /* wanted still */
    assert_true(wanted_take(wanted, &notice, LIFETIME_MS + 1));
    wanted_free(&wanted);
}

static void remembers_no_more_than_it_may(void **state UNUSED)
{
    struct wanted *wanted = wanted_new(LIMIT, LIFETIME_MS);
    for (unsigned i = 0; i < 2 * LIMIT; i++) {
        const struct notice notice = make_notice(i, 1);
        wanted_add(wanted, &notice, 0);
    }
    assert_int_equal(wanted_count(wanted), LIMIT);
    const struct notice late = make_notice(100, 1);
    wanted_add(wanted, &late, LIFETIME_MS); /* the old ones make room */
    assert_int_equal(wanted_count(wanted), 1);
    assert_true(wanted_take(wanted, &late, LIFETIME_MS + 1));
    wanted_free(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_printed),
        cmocka_unit_test(refuses_what_is_no_notice),
        cmocka_unit_test(reads_the_asks_and_answers_that_it_printed),
        cmocka_unit_test(refuses_what_is_no_ask_and_no_answer),
        cmocka_unit_test(knows_once_that_a_version_is_wanted),
        cmocka_unit_test(forgets_what_was_wanted_long_ago),
        cmocka_unit_test(remembers_no_more_than_it_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
