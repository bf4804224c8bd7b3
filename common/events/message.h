/* SPDX-License-Identifier: Apache-2.0
 * Events as text: {"id":…,"version":…,<the entity's fields>,"meta":{"eventId":…,"time":…,"traceparent":…,"epoch":…}}.
 */
#ifndef TURNSTILE_EVENTS_MESSAGE_H
#define TURNSTILE_EVENTS_MESSAGE_H

#include "common/events/catalogue.h"
#include "common/schema/schema.h"

enum {
    EVENT_ID_MAX = 96,    /* bytes of "<entity>/<id>/<version>", with the NUL */
    TRACEPARENT_MAX = 64, /* bytes, with the NUL; W3C Trace Context level 1 */
    TRACE_LENGTH = 32,    /* hex digits of the trace's id in it */
};

struct event_meta {
    char event_id[EVENT_ID_MAX];
    int64_t time;
    char traceparent[TRACEPARENT_MAX];
    int64_t epoch;
};
extern const struct table event_meta_table;

/* Prints an event; its time is `now`, its trace that of the thread's log context. */
void message_print(const struct subject *subject, const struct record *head, const void *value, int64_t now,
                   struct buffer *buffer);

/* Parses what was received on a subject. `ret_value` has the entity's size. meta is optional; if it is broken it is
 * ignored. head->epoch is meta's. Version 0, on snapshot subjects only, says that there is no such record: then no
 * other field is read, and the value is zeroed. */
bool message_parse(const struct subject *subject, const char *text, size_t length, struct record *ret_head,
                   void *ret_value, struct event_meta *ret_meta, struct field_errors *errors) MUST_CHECK;

/* The trace's id out of meta.traceparent; false if there is none. */
bool message_trace(const struct event_meta *meta, char ret_trace[static TRACE_LENGTH + 1]) MUST_CHECK;

/* "<entity>/<id>/<version>", or "<entity>/<id>" for an entity without versions. */
void message_event_id(const struct subject *subject, const struct record *head, const void *value,
                      char ret_text[static EVENT_ID_MAX]);

#endif
