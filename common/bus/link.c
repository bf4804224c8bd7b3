/* SPDX-License-Identifier: Apache-2.0
 * One connection, from the attempt to its end: a thread that makes the desired subscriptions, sends what is queued
 * (queue.c), and closes. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/bus/internal.h"

struct bus_link *bus_link_retain(struct bus_link *link)
{
    atomic_fetch_add(&link->references, 1);
    return link;
}

void bus_link_release(struct bus_link **link_pointer)
{
    struct bus_link *link = TAKE(*link_pointer);
    if (!link || atomic_fetch_sub(&link->references, 1) != 1) {
        return;
    }
    if (link->target.cancel_descriptor >= 0) {
        close(link->target.cancel_descriptor);
    }
    pthread_cond_destroy(&link->wake);
    bus_release(link->bus);
    xfree(link);
}

bool bus_link_is_lost(struct bus_link *link)
{
    pthread_mutex_lock(&link->bus->mutex);
    bool lost = link->lost || link->phase == BUS_LINK_ENDED;
    pthread_mutex_unlock(&link->bus->mutex);
    return lost;
}

void bus_link_lost(struct bus_link *link, const char *format, ...)
{
    char reason[sizeof(link->reason)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&link->bus->mutex);
    if (!link->lost && link->phase != BUS_LINK_ENDED) {
        link->lost = true;
        text_copy_cut(link->reason, sizeof(link->reason), reason);
        pthread_cond_signal(&link->wake);
        pthread_cond_signal(&link->bus->supervise);
    }
    pthread_mutex_unlock(&link->bus->mutex);
}

void bus_link_complain(struct bus_link *link, const char *format, ...)
{
    char text[ERROR_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (!bus_link_is_lost(link)) { /* else it is what always comes of that */
        bus_complain(link->bus, text, "");
    }
}

void bus_link_stop(struct bus_link *link)
{
    link->stop = true;
    pthread_cond_signal(&link->wake);
    /* For an attempt that is still going on; it can only fail if it has been said often enough. */
    uint64_t one = 1;
    if (write(link->target.cancel_descriptor, &one, sizeof(one)) < 0) {
        log_debug("an attempt to connect that is not wanted any more cannot be told so");
    }
}

void bus_link_set_busy(struct bus_link *link)
{
    atomic_store(&link->busy_since, clock_monotonic(NULL));
}

void bus_link_set_free(struct bus_link *link)
{
    atomic_store(&link->busy_since, 0);
}

/* ---- subscriptions ---- */

static void judge(struct bus_link *link, struct bus_link_row *row, bool made, const char *what,
                  const struct error *error)
{
    bus_link_set_free(link);
    if (made) {
        row->made = true;
    } else if (error->code == ERROR_UNAVAILABLE) {
        bus_link_lost(link, "%s", error->message);
    } else {
        bus_link_complain(link, "the event bus refuses to let us receive %s: %s, trying again in %d s", what,
                          error->message, BUS_SUBSCRIBE_RETRY_MS / 1000);
        row->retry_at = clock_monotonic(NULL) + BUS_SUBSCRIBE_RETRY_MS;
    }
}

static bool is_due(const struct bus_link_row *row, int64_t now)
{
    return !row->made && row->retry_at <= now;
}

/* Makes what is due, unless the connection is lost. */
static void subscribe_all(struct bus_link *link)
{
    struct bus *bus = link->bus;
    pthread_mutex_lock(&bus->mutex);
    size_t desired_count = bus->desired_count;
    size_t listener_count = bus->listener_count;
    pthread_mutex_unlock(&bus->mutex);
    int64_t now = clock_monotonic(NULL);
    for (size_t i = 0; i < listener_count && !bus_link_is_lost(link); i++) {
        struct bus_link_row *row = &link->listeners[i];
        struct error error = ERROR_INIT;
        if (is_due(row, now)) {
            bus_link_set_busy(link);
            bool made = bus->driver->listen(link->connection, bus->listeners[i], &error);
            judge(link, row, made, bus->listeners[i]->topic, &error);
        }
    }
    for (size_t i = 0; i < desired_count && !bus_link_is_lost(link); i++) {
        struct bus_link_row *row = &link->subscriptions[i];
        struct error error = ERROR_INIT;
        if (is_due(row, now)) {
            bus_link_set_busy(link);
            bool made = bus->driver->subscribe(link->connection, bus->desired[i], &error);
            judge(link, row, made, bus->desired[i]->subscription.subject, &error);
        }
    }
}

/* With the mutex held: when something is to be made, INT64_MAX if there is nothing. */
static int64_t next_subscription(const struct bus_link *link)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < link->bus->desired_count; i++) {
        if (!link->subscriptions[i].made && link->subscriptions[i].retry_at < next) {
            next = link->subscriptions[i].retry_at;
        }
    }
    for (size_t i = 0; i < link->bus->listener_count; i++) {
        if (!link->listeners[i].made && link->listeners[i].retry_at < next) {
            next = link->listeners[i].retry_at;
        }
    }
    return next;
}

/* ---- the thread ---- */

/* With the mutex held. */
static void wait_for_work(struct bus_link *link, int64_t until)
{
    if (until == INT64_MAX) {
        pthread_cond_wait(&link->wake, &link->bus->mutex);
    } else {
        int64_t now = clock_monotonic(NULL);
        struct timespec deadline = clock_deadline(until > now ? until - now : 0);
        pthread_cond_clockwait(&link->wake, &link->bus->mutex, CLOCK_MONOTONIC, &deadline);
    }
}

