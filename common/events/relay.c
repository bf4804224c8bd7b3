/* SPDX-License-Identifier: Apache-2.0
 * The relay's threads.
 *
 * DESIGN
 * An event is written to the store together with the record whose change it tells, and stays there, in the outbox,
 * until the bus has confirmed that it stored it. Three threads share one lock, which none holds during I/O:
 *
 *   publisher  publishes what may go and settles what was answered. It is the only one that publishes.
 *   reader     reads the outbox of one record when its turn comes and it is not in memory, or when somebody else wrote
 *              a lower version; and sweeps all outboxes for what a crashed instance left behind.
 *   remover    removes what was confirmed, many at once: it need not be quick, only sure. What is confirmed and not
 *              removed when the process dies is published again, and its receivers know it by its version.
 *
 * Order. Of one record at most one version is in flight; the next goes when that is confirmed, so that k + 1 cannot
 * be stored before k by this instance. No instance publishes a version while a lower one of that record waits in the
 * outbox (see backlog.h): it publishes the lower one first, whoever wrote it. So, whichever instances live, a version
 * comes to the bus first only after all lower ones came. Two of them may publish the same version; that is harmless.
 * Different records share the pipeline and do not wait for each other.
 *
 * Failure. An event that was not confirmed stays where it is and is tried again, with a delay that grows while nothing
 * succeeds and ends when the bus comes back. Nothing else waits for it but its own record.
 *
 * Memory. Payloads are kept while there is room (RELAY_MEMORY_MAX), then read from the store when it is their turn;
 * records beyond a number are left to the sweep. A sweep goes on at once while it finds news, and reads the next page
 * when half of the last one is done with. */
#include "common/events/relay.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/backlog.h"
#include "common/events/message.h"
#include "common/events/thread.h"

enum {
    RETRY_FIRST_MS = 50,
    RETRY_LAST_MS = 2000,
    GATHER_MS = 50,         /* how long the remover waits for company */
    REMOVE_BATCH_MAX = 512, /* keys of one removal */
    REMOVALS_MAX = 8192,    /* confirmed but not removed: then no more is published */
    READ_LIMIT = 64,        /* events of one record that are read at once */
    SWEEP_LIMIT = STORE_LIMIT_MAX,
    FRESH_MS = 500, /* at start, what is younger is still on its way with whoever wrote it */
    SWEEP_NOW = 0,  /* a moment that is past */
    FAILPOINT_SIZE = 96,
};

struct relay {
    struct relay_config config;
    struct bus *bus;
    char before_publish[FAILPOINT_SIZE], after_confirm[FAILPOINT_SIZE];
    pthread_t publisher, reader, remover;
    bool is_started;

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t publish, read, remove, quiet, stopping;
    struct backlog *backlog;
    struct backlog_record *answered; /* a list: the bus has told how it went */
    struct backlog_record **answered_end;
    size_t in_flight;
    int64_t retry_ms; /* the present delay */
    int64_t retry_at; /* nothing is published before this moment */
    int64_t sweep_at;
    bool was_swept;    /* once, at least */
    bool cannot_sweep; /* the reader's own */
    bool is_held;      /* nothing is to be published now */
    bool is_stopping;
    bool is_flushing; /* the remover ends when there is nothing left */
};

static int64_t monotonic(void)
{
    return clock_monotonic(NULL);
}

static int64_t until(int64_t moment)
{
    int64_t left = moment - monotonic();
    return left > 0 ? left : 0;
}

/* Sweeping what cannot be published would only fill the memory. A sweep that goes on waits until half of what it
 * found is done with, so that the next page brings something new. */
static bool may_sweep(const struct relay *relay)
{
    return monotonic() >= relay->sweep_at && backlog_counts(relay->backlog).swept <= SWEEP_LIMIT / 2 &&
           backlog_can_sweep(relay->backlog) && bus_state(relay->bus) == BUS_UP;
}

