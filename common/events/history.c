/* SPDX-License-Identifier: Apache-2.0
 * The positions of a service's own subjects, as facts of its store, and the comparison of each new connection with
 * them. */
#include "common/events/history.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/catalogue.h"
#include "common/events/thread.h"
#include "common/events/wish.h"

enum {
    LOOK_MS = 2000, /* how often to learn what other instances have published */
};

struct followed {
    char fact[STORE_FACT_NAME_MAX];
    uint64_t stored; /* the fact, when it was last read or written; under `saving` */
    uint64_t saved;  /* the most it was since the last comparison; under `saving` */
    uint64_t before; /* the fact, before the newest connection looked */
    uint64_t found;  /* by the newest connection */
    uint64_t lost;   /* it was known to have that many before; 0: nothing was lost */
};

struct history {
    struct history_config config;
    struct bus *bus;
    struct bus_position positions[BUS_POSITIONS_MAX]; /* as they were at the start */
    struct followed followed[BUS_POSITIONS_MAX];
    size_t count;
    pthread_t thread;
    bool is_started;

    pthread_mutex_t saving; /* taken first: one at a time reads and writes the facts */
    pthread_mutex_t lock;   /* of all below, and of `before`, `found` and `lost`; never held during I/O */
    pthread_cond_t changed;
    uint64_t changes; /* of the bus's state, and losses */
    bool is_up;
    bool is_compared; /* this connection was compared with the facts */
    bool is_stopping;
};

static void fact_name(const char *subject, char ret_fact[static STORE_FACT_NAME_MAX])
{
    snprintf(ret_fact, STORE_FACT_NAME_MAX, "position/%s", subject);
}

/* With the lock held, so that what it is told comes in order. */
static void tell_publisher(const struct history *history)
{
    if (history->count > 0 && history->config.may_publish != NULL) {
        history->config.may_publish(history->is_compared, history->config.context);
    }
}

/* ---- what comes from the bus ---- */

void history_state_changed(struct history *history, struct bus *bus, enum bus_state state)
{
    pthread_mutex_lock(&history->lock);
    history->changes++;
    history->is_up = state == BUS_UP;
    history->is_compared = false;
    tell_publisher(history);
    for (size_t i = 0; i < history->count && history->is_up; i++) {
        history->followed[i].found = bus_position(bus, history->positions[i].subject);
    }
    pthread_cond_signal(&history->changed);
    pthread_mutex_unlock(&history->lock);
}

void history_lost(struct history *history, const char *subject, uint64_t expected, uint64_t found)
{
    pthread_mutex_lock(&history->lock);
    for (size_t i = 0; i < history->count; i++) {
        struct followed *followed = &history->followed[i];
        if (text_equal(history->positions[i].subject, subject)) {
            followed->found = found;
            followed->lost = expected > followed->lost ? expected : followed->lost;
        }
    }
    history->changes++;
    pthread_mutex_unlock(&history->lock);
}

/* ---- comparing ---- */

/* What is to be done about one subject. */
struct difference {
    uint64_t stored, found;
    bool is_lost;
};

/* Lost: the fact had more than was found, before that was looked for, and was not lowered since; or this process was
 * told of more, and had not yet saved that. If it had, then another instance has lowered the fact, and done all that is
 * to be done. What others have published since it was looked for does not count. */
static bool differs(const struct history *history, size_t number, const struct followed *known,
                    struct difference *ret_difference, struct error *error)
{
    int64_t stored = 0;
    if (!store_fact_get(history->config.store, known->fact, &stored, error)) {
        return false;
    }
    ret_difference->stored = (uint64_t)stored;
    ret_difference->found = known->found;
    ret_difference->is_lost = (known->before > known->found && (uint64_t)stored >= known->before) ||
                              (known->lost > known->found && known->lost > history->followed[number].saved);
    return true;
}

/* What was found beyond the fact is saved with the next removal: a service that starts writes nothing. */
static bool note(struct history *history, size_t number, const struct difference *difference, struct error *error)
{
    struct followed *followed = &history->followed[number];
    bool is_lower = difference->is_lost && difference->stored > difference->found;
    bool is_replaced = false; /* not: another instance was faster */
    if (is_lower && !store_fact_replace(history->config.store, followed->fact, (int64_t)difference->stored,
                                        (int64_t)difference->found, &is_replaced, error)) {
        return false;
    }
    followed->stored = followed->saved = is_lower ? difference->found : difference->stored;
    return true;
}

