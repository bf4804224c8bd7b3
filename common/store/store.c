/* SPDX-License-Identifier: Apache-2.0
 * The store: finds the driver for a URI, resolves what is declared, and checks what is asked before a driver sees it.
 */
#include "common/store/store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/id.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/metrics.h"
#include "common/store/query.h"

enum {
    STORE_READERS_MAX = 64,
    WRITER_RANDOM_LENGTH = 16, /* hex digits of a token that tell this store from all others */
};

static const char fact_alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789:._/-";

static const struct store_driver *const drivers[] = {&store_sqlite, &store_mongo};

struct store {
    const struct store_driver *driver;
    void *state;
    const struct clock *clock;
    size_t collection_count;
    struct store_collection collections[STORE_COLLECTIONS_MAX];
    char writer[WRITER_RANDOM_LENGTH + 1];
    atomic_uint_fast64_t writes;
};

static const struct store_driver *find_driver(const char *uri)
{
    for (size_t i = 0; i < ARRAY_LENGTH(drivers); i++) {
        if (text_starts_with(uri, drivers[i]->scheme)) {
            return drivers[i];
        }
    }
    return NULL;
}

bool store_uri_valid(const char *uri)
{
    const struct store_driver *driver = uri ? find_driver(uri) : NULL;
    return driver && driver->uri_valid(uri);
}

bool store_is_remote(const char *uri)
{
    const struct store_driver *driver = uri ? find_driver(uri) : NULL;
    return driver && driver->remote;
}

static const struct store_collection *find_collection(const struct store *store, const struct collection *declared)
{
    for (size_t i = 0; i < store->collection_count; i++) {
        if (store->collections[i].declared == declared) {
            return &store->collections[i];
        }
    }
    assert(!"the collection was not given to store_open");
    return NULL;
}

bool store_refuse_owner(const char *found, const char *owner, struct error *error)
{
    return error_set(error, ERROR_INVALID, "this is the store of %s, and not of %s", found, owner);
}

bool store_refuse_absent(struct error *error)
{
    return error_set(error, ERROR_NOT_FOUND, "no store is there");
}

bool store_refuse_unowned(const char *owner, struct error *error)
{
    return error_set(error, ERROR_INVALID,
                     "not yet opened by this version of %s, so it may be another service's: start %s once first (unless"
                     " it is a backup: see docs/OPERATIONS.md, \"Whose a store is\")",
                     owner, owner);
}

bool store_open(const struct store_config *config, struct store **ret_store, struct error *error)
{
    assert(config->readers >= 1 && config->readers <= STORE_READERS_MAX);
    assert(!config->owner || config->owner[0] != '\0');
    if (!store_uri_valid(config->uri)) {
        return error_set(error, ERROR_INVALID, "not the URI of a store: sqlite:path and mongodb://host/database are");
    }
    struct store *store = xcalloc(1, sizeof(*store));
    store->driver = find_driver(config->uri);
    store->clock = config->clock;
    random_hex(store->writer, WRITER_RANDOM_LENGTH);
    for (size_t i = 0; config->collections[i]; i++) {
        assert(i < STORE_COLLECTIONS_MAX);
        store_collection_init(&store->collections[i], config->collections[i], i);
        store->collection_count++;
    }
    struct store_setup setup = {
        .uri = config->uri,
        .collections = store->collections,
        .collection_count = store->collection_count,
        .readers = config->readers,
        .threads = config->threads,
        .clock = config->clock,
        .owner = config->owner,
        .must_be_there = config->must_be_there,
    };
    if (!store->driver->open(&setup, &store->state, error)) {
        xfree(store);
        return false;
    }
    *ret_store = store;
    return true;
}

void store_close(struct store **store)
{
    if (!*store) {
        return;
    }
    (*store)->driver->close((*store)->state);
    xfree(*store);
    *store = NULL;
}

bool store_ping(struct store *store, struct error *error)
{
    double started = metrics_clock();
    return store_measured_change("ping", started, store->driver->ping(store->state, error), error);
}

