/* SPDX-License-Identifier: Apache-2.0
 * The bus's address, taken apart. */
#include "common/bus/uri.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

/* Copies the bytes [start, end) into `ret`; false if they do not fit. */
static bool copy_part(char *ret, size_t size, const char *start, const char *end)
{
    size_t length = (size_t)(end - start);
    if (length >= size) {
        return false;
    }
    memcpy(ret, start, length);
    ret[length] = '\0';
    return true;
}

static bool parse_credential(const char *start, const char *end, char ret[static BUS_CREDENTIAL_MAX])
{
    char *decoded = NULL;
    if (!text_url_decode(start, (size_t)(end - start), false, &decoded)) {
        return false;
    }
    bool fits = text_copy(ret, BUS_CREDENTIAL_MAX, decoded);
    memory_wipe(decoded, strlen(decoded));
    xfree(decoded);
    return fits && ret[0] != '\0';
}

static bool parse_userinfo(const char *start, const char *end, struct bus_uri *uri)
{
    const char *colon = memchr(start, ':', (size_t)(end - start));
    return colon && parse_credential(start, colon, uri->user) && parse_credential(colon + 1, end, uri->password);
}

static bool is_host_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return name[0] != '\0' && name[strspn(name, allowed)] == '\0';
}

static bool is_ipv6_address(const char *name)
{
    return name[0] != '\0' && name[strspn(name, "0123456789abcdefABCDEF:.")] == '\0';
}

static bool parse_port(const char *start, const char *end, uint16_t *ret_port)
{
    char text[sizeof("65535")];
    int64_t port;
    if (!copy_part(text, sizeof(text), start, end) || !text_to_int64(text, 1, UINT16_MAX, &port)) {
        return false;
    }
    *ret_port = (uint16_t)port;
    return true;
}

static bool parse_host(const char *start, const char *end, struct bus_host *host)
{
    host->port = BUS_DEFAULT_PORT;
    const char *colon;
    if (start < end && *start == '[') {
        const char *bracket = memchr(start, ']', (size_t)(end - start));
        if (!bracket || !copy_part(host->name, sizeof(host->name), start + 1, bracket) ||
            !is_ipv6_address(host->name)) {
            return false;
        }
        colon = bracket + 1;
        if (colon < end && *colon != ':') {
            return false;
        }
    } else {
        colon = memchr(start, ':', (size_t)(end - start));
        colon = colon ? colon : end;
        if (!copy_part(host->name, sizeof(host->name), start, colon) || !is_host_name(host->name)) {
            return false;
        }
    }
    return colon == end || parse_port(colon + 1, end, &host->port);
}

static bool parse_hosts(const char *start, const char *end, struct bus_uri *uri, struct error *error)
{
    for (;;) {
        if (uri->host_count == BUS_HOSTS_MAX) {
            return error_set(error, ERROR_INVALID, "more than %d hosts", BUS_HOSTS_MAX);
        }
        const char *comma = memchr(start, ',', (size_t)(end - start));
        if (!parse_host(start, comma ? comma : end, &uri->hosts[uri->host_count])) {
            return error_set(error, ERROR_INVALID, "host %zu is not of the form name:port", uri->host_count + 1);
        }
        uri->host_count++;
        if (!comma) {
            return true;
        }
        start = comma + 1;
    }
}

static bool parse_query(const char *query, struct bus_uri *uri, struct error *error)
{
    static const char name[] = "replicas=";
    int64_t replicas;
    if (!text_starts_with(query, name)) {
        return error_set(error, ERROR_INVALID, "what follows the '?' is not of the form %sn, which is all there is",
                         name);
    }
    if (!text_to_int64(query + strlen(name), 1, BUS_REPLICAS_MAX, &replicas)) {
        return error_set(error, ERROR_INVALID, "replicas must be 1 to %d", BUS_REPLICAS_MAX);
    }
    uri->replicas = (unsigned)replicas;
    return true;
}

/* What follows the hosts, "" or starting with '/' or '?'. */
static bool parse_tail(const char *tail, struct bus_uri *uri, struct error *error)
{
    const char *query = tail + strcspn(tail, "?");
    if (*tail == '/' && !copy_part(uri->path, sizeof(uri->path), tail + 1, query)) {
        return error_set(error, ERROR_INVALID, "what follows the '/' is too long");
    }
    return *query == '\0' || parse_query(query + 1, uri, error);
}

static bool parse(const char *text, struct bus_uri *uri, struct error *error)
{
    const char *separator = strstr(text, "://");
    if (!separator || !copy_part(uri->scheme, sizeof(uri->scheme), text, separator)) {
        return error_set(error, ERROR_INVALID, "no scheme://");
    }
    const char *authority = separator + strlen("://");
    const char *end = authority + strcspn(authority, "/?");
    if (!parse_tail(end, uri, error)) {
        return false;
    }
    const char *at = memchr(authority, '@', (size_t)(end - authority));
    if (at) {
        if (!parse_userinfo(authority, at, uri)) {
            return error_set(error, ERROR_INVALID, "what precedes the '@' is not of the form user:password");
        }
        authority = at + 1;
    }
    return parse_hosts(authority, end, uri, error);
}

bool bus_uri_parse(const char *text, struct bus_uri *ret_uri, struct error *error)
{
    struct bus_uri uri = {.host_count = 0};
    bool valid = parse(text, &uri, error);
    if (valid) {
        *ret_uri = uri;
    }
    memory_wipe(uri.password, sizeof(uri.password));
    return valid;
}
