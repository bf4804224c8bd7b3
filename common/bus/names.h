/* SPDX-License-Identifier: Apache-2.0
 * Which texts may be names, subjects and topics, so that every engine takes them. */
#ifndef TURNSTILE_BUS_NAMES_H
#define TURNSTILE_BUS_NAMES_H

#include "common/base/compiler.h"

bool bus_is_name(const char *name);       /* of a client, a queue group, a durable, a cluster, a stream */
bool bus_is_subject(const char *subject); /* of messages */
bool bus_is_topic(const char *topic);     /* of signals */

#endif
