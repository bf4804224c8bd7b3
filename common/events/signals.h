/* SPDX-License-Identifier: Apache-2.0
 * What instances of a service tell each other about held events: "<collection> <id> <version>". */
#ifndef TURNSTILE_EVENTS_SIGNALS_H
#define TURNSTILE_EVENTS_SIGNALS_H

#include "common/store/store.h"

/* A version of a record of ours: lacking, or there. */
struct notice {
    const struct collection *collection;
    struct id id;
    uint64_t version;
};

enum {
    NOTICE_TEXT_SIZE = 64 + 1 + ID_LENGTH + 1 + 20 + 1, /* with the NUL */
};

void notice_print(const struct notice *notice, char ret_text[static NOTICE_TEXT_SIZE]);
/* Anyone on the bus can send anything: false if it is no notice about one of these collections (`count` of them). */
bool notice_parse(const void *data, size_t length, const struct collection *const *collections, size_t count,
                  struct notice *ret_notice) MUST_CHECK;

/* What other instances lack, for a while: a bounded table, owned by one thread. */
struct wanted;

struct wanted *wanted_new(size_t limit, int64_t lifetime_ms);
void wanted_free(struct wanted **wanted);
void wanted_add(struct wanted *wanted, const struct notice *notice, int64_t now);
/* True, once, if somebody lacks this version or a lower one. */
bool wanted_take(struct wanted *wanted, const struct notice *notice, int64_t now);
size_t wanted_count(const struct wanted *wanted);

#endif
