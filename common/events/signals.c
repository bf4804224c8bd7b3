/* SPDX-License-Identifier: Apache-2.0
 * What instances of a service tell each other about held events. */
#include "common/events/signals.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/hashmap.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/arrival.h"

void notice_print(const struct notice *notice, char ret_text[static NOTICE_TEXT_SIZE])
{
    snprintf(ret_text, NOTICE_TEXT_SIZE, "%s %s %" PRIu64, notice->collection->name, notice->id.hex, notice->version);
}

static const struct collection *find_collection(const char *name, const struct collection *const *collections,
                                                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (text_equal(collections[i]->name, name)) {
            return collections[i];
        }
    }
    return NULL;
}

/* Cuts at the next space; NULL if there is none. */
static char *rest_of(char *text)
{
    char *space = strchr(text, ' ');
    if (space != NULL) {
        *space++ = '\0';
    }
    return space;
}

bool notice_parse(const void *data, size_t length, const struct collection *const *collections, size_t count,
                  struct notice *ret_notice)
{
    char text[NOTICE_TEXT_SIZE];
    if (length >= sizeof(text)) {
        return false;
    }
    memcpy(text, data, length);
    text[length] = '\0';
    char *id = rest_of(text);
    char *version = id != NULL ? rest_of(id) : NULL;
    struct notice notice = {.collection = find_collection(text, collections, count)};
    if (notice.collection == NULL || id == NULL || version == NULL ||
        strlen(version) != length - (size_t)(version - text) || !id_from_text(id, &notice.id) ||
        !text_to_uint64(version, RECORD_VERSION_MAX, &notice.version)) {
        return false;
    }
    *ret_notice = notice;
    return true;
}

/* ---- wanted ---- */

struct want {
    uint64_t version;
    int64_t ends;
};

struct wanted {
    struct hashmap *wants; /* by record */
    size_t limit;
    int64_t lifetime_ms;
};

struct wanted *wanted_new(size_t limit, int64_t lifetime_ms)
{
    struct wanted *wanted = xcalloc(1, sizeof(*wanted));
    wanted->wants = hashmap_new();
    wanted->limit = limit;
    wanted->lifetime_ms = lifetime_ms;
    return wanted;
}

static void free_want(const char *key UNUSED, void *value, void *context UNUSED)
{
    xfree(value);
}

void wanted_free(struct wanted **wanted)
{
    if (*wanted == NULL) {
        return;
    }
    hashmap_each((*wanted)->wants, free_want, NULL);
    hashmap_free(&(*wanted)->wants);
    xfree(*wanted);
    *wanted = NULL;
}

struct sweep {
    struct hashmap *wants;
    int64_t now;
};

static void remove_ended(const char *key, void *value, void *context)
{
    const struct sweep *sweep = context;
    const struct want *want = value;
    if (want->ends <= sweep->now) {
        hashmap_remove(sweep->wants, key);
        xfree(value);
    }
}

void wanted_add(struct wanted *wanted, const struct notice *notice, int64_t now)
{
    char key[RECORD_KEY_SIZE];
    record_key(notice->collection, &notice->id, key);
    struct want *want = hashmap_get(wanted->wants, key);
    if (want == NULL) {
        if (hashmap_count(wanted->wants) >= wanted->limit) {
            struct sweep sweep = {.wants = wanted->wants, .now = now};
            hashmap_each(wanted->wants, remove_ended, &sweep);
        }
        if (hashmap_count(wanted->wants) >= wanted->limit) {
            return; /* who lacks it looks by itself, only later */
        }
        want = xcalloc(1, sizeof(*want));
        want->version = notice->version;
        hashmap_put(wanted->wants, key, want);
    }
    if (notice->version < want->version) {
        want->version = notice->version;
    }
    want->ends = now + wanted->lifetime_ms;
}

bool wanted_take(struct wanted *wanted, const struct notice *notice, int64_t now)
{
    if (hashmap_count(wanted->wants) == 0) {
        return false;
    }
    char key[RECORD_KEY_SIZE];
    record_key(notice->collection, &notice->id, key);
    struct want *want = hashmap_get(wanted->wants, key);
    if (want == NULL || want->version > notice->version) {
        return false;
    }
    bool is_wanted = want->ends > now;
    hashmap_remove(wanted->wants, key);
    xfree(want);
    return is_wanted;
}

size_t wanted_count(const struct wanted *wanted)
{
    return hashmap_count(wanted->wants);
}
