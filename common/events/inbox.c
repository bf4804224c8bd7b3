/* SPDX-License-Identifier: Apache-2.0
 * What comes to a shard from other threads. */
#include "common/events/inbox.h"

#include <assert.h>

#include "common/base/hashmap.h"
#include "common/base/memory.h"
#include "common/events/thread.h"

enum {
    INBOX_ARRIVALS_MAX = 4096,  /* queued, running and held */
    INBOX_BYTES_MAX = 16 << 20, /* of what the bus delivered for them; one is always taken */
    INBOX_NOTICES_MAX = 256,
};

struct kept_notice {
    enum notice_kind kind;
    struct notice notice;
};

struct inbox {
    pthread_mutex_t lock;
    pthread_cond_t came;
    struct hashmap *arrivals; /* by arrival_key */
    size_t bytes;
    struct arrival *first;
    struct arrival **end;
    struct kept_notice notices[INBOX_NOTICES_MAX]; /* a ring */
    size_t notice_first, notice_count;
    bool is_stopping;
};

struct inbox *inbox_new(void)
{
    struct inbox *inbox = xcalloc(1, sizeof(*inbox));
    pthread_mutex_init(&inbox->lock, NULL);
    condition_init(&inbox->came);
    inbox->arrivals = hashmap_new();
    inbox->end = &inbox->first;
    return inbox;
}

void inbox_free(struct inbox **inbox)
{
    if (*inbox == NULL) {
        return;
    }
    assert(hashmap_count((*inbox)->arrivals) == 0);
    hashmap_free(&(*inbox)->arrivals);
    pthread_cond_destroy(&(*inbox)->came);
    pthread_mutex_destroy(&(*inbox)->lock);
    xfree(*inbox);
    *inbox = NULL;
}

static bool has_room(const struct inbox *inbox, const struct arrival *arrival)
{
    size_t count = hashmap_count(inbox->arrivals);
    return !inbox->is_stopping &&
           (count == 0 || (count < INBOX_ARRIVALS_MAX && inbox->bytes + arrival->length <= INBOX_BYTES_MAX));
}

static void append(struct inbox *inbox, struct arrival *arrival)
{
    arrival->next = NULL;
    *inbox->end = arrival;
    inbox->end = &arrival->next;
}

void inbox_push(struct inbox *inbox, struct arrival *arrival)
{
    char key[ARRIVAL_KEY_SIZE];
    arrival_key(arrival, key);
    struct arrival *surplus = NULL;
    struct delivery *dropped = NULL;
    pthread_mutex_lock(&inbox->lock);
    struct arrival *known = hashmap_get(inbox->arrivals, key);
    if (known != NULL) {
        dropped = known->delivery;
        known->delivery = arrival->delivery;
        surplus = arrival;
    } else if (has_room(inbox, arrival)) {
        hashmap_put(inbox->arrivals, key, arrival);
        inbox->bytes += arrival->length;
        append(inbox, arrival);
        pthread_cond_signal(&inbox->came);
    } else {
        dropped = arrival->delivery;
        surplus = arrival;
    }
    pthread_mutex_unlock(&inbox->lock);
    if (dropped != NULL) {
        bus_drop(dropped);
    }
    if (surplus != NULL) {
        arrival_free(surplus);
    }
}

bool inbox_knows(struct inbox *inbox, const struct arrival *arrival)
{
    char key[ARRIVAL_KEY_SIZE];
    arrival_key(arrival, key);
    pthread_mutex_lock(&inbox->lock);
    bool is_known = hashmap_get(inbox->arrivals, key) != NULL;
    pthread_mutex_unlock(&inbox->lock);
    return is_known;
}

struct arrival *inbox_pop(struct inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    struct arrival *arrival = inbox->first;
    if (arrival != NULL) {
        inbox->first = arrival->next;
        if (inbox->first == NULL) {
            inbox->end = &inbox->first;
        }
        arrival->next = NULL;
    }
    pthread_mutex_unlock(&inbox->lock);
    return arrival;
}

void inbox_put_back(struct inbox *inbox, struct arrival *arrival)
{
    pthread_mutex_lock(&inbox->lock);
    arrival->next = inbox->first;
    inbox->first = arrival;
    if (arrival->next == NULL) {
        inbox->end = &arrival->next;
    }
    pthread_mutex_unlock(&inbox->lock);
}

bool inbox_push_notice(struct inbox *inbox, enum notice_kind kind, const struct notice *notice)
{
    pthread_mutex_lock(&inbox->lock);
    bool has_space = inbox->notice_count < INBOX_NOTICES_MAX;
    if (has_space) {
        size_t at = (inbox->notice_first + inbox->notice_count) % INBOX_NOTICES_MAX;
        inbox->notices[at] = (struct kept_notice){.kind = kind, .notice = *notice};
        inbox->notice_count++;
        pthread_cond_signal(&inbox->came);
    }
    pthread_mutex_unlock(&inbox->lock);
    return has_space;
}

bool inbox_pop_notice(struct inbox *inbox, enum notice_kind *ret_kind, struct notice *ret_notice)
{
    pthread_mutex_lock(&inbox->lock);
    bool found = inbox->notice_count > 0;
    if (found) {
        *ret_kind = inbox->notices[inbox->notice_first].kind;
        *ret_notice = inbox->notices[inbox->notice_first].notice;
        inbox->notice_first = (inbox->notice_first + 1) % INBOX_NOTICES_MAX;
        inbox->notice_count--;
    }
    pthread_mutex_unlock(&inbox->lock);
    return found;
}

struct delivery *inbox_borrow(struct inbox *inbox, struct arrival *arrival)
{
    pthread_mutex_lock(&inbox->lock);
    struct delivery *delivery = TAKE(arrival->delivery);
    pthread_mutex_unlock(&inbox->lock);
    return delivery;
}

void inbox_return(struct inbox *inbox, struct arrival *arrival, struct delivery *delivery)
{
    pthread_mutex_lock(&inbox->lock);
    bool is_newest = arrival->delivery == NULL;
    if (is_newest) {
        arrival->delivery = delivery;
    }
    pthread_mutex_unlock(&inbox->lock);
    if (!is_newest) {
        bus_drop(delivery);
    }
}

void inbox_end(struct inbox *inbox, struct arrival *arrival, bool acknowledge)
{
    char key[ARRIVAL_KEY_SIZE];
    arrival_key(arrival, key);
    pthread_mutex_lock(&inbox->lock);
    hashmap_remove(inbox->arrivals, key);
    inbox->bytes -= arrival->length;
    pthread_mutex_unlock(&inbox->lock);
    if (acknowledge) {
        bus_ack(arrival->delivery);
    } else {
        bus_drop(arrival->delivery);
    }
    arrival_free(arrival);
}

void inbox_stop(struct inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    inbox->is_stopping = true;
    pthread_cond_signal(&inbox->came);
    pthread_mutex_unlock(&inbox->lock);
}

bool inbox_wait(struct inbox *inbox, int64_t timeout_ms, bool for_what_came)
{
    pthread_mutex_lock(&inbox->lock);
    bool has_come = for_what_came && (inbox->notice_count > 0 || inbox->first != NULL);
    if (!inbox->is_stopping && !has_come && timeout_ms != 0) {
        condition_wait(&inbox->came, &inbox->lock, timeout_ms);
    }
    bool is_stopping = inbox->is_stopping;
    pthread_mutex_unlock(&inbox->lock);
    return is_stopping;
}
