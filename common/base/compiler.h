/* SPDX-License-Identifier: Apache-2.0
 * Attributes of gcc and clang under names that say what they are for. */
#ifndef TURNSTILE_BASE_COMPILER_H
#define TURNSTILE_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK                                __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#define UNUSED                                    __attribute__((unused))
#define NORETURN                                  __attribute__((noreturn))

/* CLEANUP(store_free) struct store *store = NULL;
 * calls store_free(&store) when the variable goes out of scope. Destructors therefore take a pointer to
 * the variable, accept NULL and half-built objects, and leave NULL behind. */
#define CLEANUP(destructor) __attribute__((cleanup(destructor)))

/* Takes the value out of a variable, leaving NULL: what is returned is no longer cleaned up here. */
#define TAKE(variable)                                                                                                 \
    __extension__({                                                                                                    \
        __typeof__(variable) take_ = (variable);                                                                       \
        (variable) = NULL;                                                                                             \
        take_;                                                                                                         \
    })

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#endif
