/* SPDX-License-Identifier: Apache-2.0
 * The rules of users. */
#include "services/auth/user.h"

#include "common/base/text.h"

_Static_assert((int)EMAIL_MAX <= (int)CLAIM_MAX, "an e-mail is a claim");

static const struct field user_fields[] = {
    FIELD(struct user, email, FIELD_EMAIL, .required = true, .in = IN_REQUEST | IN_STORE),
    FIELD(struct user, password, FIELD_TEXT, .min = PASSWORD_LENGTH_MIN, .max = PASSWORD_LENGTH_MAX, .required = true,
          .in = IN_REQUEST, .rules = RULE_NOT_BLANK | RULE_SECRET),
    FIELD_NAMED("passwordHash", struct user, password_hash, FIELD_TEXT, .min = 1, .max = AUTH_PASSWORD_HASH_MAX - 1,
                .required = true, .in = IN_STORE, .rules = RULE_SECRET),
    FIELD_NAMED("createdAt", struct user, created_at, FIELD_TIME, .required = true, .in = IN_STORE),
    {.name = NULL},
};

const struct table user_table = {.name = "user", .size = sizeof(struct user), .versioned = true, .fields = user_fields};

const struct collection users_collection = {.name = "users", .table = &user_table};

static const struct field credentials_fields[] = {
    FIELD(struct credentials, email, FIELD_EMAIL, .required = true, .in = IN_REQUEST),
    FIELD(struct credentials, password, FIELD_TEXT, .min = 1, .max = PASSWORD_LENGTH_MAX, .required = true,
          .in = IN_REQUEST, .rules = RULE_SECRET),
    {.name = NULL},
};

const struct table credentials_table = {
    .name = "credentials", .size = sizeof(struct credentials), .fields = credentials_fields};

struct user_answer {
    struct id id;
    char email[EMAIL_MAX + 1];
    char token[AUTH_TOKEN_MAX];
};

static const struct field user_answer_fields[] = {
    FIELD(struct user_answer, id, FIELD_ID, .required = true, .in = IN_RESPONSE),
    FIELD(struct user_answer, email, FIELD_EMAIL, .required = true, .in = IN_RESPONSE),
    FIELD(struct user_answer, token, FIELD_TEXT, .min = 1, .max = AUTH_TOKEN_MAX - 1, .in = IN_RESPONSE,
          .rules = RULE_SECRET),
    {.name = NULL},
};

static const struct table user_answer_table = {
    .name = "userAnswer", .size = sizeof(struct user_answer), .fields = user_answer_fields};

void user_create(const char *email, const char *password_hash, int64_t now, struct record *head, struct user *ret_user)
{
    struct user user = {.created_at = now};
    text_copy_cut(user.email, sizeof(user.email), email);
    text_copy_cut(user.password_hash, sizeof(user.password_hash), password_hash);
    text_copy_cut(head->claim, sizeof(head->claim), user.email);
    *ret_user = user;
}

void user_print(const struct id *id, const char *email, const char *token, struct buffer *buffer)
{
    struct user_answer answer = {.id = *id};
    text_copy_cut(answer.email, sizeof(answer.email), email);
    text_copy_cut(answer.token, sizeof(answer.token), token == NULL ? "" : token);
    schema_print(&user_answer_table, IN_RESPONSE, NULL, &answer, buffer);
}
