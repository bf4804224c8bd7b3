/* SPDX-License-Identifier: Apache-2.0
 * NATS Streaming as an engine of the bus: its table of functions, and its errors in words. */
#include <string.h>

#include "common/bus/stan/stan.h"

static const char *check_uri(const struct bus_uri *uri)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    if (uri->replicas > 0) {
        return "it takes no ?replicas=";
    }
    const char *path = uri->path;
    bool valid = path[0] != '\0' && path[strspn(path, allowed)] == '\0';
    return valid ? NULL : "the cluster id must be letters, digits, '_' or '-'";
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

const char *stan_last_error(natsStatus status)
{
    const char *text = nats_GetLastError(NULL);
    if (!text || text[0] == '\0') {
        return natsStatus_GetText(status);
    }
    /* libnats puts "(file:line): " in front. */
    const char *end = text[0] == '(' ? strstr(text, "): ") : NULL;
    return end ? end + strlen("): ") : text;
}

bool stan_fail(struct error *error, natsStatus status, const char *what)
{
    switch (status) {
    case NATS_ERR: {
        /* The server's own text, like "stan: invalid subject". */
        const char *text = stan_last_error(status);
        return error_set(error, stan_means_lost(text) ? ERROR_UNAVAILABLE : ERROR_CONFLICT, "%s: %s", what, text);
    }
    case NATS_INVALID_ARG:
    case NATS_INVALID_SUBJECT:
    case NATS_MAX_PAYLOAD:
        return error_set(error, ERROR_CONFLICT, "%s: %s", what, natsStatus_GetText(status));
    case NATS_INSUFFICIENT_BUFFER:
        /* What libnats says when there is no connection, and no buffer to wait for one in. */
        return error_set(error, ERROR_UNAVAILABLE, "%s: the server is not connected", what);
    case NATS_TIMEOUT:
        return error_set(error, ERROR_UNAVAILABLE, "%s: the server does not answer", what);
    default:
        return error_set(error, ERROR_UNAVAILABLE, "%s: %s", what, natsStatus_GetText(status));
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
