/* SPDX-License-Identifier: Apache-2.0
 * Events that arrived: from what the bus delivered to structs. */
#include "common/events/arrival.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"

static bool parse(struct arrival *arrival, struct error *error)
{
    const struct subject *subject = arrival->route->subject;
    if (arrival->length > EVENT_PAYLOAD_MAX) {
        return error_set(error, ERROR_INVALID, "larger than %d bytes", EVENT_PAYLOAD_MAX);
    }
    struct field_errors errors = FIELD_ERRORS_INIT;
    if (!message_parse(subject, delivery_data(arrival->delivery), arrival->length, &arrival->head, arrival->value,
                       &arrival->meta, &errors)) {
        return field_errors_to_error(&errors, error);
    }
    return true;
}

static struct id own_id(const struct arrival *arrival)
{
    const struct listener *listener = arrival->route->listener;
    if (listener->effect == NULL) {
        return arrival->head.id;
    }
    /* Of a snapshot of version 0 the value is zeroed: no id. */
    return *(const struct id *)(const void *)((const char *)arrival->value + listener->own_id);
}

struct arrival *arrival_new(struct route *route, struct delivery *delivery)
{
    struct arrival *arrival = xcalloc(1, sizeof(*arrival));
    arrival->route = route;
    arrival->delivery = delivery;
    arrival->sequence = delivery_sequence(delivery);
    arrival->length = delivery_length(delivery);
    arrival->digest = text_hash(delivery_data(delivery), arrival->length);
    arrival->value = xcalloc(1, route->subject->entity->table->size);
    struct error error = ERROR_INIT;
    if (parse(arrival, &error)) {
        arrival->own_id = own_id(arrival);
    } else {
        arrival->reason = xstrdup(error.message);
        arrival->meta = (struct event_meta){.time = 0};
    }
    return arrival;
}

void arrival_free(struct arrival *arrival)
{
    xfree(arrival->reason);
    xfree(arrival->value);
    xfree(arrival);
}

void arrival_key(const struct arrival *arrival, char ret_key[static ARRIVAL_KEY_SIZE])
{
    snprintf(ret_key, ARRIVAL_KEY_SIZE, "%zu/%" PRIu64 "/%" PRIx64, arrival->route->number, arrival->sequence,
             arrival->digest);
}

void record_key(const struct collection *collection, const struct id *id, char ret_key[static RECORD_KEY_SIZE])
{
    snprintf(ret_key, RECORD_KEY_SIZE, "%s/%s", collection->name, id->hex);
}

void arrival_set_context(const struct arrival *arrival)
{
    char event_id[EVENT_ID_MAX] = "";
    char trace[TRACE_LENGTH + 1] = "";
    if (arrival->reason == NULL) {
        message_event_id(arrival->route->subject, &arrival->head, arrival->value, event_id);
    }
    log_set_context(event_id, message_trace(&arrival->meta, trace) ? trace : NULL);
}
