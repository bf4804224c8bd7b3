/* SPDX-License-Identifier: Apache-2.0
 * The rule by which a replica follows the versions of what it copies. */
#ifndef TURNSTILE_EVENTS_VERDICT_H
#define TURNSTILE_EVENTS_VERDICT_H

#include "common/base/compiler.h"

enum verdict {
    VERDICT_APPLY, /* it is the next one */
    VERDICT_GAP,   /* a predecessor is missing: not to be applied, not to be acknowledged */
    VERDICT_DONE,  /* its effect is in the store: only the earlier acknowledgement was lost */
};

/* What to do with an event of this version and epoch, given what is stored (version 0: nothing). Pure. */
enum verdict verdict_of(uint64_t stored_version, uint64_t stored_epoch, uint64_t version, uint64_t epoch);

#endif
