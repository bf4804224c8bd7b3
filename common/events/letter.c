/* SPDX-License-Identifier: Apache-2.0
 * Putting what arrived to the dead letters. */
#include "common/events/letter.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/dead_letter.h"

enum {
    DEAD_LETTER_WAIT_MS = 5000, /* for the bus's confirmation */
    DEAD_LETTER_TEXT_MAX = DEAD_LETTER_EVENT_MAX / 3 * 4 + 4096,
};

bool dead_letter_publish(const struct arrival *arrival, const struct delivery *delivery, const char *reason,
                         struct error *error)
{
    const struct listening *listening = arrival->route->listening;
    struct dead_letter letter = {
        .sequence = arrival->sequence,
        .attempts = arrival->attempts > 0 ? arrival->attempts : 1,
        .time = clock_now(listening->clock),
        .event_length = arrival->length < DEAD_LETTER_EVENT_MAX ? arrival->length : DEAD_LETTER_EVENT_MAX,
        .cut = arrival->length > DEAD_LETTER_EVENT_MAX,
    };
    const char *subject = arrival->route->subject->name;
    text_copy_cut(letter.channel, sizeof(letter.channel), subject);
    text_copy_cut(letter.reason, sizeof(letter.reason), reason);
    text_copy_cut(letter.listener, sizeof(letter.listener), listening->queue_group);
    CLEANUP(free_pointer) char *event = xmemdup(delivery_data(delivery), letter.event_length);
    letter.event = event;
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(DEAD_LETTER_TEXT_MAX);
    dead_letter_print(&letter, &text);
    char channel[BUS_SUBJECT_MAX];
    char message_id[BUS_MESSAGE_ID_MAX];
    snprintf(channel, sizeof(channel), DEAD_LETTER_PREFIX "%s", subject);
    /* Each listener keeps its own letter of an event. Where ids are heeded the sequence alone tells subjects apart, so
     * that nothing is lost by cutting. */
    CLEANUP(free_pointer)
    char *id = xasprintf("dead/%" PRIu64 "/%s/%s", arrival->sequence, listening->queue_group, subject);
    text_copy_cut(message_id, sizeof(message_id), id);
    return bus_publish_wait(listening->bus, channel, message_id, text.data, text.length, DEAD_LETTER_WAIT_MS, error);
}
