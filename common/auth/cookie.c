/* SPDX-License-Identifier: Apache-2.0
 * The session cookie, and who a request comes from. */
#include <string.h>

#include "common/auth/auth.h"
#include "common/base/memory.h"
#include "common/base/text.h"

struct session {
    char jwt[AUTH_TOKEN_MAX];
};

static const struct table session_table = {
    .name = "session",
    .size = sizeof(struct session),
    .fields =
        (const struct field[]){
            FIELD(struct session, jwt, FIELD_TEXT, .min = 1, .max = AUTH_TOKEN_MAX - 1, .required = true,
                  .in = IN_REQUEST | IN_RESPONSE, .rules = RULE_NO_CONTROL | RULE_SECRET),
            {.name = NULL},
        },
};

bool auth_cookie_print(const char *token, char ret_value[static AUTH_COOKIE_MAX])
{
    struct session session;
    if (token[0] == '\0' || !text_copy(session.jwt, sizeof(session.jwt), token)) {
        return false;
    }
    CLEANUP(buffer_done) struct buffer json = BUFFER_INIT(AUTH_COOKIE_MAX);
    schema_print(&session_table, IN_RESPONSE, NULL, &session, &json);
    if (json.overflowed) {
        return false;
    }
    CLEANUP(free_pointer) char *value = text_to_base64(json.data, json.length);
    size_t length = strlen(value);
    if (length >= AUTH_COOKIE_MAX) {
        return false;
    }
    memcpy(ret_value, value, length + 1);
    return true;
}

/* The token, if the JSON is exactly what auth_cookie_print and Node write: nearly always, and with every request, so
 * this is worth sparing the parser. False: let the parser decide. */
static bool take_plain(const char *json, size_t length, char ret_token[static AUTH_TOKEN_MAX])
{
    static const char head[] = "{\"jwt\":\"", tail[] = "\"}";
    const size_t around = sizeof(head) - 1 + sizeof(tail) - 1;
    if (length <= around || length - around >= AUTH_TOKEN_MAX || memcmp(json, head, sizeof(head) - 1) != 0 ||
        memcmp(json + length - (sizeof(tail) - 1), tail, sizeof(tail) - 1) != 0) {
        return false;
    }
    const char *token = json + sizeof(head) - 1;
    for (size_t i = 0; i < length - around; i++) {
        if (token[i] <= ' ' || token[i] > '~' || token[i] == '"' || token[i] == '\\') {
            return false;
        }
    }
    memcpy(ret_token, token, length - around);
    ret_token[length - around] = '\0';
    return true;
}

static bool take_parsed(const char *json, size_t length, char ret_token[static AUTH_TOKEN_MAX])
{
    struct session session;
    struct field_errors problems = FIELD_ERRORS_INIT;
    if (!schema_parse(&session_table, IN_REQUEST, json, length, NULL, &session, &problems)) {
        return false;
    }
    memcpy(ret_token, session.jwt, sizeof(session.jwt));
    return true;
}

bool auth_cookie_parse(const char *value, char ret_token[static AUTH_TOKEN_MAX])
{
    if (strnlen(value, AUTH_COOKIE_MAX) == AUTH_COOKIE_MAX) {
        return false;
    }
    CLEANUP(free_pointer) char *json = NULL;
    size_t length;
    return text_from_base64(value, &json, &length) &&
           (take_plain(json, length, ret_token) || take_parsed(json, length, ret_token));
}

bool auth_authenticate(const char *bearer, const char *cookie, struct http_identity *ret_identity, void *context)
{
    char token[AUTH_TOKEN_MAX];
    if (bearer != NULL) {
        return auth_token_verify(context, bearer, ret_identity, NULL);
    }
    return cookie != NULL && auth_cookie_parse(cookie, token) && auth_token_verify(context, token, ret_identity, NULL);
}
