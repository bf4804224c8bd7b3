/* SPDX-License-Identifier: Apache-2.0
 * What went wrong, in a form that a caller can act on and a person can read. */
#ifndef TURNSTILE_BASE_ERROR_H
#define TURNSTILE_BASE_ERROR_H

#include <stdarg.h>

#include "common/base/compiler.h"

enum {
    ERROR_MESSAGE_MAX = 256, /* bytes, with the terminating NUL; longer messages are cut */
};

/* What the caller should do differs between any two of these; what happened is in the message. */
enum error_code {
    ERROR_NONE = 0,
    ERROR_INVALID,      /* the input is wrong: repeating it will not help */
    ERROR_UNAUTHORIZED, /* nobody is signed in, or the token does not verify */
    ERROR_FORBIDDEN,    /* signed in, but not allowed */
    ERROR_NOT_FOUND,
    ERROR_CONFLICT,    /* the state of things is against it */
    ERROR_GAP,         /* a predecessor is missing */
    ERROR_UNAVAILABLE, /* the store, the bus or a queue cannot take it now; the outcome may be unknown */
    ERROR_INTERNAL,    /* our own fault */
};

/* Owned by the caller, usually on its stack; start from ERROR_INIT. */
struct error {
    enum error_code code;
    char message[ERROR_MESSAGE_MAX];
};

#define ERROR_INIT ((struct error){.code = ERROR_NONE})

/* Stores code and message and returns false, so that a function can end with `return error_set(…)`.
 * `error` may be NULL. The message is for a person: no full stop, no newline. */
bool error_set(struct error *error, enum error_code code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Puts "<context>: " in front of the message, on the way up; returns false. */
bool error_prefix(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);

/* The name of a code, for logs: "unavailable". Static. */
const char *error_code_name(enum error_code code);

#endif
