/* SPDX-License-Identifier: Apache-2.0
 * A hash table from text keys to pointers. Not thread-safe: the owner locks, and bounds it. */
#ifndef TURNSTILE_BASE_HASHMAP_H
#define TURNSTILE_BASE_HASHMAP_H

#include "common/base/compiler.h"

struct hashmap;

struct hashmap *hashmap_new(void);
void hashmap_free(struct hashmap **map); /* not the values */
/* Copies the key; returns the value that it replaces, or NULL. `value` is not NULL. */
void *hashmap_put(struct hashmap *map, const char *key, void *value);
void *hashmap_get(const struct hashmap *map, const char *key);
void *hashmap_remove(struct hashmap *map, const char *key);
size_t hashmap_count(const struct hashmap *map);
/* Visits every entry in no order; the visitor may remove the entry it is given, and only that. */
void hashmap_each(struct hashmap *map, void (*visit)(const char *key, void *value, void *context), void *context);

#endif
