/* SPDX-License-Identifier: Apache-2.0
 * The rule by which a replica follows the versions of what it copies. */
#include "common/events/verdict.h"

enum verdict verdict_of(uint64_t stored_version, uint64_t stored_epoch, uint64_t version, uint64_t epoch)
{
    bool stored = stored_version > 0;
    if (stored && epoch < stored_epoch) {
        return VERDICT_DONE; /* of a history that the owner has left */
    }
    if (version == stored_version + 1) {
        return VERDICT_APPLY;
    }
    if (version > stored_version) {
        return VERDICT_GAP;
    }
    /* The owner's later history counts anew: its low versions are not those that were seen. */
    return stored && epoch > stored_epoch ? VERDICT_GAP : VERDICT_DONE;
}