/* With `saving` held. */
static bool compare(struct history *history, const struct followed *known, struct error *error)
{
    struct difference differences[BUS_POSITIONS_MAX];
    bool is_lost = false;
    for (size_t i = 0; i < history->count; i++) {
        if (!differs(history, i, &known[i], &differences[i], error)) {
            return false;
        }
        is_lost = is_lost || differences[i].is_lost;
        if (differences[i].is_lost && known[i].lost == 0) { /* else the bus has told so itself */
            log_warning("the event bus has lost history: %s ends at %" PRIu64 ", it was at %" PRIu64,
                        history->positions[i].subject, differences[i].found, differences[i].stored);
        }
    }
    if (is_lost) {
        if (!wish_make(history->config.store, WISH_LOST, clock_now(history->config.clock), error)) {
            return false;
        }
        log_warning("Everything that %s publishes will be published again, as snapshots", history->config.service);
    }
    for (size_t i = 0; i < history->count; i++) {
        if (!note(history, i, &differences[i], error)) {
            return false;
        }
    }
    return true;
}

static bool is_anything_lost(const struct history *history)
{
    for (size_t i = 0; i < history->count; i++) {
        if (history->followed[i].lost > 0) {
            return true;
        }
    }
    return false;
}

/* With `saving` held. */
static bool compare_if_due(struct history *history, struct error *error)
{
    struct followed known[BUS_POSITIONS_MAX];
    pthread_mutex_lock(&history->lock);
    uint64_t changes = history->changes;
    bool is_due = (history->is_up && !history->is_compared) || is_anything_lost(history);
    for (size_t i = 0; i < history->count; i++) {
        known[i] = history->followed[i];
    }
    pthread_mutex_unlock(&history->lock);
    if (!is_due) {
        return true;
    }
    if (!compare(history, known, error)) {
        return false;
    }
    pthread_mutex_lock(&history->lock);
    if (changes == history->changes) {
        for (size_t i = 0; i < history->count; i++) {
            history->followed[i].lost = 0;
        }
        history->is_compared = history->is_up;
        tell_publisher(history);
    }
    pthread_mutex_unlock(&history->lock);
    return true;
}

/* ---- saving ---- */

/* With `saving` held. */
static bool save(struct history *history, struct bus *bus, struct error *error)
{
    for (size_t i = 0; i < history->count; i++) {
        struct followed *followed = &history->followed[i];
        uint64_t position = bus_position(bus, history->positions[i].subject);
        if (position <= followed->stored) {
            continue;
        }
        if (!store_fact_raise(history->config.store, followed->fact, (int64_t)position, error)) {
            return false;
        }
        followed->stored = position;
        followed->saved = position > followed->saved ? position : followed->saved;
    }
    return true;
}

bool history_save(struct history *history, struct bus *bus, struct error *error)
{
    pthread_mutex_lock(&history->saving);
    bool done = compare_if_due(history, error) && save(history, bus, error) && compare_if_due(history, error);
    pthread_mutex_unlock(&history->saving);
    return done;
}

bool history_note(struct store *store, struct bus *bus, const char *subject, struct error *error)
{
    char fact[STORE_FACT_NAME_MAX];
    fact_name(subject, fact);
    return store_fact_raise(store, fact, (int64_t)bus_position(bus, subject), error);
}

/* With `saving` held. */
static bool learn(struct history *history, struct bus *bus, struct error *error)
{
    bool done = true;
    for (size_t i = 0; i < history->count && done; i++) {
        struct followed *followed = &history->followed[i];
        int64_t stored = 0;
        done = store_fact_get(history->config.store, followed->fact, &stored, error);
        if (done) {
            followed->stored = (uint64_t)stored;
            followed->saved = followed->stored > followed->saved ? followed->stored : followed->saved;
            bus_expect(bus, history->positions[i].subject, followed->stored);
        }
    }
    return done;
}

bool history_look(struct history *history, struct bus *bus, struct error *error)
{
    pthread_mutex_lock(&history->saving);
    bool done = compare_if_due(history, error) && learn(history, bus, error);
    pthread_mutex_unlock(&history->saving);
    return done;
}

