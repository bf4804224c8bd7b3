/* SPDX-License-Identifier: Apache-2.0
 * JSON Web Tokens: issuing them, and finding out whether one is ours and still valid.
 *
 * libjwt makes and compares the signature. What a token says is read here, from the same text that was signed: the
 * library takes the algorithm from the token, accepts any of the HMAC family with one key, and ignores exp and nbf. */
#include <jwt.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/auth/cache.h"
#include "common/auth/metrics.h"
#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    ALGORITHM_MAX = 16,    /* bytes of a header's alg, with the NUL */
    SIGNATURE_LENGTH = 43, /* HMAC-SHA-256 as base64url */
    MILLISECONDS = 1000,
};

/* 9999-12-31T23:59:59Z: an exp beyond it is a mistake, such as milliseconds instead of seconds. */
#define LATEST_S INT64_C(253402300799)

struct auth {
    char *key;
    char *previous_key; /* NULL: none */
    int64_t lifetime_s;
    const struct clock *clock;
    struct auth_cache *cache;
};

/* A token's parts, within its text. */
struct token_parts {
    const char *header, *payload;
    size_t header_length, payload_length;
};

struct token_header {
    char alg[ALGORITHM_MAX];
};

static const struct table token_header_table = {
    .name = "token header",
    .size = sizeof(struct token_header),
    .fields =
        (const struct field[]){
            FIELD(struct token_header, alg, FIELD_TEXT, .min = 1, .max = ALGORITHM_MAX - 1, .required = true,
                  .in = IN_REQUEST),
            {.name = NULL},
        },
};

static const struct table claims_table = {
    .name = "token",
    .size = sizeof(struct auth_claims),
    .fields =
        (const struct field[]){
            FIELD_NAMED("id", struct auth_claims, identity.id, FIELD_ID, .required = true, .in = IN_REQUEST),
            FIELD_NAMED("email", struct auth_claims, identity.email, FIELD_EMAIL, .required = true, .in = IN_REQUEST),
            FIELD_NAMED("nbf", struct auth_claims, not_before_s, FIELD_INTEGER, .max = LATEST_S, .in = IN_REQUEST),
            FIELD_NAMED("exp", struct auth_claims, expires_s, FIELD_INTEGER, .min = 1, .max = LATEST_S,
                        .required = true, .in = IN_REQUEST),
            {.name = NULL},
        },
};

static void free_token(jwt_t **token)
{
    jwt_free(*token);
    *token = NULL;
}

static void free_key(char **key)
{
    if (*key != NULL) {
        memory_wipe(*key, strlen(*key));
        xfree(TAKE(*key));
    }
}

bool auth_new(const struct auth_config *config, struct auth **ret_auth, struct error *error)
{
    const char *previous = config->previous_key == NULL ? "" : config->previous_key;
    if (config->key == NULL || strlen(config->key) < AUTH_KEY_MIN) {
        return error_set(error, ERROR_INVALID, "the signing key is shorter than %d bytes", AUTH_KEY_MIN);
    }
    if (previous[0] != '\0' && strlen(previous) < AUTH_KEY_MIN) {
        return error_set(error, ERROR_INVALID, "the previous signing key is shorter than %d bytes", AUTH_KEY_MIN);
    }
    if (config->lifetime_s <= 0) {
        return error_set(error, ERROR_INVALID, "the lifetime of tokens is not positive");
    }
    if (sodium_init() < 0) {
        return error_set(error, ERROR_INTERNAL, "libsodium does not start");
    }

    struct auth *auth = xcalloc(1, sizeof(*auth));
    auth->key = xstrdup(config->key);
    auth->previous_key = previous[0] == '\0' ? NULL : xstrdup(previous);
    auth->lifetime_s = config->lifetime_s;
    auth->clock = config->clock;
    auth->cache = auth_cache_new();
    *ret_auth = auth;
    return true;
}

void auth_free(struct auth **auth)
{
    if (*auth == NULL) {
        return;
    }
    free_key(&(*auth)->key);
    free_key(&(*auth)->previous_key);
    auth_cache_free(&(*auth)->cache);
    xfree(TAKE(*auth));
}

