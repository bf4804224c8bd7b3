/* SPDX-License-Identifier: Apache-2.0
 * The events that are held, by the record of ours that must change first. */
#include "common/events/held.h"

#include <string.h>

#include "common/base/hashmap.h"
#include "common/base/memory.h"

/* In a list, in the order in which they are to be looked at. */
struct held_record {
    struct held_record *previous, *next;
    char key[RECORD_KEY_SIZE];
    struct arrival *first; /* ascending */
    int64_t look_at;
};

struct held {
    struct hashmap *records; /* by key */
    struct held_record *first, *last;
    size_t count; /* events */
};

struct held *held_new(void)
{
    struct held *held = xcalloc(1, sizeof(*held));
    held->records = hashmap_new();
    return held;
}

void held_free(struct held **held)
{
    if (*held == NULL) {
        return;
    }
    hashmap_free(&(*held)->records);
    xfree(*held);
    *held = NULL;
}

static void append(struct held *held, struct held_record *record)
{
    record->previous = held->last;
    record->next = NULL;
    *(held->last != NULL ? &held->last->next : &held->first) = record;
    held->last = record;
}

static void unlink_record(struct held *held, struct held_record *record)
{
    *(record->previous != NULL ? &record->previous->next : &held->first) = record->next;
    *(record->next != NULL ? &record->next->previous : &held->last) = record->previous;
}

void held_put(struct held *held, struct arrival *arrival, int64_t look_at)
{
    char key[RECORD_KEY_SIZE];
    record_key(arrival->route->listener->collection, &arrival->own_id, key);
    struct held_record *record = hashmap_get(held->records, key);
    if (record == NULL) {
        record = xcalloc(1, sizeof(*record));
        memcpy(record->key, key, sizeof(key));
        record->look_at = look_at;
        hashmap_put(held->records, key, record);
        append(held, record);
    }
    struct arrival **link = &record->first;
    while (*link != NULL && (*link)->head.version <= arrival->head.version) {
        link = &(*link)->next;
    }
    arrival->next = *link;
    *link = arrival;
    held->count++;
}

static struct arrival *take(struct held *held, struct held_record *record)
{
    struct arrival *first = record->first;
    for (const struct arrival *arrival = first; arrival != NULL; arrival = arrival->next) {
        held->count--;
    }
    unlink_record(held, record);
    hashmap_remove(held->records, record->key);
    xfree(record);
    return first;
}

struct arrival *held_take(struct held *held, const char *key)
{
    struct held_record *record = hashmap_get(held->records, key);
    return record != NULL ? take(held, record) : NULL;
}

struct arrival *held_take_due(struct held *held, int64_t now)
{
    return held->first != NULL && held->first->look_at <= now ? take(held, held->first) : NULL;
}

struct arrival *held_take_any(struct held *held)
{
    return held->first != NULL ? take(held, held->first) : NULL;
}

size_t held_count(const struct held *held)
{
    return held->count;
}

int64_t held_look_at(const struct held *held)
{
    return held->first != NULL ? held->first->look_at : -1;
}

void held_each(struct held *held, void (*visit)(struct arrival *arrival, void *context), void *context)
{
    for (struct held_record *record = held->first; record != NULL; record = record->next) {
        for (struct arrival *arrival = record->first; arrival != NULL; arrival = arrival->next) {
            visit(arrival, context);
        }
    }
}
