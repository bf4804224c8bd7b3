/* SPDX-License-Identifier: Apache-2.0
 * What a link is to send: queued by any thread, sent by the link's own, or thrown away with the link. */
#include "common/base/memory.h"
#include "common/bus/internal.h"

bool bus_queue_add(struct bus_link *link, struct bus_item *item)
{
    if (link->phase == BUS_LINK_ENDED || link->lost) {
        return false;
    }
    item->next = NULL;
    if (link->queue_end == &link->queue) {
        pthread_cond_signal(&link->wake);
    }
    *link->queue_end = item;
    link->queue_end = &item->next;
    return true;
}

struct bus_item *bus_queue_take(struct bus_link *link)
{
    struct bus_item *queue = link->queue;
    link->queue = NULL;
    link->queue_end = &link->queue;
    link->signals_queued = 0;
    return queue;
}

static void discard(struct bus_item *item)
{
    switch (item->kind) {
    case BUS_ITEM_PUBLICATION:
        bus_publication_confirmed((struct bus_publication *)item, false, 0);
        break;
    case BUS_ITEM_ACKNOWLEDGEMENT:
    case BUS_ITEM_DROP:
        bus_delivery_release((struct delivery *)item);
        break;
    case BUS_ITEM_EXTENSION:
        bus_delivery_release(bus_extension_end((struct bus_extension *)item));
        break;
    case BUS_ITEM_SIGNAL:
        xfree(((struct bus_signal_item *)item)->topic);
        xfree(item);
        break;
    }
}

void bus_queue_discard(struct bus_item *item)
{
    while (item) {
        struct bus_item *next = item->next;
        discard(item);
        item = next;
    }
}

static void send_publication(struct bus_link *link, struct bus_publication *publication)
{
    struct error error = ERROR_INIT;
    if (link->bus->driver->publish(link->connection, publication, &error)) {
        return;
    }
    if (error.code == ERROR_UNAVAILABLE) {
        bus_link_lost(link, "%s", error.message);
    } else {
        bus_link_complain(link, "cannot publish on %s: %s", publication->subject, error.message);
    }
    bus_publication_confirmed(publication, false, 0);
}

static void send_item(struct bus_link *link, struct bus_item *item)
{
    const struct bus_driver *driver = link->bus->driver;
    switch (item->kind) {
    case BUS_ITEM_PUBLICATION:
        send_publication(link, (struct bus_publication *)item);
        break;
    case BUS_ITEM_ACKNOWLEDGEMENT:
        driver->acknowledge(link->connection, (struct delivery *)item);
        discard(item);
        break;
    case BUS_ITEM_DROP:
        driver->drop(link->connection, (struct delivery *)item);
        discard(item);
        break;
    case BUS_ITEM_EXTENSION: {
        struct delivery *delivery = bus_extension_end((struct bus_extension *)item);
        driver->extend(link->connection, delivery);
        bus_delivery_release(delivery);
        break;
    }
    case BUS_ITEM_SIGNAL: {
        struct bus_signal_item *signal = (struct bus_signal_item *)item;
        driver->signal(link->connection, signal->topic, signal->data, signal->length);
        discard(item);
        break;
    }
    }
}

void bus_queue_send(struct bus_link *link, struct bus_item *item)
{
    while (item) {
        struct bus_item *next = item->next;
        if (bus_link_is_lost(link)) {
            bus_queue_discard(item);
            break;
        }
        bus_link_set_busy(link);
        send_item(link, item);
        item = next;
    }
    bus_link_set_free(link);
}
