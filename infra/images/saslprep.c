/* SPDX-License-Identifier: Apache-2.0
 * Prints what ICU makes of passwords by SASLprep (RFC 4013), with the very functions that libmongoc calls: one line for
 * each of five and a half million strings, every character of Unicode in several places among them. Two sets of ICU's
 * data that lead to the same lines are equally good for that. Ends with 1 if RFC 4013's own examples come out wrong. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <unicode/usprep.h>
#include <unicode/ustring.h>

enum {
    UNITS_MAX = 256, /* of UTF-16: one character may be decomposed into 18 */
    TEXT_MAX = 1024, /* bytes of UTF-8, with the NUL */
    CODE_POINTS = 0x110000,
    SURROGATES_FROM = 0xD800,
    SURROGATES_END = 0xE000,
};

/* Unassigned characters are prohibited in what is stored, and are not in what is asked for. */
static const int32_t options[] = {USPREP_DEFAULT, USPREP_ALLOW_UNASSIGNED};

/* What stands before and behind each character: nothing, Latin letters, Hebrew ones (which nothing else may stand
 * between), and what it may be composed with: accents above and below, a Hangul vowel. */
static const struct {
    const char *before, *behind;
} places[] = {{"", ""}, {"a", "b"}, {"\u05D0", "\u05D1"}, {"\u05D0", ""}, {"", "\u0323\u0301"}};

static const struct {
    const char *text, *prepared; /* NULL: refused */
} examples[] = {
    {"I\u00ADX", "IX"},
    {"user", "user"},
    {"USER", "USER"},
    {"\u00AA", "a"},
    {"\u2168", "IX"},
    {"\a", NULL},
    {"\u06271", NULL},
    {"p\u00E4ss\u3000w\u00F6rd", "p\u00E4ss w\u00F6rd"},
    {"\u1112\u1161\u11AB", "\uD55C"},
    {"\u0221", NULL}, /* not assigned in Unicode 3.2 */
    {"\uFFFD", NULL},
};

/* Not UTF-8 at all, or too long for anybody: also these are to be refused in one way. */
static const char *const malformed[] = {"\x80", "a\xC3", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF"};

static UErrorCode prepare(const UStringPrepProfile *profile, const char *text, int32_t option,
                          char ret_text[static TEXT_MAX])
{
    UChar units[UNITS_MAX];
    UChar prepared[UNITS_MAX];
    int32_t length = 0;
    int32_t prepared_length = 0;
    int32_t text_length = 0;
    UErrorCode status = U_ZERO_ERROR;
    ret_text[0] = '\0';
    u_strFromUTF8(units, UNITS_MAX, &length, text, -1, &status);
    if (U_SUCCESS(status)) {
        prepared_length = usprep_prepare(profile, units, length, prepared, UNITS_MAX, option, NULL, &status);
    }
    if (U_SUCCESS(status)) {
        u_strToUTF8(ret_text, TEXT_MAX, &text_length, prepared, prepared_length, &status);
    }
    return status;
}

static void print(const UStringPrepProfile *profile, const char *text)
{
    char prepared[TEXT_MAX];
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        UErrorCode status = prepare(profile, text, options[i], prepared);
        printf("%d %s%c", (int)status, prepared, i == 0 ? '\t' : '\n');
    }
}

static size_t encode(uint32_t code_point, char ret_text[static 4])
{
    static const struct {
        uint32_t end;
        uint8_t first;
    } lengths[] = {{0x80, 0x00}, {0x800, 0xC0}, {0x10000, 0xE0}, {CODE_POINTS, 0xF0}};
    size_t length = 0;
    while (code_point >= lengths[length].end) {
        length++;
    }
    for (size_t i = length; i > 0; i--) {
        ret_text[i] = (char)(0x80 | (code_point & 0x3F));
        code_point >>= 6;
    }
    ret_text[0] = (char)(lengths[length].first | code_point);
    return length + 1;
}

static void print_everywhere(const UStringPrepProfile *profile, uint32_t code_point)
{
    char character[4];
    char text[TEXT_MAX];
    int length = (int)encode(code_point, character);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(text, sizeof text, "%s%.*s%s", places[i].before, length, character, places[i].behind);
        print(profile, text);
    }
}

static bool check_examples(const UStringPrepProfile *profile)
{
    bool right = true;
    char prepared[TEXT_MAX];
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        UErrorCode status = prepare(profile, examples[i].text, USPREP_DEFAULT, prepared);
        bool is_refused = examples[i].prepared == NULL;
        if (U_FAILURE(status) != is_refused || (!is_refused && strcmp(prepared, examples[i].prepared) != 0)) {
            fprintf(stderr, "saslprep: \"%s\" becomes \"%s\", %s\n", examples[i].text, prepared, u_errorName(status));
            right = false;
        }
    }
    return right;
}

int main(void)
{
    UErrorCode status = U_ZERO_ERROR;
    UStringPrepProfile *profile = usprep_openByType(USPREP_RFC4013_SASLPREP, &status);
    if (U_FAILURE(status)) {
        fprintf(stderr, "saslprep: ICU's data has no profile of it: %s\n", u_errorName(status));
        return 1;
    }
    bool right = check_examples(profile);
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        print(profile, malformed[i]);
    }
    for (uint32_t code_point = 1; code_point < CODE_POINTS; code_point++) {
        if (code_point < SURROGATES_FROM || code_point >= SURROGATES_END) {
            print_everywhere(profile, code_point);
        }
    }
    usprep_close(profile);
    return right && fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
