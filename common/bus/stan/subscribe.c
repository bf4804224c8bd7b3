/* SPDX-License-Identifier: Apache-2.0
 * Receiving from NATS Streaming: subscriptions and acknowledgements; and signals. */
#include "common/bus/handle.h"
#include "common/bus/stan/stan.h"

/* Runs on the subscription's own thread, possibly before stanConnection_Subscribe has returned. */
static void on_message(stanConnection *streaming UNUSED, stanSubscription *subscription UNUSED,
                       const char *channel UNUSED, stanMsg *message, void *handle)
{
    struct bus_link *link;
    const void *desired;
    if (!bus_handle_find(handle, &link, &desired)) {
        stanMsg_Destroy(message);
        return;
    }
    struct delivery *delivery = bus_delivery_new(link, desired);
    delivery->message = message;
    delivery->data = stanMsg_GetData(message); /* libnats puts a NUL behind it */
    delivery->length = (size_t)stanMsg_GetDataLength(message);
    delivery->sequence = stanMsg_GetSequence(message);
    delivery->time = stanMsg_GetTimestamp(message) / BUS_NATS_NANOSECONDS_PER_MS;
    delivery->redelivered = stanMsg_IsRedelivered(message);
    bus_link_deliver(delivery);
    bus_link_release(&link);
}

static natsStatus set_start(stanSubOptions *options, const struct subscription *subscription)
{
    switch (subscription->start) {
    case BUS_START_NEW:
        return NATS_OK;
    case BUS_START_ALL:
        return stanSubOptions_DeliverAllAvailable(options);
    case BUS_START_LAST_RECEIVED:
        return stanSubOptions_StartWithLastReceived(options);
    case BUS_START_SEQUENCE:
        return stanSubOptions_StartAtSequence(options, subscription->start_sequence);
    case BUS_START_TIME:
        return stanSubOptions_StartAtTime(options, subscription->start_time);
    }
    return NATS_INVALID_ARG;
}

static natsStatus set_options(stanSubOptions *options, const struct subscription *subscription)
{
    natsStatus status = set_start(options, subscription);
    if (status == NATS_OK && subscription->durable) {
        status = stanSubOptions_SetDurableName(options, subscription->durable);
    }
    status = status == NATS_OK ? stanSubOptions_SetAckWait(options, subscription->ack_wait_ms) : status;
    status = status == NATS_OK ? stanSubOptions_SetMaxInflight(options, (int)subscription->in_flight) : status;
    /* Always by hand: libnats would acknowledge also what is not handed over any more while the bus is closing. */
    status = status == NATS_OK ? stanSubOptions_SetManualAckMode(options, true) : status;
    return status;
}

bool stan_subscribe(void *pointer, const struct bus_desired *desired, struct error *error)
{
    struct stan_connection *connection = pointer;
    const struct subscription *subscription = &desired->subscription;
    struct stan_subscription *made = &connection->subscriptions[desired->index];
    stanSubOptions *options = NULL;
    made->handle = bus_handle_new(connection->link, desired);
    natsStatus status = stanSubOptions_Create(&options);
    status = status == NATS_OK ? set_options(options, subscription) : status;
    if (status == NATS_OK && subscription->queue_group) {
        status = stanConnection_QueueSubscribe(&made->subscription, connection->streaming, subscription->subject,
                                               subscription->queue_group, on_message, made->handle, options);
    } else if (status == NATS_OK) {
        status = stanConnection_Subscribe(&made->subscription, connection->streaming, subscription->subject, on_message,
                                          made->handle, options);
    }
    stanSubOptions_Destroy(options);
    if (status != NATS_OK) {
        bus_handle_free(made->handle);
        made->handle = NULL;
        return stan_fail(error, status, "cannot subscribe");
    }
    return true;
}

void stan_acknowledge(void *pointer, const struct delivery *delivery)
{
    struct stan_connection *connection = pointer;
    stanSubscription *subscription = connection->subscriptions[delivery->desired->index].subscription;
    if (subscription) {
        /* If it fails the connection is on its way out. */
        (void)stanSubscription_AckMsg(subscription, delivery->message);
    }
}

void stan_message_free(void *message)
{
    stanMsg_Destroy(message);
}

/* ---- signals ---- */

bool stan_listen(void *pointer, const struct bus_listener *listener, struct error *error)
{
    struct stan_connection *connection = pointer;
    natsStatus status = bus_nats_listen(&connection->signals, listener);
    return status == NATS_OK || stan_fail(error, status, "cannot listen for signals");
}

void stan_signal(void *pointer, const char *topic, const void *data, size_t length)
{
    struct stan_connection *connection = pointer;
    bus_nats_signal(&connection->signals, topic, data, length);
}
