/* SPDX-License-Identifier: Apache-2.0
 * Connecting to NATS Streaming, noticing that the connection is gone, and closing it.
 *
 * libnats would repair a broken NATS connection by itself, and the streaming layer would go on over it if the server
 * still knew the client. That is given up: whatever breaks, the connection is closed and made anew, since one way back
 * that is always taken is one that works. libnats 3.4.1 cannot be told not to try: it does so after a pause, and if it
 * is closed at the very moment it begins to pause, closing waits for the end of that. */
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/bus/handle.h"
#include "common/bus/stan/stan.h"

enum {
    REQUEST_MS = 3000,     /* for the answer to connect, subscribe and close requests */
    PUBLISH_ACK_MS = 5000, /* after which a publish counts as not stored */
    STREAMING_PINGS_MAX = 3,
    RECONNECT_MS = 500, /* see above: libnats may not get so far, but its closing may have to wait for this */
};

static void on_streaming_lost(stanConnection *streaming UNUSED, const char *reason, void *handle)
{
    struct bus_link *link;
    const void *object;
    if (bus_handle_find(handle, &link, &object)) {
        bus_link_lost(link, "%s", reason ? reason : "the streaming server does not answer any more");
        bus_link_release(&link);
    }
}

static natsStatus set_nats_options(natsOptions *options, const struct stan_connection *connection)
{
    natsStatus status = bus_nats_set_options(options, connection->target, connection->handle);
    status = status == NATS_OK ? natsOptions_SetReconnectWait(options, RECONNECT_MS) : status;
    status = status == NATS_OK ? natsOptions_SetReconnectJitter(options, 0, 0) : status;
    status = status == NATS_OK ? natsOptions_SetIgnoreDiscoveredServers(options, true) : status;
    status = status == NATS_OK ? natsOptions_SetFailRequestsOnDisconnect(options, true) : status;
    status = status == NATS_OK ? natsOptions_SetDisconnectedCB(options, bus_nats_ended, connection->handle) : status;
    return status;
}

static natsStatus set_streaming_options(stanConnOptions *options, const struct stan_connection *connection)
{
    natsStatus status = stanConnOptions_SetConnectionWait(options, REQUEST_MS);
    status = status == NATS_OK ? stanConnOptions_SetPubAckWait(options, PUBLISH_ACK_MS) : status;
    status = status == NATS_OK ? stanConnOptions_SetPings(options, BUS_NATS_PING_SECONDS, STREAMING_PINGS_MAX) : status;
    if (status == NATS_OK) {
        status = stanConnOptions_SetConnectionLostHandler(options, on_streaming_lost, connection->handle);
    }
    return status;
}

static natsStatus open_connection(struct stan_connection *connection)
{
    natsOptions *nats_options = NULL;
    stanConnOptions *options = NULL;
    natsStatus status = natsOptions_Create(&nats_options);
    status = status == NATS_OK ? set_nats_options(nats_options, connection) : status;
    status = status == NATS_OK ? stanConnOptions_Create(&options) : status;
    status = status == NATS_OK ? set_streaming_options(options, connection) : status;
    status = status == NATS_OK ? stanConnOptions_SetNATSOptions(options, nats_options) : status;
    if (status == NATS_OK) {
        status = stanConnection_Connect(&connection->streaming, connection->target->path, connection->target->client_id,
                                        options);
    }
    if (status == NATS_OK) {
        status = stanConnection_GetNATSConnection(connection->streaming, &connection->nats);
    }
    stanConnOptions_Destroy(options);
    natsOptions_Destroy(nats_options);
    return status;
}

static bool explain(const struct bus_target *target, natsStatus status, struct error *error)
{
    if (status == NATS_NO_RESPONDERS) {
        return error_set(error, ERROR_UNAVAILABLE,
                         "NATS at %s:%u answers, but there is no streaming server with cluster id \"%s\" behind it",
                         target->host->name, target->host->port, target->path);
    }
    if (status == NATS_ERR && strstr(bus_nats_last_error(status), "clientID already registered")) {
        return error_set(error, ERROR_UNAVAILABLE,
                         "client id \"%s\" is already in use on the bus by another process: each needs its own",
                         target->client_id);
    }
    char what[BUS_NATS_ATTEMPT_MAX];
    bus_nats_attempt(target, what);
    return stan_fail(error, status, what);
}

bool stan_connect(struct bus_link *link, const struct bus_target *target, void **ret_connection, struct error *error)
{
    if (!bus_nats_probe(target, error)) {
        return false;
    }
    struct stan_connection *connection = xcalloc(1, sizeof(*connection));
    connection->link = bus_link_retain(link);
    connection->target = target;
    connection->handle = bus_handle_new(link, NULL);
    natsStatus status = open_connection(connection);
    if (status != NATS_OK) {
        explain(target, status, error);
        stan_disconnect(connection);
        return false;
    }
    bus_nats_signals_init(&connection->signals, connection->nats, connection->link, target->path);
    *ret_connection = connection;
    return true;
}

void stan_disconnect(void *pointer)
{
    struct stan_connection *connection = pointer;
    bus_handle_free(connection->handle);
    /* The order matters: close, free the subscriptions, free the connection. Closing keeps durables. */
    natsStatus status = stanConnection_Close(connection->streaming);
    if (status != NATS_OK) {
        log_debug("the streaming server was not told goodbye: %s", natsStatus_GetText(status));
    }
    for (size_t i = 0; i < BUS_SUBSCRIPTIONS_MAX; i++) {
        bus_handle_free(connection->subscriptions[i].handle);
        stanSubscription_Destroy(connection->subscriptions[i].subscription);
    }
    for (size_t i = 0; i < BUS_POSITIONS_MAX; i++) {
        stanSubscription_Destroy(connection->probes[i]);
    }
    bus_nats_signals_done(&connection->signals);
    if (connection->nats) {
        stanConnection_ReleaseNATSConnection(connection->streaming);
    }
    stanConnection_Destroy(connection->streaming);
    bus_link_release(&connection->link);
    xfree(connection);
    nats_ReleaseThreadMemory();
}
