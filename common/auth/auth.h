/* SPDX-License-Identifier: Apache-2.0
 * Who is asking: passwords, tokens and the session cookie. */
#ifndef TURNSTILE_AUTH_AUTH_H
#define TURNSTILE_AUTH_AUTH_H

#include "common/http/http.h"

enum {
    AUTH_KEY_MIN = 32,            /* bytes of a signing key */
    AUTH_TOKEN_MAX = 1024,        /* bytes of a token, with the NUL */
    AUTH_COOKIE_MAX = 2048,       /* bytes of a cookie's value, with the NUL */
    AUTH_PASSWORD_HASH_MAX = 128, /* bytes, with the NUL (libsodium's crypto_pwhash_STRBYTES) */
    AUTH_CACHE_SIZE = 4096,       /* verified tokens that are remembered */
};

struct auth;

struct auth_config {
    const char *key;          /* signs and verifies; at least AUTH_KEY_MIN bytes; copied, wiped at the end */
    const char *previous_key; /* verifies only, for rotation; NULL or "": none */
    int64_t lifetime_s;       /* of a token */
    const struct clock *clock;
};

/* ERROR_INVALID: a key is too short, or the lifetime not positive. Everything below is thread-safe. */
bool auth_new(const struct auth_config *config, struct auth **ret_auth, struct error *error) MUST_CHECK;
void auth_free(struct auth **auth);

/* JSON Web Token (RFC 7519), HS256, with id, email, iat and exp in seconds. */
bool auth_token_issue(struct auth *auth, const struct http_identity *identity, char ret_token[static AUTH_TOKEN_MAX],
                      struct error *error) MUST_CHECK;
/* Signature, alg (HS256 and nothing else), exp, nbf, id and email are checked. A verified token is cached until it
 * expires. ERROR_UNAUTHORIZED says why, for logs, never for clients. */
bool auth_token_verify(struct auth *auth, const char *token, struct http_identity *ret_identity,
                       struct error *error) MUST_CHECK;

/* The cookie's value as Node's cookie-session writes it: base64 of {"jwt":"<token>"}. */
bool auth_cookie_print(const char *token, char ret_value[static AUTH_COOKIE_MAX]) MUST_CHECK;
bool auth_cookie_parse(const char *value, char ret_token[static AUTH_TOKEN_MAX]) MUST_CHECK;

/* The hook of struct http_config; context is the struct auth. */
http_authenticate auth_authenticate;

/* Argon2id (RFC 9106): 19 MiB, 2 passes. Both block for tens of milliseconds; at most as many run at once as there are
 * cores, others wait. ERROR_UNAVAILABLE: there is no memory for it. */
bool auth_password_hash(const char *password, char ret_hash[static AUTH_PASSWORD_HASH_MAX],
                        struct error *error) MUST_CHECK;
/* False if it does not match. `hash` NULL costs the same time and is false: for accounts that do not exist. */
bool auth_password_verify(const char *hash, const char *password) MUST_CHECK;

#endif
