/* SPDX-License-Identifier: Apache-2.0
 * Names for what callbacks work on: numbers, and the table that they are looked up in. */
#include "common/bus/handle.h"

#include <pthread.h>

#include "common/base/memory.h"
#include "common/bus/driver.h"

enum {
    BUCKETS = 64, /* a bus has one handle per subscription, listener and connection: chains stay short */
};

struct handle {
    struct handle *next;
    uintptr_t number;
    struct bus_link *link;
    const void *object;
};

/* Of the process, like the libraries' threads that use it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct handle *table[BUCKETS];
static uintptr_t last_number;

static struct handle **find(uintptr_t number)
{
    struct handle **place = &table[number % BUCKETS];
    while (*place && (*place)->number != number) {
        place = &(*place)->next;
    }
    return place;
}

void *bus_handle_new(struct bus_link *link, const void *object)
{
    struct handle *handle = xcalloc(1, sizeof(*handle));
    handle->link = bus_link_retain(link);
    handle->object = object;
    pthread_mutex_lock(&mutex);
    uintptr_t number = ++last_number;
    struct handle **bucket = &table[number % BUCKETS];
    handle->number = number;
    handle->next = *bucket;
    *bucket = handle;
    pthread_mutex_unlock(&mutex);
    return (void *)number;
}

bool bus_handle_find(const void *handle, struct bus_link **ret_link, const void **ret_object)
{
    pthread_mutex_lock(&mutex);
    struct handle *found = *find((uintptr_t)handle);
    if (found) {
        *ret_link = bus_link_retain(found->link);
        *ret_object = found->object;
    }
    pthread_mutex_unlock(&mutex);
    return found != NULL;
}

void bus_handle_free(const void *handle)
{
    pthread_mutex_lock(&mutex);
    struct handle **place = find((uintptr_t)handle);
    struct handle *found = *place;
    if (found) {
        *place = found->next;
    }
    pthread_mutex_unlock(&mutex);
    if (found) {
        bus_link_release(&found->link);
        xfree(found);
    }
}
