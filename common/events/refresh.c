/* SPDX-License-Identifier: Apache-2.0
 * Asking owners to publish everything again, and noting that somebody asks. */
#include "common/events/refresh.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/wish.h"

enum {
    SIGNAL_MS = 2000, /* how often it is asked, until it is noted */
    HEARD_MAX = 16,   /* signals that wait for the thread; what is beyond is sent again by whoever asks */
    TEXT_SIZE = REFRESH_NAME_MAX + 1 + 20 + 1,
    TOPIC_SIZE = BUS_SUBJECT_MAX,
};

/* A signal: somebody asks, or an owner has noted what we asked. */
struct heard {
    bool is_answer;
    char name[REFRESH_NAME_MAX];
    int64_t moment;
};

struct refresh {
    struct refresh_config config;
    char asked[TOPIC_SIZE], noted[TOPIC_SIZE];
    const char *publishers[LISTENERS_MAX]; /* of what is copied here, each once */
    size_t publisher_count;
    int64_t signal_at; /* monotonic */

    pthread_mutex_t lock; /* of all below */
    struct heard heard[HEARD_MAX];
    size_t heard_count;
};

static void fact_name(const char *kind, const char *name, char ret_fact[static STORE_FACT_NAME_MAX])
{
    snprintf(ret_fact, STORE_FACT_NAME_MAX, "%s/%s", kind, name);
}

/* ---- signals ---- */

static bool is_name(const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return length > 0 && length < REFRESH_NAME_MAX && text[length] == '\0';
}

bool refresh_parse(const void *data, size_t length, char ret_name[static REFRESH_NAME_MAX], int64_t *ret_moment)
{
    char text[TEXT_SIZE];
    if (length >= sizeof(text) || memchr(data, '\0', length) != NULL) {
        return false;
    }
    memcpy(text, data, length);
    text[length] = '\0';
    char *space = strchr(text, ' ');
    if (space == NULL) {
        return false;
    }
    *space = '\0';
    int64_t moment = 0;
    if (!is_name(text) || !text_to_int64(space + 1, 1, INT64_MAX, &moment)) {
        return false;
    }
    *ret_moment = moment;
    return text_copy(ret_name, REFRESH_NAME_MAX, text);
}

static void hear(struct refresh *refresh, bool is_answer, const void *data, size_t length)
{
    struct heard heard = {.is_answer = is_answer};
    if (!refresh_parse(data, length, heard.name, &heard.moment)) {
        log_debug("A signal was not understood, and ignored");
        return;
    }
    pthread_mutex_lock(&refresh->lock);
    if (refresh->heard_count < HEARD_MAX) {
        refresh->heard[refresh->heard_count++] = heard;
    }
    pthread_mutex_unlock(&refresh->lock);
    refresh->config.heard(refresh->config.context);
}

static void on_asked(const void *data, size_t length, void *context)
{
    hear(context, false, data, length);
}

static void on_noted(const void *data, size_t length, void *context)
{
    hear(context, true, data, length);
}

static void send(const struct refresh *refresh, const char *to, const char *what, int64_t moment)
{
    char topic[TOPIC_SIZE];
    char text[TEXT_SIZE];
    snprintf(topic, sizeof(topic), "%s.%s", to, what);
    snprintf(text, sizeof(text), "%s %" PRId64, refresh->config.service, moment);
    bus_signal(refresh->config.bus, topic, text, strlen(text));
}

/* ---- what is due ---- */

/* Somebody asks: noted, unless it was noted before, and answered in any case. Any other moment is another wish, also an
 * earlier one: anyone on the bus can send anything, and must not keep a service from being heard. */
static bool note(struct refresh *refresh, const struct heard *heard, struct error *error)
{
    char fact[STORE_FACT_NAME_MAX];
    int64_t noted = 0;
    fact_name("refresh.noted", heard->name, fact);
    if (!store_fact_get(refresh->config.store, fact, &noted, error)) {
        return false;
    }
    if (noted != heard->moment) {
        bool is_replaced = false; /* not: another instance was faster */
        log_info("%s asks for everything to be published again", heard->name);
        if (!wish_make(refresh->config.store, WISH_ASKED, clock_now(refresh->config.clock), error) ||
            !store_fact_replace(refresh->config.store, fact, noted, heard->moment, &is_replaced, error)) {
            return false;
        }
    }
    send(refresh, heard->name, "republish.noted", heard->moment);
    return true;
}