bool history_will_look(struct history *history, struct bus *bus, struct error *error)
{
    pthread_mutex_lock(&history->saving);
    bool done = learn(history, bus, error);
    pthread_mutex_lock(&history->lock);
    for (size_t i = 0; done && i < history->count; i++) {
        history->followed[i].before = history->followed[i].stored;
    }
    pthread_mutex_unlock(&history->lock);
    pthread_mutex_unlock(&history->saving);
    return done || error_prefix(error, "how far the event bus had come cannot be read");
}

/* ---- the thread ---- */

static bool is_to_compare(const struct history *history)
{
    return history->is_up && !history->is_compared;
}

/* Returns whether the store answered. One that is away is told of once. */
static bool look(struct history *history, bool had_failed)
{
    struct error error = ERROR_INIT;
    bool done = history_look(history, history->bus, &error);
    if (!done && !had_failed) {
        log_warning("How far the event bus had come cannot be read: %s, retrying every %.1f s", error.message,
                    LOOK_MS / 1000.0);
    } else if (done && had_failed) {
        log_info("How far the event bus had come can be read again");
    }
    return done;
}

static void *run(void *context)
{
    struct history *history = context;
    bool has_failed = false;
    pthread_mutex_lock(&history->lock);
    while (!history->is_stopping) {
        if (has_failed || !is_to_compare(history)) {
            condition_wait(&history->changed, &history->lock, LOOK_MS);
        }
        pthread_mutex_unlock(&history->lock);
        has_failed = !look(history, has_failed);
        pthread_mutex_lock(&history->lock);
    }
    pthread_mutex_unlock(&history->lock);
    return NULL;
}

void history_start(struct history *history, struct bus *bus)
{
    history->bus = bus;
    if (history->count > 0) {
        thread_start(&history->thread, run, history);
        history->is_started = true;
    }
}

void history_stop(struct history *history)
{
    if (!history->is_started) {
        return;
    }
    pthread_mutex_lock(&history->lock);
    history->is_stopping = true;
    pthread_cond_signal(&history->changed);
    pthread_mutex_unlock(&history->lock);
    pthread_join(history->thread, NULL);
    history->is_started = false;
}

/* ---- the whole ---- */

static bool publishes(const struct history_config *config, const struct entity *entity)
{
    for (const struct collection *const *collection = config->collections; collection != NULL && *collection != NULL;
         collection++) {
        if (catalogue_published(config->service, *collection) == entity) {
            return true;
        }
    }
    return false;
}

/* Snapshots too: what was published again can be lost again, before everyone has it. */
static bool follow(struct history *history, const struct subject *subject, struct error *error)
{
    assert(history->count < BUS_POSITIONS_MAX);
    struct followed *followed = &history->followed[history->count];
    struct bus_position *position = &history->positions[history->count++];
    int64_t stored = 0;
    text_copy_cut(position->subject, sizeof(position->subject), subject->name);
    fact_name(subject->name, followed->fact);
    if (!store_fact_get(history->config.store, followed->fact, &stored, error)) {
        return error_prefix(error, "reading how far the event bus had come");
    }
    position->sequence = followed->stored = followed->saved = (uint64_t)stored;
    return true;
}

bool history_new(const struct history_config *config, struct history **ret_history, struct error *error)
{
    struct history *history = xcalloc(1, sizeof(*history));
    history->config = *config;
    pthread_mutex_init(&history->saving, NULL);
    pthread_mutex_init(&history->lock, NULL);
    condition_init(&history->changed);
    for (const struct subject *const *subject = catalogue_subjects; *subject != NULL; subject++) {
        if (publishes(config, (*subject)->entity) && !follow(history, *subject, error)) {
            history_free(&history);
            return false;
        }
    }
    *ret_history = history;
    return true;
}

void history_free(struct history **history)
{
    if (*history == NULL) {
        return;
    }
    pthread_cond_destroy(&(*history)->changed);
    pthread_mutex_destroy(&(*history)->lock);
    pthread_mutex_destroy(&(*history)->saving);
    xfree(*history);
    *history = NULL;
}

size_t history_positions(const struct history *history, const struct bus_position **ret_positions)
{
    *ret_positions = history->count > 0 ? history->positions : NULL;
    return history->count;
}
