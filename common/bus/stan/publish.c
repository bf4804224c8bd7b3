/* SPDX-License-Identifier: Apache-2.0
 * Publishing to NATS Streaming. */
#include "common/bus/stan/stan.h"

/* Runs on libnats' acknowledgement thread or, on timeout and closing, on its timer thread. */
static void on_acknowledged(const char *guid UNUSED, const char *text, void *closure)
{
    struct bus_publication *publication = closure;
    if (text && stan_means_lost(text)) {
        bus_link_lost(publication->link, "the streaming server does not know this client any more (%s)", text);
    } else if (text) {
        bus_link_complain(publication->link, "a message on %s was not confirmed: %s", publication->subject, text);
    }
    bus_publication_confirmed(publication, text == NULL, 0);
}

bool stan_publish(void *pointer, struct bus_publication *publication, struct error *error)
{
    struct stan_connection *connection = pointer;
    natsStatus status = stanConnection_PublishAsync(connection->streaming, publication->subject, publication->data,
                                                    (int)publication->length, on_acknowledged, publication);
    return status == NATS_OK || stan_fail(error, status, "cannot publish");
}
