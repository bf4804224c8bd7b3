/* SPDX-License-Identifier: Apache-2.0
 * How often something may be tried: by account, by address.
 *
 * Each key has a bucket of `limit` attempts, which refills steadily, all of it within `window_ms`: after a burst the
 * next attempt is allowed after window_ms / limit. What is refused is not counted, so hammering does not prolong the
 * wait, and nobody is shut out for ever. (Who keeps failing at somebody's account on purpose does compete with its
 * owner for the attempts, as long as that goes on: the price of slowing down a guesser with many addresses.)
 *
 * Memory is bounded: keys share a table of LIMITER_ENTRIES. When there is no room, the bucket goes that would be full
 * again first, so a flood of new keys, with an attempt or two each, pushes out its own, and not those that are at their
 * limit. Where a key's place is, is a secret of the process: whoever wants to push out a certain key has to bring
 * thousands of others to its level, and each of those attempts costs a password hash. */
#ifndef TURNSTILE_AUTH_LIMITER_H
#define TURNSTILE_AUTH_LIMITER_H

#include "common/base/clock.h"

enum {
    LIMITER_ENTRIES = 16384,      /* keys that are remembered */
    LIMITER_DEBT_WINDOWS = 5,     /* attempts that ran side by side are paid for up to this many windows */
    LIMITER_ADDRESS_KEY_MAX = 64, /* bytes, with the NUL */
    LIMITER_WINDOW_MS = 60000,
    SIGNIN_FAILURES_PER_ACCOUNT = 10, /* a window */
    SIGNIN_FAILURES_PER_ADDRESS = 30, /* a window */
    SIGNUPS_PER_ADDRESS = 300,        /* a window; the default of SIGNUPS_PER_MINUTE */
};

struct limiter;

struct limiter_config {
    int64_t limit;             /* attempts a window, 1 to a thousand for each of its milliseconds */
    int64_t window_ms;         /* at least 1 */
    const struct clock *clock; /* its monotonic time; NULL: the system's; borrowed */
};

struct limiter *limiter_new(const struct limiter_config *config);
void limiter_free(struct limiter **limiter);

/* All of these are thread-safe. `key` is any text. Where an attempt is refused, *ret_retry_after_s is the seconds, at
 * least 1, after which the next is allowed if nothing else is counted meanwhile; otherwise it is left alone. */

/* Asks without counting, for what is counted only if it fails (limiter_count). Attempts that run side by side may all
 * be allowed; what they take beyond the limit is owed, and the next waits until it is paid off. */
bool limiter_allows(struct limiter *limiter, const char *key, int64_t *ret_retry_after_s) MUST_CHECK;
/* Counts one attempt. */
void limiter_count(struct limiter *limiter, const char *key);
/* Asks and, if it is allowed, counts, in one step. */
bool limiter_take(struct limiter *limiter, const char *key, int64_t *ret_retry_after_s) MUST_CHECK;
/* Forgets what was counted: an account whose owner has signed in. Not for addresses: with one good account anyone
 * could go on guessing at others. */
void limiter_reset(struct limiter *limiter, const char *key);

/* The key of a client's address: of IPv6 the first 64 bits, since whoever has one of those addresses has all of them;
 * IPv4 in IPv6 clothes is IPv4. What is no address is its own key, cut if it is too long. */
void limiter_address_key(const char *address, char ret_key[static LIMITER_ADDRESS_KEY_MAX]);

#endif
