/* SPDX-License-Identifier: Apache-2.0
 * The variables that every service reads. */
#ifndef TURNSTILE_SERVICE_SETTINGS_H
#define TURNSTILE_SERVICE_SETTINGS_H

#include "common/service/service.h"

/* Reads the common variables and the service's own. False: the problems, one a line, were written to `problems`. */
bool settings_load(struct service *service, FILE *problems) MUST_CHECK;
/* Only where the service listens. */
bool settings_load_listening(struct service_settings *ret_settings, FILE *problems) MUST_CHECK;

void settings_print_help(const struct service_definition *definition, FILE *file);
void settings_print_names(const struct service_definition *definition, FILE *file);

#endif
