/* SPDX-License-Identifier: Apache-2.0
 * What becomes of one event. */
#include "common/events/apply.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/events/commit.h"
#include "common/events/verdict.h"

enum {
    CONFLICTS_MAX = 32,                   /* lost races in a row before others get their turn */
    EPOCH_AHEAD_MS = 24 * 60 * 60 * 1000, /* epochs are moments, of clocks that may differ by less than that */
};

static struct metric_family snapshots_applied = {
    .name = "turnstile_snapshots_applied_total",
    .help = "Snapshots that replaced what a replica had, or had not.",
    .type = METRIC_COUNTER,
    .labels = {"entity", NULL},
};

static struct metric_family replicas_removed = {
    .name = "turnstile_replicas_removed_total",
    .help = "Records taken out of a replica because their owner does not have them any more.",
    .type = METRIC_COUNTER,
    .labels = {"entity", NULL},
};

static const struct result again = {.outcome = OUTCOME_BUSY,
                                    .error = {ERROR_CONFLICT, "others keep changing the record"}};

/* A store that is away is nobody's fault; whatever else it says is about this event. */
static struct result failure(const struct error *error)
{
    return (struct result){.outcome = error->code == ERROR_UNAVAILABLE ? OUTCOME_AWAY : OUTCOME_FAILED,
                           .error = *error};
}

/* Absent: version 0, and the value zeroed. */
static bool read_own(const struct arrival *arrival, struct record *ret_own, void *ret_value, struct error *error)
{
    const struct collection *collection = arrival->route->listener->collection;
    struct error problem = ERROR_INIT;
    *ret_own = RECORD_INIT;
    if (store_get(arrival->route->listening->store, collection, &arrival->own_id, ret_own, ret_value, &problem)) {
        return true;
    }
    if (problem.code != ERROR_NOT_FOUND) {
        *error = problem;
        return false;
    }
    *ret_own = RECORD_INIT;
    ret_own->id = arrival->own_id;
    return true;
}

static void hint(const struct arrival *arrival, const struct record *head, const void *value)
{
    const struct listener *listener = arrival->route->listener;
    if (listener->applied != NULL) {
        listener->applied(head, value, arrival->route->listening->context);
    }
}

/* True if a write that was refused is to be started again from the read. */
static bool lost_race(enum store_result written)
{
    return written == STORE_CONFLICT_ID || written == STORE_CONFLICT_VERSION;
}

static struct result refused(enum store_result written, const struct error *error)
{
    switch (written) {
    case STORE_OUTBOX_FULL:
        return (struct result){.outcome = OUTCOME_BUSY, .error = *error};
    case STORE_UNAVAILABLE:
        return failure(error);
    default:
        return (struct result){.outcome = OUTCOME_FAILED, .error = *error};
    }
}

/* ---- replicas ---- */

/* The fact that keeps the highest epoch that was seen of what a collection copies. */
static void epoch_fact(const struct collection *collection, char ret_name[static STORE_FACT_NAME_MAX])
{
    snprintf(ret_name, STORE_FACT_NAME_MAX, "epoch/%s", collection->name);
}

static void remember_epoch(const struct route *route, uint64_t epoch)
{
    uint64_t known = atomic_load(route->epoch);
    while (known < epoch && !atomic_compare_exchange_weak(route->epoch, &known, epoch)) {
    }
}

/* Whether the owner has said, to whichever instance, that it has come to this epoch. What merely comes by the bus does
 * not count: whatever is of an earlier epoch than one that is known here is not believed any more. */
static bool find_epoch(const struct arrival *arrival, bool *ret_known, struct error *error)
{
    const struct route *route = arrival->route;
    int64_t epoch = 0;
    char name[STORE_FACT_NAME_MAX];
    *ret_known = arrival->head.epoch <= atomic_load(route->epoch);
    if (*ret_known) {
        return true;
    }
    epoch_fact(route->listener->collection, name);
    if (!store_fact_get(route->listening->store, name, &epoch, error)) {
        return false;
    }
    remember_epoch(route, (uint64_t)epoch);
    *ret_known = arrival->head.epoch <= (uint64_t)epoch;
    return true;
}

/* Before anything of this epoch is applied or removed: whoever finds nothing stored afterwards, and then asks for the
 * epoch, knows that what is older must not bring it back. */
bool apply_learn_epoch(const struct route *route, uint64_t epoch, struct error *error)
{
    char name[STORE_FACT_NAME_MAX];
    if (epoch <= atomic_load(route->epoch)) {
        return true;
    }
    epoch_fact(route->listener->collection, name);
    if (!store_fact_raise(route->listening->store, name, (int64_t)epoch, error)) {
        return false;
    }
    remember_epoch(route, epoch);
    return true;
}

