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

#include "common/base/memory.h"
#include "common/base/text.h"
#include "tests/contract/events_fixture.h"

enum {
    RECORDS = 50,
    VERSIONS = 10,
    LEFTOVERS = 3000,
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
        cmocka_unit_test_setup_teardown(brings_a_change_to_the_replica, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(brings_many_versions_of_many_records_by_two_instances_each, world_setup,
                                        world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
