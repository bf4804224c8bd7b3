/* SPDX-License-Identifier: Apache-2.0
 * Splitting and decoding of a request's target. */
#include "common/http/url.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Decodes in place, which never makes the text longer, and puts a NUL behind it: text[length] is the delimiter. */
static bool decode(char *text, size_t length, bool plus_is_space)
{
    size_t written = 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '%') {
            int high = length - i > 2 ? hex_value(text[i + 1]) : -1;
            int low = length - i > 2 ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0) {
                return false;
            }
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        text[written++] = c;
    }
    text[written] = '\0';
    return text_is_utf8(text, written);
}

static bool has_only_visible(const char *target)
{
    for (const char *c = target; *c != '\0'; c++) {
        if ((unsigned char)*c <= 0x20 || *c == 0x7f || *c == '#') {
            return false;
        }
    }
    return true;
}

/* The absolute form ("http://host/path") must be accepted by every server: what follows the authority counts. */
static const char *skip_authority(const char *target)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_LENGTH(schemes); i++) {
        size_t length = strlen(schemes[i]);
        if (strncasecmp(target, schemes[i], length) == 0) {
            return target + length + strcspn(target + length, "/?");
        }
    }
    return target;
}

static bool split_path(struct url *url, char *path, size_t length)
{
    char *end = path + length;
    for (char *segment = path + 1; segment <= end;) {
        char *slash = memchr(segment, '/', (size_t)(end - segment));
        size_t segment_length = (size_t)((slash != NULL ? slash : end) - segment);
        if (!decode(segment, segment_length, false)) {
            return false;
        }
        if (url->segment_count < URL_SEGMENTS_MAX) {
            url->segments[url->segment_count++] = segment;
        } else {
            url->has_too_many = true;
        }
        segment += segment_length + 1;
    }
    return true;
}

static const char *add_parameter(struct url *url, char *text, size_t length, char **ret_field)
{
    char *equals = memchr(text, '=', length);
    size_t name_length = equals != NULL ? (size_t)(equals - text) : length;
    if (!decode(text, name_length, true)) {
        return "the query's percent-encoding or UTF-8 is broken";
    }
    char *value = text + strlen(text); /* without '=' the name's own NUL is the empty value */
    if (equals != NULL) {
        value = equals + 1;
        if (!decode(value, length - name_length - 1, true)) {
            *ret_field = xstrdup(text);
            return "its percent-encoding or UTF-8 is broken";
        }
    }
    if (url_parameter(url, text) != NULL) {
        *ret_field = xstrdup(text);
        return "must be given only once";
    }
    if (url->parameter_count == URL_PARAMETERS_MAX) {
        return "there are too many query parameters";
    }
    url->parameters[url->parameter_count].name = text;
    url->parameters[url->parameter_count].value = value;
    url->parameter_count++;
    return NULL;
}

static const char *split_query(struct url *url, char *query, char **ret_field)
{
    while (*query != '\0') {
        size_t length = strcspn(query, "&");
        bool is_last = query[length] == '\0';
        const char *problem = length > 0 ? add_parameter(url, query, length, ret_field) : NULL;
        if (problem != NULL) {
            return problem;
        }
        query += length + (is_last ? 0 : 1);
    }
    return NULL;
}

bool url_parse(const char *target, struct url *ret_url, const char **ret_problem, char **ret_field)
{
    *ret_url = (struct url){.path = NULL};
    *ret_field = NULL;
    const char *start = skip_authority(target);
    size_t path_length = strcspn(start, "?");
    bool is_bare_authority = start != target && path_length == 0;
    ret_url->path = is_bare_authority ? xstrdup("/") : xstrndup(start, path_length);
    ret_url->is_asterisk = strcmp(target, "*") == 0;
    if (ret_url->is_asterisk) {
        return true;
    }
    if (ret_url->path[0] != '/' || !has_only_visible(start)) {
        *ret_problem = "the request's target is malformed";
        return false;
    }
    const char *query = start + path_length + (start[path_length] == '?' ? 1 : 0);
    size_t size = strlen(ret_url->path) + 1;
    size_t query_size = strlen(query) + 1;
    ret_url->decoded = xmalloc(size + query_size);
    memcpy(ret_url->decoded, ret_url->path, size);
    memcpy(ret_url->decoded + size, query, query_size);
    if (!split_path(ret_url, ret_url->decoded, size - 1)) {
        *ret_problem = "the path's percent-encoding or UTF-8 is broken";
        return false;
    }
    *ret_problem = split_query(ret_url, ret_url->decoded + size, ret_field);
    return *ret_problem == NULL;
}

void url_done(struct url *url)
{
    xfree(url->path);
    xfree(url->decoded);
    *url = (struct url){.path = NULL};
}

const char *url_parameter(const struct url *url, const char *name)
{
    for (size_t i = 0; i < url->parameter_count; i++) {
        if (text_equal(url->parameters[i].name, name)) {
            return url->parameters[i].value;
        }
    }
    return NULL;
}
