/* SPDX-License-Identifier: Apache-2.0
 * Looking for replicas of an earlier epoch, and asking their owner about them. */
#include "common/events/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/signals.h"

enum {
    LOOK_MS = 3000,    /* how often a look goes on */
    QUIET_MS = 8000,   /* it has not come further: the owner has nothing more to publish */
    PAGE_LIMIT = 300,  /* replicas that are looked at, and asked about, at once */
    PAGES_A_LOOK = 20, /* that have nothing in them; then others get their turn */
};

/* Of one collection of replicas. */
struct look {
    const struct listener *listener;
    uint64_t epoch;               /* that is looked for; 0: not begun */
    char after[STORE_CURSOR_MAX]; /* everything before it is of this epoch */
    struct id first;              /* of an earlier epoch, as it was last found; not set: none yet */
    int64_t first_since;
    bool is_over; /* the owner has published everything */
};

struct audit {
    struct store *store;
    struct bus *bus;
    struct look looks[LISTENERS_MAX];
    size_t count;
    int64_t look_at;
};

static void ask_owner(const struct audit *audit, const struct look *look, const struct id *id)
{
    struct ask ask = {.entity = look->listener->entity, .id = *id};
    char topic[BUS_SUBJECT_MAX];
    char text[ASK_TEXT_SIZE];
    random_hex(ask.nonce.hex, ID_LENGTH);
    snprintf(topic, sizeof(topic), "%s.ask", ask.entity->publisher);
    ask_print(&ask, text);
    bus_signal(audit->bus, topic, text, strlen(text));
}

static void ask_all(const struct audit *audit, const struct look *look, const struct page *page)
{
    size_t count = 0;
    for (size_t i = 0; i < page->count; i++) {
        if (page->heads[i].epoch < look->epoch) {
            ask_owner(audit, look, &page->heads[i].id);
            count++;
        }
    }
    log_info("Asking %s about %zu replica%s of an earlier epoch", look->listener->entity->publisher, count,
             count == 1 ? "" : "s");
}

static const struct id *first_earlier(const struct look *look, const struct page *page)
{
    for (size_t i = 0; i < page->count; i++) {
        if (page->heads[i].epoch < look->epoch) {
            return &page->heads[i].id;
        }
    }
    return NULL;
}

/* What to do about a page in which there are replicas of an earlier epoch, `first` being the first. */
static void stand(const struct audit *audit, struct look *look, const struct page *page, const struct id *first,
                  int64_t now)
{
    if (!id_equal(first, &look->first)) {
        look->first = *first;
        look->first_since = now;
    }
    look->is_over = look->is_over || now - look->first_since >= QUIET_MS;
    if (look->is_over) {
        ask_all(audit, look, page);
    }
}

static bool finish(const struct audit *audit, const struct look *look, struct error *error)
{
    char fact[STORE_FACT_NAME_MAX];
    snprintf(fact, sizeof(fact), "audited/%s", look->listener->collection->name);
    if (!store_fact_raise(audit->store, fact, (int64_t)look->epoch, error)) {
        return false;
    }
    log_info("All replicas of %s are of epoch %" PRIu64, look->listener->collection->name, look->epoch);
    return true;
}

static bool go_on(const struct audit *audit, struct look *look, int64_t now, struct error *error)
{
    for (unsigned pages = 0; pages < PAGES_A_LOOK; pages++) {
        const struct query query = {.after = look->after, .limit = PAGE_LIMIT};
        CLEANUP(page_done) struct page page = PAGE_INIT;
        if (!store_list(audit->store, look->listener->collection, &query, &page, error)) {
            return false;
        }
        const struct id *first = first_earlier(look, &page);
        if (first != NULL) {
            stand(audit, look, &page, first, now);
            return true;
        }
        if (!page.more) {
            return finish(audit, look, error);
        }
        text_copy_cut(look->after, sizeof(look->after), page.next);
    }
    return true;
}

/* Begins anew for a new epoch. */
static bool look_at(const struct audit *audit, struct look *look, int64_t now, struct error *error)
{
    char fact[STORE_FACT_NAME_MAX];
    int64_t epoch = 0, audited = 0;
    snprintf(fact, sizeof(fact), "epoch/%s", look->listener->collection->name);
    if (!store_fact_get(audit->store, fact, &epoch, error)) {
        return false;
    }
    snprintf(fact, sizeof(fact), "audited/%s", look->listener->collection->name);
    if (epoch > 0 && !store_fact_get(audit->store, fact, &audited, error)) {
        return false;
    }
    if (epoch <= audited) {
        return true;
    }
    if ((uint64_t)epoch != look->epoch) {
        *look = (struct look){.listener = look->listener, .epoch = (uint64_t)epoch};
    }
    return go_on(audit, look, now, error);
}

bool audit_step(struct audit *audit, int64_t now, struct error *error)
{
    if (now < audit->look_at || bus_state(audit->bus) != BUS_UP) {
        return true;
    }
    audit->look_at = now + LOOK_MS;
    for (size_t i = 0; i < audit->count; i++) {
        if (!look_at(audit, &audit->looks[i], now, error)) {
            return false;
        }
    }
    return true;
}

struct audit *audit_new(const struct listener *listeners, struct store *store, struct bus *bus)
{
    struct audit *audit = xcalloc(1, sizeof(*audit));
    audit->store = store;
    audit->bus = bus;
    for (const struct listener *listener = listeners; listener != NULL && listener->entity != NULL; listener++) {
        if (listener->effect == NULL) {
            audit->looks[audit->count++].listener = listener;
        }
    }
    return audit;
}

void audit_free(struct audit **audit)
{
    xfree(*audit);
    *audit = NULL;
}
