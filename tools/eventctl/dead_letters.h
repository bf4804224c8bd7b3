/* SPDX-License-Identifier: Apache-2.0
 * Going through the dead letters of subjects, with what became of each. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_DEAD_LETTERS_H
#define TURNSTILE_TOOLS_EVENTCTL_DEAD_LETTERS_H

#include "common/events/dead_letter.h"
#include "tools/eventctl/channel.h"

enum {
    DEAD_SUBJECTS_MAX = CHANNELS_MAX / 2, /* each has its letters and what became of them */
    DEAD_ACTION_MAX = 16,                 /* bytes of "replayed" and the like */
};

struct dead_item {
    const char *subject;       /* of the event */
    uint64_t sequence;         /* on dead:<subject> */
    const char *action;        /* how it was dealt with; NULL: it is open */
    const char *problem;       /* why it cannot be read; NULL: the letter is there */
    struct dead_letter letter; /* owned by whoever visits */
};

/* Returns STATUS_OK to go on. The item is borrowed; the connection may be used to publish. */
typedef int dead_visit(struct connection *connection, const struct dead_item *item, void *context);

/* The subjects of the command line, checked, or all of the catalogue if there are none. `ret_subjects` borrows. */
bool dead_subjects(const struct option_texts *given, struct option_texts *ret_subjects, struct error *error) MUST_CHECK;

/* Visits all letters, subject by subject in the order of their sequences. Returns STATUS_OK, or the process' status
 * after telling why. */
int dead_letters_each(const struct connection_options *options, const struct signals *signals,
                      const struct option_texts *subjects, dead_visit *visit, void *context) MUST_CHECK;

/* Puts down that a letter was dealt with; the same returns. */
int dead_letter_resolve(struct connection *connection, const struct dead_item *item, const char *action) MUST_CHECK;

#endif