/* Where nothing is stored, the epoch is read from the store each time: another instance may have raised it just now,
 * and removed the record. */
static bool find_standing(const struct arrival *arrival, const struct record *stored, struct standing *ret_standing,
                          struct error *error)
{
    int64_t epoch = (int64_t)stored->epoch;
    char name[STORE_FACT_NAME_MAX];
    epoch_fact(arrival->route->listener->collection, name);
    if (stored->version == 0 && !store_fact_get(arrival->route->listening->store, name, &epoch, error)) {
        return false;
    }
    *ret_standing = (struct standing){.version = stored->version, .epoch = (uint64_t)epoch};
    return true;
}

static void log_applied(const struct arrival *arrival, const struct record *record, const struct record *stored)
{
    const char *name = arrival->route->listener->entity->name;
    if (!arrival->route->subject->is_snapshot) {
        log_info("Applied %s/%s/%" PRIu64, name, record->id.hex, record->version);
    } else if (record->version == stored->version + 1 && record->epoch == stored->epoch) {
        log_info("Applied %s/%s/%" PRIu64 " (snapshot)", name, record->id.hex, record->version);
    } else if (record->epoch == stored->epoch || stored->version == 0) {
        log_info("Applied %s/%s/%" PRIu64 " (snapshot, from version %" PRIu64 ")", name, record->id.hex,
                 record->version, stored->version);
    } else {
        log_info("Applied %s/%s/%" PRIu64 " (snapshot, from version %" PRIu64 " of epoch %" PRIu64 " to epoch %" PRIu64
                 ")",
                 name, record->id.hex, record->version, stored->version, stored->epoch, record->epoch);
    }
}

/* The other half of apply_learn_epoch: whoever raised the epoch before this record was there has perhaps not found it.
 * So the epoch is read once more, and what should not have come back is taken away again. False: it was, or might have
 * to be. */
static bool may_stay(const struct arrival *arrival, const struct record *record, struct error *error)
{
    const struct record nothing = RECORD_INIT;
    struct standing standing;
    if (!find_standing(arrival, &nothing, &standing, error)) {
        return false;
    }
    if (standing.epoch <= record->epoch) {
        return true;
    }
    enum store_result removed = store_remove(arrival->route->listening->store, arrival->route->listener->collection,
                                             &record->id, record->version, error);
    if (removed == STORE_DONE) {
        error_set(error, ERROR_CONFLICT, "its owner has begun a new history");
    }
    return false;
}

static struct result write_replica(const struct arrival *arrival, const struct record *stored, bool *ret_again)
{
    const struct listener *listener = arrival->route->listener;
    struct record record = RECORD_INIT;
    struct error error = ERROR_INIT;
    record.id = arrival->head.id;
    record.version = arrival->head.version;
    record.epoch = arrival->head.epoch;
    enum store_result written = store_write(arrival->route->listening->store, listener->collection, stored->version,
                                            &record, arrival->value, NULL, &error);
    if (lost_race(written)) {
        *ret_again = true;
        return again;
    }
    if (written != STORE_DONE) {
        return refused(written, &error);
    }
    if (stored->version == 0 && !may_stay(arrival, &record, &error)) {
        *ret_again = error.code == ERROR_CONFLICT;
        return failure(&error);
    }
    log_applied(arrival, &record, stored);
    if (arrival->route->subject->is_snapshot) {
        metric_add(metric_of(&snapshots_applied, (const char *[]){listener->entity->name, NULL}), 1);
    }
    hint(arrival, &record, arrival->value);
    return (struct result){.outcome = OUTCOME_APPLIED, .version = record.version};
}

static struct result remove_replica(const struct arrival *arrival, const struct record *stored, bool *ret_again)
{
    const struct listener *listener = arrival->route->listener;
    struct error error = ERROR_INIT;
    enum store_result removed =
        store_remove(arrival->route->listening->store, listener->collection, &arrival->own_id, stored->version, &error);
    if (lost_race(removed)) {
        *ret_again = true;
        return again;
    }
    if (removed != STORE_DONE) {
        return refused(removed, &error);
    }
    log_info("Removed %s/%s, which was at version %" PRIu64 ": its owner does not have it any more",
             listener->entity->name, arrival->own_id.hex, stored->version);
    metric_add(metric_of(&replicas_removed, (const char *[]){listener->entity->name, NULL}), 1);
    return (struct result){.outcome = OUTCOME_APPLIED, .version = 0};
}

