/* SPDX-License-Identifier: Apache-2.0
 * Parsing of the header Cookie. */
#include "common/http/cookies.h"

#include <string.h>

#include "common/base/memory.h"

char *cookie_find(const char *header, const char *name)
{
    size_t name_length = strlen(name);
    for (const char *pair = header; *pair != '\0';) {
        pair += strspn(pair, " \t;");
        size_t length = strcspn(pair, ";");
        if (length > name_length && memcmp(pair, name, name_length) == 0 && pair[name_length] == '=') {
            const char *value = pair + name_length + 1;
            size_t value_length = length - name_length - 1;
            while (value_length > 0 && (value[value_length - 1] == ' ' || value[value_length - 1] == '\t')) {
                value_length--;
            }
            bool is_quoted = value_length >= 2 && value[0] == '"' && value[value_length - 1] == '"';
            return is_quoted ? xstrndup(value + 1, value_length - 2) : xstrndup(value, value_length);
        }
        pair += length;
    }
    return NULL;
}
