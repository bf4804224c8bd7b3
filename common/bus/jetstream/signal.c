/* SPDX-License-Identifier: Apache-2.0
 * Signals beside JetStream: plain NATS messages. */
#include <stdio.h>

#include "common/bus/handle.h"
#include "common/bus/jetstream/jetstream.h"

enum {
    SIGNAL_SUBJECT_MAX = sizeof("turnstile.signal..") + BUS_PATH_MAX + BUS_SUBJECT_MAX,
};

/* The stream is in the subject, so that two systems on one NATS do not hear each other. */
static void signal_subject(const struct jetstream_connection *connection, const char *topic,
                           char ret_subject[static SIGNAL_SUBJECT_MAX])
{
    snprintf(ret_subject, SIGNAL_SUBJECT_MAX, "turnstile.signal.%s.%s", connection->stream, topic);
}

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

bool jetstream_listen(void *pointer, const struct bus_listener *listener, struct error *error)
{
    struct jetstream_connection *connection = pointer;
    struct jetstream_listener *made = &connection->listeners[listener->index];
    char subject[SIGNAL_SUBJECT_MAX];
    signal_subject(connection, listener->topic, subject);
    made->handle = bus_handle_new(connection->link, listener);
    natsStatus status = NATS_OK;
    if (listener->queue_group) {
        status = natsConnection_QueueSubscribe(&made->subscription, connection->nats, subject, listener->queue_group,
                                               on_signal, made->handle);
    } else {
        status = natsConnection_Subscribe(&made->subscription, connection->nats, subject, on_signal, made->handle);
    }
    if (status != NATS_OK) {
        bus_handle_free(made->handle);
        made->handle = NULL;
        return jetstream_fail(error, status, "cannot listen for signals");
    }
    return true;
}

void jetstream_signal(void *pointer, const char *topic, const void *data, size_t length)
{
    struct jetstream_connection *connection = pointer;
    char subject[SIGNAL_SUBJECT_MAX];
    signal_subject(connection, topic, subject);
    (void)natsConnection_Publish(connection->nats, subject, data, (int)length);
}
