/* SPDX-License-Identifier: Apache-2.0
 * Publishing snapshots of what is in the store, at a rate.
 *
 * DESIGN
 * The calling thread reads pages and publishes; the bus's threads tell which were stored. Each snapshot under way is a
 * flight, of which there are a bounded number; one that was not stored is put aside, and its record is read and
 * published again, as it is by then. A run that is stopped leaves flights behind, which end later: the run is counted,
 * by its caller and by each flight. */
#include "common/events/republish.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/snapshot.h"
#include "common/events/thread.h"

enum {
    FLIGHTS_MAX = 128,
    PAGE_LIMIT = 200,
    STORE_RETRY_MS = 500,
    TELL_MS = 100,    /* how often go_on is called, at least */
    REFUSED_MAX = 50, /* times, TELL_MS apart, that a bus which is up refuses a snapshot before it is given up */
    BURST_MS = 20,    /* how much of the rate may go at once */
    SECOND_MS = 1000,
};

struct flight {
    struct run *run;
    const struct collection *collection;
    struct id id;
    struct flight *next; /* of those that failed, or are free */
};

struct run {
    const struct republish_config *config;
    int64_t told_at;  /* when go_on was last called */
    int64_t paced_at; /* since when the pace is counted */
    int64_t paced;    /* snapshots since then */
    bool is_stopped;  /* by go_on */

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t landed;
    unsigned references;
    size_t in_flight;
    struct flight *free, *failed;
    struct republish_progress progress;
    struct flight flights[FLIGHTS_MAX];
};

/* ---- the run, and its flights ---- */

static struct run *run_new(const struct republish_config *config)
{
    struct run *run = xcalloc(1, sizeof(*run));
    run->config = config;
    run->references = 1;
    pthread_mutex_init(&run->lock, NULL);
    condition_init(&run->landed);
    for (size_t i = 0; i < FLIGHTS_MAX; i++) {
        run->flights[i].run = run;
        run->flights[i].next = run->free;
        run->free = &run->flights[i];
    }
    run->paced_at = run->told_at = clock_monotonic(NULL);
    return run;
}

/* With the lock held, which is released. */
static void release(struct run *run)
{
    bool is_last = --run->references == 0;
    pthread_mutex_unlock(&run->lock);
    if (is_last) {
        pthread_cond_destroy(&run->landed);
        pthread_mutex_destroy(&run->lock);
        xfree(run);
    }
}

static void push(struct flight **list, struct flight *flight)
{
    flight->next = *list;
    *list = flight;
}

static struct flight *pop(struct flight **list)
{
    struct flight *flight = *list;
    if (flight != NULL) {
        *list = flight->next;
    }
    return flight;
}

/* On a bus thread. */
static void on_confirmed(bool stored, void *context)
{
    struct flight *flight = context;
    struct run *run = flight->run;
    pthread_mutex_lock(&run->lock);
    run->in_flight--;
    run->progress.published += stored ? 1 : 0;
    push(stored ? &run->free : &run->failed, flight);
    pthread_cond_signal(&run->landed);
    release(run);
}

/* ---- waiting ---- */

/* Lets somebody else decide, now and then, whether to go on. */
static bool goes_on(struct run *run)
{
    int64_t now = clock_monotonic(NULL);
    if (run->is_stopped || now < run->told_at + TELL_MS) {
        return !run->is_stopped;
    }
    run->told_at = now;
    pthread_mutex_lock(&run->lock);
    run->progress.bus_is_away = bus_state(run->config->bus) != BUS_UP;
    struct republish_progress progress = run->progress;
    pthread_mutex_unlock(&run->lock);
    run->is_stopped = !run->config->go_on(&progress, run->config->context);
    return !run->is_stopped;
}

/* Waits for something to land, at most `timeout_ms`; false: stop. */
static bool pause_run(struct run *run, int64_t timeout_ms)
{
    pthread_mutex_lock(&run->lock);
    condition_wait(&run->landed, &run->lock, timeout_ms);
    pthread_mutex_unlock(&run->lock);
    return goes_on(run);
}

static bool sleep_run(struct run *run, int64_t milliseconds)
{
    int64_t deadline = clock_monotonic(NULL) + milliseconds;
    int64_t left = 0;
    while (goes_on(run) && (left = deadline - clock_monotonic(NULL)) > 0) {
        (void)pause_run(run, left < TELL_MS ? left : TELL_MS);
    }
    return !run->is_stopped;
}

