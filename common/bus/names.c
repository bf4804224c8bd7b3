/* SPDX-License-Identifier: Apache-2.0
 * Which texts may be names, subjects and topics. */
#include "common/bus/names.h"

#include <string.h>

#include "common/bus/bus.h"

#define LOWER_CASE "abcdefghijklmnopqrstuvwxyz"
#define UPPER_CASE "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS     "0123456789"

/* Not empty, fits into `size` bytes, and consists of `allowed`. */
static bool is_made_of(const char *text, size_t size, const char *allowed)
{
    size_t length = strlen(text);
    return length > 0 && length < size && strspn(text, allowed) == length;
}

bool bus_is_name(const char *name)
{
    return is_made_of(name, BUS_NAME_MAX, LOWER_CASE UPPER_CASE DIGITS "_-");
}

bool bus_is_subject(const char *subject)
{
    return is_made_of(subject, BUS_SUBJECT_MAX, LOWER_CASE DIGITS ":_-");
}

bool bus_is_topic(const char *topic)
{
    /* NATS splits at dots, and takes no empty parts. */
    return is_made_of(topic, BUS_SUBJECT_MAX, LOWER_CASE DIGITS "._-") && topic[0] != '.' &&
           topic[strlen(topic) - 1] != '.' && !strstr(topic, "..");
}
