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

static void check(const struct example *examples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct example *e = &examples[i];
        enum verdict verdict = verdict_of(e->stored_version, e->stored_epoch, e->version, e->epoch);
        if (verdict != e->verdict) {
            fail_msg("stored %d (epoch %d), event %d (epoch %d): %d instead of %d", (int)e->stored_version,
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
    check(examples, ARRAY_LENGTH(examples));
}

static void is_done_with_what_belongs_to_an_earlier_epoch(void **state UNUSED)
{
    static const struct example examples[] = {
        {5, 1, 4, 0, VERDICT_DONE}, {5, 1, 6, 0, VERDICT_DONE},  {5, 1, 9, 0, VERDICT_DONE},
        {5, 2, 6, 1, VERDICT_DONE}, {5, 1, 6, 1, VERDICT_APPLY},
    };
    check(examples, ARRAY_LENGTH(examples));
}

static void takes_a_later_epoch_only_where_the_versions_meet(void **state UNUSED)
{
    static const struct example examples[] = {
        {0, 0, 1, 3, VERDICT_APPLY}, {0, 0, 2, 3, VERDICT_GAP}, {5, 0, 6, 1, VERDICT_APPLY},
        {5, 0, 7, 1, VERDICT_GAP},   {5, 0, 5, 1, VERDICT_GAP}, {5, 0, 2, 1, VERDICT_GAP},
    };
    check(examples, ARRAY_LENGTH(examples));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applies_the_next_version_and_only_that),
        cmocka_unit_test(is_done_with_what_belongs_to_an_earlier_epoch),
        cmocka_unit_test(takes_a_later_epoch_only_where_the_versions_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
