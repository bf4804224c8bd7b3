/* SPDX-License-Identifier: Apache-2.0
 * An entity with a field of every type, and what the tests of schema do with it. */
#ifndef TURNSTILE_TESTS_UNIT_SCHEMA_FIXTURE_H
#define TURNSTILE_TESTS_UNIT_SCHEMA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/schema/schema.h"

enum {
    SAMPLE_BUFFER_MAX = 1 << 20,
    SAMPLE_TITLE_MAX = 5,  /* code points */
    SAMPLE_TITLE_SIZE = 9, /* bytes: fewer than five of the longest characters */
};

struct place {
    char name[16];
    int64_t row;
};

struct sample {
    char title[SAMPLE_TITLE_SIZE];
    char email[EMAIL_MAX + 1];
    char password[32];
    struct id user_id;
    struct id order_id;
    int64_t price;
    int64_t discount;
    int64_t count;
    int64_t delta;
    int64_t created_at;
    int64_t expires_at;
    bool open;
    bool expired;
    int32_t status;
    int32_t reason;
    struct place place;
    struct place second;
    int64_t internal;
    char note[300];
};

static const char *const sample_statuses[] = {"new", "old", NULL};
static const char *const sample_reasons[] = {"", "lost", "found", NULL};

static const struct field place_fields[] = {
    FIELD(struct place, name, FIELD_TEXT, .min = 1, .max = 15, .required = true, .in = IN_ALL),
    FIELD(struct place, row, FIELD_INTEGER, .min = 1, .max = 99, .in = IN_ALL & ~IN_REQUEST),
    {.name = NULL},
};

static const struct table place_table = {.name = "place", .size = sizeof(struct place), .fields = place_fields};

static const struct field sample_fields[] = {
    FIELD(struct sample, title, FIELD_TEXT, .min = 2, .max = SAMPLE_TITLE_MAX, .required = true, .in = IN_ALL,
          .rules = RULE_NOT_BLANK | RULE_NO_CONTROL, .description = "What it is called"),
    FIELD(struct sample, email, FIELD_EMAIL, .in = IN_ALL),
    FIELD(struct sample, password, FIELD_TEXT, .min = 4, .max = 20, .in = IN_REQUEST, .rules = RULE_SECRET),
    FIELD_NAMED("userId", struct sample, user_id, FIELD_ID, .required = true, .in = IN_ALL),
    FIELD_NAMED("orderId", struct sample, order_id, FIELD_ID, .in = IN_ALL),
    FIELD(struct sample, price, FIELD_MONEY, .min = 1, .max = 100000000, .required = true, .in = IN_ALL),
    FIELD(struct sample, discount, FIELD_MONEY, .min = -500, .max = 500, .in = IN_ALL),
    FIELD(struct sample, count, FIELD_INTEGER, .min = 1, .max = 10, .required = true, .in = IN_ALL),
    FIELD(struct sample, delta, FIELD_INTEGER, .min = INT64_MIN, .max = INT64_MAX, .in = IN_ALL),
    FIELD_NAMED("createdAt", struct sample, created_at, FIELD_TIME, .required = true, .in = IN_PUBLIC),
    FIELD_NAMED("expiresAt", struct sample, expires_at, FIELD_TIME, .in = IN_ALL),
    FIELD(struct sample, open, FIELD_BOOLEAN, .required = true, .in = IN_ALL),
    FIELD(struct sample, expired, FIELD_BOOLEAN, .in = IN_ALL),
    FIELD(struct sample, status, FIELD_CHOICE, .required = true, .in = IN_ALL, .choices = sample_statuses),
    FIELD(struct sample, reason, FIELD_CHOICE, .in = IN_ALL, .choices = sample_reasons),
    FIELD(struct sample, place, FIELD_OBJECT, .required = true, .in = IN_ALL, .object = &place_table),
    FIELD(struct sample, second, FIELD_OBJECT, .in = IN_PUBLIC, .object = &place_table),
    FIELD(struct sample, internal, FIELD_INTEGER, .min = 1, .in = IN_STORE),
    FIELD(struct sample, note, FIELD_TEXT, .in = IN_ALL),
    {.name = NULL},
};

static const struct table sample_table = {
    .name = "sample", .size = sizeof(struct sample), .versioned = true, .fields = sample_fields};

#define SAMPLE_ID    "0123456789abcdef01234567"
#define SAMPLE_USER  "aaaaaaaaaaaaaaaaaaaaaaaa"
#define SAMPLE_ORDER "bbbbbbbbbbbbbbbbbbbbbbbb"
#define SAMPLE_TIME  INT64_C(1769860800000) /* 2026-01-31T12:00:00.000Z */

