/* SPDX-License-Identifier: Apache-2.0
 * Failures of libnats in words. */
#include <stdio.h>
#include <string.h>

#include "common/bus/nats/plain.h"

void bus_nats_attempt(const struct bus_target *target, char ret_what[static BUS_NATS_ATTEMPT_MAX])
{
    snprintf(ret_what, BUS_NATS_ATTEMPT_MAX, "cannot connect to NATS at %s:%u", target->host->name, target->host->port);
}

const char *bus_nats_last_error(natsStatus status)
{
    natsStatus last_status = NATS_OK;
    const char *text = nats_GetLastError(&last_status);
    if (last_status != status || !text || text[0] == '\0') {
        return natsStatus_GetText(status);
    }
    /* libnats puts "(file:line): " in front. */
    const char *end = text[0] == '(' ? strstr(text, "): ") : NULL;
    return end ? end + strlen("): ") : text;
}

bool bus_nats_fail(struct error *error, natsStatus status, const char *what, const char *text)
{
    switch (status) {
    case NATS_INVALID_ARG:
    case NATS_INVALID_SUBJECT:
    case NATS_MAX_PAYLOAD:
        return error_set(error, ERROR_CONFLICT, "%s: %s", what, natsStatus_GetText(status));
    case NATS_INSUFFICIENT_BUFFER:
        /* What libnats says when there is no connection, and no buffer to wait for one in. */
        return error_set(error, ERROR_UNAVAILABLE, "%s: the server is not connected", what);
    default:
        return error_set(error, ERROR_UNAVAILABLE, "%s: %s", what, text);
    }
}
