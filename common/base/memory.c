/* SPDX-License-Identifier: Apache-2.0
 * Allocation that aborts the process when memory is out. */
#include "common/base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Nothing here may allocate, and the log formats on the stack only, but a plain write has no dependency at all. */
static NORETURN void out_of_memory(void)
{
    static const char text[] = "out of memory, aborting\n";
    ssize_t written UNUSED = write(STDERR_FILENO, text, sizeof text - 1);
    abort();
}

void *xmalloc(size_t size)
{
    void *memory = malloc(size > 0 ? size : 1);
    if (memory == NULL) {
        out_of_memory();
    }
    return memory;
}

void *xcalloc(size_t count, size_t size)
{
    bool is_empty = count == 0 || size == 0;
    void *memory = is_empty ? calloc(1, 1) : calloc(count, size);
    if (memory == NULL) {
        out_of_memory();
    }
    return memory;
}

void *xreallocarray(void *pointer, size_t count, size_t size)
{
    bool is_empty = count == 0 || size == 0;
    void *memory = is_empty ? realloc(pointer, 1) : reallocarray(pointer, count, size);
    if (memory == NULL) {
        out_of_memory();
    }
    return memory;
}

char *xstrdup(const char *text)
{
    return xmemdup(text, strlen(text) + 1);
}

char *xstrndup(const char *text, size_t length)
{
    size_t copied = strnlen(text, length);
    char *copy = xmalloc(copied + 1);
    memcpy(copy, text, copied);
    copy[copied] = '\0';
    return copy;
}

void *xmemdup(const void *data, size_t size)
{
    void *copy = xmalloc(size);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

char *xasprintf(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0) {
        out_of_memory();
    }
    return text;
}

void xfree(void *pointer)
{
    free(pointer);
}

void free_pointer(void *pointer_to_pointer)
{
    /* Copied bytewise: the variable may have any pointer type, and reading it as void * would break aliasing rules. */
    void *pointer;
    memcpy(&pointer, pointer_to_pointer, sizeof pointer);
    free(pointer);
    pointer = NULL;
    memcpy(pointer_to_pointer, &pointer, sizeof pointer);
}

void memory_wipe(void *data, size_t size)
{
    if (size > 0) {
        explicit_bzero(data, size);
    }
}
