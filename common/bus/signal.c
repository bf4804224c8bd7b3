/* SPDX-License-Identifier: Apache-2.0
 * Signals: sending and receiving what may be lost. */
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/bus/internal.h"
#include "common/bus/names.h"

bool bus_on_signal(struct bus *bus, const char *topic, bus_signalled *receive, void *context, struct error *error)
{
    return bus_on_signal_shared(bus, topic, NULL, receive, context, error);
}

bool bus_on_signal_shared(struct bus *bus, const char *topic, const char *queue_group, bus_signalled *receive,
                          void *context, struct error *error)
{
    if (!bus_is_topic(topic)) {
        return error_set(error, ERROR_INVALID, "a topic must be 1 to %d of a-z, 0-9, '_', '-', with single dots within",
                         BUS_SUBJECT_MAX - 1);
    }
    if (queue_group && !bus_is_name(queue_group)) {
        return error_set(error, ERROR_INVALID, "a queue group must be 1 to %d letters, digits, '_' or '-'",
                         BUS_NAME_MAX - 1);
    }
    pthread_mutex_lock(&bus->mutex);
    bool accepted = bus->listener_count < BUS_SUBSCRIPTIONS_MAX && !bus->closing;
    if (accepted) {
        struct bus_listener *listener = xcalloc(1, sizeof(*listener));
        listener->index = bus->listener_count;
        listener->topic = xstrdup(topic);
        listener->queue_group = queue_group ? xstrdup(queue_group) : NULL;
        listener->receive = receive;
        listener->context = context;
        bus->listeners[bus->listener_count++] = listener;
        bus_wake_link(bus);
    }
    pthread_mutex_unlock(&bus->mutex);
    return accepted ||
           error_set(error, ERROR_UNAVAILABLE, "the event bus takes no more than %d listeners, and none once closing",
                     BUS_SUBSCRIPTIONS_MAX);
}

void bus_signal(struct bus *bus, const char *topic, const void *data, size_t length)
{
    if (!bus_is_topic(topic) || length > BUS_SIGNAL_MAX) {
        log_error("cannot signal %zu bytes on \"%s\": too long, or not a topic", length, topic);
        return;
    }
    struct bus_signal_item *signal = xmalloc(sizeof(*signal) + length);
    *signal = (struct bus_signal_item){.item.kind = BUS_ITEM_SIGNAL, .topic = xstrdup(topic), .length = length};
    if (length > 0) {
        memcpy(signal->data, data, length);
    }
    pthread_mutex_lock(&bus->mutex);
    struct bus_link *link = bus->link;
    bool queued = link && link->phase == BUS_LINK_UP && link->signals_queued < BUS_SIGNALS_QUEUED_MAX &&
                  bus_queue_add(link, &signal->item);
    if (queued) {
        link->signals_queued++;
    }
    pthread_mutex_unlock(&bus->mutex);
    if (!queued) {
        xfree(signal->topic);
        xfree(signal);
    }
}

void bus_link_signalled(struct bus_link *link, const struct bus_listener *listener, const void *data, size_t length)
{
    struct bus *bus = link->bus;
    pthread_mutex_lock(&bus->mutex);
    bool wanted = bus_may_receive(link);
    if (wanted) {
        bus->receiving++;
    }
    pthread_mutex_unlock(&bus->mutex);
    if (!wanted) {
        return;
    }
    listener->receive(data, length, listener->context);
    pthread_mutex_lock(&bus->mutex);
    bus->receiving--;
    pthread_cond_broadcast(&bus->idle);
    pthread_mutex_unlock(&bus->mutex);
}
