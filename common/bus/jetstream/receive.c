/* SPDX-License-Identifier: Apache-2.0
 * Receiving from JetStream: subscriptions, what comes with a message, and acknowledgements, which are messages to the
 * subject that each message names for that; and signals beside it. */
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/bus/handle.h"
#include "common/bus/jetstream/jetstream.h"

enum {
    TOKENS_MAX = 16,   /* of an acknowledgement's subject; the newest form has 12 */
    TOKEN_MAX = 24,    /* bytes of a number there, with the NUL */
    DROPPED_MS = 1000, /* before what was dropped is delivered again */
};

/* ---- what comes with a message ---- */

struct metadata {
    uint64_t deliveries, sequence, time;
};

static bool parse_token(const char *token, uint64_t *ret_number)
{
    char text[TOKEN_MAX];
    size_t length = strcspn(token, ".");
    if (length >= sizeof(text)) {
        return false;
    }
    memcpy(text, token, length);
    text[length] = '\0';
    return text_to_uint64(text, UINT64_MAX, ret_number);
}

/* $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time in ns>.<pending>, or, of a
 * server that knows domains, with a domain and an account behind ACK, and maybe a token at the end. */
static bool parse_metadata(const char *reply, struct metadata *ret_metadata)
{
    const char *tokens[TOKENS_MAX];
    size_t count = 0;
    if (!reply || !text_starts_with(reply, "$JS.ACK.")) {
        return false;
    }
    for (const char *at = reply; at && count < TOKENS_MAX; at = strchr(at, '.'), at = at ? at + 1 : NULL) {
        tokens[count++] = at;
    }
    size_t first = count == 9 ? 4 : 6;
    return count >= 9 && count != 10 && parse_token(tokens[first], &ret_metadata->deliveries) &&
           parse_token(tokens[first + 1], &ret_metadata->sequence) &&
           parse_token(tokens[first + 3], &ret_metadata->time);
}

/* Runs on the subscription's own thread, possibly before natsConnection_Subscribe has returned. */
static void on_message(natsConnection *nats UNUSED, natsSubscription *subscription UNUSED, natsMsg *message,
                       void *handle)
{
    struct bus_link *link;
    const void *desired;
    struct metadata metadata;
    if (!parse_metadata(natsMsg_GetReply(message), &metadata) || !bus_handle_find(handle, &link, &desired)) {
        natsMsg_Destroy(message); /* not one that JetStream has stored, or of an older connection */
        return;
    }
    struct delivery *delivery = bus_delivery_new(link, desired);
    delivery->message = message;
    delivery->data = natsMsg_GetData(message); /* libnats puts a NUL behind it */
    delivery->length = (size_t)natsMsg_GetDataLength(message);
    delivery->sequence = metadata.sequence;
    delivery->time = (int64_t)(metadata.time / BUS_NATS_NANOSECONDS_PER_MS);
    delivery->redelivered = metadata.deliveries > 1;
    bus_link_deliver(delivery);
    bus_link_release(&link);
}

/* Whether another subscription of this connection has the same: the server is slow to notice that itself. */
static bool has_consumer(const struct jetstream_connection *connection, const struct jetstream_subscription *wanted)
{
    for (size_t i = 0; i < BUS_SUBSCRIPTIONS_MAX; i++) {
        const struct jetstream_subscription *other = &connection->subscriptions[i];
        if (other != wanted && other->subscription && text_equal(other->consumer, wanted->consumer)) {
            return true;
        }
    }
    return false;
}

bool jetstream_subscribe(void *pointer, const struct bus_desired *desired, struct error *error)
{
    struct jetstream_connection *connection = pointer;
    const struct subscription *subscription = &desired->subscription;
    struct jetstream_subscription *made = &connection->subscriptions[desired->index];
    CLEANUP(free_pointer) char *deliver_subject = NULL;
    made->consumer[0] = '\0';
    if (!jetstream_ensure_subject(connection, subscription->subject, error) ||
        !jetstream_ensure_consumer(connection, subscription, made->consumer, &deliver_subject, error)) {
        return false;
    }
    if (!subscription->queue_group && has_consumer(connection, made)) {
        return error_set(error, ERROR_CONFLICT, "the durable \"%s\" is in use", made->consumer);
    }
    made->handle = bus_handle_new(connection->link, desired);
    natsStatus status = NATS_OK;
    if (subscription->queue_group) {
        status = natsConnection_QueueSubscribe(&made->subscription, connection->nats, deliver_subject,
                                               subscription->queue_group, on_message, made->handle);
    } else {
        status =
            natsConnection_Subscribe(&made->subscription, connection->nats, deliver_subject, on_message, made->handle);
    }
    if (status != NATS_OK) {
        bus_handle_free(made->handle);
        made->handle = NULL;
        return jetstream_fail(error, status, "cannot subscribe");
    }
    /* So that the server knows of it when it counts as made. If it does not answer, the pings will tell. */
    (void)natsConnection_FlushTimeout(connection->nats, JETSTREAM_LOOK_MS);
    return true;
}

/* ---- what becomes of it ---- */

static void answer(struct jetstream_connection *connection, const struct delivery *delivery, const char *text)
{
    /* If it fails the connection is on its way out. */
    (void)natsConnection_PublishString(connection->nats, natsMsg_GetReply(delivery->message), text);
}

void jetstream_acknowledge(void *connection, const struct delivery *delivery)
{
    answer(connection, delivery, "+ACK");
}

void jetstream_drop(void *connection, const struct delivery *delivery)
{
    char text[sizeof("-NAK {\"delay\":}") + TOKEN_MAX];
    snprintf(text, sizeof(text), "-NAK {\"delay\":%lld}", (long long)DROPPED_MS * BUS_NATS_NANOSECONDS_PER_MS);
    answer(connection, delivery, text);
}

void jetstream_extend(void *connection, const struct delivery *delivery)
{
    answer(connection, delivery, "+WPI");
}

void jetstream_message_free(void *message)
{
    natsMsg_Destroy(message);
}

/* ---- signals ---- */

bool jetstream_listen(void *pointer, const struct bus_listener *listener, struct error *error)
{
    struct jetstream_connection *connection = pointer;
    natsStatus status = bus_nats_listen(&connection->signals, listener);
    return status == NATS_OK || jetstream_fail(error, status, "cannot listen for signals");
}

void jetstream_signal(void *pointer, const char *topic, const void *data, size_t length)
{
    struct jetstream_connection *connection = pointer;
    bus_nats_signal(&connection->signals, topic, data, length);
}
