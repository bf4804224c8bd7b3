/* SPDX-License-Identifier: Apache-2.0
 * Tests of the rule by which a replica follows versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/events/verdict.h"

struct example {
    uint64_t stored_version, stored_epoch, version, epoch;
    enum verdict verdict;
};

static void check(enum verdict (*decide)(struct standing, struct standing), const struct example *examples,
                  size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct example *e = &examples[i];
        const struct standing stored = {.version = e->stored_version, .epoch = e->stored_epoch};
        const struct standing arrived = {.version = e->version, .epoch = e->epoch};
        enum verdict verdict = decide(stored, arrived);
        if (verdict != e->verdict) {
            fail_msg("stored %d (epoch %d), arrived %d (epoch %d): %d instead of %d", (int)e->stored_version,
                     (int)e->stored_epoch, (int)e->version, (int)e->epoch, (int)verdict, (int)e->verdict);
        }
    }
}

static void applies_the_next_version_and_only_that(void **state UNUSED)
{
    static const struct example examples[] = {
        {0, 0, 1, 0, VERDICT_APPLY}, {0, 0, 2, 0, VERDICT_GAP}, {0, 0, 7, 0, VERDICT_GAP},  {1, 0, 1, 0, VERDICT_DONE},
        {1, 0, 2, 0, VERDICT_APPLY}, {1, 0, 3, 0, VERDICT_GAP}, {5, 0, 1, 0, VERDICT_DONE}, {5, 0, 5, 0, VERDICT_DONE},
        {5, 0, 6, 0, VERDICT_APPLY}, {5, 0, 7, 0, VERDICT_GAP}, {5, 0, 8, 0, VERDICT_GAP},
    };
    check(verdict_of_event, examples, ARRAY_LENGTH(examples));
}

static void is_done_with_what_belongs_to_an_earlier_epoch(void **state UNUSED)
{
    static const struct example examples[] = {
        {5, 1, 4, 0, VERDICT_DONE}, {5, 1, 6, 0, VERDICT_DONE},  {5, 1, 9, 0, VERDICT_DONE},
        {5, 2, 6, 1, VERDICT_DONE}, {5, 1, 6, 1, VERDICT_APPLY},
    };
    check(verdict_of_event, examples, ARRAY_LENGTH(examples));
}

static void takes_a_later_epoch_only_where_the_versions_meet(void **state UNUSED)
{
    static const struct example examples[] = {
        {0, 0, 1, 3, VERDICT_APPLY}, {0, 0, 2, 3, VERDICT_GAP}, {5, 0, 6, 1, VERDICT_APPLY},
        {5, 0, 7, 1, VERDICT_GAP},   {5, 0, 5, 1, VERDICT_GAP}, {5, 0, 2, 1, VERDICT_GAP},
    };
    check(verdict_of_event, examples, ARRAY_LENGTH(examples));
}

/* With nothing stored, the epoch is the highest that is known. */
static void brings_nothing_back_from_an_epoch_that_was_left(void **state UNUSED)
{
    static const struct example examples[] = {
        {0, 2, 1, 1, VERDICT_GAP}, {0, 2, 1, 0, VERDICT_GAP},   {0, 2, 5, 1, VERDICT_GAP},
        {0, 2, 5, 2, VERDICT_GAP}, {0, 2, 1, 2, VERDICT_APPLY}, {0, 2, 1, 3, VERDICT_APPLY},
    };
    check(verdict_of_event, examples, ARRAY_LENGTH(examples));
    static const struct example snapshots[] = {
        {0, 2, 1, 1, VERDICT_DONE},    {0, 2, 9, 0, VERDICT_DONE},    {0, 2, 0, 1, VERDICT_DONE},
        {0, 2, 9, 2, VERDICT_REPLACE}, {0, 2, 1, 3, VERDICT_REPLACE}, {0, 2, 0, 3, VERDICT_DONE},
    };
    check(verdict_of_snapshot, snapshots, ARRAY_LENGTH(snapshots));
}

