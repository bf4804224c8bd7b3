/* SPDX-License-Identifier: Apache-2.0
 * The HTTP endpoints of auth: sign up, in and out, and who is signed in. */
#include "services/auth/routes.h"

#include <stddef.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/base/text.h"
#include "common/service/resource.h"
#include "services/auth/limiter.h"
#include "services/auth/user.h"

enum {
    USER_BODY_MAX = 4096,     /* bytes */
    COOKIE_HEADER_MAX = 4096, /* bytes, with the NUL */
};

const struct config_option auth_options[] = {
    {"TOKEN_LIFETIME_SECONDS", CONFIG_INTEGER, offsetof(struct auth_settings, token_lifetime_s),
     .default_value = "86400", .min = 1, .max = 31536000, .help = "how long a token is valid"},
    {"COOKIE_SECURE", CONFIG_BOOLEAN, offsetof(struct auth_settings, cookie_secure), .default_value = "false",
     .help = "true: browsers send the session cookie over https only"},
    {"SIGNUPS_PER_MINUTE", CONFIG_INTEGER, offsetof(struct auth_settings, signups_per_minute), .default_value = "300",
     .min = 1, .max = 1000000, .help = "sign-ups of one address in a minute"},
    {.name = NULL},
};

int64_t auth_token_lifetime(const void *own_settings)
{
    const struct auth_settings *settings = own_settings;
    return settings->token_lifetime_s;
}

/* ---- the service's own state ---- */

static struct metric_family refusals = {"turnstile_auth_rate_limited_requests_total",
                                        "Requests that were answered 429, by what there was too much of.",
                                        METRIC_COUNTER, .labels = {"attempt"}};

struct auth_state {
    struct limiter *signups;          /* by address */
    struct limiter *account_failures; /* by e-mail */
    struct limiter *address_failures; /* by address */
};

static struct limiter *new_limiter(int64_t limit)
{
    struct limiter_config config = {.limit = limit, .window_ms = LIMITER_WINDOW_MS};
    return limiter_new(&config);
}

bool auth_service_start(struct service *service, void **ret_state, struct error *error UNUSED)
{
    const struct auth_settings *settings = service->own_settings;
    struct auth_state *state = xcalloc(1, sizeof(*state));
    state->signups = new_limiter(settings->signups_per_minute);
    state->account_failures = new_limiter(SIGNIN_FAILURES_PER_ACCOUNT);
    state->address_failures = new_limiter(SIGNIN_FAILURES_PER_ADDRESS);
    (void)metric_with(&refusals, "password");
    (void)metric_with(&refusals, "signup");
    *ret_state = state;
    return true;
}

void auth_service_stop(void *opaque)
{
    struct auth_state *state = opaque;
    limiter_free(&state->signups);
    limiter_free(&state->account_failures);
    limiter_free(&state->address_failures);
    xfree(state);
}

/* ---- answers ---- */

static void respond_too_many(struct http_request *request, const char *what, int64_t retry_after_s)
{
    char seconds[24];
    metric_add(metric_with(&refusals, what), 1);
    snprintf(seconds, sizeof(seconds), "%lld", (long long)retry_after_s);
    http_set_header(request, "Retry-After", seconds);
    http_respond_error(request, 429, NULL, "too many attempts, try again later");
}

/* False: too many passwords of this account, or from this address, were wrong, and 429 was answered. */
static bool may_try_password(struct http_request *request, struct auth_state *state, const char *email,
                             const char *address)
{
    int64_t retry_after_s = 0;
    if (limiter_allows(state->account_failures, email, &retry_after_s) &&
        limiter_allows(state->address_failures, address, &retry_after_s)) {
        return true;
    }
    respond_too_many(request, "password", retry_after_s);
    return false;
}

static void count_wrong_password(struct auth_state *state, const char *email, const char *address)
{
    limiter_count(state->account_failures, email);
    limiter_count(state->address_failures, address);
}

static void set_cookie(struct http_request *request, const struct service *service, const char *value,
                       const char *further)
{
    const struct auth_settings *settings = service->own_settings;
    char header[COOKIE_HEADER_MAX];
    snprintf(header, sizeof(header), "%s=%s; Path=/; HttpOnly; SameSite=Lax%s%s", service->settings.session_cookie,
             value, settings->cookie_secure ? "; Secure" : "", further);
    http_set_header(request, "Set-Cookie", header);
}

/* The user with a new token, in the body and in the cookie. */
static void respond_signed_in(struct http_request *request, struct service *service, unsigned status,
                              const struct id *id, const char *email)
{
    struct http_identity identity = {.id = *id};
    text_copy_cut(identity.email, sizeof(identity.email), email);
    char token[AUTH_TOKEN_MAX];
    char cookie[AUTH_COOKIE_MAX];
    struct error error = ERROR_INIT;
    if (!auth_token_issue(service->auth, &identity, token, &error)) {
        http_respond_failure(request, &error);
        return;
    }
    if (!auth_cookie_print(token, cookie)) {
        error_set(&error, ERROR_INTERNAL, "the session cookie does not fit");
        http_respond_failure(request, &error);
        return;
    }
    set_cookie(request, service, cookie, "");
    CLEANUP(buffer_done) struct buffer body = BUFFER_INIT(USER_BODY_MAX);
    user_print(id, email, token, &body);
    http_respond_json(request, status, &body);
}

/* ---- POST /api/users/signup ---- */

/* A retry under the idempotency key of the sign-up is answered as its first try was. It tells whether the password is
 * right, and is limited as a sign-in is. */
