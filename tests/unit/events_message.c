/* SPDX-License-Identifier: Apache-2.0
 * Tests of events as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/text.h"
#include "common/events/events.h"
#include "common/events/message.h"
#include "common/events/snapshot.h"

#define TRACE "0123456789abcdef0123456789abcdef"
#define HEAD  "{\"id\":\"0000000000000000000000aa\",\"version\":"
#define REST                                                                                                           \
    "\"title\":\"A\",\"price\":12.5,\"userId\":\"0000000000000000000000bb\",\"createdAt\":\"2026-01-01T00:00:00."      \
    "000Z\","                                                                                                          \
    "\"updatedAt\":\"2026-01-01T00:00:00.000Z\""

static struct id make_id(unsigned number)
{
    struct id id;
    snprintf(id.hex, sizeof(id.hex), "%024x", number);
    return id;
}

/* One full value of each entity. */
union any {
    struct ticket ticket;
    struct order order;
    struct payment payment;
    struct expiration expiration;
};

static void fill(const struct subject *subject, union any *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (subject->entity == &entity_ticket) {
        ret->ticket = (struct ticket){.title = "Fado \"ao vivo\" \xE2\x82\xAC",
                                      .price = 1250,
                                      .user_id = make_id(1),
                                      .order_id = make_id(2),
                                      .created_at = 1,
                                      .updated_at = 2};
    } else if (subject->entity == &entity_order) {
        ret->order = (struct order){.status = ORDER_AWAITING_PAYMENT,
                                    .user_id = make_id(1),
                                    .ticket = {.id = make_id(3), .title = "Fado", .price = 1},
                                    .reservation = 4,
                                    .attempt = 5,
                                    .payment_id = make_id(6),
                                    .expired = true,
                                    .created_at = 7,
                                    .expires_at = 8};
    } else if (subject->entity == &entity_payment) {
        ret->payment = (struct payment){.order_id = make_id(1),
                                        .user_id = make_id(2),
                                        .attempt = 3,
                                        .status = PAYMENT_FAILED,
                                        .amount = 400,
                                        .gateway_id = "ch_1",
                                        .reason = "declined",
                                        .created_at = 5};
    } else {
        ret->expiration.order_id = make_id(9);
    }
}

static void reads_what_it_printed_for_every_subject(void **state UNUSED)
{
    for (const struct subject *const *subject = catalogue_subjects; *subject != NULL; subject++) {
        const struct table *table = (*subject)->entity->table;
        union any value, read;
        struct record head = RECORD_INIT, read_head;
        struct event_meta meta;
        struct field_errors errors = FIELD_ERRORS_INIT;
        char event_id[EVENT_ID_MAX];
        fill(*subject, &value);
        head.id = make_id(170);
        head.version = 12;
        head.epoch = 3;
        CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(EVENT_PAYLOAD_MAX);
        message_print(*subject, &head, &value, 1000, &text);
        assert_false(text.overflowed);
        memset(&read, 0, sizeof(read));
        if (!message_parse(*subject, text.data, text.length, &read_head, &read, &meta, &errors)) {
            fail_msg("%s: %s: %s", text.data, errors.items[0].field, errors.items[0].message);
        }
        assert_true(schema_equal(table, IN_EVENT, &value, &read));
        assert_int_equal(read_head.epoch, 3);
        if (table->versioned) {
            assert_string_equal(read_head.id.hex, head.id.hex);
            assert_int_equal(read_head.version, 12);
        }
        message_event_id(*subject, &head, &value, event_id);
        assert_string_equal(meta.event_id, event_id);
        assert_int_equal(meta.time, 1000);
        assert_int_equal(meta.epoch, 3);
    }
}

static void names_events_by_entity_id_and_version(void **state UNUSED)
{
    struct record head = {.id = make_id(170), .version = 7};
    struct expiration expiration = {.order_id = make_id(171)};
    char text[EVENT_ID_MAX];
    message_event_id(&subject_order_cancelled, &head, NULL, text);
    assert_string_equal(text, "order/0000000000000000000000aa/7");
    message_event_id(&subject_expiration_complete, &head, &expiration, text);
    assert_string_equal(text, "expiration/0000000000000000000000ab");
}

