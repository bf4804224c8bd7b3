/* SPDX-License-Identifier: Apache-2.0
 * The stream: it is made if it is not there, and gets the subjects that it lacks; nothing else that somebody has set is
 * ever changed. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/bus/jetstream/jetstream.h"

enum {
    STREAM_TEXT_MAX = 1024 * 1024, /* bytes of a stream's configuration */
    FAILED_AGAIN_MS = 1000,        /* before adding a subject is tried again */
    DUPLICATES_SECONDS = 120,      /* within which a message that is published again is not stored again */
    REPLICAS_DEFAULT = 1,
    REQUEST_NAME_MAX = 32 + BUS_PATH_MAX,
};

static void name_request(const struct jetstream_connection *connection, const char *what,
                         char ret_name[static REQUEST_NAME_MAX])
{
    snprintf(ret_name, REQUEST_NAME_MAX, "%s.%s", what, connection->stream);
}

/* ---- what is known of it ---- */

static void forget(struct jetstream_connection *connection)
{
    unsigned replicas = connection->target->replicas;
    free_pointer(&connection->stream_text);
    connection->first_sequence = connection->last_sequence = 0;
    connection->replicas = replicas > 0 ? replicas : REPLICAS_DEFAULT;
}

/* Subjects of ours have no dots, so that these two stand for all of them. */
static bool has_subject(const struct jetstream_connection *connection, const char *subject)
{
    struct json_cursor cursor = JSON_CURSOR_INIT;
    struct json value;
    while (connection->stream_text && json_next(connection->subjects, &cursor, NULL, &value)) {
        if (json_equals(value, subject) || json_equals(value, "*") || json_equals(value, ">")) {
            return true;
        }
    }
    return false;
}

static uint64_t number_of(struct json object, const char *name)
{
    struct json value;
    uint64_t number;
    return json_member(object, name, &value) && json_to_uint64(value, &number) ? number : 0;
}

static bool lose(struct jetstream_connection *connection, struct error *error)
{
    error_set(error, ERROR_UNAVAILABLE, "the stream \"%s\" is not there any more, or is another one",
              connection->stream);
    bus_link_lost(connection->link, "%s", error->message);
    return false;
}

/* Whether it is the stream that was seen before, if one was. */
static bool is_the_same(struct jetstream_connection *connection, struct json answer)
{
    struct json value;
    char created[sizeof(connection->created)] = "";
    if (json_member(answer, "created", &value)) {
        json_copy_cut(value, created, sizeof(created));
    }
    if (connection->created[0] == '\0') {
        text_copy_cut(connection->created, sizeof(connection->created), created);
    }
    return strcmp(connection->created, created) == 0;
}

/* Keeps what the server answered: takes ownership of the text. */
static bool keep(struct jetstream_connection *connection, char *text, struct json answer, struct error *error)
{
    struct json config, subjects, state, value;
    if (!json_member(answer, "config", &config) || !json_member(config, "subjects", &subjects) ||
        *subjects.start != '[') {
        xfree(text);
        return error_set(error, ERROR_CONFLICT, "the stream \"%s\" has no subjects: it is a mirror, or not ours",
                         connection->stream);
    }
    if (!is_the_same(connection, answer)) {
        xfree(text);
        return lose(connection, error);
    }
    forget(connection);
    connection->stream_text = text;
    connection->subjects = subjects;
    if (json_member(answer, "state", &state)) {
        connection->first_sequence = number_of(state, "first_seq");
        connection->last_sequence = number_of(state, "last_seq");
    }
    if (json_member(config, "num_replicas", &value) && !json_to_uint64(value, &connection->replicas)) {
        connection->replicas = REPLICAS_DEFAULT;
    }
    /* Servers do not tell clients of libnats what they are; 2.10 is the first to say how it compresses. */
    connection->is_before_2_10 = !json_member(config, "compression", &value);
    return true;
}

bool jetstream_read_stream(struct jetstream_connection *connection, int64_t timeout_ms, struct error *error)
{
    char request[REQUEST_NAME_MAX];
    char *text = NULL;
    struct json answer;
    uint64_t code;
    name_request(connection, "STREAM.INFO", request);
    if (jetstream_request(connection, timeout_ms, request, "", &text, &answer, &code, error)) {
        return keep(connection, text, answer, error);
    }
    if (code == JETSTREAM_STREAM_NOT_FOUND) {
        forget(connection);
        return connection->created[0] == '\0' || lose(connection, error);
    }
    return false;
}

