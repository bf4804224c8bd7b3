/* SPDX-License-Identifier: Apache-2.0
 * What a handler can ask of a request. */
#include <assert.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/http/conditional.h"
#include "common/http/internal.h"

const char *http_method(const struct http_request *request)
{
    return request->match.route->method;
}

const char *http_path(const struct http_request *request)
{
    return request->url.path;
}

const char *http_parameter(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->match.parameter_count; i++) {
        if (text_equal(request->match.parameters[i].name, name)) {
            return request->match.parameters[i].value;
        }
    }
    assert(!"the route has no parameter of this name");
    return "";
}

bool http_parameter_id(struct http_request *request, const char *name, struct id *ret_id)
{
    if (!id_from_text(http_parameter(request, name), ret_id)) {
        http_respond_error(request, 404, NULL, "not found");
        return false;
    }
    return true;
}

const char *http_query(const struct http_request *request, const char *name)
{
    return url_parameter(&request->url, name);
}

const void *http_body(const struct http_request *request)
{
    return request->value;
}

const char *http_body_text(const struct http_request *request, size_t *ret_length)
{
    *ret_length = request->body != NULL ? request->received : 0;
    return request->body != NULL ? request->body : "";
}

const struct http_identity *http_identity(const struct http_request *request)
{
    return request->is_signed_in ? &request->identity : NULL;
}

const char *http_client_address(const struct http_request *request)
{
    return request->client_address[0] != '\0' ? request->client_address : connection_address(request->connection);
}

const char *http_request_id(const struct http_request *request)
{
    return request->id;
}

enum http_precondition http_precondition(const struct http_request *request, uint64_t version)
{
    CLEANUP(free_pointer) char *if_match = headers_join(request, "If-Match", ", ");
    CLEANUP(free_pointer) char *if_none_match = headers_join(request, "If-None-Match", ", ");
    return conditional_check(if_match, if_none_match, version);
}