/* Waits until the rate allows one more. What was not used for a while is not made up for. */
static bool keep_pace(struct run *run)
{
    int64_t due = run->paced_at + run->paced * SECOND_MS / run->config->rate;
    int64_t now = clock_monotonic(NULL);
    if (now > due + SECOND_MS) {
        run->paced_at = now;
        run->paced = 0;
    }
    run->paced++;
    return due - now <= BURST_MS ? goes_on(run) : sleep_run(run, due - now);
}

/* True: the store did not answer, and has been waited for. */
static bool wait_for_store(struct run *run, const struct error *error)
{
    pthread_mutex_lock(&run->lock);
    bool is_new = !run->progress.store_is_away;
    run->progress.store_is_away = true;
    pthread_mutex_unlock(&run->lock);
    if (is_new) {
        log_warning("What is to be published again cannot be read: %s, retrying", error->message);
    }
    return sleep_run(run, STORE_RETRY_MS);
}

static void store_answers(struct run *run)
{
    pthread_mutex_lock(&run->lock);
    run->progress.store_is_away = false;
    pthread_mutex_unlock(&run->lock);
}

/* ---- publishing ---- */

static bool try_publish(struct run *run, struct flight *flight, const struct record *head, const void *value)
{
    const struct republish_config *config = run->config;
    const struct entity *entity = catalogue_published(config->service, flight->collection);
    pthread_mutex_lock(&run->lock);
    run->in_flight++;
    run->references++;
    pthread_mutex_unlock(&run->lock);
    if (snapshot_publish(config->bus, entity, head, value, clock_now(config->clock), on_confirmed, flight)) {
        return true;
    }
    pthread_mutex_lock(&run->lock);
    run->in_flight--;
    release(run); /* not the last: the caller has one */
    return false;
}

static void leave_out(struct run *run, const struct collection *collection, const struct id *id, const char *why)
{
    log_error("The snapshot of %s/%s is left out: %s", collection->name, id->hex, why);
    pthread_mutex_lock(&run->lock);
    run->progress.failed++;
    pthread_mutex_unlock(&run->lock);
}

static void give_up(struct run *run, struct flight *flight, const char *why)
{
    leave_out(run, flight->collection, &flight->id, why);
    pthread_mutex_lock(&run->lock);
    push(&run->free, flight);
    pthread_mutex_unlock(&run->lock);
}

/* Takes the flight. False: stop. */
static bool publish(struct run *run, struct flight *flight, const struct record *head, const void *value)
{
    struct record snapshot = *head;
    snapshot.epoch = run->config->epoch;
    flight->id = head->id;
    for (unsigned refused = 0; refused < REFUSED_MAX;) {
        if (try_publish(run, flight, &snapshot, value)) {
            return true;
        }
        refused += bus_state(run->config->bus) == BUS_UP ? 1 : 0;
        if (!sleep_run(run, TELL_MS)) {
            return false;
        }
    }
    give_up(run, flight, "the event bus does not take it");
    return true;
}

/* Reads and publishes what was not stored the first time, as it is now. Takes the flight. False: stop. */
static bool publish_again(struct run *run, struct flight *flight)
{
    const struct republish_config *config = run->config;
    CLEANUP(free_pointer) void *value = xcalloc(1, flight->collection->table->size);
    struct record head = RECORD_INIT;
    struct error error = ERROR_INIT;
    while (!store_get(config->store, flight->collection, &flight->id, &head, value, &error)) {
        if (error.code == ERROR_NOT_FOUND) {
            head = (struct record){.id = flight->id};
            break;
        }
        if (error.code == ERROR_INTERNAL) {
            give_up(run, flight, error.message);
            return true;
        }
        if (!wait_for_store(run, &error)) {
            return false;
        }
    }
    store_answers(run);
    return keep_pace(run) && publish(run, flight, &head, head.version > 0 ? value : NULL);
}

/* What failed goes first. */
static struct flight *take_flight(struct run *run, bool *ret_has_failed)
{
    pthread_mutex_lock(&run->lock);
    struct flight *flight = pop(&run->failed);
    *ret_has_failed = flight != NULL;
    if (flight == NULL) {
        flight = pop(&run->free);
    }
    pthread_mutex_unlock(&run->lock);
    return flight;
}