static void wake_reader(struct relay *relay)
{
    if (backlog_counts(relay->backlog).to_read > 0 || relay->sweep_at == SWEEP_NOW) {
        pthread_cond_signal(&relay->read);
    }
}

/* With the lock held, which is released meanwhile. Ends early when the relay stops. */
static void pause_thread(struct relay *relay)
{
    int64_t deadline = monotonic() + RETRY_LAST_MS;
    while (!relay->is_stopping && monotonic() < deadline) {
        condition_wait(&relay->stopping, &relay->lock, until(deadline));
    }
}

/* ---- the publisher ---- */

/* Runs on the bus's thread. */
static void on_confirmed(bool stored, void *context)
{
    struct backlog_record *record = context;
    struct relay *relay = record->owner;
    pthread_mutex_lock(&relay->lock);
    record->stored = stored;
    record->next = NULL;
    *relay->answered_end = record;
    relay->answered_end = &record->next;
    pthread_cond_signal(&relay->publish);
    pthread_mutex_unlock(&relay->lock);
}

/* What fails together counts once. */
static void delay_publishing(struct relay *relay)
{
    if (monotonic() < relay->retry_at) {
        return;
    }
    relay->retry_at = monotonic() + relay->retry_ms;
    relay->retry_ms = 2 * relay->retry_ms < RETRY_LAST_MS ? 2 * relay->retry_ms : RETRY_LAST_MS;
}

static void make_event_id(const struct backlog_record *record, char ret_text[static EVENT_ID_MAX])
{
    const struct backlog_event *event = backlog_event(record);
    const struct subject *subject = catalogue_find(event->subject);
    snprintf(ret_text, EVENT_ID_MAX, "%s/%s/%" PRIu64,
             subject != NULL ? subject->entity->name : record->collection->name, record->id.hex, event->version);
}

/* By which a bus knows what is published again. The payload is in it, since what a store that was restored writes may
 * have the version of an event that it had published before. */
static void make_message_id(const struct backlog_record *record, const char *event_id,
                            char ret_text[static BUS_MESSAGE_ID_MAX])
{
    const struct backlog_event *event = backlog_event(record);
    CLEANUP(free_pointer)
    char *text = xasprintf("%s-%016" PRIx64, event_id, text_hash(event->payload, event->length));
    text_copy_cut(ret_text, BUS_MESSAGE_ID_MAX, text);
}

static void tell_published(const struct backlog_record *record)
{
    char event_id[EVENT_ID_MAX];
    make_event_id(record, event_id);
    log_set_context(event_id, backlog_event(record)->trace);
    log_info("Event published to subject %s", backlog_event(record)->subject);
    log_set_context(NULL, NULL);
}

/* With the lock held, which is released for a while. */
static void settle_answer(struct relay *relay)
{
    struct backlog_record *record = relay->answered;
    relay->answered = record->next;
    if (relay->answered == NULL) {
        relay->answered_end = &relay->answered;
    }
    if (record->stored) {
        pthread_mutex_unlock(&relay->lock);
        tell_published(record);
        failpoint(relay->after_confirm);
        pthread_mutex_lock(&relay->lock);
        relay->retry_ms = RETRY_FIRST_MS;
        backlog_confirmed(relay->backlog, record);
        pthread_cond_signal(&relay->remove);
    } else {
        delay_publishing(relay);
        backlog_failed(relay->backlog, record);
    }
    relay->in_flight--;
    wake_reader(relay);
    pthread_cond_signal(&relay->quiet);
}