/* ---- making and changing it ---- */

static void append_text(struct buffer *buffer, const char *text)
{
    buffer_append_json_string(buffer, text, strlen(text));
}

/* Appends those known subjects, and this one (or NULL), that the stream does not have. */
static void append_missing(struct buffer *buffer, const struct jetstream_connection *connection, const char *subject)
{
    struct json_cursor cursor = JSON_CURSOR_INIT;
    struct json first;
    const char *separator =
        connection->stream_text && json_next(connection->subjects, &cursor, NULL, &first) ? "," : "";
    const char *const *known = connection->target->subjects;
    bool is_known = false;
    for (size_t i = 0; known && known[i]; i++) {
        is_known = is_known || (subject && strcmp(known[i], subject) == 0);
        if (!has_subject(connection, known[i])) {
            buffer_append_text(buffer, separator);
            append_text(buffer, known[i]);
            separator = ",";
        }
    }
    if (subject && !is_known && !has_subject(connection, subject)) {
        buffer_append_text(buffer, separator);
        append_text(buffer, subject);
    }
}

/* The configuration as it is, with more subjects. */
static void append_update(struct buffer *body, const struct jetstream_connection *connection, const char *subject)
{
    static const char *const without[] = {"subjects"};
    struct json answer, config;
    buffer_append_char(body, '{');
    if (json_from_text(connection->stream_text, &answer) && json_member(answer, "config", &config)) {
        json_append_members(body, config, without, ARRAY_LENGTH(without));
    }
    buffer_append_text(body, "\"subjects\":");
    buffer_append(body, connection->subjects.start,
                  (size_t)(connection->subjects.end - 1 - connection->subjects.start));
    append_missing(body, connection, subject);
    buffer_append_text(body, "]}");
}

static void append_creation(struct buffer *body, const struct jetstream_connection *connection, const char *subject)
{
    buffer_append_text(body, "{\"name\":");
    append_text(body, connection->stream);
    buffer_printf(body,
                  ",\"retention\":\"limits\",\"storage\":\"file\",\"discard\":\"old\",\"max_consumers\":-1,"
                  "\"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":0,\"max_msgs_per_subject\":-1,\"max_msg_size\":-1,"
                  "\"num_replicas\":%llu,\"duplicate_window\":%lld,\"subjects\":[",
                  (unsigned long long)connection->replicas, (long long)DUPLICATES_SECONDS * 1000 * 1000 * 1000);
    append_missing(body, connection, subject);
    buffer_append_text(body, "]}");
}

/* Makes the stream, or adds to it. With the lock held. */
static bool change(struct jetstream_connection *connection, const char *subject, struct error *error)
{
    CLEANUP(buffer_done) struct buffer body = BUFFER_INIT(STREAM_TEXT_MAX);
    char request[REQUEST_NAME_MAX];
    char *text = NULL;
    struct json answer;
    if (connection->stream_text) {
        append_update(&body, connection, subject);
    } else {
        append_creation(&body, connection, subject);
    }
    if (body.overflowed) {
        return error_set(error, ERROR_CONFLICT, "the stream \"%s\" has too many subjects", connection->stream);
    }
    name_request(connection, connection->stream_text ? "STREAM.UPDATE" : "STREAM.CREATE", request);
    bool changed =
        jetstream_request(connection, JETSTREAM_REQUEST_MS, request, buffer_text(&body), &text, &answer, NULL, error);
    xfree(text);
    return changed;
}

static bool lacks(const struct jetstream_connection *connection, const char *subject)
{
    const char *const *known = connection->target->subjects;
    for (size_t i = 0; known && known[i]; i++) {
        if (!has_subject(connection, known[i])) {
            return true;
        }
    }
    return subject && !has_subject(connection, subject);
}

/* An update replaces the whole list of subjects, whatever somebody else has written since it was read, and servers of
 * version 2.9 mix up two that come at the same time: they subscribe to a subject twice, or not at all. Hence the lock.
 */
static bool complete(struct jetstream_connection *connection, const char *subject, struct error *error)
{
    uint64_t ticket;
    if (!jetstream_read_stream(connection, JETSTREAM_REQUEST_MS, error)) {
        return false;
    }
    if (!lacks(connection, subject)) {
        return true;
    }
    if (!jetstream_lock(connection, &ticket, error)) {
        return false;
    }
    bool done = jetstream_read_stream(connection, JETSTREAM_REQUEST_MS, error) &&
                (!lacks(connection, subject) || (change(connection, subject, error) &&
                                                 jetstream_read_stream(connection, JETSTREAM_REQUEST_MS, error)));
    jetstream_unlock(connection, ticket);
    return done &&
           (!lacks(connection, subject) || error_set(error, ERROR_CONFLICT, "the server has not taken all of them"));
}

