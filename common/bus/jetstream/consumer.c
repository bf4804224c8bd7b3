/* SPDX-License-Identifier: Apache-2.0
 * Consumers: the server's side of a subscription. They are made if they are not there, follow the ack wait and the
 * limit in flight that are asked for, and are never deleted: those with a durable name stay, the others are forgotten
 * by the server some time after their last subscriber has gone. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/bus/jetstream/jetstream.h"

enum {
    CONSUMER_TEXT_MAX = 64 * 1024, /* bytes of a consumer's configuration */
    REQUEST_NAME_MAX = 64 + BUS_PATH_MAX + JETSTREAM_NAME_MAX,
    FORGOTTEN_SECONDS = 30, /* after which the server deletes what is not durable and nobody listens to */
    CHECK_MS = 2000,        /* between two looks whether what is needed is still there */
};

/* What has a name is shared by those who give it the same, that is the same durable and group, or without a group the
 * same client id and durable: as in NATS Streaming. None of ':', '+' and '@' is allowed in those. */
static bool name_consumer(const struct jetstream_connection *connection, const struct subscription *subscription,
                          char ret_name[static JETSTREAM_NAME_MAX])
{
    const char *durable = subscription->durable, *group = subscription->queue_group;
    const char *subject = subscription->subject;
    if (durable && group && strcmp(durable, group) == 0) {
        snprintf(ret_name, JETSTREAM_NAME_MAX, "%s:%s", durable, subject);
    } else if (group) {
        snprintf(ret_name, JETSTREAM_NAME_MAX, "%s+%s:%s", durable ? durable : "", group, subject);
    } else if (durable) {
        snprintf(ret_name, JETSTREAM_NAME_MAX, "%s@%s:%s", durable, connection->target->client_id, subject);
    } else {
        ret_name[0] = '\0';
    }
    return ret_name[0] != '\0';
}

static void append_member(struct buffer *buffer, const char *name, const char *text)
{
    buffer_printf(buffer, ",\"%s\":", name);
    buffer_append_json_string(buffer, text, strlen(text));
}

static void append_start(struct buffer *buffer, const struct subscription *subscription)
{
    char time[CLOCK_TEXT_SIZE];
    switch (subscription->start) {
    case BUS_START_NEW:
        append_member(buffer, "deliver_policy", "new");
        break;
    case BUS_START_ALL:
        append_member(buffer, "deliver_policy", "all");
        break;
    case BUS_START_LAST_RECEIVED:
        /* "last" would be the stream's, whatever its subject. */
        append_member(buffer, "deliver_policy", "last_per_subject");
        break;
    case BUS_START_SEQUENCE:
        append_member(buffer, "deliver_policy", "by_start_sequence");
        buffer_printf(buffer, ",\"opt_start_seq\":%llu", (unsigned long long)subscription->start_sequence);
        break;
    case BUS_START_TIME:
        append_member(buffer, "deliver_policy", "by_start_time");
        clock_to_text(subscription->start_time, time);
        append_member(buffer, "opt_start_time", time);
        break;
    }
}

static void append_limits(struct buffer *buffer, const struct subscription *subscription)
{
    buffer_printf(buffer, "\"ack_wait\":%lld,\"max_ack_pending\":%zu",
                  (long long)(subscription->ack_wait_ms * BUS_NATS_NANOSECONDS_PER_MS), subscription->in_flight);
}

/* The body of a request that makes a consumer; `name` is "" for one that is this connection's alone. */
static void append_creation(struct buffer *body, const struct jetstream_connection *connection,
                            const struct subscription *subscription, const char *name, const char *deliver_subject)
{
    buffer_append_text(body, "{\"stream_name\":");
    buffer_append_json_string(body, connection->stream, strlen(connection->stream));
    buffer_append_text(body, ",\"config\":{");
    append_limits(body, subscription);
    append_member(body, "ack_policy", "explicit");
    append_member(body, "replay_policy", "instant");
    append_member(body, "filter_subject", subscription->subject);
    append_member(body, "deliver_subject", deliver_subject);
    append_start(body, subscription);
    buffer_append_text(body, ",\"max_deliver\":-1");
    if (subscription->queue_group) {
        append_member(body, "deliver_group", subscription->queue_group);
    }
    if (name[0] != '\0') {
        append_member(body, "durable_name", name);
    }
    if (!subscription->durable) {
        buffer_printf(body, ",\"inactive_threshold\":%lld",
                      (long long)FORGOTTEN_SECONDS * 1000 * BUS_NATS_NANOSECONDS_PER_MS);
    }
    buffer_append_text(body, "}}");
}

