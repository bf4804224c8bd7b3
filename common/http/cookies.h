/* SPDX-License-Identifier: Apache-2.0
 * Finds a cookie in the header Cookie (RFC 6265 section 4.2). */
#ifndef TURNSTILE_HTTP_COOKIES_H
#define TURNSTILE_HTTP_COOKIES_H

#include "common/base/compiler.h"

/* The value of the first cookie of this name, without the quotes around it, if any; NULL if there is none. Names are
 * case-sensitive. Caller frees with xfree. */
char *cookie_find(const char *header, const char *name);

#endif
