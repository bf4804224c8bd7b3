/* SPDX-License-Identifier: Apache-2.0
 * Asking JetStream: requests over NATS, answers in JSON, failures in words.
 *
 * DESIGN
 * The answers come to a subscription of the connection's own, each to a subject with the number of its request, and one
 * that nobody waits for any more is thrown away. libnats has requests that do the same, but with a subscription that it
 * frees itself while it closes the connection: in libnats 3.4.1 the reading thread may have found it just then, for an
 * answer that is late, and brings the process down. Ours live until the connection is closed. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/bus/handle.h"
#include "common/bus/jetstream/jetstream.h"

enum {
    API_SUBJECT_MAX = sizeof("$JS.API.") + 64 + BUS_PATH_MAX + JETSTREAM_NAME_MAX,
    DESCRIPTION_MAX = 160, /* bytes of the server's words */
    REPLY_MAX = JETSTREAM_INBOX_MAX + 24,
};

/* Of the process: callbacks may come when the connection they are for is gone. They look up their handle and write with
 * this held, and handles end with it held. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

bool jetstream_fail(struct error *error, natsStatus status, const char *what)
{
    switch (status) {
    case NATS_TIMEOUT:
        /* That of one request. Whether the server is still there, the pings will tell. */
        return error_set(error, ERROR_CONFLICT, "%s: JetStream does not answer", what);
    case NATS_NO_RESPONDERS:
        return error_set(error, ERROR_NOT_FOUND, "%s: there is no JetStream", what);
    default:
        return bus_nats_fail(error, status, what, bus_nats_last_error(status));
    }
}

/* A server that may not be asked does not answer, but reports an error besides. */
static bool fail_request(const struct jetstream_connection *connection, natsStatus status, const char *what,
                         struct error *error)
{
    const char *text;
    if (status == NATS_TIMEOUT && natsConnection_GetLastError(connection->nats, &text) == NATS_NOT_PERMITTED) {
        return error_set(error, ERROR_CONFLICT, "%s: this user may not use JetStream", what);
    }
    return jetstream_fail(error, status, what);
}

static bool refuse(struct json answer_error, const char *what, uint64_t *ret_code, struct error *error)
{
    struct json value;
    uint64_t code = 0;
    char description[DESCRIPTION_MAX] = "refused";
    if (json_member(answer_error, "err_code", &value) && !json_to_uint64(value, &code)) {
        code = 0;
    }
    if (json_member(answer_error, "description", &value)) {
        json_copy_cut(value, description, sizeof(description));
    }
    if (ret_code) {
        *ret_code = code;
    }
    return error_set(error, ERROR_CONFLICT, "%s: %s", what, description);
}

/* ---- waiting for the answer ---- */

/* With the mutex held; NULL if the connection is gone. Its link is the caller's to release. */
static struct jetstream_asking *find_asking(const void *handle, struct bus_link **ret_link)
{
    const void *object;
    return bus_handle_find(handle, ret_link, &object) ? (struct jetstream_asking *)(uintptr_t)object : NULL;
}

/* Runs on the subscription's own thread. */
static void on_answer(natsConnection *nats UNUSED, natsSubscription *subscription UNUSED, natsMsg *message,
                      void *handle)
{
    struct bus_link *link = NULL;
    const char *dot = strrchr(natsMsg_GetSubject(message), '.');
    uint64_t number = 0;
    bool is_number = dot && text_to_uint64(dot + 1, UINT64_MAX, &number);
    pthread_mutex_lock(&mutex);
    struct jetstream_asking *asking = find_asking(handle, &link);
    bool is_wanted = asking && is_number && number > 0 && number == asking->awaited && !asking->answer;
    if (is_wanted) {
        asking->answer = message;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&mutex);
    bus_link_release(&link);
    if (!is_wanted) {
        natsMsg_Destroy(message);
    }
}

void jetstream_request_broken(const void *handle)
{
    struct bus_link *link = NULL;
    pthread_mutex_lock(&mutex);
    struct jetstream_asking *asking = find_asking(handle, &link);
    if (asking) {
        asking->is_broken = true;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&mutex);
    bus_link_release(&link);
}

bool jetstream_new_inbox(char ret_inbox[static JETSTREAM_INBOX_MAX], struct error *error)
{
    natsInbox *inbox = NULL;
    natsStatus status = natsInbox_Create(&inbox);
    bool is_made = status == NATS_OK && text_copy(ret_inbox, JETSTREAM_INBOX_MAX, inbox);
    natsInbox_Destroy(inbox);
    return is_made || jetstream_fail(error, status, "no inbox can be made");
}

