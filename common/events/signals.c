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

/* Copies and cuts it into exactly so many words. */
static bool split(const void *data, size_t length, char *text, size_t size, char **ret_words, size_t count)
{
    if (length >= size || memchr(data, '\0', length) != NULL) {
        return false;
    }
    memcpy(text, data, length);
    text[length] = '\0';
    char *rest = text;
    for (size_t i = 0; i < count; i++) {
        if (rest == NULL) {
            return false;
        }
        ret_words[i] = rest;
        rest = rest_of(rest);
    }
    return rest == NULL;
}

bool notice_parse(const void *data, size_t length, const struct collection *const *collections, size_t count,
                  struct notice *ret_notice)
{
    enum { WORDS = 3 };
    char text[NOTICE_TEXT_SIZE];
    char *words[WORDS];
    if (!split(data, length, text, sizeof(text), words, WORDS)) {
        return false;
    }
    struct notice notice = {.collection = find_collection(words[0], collections, count)};
    if (notice.collection == NULL || !id_from_text(words[1], &notice.id) ||
        !text_to_uint64(words[2], RECORD_VERSION_MAX, &notice.version)) {
        return false;
    }
    *ret_notice = notice;
    return true;
}

/* ---- asks and answers ---- */

void ask_print(const struct ask *ask, char ret_text[static ASK_TEXT_SIZE])
{
    snprintf(ret_text, ASK_TEXT_SIZE, "%s %s %s", ask->entity->name, ask->id.hex, ask->nonce.hex);
}

void answer_print(const struct ask *answer, char ret_text[static ASK_TEXT_SIZE])
{
    snprintf(ret_text, ASK_TEXT_SIZE, "%s %s %s %" PRIu64 " %" PRIu64, answer->entity->name, answer->id.hex,
             answer->nonce.hex, answer->version, answer->epoch);
}

static bool parse_question(char *const *words, const struct entity *const *entities, size_t count, struct ask *ret_ask)
{
    for (size_t i = 0; i < count; i++) {
        if (text_equal(entities[i]->name, words[0])) {
            *ret_ask = (struct ask){.entity = entities[i]};
            return id_from_text(words[1], &ret_ask->id) && id_from_text(words[2], &ret_ask->nonce);
        }
    }
    return false;
}

bool ask_parse(const void *data, size_t length, const struct entity *const *entities, size_t count, struct ask *ret_ask)
{
    enum { WORDS = 3 };
    char text[ASK_TEXT_SIZE];
    char *words[WORDS];
    struct ask ask;
    if (!split(data, length, text, sizeof(text), words, WORDS) || !parse_question(words, entities, count, &ask)) {
        return false;
    }
    *ret_ask = ask;
    return true;
}

bool answer_parse(const void *data, size_t length, const struct entity *const *entities, size_t count,
                  struct ask *ret_answer)
{
    enum { WORDS = 5 };
    char text[ASK_TEXT_SIZE];
    char *words[WORDS];
    struct ask answer;
    if (!split(data, length, text, sizeof(text), words, WORDS) || !parse_question(words, entities, count, &answer) ||
        !text_to_uint64(words[3], RECORD_VERSION_MAX, &answer.version) ||
        !text_to_uint64(words[4], RECORD_VERSION_MAX, &answer.epoch)) {
        return false;
    }
    *ret_answer = answer;
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
