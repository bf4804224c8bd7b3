/* SPDX-License-Identifier: Apache-2.0
 * Parsing of entity tags and the verdict on preconditions. */
#include "common/http/conditional.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void etag_print(uint64_t version, char ret_tag[static ETAG_SIZE])
{
    snprintf(ret_tag, ETAG_SIZE, "\"%" PRIu64 "\"", version);
}

static const char *skip_separators(const char *text)
{
    return text + strspn(text, " \t,");
}

/* What may stand between a tag's quotes: a comma, but no quote, blank or control character. */
static bool is_tag_character(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte == 0x21 || (byte >= 0x23 && byte != 0x7f);
}

/* Reads one tag, its quotes included, and returns what follows; NULL if it is malformed. */
static const char *read_tag(const char *text, bool *ret_weak, const char **ret_tag, size_t *ret_length)
{
    *ret_weak = text[0] == 'W' && text[1] == '/';
    const char *start = text + (*ret_weak ? 2 : 0);
    if (*start != '"') {
        return NULL;
    }
    const char *end = start + 1;
    while (is_tag_character(*end)) {
        end++;
    }
    if (*end != '"') {
        return NULL;
    }
    *ret_tag = start;
    *ret_length = (size_t)(end + 1 - start);
    const char *next = end + 1 + strspn(end + 1, " \t");
    return *next == ',' || *next == '\0' ? next : NULL;
}

enum etag_verdict etag_find(const char *list, uint64_t version, bool weak_counts)
{
    char wanted[ETAG_SIZE];
    etag_print(version, wanted);
    const char *rest = skip_separators(list);
    if (rest[0] == '*' && *skip_separators(rest + 1) == '\0') {
        return version > 0 ? ETAG_LISTED : ETAG_NOT_LISTED;
    }
    bool is_listed = false;
    bool is_empty = *rest == '\0';
    while (*rest != '\0') {
        bool is_weak = false;
        const char *tag = NULL;
        size_t length = 0;
        rest = read_tag(rest, &is_weak, &tag, &length);
        if (rest == NULL) {
            return ETAG_MALFORMED;
        }
        bool is_same = length == strlen(wanted) && memcmp(tag, wanted, length) == 0;
        is_listed |= is_same && version > 0 && (weak_counts || !is_weak);
        rest = skip_separators(rest);
    }
    if (is_empty) {
        return ETAG_MALFORMED;
    }
    return is_listed ? ETAG_LISTED : ETAG_NOT_LISTED;
}

enum http_precondition conditional_check(const char *if_match, const char *if_none_match, uint64_t version)
{
    if (if_match == NULL && if_none_match == NULL) {
        return HTTP_PRECONDITION_NONE;
    }
    if (if_match != NULL && etag_find(if_match, version, false) != ETAG_LISTED) {
        return HTTP_PRECONDITION_FAILED;
    }
    if (if_none_match != NULL && etag_find(if_none_match, version, true) != ETAG_NOT_LISTED) {
        return HTTP_PRECONDITION_FAILED;
    }
    return HTTP_PRECONDITION_HOLDS;
}

/* An If-None-Match that is malformed is ignored: who gets the record in full has lost nothing. */
enum conditional_get conditional_get(const char *if_match, const char *if_none_match, uint64_t version)
{
    if (if_match != NULL && etag_find(if_match, version, false) != ETAG_LISTED) {
        return CONDITIONAL_GET_FAILED;
    }
    bool is_known = if_none_match != NULL && etag_find(if_none_match, version, true) == ETAG_LISTED;
    return is_known ? CONDITIONAL_GET_NOT_MODIFIED : CONDITIONAL_GET_SEND;
}
