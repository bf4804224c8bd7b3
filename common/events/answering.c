/* SPDX-License-Identifier: Apache-2.0
 * Answering who asks what we have of a record.
 *
 * DESIGN
 * The record is read after the ask has come, so the answer is never behind an event that had been published before the
 * ask. The snapshot is published first, and only if the bus has taken it is there an answer: who gets none asks again.
 * Many who miss the same event ask at about the same time: within a moment one snapshot of the same state is enough,
 * but each ask has its read, and its answer. */
#include "common/events/answering.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hashmap.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/queue.h"
#include "common/events/arrival.h"
#include "common/events/signals.h"
#include "common/events/snapshot.h"
#include "common/events/thread.h"

enum {
    TOPIC_SIZE = BUS_NAME_MAX + 16,
};

struct answering {
    struct answering_config config;
    const struct entity *entities[STORE_COLLECTIONS_MAX];
    const struct collection *collections[STORE_COLLECTIONS_MAX]; /* of the same rows */
    size_t count;
    struct queue *asks;   /* struct ask * */
    struct hashmap *said; /* struct said *, by record_key; the thread's */
    pthread_t thread;
    bool is_running;
};

/* A snapshot that was published not long ago. */
struct said {
    uint64_t version, epoch;
    int64_t until;
};

/* ---- what was said ---- */

static void free_said(const char *key UNUSED, void *value, void *context UNUSED)
{
    xfree(value);
}

struct sweep {
    struct hashmap *said;
    int64_t now;
};

static void remove_old(const char *key, void *value, void *context)
{
    const struct sweep *sweep = context;
    const struct said *said = value;
    if (said->until <= sweep->now) {
        hashmap_remove(sweep->said, key);
        xfree(value);
    }
}

static bool was_said(const struct answering *answering, const char *key, const struct record *head, int64_t now)
{
    const struct said *said = hashmap_get(answering->said, key);
    return said != NULL && said->until > now && said->version == head->version && said->epoch == head->epoch;
}

static void remember(struct answering *answering, const char *key, const struct record *head, int64_t now)
{
    struct said *said = hashmap_get(answering->said, key);
    if (said == NULL) {
        if (hashmap_count(answering->said) >= ANSWERING_SAME_MAX) {
            struct sweep sweep = {.said = answering->said, .now = now};
            hashmap_each(answering->said, remove_old, &sweep);
        }
        if (hashmap_count(answering->said) >= ANSWERING_SAME_MAX) {
            return; /* it may be said twice */
        }
        said = xcalloc(1, sizeof(*said));
        hashmap_put(answering->said, key, said);
    }
    *said = (struct said){.version = head->version, .epoch = head->epoch, .until = now + ANSWERING_SAME_MS};
}

/* ---- answering ---- */

static bool read_record(const struct answering *answering, const struct collection *collection, const struct id *id,
                        struct record *ret_head, void *ret_value, struct error *error)
{
    int64_t epoch;
    struct error problem = ERROR_INIT;
    struct record head = RECORD_INIT;
    if (!store_fact_get(answering->config.store, SNAPSHOT_EPOCH_FACT, &epoch, error)) {
        return false;
    }
    if (!store_get(answering->config.store, collection, id, &head, ret_value, &problem)) {
        if (problem.code != ERROR_NOT_FOUND) {
            *error = problem;
            return false;
        }
        head = RECORD_INIT;
        head.id = *id;
    }
    head.epoch = (uint64_t)epoch;
    *ret_head = head;
    return true;
}

