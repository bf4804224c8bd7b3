/* SPDX-License-Identifier: Apache-2.0
 * Warnings of subjects that are perhaps mistyped. */
#include "tools/eventctl/subject.h"

#include <stdio.h>

#include "common/base/text.h"
#include "common/events/catalogue.h"
#include "common/events/dead_letter.h"

static void warn(const char *subject)
{
    fprintf(stderr, "eventctl: warning: %s is not in the catalogue (eventctl schema lists it)\n", subject);
}

void subjects_warn(const struct option_texts *subjects)
{
    for (size_t i = 0; i < subjects->count; i++) {
        if (catalogue_find(subjects->items[i]) == NULL) {
            warn(subjects->items[i]);
        }
    }
}

void subject_warn_channel(const char *channel)
{
    const char *subject = channel;
    if (text_starts_with(channel, DEAD_LETTER_PREFIX)) {
        subject += sizeof(DEAD_LETTER_PREFIX) - 1;
    } else if (text_starts_with(channel, RESOLVED_PREFIX)) {
        subject += sizeof(RESOLVED_PREFIX) - 1;
    }
    if (catalogue_find(subject) == NULL) {
        warn(channel);
    }
}
