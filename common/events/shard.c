/* SPDX-License-Identifier: Apache-2.0
 * One share of the records.
 *
 * DESIGN
 * An arrival ends in exactly one of two ways: acknowledged, when its effect is in the store (applied now or before) or
 * when its dead letter is confirmed by the bus; or dropped, for the bus to deliver it again. Until then it is queued,
 * held or in hand, and a redelivery only renews its handle.
 *
 *   gap      held. The others are told what is lacking, then it is tried once more: so either the one who applies the
 *            predecessor hears that somebody waits, or the predecessor is found in the store. When the predecessor is
 *            applied on this shard the held one follows at once; when another instance applied it, on its signal; and
 *            every EVENT_RECHECK_MS in any case, since signals may be lost. A replica's gap that lasts asks the owner
 *            (asking.h), who publishes a snapshot, which comes by its own subject and is applied by whoever gets it;
 *            what was held is then done. By the owner's answer, strays are told from what only has to wait.
 *   epoch    a gap of another kind: held until the owner, who is asked at once, has said that it has come so far.
 *   away     the store does not answer. The arrival goes back to the front of the queue, and the shard waits with a
 *            growing delay: whatever else is in the queue would fare no better. It counts for nothing.
 *   busy     too many lost races, or the record's outbox is full: held for a while, the others go on.
 *   failed   counted. Held for a while and tried again; after EVENT_ATTEMPTS_MAX a dead letter. */
#include "common/events/shard.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/apply.h"
#include "common/events/asking.h"
#include "common/events/dead_letter.h"
#include "common/events/held.h"
#include "common/events/inbox.h"
#include "common/events/letter.h"
#include "common/events/metrics.h"
#include "common/events/owner.h"
#include "common/events/verdict.h"

enum {
    AWAY_FIRST_MS = 50,
    AWAY_LAST_MS = 2000,
    TELL_AGAIN_MS = 2000, /* how often the others are told what a held event lacks */
    EXTEND_MS = EVENT_ACK_WAIT_MS / 3,
    WANTED_MAX = 1024,
    WANTED_MS = 30000,
};

struct shard {
    const struct listening *listening;
    struct inbox *inbox;
    struct held *held;
    struct gaps *gaps;
    struct wanted *wanted;
    atomic_bool is_interested; /* in changes: something is held, or wanted by others */
    int64_t away_ms;           /* the present delay; 0: the store is not away */
    int64_t away_until;
};

struct shard *shard_new(const struct listening *listening)
{
    struct shard *shard = xcalloc(1, sizeof(*shard));
    shard->listening = listening;
    shard->inbox = inbox_new();
    shard->held = held_new();
    shard->gaps = gaps_new();
    shard->wanted = wanted_new(WANTED_MAX, WANTED_MS);
    return shard;
}

/* ---- how an arrival ends ---- */

static void end(struct shard *shard, struct arrival *arrival, bool acknowledge)
{
    event_metrics_ended(arrival, acknowledge);
    if (arrival->is_held) {
        atomic_fetch_sub(&arrival->route->held, 1);
    }
    if (arrival->gap != NULL) {
        gaps_release(shard->gaps, arrival->gap);
    }
    inbox_end(shard->inbox, arrival, acknowledge);
}

static void bury(struct shard *shard, struct arrival *arrival, const char *reason)
{
    struct delivery *delivery = inbox_borrow(shard->inbox, arrival);
    struct error error = ERROR_INIT;
    const char *subject = arrival->route->subject->name;
    bool is_kept = dead_letter_publish(arrival, delivery, reason, &error);
    if (is_kept) {
        event_metrics_buried(arrival);
        log_warning("Event %" PRIu64 " of %s cannot be applied (%s): kept on " DEAD_LETTER_PREFIX "%s",
                    arrival->sequence, subject, reason, subject);
    } else {
        log_warning("Event %" PRIu64 " of %s cannot be applied (%s), nor kept (%s): it will be delivered again",
                    arrival->sequence, subject, reason, error.message);
    }
    inbox_return(shard->inbox, arrival, delivery);
    end(shard, arrival, is_kept);
}

/* ---- holding ---- */

static void tell_lacking(const struct shard *shard, struct arrival *arrival, uint64_t version, int64_t now)
{
    char text[NOTICE_TEXT_SIZE];
    const struct notice lacking = {
        .collection = arrival->route->listener->collection, .id = arrival->own_id, .version = version + 1};
    notice_print(&lacking, text);
    bus_signal(shard->listening->bus, shard->listening->lacking, text, strlen(text));
    if (arrival->tell_at > 0 && !arrival->was_logged) {
        log_warning("Event %" PRIu64 " of %s is held: version %" PRIu64 " of %s/%s has not come", arrival->sequence,
                    arrival->route->subject->name, lacking.version, lacking.collection->name, lacking.id.hex);
        arrival->was_logged = true;
    }
    arrival->tell_at = now + TELL_AGAIN_MS;
}

