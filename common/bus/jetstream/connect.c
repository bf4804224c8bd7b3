/* SPDX-License-Identifier: Apache-2.0
 * Connecting to NATS with JetStream, noticing that the connection is gone, and closing it. */
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/bus/handle.h"
#include "common/bus/jetstream/jetstream.h"
#include "common/bus/probe.h"

#define STREAM_DEFAULT "turnstile"

enum {
    CONNECT_MS = 2000, /* for the NATS handshake */
    WRITE_MS = 2000,   /* for the server to take what is written */
    PING_SECONDS = 5,
    PINGS_MAX = 2,   /* unanswered ones */
    FLUSH_MS = 1000, /* for the last acknowledgements to leave */
    URL_MAX = BUS_HOST_MAX + 32,
};

static void on_closed(natsConnection *nats, void *handle)
{
    struct bus_link *link;
    const void *object;
    const char *text;
    if (bus_handle_find(handle, &link, &object)) {
        bool stale = natsConnection_GetLastError(nats, &text) == NATS_STALE_CONNECTION;
        bus_link_lost(link, "%s", stale ? "the server does not answer any more" : "the server has closed it");
        bus_link_release(&link);
    }
    jetstream_request_broken(handle);
}

/* Without this handler libnats prints to stderr. */
static void on_error(natsConnection *nats, natsSubscription *subscription UNUSED, natsStatus status, void *handle)
{
    struct bus_link *link;
    const void *object;
    const char *text = NULL;
    if (bus_handle_find(handle, &link, &object)) {
        bool has_text = status == NATS_NOT_PERMITTED && natsConnection_GetLastError(nats, &text) == status && text;
        bus_link_complain(link, "NATS reports: %s", has_text ? text : natsStatus_GetText(status));
        bus_link_release(&link);
    }
}

/* Whatever breaks, the connection is closed and made anew, in one way for all engines. */
static natsStatus set_options(natsOptions *options, const struct jetstream_connection *connection)
{
    const struct bus_target *target = connection->target;
    char url[URL_MAX];
    bool is_ipv6 = strchr(target->host->name, ':') != NULL;
    snprintf(url, sizeof(url), is_ipv6 ? "nats://[%s]:%u" : "nats://%s:%u", target->host->name, target->host->port);
    natsStatus status = natsOptions_SetURL(options, url);
    if (status == NATS_OK && target->user[0] != '\0') {
        status = natsOptions_SetUserInfo(options, target->user, target->password);
    }
    status = status == NATS_OK ? natsOptions_SetName(options, target->client_id) : status;
    status = status == NATS_OK ? natsOptions_SetTimeout(options, CONNECT_MS) : status;
    status = status == NATS_OK ? natsOptions_SetWriteDeadline(options, WRITE_MS) : status;
    status = status == NATS_OK ? natsOptions_SetPingInterval(options, PING_SECONDS * 1000) : status;
    status = status == NATS_OK ? natsOptions_SetMaxPingsOut(options, PINGS_MAX) : status;
    status = status == NATS_OK ? natsOptions_SetAllowReconnect(options, false) : status;
    status = status == NATS_OK ? natsOptions_SetClosedCB(options, on_closed, connection->handle) : status;
    status = status == NATS_OK ? natsOptions_SetErrorHandler(options, on_error, connection->handle) : status;
    return status;
}

static bool open_connection(struct jetstream_connection *connection, struct error *error)
{
    const struct bus_host *host = connection->target->host;
    natsOptions *options = NULL;
    natsStatus status = natsOptions_Create(&options);
    status = status == NATS_OK ? set_options(options, connection) : status;
    status = status == NATS_OK ? natsConnection_Connect(&connection->nats, options) : status;
    natsOptions_Destroy(options);
    if (status != NATS_OK) {
        char what[URL_MAX + 32];
        snprintf(what, sizeof(what), "cannot connect to NATS at %s:%u", host->name, host->port);
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
    if (!bus_probe(target, error)) {
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
        bus_handle_free(connection->listeners[i].handle);
        natsSubscription_Destroy(connection->listeners[i].subscription);
    }
    natsSubscription_Destroy(connection->confirmations);
    natsSubscription_Destroy(connection->asking.subscription);
    natsConnection_Destroy(connection->nats);
    jetstream_publish_end(connection);
    xfree(connection->stream_text);
    bus_link_release(&connection->link);
    xfree(connection);
    nats_ReleaseThreadMemory();
}