static void prints_the_entity_and_then_meta(void **state UNUSED)
{
    struct record head = {.id = make_id(170), .version = 2};
    struct ticket ticket = {.title = "A", .price = 1250, .user_id = make_id(187), .reservation = 9};
    static const char expected[] =
        HEAD "2,\"title\":\"A\",\"price\":12.5,\"userId\":\"0000000000000000000000bb\","
             "\"createdAt\":\"1970-01-01T00:00:00.000Z\",\"updatedAt\":\"1970-01-01T00:00:00.000Z\",\"meta\":{"
             "\"eventId\":\"ticket/0000000000000000000000aa/2\",\"time\":\"1970-01-01T00:00:01.000Z\","
             "\"traceparent\":\"00-" TRACE "-";
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(EVENT_PAYLOAD_MAX);
    log_set_context("request", TRACE);
    message_print(&subject_ticket_updated, &head, &ticket, 1000, &text);
    log_set_context(NULL, NULL);
    assert_memory_equal(text.data, expected, strlen(expected));
    assert_string_equal(text.data + strlen(expected) + 16, "-01\"}}"); /* behind the span; no epoch while it is 0 */
}

static void begins_a_trace_of_its_own_where_there_is_none(void **state UNUSED)
{
    static const char *const contexts[] = {NULL, "short", "00000000000000000000000000000000",
                                           "0123456789ABCDEF0123456789abcdef"};
    for (size_t i = 0; i < ARRAY_LENGTH(contexts); i++) {
        struct record head = {.id = make_id(1), .version = 1};
        struct ticket ticket = {.title = "A", .price = 1, .user_id = make_id(1)};
        struct event_meta meta;
        struct field_errors errors = FIELD_ERRORS_INIT;
        char trace[TRACE_LENGTH + 1] = "";
        CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(EVENT_PAYLOAD_MAX);
        log_set_context("request", contexts[i]);
        message_print(&subject_ticket_created, &head, &ticket, 1, &text);
        log_set_context(NULL, NULL);
        assert_true(message_parse(&subject_ticket_created, text.data, text.length, &head, &ticket, &meta, &errors));
        assert_true(message_trace(&meta, trace));
        assert_int_equal(strlen(trace), TRACE_LENGTH);
    }
}