/* True if it is two non-empty parts and a signature of the right length, all base64url, with dots between. */
static bool split(const char *token, size_t length, struct token_parts *ret_parts)
{
    const char *end = token + length;
    const char *payload = memchr(token, '.', length);
    const char *signature = payload == NULL ? NULL : memchr(payload + 1, '.', (size_t)(end - payload - 1));
    if (signature == NULL || payload == token || signature == payload + 1 || end - signature - 1 != SIGNATURE_LENGTH) {
        return false;
    }
    for (const char *at = token; at < end; at++) {
        bool allowed = (*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') ||
                       *at == '-' || *at == '_' || at == payload || at == signature;
        if (!allowed) {
            return false;
        }
    }
    *ret_parts = (struct token_parts){
        .header = token,
        .header_length = (size_t)(payload - token),
        .payload = payload + 1,
        .payload_length = (size_t)(signature - payload - 1),
    };
    return true;
}

/* Caller frees *ret_document with document_free. */
static bool parse_part(const char *part, size_t length, struct document **ret_document, struct error *error)
{
    char text[AUTH_TOKEN_MAX];
    memcpy(text, part, length);
    text[length] = '\0';

    CLEANUP(free_pointer) char *json = NULL;
    size_t json_length;
    if (!text_from_base64(text, &json, &json_length)) {
        return error_set(error, ERROR_UNAUTHORIZED, "not base64url");
    }
    struct field_errors problems = FIELD_ERRORS_INIT;
    if (!document_parse(json, json_length, ret_document, &problems)) {
        return error_set(error, ERROR_UNAUTHORIZED, "%s", problems.items[0].message);
    }
    return true;
}

/* The only algorithm is HS256, whatever else the key would fit; a header that demands extensions (crit, RFC 7515
 * section 4.1.11) is to be refused by whoever does not know them. */
static bool check_header(const struct token_parts *parts, struct error *error)
{
    CLEANUP(document_free) struct document *document = NULL;
    struct token_header header;
    struct field_errors problems = FIELD_ERRORS_INIT;
    if (!parse_part(parts->header, parts->header_length, &document, error)) {
        return error_prefix(error, "the token's header");
    }
    if (!document_read(document, NULL, &token_header_table, IN_REQUEST, NULL, &header, &problems) ||
        !text_equal(header.alg, "HS256")) {
        return error_set(error, ERROR_UNAUTHORIZED, "the token's algorithm is not HS256");
    }
    if (document_has(document, "crit")) {
        return error_set(error, ERROR_UNAUTHORIZED, "the token demands extensions");
    }
    return true;
}

static bool read_claims(const struct token_parts *parts, struct auth_claims *ret_claims, struct error *error)
{
    CLEANUP(document_free) struct document *document = NULL;
    struct field_errors problems = FIELD_ERRORS_INIT;
    if (!parse_part(parts->payload, parts->payload_length, &document, error)) {
        return error_prefix(error, "the token's claims");
    }
    if (!document_read(document, NULL, &claims_table, IN_REQUEST, NULL, ret_claims, &problems)) {
        return error_set(error, ERROR_UNAUTHORIZED, "the token's claims: %s: %s", problems.items[0].field,
                         problems.items[0].message);
    }
    return true;
}

/* Debian's libjwt compares signatures in constant time. */
static bool signed_with(const char *key, const char *token)
{
    CLEANUP(free_token) jwt_t *decoded = NULL;
    if (key == NULL || jwt_decode(&decoded, token, (const unsigned char *)key, (int)strlen(key)) != 0) {
        return false;
    }
    return jwt_get_alg(decoded) == JWT_ALG_HS256;
}

static bool check_token(const struct auth *auth, const char *token, size_t length, struct auth_claims *ret_claims,
                        struct error *error)
{
    struct token_parts parts;
    if (!split(token, length, &parts)) {
        return error_set(error, ERROR_UNAUTHORIZED, "not a signed token");
    }
    if (!check_header(&parts, error)) {
        return false;
    }
    if (!signed_with(auth->key, token) && !signed_with(auth->previous_key, token)) {
        return error_set(error, ERROR_UNAUTHORIZED, "the token's signature does not match");
    }
    return read_claims(&parts, ret_claims, error);
}

/* Also for tokens from the cache: nothing that is in there outlives its token. */
static bool check_time(const struct auth *auth, const struct auth_claims *claims, struct error *error)
{
    int64_t now = clock_now(auth->clock);
    if (now >= claims->expires_s * MILLISECONDS) {
        return error_set(error, ERROR_UNAUTHORIZED, "the token has expired");
    }
    if (now < claims->not_before_s * MILLISECONDS) {
        return error_set(error, ERROR_UNAUTHORIZED, "the token is not valid yet");
    }
    return true;
}

bool auth_token_verify(struct auth *auth, const char *token, struct http_identity *ret_identity, struct error *error)
{
    size_t length = strnlen(token, AUTH_TOKEN_MAX);
    if (length == AUTH_TOKEN_MAX) {
        return error_set(error, ERROR_UNAUTHORIZED, "the token is longer than %d bytes", AUTH_TOKEN_MAX - 1);
    }

    struct auth_claims claims;
    bool cached = auth_cache_get(auth->cache, token, length, &claims);
    auth_metrics_token(cached);
    if (!cached && !check_token(auth, token, length, &claims, error)) {
        return false;
    }
    if (!check_time(auth, &claims, error)) {
        return false;
    }
    if (!cached) {
        auth_cache_put(auth->cache, token, length, &claims);
    }
    *ret_identity = claims.identity;
    return true;
}

/* The token's text. False if it does not fit. */
static bool encode(jwt_t *token, char ret_token[static AUTH_TOKEN_MAX])
{
    char text[AUTH_TOKEN_MAX] = "";
    FILE *file = fmemopen(text, sizeof(text), "w");
    if (file == NULL) {
        return false;
    }
    bool encoded = jwt_encode_fp(token, file) == 0;
    bool written = fclose(file) == 0;

    struct token_parts parts;
    size_t length = strnlen(text, sizeof(text));
    if (!encoded || !written || length == sizeof(text) || !split(text, length, &parts)) {
        return false;
    }
    memcpy(ret_token, text, length + 1);
    return true;
}

bool auth_token_issue(struct auth *auth, const struct http_identity *identity, char ret_token[static AUTH_TOKEN_MAX],
                      struct error *error)
{
    int64_t now_s = clock_now(auth->clock) / MILLISECONDS;
    CLEANUP(free_token) jwt_t *token = NULL;
    bool made = jwt_new(&token) == 0 &&
                jwt_set_alg(token, JWT_ALG_HS256, (const unsigned char *)auth->key, (int)strlen(auth->key)) == 0 &&
                jwt_add_grant(token, "id", identity->id.hex) == 0 &&
                jwt_add_grant(token, "email", identity->email) == 0 && jwt_add_grant_int(token, "iat", now_s) == 0 &&
                jwt_add_grant_int(token, "exp", now_s + auth->lifetime_s) == 0 && encode(token, ret_token);
    return made || error_set(error, ERROR_INTERNAL, "the token cannot be made");
}