/* False: stop. */
static bool publish_record(struct run *run, const struct collection *collection, const struct record *head,
                           const void *value)
{
    while (keep_pace(run)) {
        bool has_failed = false;
        struct flight *flight = NULL;
        while ((flight = take_flight(run, &has_failed)) == NULL) {
            if (!pause_run(run, TELL_MS)) {
                return false;
            }
        }
        if (!has_failed) {
            flight->collection = collection;
            return publish(run, flight, head, value);
        }
        if (!publish_again(run, flight)) {
            return false;
        }
    }
    return false;
}

/* Until everything is confirmed. False: stop. */
static bool land(struct run *run)
{
    for (;;) {
        pthread_mutex_lock(&run->lock);
        struct flight *flight = pop(&run->failed);
        bool has_landed = flight == NULL && run->in_flight == 0;
        pthread_mutex_unlock(&run->lock);
        if (has_landed) {
            return true;
        }
        if (flight != NULL ? !publish_again(run, flight) : !pause_run(run, TELL_MS)) {
            return false;
        }
    }
}

/* ---- what is published ---- */

/* False: stop. */
static bool read_page(struct run *run, const struct collection *collection, const char *after, struct page *ret_page)
{
    const struct query query = {.after = after, .limit = PAGE_LIMIT, .changed_since = run->config->since};
    struct error error = ERROR_INIT;
    while (!store_list(run->config->store, collection, &query, ret_page, &error)) {
        if (!wait_for_store(run, &error)) {
            return false;
        }
    }
    store_answers(run);
    return true;
}

static bool publish_collection(struct run *run, const struct collection *collection)
{
    char after[STORE_CURSOR_MAX] = "";
    bool has_more = true;
    bool goes = true;
    while (goes && has_more) {
        struct page page = PAGE_INIT;
        goes = read_page(run, collection, after, &page);
        for (size_t i = 0; goes && i < page.count; i++) {
            goes = publish_record(run, collection, &page.heads[i], page_value(&page, collection, i));
        }
        has_more = page.more;
        text_copy_cut(after, sizeof(after), page.next);
        page_done(&page);
    }
    return goes;
}

/* In whichever collection it is; where there is none, each of them says so. False: stop. */
static bool find_record(struct run *run, const struct collection *collection, bool *ret_found)
{
    CLEANUP(free_pointer) void *value = xcalloc(1, collection->table->size);
    struct record head = RECORD_INIT;
    struct error error = ERROR_INIT;
    while (!store_get(run->config->store, collection, &run->config->id, &head, value, &error)) {
        if (error.code != ERROR_UNAVAILABLE) {
            *ret_found = error.code != ERROR_NOT_FOUND;
            if (*ret_found) {
                leave_out(run, collection, &run->config->id, error.message);
            }
            return true;
        }
        if (!wait_for_store(run, &error)) {
            return false;
        }
    }
    store_answers(run);
    *ret_found = true;
    return publish_record(run, collection, &head, value);
}

static bool has_snapshots(const char *service, const struct collection *collection)
{
    const struct entity *entity = catalogue_published(service, collection);
    return entity != NULL && catalogue_snapshot(entity) != NULL;
}

static bool publish_one(struct run *run)
{
    const struct record absent = {.id = run->config->id};
    bool found = false;
    for (const struct collection *const *at = run->config->collections; *at != NULL && !found; at++) {
        if (has_snapshots(run->config->service, *at) && !find_record(run, *at, &found)) {
            return false;
        }
    }
    pthread_mutex_lock(&run->lock);
    run->progress.is_absent = !found;
    pthread_mutex_unlock(&run->lock);
    for (const struct collection *const *at = run->config->collections; *at != NULL && !found; at++) {
        if (has_snapshots(run->config->service, *at) && !publish_record(run, *at, &absent, NULL)) {
            return false;
        }
    }
    return true;
}

static bool publish_all(struct run *run)
{
    for (const struct collection *const *at = run->config->collections; *at != NULL; at++) {
        if (has_snapshots(run->config->service, *at) && !publish_collection(run, *at)) {
            return false;
        }
    }
    return true;
}

/* ---- the whole ---- */

bool republish_can(const char *service, const struct collection *const *collections)
{
    for (const struct collection *const *at = collections; at != NULL && *at != NULL; at++) {
        if (has_snapshots(service, *at)) {
            return true;
        }
    }
    return false;
}

bool republish_run(const struct republish_config *config, struct republish_progress *ret_progress)
{
    struct run *run = run_new(config);
    bool done = (id_is_set(&config->id) ? publish_one(run) : publish_all(run)) && land(run);
    pthread_mutex_lock(&run->lock);
    *ret_progress = run->progress;
    release(run);
    return done;
}
