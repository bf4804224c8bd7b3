/* SPDX-License-Identifier: Apache-2.0
 * Publishing: each accepted message is in the list of its link until it is confirmed, refused or given up, and whoever
 * takes it out of the list, under the mutex, calls `confirmed`: hence exactly once. */
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/base/text.h"
#include "common/bus/internal.h"
#include "common/bus/metrics.h"
#include "common/bus/names.h"

static bool is_publishable(const char *subject, const char *message_id, size_t length)
{
    return bus_is_subject(subject) && (!message_id || strlen(message_id) < BUS_MESSAGE_ID_MAX) &&
           length <= BUS_MESSAGE_MAX;
}

static struct bus_publication *publication_new(const char *subject, const char *message_id, const void *data,
                                               size_t length, bus_confirmed *confirmed, void *context)
{
    struct bus_publication *publication = xmalloc(sizeof(*publication) + length);
    *publication = (struct bus_publication){
        .item.kind = BUS_ITEM_PUBLICATION,
        .confirmed = confirmed,
        .context = context,
        .length = length,
        .started = metrics_clock(),
    };
    atomic_init(&publication->references, 2);
    text_copy_cut(publication->subject, sizeof(publication->subject), subject);
    text_copy_cut(publication->message_id, sizeof(publication->message_id), message_id ? message_id : "");
    if (length > 0) {
        memcpy(publication->data, data, length);
    }
    return publication;
}

static void publication_free(struct bus_publication *publication)
{
    if (publication->link) {
        bus_link_release(&publication->link);
    }
    xfree(publication);
}

static void publication_release(struct bus_publication *publication)
{
    if (atomic_fetch_sub(&publication->references, 1) == 1) {
        publication_free(publication);
    }
}

/* With the mutex held. */
static bool accept(struct bus *bus, struct bus_publication *publication)
{
    struct bus_link *link = bus->link;
    if (!link || link->phase != BUS_LINK_UP || bus->closing || bus->in_flight >= bus->publish_limit ||
        !bus_queue_add(link, &publication->item)) {
        return false;
    }
    publication->link = bus_link_retain(link);
    publication->next = link->publications;
    if (publication->next) {
        publication->next->previous = publication;
    }
    link->publications = publication;
    bus->in_flight++;
    bus_metrics_accepted();
    return true;
}

bool bus_publish(struct bus *bus, const char *subject, const char *message_id, const void *data, size_t length,
                 bus_confirmed *confirmed, void *context)
{
    if (!is_publishable(subject, message_id, length)) {
        log_error("cannot publish %zu bytes on \"%s\": too long, or not a subject", length, subject);
        return false;
    }
    struct bus_publication *publication = publication_new(subject, message_id, data, length, confirmed, context);
    pthread_mutex_lock(&bus->mutex);
    bool accepted = accept(bus, publication);
    pthread_mutex_unlock(&bus->mutex);
    if (!accepted) {
        bus_metrics_refused(publication->subject);
        publication_free(publication);
    }
    return accepted;
}

/* Ends the list's reference. Without the mutex. */
static void finish(struct bus_publication *publication, bool stored, uint64_t sequence)
{
    struct bus_link *link = publication->link;
    struct bus *bus = link->bus;
    pthread_mutex_lock(&bus->mutex);
    bool first = !publication->finished;
    if (first) {
        publication->finished = true;
        if (publication->previous) {
            publication->previous->next = publication->next;
        } else {
            link->publications = publication->next;
        }
        if (publication->next) {
            publication->next->previous = publication->previous;
        }
        if (stored) {
            bus_position_raise(bus, publication->subject, sequence);
        }
    }
    pthread_mutex_unlock(&bus->mutex);
    if (!first) {
        return;
    }
    bus_metrics_published(publication->subject, stored, publication->started);
    if (publication->confirmed) {
        publication->confirmed(stored, publication->context);
    }
    pthread_mutex_lock(&bus->mutex);
    if (--bus->in_flight == 0) {
        pthread_cond_broadcast(&bus->idle);
    }
    pthread_mutex_unlock(&bus->mutex);
    publication_release(publication);
}

void bus_publication_confirmed(struct bus_publication *publication, bool stored, uint64_t sequence)
{
    finish(publication, stored, sequence);
    publication_release(publication);
}

/* ---- waiting for the confirmation ---- */

/* Shared by the waiting thread and the confirmation, which may come when nobody waits any more. */
struct waiter {
    atomic_uint references;
    pthread_mutex_t mutex;
    pthread_cond_t done_changed;
    bool done;
    bool stored;
};

static void waiter_release(struct waiter *waiter)
{
    if (atomic_fetch_sub(&waiter->references, 1) == 1) {
        pthread_cond_destroy(&waiter->done_changed);
        pthread_mutex_destroy(&waiter->mutex);
        xfree(waiter);
    }
}

static void waiter_confirmed(bool stored, void *context)
{
    struct waiter *waiter = context;
    pthread_mutex_lock(&waiter->mutex);
    waiter->done = true;
    waiter->stored = stored;
    pthread_cond_signal(&waiter->done_changed);
    pthread_mutex_unlock(&waiter->mutex);
    waiter_release(waiter);
}

bool bus_publish_wait(struct bus *bus, const char *subject, const char *message_id, const void *data, size_t length,
                      int64_t timeout_ms, struct error *error)
{
    if (!is_publishable(subject, message_id, length)) {
        return error_set(error, ERROR_INVALID, "cannot publish %zu bytes on \"%s\": too long, or not a subject", length,
                         subject);
    }
    struct timespec deadline = clock_deadline(timeout_ms);
    struct waiter *waiter = xcalloc(1, sizeof(*waiter));
    atomic_init(&waiter->references, 2);
    pthread_mutex_init(&waiter->mutex, NULL);
    pthread_cond_init(&waiter->done_changed, NULL);
    if (!bus_publish(bus, subject, message_id, data, length, waiter_confirmed, waiter)) {
        waiter_release(waiter);
        waiter_release(waiter);
        return error_set(error, ERROR_UNAVAILABLE, "the event bus is not connected, or has too much to publish");
    }
    pthread_mutex_lock(&waiter->mutex);
    int waited = 0;
    while (!waiter->done && waited == 0) {
        waited = pthread_cond_clockwait(&waiter->done_changed, &waiter->mutex, CLOCK_MONOTONIC, &deadline);
    }
    bool stored = waiter->done && waiter->stored;
    pthread_mutex_unlock(&waiter->mutex);
    waiter_release(waiter);
    return stored ||
           error_set(error, ERROR_UNAVAILABLE, "the event bus has not confirmed the message on \"%s\"", subject);
}