static bool get(struct store *store, const struct collection *declared, enum store_key key, const char *text,
                struct record *ret_head, void *ret_value, struct error *error)
{
    const struct store_collection *collection = find_collection(store, declared);
    CLEANUP(free_pointer) void *entity = xcalloc(1, declared->table->size);
    struct record head = RECORD_INIT;
    bool found = false;
    double started = metrics_clock();
    bool is_read = store->driver->get(store->state, collection, key, text, &found, &head, entity, error);
    if (!store_measured_read("get", started, is_read, error)) {
        return false;
    }
    if (!found) {
        return error_set(error, ERROR_NOT_FOUND, "nothing in %s has this %s", declared->name,
                         key == STORE_BY_ID ? "id" : "claim");
    }
    *ret_head = head;
    if (ret_value) {
        memcpy(ret_value, entity, declared->table->size);
    }
    return true;
}

bool store_get(struct store *store, const struct collection *collection, const struct id *id, struct record *ret_head,
               void *ret_value, struct error *error)
{
    return get(store, collection, STORE_BY_ID, id->hex, ret_head, ret_value, error);
}

bool store_get_by_claim(struct store *store, const struct collection *collection, const char *claim,
                        struct record *ret_head, void *ret_value, struct error *error)
{
    return get(store, collection, STORE_BY_CLAIM, claim, ret_head, ret_value, error);
}

static bool entry_fits(const struct outbox_entry *entry, struct error *error)
{
    size_t subject = strnlen(entry->subject, STORE_SUBJECT_MAX);
    assert(subject > 0);
    if (subject == STORE_SUBJECT_MAX) {
        return error_set(error, ERROR_INVALID, "the event's subject is longer than %d bytes", STORE_SUBJECT_MAX - 1);
    }
    if (entry->length > STORE_EVENT_MAX) {
        return error_set(error, ERROR_INVALID, "the event is larger than %d bytes", STORE_EVENT_MAX);
    }
    return true;
}

static void explain(enum store_result result, const char *name, const struct id *record, uint64_t expected,
                    struct error *error)
{
    const char *id = record->hex;
    switch (result) {
    case STORE_CONFLICT_ID:
        error_set(error, ERROR_CONFLICT, "%s %s is there already", name, id);
        break;
    case STORE_CONFLICT_CLAIM:
        error_set(error, ERROR_CONFLICT, "another record of %s holds the claim of %s", name, id);
        break;
    case STORE_CONFLICT_VERSION:
        error_set(error, ERROR_CONFLICT, "%s %s is not at version %" PRIu64, name, id, expected);
        break;
    case STORE_OUTBOX_FULL:
        error_set(error, ERROR_UNAVAILABLE, "%s %s has no room for another unconfirmed event", name, id);
        break;
    case STORE_DONE:
    case STORE_UNAVAILABLE: /* the driver has said why */
        break;
    }
}

enum store_result store_write(struct store *store, const struct collection *collection, uint64_t expected,
                              struct record *record, const void *value, const struct outbox_entry *entry,
                              struct error *error)
{
    assert(id_is_set(&record->id) && record->version > 0 && record->version <= INT64_MAX);
    assert(record->epoch <= INT64_MAX && expected <= INT64_MAX);
    assert(record->version > expected || record->epoch > 0);
    if (entry && !entry_fits(entry, error)) {
        return STORE_UNAVAILABLE;
    }
    struct store_write_request request = {
        .collection = find_collection(store, collection),
        .expected = expected,
        .record = record,
        .value = value,
        .entry = entry,
        .created = clock_now(store->clock),
    };
    CLEANUP(buffer_done) struct buffer writer = BUFFER_INIT(STORE_WRITER_MAX - 1);
    buffer_printf(&writer, "%s-%" PRIx64, store->writer, (uint64_t)atomic_fetch_add(&store->writes, 1));
    bool fits = text_copy(request.writer, sizeof(request.writer), buffer_text(&writer));
    assert(fits);
    (void)fits;
    struct store_write_answer answer = {.unconfirmed = 0};
    double started = metrics_clock();
    enum store_result result =
        store_measured_write("write", started, store->driver->write(store->state, &request, &answer, error));
    if (result != STORE_DONE) {
        explain(result, collection->name, &record->id, expected, error);
        return result;
    }
    record->unconfirmed = answer.unconfirmed;
    if (expected > 0) {
        memcpy(record->claim, answer.claim, sizeof(record->claim));
    }
    return STORE_DONE;
}

