/* SPDX-License-Identifier: Apache-2.0
 * NATS Streaming as an engine of the bus: its table of functions, and its errors in words. */
#include <string.h>

#include "common/bus/names.h"
#include "common/bus/stan/stan.h"

static const char *check_uri(const struct bus_uri *uri)
{
    if (uri->replicas > 0) {
        return "it takes no ?replicas=";
    }
    return bus_is_name(uri->path) ? NULL : "the cluster id must be letters, digits, '_' or '-'";
}

bool stan_means_lost(const char *server_text)
{
    static const char *const texts[] = {
        "invalid publish request",
        "unknown clientID",
        "client has been replaced or is no longer registered",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        if (strstr(server_text, texts[i])) {
            return true;
        }
    }
    return false;
}

bool stan_fail(struct error *error, natsStatus status, const char *what)
{
    switch (status) {
    case NATS_ERR: {
        /* The server's own text, like "stan: invalid subject". */
        const char *text = bus_nats_last_error(status);
        return error_set(error, stan_means_lost(text) ? ERROR_UNAVAILABLE : ERROR_CONFLICT, "%s: %s", what, text);
    }
    case NATS_TIMEOUT:
        return error_set(error, ERROR_UNAVAILABLE, "%s: the server does not answer", what);
    default:
        return bus_nats_fail(error, status, what, natsStatus_GetText(status));
    }
}

const struct bus_driver bus_driver_stan = {
    .scheme = "stan",
    .form = "stan://[user:password@]host:port[,host:port...]/cluster-id",
    .check_uri = check_uri,
    .connect = stan_connect,
    .disconnect = stan_disconnect,
    .find_positions = stan_find_positions,
    .subscribe = stan_subscribe,
    .listen = stan_listen,
    .publish = stan_publish,
    .acknowledge = stan_acknowledge,
    .signal = stan_signal,
    .message_free = stan_message_free,
};
