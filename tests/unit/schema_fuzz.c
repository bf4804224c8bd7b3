/* SPDX-License-Identifier: Apache-2.0
 * Mutates valid documents with a seeded generator: nothing crashes, what is refused has a reason, and what is taken
 * comes back equal after it was printed. */
#include "tests/unit/schema_fixture.h"

enum {
    ROUNDS = 100000, /* of each way of reading */
    MUTATIONS_MAX = 6,
    DOCUMENT_MAX = 8192,
    ACCEPTED_MIN = ROUNDS / 50, /* fewer would mean that hardly anything was printed and read back */
};

struct document_text {
    char bytes[DOCUMENT_MAX];
    size_t length;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static size_t random_to(uint64_t *seed, size_t bound)
{
    return (size_t)(next_random(seed) % bound);
}

static void replace(struct document_text *text, size_t at, size_t removed, const char *inserted, size_t length)
{
    if (text->length - removed + length > DOCUMENT_MAX) {
        return;
    }
    memmove(text->bytes + at + length, text->bytes + at + removed, text->length - at - removed);
    memcpy(text->bytes + at, inserted, length);
    text->length = text->length - removed + length;
}

static void insert_token(struct document_text *text, size_t at, uint64_t *seed)
{
    static const char *const tokens[] = {
        "\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\\",
        "null",
        "true",
        "false",
        "0",
        "-",
        "1e999",
        "1e-999",
        "5.0",
        "12.345",
        "12.5",
        "\\u0000",
        "\\ud83c\\udfb7",
        "\\ud800",
        "\\u00e9",
        "\xc3\xa9",
        "\xff",
        "\xed\xa0\x80",
        "9007199254740993",
        "9223372036854775808",
        "\"title\":",
        "\"version\":0,",
        "\"place\":null,",
        "\"email\":\"A@B.example\",",
        "\"delta\":-9223372036854775808,",
        "\"second\":{\"name\":\"x\"},",
        "[[[[[[[[[[[[[[[[[",
        "\n",
        " ",
        "  \t",
        "NaN",
    };
    const char *token = tokens[random_to(seed, ARRAY_LENGTH(tokens))];
    replace(text, at, 0, token, strlen(token));
}

static void mutate(struct document_text *text, uint64_t *seed)
{
    size_t at = random_to(seed, text->length);
    size_t length = 1 + random_to(seed, text->length - at < 12 ? text->length - at : 12);
    char piece[16];
    char byte = (char)random_to(seed, 256);
    char digit = (char)('0' + random_to(seed, 10));
    switch (random_to(seed, 7)) {
    case 0:
        text->bytes[at] = byte;
        break;
    case 1:
        replace(text, at, 1, &digit, 1);
        break;
    case 2:
        insert_token(text, at, seed);
        break;
    case 3:
        memcpy(piece, text->bytes + at, length);
        replace(text, random_to(seed, text->length), 0, piece, length);
        break;
    case 4:
        if (length < text->length) {
            replace(text, at, length, "", 0);
        }
        break;
    case 5:
        byte = (char)('a' + random_to(seed, 26));
        replace(text, at, 1, &byte, 1);
        break;
    default:
        insert_token(text, random_to(seed, 2) == 0 ? 1 : at, seed);
        break;
    }
}

static void comes_back_equal(enum field_in in, const struct record *head, const struct sample *sample)
{
    struct buffer first = BUFFER_INIT(SAMPLE_BUFFER_MAX), second = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    struct record head_back;
    struct sample sample_back;
    struct field_errors errors = FIELD_ERRORS_INIT;
    schema_print(&sample_table, in, head, sample, &first);
    if (!sample_parse(in, first.data, first.length, &head_back, &sample_back, &errors)) {
        fail_msg("%s was printed and not taken back: %s", buffer_text(&first), sample_errors(&errors));
    }
    schema_print(&sample_table, in, &head_back, &sample_back, &second);
    assert_string_equal(buffer_text(&first), buffer_text(&second));
    assert_true(schema_equal(&sample_table, in, sample, &sample_back));
    assert_true(id_equal(&head->id, &head_back.id));
    assert_int_equal(head->version, head_back.version);
    buffer_done(&first);
    buffer_done(&second);
}

static void has_reasons(const struct field_errors *errors)
{
    struct buffer text = BUFFER_INIT(SAMPLE_BUFFER_MAX);
    struct document *document = NULL;
    struct field_errors none = FIELD_ERRORS_INIT;
    assert_true(errors->count > 0);
    field_errors_print(errors, &text);
    assert_true(document_parse(buffer_text(&text), text.length, &document, &none));
    document_free(&document);
    buffer_done(&text);
}

static void survives_mutations(enum field_in in, const char *start, uint64_t seed)
{
    size_t accepted = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct document_text text = {.length = strlen(start)};
        struct record head;
        struct sample sample;
        struct field_errors errors = FIELD_ERRORS_INIT;
        memcpy(text.bytes, start, text.length);
        size_t mutations = 1 + random_to(&seed, 1 + random_to(&seed, MUTATIONS_MAX));
        for (size_t i = 0; i < mutations && text.length > 1; i++) {
            mutate(&text, &seed);
        }
        if (sample_parse(in, text.bytes, text.length, &head, &sample, &errors)) {
            comes_back_equal(in, &head, &sample);
            accepted++;
        } else {
            has_reasons(&errors);
        }
    }
    print_message("%zu of %d taken\n", accepted, ROUNDS);
    assert_true(accepted >= ACCEPTED_MIN);
}

static void survives_mutations_of_requests(void **state UNUSED)
{
    survives_mutations(IN_REQUEST, SAMPLE_REQUEST, 1);
}

static void survives_mutations_of_events(void **state UNUSED)
{
    survives_mutations(IN_EVENT, SAMPLE_EVENT, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_mutations_of_requests),
        cmocka_unit_test(survives_mutations_of_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
