/* SPDX-License-Identifier: Apache-2.0
 * Snapshots: a record's present state, published without a change. */
#include "common/events/snapshot.h"

#include <assert.h>

#include "common/base/log.h"
#include "common/events/events.h"
#include "common/events/message.h"

void snapshot_print(const struct entity *entity, const struct record *head, const void *value, int64_t now,
                    struct buffer *buffer)
{
    const struct subject *subject = catalogue_snapshot(entity);
    assert(subject != NULL);
    assert(value != NULL || head->version == 0);
    message_print(subject, head, value, now, buffer);
}

bool snapshot_publish(struct bus *bus, const struct entity *entity, const struct record *head, const void *value,
                      int64_t now, bus_confirmed *confirmed, void *context)
{
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(EVENT_PAYLOAD_MAX);
    snapshot_print(entity, head, value, now, &text);
    if (text.overflowed) {
        log_error("The snapshot of %s/%s is larger than %d bytes, and not published", entity->name, head->id.hex,
                  EVENT_PAYLOAD_MAX);
        return false;
    }
    return bus_publish(bus, catalogue_snapshot(entity)->name, NULL, text.data, text.length, confirmed, context);
}
