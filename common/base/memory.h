/* SPDX-License-Identifier: Apache-2.0
 * Allocation that does not fail: when memory is out the process aborts and its supervisor restarts it. */
#ifndef TURNSTILE_BASE_MEMORY_H
#define TURNSTILE_BASE_MEMORY_H

#include "common/base/compiler.h"

/* All memory from here is released with xfree. Sizes are checked for overflow. Never return NULL. */
void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xreallocarray(void *pointer, size_t count, size_t size);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t length);
void *xmemdup(const void *data, size_t size);
char *xasprintf(const char *format, ...) PRINTF_LIKE(1, 2);

void xfree(void *pointer); /* NULL is fine */

/* For CLEANUP on any pointer variable: CLEANUP(free_pointer) char *text = xstrdup("…"). */
void free_pointer(void *pointer_to_pointer);

/* Overwrites memory that held a secret; not optimised away. */
void memory_wipe(void *data, size_t size);

#endif
