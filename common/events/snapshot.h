/* SPDX-License-Identifier: Apache-2.0
 * Snapshots: a record's present state, published by its owner on "<entity>:snapshot" without a change.
 *
 * A replica takes a snapshot of a later version, or of a later epoch whatever its version, without the predecessors.
 * So a consumer catches up that missed an event for good, lost its store, or is new. */
#ifndef TURNSTILE_EVENTS_SNAPSHOT_H
#define TURNSTILE_EVENTS_SNAPSHOT_H

#include "common/bus/bus.h"
#include "common/events/catalogue.h"
#include "common/store/store.h"

/* The fact of an owner's store that tells its epoch. */
#define SNAPSHOT_EPOCH_FACT "epoch"

/* Prints the snapshot of a record: {"id":…,"version":…,<its fields>,"meta":…}; of version 0, that is, of a record that
 * its owner does not have, only id, version and meta. head->epoch is to be that of the owner's store, whatever that of
 * the record's last change. `value` may be NULL for version 0. */
void snapshot_print(const struct entity *entity, const struct record *head, const void *value, int64_t now,
                    struct buffer *buffer);

/* Prints and publishes, without a message id: a snapshot is never a duplicate. As bus_publish; `confirmed` may be NULL.
 * False: the bus is not up, or too much is in flight. */
bool snapshot_publish(struct bus *bus, const struct entity *entity, const struct record *head, const void *value,
                      int64_t now, bus_confirmed *confirmed, void *context) MUST_CHECK;

#endif
