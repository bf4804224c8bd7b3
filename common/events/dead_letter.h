/* SPDX-License-Identifier: Apache-2.0
 * Dead letters: events that cannot be applied, kept on "dead:<subject>" with the reason, so that they block nobody.
 *
 * A bus keeps what it was given; so that a letter is dealt with is told by a second message on "resolved:<subject>"
 * that names its sequence. A letter is open while there is none. */
#ifndef TURNSTILE_EVENTS_DEAD_LETTER_H
#define TURNSTILE_EVENTS_DEAD_LETTER_H

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/bus/bus.h"

enum {
    DEAD_LETTER_EVENT_MAX = 256 << 10, /* bytes of the event that are kept; what is behind is cut */
    DEAD_LETTER_REASON_MAX = 256,      /* bytes, with the NUL */
};

#define DEAD_LETTER_PREFIX "dead:"
#define RESOLVED_PREFIX    "resolved:"

struct dead_letter {
    char channel[BUS_SUBJECT_MAX]; /* the subject that the event came on */
    uint64_t sequence;             /* there */
    char reason[DEAD_LETTER_REASON_MAX];
    char listener[BUS_NAME_MAX]; /* "orders-service" */
    int64_t attempts;
    int64_t time; /* ms since 1970 */
    char *event;  /* as received; owned; NUL-terminated */
    size_t event_length;
    bool cut; /* the event was longer than what is kept: all of it is only on its channel, at its sequence */
};

/* `buffer` needs a limit of about 1.4 times DEAD_LETTER_EVENT_MAX. */
void dead_letter_print(const struct dead_letter *letter, struct buffer *buffer);
bool dead_letter_parse(const char *text, size_t length, struct dead_letter *ret_letter, struct error *error) MUST_CHECK;
void dead_letter_done(struct dead_letter *letter);

#endif