enum store_result store_remove(struct store *store, const struct collection *collection, const struct id *id,
                               uint64_t expected, struct error *error)
{
    assert(id_is_set(id) && expected > 0 && expected <= INT64_MAX);
    const struct store_collection *found = find_collection(store, collection);
    double started = metrics_clock();
    enum store_result result =
        store_measured_write("remove", started, store->driver->remove(store->state, found, id, expected, error));
    assert(result == STORE_DONE || result == STORE_CONFLICT_VERSION || result == STORE_UNAVAILABLE);
    explain(result, collection->name, id, expected, error);
    return result;
}

/* ---- facts ---- */

static void check_fact_name(const char *name)
{
    size_t length = strnlen(name, STORE_FACT_NAME_MAX);
    assert(length > 0 && length < STORE_FACT_NAME_MAX);
    assert(strspn(name, fact_alphabet) == length);
    (void)length;
}

bool store_fact_get(struct store *store, const char *name, int64_t *ret_value, struct error *error)
{
    check_fact_name(name);
    double started = metrics_clock();
    return store_measured_read("fact_get", started, store->driver->fact_get(store->state, name, ret_value, error),
                               error);
}

bool store_fact_raise(struct store *store, const char *name, int64_t value, struct error *error)
{
    check_fact_name(name);
    assert(value >= 0);
    double started = metrics_clock();
    return store_measured_change("fact_raise", started, store->driver->fact_raise(store->state, name, value, error),
                                 error);
}

bool store_fact_replace(struct store *store, const char *name, int64_t expected, int64_t value, bool *ret_replaced,
                        struct error *error)
{
    check_fact_name(name);
    double started = metrics_clock();
    bool done = store->driver->fact_replace(store->state, name, expected, value, ret_replaced, error);
    return store_measured_change("fact_replace", started, done, error);
}

/* ---- the outbox ---- */

bool store_outbox_remove(struct store *store, const struct outbox_key *keys, size_t count, struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        (void)find_collection(store, keys[i].collection);
    }
    double started = metrics_clock();
    return count == 0 || store_measured_change("outbox_remove", started,
                                               store->driver->outbox_remove(store->state, keys, count, error), error);
}

bool store_outbox_count(struct store *store, uint64_t *ret_count, int64_t *ret_oldest, struct error *error)
{
    double started = metrics_clock();
    bool done = store->driver->outbox_count(store->state, ret_count, ret_oldest, error);
    return store_measured_read("outbox_count", started, done, error);
}

/* ---- lists ---- */

bool store_list(struct store *store, const struct collection *collection, const struct query *query,
                struct page *ret_page, struct error *error)
{
    CLEANUP(store_plan_done) struct store_plan plan = STORE_PLAN_INIT;
    if (!store_plan_make(find_collection(store, collection), query, &plan, error)) {
        return false;
    }
    double started = metrics_clock();
    bool done = store_page_read(store->driver, store->state, &plan, query->limit, ret_page, error);
    return store_measured_read("list", started, done, error);
}

bool store_outbox_read(struct store *store, const struct outbox_query *query, struct outbox_page *ret_page,
                       struct error *error)
{
    assert(query->limit >= 1 && query->limit <= STORE_LIMIT_MAX);
    assert(!query->collection || id_is_set(&query->id));
    if (query->collection) {
        (void)find_collection(store, query->collection);
    }
    double started = metrics_clock();
    bool done = store_outbox_page_read(store->driver, store->state, store->collections, store->collection_count, query,
                                       ret_page, error);
    return store_measured_read("outbox_read", started, done, error);
}
