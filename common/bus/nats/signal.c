/* SPDX-License-Identifier: Apache-2.0
 * Signals: plain NATS messages, beside those that an engine stores. */
#include <stdio.h>

#include "common/bus/handle.h"
#include "common/bus/nats/plain.h"

enum {
    SIGNAL_SUBJECT_MAX = sizeof("turnstile.signal..") + BUS_PATH_MAX + BUS_SUBJECT_MAX,
};

static void signal_subject(const struct bus_nats_signals *signals, const char *topic,
                           char ret_subject[static SIGNAL_SUBJECT_MAX])
{
    snprintf(ret_subject, SIGNAL_SUBJECT_MAX, "turnstile.signal.%s.%s", signals->scope, topic);
}

/* Runs on the subscription's own thread, possibly before natsConnection_Subscribe has returned. */
static void on_signal(natsConnection *nats UNUSED, natsSubscription *subscription UNUSED, natsMsg *message,
                      void *handle)
{
    struct bus_link *link;
    const void *listener;
    if (bus_handle_find(handle, &link, &listener)) {
        bus_link_signalled(link, listener, natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message));
        bus_link_release(&link);
    }
    natsMsg_Destroy(message);
}

void bus_nats_signals_init(struct bus_nats_signals *signals, natsConnection *nats, struct bus_link *link,
                           const char *scope)
{
    signals->nats = nats;
    signals->link = link;
    signals->scope = scope;
}

natsStatus bus_nats_listen(struct bus_nats_signals *signals, const struct bus_listener *listener)
{
    struct bus_nats_listener *made = &signals->listeners[listener->index];
    char subject[SIGNAL_SUBJECT_MAX];
    signal_subject(signals, listener->topic, subject);
    made->handle = bus_handle_new(signals->link, listener);
    natsStatus status = NATS_OK;
    if (listener->queue_group) {
        status = natsConnection_QueueSubscribe(&made->subscription, signals->nats, subject, listener->queue_group,
                                               on_signal, made->handle);
    } else {
        status = natsConnection_Subscribe(&made->subscription, signals->nats, subject, on_signal, made->handle);
    }
    if (status != NATS_OK) {
        bus_handle_free(made->handle);
        made->handle = NULL;
    }
    return status;
}

void bus_nats_signal(const struct bus_nats_signals *signals, const char *topic, const void *data, size_t length)
{
    char subject[SIGNAL_SUBJECT_MAX];
    signal_subject(signals, topic, subject);
    (void)natsConnection_Publish(signals->nats, subject, data, (int)length);
}

void bus_nats_signals_done(struct bus_nats_signals *signals)
{
    for (size_t i = 0; i < BUS_SUBSCRIPTIONS_MAX; i++) {
        bus_handle_free(signals->listeners[i].handle);
        natsSubscription_Destroy(signals->listeners[i].subscription);
    }
}
