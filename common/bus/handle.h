/* SPDX-License-Identifier: Apache-2.0
 * Names for what callbacks work on, which stay harmless when that is gone: the engines' libraries do not tell when they
 * will call no more. */
#ifndef TURNSTILE_BUS_HANDLE_H
#define TURNSTILE_BUS_HANDLE_H

#include "common/base/compiler.h"

struct bus_link;

/* A name to give to the library as its closure; never NULL, never used twice in a process. Holds a reference to the
 * link until it is freed. `object` belongs to the link or its bus, and lives as long; or it is a connection's, and
 * then whoever looks it up and whoever ends it hold the same mutex meanwhile, as in jetstream/request.c. */
void *bus_handle_new(struct bus_link *link, const void *object);
/* Finds what the name stands for; the caller releases *ret_link. False if it was freed. */
bool bus_handle_find(const void *handle, struct bus_link **ret_link, const void **ret_object) MUST_CHECK;
/* NULL is fine. */
void bus_handle_free(const void *handle);

#endif