/* The body of a request that changes the limits of one that is there, and nothing else. */
static void append_update(struct buffer *body, const struct jetstream_connection *connection,
                          const struct subscription *subscription, struct json config)
{
    static const char *const without[] = {"ack_wait", "max_ack_pending"};
    buffer_append_text(body, "{\"stream_name\":");
    buffer_append_json_string(body, connection->stream, strlen(connection->stream));
    buffer_append_text(body, ",\"config\":{");
    json_append_members(body, config, without, ARRAY_LENGTH(without));
    append_limits(body, subscription);
    buffer_append_text(body, "}}");
}

/* Makes or changes one; what the server then says of it is in *ret_text. */
static bool create(struct jetstream_connection *connection, const char *name, const struct buffer *body,
                   char **ret_text, struct json *ret_answer, struct error *error)
{
    char request[REQUEST_NAME_MAX];
    if (name[0] != '\0') {
        snprintf(request, sizeof(request), "CONSUMER.DURABLE.CREATE.%s.%s", connection->stream, name);
    } else {
        snprintf(request, sizeof(request), "CONSUMER.CREATE.%s", connection->stream);
    }
    return jetstream_request(connection, JETSTREAM_REQUEST_MS, request, buffer_text(body), ret_text, ret_answer, NULL,
                             error);
}

static bool member_equals(struct json object, const char *name, const char *text)
{
    struct json value;
    return json_member(object, name, &value) ? text && json_equals(value, text) : !text;
}

static bool member_is(struct json object, const char *name, int64_t number)
{
    struct json value;
    uint64_t found;
    return json_member(object, name, &value) && json_to_uint64(value, &found) && found == (uint64_t)number;
}

/* Whether what has our name does what we want of it. */
static bool check_config(struct json config, const struct subscription *subscription, const char *name,
                         struct error *error)
{
    bool fits = member_equals(config, "filter_subject", subscription->subject) &&
                member_equals(config, "deliver_group", subscription->queue_group) &&
                member_equals(config, "ack_policy", "explicit") && !member_equals(config, "deliver_subject", NULL);
    return fits || error_set(error, ERROR_CONFLICT,
                             "there is a consumer \"%s\", but not a pushing one with explicit acknowledgement, and of "
                             "this subject and group",
                             name);
}

static void follow_limits(struct jetstream_connection *connection, const struct subscription *subscription,
                          const char *name, struct json config)
{
    if (member_is(config, "ack_wait", subscription->ack_wait_ms * BUS_NATS_NANOSECONDS_PER_MS) &&
        member_is(config, "max_ack_pending", (int64_t)subscription->in_flight)) {
        return;
    }
    CLEANUP(buffer_done) struct buffer body = BUFFER_INIT(CONSUMER_TEXT_MAX);
    CLEANUP(free_pointer) char *text = NULL;
    struct json answer;
    struct error error = ERROR_INIT;
    append_update(&body, connection, subscription, config);
    if (!create(connection, name, &body, &text, &answer, &error)) {
        bus_link_complain(connection->link, "the consumer \"%s\" keeps its ack wait and limit in flight: %s", name,
                          error.message);
    }
}

/* Looks for it; false with *ret_code JETSTREAM_CONSUMER_NOT_FOUND if it is not there. */
static bool look(struct jetstream_connection *connection, const char *name, int64_t timeout_ms, char **ret_text,
                 struct json *ret_answer, uint64_t *ret_code, struct error *error)
{
    char request[REQUEST_NAME_MAX];
    snprintf(request, sizeof(request), "CONSUMER.INFO.%s.%s", connection->stream, name);
    return jetstream_request(connection, timeout_ms, request, "", ret_text, ret_answer, ret_code, error);
}

/* Keeps where a durable stands, however it was told to start. True also if it is not there, *ret_text NULL. */
static bool find(struct jetstream_connection *connection, const struct subscription *subscription, const char *name,
                 char **ret_text, struct json *ret_answer, struct error *error)
{
    struct json config, bound;
    uint64_t code;
    struct error failure = ERROR_INIT;
    if (!look(connection, name, JETSTREAM_REQUEST_MS, ret_text, ret_answer, &code, &failure)) {
        if (code == JETSTREAM_CONSUMER_NOT_FOUND) {
            return true;
        }
        *error = failure;
        return false;
    }
    if (!json_member(*ret_answer, "config", &config)) {
        return error_set(error, ERROR_CONFLICT, "CONSUMER.INFO: the answer has no configuration");
    }
    if (!check_config(config, subscription, name, error)) {
        return false;
    }
    if (!subscription->queue_group && json_member(*ret_answer, "push_bound", &bound) && *bound.start == 't') {
        return error_set(error, ERROR_CONFLICT, "the durable \"%s\" is in use", name);
    }
    follow_limits(connection, subscription, name, config);
    return true;
}