/* False: the connection is no good. */
static bool find_positions(struct bus_link *link)
{
    struct bus *bus = link->bus;
    struct bus_position expected[BUS_POSITIONS_MAX];
    struct bus_position found[BUS_POSITIONS_MAX];
    struct error error = ERROR_INIT;
    if (bus->position_count == 0) {
        return true;
    }
    if (!bus_will_look(link, &error)) {
        bus_link_lost(link, "%s", error.message);
        return false;
    }
    bus_copy_positions(bus, expected);
    memcpy(found, expected, sizeof(found));
    bus_link_set_busy(link);
    bool answered = bus->driver->find_positions(link->connection, found, bus->position_count, &error);
    bus_link_set_free(link);
    if (!answered) {
        bus_link_lost(link, "%s", error.message);
    } else if (!bus_link_is_lost(link)) {
        bus_settle_positions(link, expected, found);
    }
    return answered;
}

static bool is_to_tend(const struct bus_link *link)
{
    return link->bus->driver->tend && link->tend_at <= clock_monotonic(NULL);
}

static void tend(struct bus_link *link)
{
    bus_link_set_busy(link);
    link->bus->driver->tend(link->connection);
    bus_link_set_free(link);
    link->tend_at = clock_monotonic(NULL) + BUS_TEND_MS;
}

static void serve(struct bus_link *link)
{
    struct bus *bus = link->bus;
    pthread_mutex_lock(&bus->mutex);
    while (!link->lost && link->phase != BUS_LINK_ENDED) {
        int64_t next = next_subscription(link);
        bool settled = next > clock_monotonic(NULL);
        if (settled && link->settled_count != bus->desired_count) {
            link->settled_count = bus->desired_count;
            pthread_cond_broadcast(&bus->idle);
        }
        if (!settled && !link->stop) {
            pthread_mutex_unlock(&bus->mutex);
            subscribe_all(link);
            pthread_mutex_lock(&bus->mutex);
        } else if (is_to_tend(link)) {
            pthread_mutex_unlock(&bus->mutex);
            tend(link);
            pthread_mutex_lock(&bus->mutex);
        } else if (link->queue) {
            struct bus_item *queue = bus_queue_take(link);
            pthread_mutex_unlock(&bus->mutex);
            bus_queue_send(link, queue);
            pthread_mutex_lock(&bus->mutex);
        } else if (link->stop) {
            break;
        } else if (link->phase == BUS_LINK_CONNECTING) {
            link->phase = BUS_LINK_UP;
            pthread_cond_signal(&bus->supervise);
        } else {
            wait_for_work(link, bus->driver->tend && link->tend_at < next ? link->tend_at : next);
        }
    }
    pthread_mutex_unlock(&bus->mutex);
}

void bus_link_end(struct bus_link *link)
{
    struct bus *bus = link->bus;
    pthread_mutex_lock(&bus->mutex);
    link->phase = BUS_LINK_ENDED;
    struct bus_item *queue = bus_queue_take(link);
    pthread_cond_broadcast(&bus->idle); /* for deliveries that wait for their turn */
    pthread_mutex_unlock(&bus->mutex);
    bus_queue_discard(queue);
    for (;;) {
        pthread_mutex_lock(&bus->mutex);
        struct bus_publication *publication = link->publications;
        if (publication) {
            atomic_fetch_add(&publication->references, 1);
        }
        pthread_mutex_unlock(&bus->mutex);
        if (!publication) {
            return;
        }
        bus_publication_confirmed(publication, false, 0);
    }
}

static void *run(void *argument)
{
    struct bus_link *link = argument;
    struct bus *bus = link->bus;
    struct error error = ERROR_INIT;
    pthread_setname_np(pthread_self(), "bus-link");
    bool connected = bus->driver->connect(link, &link->target, &link->connection, &error);
    if (connected) {
        bus_link_set_free(link);
        if (find_positions(link)) {
            serve(link);
        }
        bus_link_end(link);
        bus_link_set_busy(link);
        bus->driver->disconnect(link->connection);
    }
    bus_link_set_free(link);
    pthread_mutex_lock(&bus->mutex);
    if (!connected) {
        /* Better than what the driver may have reported meanwhile, which is the consequence. */
        text_copy_cut(link->reason, sizeof(link->reason), error.message);
    }
    link->finished = true;
    if (link->abandoned) {
        bus->abandoned--;
    }
    pthread_cond_signal(&bus->supervise);
    pthread_mutex_unlock(&bus->mutex);
    bus_link_release(&link);
    return NULL;
}

struct bus_link *bus_link_start(struct bus *bus)
{
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor < 0) {
        return NULL;
    }
    struct bus_link *link = xcalloc(1, sizeof(*link));
    atomic_init(&link->references, 2); /* the caller's and the thread's */
    bus_retain(bus);
    link->bus = bus;
    link->queue_end = &link->queue;
    link->target = (struct bus_target){
        .host = &bus->uri.hosts[bus->host_index],
        .user = bus->uri.user,
        .password = bus->uri.password,
        .path = bus->uri.path,
        .replicas = bus->uri.replicas,
        .client_id = bus->client_id,
        .subjects = bus->subjects,
        .cancel_descriptor = descriptor,
    };
    pthread_cond_init(&link->wake, NULL);
    bus_link_set_busy(link); /* it begins with a call into the driver */
    if (pthread_create(&link->thread, NULL, run, link) != 0) {
        atomic_store(&link->references, 1);
        bus_link_release(&link);
        return NULL;
    }
    return link;
}