/* Events of our own records wait for these to change, which nobody else can tell about; only a replica has an owner to
 * ask. */
static bool has_owner(const struct arrival *arrival)
{
    return arrival->route->listener->effect == NULL;
}

static bool begin_hold(struct shard *shard, struct arrival *arrival, uint64_t stored, int64_t now)
{
    struct route *route = arrival->route;
    if (atomic_fetch_add(&route->held, 1) >= route->held_max) {
        atomic_fetch_sub(&route->held, 1);
        return false;
    }
    arrival->is_held = true;
    event_metrics_held(arrival);
    arrival->extend_at = now + EXTEND_MS;
    if (has_owner(arrival)) {
        char key[RECORD_KEY_SIZE];
        record_key(route->listener->collection, &arrival->own_id, key);
        arrival->gap = gaps_hold(shard->gaps, key, stored, now);
        arrival->asks = asker_count(shard->listening->asker);
    }
    return true;
}

/* What is held already only waits on. False: it is too much to be held, and was dropped; the bus delivers it again. */
static bool hold(struct shard *shard, struct arrival *arrival, uint64_t stored, int64_t now)
{
    if (!arrival->is_held && !begin_hold(shard, arrival, stored, now)) {
        end(shard, arrival, false);
        return false;
    }
    if (now >= arrival->extend_at) {
        struct delivery *delivery = inbox_borrow(shard->inbox, arrival);
        bus_extend(delivery);
        inbox_return(shard->inbox, arrival, delivery);
        arrival->extend_at = now + EXTEND_MS;
    }
    held_put(shard->held, arrival, now + EVENT_RECHECK_MS);
    return true;
}

/* Its failures are counted, so it stays here until it succeeds or is buried, however many are held. */
static void try_later(struct shard *shard, struct arrival *arrival, int64_t now)
{
    arrival->not_before = now + EVENT_RECHECK_MS * (1 + arrival->attempts);
    held_put(shard->held, arrival, now + EVENT_RECHECK_MS);
}

/* What the owner has said about one event that was held before it was asked. True: it has ended. */
static bool judge(struct shard *shard, struct arrival *arrival, const struct standing *answer)
{
    char reason[DEAD_LETTER_REASON_MAX];
    arrival_set_context(arrival);
    enum held_verdict verdict = owner_judge(arrival, answer, reason);
    if (verdict == HELD_STRAY) {
        bury(shard, arrival, reason);
    } else if (verdict == HELD_LEFT) {
        end(shard, arrival, true);
    }
    return verdict != HELD_WAIT;
}

/* ---- what becomes of it ---- */

static void store_is_away(struct shard *shard, const struct error *error, int64_t now)
{
    if (shard->away_ms == 0) {
        log_warning("Events wait for the store: %s, retrying", error->message);
        shard->away_ms = AWAY_FIRST_MS;
    } else {
        shard->away_ms = 2 * shard->away_ms < AWAY_LAST_MS ? 2 * shard->away_ms : AWAY_LAST_MS;
    }
    shard->away_until = now + shard->away_ms;
}

/* Whoever lacked this version can go on. */
static void answer_wanted(struct shard *shard, const struct notice *there, int64_t now)
{
    if (wanted_take(shard->wanted, there, now)) {
        char text[NOTICE_TEXT_SIZE];
        notice_print(there, text);
        bus_signal(shard->listening->bus, shard->listening->applied, text, strlen(text));
    }
}

static void has_failed(struct shard *shard, struct arrival *arrival, const struct error *error, int64_t now)
{
    arrival->attempts++;
    if (arrival->attempts >= EVENT_ATTEMPTS_MAX) {
        bury(shard, arrival, error->message);
        return;
    }
    log_warning("Event %" PRIu64 " of %s failed (attempt %" PRId64 " of %d): %s, retrying", arrival->sequence,
                arrival->route->subject->name, arrival->attempts, EVENT_ATTEMPTS_MAX, error->message);
    try_later(shard, arrival, now);
}