static bool read_answer(struct json answer, char ret_name[static JETSTREAM_NAME_MAX], char **ret_deliver_subject,
                        struct error *error)
{
    struct json config, subject, name;
    char text[sizeof("turnstile.deliver..") + BUS_PATH_MAX + JETSTREAM_NAME_MAX];
    if (!json_member(answer, "config", &config) || !json_member(config, "deliver_subject", &subject) ||
        !json_member(answer, "name", &name)) {
        return error_set(error, ERROR_CONFLICT, "the server does not say what the consumer is like");
    }
    json_copy_cut(name, ret_name, JETSTREAM_NAME_MAX);
    json_copy_cut(subject, text, sizeof(text));
    *ret_deliver_subject = xstrdup(text);
    return true;
}

/* Where the messages go: of those with a name to everybody who asks for the same, else to us alone. */
static char *choose_deliver_subject(const struct jetstream_connection *connection, const char *name)
{
    if (name[0] != '\0') {
        return xasprintf("turnstile.deliver.%s.%s", connection->stream, name);
    }
    natsInbox *inbox = NULL;
    if (natsInbox_Create(&inbox) != NATS_OK) {
        return NULL;
    }
    char *subject = xstrdup(inbox);
    natsInbox_Destroy(inbox);
    return subject;
}

static bool make(struct jetstream_connection *connection, const struct subscription *subscription, const char *name,
                 char **ret_text, struct json *ret_answer, struct error *error)
{
    CLEANUP(buffer_done) struct buffer body = BUFFER_INIT(CONSUMER_TEXT_MAX);
    CLEANUP(free_pointer) char *deliver_subject = choose_deliver_subject(connection, name);
    if (!deliver_subject) {
        return error_set(error, ERROR_CONFLICT, "no inbox can be made");
    }
    append_creation(&body, connection, subscription, name, deliver_subject);
    return create(connection, name, &body, ret_text, ret_answer, error);
}

bool jetstream_ensure_consumer(struct jetstream_connection *connection, const struct subscription *subscription,
                               char ret_name[static JETSTREAM_NAME_MAX], char **ret_deliver_subject,
                               struct error *error)
{
    CLEANUP(free_pointer) char *text = NULL;
    struct json answer = {.start = NULL};
    char name[JETSTREAM_NAME_MAX];
    if (name_consumer(connection, subscription, name) && !find(connection, subscription, name, &text, &answer, error)) {
        return false;
    }
    if (!text && !make(connection, subscription, name, &text, &answer, error)) {
        return false;
    }
    return read_answer(answer, ret_name, ret_deliver_subject, error);
}

/* The next of the connection's consumers; NULL if it has none. */
static const struct jetstream_subscription *next_checked(struct jetstream_connection *connection)
{
    size_t index = connection->checked_next;
    for (size_t i = 0; i < BUS_SUBSCRIPTIONS_MAX && !connection->subscriptions[index].subscription; i++) {
        index = (index + 1) % BUS_SUBSCRIPTIONS_MAX;
    }
    connection->checked_next = (index + 1) % BUS_SUBSCRIPTIONS_MAX;
    return connection->subscriptions[index].subscription ? &connection->subscriptions[index] : NULL;
}

static void check_consumer(struct jetstream_connection *connection, const struct jetstream_subscription *checked)
{
    CLEANUP(free_pointer) char *text = NULL;
    struct json answer, config;
    uint64_t code;
    struct error error = ERROR_INIT;
    if (!look(connection, checked->consumer, JETSTREAM_LOOK_MS, &text, &answer, &code, &error)) {
        if (code == JETSTREAM_CONSUMER_NOT_FOUND) {
            bus_link_lost(connection->link, "the consumer \"%s\" is not there any more", checked->consumer);
        }
    } else if (json_member(answer, "config", &config) &&
               !member_equals(config, "deliver_subject", natsSubscription_GetSubject(checked->subscription))) {
        bus_link_lost(connection->link, "the consumer \"%s\" is another one", checked->consumer);
    }
}

/* Somebody may have deleted the stream or a consumer, or made them anew; the server tells nobody. */
void jetstream_check(struct jetstream_connection *connection)
{
    struct error error = ERROR_INIT;
    int64_t now = clock_monotonic(NULL);
    if (now < connection->check_at) {
        return;
    }
    connection->check_at = now + CHECK_MS;
    const struct jetstream_subscription *checked = next_checked(connection);
    if (jetstream_read_stream(connection, JETSTREAM_LOOK_MS, &error) && checked) {
        check_consumer(connection, checked);
    }
}
