/* SPDX-License-Identifier: Apache-2.0
 * Asking the owners of what replicas copy, and what their answers mean. */
#include "common/events/owner.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/events/asking.h"
#include "common/events/signals.h"

static struct metric_family owners_asked = {
    .name = "turnstile_gap_asks_total",
    .help = "Questions to owners about events that did not come.",
    .type = METRIC_COUNTER,
    .labels = {"entity", NULL},
};

static struct metric_family strays_buried = {
    .name = "turnstile_stray_events_total",
    .help = "Events that their owner never had, kept as dead letters.",
    .type = METRIC_COUNTER,
    .labels = {"entity", NULL},
};

void owner_watch(const struct entity *entity)
{
    const char *const labels[] = {entity->name, NULL};
    metric_add(metric_of(&owners_asked, labels), 0);
    metric_add(metric_of(&strays_buried, labels), 0);
}

static void log_asked(const struct arrival *arrival, struct gap *gap, int64_t now)
{
    const struct entity *entity = arrival->route->listener->entity;
    int64_t age = now - gap->since;
    bool is_long = age >= EVENT_ASK_MS;
    if (gap->lacks_epoch && !gap->was_logged) {
        log_warning("%s/%s comes in epoch %" PRIu64 ", of which %s has not told, asking it", entity->name,
                    arrival->own_id.hex, arrival->head.epoch, entity->publisher);
    } else if (!gap->was_logged) {
        log_warning("Gap of %s/%s: version %" PRIu64 " has not come for %" PRId64 " %s, asking %s (%zu held for it)",
                    entity->name, arrival->own_id.hex, gap->stored + 1, is_long ? age / 1000 : age,
                    is_long ? "s" : "ms", entity->publisher, gap->held);
    }
    gap->was_logged = true;
}

void owner_ask(const struct arrival *arrival, uint64_t stored, int64_t now)
{
    const struct listening *listening = arrival->route->listening;
    struct gap *gap = arrival->gap;
    gap_look(gap, stored, now);
    if (!gap_is_due(gap, atomic_load(&arrival->route->held), arrival->route->held_max, now)) {
        return;
    }
    const struct entity *entity = arrival->route->listener->entity;
    struct ask ask = {.entity = entity, .id = arrival->own_id};
    uint64_t number;
    if (!asker_next(listening->asker, now, &number, &ask.nonce)) {
        return; /* those that were asked about have to wait for their next turn, so this one's comes */
    }
    char text[ASK_TEXT_SIZE];
    char topic[LISTENER_NAME_SIZE];
    ask_print(&ask, text);
    snprintf(topic, sizeof(topic), "%s.ask", entity->publisher);
    gap_asked(gap, number, now);
    log_asked(arrival, gap, now);
    metric_add(metric_of(&owners_asked, (const char *[]){entity->name, NULL}), 1);
    bus_signal(listening->bus, topic, text, strlen(text));
}

static void say_why(const struct arrival *arrival, const struct standing *answer,
                    char ret_reason[static DEAD_LETTER_REASON_MAX])
{
    const char *name = arrival->route->listener->entity->name;
    const char *id = arrival->own_id.hex;
    if (answer->version == 0) {
        snprintf(ret_reason, DEAD_LETTER_REASON_MAX, "stray: its owner has no %s %s", name, id);
    } else if (answer->epoch < arrival->head.epoch) {
        snprintf(ret_reason, DEAD_LETTER_REASON_MAX,
                 "stray: its owner has %s %s at version %" PRIu64 " of epoch %" PRIu64 ", not of epoch %" PRIu64, name,
                 id, answer->version, answer->epoch, arrival->head.epoch);
    } else {
        snprintf(ret_reason, DEAD_LETTER_REASON_MAX, "stray: its owner has %s %s at version %" PRIu64 " only", name, id,
                 answer->version);
    }
}

enum held_verdict owner_judge(const struct arrival *arrival, const struct standing *answer,
                              char ret_reason[static DEAD_LETTER_REASON_MAX])
{
    const char *name = arrival->route->listener->entity->name;
    const struct standing event = {.version = arrival->head.version, .epoch = arrival->head.epoch};
    enum held_verdict verdict = verdict_of_answer(event, *answer);
    if (verdict == HELD_STRAY) {
        say_why(arrival, answer, ret_reason);
        metric_add(metric_of(&strays_buried, (const char *[]){name, NULL}), 1);
    } else if (verdict == HELD_LEFT) {
        log_info("Event %" PRIu64 " of %s is of a history that its owner has left, together with %s %s",
                 arrival->sequence, arrival->route->subject->name, name, arrival->own_id.hex);
    }
    return verdict;
}