static struct result try_replica(const struct arrival *arrival, bool *ret_again)
{
    bool is_snapshot = arrival->route->subject->is_snapshot;
    const struct standing head = {.version = arrival->head.version, .epoch = arrival->head.epoch};
    struct record stored;
    struct standing standing;
    struct error error = ERROR_INIT;
    bool is_known = false;
    if (!find_epoch(arrival, &is_known, &error) || !read_own(arrival, &stored, NULL, &error) ||
        !find_standing(arrival, &stored, &standing, &error)) {
        return failure(&error);
    }
    if (!is_known) {
        return (struct result){.outcome = OUTCOME_EPOCH, .version = stored.version};
    }
    switch (is_snapshot ? verdict_of_snapshot(standing, head) : verdict_of_event(standing, head)) {
    case VERDICT_APPLY:
    case VERDICT_REPLACE:
        return write_replica(arrival, &stored, ret_again);
    case VERDICT_REMOVE:
        return remove_replica(arrival, &stored, ret_again);
    case VERDICT_GAP:
        return (struct result){.outcome = OUTCOME_GAP, .version = stored.version};
    case VERDICT_DONE:
        break;
    }
    if (stored.version == 0) {
        log_info("Nothing to do: there is no %s/%s", arrival->route->listener->entity->name, arrival->own_id.hex);
    } else {
        log_info("Already applied: %s/%s is at version %" PRIu64, arrival->route->listener->entity->name, stored.id.hex,
                 stored.version);
    }
    return (struct result){.outcome = OUTCOME_DONE, .version = stored.version};
}

/* ---- effects ---- */

static struct result write_own(const struct arrival *arrival, struct record *own, void *value, struct event event,
                               bool *ret_again)
{
    const struct listening *listening = arrival->route->listening;
    struct error error = ERROR_INIT;
    assert(event.subject != NULL);
    failpoint(listening->before_write);
    enum store_result written =
        events_commit(listening->events, arrival->route->listener->collection, own->version, own, event, &error);
    if (lost_race(written)) {
        *ret_again = true;
        return again;
    }
    if (written != STORE_DONE) {
        return refused(written, &error);
    }
    log_info("Changed %s/%s/%" PRIu64, event.subject->entity->name, own->id.hex, own->version);
    hint(arrival, own, value);
    return (struct result){.outcome = OUTCOME_APPLIED, .version = own->version};
}

/* A record of ours that has taken a number of a later epoch believes no earlier one. So that nobody can put that
 * out of the reach of --restored, whose epoch is the moment at which it is run, what is far ahead of that is not taken.
 */
static bool is_of_the_future(const struct arrival *arrival)
{
    int64_t now = clock_now(arrival->route->listening->clock);
    return (int64_t)arrival->head.epoch > now + EPOCH_AHEAD_MS;
}

static struct result try_effect(const struct arrival *arrival, bool *ret_again)
{
    if (is_of_the_future(arrival)) {
        return (struct result){.outcome = OUTCOME_STRAY, .error = {ERROR_INVALID, "stray: its epoch is of the future"}};
    }
    const struct listener *listener = arrival->route->listener;
    CLEANUP(free_pointer) void *value = xcalloc(1, listener->collection->table->size);
    struct record own;
    struct error error = ERROR_INIT;
    if (!read_own(arrival, &own, value, &error)) {
        return failure(&error);
    }
    uint64_t version = own.version;
    struct event event = {.subject = NULL};
    switch (listener->effect(&arrival->head, arrival->value, &own, value, &event)) {
    case EFFECT_CHANGED:
        return write_own(arrival, &own, value, event, ret_again);
    case EFFECT_UNCHANGED:
        break;
    case EFFECT_GAP:
        return (struct result){.outcome = OUTCOME_GAP, .version = version};
    case EFFECT_STRAY:
        return (struct result){.outcome = OUTCOME_STRAY,
                               .error = {ERROR_INVALID, "it does not belong to any record here"}};
    }
    log_debug("Nothing to change in %s/%s", listener->collection->name, arrival->own_id.hex);
    return (struct result){.outcome = OUTCOME_DONE, .version = version};
}

void apply_watch(const struct entity *entity)
{
    const char *const labels[] = {entity->name, NULL};
    metric_add(metric_of(&snapshots_applied, labels), 0);
    metric_add(metric_of(&replicas_removed, labels), 0);
}

void apply(const struct arrival *arrival, struct result *ret_result)
{
    bool is_effect = arrival->route->listener->effect != NULL;
    if (is_effect && !id_is_set(&arrival->own_id)) {
        /* It is about none of our records, or a snapshot of what its owner does not have, which has no state. */
        *ret_result = (struct result){.outcome = OUTCOME_DONE};
        return;
    }
    bool start_again = true;
    for (int i = 0; start_again && i < CONFLICTS_MAX; i++) {
        start_again = false;
        *ret_result = is_effect ? try_effect(arrival, &start_again) : try_replica(arrival, &start_again);
    }
}
