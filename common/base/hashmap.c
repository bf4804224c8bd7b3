/* SPDX-License-Identifier: Apache-2.0
 * A hash table with chains; it grows, and never shrinks. */
#include "common/base/hashmap.h"

#include <assert.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    FIRST_SLOTS = 16, /* a power of two, as every later size */
};

struct entry {
    struct entry *next;
    void *value;
    uint64_t hash;
    char key[];
};

struct hashmap {
    struct entry **slots;
    size_t slot_count;
    size_t count;
};

struct hashmap *hashmap_new(void)
{
    struct hashmap *map = xcalloc(1, sizeof *map);
    map->slot_count = FIRST_SLOTS;
    map->slots = xcalloc(map->slot_count, sizeof(struct entry *));
    return map;
}

void hashmap_free(struct hashmap **map)
{
    if (*map == NULL) {
        return;
    }
    for (size_t i = 0; i < (*map)->slot_count; i++) {
        struct entry *entry = (*map)->slots[i];
        while (entry != NULL) {
            struct entry *next = entry->next;
            xfree(entry);
            entry = next;
        }
    }
    xfree((*map)->slots);
    xfree(*map);
    *map = NULL;
}

/* The link that points to the key's entry, or to the NULL at the end of its chain. */
static struct entry **find(const struct hashmap *map, const char *key, uint64_t hash)
{
    struct entry **link = &map->slots[hash & (map->slot_count - 1)];
    while (*link != NULL && ((*link)->hash != hash || strcmp((*link)->key, key) != 0)) {
        link = &(*link)->next;
    }
    return link;
}

static void grow(struct hashmap *map)
{
    size_t slot_count = map->slot_count * 2;
    struct entry **slots = xcalloc(slot_count, sizeof(struct entry *));
    for (size_t i = 0; i < map->slot_count; i++) {
        struct entry *entry = map->slots[i];
        while (entry != NULL) {
            struct entry *next = entry->next;
            struct entry **slot = &slots[entry->hash & (slot_count - 1)];
            entry->next = *slot;
            *slot = entry;
            entry = next;
        }
    }
    xfree(map->slots);
    map->slots = slots;
    map->slot_count = slot_count;
}

void *hashmap_put(struct hashmap *map, const char *key, void *value)
{
    assert(value != NULL);
    size_t length = strlen(key);
    uint64_t hash = text_hash(key, length);
    struct entry **link = find(map, key, hash);
    if (*link != NULL) {
        void *previous = (*link)->value;
        (*link)->value = value;
        return previous;
    }
    struct entry *entry = xmalloc(sizeof *entry + length + 1);
    *entry = (struct entry){.value = value, .hash = hash};
    memcpy(entry->key, key, length + 1);
    *link = entry;
    map->count++;
    if (map->count > map->slot_count) {
        grow(map);
    }
    return NULL;
}

void *hashmap_get(const struct hashmap *map, const char *key)
{
    const struct entry *entry = *find(map, key, text_hash(key, strlen(key)));
    return entry != NULL ? entry->value : NULL;
}

void *hashmap_remove(struct hashmap *map, const char *key)
{
    struct entry **link = find(map, key, text_hash(key, strlen(key)));
    struct entry *entry = *link;
    if (entry == NULL) {
        return NULL;
    }
    void *value = entry->value;
    *link = entry->next;
    xfree(entry);
    map->count--;
    return value;
}

size_t hashmap_count(const struct hashmap *map)
{
    return map->count;
}

void hashmap_each(struct hashmap *map, void (*visit)(const char *key, void *value, void *context), void *context)
{
    for (size_t i = 0; i < map->slot_count; i++) {
        struct entry *entry = map->slots[i];
        while (entry != NULL) {
            struct entry *next = entry->next; /* the visitor may remove this one */
            visit(entry->key, entry->value, context);
            entry = next;
        }
    }
}
