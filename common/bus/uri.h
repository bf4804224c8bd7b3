/* SPDX-License-Identifier: Apache-2.0
 * The bus's address, taken apart: scheme://[user:password@]host[:port][,host[:port]…][/path][?replicas=n]. What has
 * a meaning in there ('/', '?', '@', ':') is written %2F and the like within the user or password. */
#ifndef TURNSTILE_BUS_URI_H
#define TURNSTILE_BUS_URI_H

#include "common/base/error.h"

enum {
    BUS_HOSTS_MAX = 8,
    BUS_HOST_MAX = 256,       /* bytes, with the NUL */
    BUS_CREDENTIAL_MAX = 256, /* bytes of a user or password, decoded, with the NUL */
    BUS_PATH_MAX = 64,        /* bytes, with the NUL */
    BUS_SCHEME_MAX = 16,      /* bytes, with the NUL */
    BUS_DEFAULT_PORT = 4222,
    BUS_REPLICAS_MAX = 5,
};

struct bus_host {
    char name[BUS_HOST_MAX]; /* an IPv6 address without its brackets */
    uint16_t port;
};

struct bus_uri {
    char scheme[BUS_SCHEME_MAX];
    char user[BUS_CREDENTIAL_MAX]; /* "": none */
    char password[BUS_CREDENTIAL_MAX];
    struct bus_host hosts[BUS_HOSTS_MAX];
    size_t host_count;       /* at least 1 */
    char path[BUS_PATH_MAX]; /* what follows the '/', "" if there is none */
    unsigned replicas;       /* 1 to BUS_REPLICAS_MAX; 0: not given */
};

/* ERROR_INVALID says what is wrong without repeating the text, which may hold a password. */
bool bus_uri_parse(const char *text, struct bus_uri *ret_uri, struct error *error) MUST_CHECK;

#endif
