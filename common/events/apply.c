/* SPDX-License-Identifier: Apache-2.0
 * What becomes of one event. */
#include "common/events/apply.h"

#include <assert.h>
#include <inttypes.h>

#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/events/commit.h"
#include "common/events/verdict.h"

enum {
    CONFLICTS_MAX = 32, /* lost races in a row before others get their turn */
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

static struct result write_replica(const struct arrival *arrival, bool *ret_again)
{
    const struct listener *listener = arrival->route->listener;
    struct record record = RECORD_INIT;
    struct error error = ERROR_INIT;
    record.id = arrival->head.id;
    record.version = arrival->head.version;
    record.epoch = arrival->head.epoch;
    enum store_result written = store_write(arrival->route->listening->store, listener->collection,
                                            arrival->head.version - 1, &record, arrival->value, NULL, &error);
    if (lost_race(written)) {
        *ret_again = true;
        return again;
    }
    if (written != STORE_DONE) {
        return refused(written, &error);
    }
    log_info("Applied %s/%s/%" PRIu64, listener->entity->name, record.id.hex, record.version);
    hint(arrival, &record, arrival->value);
    return (struct result){.outcome = OUTCOME_APPLIED, .version = record.version};
}

static struct result try_replica(const struct arrival *arrival, bool *ret_again)
{
    struct record stored;
    struct error error = ERROR_INIT;
    if (!read_own(arrival, &stored, NULL, &error)) {
        return failure(&error);
    }
    switch (verdict_of(stored.version, stored.epoch, arrival->head.version, arrival->head.epoch)) {
    case VERDICT_APPLY:
        return write_replica(arrival, ret_again);
    case VERDICT_GAP:
        return (struct result){.outcome = OUTCOME_GAP, .version = stored.version};
    case VERDICT_DONE:
        break;
    }
    log_info("Already applied: %s/%s is at version %" PRIu64, arrival->route->listener->entity->name, stored.id.hex,
             stored.version);
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

static struct result try_effect(const struct arrival *arrival, bool *ret_again)
{
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

void apply(const struct arrival *arrival, struct result *ret_result)
{
    bool is_effect = arrival->route->listener->effect != NULL;
    if (is_effect && !id_is_set(&arrival->own_id)) {
        *ret_result = (struct result){.outcome = OUTCOME_DONE}; /* it is about none of our records */
        return;
    }
    bool start_again = true;
    for (int i = 0; start_again && i < CONFLICTS_MAX; i++) {
        start_again = false;
        *ret_result = is_effect ? try_effect(arrival, &start_again) : try_replica(arrival, &start_again);
    }
}
