/* SPDX-License-Identifier: Apache-2.0
 * Receiving: from the driver to the receive functions, and back as an acknowledgement. */
#include "common/base/memory.h"
#include "common/bus/internal.h"
#include "common/bus/metrics.h"

const char *delivery_subject(const struct delivery *delivery)
{
    return delivery->desired->subscription.subject;
}

const char *delivery_data(const struct delivery *delivery)
{
    return delivery->data;
}

size_t delivery_length(const struct delivery *delivery)
{
    return delivery->length;
}

uint64_t delivery_sequence(const struct delivery *delivery)
{
    return delivery->sequence;
}

int64_t delivery_time(const struct delivery *delivery)
{
    return delivery->time;
}

bool delivery_redelivered(const struct delivery *delivery)
{
    return delivery->redelivered;
}

struct delivery *bus_delivery_new(struct bus_link *link, const struct bus_desired *desired)
{
    struct delivery *delivery = xcalloc(1, sizeof(*delivery));
    atomic_init(&delivery->references, 1);
    delivery->extension.item.kind = BUS_ITEM_EXTENSION;
    delivery->extension.delivery = delivery;
    delivery->link = bus_link_retain(link);
    delivery->desired = desired;
    return delivery;
}

void bus_delivery_release(struct delivery *delivery)
{
    if (atomic_fetch_sub(&delivery->references, 1) != 1) {
        return;
    }
    delivery->link->bus->driver->message_free(delivery->message);
    bus_link_release(&delivery->link);
    xfree(delivery);
}

/* Passes the caller's reference to the queue, if there is still somebody to tell. */
static void end_delivery(struct delivery *delivery, enum bus_item_kind kind)
{
    struct bus *bus = delivery->link->bus;
    pthread_mutex_lock(&bus->mutex);
    delivery->item.kind = kind;
    bool queued = bus_queue_add(delivery->link, &delivery->item);
    pthread_mutex_unlock(&bus->mutex);
    if (!queued) {
        bus_delivery_release(delivery);
    }
}

void bus_ack(struct delivery *delivery)
{
    bus_metrics_acknowledged(delivery_subject(delivery));
    end_delivery(delivery, BUS_ITEM_ACKNOWLEDGEMENT);
}

/* Gives back to the server what was not acknowledged. */
static void give_back(struct delivery *delivery)
{
    bus_metrics_dropped(delivery_subject(delivery));
    if (delivery->link->bus->driver->drop) {
        end_delivery(delivery, BUS_ITEM_DROP);
    } else {
        bus_delivery_release(delivery);
    }
}

void bus_drop(struct delivery *delivery)
{
    if (delivery->desired->subscription.acknowledge_by_engine) {
        bus_ack(delivery);
    } else {
        give_back(delivery);
    }
}

void bus_extend(struct delivery *delivery)
{
    struct bus *bus = delivery->link->bus;
    struct bus_extension *extension = &delivery->extension;
    if (!bus->driver->extend) {
        return;
    }
    pthread_mutex_lock(&bus->mutex);
    if (!extension->queued && bus_queue_add(delivery->link, &extension->item)) {
        extension->queued = true;
        atomic_fetch_add(&delivery->references, 1);
    }
    pthread_mutex_unlock(&bus->mutex);
}

struct delivery *bus_extension_end(struct bus_extension *extension)
{
    struct bus *bus = extension->delivery->link->bus;
    pthread_mutex_lock(&bus->mutex);
    extension->queued = false;
    pthread_mutex_unlock(&bus->mutex);
    return extension->delivery;
}

bool bus_may_receive(const struct bus_link *link)
{
    return link->phase != BUS_LINK_ENDED && !link->bus->receiving_stopped;
}

void bus_link_deliver(struct delivery *delivery)
{
    struct bus_link *link = bus_link_retain(delivery->link);
    struct bus *bus = link->bus;
    struct bus_desired *desired = bus->desired[delivery->desired->index];
    pthread_mutex_lock(&bus->mutex);
    /* The thread of the link before this one may not be back yet. */
    while (bus_may_receive(link) && desired->running) {
        pthread_cond_wait(&bus->idle, &bus->mutex);
    }
    bool wanted = bus_may_receive(link);
    if (wanted) {
        desired->running = true;
        bus->receiving++;
    }
    pthread_mutex_unlock(&bus->mutex);
    if (wanted) {
        bus_metrics_delivered(desired->subscription.subject);
        desired->receive(delivery, desired->context);
        pthread_mutex_lock(&bus->mutex);
        desired->running = false;
        bus->receiving--;
        pthread_cond_broadcast(&bus->idle);
        pthread_mutex_unlock(&bus->mutex);
    } else {
        give_back(delivery);
    }
    bus_link_release(&link);
}