/* Tries one event, which then is held or has ended; only if the store is away is it still the caller's. */
static enum outcome try_one(struct shard *shard, struct arrival *arrival, int64_t now)
{
    struct result result;
    arrival_set_context(arrival);
    apply(arrival, &result);
    if (result.outcome == OUTCOME_GAP && now >= arrival->tell_at) {
        tell_lacking(shard, arrival, result.version, now);
        apply(arrival, &result);
    }
    event_metrics_tried(arrival, result.outcome);
    if (result.outcome == OUTCOME_AWAY) {
        store_is_away(shard, &result.error, now);
        return result.outcome;
    }
    if (shard->away_ms > 0) {
        log_info("Events wait for the store no longer");
        shard->away_ms = 0;
    }
    const struct notice there = {
        .collection = arrival->route->listener->collection, .id = arrival->own_id, .version = result.version};
    switch (result.outcome) {
    case OUTCOME_APPLIED:
        failpoint(shard->listening->before_ack);
        end(shard, arrival, true);
        answer_wanted(shard, &there, now);
        break;
    case OUTCOME_DONE:
        end(shard, arrival, true);
        break;
    case OUTCOME_GAP:
    case OUTCOME_EPOCH:
        if (hold(shard, arrival, result.version, now) && arrival->gap != NULL) {
            arrival->gap->lacks_epoch = result.outcome == OUTCOME_EPOCH;
            owner_ask(arrival, result.version, now);
        }
        break;
    case OUTCOME_BUSY:
        try_later(shard, arrival, now);
        break;
    case OUTCOME_FAILED:
        has_failed(shard, arrival, &result.error, now);
        break;
    case OUTCOME_STRAY:
        bury(shard, arrival, result.error.message);
        break;
    case OUTCOME_AWAY:
        break;
    }
    return result.outcome;
}

/* ---- what was held ---- */

static void hold_again(struct shard *shard, struct arrival *arrival, int64_t now)
{
    if (arrival->is_held) {
        hold(shard, arrival, 0, now);
    } else {
        held_put(shard->held, arrival, now + EVENT_RECHECK_MS);
    }
}

/* Tries these events of one record, lowest first. True if the record changed. */
static bool try_each(struct shard *shard, struct arrival *first, int64_t now)
{
    bool has_changed = false;
    bool is_blocked = false, is_away = false;
    while (first != NULL) {
        struct arrival *arrival = first;
        first = arrival->next;
        bool is_snapshot = arrival->route->subject->is_snapshot; /* it needs no predecessors */
        if (is_away || (is_blocked && !is_snapshot) || arrival->not_before > now) {
            hold_again(shard, arrival, now);
            continue;
        }
        bool is_replica = arrival->route->listener->effect == NULL;
        enum outcome outcome = try_one(shard, arrival, now);
        if (outcome == OUTCOME_AWAY) {
            hold_again(shard, arrival, now);
        }
        /* What a replica lacks, all later versions lack as well. */
        is_blocked = is_blocked || (outcome == OUTCOME_GAP && is_replica);
        is_away = outcome == OUTCOME_AWAY;
        has_changed = has_changed || (outcome == OUTCOME_APPLIED && !is_replica);
    }
    return has_changed;
}

/* One change of our record may make way for the next held effect. */
static void release(struct shard *shard, const char *key, int64_t now)
{
    struct arrival *first;
    while ((first = held_take(shard->held, key)) != NULL && try_each(shard, first, now)) {
    }
}

static void run(struct shard *shard, struct arrival *arrival, int64_t now)
{
    arrival_set_context(arrival);
    if (arrival->reason != NULL) {
        bury(shard, arrival, arrival->reason);
        return;
    }
    char key[RECORD_KEY_SIZE];
    record_key(arrival->route->listener->collection, &arrival->own_id, key);
    switch (try_one(shard, arrival, now)) {
    case OUTCOME_AWAY:
        inbox_put_back(shard->inbox, arrival);
        break;
    case OUTCOME_APPLIED:
    case OUTCOME_DONE:
        release(shard, key, now);
        break;
    default:
        break;
    }
}

/* ---- notices ---- */

static void look_for_lacking(struct shard *shard, const struct notice *lacking, int64_t now)
{
    struct record stored;
    struct error error = ERROR_INIT;
    wanted_add(shard->wanted, lacking, now);
    if (store_get(shard->listening->store, lacking->collection, &lacking->id, &stored, NULL, &error) &&
        stored.version >= lacking->version) {
        const struct notice there = {.collection = lacking->collection, .id = lacking->id, .version = stored.version};
        answer_wanted(shard, &there, now);
    }
}

