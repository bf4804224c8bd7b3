/* SPDX-License-Identifier: Apache-2.0
 * The catalogue as documents for programs in other languages. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_ASYNCAPI_H
#define TURNSTILE_TOOLS_EVENTCTL_ASYNCAPI_H

#include "common/base/buffer.h"
#include "common/events/catalogue.h"

/* Appends the JSON Schema of an event of this subject, as it is on the bus. */
void event_schema_print(const struct subject *subject, struct buffer *buffer);

/* Appends an AsyncAPI 2.6 document of all subjects. */
void asyncapi_print(struct buffer *buffer);

#endif
