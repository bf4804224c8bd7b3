/* SPDX-License-Identifier: Apache-2.0
 * A sane check of e-mail addresses: what mail servers of today take, without comments, quotes and address literals. */
#include "common/schema/email.h"

#include <string.h>

#include "common/base/text.h"

enum {
    LABEL_MAX = 63, /* bytes of one part of a host name, RFC 1035 section 2.3.4 */
};

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* Bytes of the code point that begins at `text`. */
static size_t point_length(const char *text)
{
    size_t length = 1;
    while (is_continuation(text[length])) {
        length++;
    }
    return length;
}

static void trim(const char **text, size_t *length)
{
    while (*length > 0 && text_is_blank(*text, point_length(*text))) {
        size_t point = point_length(*text);
        *text += point;
        *length -= point;
    }
    while (*length > 0) {
        size_t last = *length - 1;
        while (is_continuation((*text)[last])) {
            last--;
        }
        if (!text_is_blank(*text + last, *length - last)) {
            return;
        }
        *length = last;
    }
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool has_blank(const char *text)
{
    while (*text != '\0') {
        size_t point = point_length(text);
        if (text_is_blank(text, point)) {
            return true;
        }
        text += point;
    }
    return false;
}

static bool is_label_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || (unsigned char)c >= 0x80;
}

static bool is_label(const char *label, size_t length)
{
    if (length == 0 || length > LABEL_MAX || label[0] == '-' || label[length - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (!is_label_byte(label[i])) {
            return false;
        }
    }
    return true;
}

static bool is_domain(const char *domain)
{
    size_t labels = 0;
    for (;;) {
        size_t length = strcspn(domain, ".");
        if (!is_label(domain, length)) {
            return false;
        }
        labels++;
        if (domain[length] == '\0') {
            return labels >= 2;
        }
        domain += length + 1;
    }
}

bool email_normalise(const char *text, char ret_email[static EMAIL_MAX + 1])
{
    size_t length = strlen(text);
    trim(&text, &length);
    if (length == 0 || length > EMAIL_MAX) {
        return false;
    }
    char email[EMAIL_MAX + 1];
    for (size_t i = 0; i < length; i++) {
        email[i] = lower(text[i]);
    }
    email[length] = '\0';
    const char *at = strchr(email, '@');
    if (at == NULL || at == email || !is_domain(at + 1)) { /* a second @ is in no domain */
        return false;
    }
    if (has_blank(email) || text_has_control(email, length) || strcspn(email, "()<>[]:;,\\\"") < length) {
        return false;
    }
    memcpy(ret_email, email, length + 1);
    return true;
}