static void answer_repeated(struct http_request *request, struct service *service, const struct user *input,
                            const struct id *id, const struct user *user)
{
    struct auth_state *state = service->state;
    char address[LIMITER_ADDRESS_KEY_MAX];
    limiter_address_key(http_client_address(request), address);
    if (!may_try_password(request, state, user->email, address)) {
        return;
    }
    if (auth_password_verify(user->password_hash, input->password)) {
        respond_signed_in(request, service, 201, id, user->email);
    } else {
        count_wrong_password(state, user->email, address);
        resource_respond_key_reused(request);
    }
}

/* True if the e-mail is taken, or that cannot be told, and that was answered. */
static bool answer_taken(struct http_request *request, struct service *service, const struct user *input,
                         const struct id *id, bool repeatable)
{
    struct record head = RECORD_INIT;
    struct user user;
    struct error error = ERROR_INIT;
    if (!store_get_by_claim(service->store, &users_collection, input->email, &head, &user, &error)) {
        if (error.code == ERROR_NOT_FOUND) {
            return false;
        }
        http_respond_failure(request, &error);
    } else if (!repeatable || !id_equal(&head.id, id)) {
        http_respond_error(request, 409, "email", "is taken");
    } else {
        answer_repeated(request, service, input, id, &user);
    }
    return true;
}

static void write_user(struct http_request *request, struct service *service, const struct user *input,
                       const struct id *id, bool repeatable)
{
    struct record head = {.id = *id, .version = 1};
    struct user user;
    char hash[AUTH_PASSWORD_HASH_MAX];
    struct error error = ERROR_INIT;
    if (!auth_password_hash(input->password, hash, &error)) {
        http_respond_failure(request, &error);
        return;
    }
    user_create(input->email, hash, clock_now(NULL), &head, &user);
    enum store_result result = store_write(service->store, &users_collection, 0, &head, &user, NULL, &error);
    if (result == STORE_DONE) {
        respond_signed_in(request, service, 201, &head.id, user.email);
    } else if ((result != STORE_CONFLICT_CLAIM && result != STORE_CONFLICT_ID) ||
               !answer_taken(request, service, input, id, repeatable)) {
        resource_respond_unwritten(request, result, &error);
    }
}

static void sign_up(struct http_request *request, void *context)
{
    struct service *service = context;
    struct auth_state *state = service->state;
    const struct user *input = http_body(request);
    char address[LIMITER_ADDRESS_KEY_MAX];
    limiter_address_key(http_client_address(request), address);
    int64_t retry_after_s = 0;
    if (!limiter_take(state->signups, address, &retry_after_s)) {
        respond_too_many(request, "signup", retry_after_s);
        return;
    }
    struct id id;
    bool repeatable = false;
    if (resource_new_id(service, request, users_collection.name, input->email, &id, &repeatable) &&
        !answer_taken(request, service, input, &id, repeatable)) {
        write_user(request, service, input, &id, repeatable);
    }
}

/* ---- POST /api/users/signin ---- */

/* One message, and one password hash, whether the e-mail or the password is wrong. */
static void check_credentials(struct http_request *request, struct service *service, const char *address)
{
    struct auth_state *state = service->state;
    const struct credentials *input = http_body(request);
    struct record head = RECORD_INIT;
    struct user user;
    struct error error = ERROR_INIT;
    bool known = store_get_by_claim(service->store, &users_collection, input->email, &head, &user, &error);
    if (!known && error.code != ERROR_NOT_FOUND) {
        http_respond_failure(request, &error);
        return;
    }
    if (!auth_password_verify(known ? user.password_hash : NULL, input->password)) {
        count_wrong_password(state, input->email, address);
        http_respond_error(request, 401, NULL, "wrong email or password");
        return;
    }
    limiter_reset(state->account_failures, input->email);
    respond_signed_in(request, service, 200, &head.id, user.email);
}

static void sign_in(struct http_request *request, void *context)
{
    struct service *service = context;
    struct auth_state *state = service->state;
    const struct credentials *input = http_body(request);
    char address[LIMITER_ADDRESS_KEY_MAX];
    limiter_address_key(http_client_address(request), address);
    if (may_try_password(request, state, input->email, address)) {
        check_credentials(request, service, address);
    }
}

/* ---- POST /api/users/signout, GET /api/users/currentuser ---- */

static void sign_out(struct http_request *request, void *context)
{
    set_cookie(request, context, "", "; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
    http_respond_text(request, 200, "{}");
}

static void get_current_user(struct http_request *request, void *context UNUSED)
{
    const struct http_identity *user = http_identity(request);
    CLEANUP(buffer_done) struct buffer body = BUFFER_INIT(USER_BODY_MAX);
    buffer_append_text(&body, "{\"currentUser\":");
    if (user == NULL) {
        buffer_append_text(&body, "null");
    } else {
        user_print(&user->id, user->email, NULL, &body);
    }
    buffer_append_char(&body, '}');
    http_respond_json(request, 200, &body);
}

const struct route auth_routes[] = {
    {"POST", "/api/users/signup", ACCESS_PUBLIC, &user_table, .handler = sign_up},
    {"POST", "/api/users/signin", ACCESS_PUBLIC, &credentials_table, .handler = sign_in},
    {"POST", "/api/users/signout", ACCESS_PUBLIC, .on_io_thread = true, .handler = sign_out},
    {"GET", "/api/users/currentuser", ACCESS_OPTIONAL, .on_io_thread = true, .handler = get_current_user},
    {.method = NULL},
};