static void finds_the_trace_or_none(void **state UNUSED)
{
    static const struct {
        const char *text;
        bool is_valid;
    } examples[] = {
        {"00-" TRACE "-0123456789abcdef-01", true},
        {"01-" TRACE "-0123456789abcdef-01-later", true},
        {"", false},
        {"00-" TRACE, false},
        {"00-00000000000000000000000000000000-0123456789abcdef-01", false},
        {"00-0123456789ABCDEF0123456789abcdef-0123456789abcdef-01", false},
        {"00_" TRACE "-0123456789abcdef-01", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(examples); i++) {
        struct event_meta meta = {.time = 0};
        char trace[TRACE_LENGTH + 1] = "untouched";
        text_copy_cut(meta.traceparent, sizeof(meta.traceparent), examples[i].text);
        assert_int_equal(message_trace(&meta, trace), examples[i].is_valid);
        assert_string_equal(trace, examples[i].is_valid ? TRACE : "untouched");
    }
}

static bool parse(const char *text, struct record *ret_head, struct event_meta *ret_meta, struct error *error)
{
    struct ticket ticket;
    struct field_errors errors = FIELD_ERRORS_INIT;
    return message_parse(&subject_ticket_created, text, strlen(text), ret_head, &ticket, ret_meta, &errors) ||
           field_errors_to_error(&errors, error);
}

static void needs_no_meta_and_no_fields_that_it_does_not_know(void **state UNUSED)
{
    struct record head;
    struct event_meta meta;
    struct error error = ERROR_INIT;
    assert_true(parse(HEAD "1," REST "}", &head, &meta, &error));
    assert_string_equal(meta.event_id, "");
    assert_int_equal(head.epoch, 0);
    assert_true(parse(HEAD "1,\"colour\":{\"a\":[1]}," REST ",\"meta\":{\"shade\":2}}", &head, &meta, &error));
}

static void ignores_what_is_broken_in_meta_but_keeps_the_epoch(void **state UNUSED)
{
    struct record head;
    struct event_meta meta;
    struct error error = ERROR_INIT;
    assert_true(parse(HEAD "1," REST ",\"meta\":7}", &head, &meta, &error));
    assert_int_equal(head.epoch, 0);
    assert_true(parse(HEAD "1," REST ",\"meta\":{\"time\":\"noon\",\"eventId\":4,\"epoch\":2}}", &head, &meta, &error));
    assert_int_equal(head.epoch, 2);
    assert_string_equal(meta.event_id, "");
    assert_true(parse(HEAD "1," REST ",\"meta\":{\"eventId\":\"e\",\"epoch\":-1}}", &head, &meta, &error));
    assert_int_equal(head.epoch, 0);
}

static void says_what_is_wrong(void **state UNUSED)
{
    static const struct {
        const char *text, *message;
    } examples[] = {
        {HEAD "0," REST "}", "version: must be at least 1"},
        {"{\"version\":1," REST "}", "id: is required"},
        {HEAD "1,\"title\":\"A\",\"userId\":\"0000000000000000000000bb\",\"createdAt\":\"2026-01-01T00:00:00.000Z\","
              "\"updatedAt\":\"2026-01-01T00:00:00.000Z\"}",
         "price: is required"},
        {"[]", "must be a JSON object"},
        {"", "must be a JSON object"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(examples); i++) {
        struct record head;
        struct event_meta meta;
        struct error error = ERROR_INIT;
        assert_false(parse(examples[i].text, &head, &meta, &error));
        assert_string_equal(error.message, examples[i].message);
    }
}

static bool parse_on(const struct subject *subject, const char *text, struct record *ret_head, union any *ret_value)
{
    struct event_meta meta;
    struct field_errors errors = FIELD_ERRORS_INIT;
    return message_parse(subject, text, strlen(text), ret_head, ret_value, &meta, &errors);
}

static void reads_version_0_on_subjects_of_snapshots_alone(void **state UNUSED)
{
    for (const struct subject *const *subject = catalogue_subjects; *subject != NULL; subject++) {
        if (!(*subject)->entity->table->versioned) {
            continue;
        }
        union any value;
        struct record head;
        memset(&value, 0xAA, sizeof(value));
        assert_int_equal(parse_on(*subject, HEAD "0,\"meta\":{\"epoch\":4}}", &head, &value), (*subject)->is_snapshot);
        if ((*subject)->is_snapshot) {
            union any zero;
            memset(&zero, 0, sizeof(zero));
            assert_int_equal(head.version, 0);
            assert_int_equal(head.epoch, 4);
            assert_string_equal(head.id.hex, "0000000000000000000000aa");
            assert_memory_equal(&value, &zero, (*subject)->entity->table->size);
            assert_false(parse_on(*subject, HEAD "1}", &head, &value)); /* that has to be whole */
            assert_false(parse_on(*subject, "{\"version\":0}", &head, &value));
        }
    }
}

static void prints_a_snapshot_of_what_is_not_there_as_its_head_alone(void **state UNUSED)
{
    static const char expected[] = HEAD "0,\"meta\":{\"eventId\":\"ticket/0000000000000000000000aa/0\",";
    struct record head = {.id = make_id(170), .epoch = 7}, read;
    union any value;
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(EVENT_PAYLOAD_MAX);
    snapshot_print(&entity_ticket, &head, NULL, 1000, &text);
    assert_memory_equal(text.data, expected, strlen(expected));
    assert_true(parse_on(&subject_ticket_snapshot, text.data, &read, &value));
    assert_int_equal(read.epoch, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_printed_for_every_subject),
        cmocka_unit_test(names_events_by_entity_id_and_version),
        cmocka_unit_test(prints_the_entity_and_then_meta),
        cmocka_unit_test(begins_a_trace_of_its_own_where_there_is_none),
        cmocka_unit_test(finds_the_trace_or_none),
        cmocka_unit_test(needs_no_meta_and_no_fields_that_it_does_not_know),
        cmocka_unit_test(ignores_what_is_broken_in_meta_but_keeps_the_epoch),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(reads_version_0_on_subjects_of_snapshots_alone),
        cmocka_unit_test(prints_a_snapshot_of_what_is_not_there_as_its_head_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
