/* SPDX-License-Identifier: Apache-2.0
 * Connecting to NATS with JetStream, noticing that the connection is gone, and closing it. */
#include "common/base/memory.h"
#include "common/bus/handle.h"
#include "common/bus/jetstream/jetstream.h"

#define STREAM_DEFAULT "turnstile"

enum {
    FLUSH_MS = 1000, /* for the last acknowledgements to leave */
};

static void on_closed(natsConnection *nats, void *handle)
{
    bus_nats_ended(nats, handle);
    jetstream_request_broken(handle);
}

/* Whatever breaks, the connection is closed and made anew, in one way for all engines. */
static natsStatus set_options(natsOptions *options, const struct jetstream_connection *connection)
{
    natsStatus status = bus_nats_set_options(options, connection->target, connection->handle);
    status = status == NATS_OK ? natsOptions_SetName(options, connection->target->client_id) : status;
    status = status == NATS_OK ? natsOptions_SetAllowReconnect(options, false) : status;
    status = status == NATS_OK ? natsOptions_SetClosedCB(options, on_closed, connection->handle) : status;
    return status;
}

static bool open_connection(struct jetstream_connection *connection, struct error *error)
{
    natsOptions *options = NULL;
    natsStatus status = natsOptions_Create(&options);
    status = status == NATS_OK ? set_options(options, connection) : status;
    status = status == NATS_OK ? natsConnection_Connect(&connection->nats, options) : status;
    natsOptions_Destroy(options);
    if (status != NATS_OK) {
        char what[BUS_NATS_ATTEMPT_MAX];
        bus_nats_attempt(connection->target, what);
        return jetstream_fail(error, status, what);
    }
    return true;
}

/* The stream is asked for in any case, so that a server without JetStream, or of a cluster that has no leader yet,
 * counts as one that is not there. */
static bool begin(struct jetstream_connection *connection, struct error *error)
{
    const struct bus_host *host = connection->target->host;
    if (jetstream_request_begin(connection, error) && jetstream_prepare_stream(connection, error) &&
        jetstream_forget_ahead(connection, error)) {
        return jetstream_publish_begin(connection, error);
    }
    if (error->code == ERROR_NOT_FOUND) {
        return error_set(error, ERROR_UNAVAILABLE, "NATS at %s:%u has no JetStream: it has to be started with -js",
                         host->name, host->port);
    }
    return error_prefix(error, "cannot use JetStream at %s:%u", host->name, host->port);
}

bool jetstream_connect(struct bus_link *link, const struct bus_target *target, void **ret_connection,
                       struct error *error)
{
    if (!bus_nats_probe(target, error)) {
        return false;
    }
    struct jetstream_connection *connection = xcalloc(1, sizeof(*connection));
    connection->link = bus_link_retain(link);
    connection->target = target;
    connection->stream = target->path[0] != '\0' ? target->path : STREAM_DEFAULT;
    connection->handle = bus_handle_new(link, &connection->asking);
    if (!open_connection(connection, error) || !begin(connection, error)) {
        jetstream_disconnect(connection);
        return false;
    }
    bus_nats_signals_init(&connection->signals, connection->nats, connection->link, connection->stream);
    *ret_connection = connection;
    return true;
}

void jetstream_disconnect(void *pointer)
{
    struct jetstream_connection *connection = pointer;
    jetstream_request_end(connection);
    /* The order matters: close, free the subscriptions, free the connection. Closing keeps the consumers. */
    if (connection->nats) {
        (void)natsConnection_FlushTimeout(connection->nats, FLUSH_MS);
        natsConnection_Close(connection->nats);
    }
    for (size_t i = 0; i < BUS_SUBSCRIPTIONS_MAX; i++) {
        bus_handle_free(connection->subscriptions[i].handle);
        natsSubscription_Destroy(connection->subscriptions[i].subscription);
    }
    bus_nats_signals_done(&connection->signals);
    natsSubscription_Destroy(connection->confirmations);
    natsSubscription_Destroy(connection->asking.subscription);
    natsConnection_Destroy(connection->nats);
    jetstream_publish_end(connection);
    xfree(connection->stream_text);
    bus_link_release(&connection->link);
    xfree(connection);
    nats_ReleaseThreadMemory();
}