/* Only what was held before this was asked is judged by it: what came later may also have been made later. */
static void take_answer(struct shard *shard, const struct notice *notice, int64_t now)
{
    const struct standing answer = {.version = notice->version, .epoch = notice->epoch};
    char key[RECORD_KEY_SIZE];
    record_key(notice->collection, &notice->id, key);
    struct gap *gap = gaps_find(shard->gaps, key);
    if (gap == NULL || !gap_was_asked(gap, notice->ask)) {
        return;
    }
    bool had_strays = false;
    struct error error = ERROR_INIT;
    struct arrival *next = held_take(shard->held, key);
    bool was_learned =
        next == NULL || apply_learn_epoch(next->route, notice->epoch, &error); /* else it is asked again */
    while (next != NULL) {
        struct arrival *arrival = next;
        next = arrival->next;
        bool came_before = was_learned && arrival->gap != NULL && arrival->asks < notice->ask;
        if (came_before && judge(shard, arrival, &answer)) {
            had_strays = true;
        } else {
            hold_again(shard, arrival, now);
        }
    }
    gap = gaps_find(shard->gaps, key); /* it ends with the last that is held */
    if (gap != NULL) {
        gap->had_strays = had_strays;
    }
}

static bool run_notice(struct shard *shard, int64_t now)
{
    enum notice_kind kind;
    struct notice notice;
    if (!inbox_pop_notice(shard->inbox, &kind, &notice)) {
        return false;
    }
    if (kind == NOTICE_LACKING) {
        look_for_lacking(shard, &notice, now);
    } else if (kind == NOTICE_ANSWER) {
        take_answer(shard, &notice, now);
    } else {
        char key[RECORD_KEY_SIZE];
        record_key(notice.collection, &notice.id, key);
        answer_wanted(shard, &notice, now);
        release(shard, key, now);
    }
    return true;
}

/* ---- the whole ---- */

static bool step(struct shard *shard, int64_t now)
{
    if (now < shard->away_until) {
        return false;
    }
    if (run_notice(shard, now)) {
        return true;
    }
    struct arrival *due = held_take_due(shard->held, now);
    if (due != NULL) {
        char key[RECORD_KEY_SIZE];
        record_key(due->route->listener->collection, &due->own_id, key);
        if (try_each(shard, due, now)) {
            release(shard, key, now);
        }
        return true;
    }
    struct arrival *arrival = inbox_pop(shard->inbox);
    if (arrival != NULL) {
        run(shard, arrival, now);
    }
    return arrival != NULL;
}

int64_t shard_step(struct shard *shard, int64_t now)
{
    bool has_done = step(shard, now);
    log_set_context(NULL, NULL);
    atomic_store(&shard->is_interested, held_count(shard->held) > 0 || wanted_count(shard->wanted) > 0);
    if (has_done) {
        return 0;
    }
    if (now < shard->away_until) {
        return shard->away_until - now;
    }
    int64_t look_at = held_look_at(shard->held);
    return look_at < 0 ? SHARD_NOTHING : look_at - now;
}

bool shard_wait(struct shard *shard, int64_t timeout_ms)
{
    return inbox_wait(shard->inbox, timeout_ms, shard->away_ms == 0);
}

void shard_push(struct shard *shard, struct arrival *arrival)
{
    inbox_push(shard->inbox, arrival);
}

bool shard_knows(struct shard *shard, const struct arrival *arrival)
{
    return inbox_knows(shard->inbox, arrival);
}

void shard_tell_changed(struct shard *shard, const struct notice *notice)
{
    if (atomic_load(&shard->is_interested)) {
        inbox_push_notice(shard->inbox, NOTICE_CHANGED, notice);
    }
}

void shard_tell_lacking(struct shard *shard, const struct notice *notice)
{
    inbox_push_notice(shard->inbox, NOTICE_LACKING, notice);
}

void shard_tell_answer(struct shard *shard, const struct notice *answer)
{
    inbox_push_notice(shard->inbox, NOTICE_ANSWER, answer);
}

void shard_stop(struct shard *shard)
{
    inbox_stop(shard->inbox);
}

void shard_drop_all(struct shard *shard)
{
    struct arrival *arrival;
    while ((arrival = inbox_pop(shard->inbox)) != NULL) {
        end(shard, arrival, false);
    }
    struct arrival *first;
    while ((first = held_take_any(shard->held)) != NULL) {
        while (first != NULL) {
            arrival = first;
            first = arrival->next;
            end(shard, arrival, false);
        }
    }
}

void shard_free(struct shard **shard)
{
    if (*shard == NULL) {
        return;
    }
    shard_drop_all(*shard);
    held_free(&(*shard)->held);
    gaps_free(&(*shard)->gaps);
    wanted_free(&(*shard)->wanted);
    inbox_free(&(*shard)->inbox);
    xfree(*shard);
    *shard = NULL;
}
