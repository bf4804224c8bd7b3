/* SPDX-License-Identifier: Apache-2.0
 * One share of the records: its queue, what it holds, and what becomes of each event. Events of one record are always
 * of the same shard, and a shard does one thing at a time. */
#ifndef TURNSTILE_EVENTS_SHARD_H
#define TURNSTILE_EVENTS_SHARD_H

#include "common/events/arrival.h"
#include "common/events/signals.h"

enum {
    SHARD_NOTHING = -1, /* to wait for: until something comes */
};

struct shard;

/* `listening` is borrowed. */
struct shard *shard_new(const struct listening *listening);
/* As shard_drop_all, first. No other thread may use it any more. */
void shard_free(struct shard **shard);

/* ---- by any thread ---- */

/* Takes ownership. A redelivery of what is here already only renews the handle; what finds no room is dropped. */
void shard_push(struct shard *shard, struct arrival *arrival);
/* True: the same is here already, and has not ended. */
bool shard_knows(struct shard *shard, const struct arrival *arrival) MUST_CHECK;
/* A record of ours has changed, here or in another instance; or another instance lacks a version of it. Either may be
 * forgotten when there are too many. */
void shard_tell_changed(struct shard *shard, const struct notice *notice);
void shard_tell_lacking(struct shard *shard, const struct notice *notice);
/* An owner has answered one of our asks. As above. */
void shard_tell_answer(struct shard *shard, const struct notice *answer);
/* Makes shard_wait return true from now on; what is still pushed is dropped. */
void shard_stop(struct shard *shard);

/* ---- by its one thread ---- */

/* Does what is next, if anything; `now` is monotonic, in milliseconds. Returns how long there is nothing to do unless
 * something comes: 0, go on; SHARD_NOTHING. */
int64_t shard_step(struct shard *shard, int64_t now);
/* Waits until something comes, at most `timeout_ms`. True: stop. */
bool shard_wait(struct shard *shard, int64_t timeout_ms) MUST_CHECK;
/* Drops, unacknowledged, whatever is left; when that thread has ended. */
void shard_drop_all(struct shard *shard);

#endif
