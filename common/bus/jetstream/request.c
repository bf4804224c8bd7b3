/* SPDX-License-Identifier: Apache-2.0
 * Asking JetStream: requests over NATS, answers in JSON, failures in words. */
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/bus/jetstream/jetstream.h"

enum {
    API_SUBJECT_MAX = sizeof("$JS.API.") + 64 + BUS_PATH_MAX + JETSTREAM_NAME_MAX,
    DESCRIPTION_MAX = 160, /* bytes of the server's words */
};

const char *jetstream_last_error(natsStatus status)
{
    const char *text = nats_GetLastError(NULL);
    if (!text || text[0] == '\0') {
        return natsStatus_GetText(status);
    }
    /* libnats puts "(file:line): " in front. */
    const char *end = text[0] == '(' ? strstr(text, "): ") : NULL;
    return end ? end + strlen("): ") : text;
}

bool jetstream_fail(struct error *error, natsStatus status, const char *what)
{
    switch (status) {
    case NATS_INVALID_ARG:
    case NATS_INVALID_SUBJECT:
    case NATS_MAX_PAYLOAD:
        return error_set(error, ERROR_CONFLICT, "%s: %s", what, natsStatus_GetText(status));
    case NATS_INSUFFICIENT_BUFFER:
        /* What libnats says when there is no connection, and no buffer to wait for one in. */
        return error_set(error, ERROR_UNAVAILABLE, "%s: the server is not connected", what);
    case NATS_TIMEOUT:
        /* That of one request. Whether the server is still there, the pings will tell. */
        return error_set(error, ERROR_CONFLICT, "%s: JetStream does not answer", what);
    case NATS_NO_RESPONDERS:
        return error_set(error, ERROR_NOT_FOUND, "%s: there is no JetStream", what);
    default:
        return error_set(error, ERROR_UNAVAILABLE, "%s: %s", what, jetstream_last_error(status));
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

static bool ask(struct jetstream_connection *connection, int64_t timeout_ms, const char *subject, const char *what,
                const char *body, char **ret_text, struct json *ret_answer, uint64_t *ret_code, struct error *error)
{
    if (ret_code) {
        *ret_code = 0;
    }
    natsMsg *message = NULL;
    natsStatus status = natsConnection_RequestString(&message, connection->nats, subject, body, timeout_ms);
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
