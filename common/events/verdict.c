/* SPDX-License-Identifier: Apache-2.0
 * The rule by which a replica follows the versions of what it copies. */
#include "common/events/verdict.h"

enum verdict verdict_of_event(struct standing stored, struct standing event)
{
    bool is_stored = stored.version > 0;
    if (event.epoch < stored.epoch) {
        /* Of a history that the owner has left. If nothing is stored, it may be that it was left together with the
         * record: only the owner can tell. */
        return is_stored ? VERDICT_DONE : VERDICT_GAP;
    }
    if (event.version == stored.version + 1) {
        return VERDICT_APPLY; /* of a later epoch, too: it carries the whole state, and is later in the history */
    }
    if (event.version > stored.version) {
        return VERDICT_GAP;
    }
    /* The owner's later history counts anew: its low versions are not those that were seen. */
    return is_stored && event.epoch > stored.epoch ? VERDICT_GAP : VERDICT_DONE;
}

enum verdict verdict_of_snapshot(struct standing stored, struct standing snapshot)
{
    if (snapshot.epoch < stored.epoch) {
        return VERDICT_DONE;
    }
    if (snapshot.version == 0) {
        /* Within one epoch nothing disappears: a double of what its owner said before the record was there. */
        return stored.version > 0 && snapshot.epoch > stored.epoch ? VERDICT_REMOVE : VERDICT_DONE;
    }
    bool is_later = snapshot.epoch > stored.epoch || snapshot.version > stored.version;
    return is_later ? VERDICT_REPLACE : VERDICT_DONE;
}

enum held_verdict verdict_of_answer(struct standing event, struct standing answer)
{
    if (answer.epoch > event.epoch) {
        return answer.version == 0 ? HELD_LEFT : HELD_WAIT;
    }
    return answer.epoch < event.epoch || answer.version < event.version ? HELD_STRAY : HELD_WAIT;
}