/* With the lock held, which is released for a while. While it is taken, only this thread changes what is published. */
static void publish(struct relay *relay, struct backlog_record *record)
{
    const struct backlog_event *event = backlog_event(record);
    char event_id[EVENT_ID_MAX], message_id[BUS_MESSAGE_ID_MAX];
    make_event_id(record, event_id);
    make_message_id(record, event_id, message_id);
    record->owner = relay;
    relay->in_flight++;
    pthread_mutex_unlock(&relay->lock);
    failpoint(relay->before_publish);
    bool accepted =
        bus_publish(relay->bus, event->subject, message_id, event->payload, event->length, on_confirmed, record);
    pthread_mutex_lock(&relay->lock);
    if (!accepted) {
        relay->in_flight--;
        delay_publishing(relay);
        backlog_failed(relay->backlog, record);
        pthread_cond_signal(&relay->quiet);
    }
}

static bool may_publish(const struct relay *relay)
{
    return !relay->is_stopping && !relay->is_held && relay->in_flight < relay->config.in_flight_max &&
           backlog_counts(relay->backlog).removals < REMOVALS_MAX && monotonic() >= relay->retry_at;
}

static void *run_publisher(void *context)
{
    struct relay *relay = context;
    pthread_mutex_lock(&relay->lock);
    while (!relay->is_stopping || relay->in_flight > 0) {
        struct backlog_record *record = NULL;
        if (relay->answered != NULL) {
            settle_answer(relay);
        } else if (may_publish(relay) && (record = backlog_take_to_publish(relay->backlog)) != NULL) {
            publish(relay, record);
        } else {
            condition_wait(&relay->publish, &relay->lock,
                           monotonic() < relay->retry_at ? until(relay->retry_at) : RETRY_LAST_MS);
        }
        if (relay->is_flushing) {
            break; /* what is in flight has had its time; the bus ends it */
        }
    }
    pthread_mutex_unlock(&relay->lock);
    return NULL;
}

/* ---- the reader ---- */

/* With the lock held, which is released for a while. */
static void read_record(struct relay *relay, struct backlog_record *record)
{
    const struct outbox_query query = {.collection = record->collection,
                                       .id = record->id,
                                       .limit = READ_LIMIT,
                                       .bytes = backlog_read_bytes(relay->backlog)};
    struct outbox_page page = OUTBOX_PAGE_INIT;
    struct error error = ERROR_INIT;
    pthread_mutex_unlock(&relay->lock);
    bool done = store_outbox_read(relay->config.store, &query, &page, &error);
    if (!done) {
        log_warning("The outbox of %s/%s cannot be read: %s, retrying", query.collection->name, query.id.hex,
                    error.message);
    }
    pthread_mutex_lock(&relay->lock);
    backlog_read(relay->backlog, record, done ? &page : NULL);
    outbox_page_done(&page);
    pthread_cond_signal(&relay->publish);
    if (!done) {
        pause_thread(relay);
    }
}

/* True if it brought news, and there may be more. */
static bool take_swept(struct relay *relay, const struct outbox_page *page)
{
    bool has_news = false;
    for (size_t i = 0; i < page->count; i++) {
        bool is_news = false;
        if (!backlog_add_swept(relay->backlog, &page->items[i], &is_news)) {
            break;
        }
        has_news = has_news || is_news;
    }
    return has_news && page->more;
}

/* A store that is away is told of once. */
static void tell_swept(struct relay *relay, bool done, const struct error *error)
{
    if (!done && !relay->cannot_sweep) {
        log_warning("The outboxes cannot be swept: %s, retrying every %.1f s", error->message,
                    (double)relay->config.sweep_ms / 1000);
    } else if (done && relay->cannot_sweep) {
        log_info("The outboxes can be swept again");
    }
    relay->cannot_sweep = !done;
}

