/* SPDX-License-Identifier: Apache-2.0
 * NATS JetStream as an engine of the bus: its table of functions. */
#include "common/bus/jetstream/jetstream.h"
#include "common/bus/names.h"

static const char *check_uri(const struct bus_uri *uri)
{
    if (uri->path[0] != '\0' && !bus_is_name(uri->path)) {
        return "the stream must be letters, digits, '_' or '-'";
    }
    if (uri->replicas > 0 && uri->replicas % 2 == 0) {
        return "replicas must be 1, 3 or 5";
    }
    return NULL;
}

const struct bus_driver bus_driver_jetstream = {
    .scheme = "nats",
    .form = "nats://[user:password@]host:port[,host:port...][/stream][?replicas=1|3|5]",
    .check_uri = check_uri,
    .connect = jetstream_connect,
    .disconnect = jetstream_disconnect,
    .find_positions = jetstream_find_positions,
    .subscribe = jetstream_subscribe,
    .listen = jetstream_listen,
    .publish = jetstream_publish,
    .acknowledge = jetstream_acknowledge,
    .drop = jetstream_drop,
    .extend = jetstream_extend,
    .signal = jetstream_signal,
    .message_free = jetstream_message_free,
    .tend = jetstream_tend,
};