static bool say(struct answering *answering, const struct ask *ask, const struct collection *collection,
                struct error *error)
{
    const struct entity *entity = ask->entity;
    CLEANUP(free_pointer) void *value = xcalloc(1, entity->table->size);
    struct record head;
    char key[RECORD_KEY_SIZE];
    if (!read_record(answering, collection, &ask->id, &head, value, error)) {
        return false;
    }
    int64_t now = clock_monotonic(NULL);
    record_key(collection, &ask->id, key);
    if (!was_said(answering, key, &head, now)) {
        if (!snapshot_publish(answering->config.bus, entity, &head, value, clock_now(answering->config.clock), NULL,
                              NULL)) {
            return error_set(error, ERROR_UNAVAILABLE, "the bus does not take the snapshot");
        }
        remember(answering, key, &head, now);
        const char *subject = catalogue_snapshot(entity)->name;
        if (head.version == 0) {
            log_info("Asked for %s/%s, which is not here: published on %s", entity->name, ask->id.hex, subject);
        } else {
            log_info("Asked for %s/%s, which is at version %" PRIu64 ": published on %s", entity->name, ask->id.hex,
                     head.version, subject);
        }
    }
    struct ask answer = *ask;
    answer.version = head.version;
    answer.epoch = head.epoch;
    char text[ASK_TEXT_SIZE];
    char topic[TOPIC_SIZE];
    answer_print(&answer, text);
    snprintf(topic, sizeof(topic), "%s.answer", entity->name);
    bus_signal(answering->config.bus, topic, text, strlen(text));
    return true;
}

static const struct collection *collection_of(const struct answering *answering, const struct entity *entity)
{
    size_t i = 0;
    while (answering->entities[i] != entity) {
        i++;
    }
    return answering->collections[i];
}

static void *run(void *context)
{
    struct answering *answering = context;
    struct ask *ask;
    while ((ask = queue_pop(answering->asks, -1)) != NULL) {
        struct error error = ERROR_INIT;
        if (!say(answering, ask, collection_of(answering, ask->entity), &error)) {
            log_warning("Asked for %s/%s, and cannot tell: %s; it will be asked again", ask->entity->name, ask->id.hex,
                        error.message);
        }
        xfree(ask);
    }
    return NULL;
}

/* On a bus thread. */
static void on_ask(const void *data, size_t length, void *context)
{
    struct answering *answering = context;
    struct ask ask;
    if (!ask_parse(data, length, answering->entities, answering->count, &ask)) {
        log_debug("A signal was not understood, and ignored");
        return;
    }
    struct ask *queued = xmemdup(&ask, sizeof(ask));
    if (!queue_push(answering->asks, queued)) {
        xfree(queued);
    }
}

/* ---- the whole ---- */

static void add_collections(struct answering *answering)
{
    const struct collection *const *collection = answering->config.collections;
    for (; collection != NULL && *collection != NULL; collection++) {
        const struct entity *entity = catalogue_published(answering->config.service, *collection);
        if (entity != NULL && catalogue_snapshot(entity) != NULL) {
            answering->entities[answering->count] = entity;
            answering->collections[answering->count++] = *collection;
        }
    }
}

bool answering_open(const struct answering_config *config, struct answering **ret_answering, struct error *error)
{
    struct answering *answering = xcalloc(1, sizeof(*answering));
    answering->config = *config;
    answering->asks = queue_new(ANSWERING_QUEUE_MAX);
    answering->said = hashmap_new();
    *ret_answering = answering; /* what has started is ended by answering_stop and answering_free in any case */
    add_collections(answering);
    if (answering->count == 0) {
        return true;
    }
    char topic[TOPIC_SIZE];
    char queue_group[BUS_NAME_MAX];
    snprintf(topic, sizeof(topic), "%s.ask", config->service);
    snprintf(queue_group, sizeof(queue_group), "%s-service", config->service);
    thread_start(&answering->thread, run, answering);
    answering->is_running = true;
    return bus_on_signal_shared(config->bus, topic, queue_group, on_ask, answering, error);
}

void answering_tell_stop(struct answering *answering)
{
    if (answering == NULL) {
        return;
    }
    queue_close(answering->asks);
    struct ask *ask;
    while ((ask = queue_pop(answering->asks, 0)) != NULL) {
        xfree(ask);
    }
}

void answering_stop(struct answering *answering)
{
    if (answering == NULL || !answering->is_running) {
        return;
    }
    answering_tell_stop(answering);
    pthread_join(answering->thread, NULL);
    answering->is_running = false;
}

void answering_free(struct answering **answering)
{
    if (*answering == NULL) {
        return;
    }
    answering_stop(*answering);
    hashmap_each((*answering)->said, free_said, NULL);
    hashmap_free(&(*answering)->said);
    queue_free(&(*answering)->asks);
    xfree(*answering);
    *answering = NULL;
}