/* With the lock held, which is released for a while. */
static void sweep(struct relay *relay)
{
    int64_t now = clock_now(relay->config.clock);
    int64_t age = relay->was_swept ? relay->config.sweep_age_ms : FRESH_MS;
    struct outbox_query query = {.created_until = now - age,
                                 .created_from = now + age,
                                 .limit = SWEEP_LIMIT,
                                 .bytes = 2 * backlog_read_bytes(relay->backlog)};
    struct outbox_page page = OUTBOX_PAGE_INIT;
    struct error error = ERROR_INIT;
    backlog_sweep_begins(relay->backlog);
    pthread_mutex_unlock(&relay->lock);
    bool done = store_outbox_read(relay->config.store, &query, &page, &error);
    tell_swept(relay, done, &error);
    pthread_mutex_lock(&relay->lock);
    bool goes_on = done && take_swept(relay, &page);
    backlog_sweep_ends(relay->backlog);
    outbox_page_done(&page);
    relay->was_swept = relay->was_swept || (done && !goes_on);
    relay->sweep_at = goes_on ? SWEEP_NOW : monotonic() + relay->config.sweep_ms;
    pthread_cond_signal(&relay->publish);
}

static void *run_reader(void *context)
{
    struct relay *relay = context;
    pthread_mutex_lock(&relay->lock);
    while (!relay->is_stopping) {
        struct backlog_record *record = backlog_take_to_read(relay->backlog);
        if (record != NULL) {
            read_record(relay, record);
        }
        if (relay->is_stopping) {
            break;
        }
        if (may_sweep(relay)) {
            sweep(relay);
        } else if (record == NULL) {
            int64_t wait = until(relay->sweep_at);
            condition_wait(&relay->read, &relay->lock, wait > 0 ? wait : relay->config.sweep_ms);
        }
    }
    pthread_mutex_unlock(&relay->lock);
    return NULL;
}

/* ---- the remover ---- */

/* With the lock held, which is released for a while. */
static void remove_batch(struct relay *relay)
{
    struct outbox_key keys[REMOVE_BATCH_MAX];
    size_t count = backlog_take_removals(relay->backlog, keys, REMOVE_BATCH_MAX);
    bool is_last_try = relay->is_flushing;
    struct error error = ERROR_INIT;
    pthread_mutex_unlock(&relay->lock);
    bool done = (relay->config.before_removal == NULL || relay->config.before_removal(relay->config.context, &error)) &&
                store_outbox_remove(relay->config.store, keys, count, &error);
    if (!done) {
        log_warning("%zu confirmed events cannot be removed from the outbox: %s, %s", count, error.message,
                    is_last_try ? "they will be published again" : "retrying");
    }
    pthread_mutex_lock(&relay->lock);
    if (done) {
        backlog_removed(relay->backlog, keys, count);
        pthread_cond_signal(&relay->publish);
        wake_reader(relay);
    } else {
        backlog_not_removed(relay->backlog, keys, count);
        pause_thread(relay);
    }
}

static bool has_company(const struct relay *relay)
{
    struct backlog_counts counts = backlog_counts(relay->backlog);
    return relay->is_flushing || counts.urgent > 0 || counts.removals >= REMOVE_BATCH_MAX;
}

static void *run_remover(void *context)
{
    struct relay *relay = context;
    pthread_mutex_lock(&relay->lock);
    for (;;) {
        if (backlog_counts(relay->backlog).removals == 0) {
            if (relay->is_flushing) {
                break;
            }
            condition_wait(&relay->remove, &relay->lock, -1);
            continue;
        }
        int64_t deadline = monotonic() + GATHER_MS;
        while (!has_company(relay) && monotonic() < deadline) {
            condition_wait(&relay->remove, &relay->lock, until(deadline));
        }
        bool was_flushing = relay->is_flushing;
        size_t before = backlog_counts(relay->backlog).removals;
        remove_batch(relay);
        if (was_flushing && backlog_counts(relay->backlog).removals >= before) {
            break; /* the store is away: whoever comes next publishes them again */
        }
    }
    pthread_mutex_unlock(&relay->lock);
    return NULL;
}

/* ---- the whole ---- */

