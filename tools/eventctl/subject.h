/* SPDX-License-Identifier: Apache-2.0
 * Warnings of subjects that are perhaps mistyped. The bus takes any, and the commands do, too. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_SUBJECT_H
#define TURNSTILE_TOOLS_EVENTCTL_SUBJECT_H

#include "tools/eventctl/options.h"

/* Warns on stderr of what is not in the catalogue. */
void subjects_warn(const struct option_texts *subjects);

/* The same for a subject to publish on or to listen to, which may be dead: or resolved: of one in the catalogue. */
void subject_warn_channel(const char *channel);

#endif
