/* SPDX-License-Identifier: Apache-2.0
 * Tests of walking field tables: flattening, finding, absence, equality, choices. */
#include "tests/unit/schema_fixture.h"

static void flattens_nested_objects_in_order(void **state UNUSED)
{
    static const char *const expected[] = {"title",     "email",       "userId",     "orderId",   "price",
                                           "discount",  "count",       "delta",      "createdAt", "expiresAt",
                                           "open",      "expired",     "status",     "reason",    "place.name",
                                           "place.row", "second.name", "second.row", "internal",  "note"};
    struct flat_field fields[SCHEMA_FIELDS_MAX];
    size_t count = table_flatten(&sample_table, IN_STORE, fields);
    assert_int_equal(count, ARRAY_LENGTH(expected));
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(fields[i].path, expected[i]);
    }
}

static void takes_only_fields_that_appear_there(void **state UNUSED)
{
    struct flat_field field;
    assert_false(table_find(&sample_table, IN_REQUEST, "place.row", &field));
    assert_false(table_find(&sample_table, IN_REQUEST, "second.name", &field));
    assert_false(table_find(&sample_table, IN_REQUEST, "internal", &field));
    assert_false(table_find(&sample_table, IN_STORE, "password", &field));
    assert_true(table_find(&sample_table, IN_REQUEST | IN_STORE, "password", &field));
    assert_true(table_find(&sample_table, IN_REQUEST | IN_STORE, "place.row", &field));
    assert_int_equal(table_flatten(&sample_table, 0, (struct flat_field[SCHEMA_FIELDS_MAX]){{.offset = 0}}), 0);
}

static void finds_a_field_with_its_place_in_the_outermost_struct(void **state UNUSED)
{
    struct flat_field field = {.offset = 0};
    assert_true(table_find(&sample_table, IN_STORE, "second.row", &field));
    assert_string_equal(field.path, "second.row");
    assert_int_equal(field.offset, offsetof(struct sample, second) + offsetof(struct place, row));
    assert_ptr_equal(field.field, &place_fields[1]);
    assert_true(table_find(&sample_table, IN_STORE, "userId", &field));
    assert_int_equal(field.offset, offsetof(struct sample, user_id));
}

static void leaves_the_field_untouched_if_there_is_none(void **state UNUSED)
{
    static const char *const missing[] = {"place", "second", "user_id", "", "place.", "place.name.x", "TITLE"};
    for (size_t i = 0; i < ARRAY_LENGTH(missing); i++) {
        struct flat_field field = {.offset = 12345};
        assert_false(table_find(&sample_table, IN_ALL, missing[i], &field));
        assert_int_equal(field.offset, 12345);
    }
}

