/* SPDX-License-Identifier: Apache-2.0
 * Whose X-Forwarded-For is believed, and the client's address that follows from it. */
#ifndef TURNSTILE_HTTP_PROXIES_H
#define TURNSTILE_HTTP_PROXIES_H

#include <netinet/in.h>

#include "common/base/compiler.h"

enum {
    ADDRESS_SIZE = INET6_ADDRSTRLEN,
};

struct sockaddr;
struct proxies;

/* Addresses and CIDR blocks (10.0.0.0/8, fd00::/8), comma-separated; "" is none. False if it is not such a list. */
bool proxies_new(const char *text, struct proxies **ret_proxies) MUST_CHECK;
void proxies_free(struct proxies **proxies);

/* An address as text; an IPv4 address that came in through an IPv6 socket (::ffff:10.0.0.1) is printed as IPv4. */
void address_print(const struct sockaddr *address, char ret_text[static ADDRESS_SIZE]);

bool proxies_trust(const struct proxies *proxies, const char *address);

/* `peer` sent `forwarded` (its X-Forwarded-For, lines joined by commas; NULL if none). The last address that is not a
 * trusted proxy's; if all are, the first; what is not an address ends the search. */
void proxies_client(const struct proxies *proxies, const char *peer, const char *forwarded,
                    char ret_address[static ADDRESS_SIZE]);

#endif
