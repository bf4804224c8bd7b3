/* SPDX-License-Identifier: Apache-2.0
 * Tests of when owners are asked: nonces, how many, and how soon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/events/asking.h"

enum {
    HELD_MAX = 100,
    START = 5000,
};

static void knows_its_own_nonces_and_no_others(void **state UNUSED)
{
    enum { ASKS = 20 };
    struct asker *asker = asker_new(), *other = asker_new();
    struct id nonce, nonces[ASKS], foreign;
    uint64_t number, foreign_number;
    for (uint64_t i = 0; i < ASKS; i++) {
        assert_int_equal(asker_count(asker), i);
        assert_true(asker_next(asker, START, &number, &nonces[i]));
        assert_int_equal(number, i + 1);
    }
    for (uint64_t i = 0; i < ASKS; i++) {
        assert_true(asker_number(asker, &nonces[i], &number));
        assert_int_equal(number, i + 1);
    }
    assert_true(asker_next(other, START, &foreign_number, &foreign));
    assert_false(asker_number(asker, &foreign, &number));
    nonce = nonces[0];
    memcpy(nonce.hex + ID_LENGTH - 3, "fff", 3); /* ours, but never asked */
    assert_false(asker_number(asker, &nonce, &number));
    memcpy(nonce.hex + ID_LENGTH - 3, "000", 3);
    assert_false(asker_number(asker, &nonce, &number));
    asker_free(&asker);
    asker_free(&other);
}

static void asks_no_more_than_it_may_in_any_second(void **state UNUSED)
{
    enum { SECONDS = 10, SECOND_MS = 1000 };
    struct asker *asker = asker_new();
    struct id nonce;
    uint64_t number, asked = 0;
    for (int64_t now = START; now < START + SECONDS * SECOND_MS; now++) {
        while (asker_next(asker, now, &number, &nonce)) {
            asked++;
        }
    }
    assert_in_range(asked, SECONDS * ASKS_A_SECOND, SECONDS * ASKS_A_SECOND + ASKS_A_SECOND / 2);
    asker_free(&asker);
}

static struct gap *hold(struct gaps *gaps, size_t count)
{
    struct gap *gap = NULL;
    for (size_t i = 0; i < count; i++) {
        gap = gaps_hold(gaps, "tickets/1", 4, START);
    }
    return gap;
}

static void release(struct gaps *gaps, struct gap *gap)
{
    for (size_t left = gap->held; left > 0; left--) {
        assert_ptr_equal(gaps_find(gaps, "tickets/1"), gap);
        gaps_release(gaps, gap);
    }
    assert_null(gaps_find(gaps, "tickets/1"));
    gaps_free(&gaps);
}

static void asks_after_a_while_and_again(void **state UNUSED)
{
    struct gaps *gaps = gaps_new();
    struct gap *gap = hold(gaps, 2);
    assert_false(gap_is_due(gap, 2, HELD_MAX, START + EVENT_ASK_MS - 1));
    assert_true(gap_is_due(gap, 2, HELD_MAX, START + EVENT_ASK_MS));
    gap_asked(gap, 1, START + EVENT_ASK_MS);
    assert_false(gap_is_due(gap, 2, HELD_MAX, START + EVENT_ASK_MS + EVENT_ASK_AGAIN_MS - 1));
    assert_true(gap_is_due(gap, 2, HELD_MAX, START + EVENT_ASK_MS + EVENT_ASK_AGAIN_MS));
    release(gaps, gap);
}

static void begins_anew_when_something_else_is_lacking(void **state UNUSED)
{
    struct gaps *gaps = gaps_new();
    struct gap *gap = hold(gaps, 1);
    gap_look(gap, 4, START + EVENT_ASK_MS);
    assert_true(gap_is_due(gap, 1, HELD_MAX, START + EVENT_ASK_MS));
    gap_look(gap, 5, START + EVENT_ASK_MS);
    assert_false(gap_is_due(gap, 1, HELD_MAX, START + 2 * EVENT_ASK_MS - 1));
    assert_true(gap_is_due(gap, 1, HELD_MAX, START + 2 * EVENT_ASK_MS));
    release(gaps, gap);
}

static void asks_early_when_it_takes_up_the_window(void **state UNUSED)
{
    struct gaps *gaps = gaps_new();
    struct gap *gap = hold(gaps, HELD_MAX / 4);
    int64_t now = START + EVENT_ASK_EARLY_MS;
    assert_false(gap_is_due(gap, HELD_MAX / 2, HELD_MAX, now));
    assert_true(gap_is_due(gap, HELD_MAX / 2 + 1, HELD_MAX, now)); /* all gaps together */
    gap = hold(gaps, 1);
    assert_true(gap_is_due(gap, HELD_MAX / 2, HELD_MAX, now)); /* this one */
    assert_false(gap_is_due(gap, HELD_MAX, HELD_MAX, now - 1));
    gap_asked(gap, 1, now);
    assert_false(gap_is_due(gap, HELD_MAX, HELD_MAX, now + 999));
    assert_true(gap_is_due(gap, HELD_MAX, HELD_MAX, now + 1000));
    gap->had_strays = true; /* more of them will have come meanwhile */
    assert_true(gap_is_due(gap, HELD_MAX, HELD_MAX, now + EVENT_ASK_EARLY_MS));
    release(gaps, gap);
}

static void understands_answers_to_its_latest_asks(void **state UNUSED)
{
    struct gaps *gaps = gaps_new();
    struct gap *gap = hold(gaps, 1);
    assert_false(gap_was_asked(gap, 1));
    for (uint64_t number = 10; number < 10 + GAP_ASKS_MAX + 2; number++) {
        gap_asked(gap, number, START);
        assert_true(gap_was_asked(gap, number));
        assert_false(gap_was_asked(gap, number + 1));
    }
    assert_false(gap_was_asked(gap, 11));
    assert_true(gap_was_asked(gap, 12));
    release(gaps, gap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_its_own_nonces_and_no_others),
        cmocka_unit_test(asks_no_more_than_it_may_in_any_second),
        cmocka_unit_test(asks_after_a_while_and_again),
        cmocka_unit_test(begins_anew_when_something_else_is_lacking),
        cmocka_unit_test(asks_early_when_it_takes_up_the_window),
        cmocka_unit_test(understands_answers_to_its_latest_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
