/* SPDX-License-Identifier: Apache-2.0
 * The headers of a request. libmicrohttpd leaves blanks behind a value, which do not belong to it (RFC 9110 section
 * 5.5), so they are listed here. */
#include <string.h>

#include "common/base/buffer.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/http/internal.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static enum MHD_Result collect(void *context, enum MHD_ValueKind kind UNUSED, const char *name, const char *value)
{
    struct http_request *request = context;
    if (request->received_header_count == RECEIVED_HEADERS_MAX) {
        request->has_too_many_headers = true;
        return MHD_NO;
    }
    struct received_header *header = &request->received_headers[request->received_header_count++];
    header->name = name;
    header->value = value != NULL ? value : "";
    size_t length = strlen(header->value);
    if (length > 0 && is_blank(header->value[length - 1])) {
        while (length > 0 && is_blank(header->value[length - 1])) {
            length--;
        }
        header->trimmed = xstrndup(header->value, length);
        header->value = header->trimmed;
    }
    return MHD_YES;
}

void headers_collect(struct http_request *request)
{
    MHD_get_connection_values(request->handle, MHD_HEADER_KIND, collect, request);
}

void headers_done(struct http_request *request)
{
    for (size_t i = 0; i < request->received_header_count; i++) {
        xfree(request->received_headers[i].trimmed);
    }
}

const char *http_header(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->received_header_count; i++) {
        if (text_equal_ignore_case(request->received_headers[i].name, name)) {
            return request->received_headers[i].value;
        }
    }
    return NULL;
}

size_t headers_count(const struct http_request *request, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < request->received_header_count; i++) {
        count += text_equal_ignore_case(request->received_headers[i].name, name) ? 1 : 0;
    }
    return count;
}

char *headers_join(const struct http_request *request, const char *name, const char *separator)
{
    if (http_header(request, name) == NULL) {
        return NULL;
    }
    /* What was received fits into the connection's memory, and separators are shorter than what stood between. */
    CLEANUP(buffer_done) struct buffer joined = BUFFER_INIT(CONNECTION_MEMORY);
    bool is_first = true;
    for (size_t i = 0; i < request->received_header_count; i++) {
        if (text_equal_ignore_case(request->received_headers[i].name, name)) {
            buffer_append_text(&joined, is_first ? "" : separator);
            buffer_append_text(&joined, request->received_headers[i].value);
            is_first = false;
        }
    }
    return xstrdup(buffer_text(&joined));
}