/* The least that a request needs. */
#define SAMPLE_REQUEST                                                                                                 \
    "{\"title\":\"Jazz\",\"userId\":\"" SAMPLE_USER "\",\"price\":12.5,\"count\":3,\"open\":false,"                    \
    "\"status\":\"new\",\"place\":{\"name\":\"hall\"}}"

/* Every field that is in an event. */
#define SAMPLE_EVENT                                                                                                   \
    "{\"id\":\"" SAMPLE_ID "\",\"version\":7,\"title\":\"Jazz\",\"email\":\"a@b.example\","                            \
    "\"userId\":\"" SAMPLE_USER "\",\"orderId\":\"" SAMPLE_ORDER "\",\"price\":12.5,\"discount\":-0.05,\"count\":3,"   \
    "\"delta\":-9,\"createdAt\":\"2026-01-31T12:00:00.000Z\",\"expiresAt\":\"2026-01-31T12:15:00.001Z\","              \
    "\"open\":false,\"expired\":true,\"status\":\"old\",\"reason\":\"found\",\"place\":{\"name\":\"hall\",\"row\":4}," \
    "\"second\":{\"name\":\"roof\"},\"note\":\"n\"}"

static inline void sample_set_text(char *ret, size_t size, const char *text)
{
    assert_true(strlen(text) < size);
    memcpy(ret, text, strlen(text) + 1);
}

/* What SAMPLE_EVENT says. */
static inline void sample_fill(struct record *ret_head, struct sample *ret_sample)
{
    *ret_head = RECORD_INIT;
    ret_head->version = 7;
    assert_true(id_from_text(SAMPLE_ID, &ret_head->id));
    memset(ret_sample, 0, sizeof(*ret_sample));
    sample_set_text(ret_sample->title, sizeof(ret_sample->title), "Jazz");
    sample_set_text(ret_sample->email, sizeof(ret_sample->email), "a@b.example");
    assert_true(id_from_text(SAMPLE_USER, &ret_sample->user_id));
    assert_true(id_from_text(SAMPLE_ORDER, &ret_sample->order_id));
    ret_sample->price = 1250;
    ret_sample->discount = -5;
    ret_sample->count = 3;
    ret_sample->delta = -9;
    ret_sample->created_at = SAMPLE_TIME;
    ret_sample->expires_at = SAMPLE_TIME + 15 * 60 * 1000 + 1;
    ret_sample->expired = true;
    ret_sample->status = 1;
    ret_sample->reason = 2;
    sample_set_text(ret_sample->place.name, sizeof(ret_sample->place.name), "hall");
    ret_sample->place.row = 4;
    sample_set_text(ret_sample->second.name, sizeof(ret_sample->second.name), "roof");
    sample_set_text(ret_sample->note, sizeof(ret_sample->note), "n");
}

/* One line an error: "field: message". Borrowed until the next call. */
static inline const char *sample_errors(const struct field_errors *errors)
{
    static char text[FIELD_ERRORS_MAX * (SCHEMA_PATH_MAX + FIELD_MESSAGE_MAX + 4)];
    size_t length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < errors->count; i++) {
        const char *field = errors->items[i].field;
        length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s%s\n", field, *field == '\0' ? "" : ": ",
                                   errors->items[i].message);
    }
    return text;
}

/* Parses from memory that ends where the text ends, so that a sanitizer sees any step beyond. */
static inline bool sample_parse(enum field_in in, const char *text, size_t length, struct record *ret_head,
                                struct sample *ret_sample, struct field_errors *errors)
{
    char *exact = xmalloc(length + 1);
    memcpy(exact + 1, text, length);
    bool valid = schema_parse(&sample_table, in, exact + 1, length, ret_head, ret_sample, errors);
    xfree(exact);
    return valid;
}

static inline const char *sample_problems(enum field_in in, const char *text)
{
    struct record head;
    struct sample sample;
    struct field_errors errors = FIELD_ERRORS_INIT;
    bool valid = sample_parse(in, text, strlen(text), &head, &sample, &errors);
    assert_int_equal(valid, errors.count == 0);
    return sample_errors(&errors);
}

/* What is wrong with a request that is valid but for this member, which replaces or joins the others. */
static inline const char *sample_problems_with(const char *member, const char *json)
{
    static const struct {
        const char *name, *json;
    } members[] = {
        {"title", "\"Jazz\""}, {"userId", "\"" SAMPLE_USER "\""}, {"price", "1"}, {"count", "1"}, {"open", "true"},
        {"status", "\"new\""}, {"place", "{\"name\":\"hall\"}"}};
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    buffer_append_char(&text, '{');
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        if (!text_equal(members[i].name, member)) {
            buffer_printf(&text, "\"%s\":%s,", members[i].name, members[i].json);
        }
    }
    buffer_printf(&text, "\"%s\":%s}", member, json);
    const char *problems = sample_problems(IN_REQUEST, buffer_text(&text));
    buffer_done(&text);
    return problems;
}

#endif
