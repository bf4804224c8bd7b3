/* SPDX-License-Identifier: Apache-2.0
 * Receiving: from the driver to the receive functions, and back as an acknowledgement. */
#include "common/base/memory.h"
#include "common/bus/internal.h"

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
    delivery->item.kind = BUS_ITEM_ACKNOWLEDGEMENT;
    delivery->link = bus_link_retain(link);
    delivery->desired = desired;
    return delivery;
}

void bus_delivery_free(struct delivery *delivery)
{
    delivery->link->bus->driver->message_free(delivery->message);
    bus_link_release(&delivery->link);
    xfree(delivery);
}

void bus_ack(struct delivery *delivery)
{
    struct bus *bus = delivery->link->bus;
    pthread_mutex_lock(&bus->mutex);
    bool queued = bus_link_enqueue(delivery->link, &delivery->item);
    pthread_mutex_unlock(&bus->mutex);
    if (!queued) {
        bus_delivery_free(delivery);
    }
}

void bus_drop(struct delivery *delivery)
{
    if (delivery->desired->subscription.acknowledge_by_engine) {
        bus_ack(delivery);
    } else {
        bus_delivery_free(delivery);
    }
}

void bus_extend(struct delivery *delivery UNUSED)
{
    /* NATS Streaming has no such thing. */
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
        desired->receive(delivery, desired->context);
        pthread_mutex_lock(&bus->mutex);
        desired->running = false;
        bus->receiving--;
        pthread_cond_broadcast(&bus->idle);
        pthread_mutex_unlock(&bus->mutex);
    } else {
        bus_delivery_free(delivery);
    }
    bus_link_release(&link);
}
