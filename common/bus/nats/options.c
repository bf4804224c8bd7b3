/* SPDX-License-Identifier: Apache-2.0
 * How to connect to NATS, and what libnats reports of the connection. */
#include <stdio.h>
#include <string.h>

#include "common/bus/handle.h"
#include "common/bus/nats/plain.h"

enum {
    CONNECT_MS = 2000, /* for the NATS handshake */
    WRITE_MS = 2000,   /* for the server to take what is written */
    PINGS_MAX = 2,     /* unanswered ones */
    URL_MAX = sizeof("nats://[]:65535") + BUS_HOST_MAX,
};

void bus_nats_ended(natsConnection *nats, void *handle)
{
    struct bus_link *link;
    const void *object;
    const char *text;
    if (bus_handle_find(handle, &link, &object)) {
        bool stale = natsConnection_GetLastError(nats, &text) == NATS_STALE_CONNECTION;
        bus_link_lost(link, "%s", stale ? "the server does not answer any more" : "the server has closed it");
        bus_link_release(&link);
    }
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

natsStatus bus_nats_set_options(natsOptions *options, const struct bus_target *target, void *handle)
{
    char url[URL_MAX];
    bool is_ipv6 = strchr(target->host->name, ':') != NULL;
    snprintf(url, sizeof(url), is_ipv6 ? "nats://[%s]:%u" : "nats://%s:%u", target->host->name, target->host->port);
    natsStatus status = natsOptions_SetURL(options, url);
    if (status == NATS_OK && target->user[0] != '\0') {
        status = natsOptions_SetUserInfo(options, target->user, target->password);
    }
    status = status == NATS_OK ? natsOptions_SetTimeout(options, CONNECT_MS) : status;
    status = status == NATS_OK ? natsOptions_SetWriteDeadline(options, WRITE_MS) : status;
    status = status == NATS_OK ? natsOptions_SetPingInterval(options, BUS_NATS_PING_SECONDS * 1000) : status;
    status = status == NATS_OK ? natsOptions_SetMaxPingsOut(options, PINGS_MAX) : status;
    status = status == NATS_OK ? natsOptions_SetErrorHandler(options, on_error, handle) : status;
    return status;
}
