/* SPDX-License-Identifier: Apache-2.0
 * Tests of the rules of users: what a sign-up and a sign-in may say, and what is told about a user. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "services/auth/user.h"

#define TICKET "\xf0\x9f\x8e\xab" /* one character in four bytes */

/* `text` `count` times. Caller frees with xfree. */
static char *repeat(const char *text, size_t count)
{
    size_t length = strlen(text);
    char *repeated = xcalloc(1, length * count + 1);
    for (size_t i = 0; i < count; i++) {
        memcpy(repeated + i * length, text, length);
    }
    return repeated;
}

static bool parse(const struct table *table, const char *email, const char *password, void *ret_value,
                  struct field_errors *errors)
{
    CLEANUP(buffer_done) struct buffer json = BUFFER_INIT(8192);
    buffer_append_text(&json, "{\"email\":");
    buffer_append_json_string(&json, email, strlen(email));
    buffer_append_text(&json, ",\"password\":");
    buffer_append_json_string(&json, password, strlen(password));
    buffer_append_text(&json, "}");
    *errors = FIELD_ERRORS_INIT;
    return schema_parse(table, IN_REQUEST, json.data, json.length, NULL, ret_value, errors);
}

static void assert_only_wrong(const struct field_errors *errors, const char *field)
{
    assert_int_equal(errors->count, 1);
    assert_string_equal(errors->items[0].field, field);
}

static void a_sign_up_has_a_normalised_email_and_its_password(void **state UNUSED)
{
    struct user user;
    struct field_errors errors;
    assert_true(parse(&user_table, " Ann@Example.COM ", "pass word ", &user, &errors));
    assert_string_equal(user.email, "ann@example.com");
    assert_string_equal(user.password, "pass word ");
    assert_string_equal(user.password_hash, "");
}

static void a_sign_up_cannot_say_what_is_ours(void **state UNUSED)
{
    static const char json[] = "{\"id\":\"65a1b2c3d4e5f60718293a4b\",\"version\":7,\"email\":\"ann@example.com\","
                               "\"password\":\"abcd\",\"passwordHash\":\"x\",\"password_hash\":\"x\","
                               "\"createdAt\":\"2026-01-01T00:00:00.000Z\"}";
    struct user user;
    struct field_errors errors = FIELD_ERRORS_INIT;
    assert_true(schema_parse(&user_table, IN_REQUEST, json, strlen(json), NULL, &user, &errors));
    assert_string_equal(user.password_hash, "");
    assert_int_equal(user.created_at, 0);
}

