/* SPDX-License-Identifier: Apache-2.0
 * E-mail addresses in their normalised form: for this module's own use. */
#ifndef TURNSTILE_SCHEMA_EMAIL_H
#define TURNSTILE_SCHEMA_EMAIL_H

#include "common/schema/table.h"

/* Removes white space around the address and lower-cases ASCII. `text` must be valid UTF-8. False, with *ret_email as
 * it was, if it is no address. */
bool email_normalise(const char *text, char ret_email[static EMAIL_MAX + 1]) MUST_CHECK;

#endif