bool jetstream_request_begin(struct jetstream_connection *connection, struct error *error)
{
    struct jetstream_asking *asking = &connection->asking;
    char subject[REPLY_MAX];
    if (!jetstream_new_inbox(asking->inbox, error)) {
        return false;
    }
    snprintf(subject, sizeof(subject), "%s.*", asking->inbox);
    natsStatus status =
        natsConnection_Subscribe(&asking->subscription, connection->nats, subject, on_answer, connection->handle);
    return status == NATS_OK || jetstream_fail(error, status, "answers cannot be subscribed to");
}

void jetstream_request_end(struct jetstream_connection *connection)
{
    pthread_mutex_lock(&mutex);
    bus_handle_free(connection->handle);
    pthread_mutex_unlock(&mutex);
}

/* What is awaited has come, or will not; the caller destroys *ret_message. */
static natsStatus await_answer(struct jetstream_asking *asking, int64_t timeout_ms, natsMsg **ret_message)
{
    struct timespec deadline = clock_deadline(timeout_ms);
    int waited = 0;
    pthread_mutex_lock(&mutex);
    while (!asking->answer && !asking->is_broken && waited == 0) {
        waited = pthread_cond_clockwait(&changed, &mutex, CLOCK_MONOTONIC, &deadline);
    }
    natsMsg *message = TAKE(asking->answer);
    bool is_broken = asking->is_broken;
    asking->awaited = 0;
    pthread_mutex_unlock(&mutex);
    if (!message) {
        return is_broken ? NATS_CONNECTION_CLOSED : NATS_TIMEOUT;
    }
    if (natsMsg_IsNoResponders(message)) {
        natsMsg_Destroy(message);
        return NATS_NO_RESPONDERS;
    }
    *ret_message = message;
    return NATS_OK;
}

static natsStatus exchange(struct jetstream_connection *connection, int64_t timeout_ms, const char *subject,
                           const char *body, natsMsg **ret_message)
{
    struct jetstream_asking *asking = &connection->asking;
    char reply[REPLY_MAX];
    pthread_mutex_lock(&mutex);
    asking->awaited = ++asking->last_number;
    pthread_mutex_unlock(&mutex);
    snprintf(reply, sizeof(reply), "%s.%llu", asking->inbox, (unsigned long long)asking->last_number);
    natsStatus status = natsConnection_PublishRequestString(connection->nats, subject, reply, body);
    /* What could not be sent as a whole may be answered all the same; that is not waited for. */
    natsStatus answered = await_answer(asking, status == NATS_OK ? timeout_ms : 0, ret_message);
    return status == NATS_OK || answered == NATS_OK ? answered : status;
}

/* ---- what is asked ---- */

static bool ask(struct jetstream_connection *connection, int64_t timeout_ms, const char *subject, const char *what,
                const char *body, char **ret_text, struct json *ret_answer, uint64_t *ret_code, struct error *error)
{
    if (ret_code) {
        *ret_code = 0;
    }
    natsMsg *message = NULL;
    natsStatus status = exchange(connection, timeout_ms, subject, body, &message);
    if (status != NATS_OK) {
        return fail_request(connection, status, what, error);
    }
    CLEANUP(free_pointer)
    char *text = xstrndup(natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message));
    natsMsg_Destroy(message);
    struct json answer, answer_error;
    if (!json_from_text(text, &answer) || *answer.start != '{') {
        return error_set(error, ERROR_CONFLICT, "%s: the answer is not an object in JSON", what);
    }
    if (json_member(answer, "error", &answer_error)) {
        return refuse(answer_error, what, ret_code, error);
    }
    *ret_text = TAKE(text);
    *ret_answer = answer;
    return true;
}

bool jetstream_request(struct jetstream_connection *connection, int64_t timeout_ms, const char *what, const char *body,
                       char **ret_text, struct json *ret_answer, uint64_t *ret_code, struct error *error)
{
    char subject[API_SUBJECT_MAX];
    snprintf(subject, sizeof(subject), "$JS.API.%s", what);
    return ask(connection, timeout_ms, subject, what, body, ret_text, ret_answer, ret_code, error);
}

bool jetstream_store(struct jetstream_connection *connection, const char *subject, const char *text,
                     uint64_t *ret_sequence, struct error *error)
{
    CLEANUP(free_pointer) char *answer_text = NULL;
    struct json answer, sequence;
    return ask(connection, JETSTREAM_REQUEST_MS, subject, subject, text, &answer_text, &answer, NULL, error) &&
           ((json_member(answer, "seq", &sequence) && json_to_uint64(sequence, ret_sequence)) ||
            error_set(error, ERROR_CONFLICT, "%s: the answer has no sequence", subject));
}
