/* SPDX-License-Identifier: Apache-2.0
 * --healthcheck: what a container engine runs beside a service, in the same container, to learn whether it can serve.
 */
#ifndef TURNSTILE_SERVICE_HEALTHCHECK_H
#define TURNSTILE_SERVICE_HEALTHCHECK_H

#include "common/service/service.h"

/* Asks the instance that runs with the same LISTEN_ADDRESS and PORT whether it is ready; needs no other variable.
 * Returns the exit status: 0 if it is, 1 and a line on stderr if it is not or gives no answer in time, 78 for wrong
 * configuration. */
int healthcheck_run(const struct service_definition *definition) MUST_CHECK;

#endif
