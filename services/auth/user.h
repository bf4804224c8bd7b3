/* SPDX-License-Identifier: Apache-2.0
 * The rules of users: what signs up, what signs in, and what others may see, without any I/O. */
#ifndef TURNSTILE_AUTH_USER_H
#define TURNSTILE_AUTH_USER_H

#include "common/auth/auth.h"
#include "common/store/store.h"

enum {
    PASSWORD_LENGTH_MIN = 4,                     /* characters */
    PASSWORD_LENGTH_MAX = 128,                   /* characters */
    PASSWORD_SIZE = 4 * PASSWORD_LENGTH_MAX + 1, /* bytes, with the NUL */
};

/* As a request (sign-up) it has e-mail and password, as a row everything but the password. */
struct user {
    char email[EMAIL_MAX + 1];
    char password[PASSWORD_SIZE];
    char password_hash[AUTH_PASSWORD_HASH_MAX];
    int64_t created_at;
};
extern const struct table user_table;
extern const struct collection users_collection;

/* What signs in. A password that nobody could have chosen is wrong, not malformed: which ones exist is not told here.
 */
struct credentials {
    char email[EMAIL_MAX + 1];
    char password[PASSWORD_SIZE];
};
extern const struct table credentials_table;

/* Fills the row, and the claim by which there is one user of an e-mail: the normalised e-mail itself. The head's other
 * members stay. `ret_user` may be the struct that `email` is in. */
void user_create(const char *email, const char *password_hash, int64_t now, struct record *head, struct user *ret_user);

/* Appends {"id":…,"email":…,"token":…}: all that is ever told about a user, to that user. `token` NULL: without it. */
void user_print(const struct id *id, const char *email, const char *token, struct buffer *buffer);

#endif