static void takes_snapshots_of_later_versions_without_their_predecessors(void **state UNUSED)
{
    static const struct example examples[] = {
        {0, 0, 1, 0, VERDICT_REPLACE}, {0, 0, 7, 0, VERDICT_REPLACE}, {3, 0, 4, 0, VERDICT_REPLACE},
        {3, 0, 9, 0, VERDICT_REPLACE}, {3, 0, 3, 0, VERDICT_DONE},    {3, 0, 1, 0, VERDICT_DONE},
    };
    check(verdict_of_snapshot, examples, ARRAY_LENGTH(examples));
}

static void takes_snapshots_of_later_epochs_whatever_their_version(void **state UNUSED)
{
    static const struct example examples[] = {
        {5, 1, 1, 2, VERDICT_REPLACE}, {5, 1, 5, 2, VERDICT_REPLACE}, {5, 1, 6, 2, VERDICT_REPLACE},
        {5, 1, 9, 7, VERDICT_REPLACE}, {5, 1, 9, 0, VERDICT_DONE},    {5, 1, 6, 0, VERDICT_DONE},
    };
    check(verdict_of_snapshot, examples, ARRAY_LENGTH(examples));
}

static void removes_what_the_owner_lacks_in_a_later_epoch_only(void **state UNUSED)
{
    static const struct example examples[] = {
        {5, 1, 0, 2, VERDICT_REMOVE}, {1, 0, 0, 1, VERDICT_REMOVE}, {5, 1, 0, 1, VERDICT_DONE},
        {5, 1, 0, 0, VERDICT_DONE},   {0, 0, 0, 0, VERDICT_DONE},
    };
    check(verdict_of_snapshot, examples, ARRAY_LENGTH(examples));
}

static void tells_strays_from_what_only_has_to_wait(void **state UNUSED)
{
    static const struct {
        struct standing event, answer;
        enum held_verdict verdict;
    } examples[] = {
        {{4, 0}, {3, 0}, HELD_STRAY}, {{4, 0}, {0, 0}, HELD_STRAY}, {{1, 0}, {0, 0}, HELD_STRAY},
        {{4, 0}, {4, 0}, HELD_WAIT},  {{4, 0}, {9, 0}, HELD_WAIT},  {{9, 0}, {3, 1}, HELD_WAIT},
        {{3, 1}, {9, 0}, HELD_STRAY}, {{3, 1}, {0, 0}, HELD_STRAY}, {{3, 1}, {2, 1}, HELD_STRAY},
        {{9, 0}, {0, 1}, HELD_LEFT},  {{1, 1}, {0, 5}, HELD_LEFT},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(examples); i++) {
        assert_int_equal(verdict_of_answer(examples[i].event, examples[i].answer), examples[i].verdict);
    }
}

/* Standings in the order of the owner's history; whoever takes snapshots in any order ends at the last of them. */
static void never_goes_back_in_history(void **state UNUSED)
{
    enum { EPOCHS = 3, VERSIONS = 4 };
    for (uint64_t stored = 1; stored < EPOCHS * VERSIONS; stored++) {
        for (uint64_t arrived = 0; arrived < EPOCHS * VERSIONS; arrived++) {
            const struct standing from = {.version = stored % VERSIONS, .epoch = stored / VERSIONS};
            const struct standing to = {.version = arrived % VERSIONS, .epoch = arrived / VERSIONS};
            enum verdict snapshot = verdict_of_snapshot(from, to), event = verdict_of_event(from, to);
            if (arrived <= stored) {
                assert_int_equal(snapshot, VERDICT_DONE);
                assert_true(event == VERDICT_DONE || from.version == 0);
            } else if (from.version > 0 && to.version > 0) {
                assert_int_equal(snapshot, VERDICT_REPLACE);
                assert_true(event == VERDICT_APPLY || event == VERDICT_GAP);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applies_the_next_version_and_only_that),
        cmocka_unit_test(is_done_with_what_belongs_to_an_earlier_epoch),
        cmocka_unit_test(takes_a_later_epoch_only_where_the_versions_meet),
        cmocka_unit_test(brings_nothing_back_from_an_epoch_that_was_left),
        cmocka_unit_test(takes_snapshots_of_later_versions_without_their_predecessors),
        cmocka_unit_test(takes_snapshots_of_later_epochs_whatever_their_version),
        cmocka_unit_test(removes_what_the_owner_lacks_in_a_later_epoch_only),
        cmocka_unit_test(tells_strays_from_what_only_has_to_wait),
        cmocka_unit_test(never_goes_back_in_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
