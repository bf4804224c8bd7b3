/* SPDX-License-Identifier: Apache-2.0
 * Record ids: 24 lower-case hex digits, in the manner of a BSON ObjectId. */
#ifndef TURNSTILE_BASE_ID_H
#define TURNSTILE_BASE_ID_H

#include "common/base/clock.h"

enum {
    ID_LENGTH = 24,
};

/* Zero-initialised: no id (hex is ""). */
struct id {
    char hex[ID_LENGTH + 1];
};

/* Makes new ids: 4 bytes of seconds, 5 random bytes of the process, 3 bytes of a counter that starts at random.
 * Thread-safe. `clock` is borrowed, NULL is the system's. Tests inject a source with a fixed clock and seed. */
struct id_source;
struct id_source *id_source_new(const struct clock *clock);                       /* random */
struct id_source *id_source_new_seeded(const struct clock *clock, uint64_t seed); /* repeatable */
void id_source_free(struct id_source **source);                                   /* NULL inside is fine */
struct id id_new(struct id_source *source);

/* Exactly 24 hex digits; upper case is folded. False leaves *ret_id as it was. */
bool id_from_text(const char *text, struct id *ret_id) MUST_CHECK;
bool id_equal(const struct id *a, const struct id *b);
bool id_is_set(const struct id *id);

/* The same id for the same bytes, for idempotency keys: the first 12 bytes of their SHA-256 (FIPS 180-4). */
struct id id_derive(const void *data, size_t length);

/* The moment that is in an id, milliseconds since 1970; meaningless for derived ids. */
int64_t id_time(const struct id *id);

/* `length` random bytes of the kernel. Aborts if there are none. */
void random_bytes(void *ret_data, size_t length);
/* A random number below `bound` (> 0), for jitter. */
uint64_t random_below(uint64_t bound);
/* `length` random hex digits and a NUL into `ret_text` (length + 1 bytes). */
void random_hex(char *ret_text, size_t length);

#endif
