/* SPDX-License-Identifier: Apache-2.0
 * The relay's memory: records, what of them waits, and what may go next. */
#include "common/events/backlog.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/base/hashmap.h"
#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    KEY_SIZE = 64 + 1 + ID_LENGTH + 1, /* "<collection>/<id>" */
    READ_SHARE = 12,                   /* one read may return a twelfth of what is written may take */
    SWEEP_READS = 2,                   /* a sweep as much as that many reads */
    FIRST_REMOVALS = 256,
};

struct list {
    struct backlog_record *first;
    struct backlog_record **end;
};

struct backlog {
    size_t bytes_max;
    size_t records_max;
    size_t bytes;
    size_t swept;
    size_t urgent;           /* records at BACKLOG_TO_REMOVE */
    size_t reads;            /* records at BACKLOG_TO_READ */
    struct hashmap *records; /* by collection and id */
    struct list to_publish;
    struct list to_read;
    struct outbox_key *removals; /* a ring */
    size_t removal_first, removal_count, removal_capacity;
    size_t removals_taken;
    bool is_sweeping;
};

/* ---- lists and records ---- */

static void list_init(struct list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_append(struct list *list, struct backlog_record *record)
{
    record->next = NULL;
    *list->end = record;
    list->end = &record->next;
}

static struct backlog_record *list_take(struct list *list)
{
    struct backlog_record *record = list->first;
    if (record != NULL) {
        list->first = record->next;
        if (list->first == NULL) {
            list->end = &list->first;
        }
        record->next = NULL;
    }
    return record;
}

static void make_key(char ret_key[static KEY_SIZE], const struct collection *collection, const struct id *id)
{
    snprintf(ret_key, KEY_SIZE, "%s/%s", collection->name, id->hex);
}

static struct backlog_record *find(const struct backlog *backlog, const struct collection *collection,
                                   const struct id *id)
{
    char key[KEY_SIZE];
    make_key(key, collection, id);
    return hashmap_get(backlog->records, key);
}

/* NULL if there are too many. */
static struct backlog_record *find_or_make(struct backlog *backlog, const struct collection *collection,
                                           const struct id *id)
{
    struct backlog_record *record = find(backlog, collection, id);
    if (record != NULL || hashmap_count(backlog->records) >= backlog->records_max) {
        return record;
    }
    record = xcalloc(1, sizeof(*record));
    record->backlog = backlog;
    record->collection = collection;
    record->id = *id;
    char key[KEY_SIZE];
    make_key(key, collection, id);
    hashmap_put(backlog->records, key, record);
    return record;
}

static void drop_first(struct backlog_record *record)
{
    struct backlog_event *event = record->first;
    record->first = event->next;
    record->backlog->bytes -= event->length;
    xfree(event->payload);
    xfree(event);
}

static void drop_events(struct backlog_record *record)
{
    while (record->first != NULL) {
        drop_first(record);
    }
}

static void forget(struct backlog *backlog, struct backlog_record *record)
{
    char key[KEY_SIZE];
    make_key(key, record->collection, &record->id);
    hashmap_remove(backlog->records, key);
    backlog->swept -= record->swept;
    xfree(record);
}

static bool is_done_with(const struct backlog_record *record)
{
    return record->place == BACKLOG_IDLE && record->removals == 0;
}

static void put_to_read(struct backlog *backlog, struct backlog_record *record)
{
    record->place = BACKLOG_TO_READ;
    list_append(&backlog->to_read, record);
    backlog->reads++;
}

/* Puts a record that is not taken where it belongs now; forgets it if nothing is left to do. */
static void settle(struct backlog *backlog, struct backlog_record *record)
{
    while (record->first != NULL && record->first->version <= record->done) {
        drop_first(record);
    }
    const struct backlog_event *first = record->first;
    if (first != NULL && (first->lowest || first->version == record->done + 1)) {
        record->place = BACKLOG_TO_PUBLISH;
        list_append(&backlog->to_publish, record);
    } else if (record->target > record->done || record->unexplored) {
        drop_events(record); /* the read brings them: what waits for reads must not take the room that reads need */
        if (record->removals > 0) {
            record->place = BACKLOG_TO_REMOVE;
            backlog->urgent++;
        } else {
            put_to_read(backlog, record);
        }
    } else {
        record->place = BACKLOG_IDLE;
        if (is_done_with(record) && !backlog->is_sweeping) {
            forget(backlog, record);
        }
    }
}

/* ---- what waits ---- */

static void raise(uint64_t *number, uint64_t to)
{
    if (*number < to) {
        *number = to;
    }
}

static void insert(struct backlog_record *record, uint64_t version, bool lowest, const struct outbox_entry *entry,
                   const char *trace)
{
    if (lowest) {
        raise(&record->done, version - 1);
    }
    struct backlog_event **link = &record->first;
    while (*link != NULL && (*link)->version < version) {
        link = &(*link)->next;
    }
    if (*link != NULL && (*link)->version == version) {
        (*link)->lowest = (*link)->lowest || lowest;
        return;
    }
    struct backlog_event *event = xcalloc(1, sizeof(*event));
    event->version = version;
    event->lowest = lowest;
    text_copy_cut(event->subject, sizeof(event->subject), entry->subject);
    text_copy_cut(event->trace, sizeof(event->trace), trace);
    event->payload = xmemdup(entry->payload, entry->length);
    event->length = entry->length;
    event->next = *link;
    *link = event;
    record->backlog->bytes += event->length;
}

/* A record whose turn is not decided by others moves to where it belongs with what is known now. */
static void reconsider(struct backlog *backlog, struct backlog_record *record)
{
    if (record->place == BACKLOG_IDLE) {
        settle(backlog, record);
    }
}

bool backlog_add(struct backlog *backlog, const struct collection *collection, const struct record *written,
                 const struct outbox_entry *entry)
{
    struct backlog_record *record = find_or_make(backlog, collection, &written->id);
    if (record == NULL) {
        return false;
    }
    if (written->version <= record->done) {
        reconsider(backlog, record);
        return true; /* it was read from the store, and confirmed, before its writer came here */
    }
    raise(&record->target, written->version);
    bool is_read_anyway =
        record->place != BACKLOG_IDLE && record->place != BACKLOG_TO_PUBLISH && record->place != BACKLOG_PUBLISHING;
    if (!is_read_anyway && backlog->bytes + entry->length <= backlog->bytes_max) {
        insert(record, written->version, written->unconfirmed == written->version, entry, log_context_trace());
    }
    reconsider(backlog, record);
    return true;
}

bool backlog_add_swept(struct backlog *backlog, const struct outbox_item *item, bool *ret_is_news)
{
    struct backlog_record *record = find_or_make(backlog, item->collection, &item->id);
    *ret_is_news = false;
    if (record == NULL) {
        return false;
    }
    if (item->version <= record->done || item->version <= record->target) {
        return true;
    }
    *ret_is_news = true;
    raise(&record->target, item->version);
    record->unexplored = true; /* a sweep shows only the lowest */
    if (!record->swept) {
        record->swept = true;
        backlog->swept++;
    }
    if (record->place == BACKLOG_IDLE) {
        const struct outbox_entry entry = {.subject = item->subject, .payload = item->payload, .length = item->length};
        insert(record, item->version, true, &entry, "");
        settle(backlog, record);
    }
    return true;
}

/* ---- publishing ---- */

struct backlog_record *backlog_take_to_publish(struct backlog *backlog)
{
    struct backlog_record *record = list_take(&backlog->to_publish);
    if (record != NULL) {
        record->place = BACKLOG_PUBLISHING;
        raise(&record->done, record->first->version - 1); /* that is why it may go */
    }
    return record;
}

const struct backlog_event *backlog_event(const struct backlog_record *record)
{
    return record->first;
}

static void removal_put(struct backlog *backlog, const struct outbox_key *key)
{
    if (backlog->removal_count == backlog->removal_capacity) {
        size_t capacity = backlog->removal_capacity == 0 ? FIRST_REMOVALS : 2 * backlog->removal_capacity;
        struct outbox_key *keys = xcalloc(capacity, sizeof(*keys));
        for (size_t i = 0; i < backlog->removal_count; i++) {
            keys[i] = backlog->removals[(backlog->removal_first + i) % backlog->removal_capacity];
        }
        xfree(backlog->removals);
        backlog->removals = keys;
        backlog->removal_first = 0;
        backlog->removal_capacity = capacity;
    }
    size_t at = (backlog->removal_first + backlog->removal_count) % backlog->removal_capacity;
    backlog->removals[at] = *key;
    backlog->removal_count++;
}

void backlog_confirmed(struct backlog *backlog, struct backlog_record *record)
{
    assert(record->place == BACKLOG_PUBLISHING);
    raise(&record->done, record->first->version);
    const struct outbox_key key = {
        .collection = record->collection, .id = record->id, .version = record->first->version};
    removal_put(backlog, &key);
    record->removals++;
    drop_first(record);
    settle(backlog, record);
}

void backlog_failed(struct backlog *backlog, struct backlog_record *record)
{
    assert(record->place == BACKLOG_PUBLISHING);
    settle(backlog, record);
}

/* ---- reading ---- */

size_t backlog_read_bytes(const struct backlog *backlog)
{
    return backlog->bytes_max / READ_SHARE;
}

/* A read returns at least one event, of whatever size. */
static bool has_room(const struct backlog *backlog, size_t reads)
{
    size_t bytes_max = backlog->bytes_max + backlog->bytes_max / 3;
    return backlog->bytes == 0 || backlog->bytes + reads * backlog_read_bytes(backlog) + STORE_EVENT_MAX <= bytes_max;
}

bool backlog_can_sweep(const struct backlog *backlog)
{
    return has_room(backlog, SWEEP_READS) && hashmap_count(backlog->records) < backlog->records_max;
}

struct backlog_record *backlog_take_to_read(struct backlog *backlog)
{
    if (!has_room(backlog, 1)) {
        return NULL;
    }
    struct backlog_record *record = list_take(&backlog->to_read);
    if (record != NULL) {
        record->place = BACKLOG_READING;
        backlog->reads--;
        record->target_at_read = record->target;
    }
    return record;
}

void backlog_read(struct backlog *backlog, struct backlog_record *record, const struct outbox_page *page)
{
    assert(record->place == BACKLOG_READING);
    if (page == NULL) {
        put_to_read(backlog, record);
        return;
    }
    bool lowest = true;
    for (size_t i = 0; i < page->count; i++) {
        const struct outbox_item *item = &page->items[i];
        if (item->version <= record->done) {
            continue;
        }
        const struct outbox_entry entry = {.subject = item->subject, .payload = item->payload, .length = item->length};
        insert(record, item->version, lowest, &entry, "");
        raise(&record->target, item->version);
        lowest = false;
    }
    if (lowest && !page->more && record->done < record->target_at_read) {
        record->done = record->target_at_read; /* another instance published them */
    }
    record->unexplored = page->more;
    settle(backlog, record);
}

/* ---- removing ---- */

size_t backlog_take_removals(struct backlog *backlog, struct outbox_key *ret_keys, size_t limit)
{
    size_t count = 0;
    while (count < limit && backlog->removal_count > 0) {
        ret_keys[count++] = backlog->removals[backlog->removal_first];
        backlog->removal_first = (backlog->removal_first + 1) % backlog->removal_capacity;
        backlog->removal_count--;
    }
    backlog->removals_taken += count;
    return count;
}

void backlog_removed(struct backlog *backlog, const struct outbox_key *keys, size_t count)
{
    backlog->removals_taken -= count;
    for (size_t i = 0; i < count; i++) {
        struct backlog_record *record = find(backlog, keys[i].collection, &keys[i].id);
        assert(record != NULL && record->removals > 0);
        if (--record->removals > 0) {
            continue;
        }
        if (record->place == BACKLOG_TO_REMOVE) {
            backlog->urgent--;
            settle(backlog, record);
        } else if (is_done_with(record) && !backlog->is_sweeping) {
            forget(backlog, record);
        }
    }
}

void backlog_not_removed(struct backlog *backlog, const struct outbox_key *keys, size_t count)
{
    backlog->removals_taken -= count;
    for (size_t i = 0; i < count; i++) {
        removal_put(backlog, &keys[i]);
    }
}

/* ---- the whole ---- */

void backlog_sweep_begins(struct backlog *backlog)
{
    backlog->is_sweeping = true;
}

static void forget_if_done(const char *key UNUSED, void *value, void *context)
{
    if (is_done_with(value)) {
        forget(context, value);
    }
}

void backlog_sweep_ends(struct backlog *backlog)
{
    backlog->is_sweeping = false;
    hashmap_each(backlog->records, forget_if_done, backlog);
}

struct backlog_counts backlog_counts(const struct backlog *backlog)
{
    return (struct backlog_counts){
        .records = hashmap_count(backlog->records),
        .bytes = backlog->bytes,
        .removals = backlog->removal_count + backlog->removals_taken,
        .swept = backlog->swept,
        .urgent = backlog->urgent,
        .to_read = backlog->reads,
    };
}

struct backlog *backlog_new(size_t bytes_max, size_t records_max)
{
    struct backlog *backlog = xcalloc(1, sizeof(*backlog));
    backlog->bytes_max = bytes_max - bytes_max / 4; /* the rest is what reads may take */
    backlog->records_max = records_max;
    backlog->records = hashmap_new();
    list_init(&backlog->to_publish);
    list_init(&backlog->to_read);
    return backlog;
}

static void free_record(const char *key UNUSED, void *value, void *context UNUSED)
{
    struct backlog_record *record = value;
    drop_events(record);
    xfree(record);
}

void backlog_free(struct backlog **backlog)
{
    if (*backlog == NULL) {
        return;
    }
    hashmap_each((*backlog)->records, free_record, NULL);
    hashmap_free(&(*backlog)->records);
    xfree((*backlog)->removals);
    xfree(*backlog);
    *backlog = NULL;
}
