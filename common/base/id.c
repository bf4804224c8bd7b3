/* SPDX-License-Identifier: Apache-2.0
 * Making and reading record ids, and randomness from the kernel. */
#include "common/base/id.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/memory.h"

enum {
    ID_BYTES = ID_LENGTH / 2,
    SECONDS_BYTES = 4,
    PROCESS_BYTES = 5,
    COUNTER_BYTES = 3,
};

struct id_source {
    const struct clock *clock;
    unsigned char process[PROCESS_BYTES];
    atomic_uint counter; /* its lowest 24 bits count; wrapping is harmless within 16 million ids a second */
};

static const char hex_digits[] = "0123456789abcdef";

static void bytes_to_hex(char *ret_text, const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ret_text[2 * i] = hex_digits[bytes[i] >> 4];
        ret_text[2 * i + 1] = hex_digits[bytes[i] & 0xf];
    }
    ret_text[2 * count] = '\0';
}

struct id_source *id_source_new(const struct clock *clock)
{
    unsigned start;
    struct id_source *source = xcalloc(1, sizeof *source);
    source->clock = clock;
    random_bytes(source->process, sizeof source->process);
    random_bytes(&start, sizeof start);
    atomic_init(&source->counter, start);
    return source;
}

/* SplitMix64: seeds that differ in one bit give unrelated bytes. */
static uint64_t mix(uint64_t seed)
{
    uint64_t mixed = seed + UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

struct id_source *id_source_new_seeded(const struct clock *clock, uint64_t seed)
{
    struct id_source *source = xcalloc(1, sizeof *source);
    uint64_t bits = mix(seed);
    source->clock = clock;
    for (size_t i = 0; i < PROCESS_BYTES; i++) {
        source->process[i] = (unsigned char)(bits >> (8 * i));
    }
    atomic_init(&source->counter, (unsigned)(bits >> (8 * PROCESS_BYTES)));
    return source;
}

void id_source_free(struct id_source **source)
{
    xfree(*source);
    *source = NULL;
}

struct id id_new(struct id_source *source)
{
    unsigned char bytes[ID_BYTES];
    uint32_t seconds = (uint32_t)(clock_now(source->clock) / 1000);
    unsigned counter = atomic_fetch_add_explicit(&source->counter, 1, memory_order_relaxed);
    for (size_t i = 0; i < SECONDS_BYTES; i++) {
        bytes[i] = (unsigned char)(seconds >> (8 * (SECONDS_BYTES - 1 - i)));
    }
    memcpy(bytes + SECONDS_BYTES, source->process, PROCESS_BYTES);
    for (size_t i = 0; i < COUNTER_BYTES; i++) {
        bytes[SECONDS_BYTES + PROCESS_BYTES + i] = (unsigned char)(counter >> (8 * (COUNTER_BYTES - 1 - i)));
    }
    struct id id = {0};
    bytes_to_hex(id.hex, bytes, sizeof bytes);
    return id;
}

bool id_from_text(const char *text, struct id *ret_id)
{
    struct id id = {0};
    for (size_t i = 0; i < ID_LENGTH; i++) {
        char c = text[i];
        if (c >= 'A' && c <= 'F') {
            c = (char)(c - 'A' + 'a');
        }
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
        id.hex[i] = c;
    }
    if (text[ID_LENGTH] != '\0') {
        return false;
    }
    *ret_id = id;
    return true;
}

bool id_equal(const struct id *a, const struct id *b)
{
    return strcmp(a->hex, b->hex) == 0;
}

bool id_is_set(const struct id *id)
{
    return id->hex[0] != '\0';
}

struct id id_derive(const void *data, size_t length)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    /* It fails only if the library has no SHA-256: then no key would be right. */
    if (EVP_Digest(data, length, digest, NULL, EVP_sha256(), NULL) != 1) {
        abort();
    }
    struct id id = {0};
    bytes_to_hex(id.hex, digest, ID_BYTES);
    return id;
}

int64_t id_time(const struct id *id)
{
    int64_t seconds = 0;
    for (size_t i = 0; i < 2 * SECONDS_BYTES && id->hex[i] != '\0'; i++) {
        char c = id->hex[i];
        seconds = seconds * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return seconds * 1000;
}

void random_bytes(void *ret_data, size_t length)
{
    unsigned char *bytes = ret_data;
    size_t filled = 0;
    while (filled < length) {
        ssize_t count = getrandom(bytes + filled, length - filled, 0);
        if (count < 0 && errno != EINTR) {
            abort();
        }
        filled += count > 0 ? (size_t)count : 0;
    }
}

uint64_t random_below(uint64_t bound)
{
    assert(bound > 0);
    /* The remainder is even only for numbers below a multiple of the bound: the few above it are drawn again. */
    uint64_t uneven = UINT64_MAX % bound + 1;
    uint64_t last = uneven == bound ? UINT64_MAX : UINT64_MAX - uneven;
    uint64_t number;
    do {
        random_bytes(&number, sizeof number);
    } while (number > last);
    return number % bound;
}

void random_hex(char *ret_text, size_t length)
{
    unsigned char bytes[32];
    for (size_t i = 0; i < length; i++) {
        if (i % sizeof bytes == 0) {
            random_bytes(bytes, sizeof bytes);
        }
        ret_text[i] = hex_digits[bytes[i % sizeof bytes] & 0xf];
    }
    ret_text[length] = '\0';
}