void relay_add(struct relay *relay, const struct collection *collection, const struct record *record,
               const struct outbox_entry *entry)
{
    pthread_mutex_lock(&relay->lock);
    if (!relay->is_stopping) {
        /* Where there is no room for another record, the sweep finds it. */
        (void)backlog_add(relay->backlog, collection, record, entry);
        pthread_cond_signal(&relay->publish);
        wake_reader(relay);
    }
    pthread_mutex_unlock(&relay->lock);
}

void relay_wake(struct relay *relay)
{
    pthread_mutex_lock(&relay->lock);
    relay->retry_ms = RETRY_FIRST_MS;
    relay->retry_at = 0;
    relay->sweep_at = SWEEP_NOW;
    pthread_cond_signal(&relay->publish);
    pthread_cond_signal(&relay->read);
    pthread_mutex_unlock(&relay->lock);
}

void relay_hold(struct relay *relay, bool held)
{
    pthread_mutex_lock(&relay->lock);
    relay->is_held = held;
    pthread_cond_signal(&relay->publish);
    pthread_mutex_unlock(&relay->lock);
}

void relay_figures(struct relay *relay, struct relay_figures *ret_figures)
{
    pthread_mutex_lock(&relay->lock);
    struct backlog_counts counts = backlog_counts(relay->backlog);
    *ret_figures = (struct relay_figures){
        .records = counts.records,
        .bytes = counts.bytes,
        .removals = counts.removals,
        .in_flight = relay->in_flight,
    };
    pthread_mutex_unlock(&relay->lock);
}

struct relay *relay_new(const struct relay_config *config)
{
    struct relay *relay = xcalloc(1, sizeof(*relay));
    relay->config = *config;
    snprintf(relay->before_publish, sizeof(relay->before_publish), "%s.relay.before_publish", config->service);
    snprintf(relay->after_confirm, sizeof(relay->after_confirm), "%s.relay.after_confirm", config->service);
    pthread_mutex_init(&relay->lock, NULL);
    condition_init(&relay->publish);
    condition_init(&relay->read);
    condition_init(&relay->remove);
    condition_init(&relay->quiet);
    condition_init(&relay->stopping);
    relay->backlog = backlog_new(config->memory_max, config->records_max);
    relay->answered_end = &relay->answered;
    relay->retry_ms = RETRY_FIRST_MS;
    return relay;
}

void relay_start(struct relay *relay, struct bus *bus)
{
    relay->bus = bus;
    thread_start(&relay->publisher, run_publisher, relay);
    thread_start(&relay->reader, run_reader, relay);
    thread_start(&relay->remover, run_remover, relay);
    relay->is_started = true;
}

void relay_stop(struct relay *relay, int64_t timeout_ms)
{
    int64_t deadline = monotonic() + timeout_ms;
    if (!relay->is_started) {
        return;
    }
    pthread_mutex_lock(&relay->lock);
    relay->is_stopping = true;
    pthread_cond_broadcast(&relay->stopping);
    pthread_cond_signal(&relay->publish);
    pthread_cond_signal(&relay->read);
    while (relay->in_flight > 0 && monotonic() < deadline) {
        condition_wait(&relay->quiet, &relay->lock, until(deadline));
    }
    relay->is_flushing = true;
    pthread_cond_signal(&relay->publish);
    pthread_cond_signal(&relay->remove);
    pthread_mutex_unlock(&relay->lock);
    pthread_join(relay->publisher, NULL);
    pthread_join(relay->reader, NULL);
    pthread_join(relay->remover, NULL);
    relay->is_started = false;
}

void relay_free(struct relay **relay)
{
    if (*relay == NULL) {
        return;
    }
    backlog_free(&(*relay)->backlog);
    pthread_cond_destroy(&(*relay)->publish);
    pthread_cond_destroy(&(*relay)->read);
    pthread_cond_destroy(&(*relay)->remove);
    pthread_cond_destroy(&(*relay)->quiet);
    pthread_cond_destroy(&(*relay)->stopping);
    pthread_mutex_destroy(&(*relay)->lock);
    xfree(*relay);
    *relay = NULL;
}