/* An owner has noted what was asked of it; of anything that was not asked there is nothing to be said. */
static bool settle(struct refresh *refresh, const struct heard *heard, struct error *error)
{
    char fact[STORE_FACT_NAME_MAX];
    int64_t wanted = 0;
    bool is_known = false;
    for (size_t i = 0; i < refresh->publisher_count; i++) {
        is_known = is_known || text_equal(refresh->publishers[i], heard->name);
    }
    fact_name("refresh", heard->name, fact);
    if (is_known && !store_fact_get(refresh->config.store, fact, &wanted, error)) {
        return false;
    }
    if (heard->moment > wanted) {
        return true;
    }
    fact_name("refreshed", heard->name, fact);
    return store_fact_raise(refresh->config.store, fact, heard->moment, error);
}

/* What fails is not put back: whoever asks, asks again. */
static bool take_heard(struct refresh *refresh, struct error *error)
{
    struct heard heard[HEARD_MAX];
    pthread_mutex_lock(&refresh->lock);
    size_t count = refresh->heard_count;
    memcpy(heard, refresh->heard, count * sizeof(heard[0]));
    refresh->heard_count = 0;
    pthread_mutex_unlock(&refresh->lock);
    for (size_t i = 0; i < count; i++) {
        if (!(heard[i].is_answer ? settle(refresh, &heard[i], error) : note(refresh, &heard[i], error))) {
            return false;
        }
    }
    return true;
}

static bool ask(struct refresh *refresh, const char *publisher, struct error *error)
{
    char fact[STORE_FACT_NAME_MAX];
    int64_t wanted = 0, done = 0;
    fact_name("refresh", publisher, fact);
    if (!store_fact_get(refresh->config.store, fact, &wanted, error)) {
        return false;
    }
    fact_name("refreshed", publisher, fact);
    if (wanted > 0 && !store_fact_get(refresh->config.store, fact, &done, error)) {
        return false;
    }
    if (wanted > done) {
        send(refresh, publisher, "republish", wanted);
    }
    return true;
}

bool refresh_step(struct refresh *refresh, struct error *error)
{
    if (!take_heard(refresh, error)) {
        return false;
    }
    int64_t now = clock_monotonic(NULL);
    if (now < refresh->signal_at || bus_state(refresh->config.bus) != BUS_UP) {
        return true;
    }
    refresh->signal_at = now + SIGNAL_MS;
    for (size_t i = 0; i < refresh->publisher_count; i++) {
        if (!ask(refresh, refresh->publishers[i], error)) {
            return false;
        }
    }
    return true;
}

/* ---- the whole ---- */

/* Who publishes what is listened to; each once. That of effects too: from the present state they do what was undone. */
static size_t find_publishers(const struct listener *listeners, const char *ret_publishers[static LISTENERS_MAX])
{
    size_t count = 0;
    for (const struct listener *listener = listeners; listener != NULL && listener->entity != NULL; listener++) {
        bool is_new = listener->entity->table->versioned;
        for (size_t i = 0; i < count; i++) {
            is_new = is_new && !text_equal(ret_publishers[i], listener->entity->publisher);
        }
        if (is_new) {
            assert(count < LISTENERS_MAX);
            ret_publishers[count++] = listener->entity->publisher;
        }
    }
    return count;
}

bool refresh_wish(struct store *store, const struct listener *listeners, int64_t now, struct error *error)
{
    const char *publishers[LISTENERS_MAX];
    size_t count = find_publishers(listeners, publishers);
    for (size_t i = 0; i < count; i++) {
        char fact[STORE_FACT_NAME_MAX];
        int64_t before = 0; /* also larger than that if the clock was turned back */
        fact_name("refresh", publishers[i], fact);
        if (!store_fact_get(store, fact, &before, error) ||
            !store_fact_raise(store, fact, now > before ? now : before + 1, error)) {
            return false;
        }
    }
    return true;
}

bool refresh_new(const struct refresh_config *config, struct refresh **ret_refresh, struct error *error)
{
    struct refresh *refresh = xcalloc(1, sizeof(*refresh));
    refresh->config = *config;
    pthread_mutex_init(&refresh->lock, NULL);
    refresh->publisher_count = find_publishers(config->listeners, refresh->publishers);
    snprintf(refresh->asked, sizeof(refresh->asked), "%s.republish", config->service);
    snprintf(refresh->noted, sizeof(refresh->noted), "%s.republish.noted", config->service);
    *ret_refresh = refresh; /* freed by refresh_free in any case */
    return (!config->publishes ||
            bus_on_signal_shared(config->bus, refresh->asked, config->service, on_asked, refresh, error)) &&
           (refresh->publisher_count == 0 || bus_on_signal(config->bus, refresh->noted, on_noted, refresh, error));
}

void refresh_free(struct refresh **refresh)
{
    if (*refresh == NULL) {
        return;
    }
    pthread_mutex_destroy(&(*refresh)->lock);
    xfree(*refresh);
    *refresh = NULL;
}
