/* SPDX-License-Identifier: Apache-2.0
 * What comes to a shard from other threads: arrivals, each known by its key until it ends, and notices. */
#ifndef TURNSTILE_EVENTS_INBOX_H
#define TURNSTILE_EVENTS_INBOX_H

#include "common/events/arrival.h"
#include "common/events/signals.h"

struct inbox;

enum notice_kind { NOTICE_CHANGED, NOTICE_LACKING, NOTICE_ANSWER };

struct inbox *inbox_new(void);
void inbox_free(struct inbox **inbox); /* every arrival must have ended */

/* ---- by any thread ---- */

/* Takes ownership. What is here already, queued, running or held, only gets the newer handle, so that redeliveries do
 * not pile up; what finds no room is dropped. */
void inbox_push(struct inbox *inbox, struct arrival *arrival);
/* True: the same is here already. */
bool inbox_knows(struct inbox *inbox, const struct arrival *arrival) MUST_CHECK;
/* False if there are too many. */
bool inbox_push_notice(struct inbox *inbox, enum notice_kind kind, const struct notice *notice);
void inbox_stop(struct inbox *inbox);

/* ---- by the shard's thread ---- */

struct arrival *inbox_pop(struct inbox *inbox);                    /* NULL if there is none */
void inbox_put_back(struct inbox *inbox, struct arrival *arrival); /* as the next one */
bool inbox_pop_notice(struct inbox *inbox, enum notice_kind *ret_kind, struct notice *ret_notice) MUST_CHECK;

/* The arrival's handle, to be used without another thread replacing it meanwhile; given back by inbox_return. */
struct delivery *inbox_borrow(struct inbox *inbox, struct arrival *arrival);
void inbox_return(struct inbox *inbox, struct arrival *arrival, struct delivery *delivery);
/* Ends an arrival: acknowledges or drops its newest handle, and frees it. */
void inbox_end(struct inbox *inbox, struct arrival *arrival, bool acknowledge);

/* Waits at most `timeout_ms` until something comes; not at all if something has come already and `for_what_came`.
 * May wake without reason. True: stop. */
bool inbox_wait(struct inbox *inbox, int64_t timeout_ms, bool for_what_came) MUST_CHECK;

#endif