static void requires_a_field_only_if_all_around_it_are_required(void **state UNUSED)
{
    static const struct {
        const char *path;
        bool required;
    } cases[] = {
        {"title", true}, {"email", false}, {"place.name", true}, {"place.row", false}, {"second.name", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct flat_field field;
        assert_true(table_find(&sample_table, IN_STORE, cases[i].path, &field));
        assert_int_equal(field.required, cases[i].required);
    }
}

struct inner {
    int64_t padding;
    struct place place;
};

struct outer {
    int64_t padding;
    struct inner inner;
};

static void unfolds_objects_within_objects(void **state UNUSED)
{
    static const struct field inner_fields[] = {
        FIELD(struct inner, place, FIELD_OBJECT, .required = true, .in = IN_ALL, .object = &place_table),
        {.name = NULL},
    };
    static const struct table inner = {.name = "inner", .size = sizeof(struct inner), .fields = inner_fields};
    static const struct field outer_fields[] = {
        FIELD(struct outer, inner, FIELD_OBJECT, .in = IN_EVENT, .object = &inner),
        {.name = NULL},
    };
    static const struct table outer = {.name = "outer", .size = sizeof(struct outer), .fields = outer_fields};
    struct flat_field fields[SCHEMA_FIELDS_MAX];
    assert_int_equal(table_flatten(&outer, IN_ALL, fields), 2);
    assert_string_equal(fields[1].path, "inner.place.row");
    assert_int_equal(fields[1].offset,
                     offsetof(struct outer, inner) + offsetof(struct inner, place) + offsetof(struct place, row));
    assert_false(fields[0].required); /* the outermost is optional, whatever is in it */
    assert_int_equal(table_flatten(&outer, IN_ALL & ~IN_EVENT, fields), 0);
}

static const struct field *field_of(const char *name)
{
    const struct field *field = sample_fields;
    while (strcmp(field->name, name) != 0) {
        field++;
    }
    return field;
}

static void calls_a_zero_value_absent_and_any_other_present(void **state UNUSED)
{
    static const char *const in_event[] = {"title",  "email", "userId",    "orderId",   "price",   "discount",
                                           "count",  "delta", "createdAt", "expiresAt", "expired", "status",
                                           "reason", "place", "second",    "note"};
    struct record head;
    struct sample zero, full;
    memset(&zero, 0, sizeof(zero));
    sample_fill(&head, &full);
    for (const struct field *field = sample_fields; field->name != NULL; field++) {
        assert_true(field_is_absent(field, (const char *)&zero + field->offset));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(in_event); i++) {
        const struct field *field = field_of(in_event[i]);
        assert_false(field_is_absent(field, (const char *)&full + field->offset));
    }
}

static void calls_an_object_present_if_any_field_in_it_is(void **state UNUSED)
{
    struct place place = {.row = 1};
    assert_false(field_is_absent(field_of("place"), &place));
    place.row = 0;
    place.name[0] = 'x';
    assert_false(field_is_absent(field_of("place"), &place));
    place.name[0] = '\0';
    place.name[1] = 'x'; /* behind the end of the text */
    assert_true(field_is_absent(field_of("place"), &place));
}

/* Changes one field after the other: equal where it does not appear, unequal where it does. */
static void compares_all_fields_that_appear_there(void **state UNUSED)
{
    struct flat_field fields[SCHEMA_FIELDS_MAX];
    size_t count = table_flatten(&sample_table, IN_ALL, fields);
    struct record head;
    struct sample a, b;
    sample_fill(&head, &a);
    for (size_t i = 0; i < count; i++) {
        b = a;
        assert_true(schema_equal(&sample_table, IN_ALL, &a, &b));
        ((char *)&b)[fields[i].offset] ^= 1;
        assert_false(schema_equal(&sample_table, IN_ALL, &a, &b));
        for (unsigned in = 1; in < IN_ALL; in <<= 1) {
            struct flat_field found;
            bool appears = table_find(&sample_table, in, fields[i].path, &found);
            assert_int_equal(schema_equal(&sample_table, in, &a, &b), !appears);
        }
    }
}

static void compares_texts_up_to_their_end(void **state UNUSED)
{
    struct record head;
    struct sample a, b;
    sample_fill(&head, &a);
    b = a;
    b.note[10] = 'x';
    assert_true(schema_equal(&sample_table, IN_ALL, &a, &b));
    b.note[1] = 'x';
    assert_false(schema_equal(&sample_table, IN_ALL, &a, &b));
}

static void carries_a_head_in_answers_and_events_if_versioned(void **state UNUSED)
{
    assert_true(table_has_head(&sample_table, IN_EVENT));
    assert_true(table_has_head(&sample_table, IN_RESPONSE));
    assert_false(table_has_head(&sample_table, IN_REQUEST));
    assert_false(table_has_head(&sample_table, IN_STORE));
    assert_false(table_has_head(&place_table, IN_EVENT));
}

static void maps_choices_and_their_names(void **state UNUSED)
{
    assert_int_equal(choice_from_text(sample_reasons, ""), 0);
    assert_int_equal(choice_from_text(sample_reasons, "found"), 2);
    assert_int_equal(choice_from_text(sample_reasons, "Found"), -1);
    assert_int_equal(choice_from_text(sample_reasons, "foun"), -1);
    assert_string_equal(choice_to_text(sample_reasons, 1), "lost");
    assert_null(choice_to_text(sample_reasons, 3));
    assert_null(choice_to_text(sample_reasons, -1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flattens_nested_objects_in_order),
        cmocka_unit_test(takes_only_fields_that_appear_there),
        cmocka_unit_test(finds_a_field_with_its_place_in_the_outermost_struct),
        cmocka_unit_test(leaves_the_field_untouched_if_there_is_none),
        cmocka_unit_test(requires_a_field_only_if_all_around_it_are_required),
        cmocka_unit_test(unfolds_objects_within_objects),
        cmocka_unit_test(calls_a_zero_value_absent_and_any_other_present),
        cmocka_unit_test(calls_an_object_present_if_any_field_in_it_is),
        cmocka_unit_test(compares_all_fields_that_appear_there),
        cmocka_unit_test(compares_texts_up_to_their_end),
        cmocka_unit_test(carries_a_head_in_answers_and_events_if_versioned),
        cmocka_unit_test(maps_choices_and_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