static void new_passwords_have_4_to_128_characters(void **state UNUSED)
{
    static const struct {
        const char *piece;
        size_t count;
        bool valid;
    } cases[] = {
        {"x", 0, false},     {"x", 3, false},      {"x", 4, true},     {"x", 128, true},
        {"x", 129, false},   {"x", 1000, false},   {TICKET, 3, false}, {TICKET, 4, true},
        {TICKET, 128, true}, {TICKET, 129, false}, {" ", 8, false},    {"\xe3\x80\x80", 8, false},
        {"\t\n", 4, false},  {" x ", 2, true},     {"\x01x", 2, true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(free_pointer) char *password = repeat(cases[i].piece, cases[i].count);
        struct user user;
        struct field_errors errors;
        if (parse(&user_table, "ann@example.com", password, &user, &errors) != cases[i].valid) {
            fail_msg("%zu times \"%s\": %s", cases[i].count, cases[i].piece, cases[i].valid ? "refused" : "accepted");
        }
        if (cases[i].valid) {
            assert_string_equal(user.password, password);
        } else {
            assert_only_wrong(&errors, "password");
        }
    }
}

static void every_wrong_field_of_a_sign_up_is_told_and_no_password_is(void **state UNUSED)
{
    struct user user;
    struct field_errors errors;
    assert_false(parse(&user_table, "nonsense", "q7!", &user, &errors));
    assert_int_equal(errors.count, 2);
    assert_string_equal(errors.items[0].field, "email");
    assert_string_equal(errors.items[1].field, "password");
    CLEANUP(buffer_done) struct buffer printed = BUFFER_INIT(4096);
    field_errors_print(&errors, &printed);
    assert_null(strstr(buffer_text(&printed), "q7!"));
}

static void a_sign_in_takes_any_password_but_none(void **state UNUSED)
{
    static const struct {
        const char *piece;
        size_t count;
        bool valid;
    } cases[] = {
        {"x", 0, false}, {"x", 1, true}, {" ", 1, true}, {"x", 128, true}, {TICKET, 128, true}, {"x", 129, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(free_pointer) char *password = repeat(cases[i].piece, cases[i].count);
        struct credentials credentials;
        struct field_errors errors;
        if (parse(&credentials_table, "Ann@example.com", password, &credentials, &errors) != cases[i].valid) {
            fail_msg("%zu times \"%s\": %s", cases[i].count, cases[i].piece, cases[i].valid ? "refused" : "accepted");
        }
        if (cases[i].valid) {
            assert_string_equal(credentials.password, password);
            assert_string_equal(credentials.email, "ann@example.com");
        } else {
            assert_only_wrong(&errors, "password");
        }
    }
}

static void a_sign_in_with_a_malformed_email_is_refused(void **state UNUSED)
{
    struct credentials credentials;
    struct field_errors errors;
    assert_false(parse(&credentials_table, "ann", "abcd", &credentials, &errors));
    assert_only_wrong(&errors, "email");
    assert_false(parse(&credentials_table, "", "abcd", &credentials, &errors));
    assert_only_wrong(&errors, "email");
}

static void the_row_has_the_hash_and_not_the_password(void **state UNUSED)
{
    struct record head = RECORD_INIT;
    struct user user;
    struct field_errors errors;
    assert_true(id_from_text("65a1b2c3d4e5f60718293a4b", &head.id));
    assert_true(parse(&user_table, "Ann@example.com", "secret password", &user, &errors));
    user_create(user.email, "$argon2id$…", INT64_C(1767225600000), &head, &user);

    assert_string_equal(head.claim, "ann@example.com");
    assert_string_equal(head.id.hex, "65a1b2c3d4e5f60718293a4b");
    assert_string_equal(user.password, "");
    CLEANUP(buffer_done) struct buffer row = BUFFER_INIT(4096);
    schema_print_members(&user_table, IN_STORE, &head, &user, &row);
    assert_non_null(strstr(buffer_text(&row), "\"email\":\"ann@example.com\""));
    assert_non_null(strstr(buffer_text(&row), "\"passwordHash\":\"$argon2id$…\""));
    assert_non_null(strstr(buffer_text(&row), "\"createdAt\":\"2026-01-01T00:00:00.000Z\""));
    assert_null(strstr(buffer_text(&row), "\"password\""));
    assert_null(strstr(buffer_text(&row), "secret"));
}

static void answers_and_events_never_have_password_or_hash(void **state UNUSED)
{
    static const enum field_in places[] = {IN_RESPONSE, IN_EVENT};
    struct flat_field field;
    for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
        assert_false(table_find(&user_table, places[i], "password", &field));
        assert_false(table_find(&user_table, places[i], "passwordHash", &field));
    }
    assert_false(table_find(&user_table, IN_STORE, "password", &field));
    assert_true(table_find(&user_table, IN_STORE, "passwordHash", &field));
}

static void a_user_is_told_id_email_and_token(void **state UNUSED)
{
    struct id id;
    assert_true(id_from_text("65a1b2c3d4e5f60718293a4b", &id));
    CLEANUP(buffer_done) struct buffer with = BUFFER_INIT(4096);
    CLEANUP(buffer_done) struct buffer without = BUFFER_INIT(4096);
    user_print(&id, "ann@example.com", "a.b.c", &with);
    user_print(&id, "ann@example.com", NULL, &without);
    assert_string_equal(buffer_text(&with),
                        "{\"id\":\"65a1b2c3d4e5f60718293a4b\",\"email\":\"ann@example.com\",\"token\":\"a.b.c\"}");
    assert_string_equal(buffer_text(&without), "{\"id\":\"65a1b2c3d4e5f60718293a4b\",\"email\":\"ann@example.com\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sign_up_has_a_normalised_email_and_its_password),
        cmocka_unit_test(a_sign_up_cannot_say_what_is_ours),
        cmocka_unit_test(new_passwords_have_4_to_128_characters),
        cmocka_unit_test(every_wrong_field_of_a_sign_up_is_told_and_no_password_is),
        cmocka_unit_test(a_sign_in_takes_any_password_but_none),
        cmocka_unit_test(a_sign_in_with_a_malformed_email_is_refused),
        cmocka_unit_test(the_row_has_the_hash_and_not_the_password),
        cmocka_unit_test(answers_and_events_never_have_password_or_hash),
        cmocka_unit_test(a_user_is_told_id_email_and_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