bool jetstream_ensure_subject(struct jetstream_connection *connection, const char *subject, struct error *error)
{
    if (has_subject(connection, subject)) {
        return true;
    }
    int64_t now = clock_monotonic(NULL);
    if (now < connection->ensure_at) {
        *error = connection->ensure_error;
        return false;
    }
    if (complete(connection, subject, error)) {
        return true;
    }
    error_prefix(error, "the stream \"%s\" cannot be given its subjects", connection->stream);
    connection->ensure_error = *error;
    connection->ensure_at = clock_monotonic(NULL) + FAILED_AGAIN_MS;
    return false;
}

static void compare_replicas(const struct jetstream_connection *connection)
{
    unsigned wanted = connection->target->replicas;
    if (wanted > 0 && connection->stream_text && connection->replicas != wanted) {
        bus_link_complain(connection->link,
                          "the stream \"%s\" has %llu replicas and not %u: that is left as it is, and can be changed "
                          "with the tools of NATS",
                          connection->stream, (unsigned long long)connection->replicas, wanted);
    }
}

/* When the leader changes, the servers of a 2.9 cluster may keep messages of their own in place of the new leader's:
 * which of them consumers get depends on who leads. */
static void complain_of_old_cluster(const struct jetstream_connection *connection)
{
    if (connection->stream_text && connection->replicas > 1 && connection->is_before_2_10) {
        bus_link_complain(connection->link,
                          "the servers of this cluster are older than 2.10: the %llu copies of the stream \"%s\" may "
                          "come to differ, and events be lost; use nats-server 2.11 or later",
                          (unsigned long long)connection->replicas, connection->stream);
    }
}

/* A stream that is there but cannot be changed is good enough for the subjects that it has. */
bool jetstream_prepare_stream(struct jetstream_connection *connection, struct error *error)
{
    if (!jetstream_read_stream(connection, JETSTREAM_REQUEST_MS, error)) {
        return false;
    }
    if (lacks(connection, NULL) && !complete(connection, NULL, error)) {
        if (error->code == ERROR_UNAVAILABLE || !connection->stream_text) {
            return false;
        }
        bus_link_complain(connection->link, "the stream \"%s\" cannot be given all subjects: %s", connection->stream,
                          error->message);
    }
    compare_replicas(connection);
    complain_of_old_cluster(connection);
    return true;
}

/* ---- how far it has come ---- */

static bool find_position(struct jetstream_connection *connection, struct bus_position *position, struct error *error)
{
    CLEANUP(buffer_done) struct buffer body = BUFFER_INIT(STREAM_TEXT_MAX);
    CLEANUP(free_pointer) char *text = NULL;
    char request[REQUEST_NAME_MAX];
    struct json answer, message, value;
    uint64_t code, sequence = 0;
    struct error failure = ERROR_INIT;
    buffer_append_text(&body, "{\"last_by_subj\":");
    append_text(&body, position->subject);
    buffer_append_char(&body, '}');
    name_request(connection, "STREAM.MSG.GET", request);
    if (jetstream_request(connection, JETSTREAM_REQUEST_MS, request, buffer_text(&body), &text, &answer, &code,
                          &failure)) {
        if (!json_member(answer, "message", &message) || !json_member(message, "seq", &value) ||
            !json_to_uint64(value, &sequence)) {
            return error_set(error, ERROR_UNAVAILABLE, "%s: the answer has no sequence", request);
        }
    } else if (code != JETSTREAM_NO_MESSAGE && code != JETSTREAM_STREAM_NOT_FOUND) {
        return error_set(error, ERROR_UNAVAILABLE, "%s", failure.message);
    }
    /* What the stream's owner has let it forget is not lost: it was there, and the stream has gone on from it. */
    bool is_removed = sequence < position->sequence && position->sequence < connection->first_sequence;
    position->sequence = is_removed ? position->sequence : sequence;
    return true;
}

bool jetstream_find_positions(void *pointer, struct bus_position *positions, size_t count, struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (!find_position(pointer, &positions[i], error)) {
            return false;
        }
    }
    return true;
}
