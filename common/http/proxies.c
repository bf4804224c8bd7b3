/* SPDX-License-Identifier: Apache-2.0
 * Address blocks, and walking X-Forwarded-For from its end. */
#include "common/http/proxies.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    PROXIES_MAX = 64,
    ADDRESS_BITS = 128,
    IPV4_BITS = 32,
    BLOCK_TEXT_SIZE = ADDRESS_SIZE + 8, /* "[", "]:65535" or "/128" around an address */
};

/* IPv4 is held as IPv6 (::ffff:0:0/96), so that there is one kind of comparison. */
struct block {
    unsigned char address[ADDRESS_BITS / 8];
    unsigned prefix;
};

struct proxies {
    size_t count;
    struct block blocks[PROXIES_MAX];
};

static const unsigned char mapped_prefix[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool address_parse(const char *text, unsigned char ret_address[static ADDRESS_BITS / 8], bool *ret_is_ipv4)
{
    unsigned char ipv4[IPV4_BITS / 8];
    if (inet_pton(AF_INET, text, ipv4) == 1) {
        memcpy(ret_address, mapped_prefix, sizeof mapped_prefix);
        memcpy(ret_address + sizeof mapped_prefix, ipv4, sizeof ipv4);
        *ret_is_ipv4 = true;
        return true;
    }
    *ret_is_ipv4 = false;
    return inet_pton(AF_INET6, text, ret_address) == 1;
}

static void bytes_print(const unsigned char *address, char ret_text[static ADDRESS_SIZE])
{
    bool is_ipv4 = memcmp(address, mapped_prefix, sizeof mapped_prefix) == 0;
    const unsigned char *start = address + (is_ipv4 ? sizeof mapped_prefix : 0);
    if (inet_ntop(is_ipv4 ? AF_INET : AF_INET6, start, ret_text, ADDRESS_SIZE) == NULL) {
        ret_text[0] = '\0';
    }
}

void address_print(const struct sockaddr *address, char ret_text[static ADDRESS_SIZE])
{
    ret_text[0] = '\0';
    if (address->sa_family == AF_INET) {
        struct sockaddr_in ipv4;
        memcpy(&ipv4, address, sizeof ipv4);
        inet_ntop(AF_INET, &ipv4.sin_addr, ret_text, ADDRESS_SIZE);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 ipv6;
        memcpy(&ipv6, address, sizeof ipv6);
        bytes_print(ipv6.sin6_addr.s6_addr, ret_text);
    }
}

static bool block_parse(const char *text, struct block *ret_block)
{
    char address[BLOCK_TEXT_SIZE];
    if (!text_copy(address, sizeof address, text)) {
        return false;
    }
    char *slash = strchr(address, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    bool is_ipv4 = false;
    if (!address_parse(address, ret_block->address, &is_ipv4)) {
        return false;
    }
    int64_t prefix = is_ipv4 ? IPV4_BITS : ADDRESS_BITS;
    if (slash != NULL && !text_to_int64(slash + 1, 0, prefix, &prefix)) {
        return false;
    }
    ret_block->prefix = (unsigned)prefix + (is_ipv4 ? ADDRESS_BITS - IPV4_BITS : 0);
    return true;
}

/* Copies the item between two commas without the blanks around it; "" if it does not fit, which is no address. */
static void copy_item(const char *item, size_t length, char ret_text[static BLOCK_TEXT_SIZE])
{
    while (length > 0 && (item[0] == ' ' || item[0] == '\t')) {
        item++;
        length--;
    }
    while (length > 0 && (item[length - 1] == ' ' || item[length - 1] == '\t')) {
        length--;
    }
    length = length < BLOCK_TEXT_SIZE ? length : 0;
    memcpy(ret_text, item, length);
    ret_text[length] = '\0';
}

bool proxies_new(const char *text, struct proxies **ret_proxies)
{
    CLEANUP(proxies_free) struct proxies *proxies = xcalloc(1, sizeof *proxies);
    bool is_blank = text[strspn(text, " \t")] == '\0';
    for (const char *item = text; !is_blank && item != NULL;) {
        size_t length = strcspn(item, ",");
        char copy[BLOCK_TEXT_SIZE];
        copy_item(item, length, copy);
        if (proxies->count == PROXIES_MAX || !block_parse(copy, &proxies->blocks[proxies->count])) {
            return false;
        }
        proxies->count++;
        item = item[length] == ',' ? item + length + 1 : NULL;
    }
    *ret_proxies = TAKE(proxies);
    return true;
}

void proxies_free(struct proxies **proxies)
{
    xfree(*proxies);
    *proxies = NULL;
}

static bool block_contains(const struct block *block, const unsigned char *address)
{
    unsigned bytes = block->prefix / 8;
    unsigned bits = block->prefix % 8;
    unsigned char mask = (unsigned char)(0xff << (8 - bits));
    return memcmp(block->address, address, bytes) == 0 &&
           (bits == 0 || ((block->address[bytes] ^ address[bytes]) & mask) == 0);
}

static bool is_trusted(const struct proxies *proxies, const unsigned char *address)
{
    for (size_t i = 0; i < proxies->count; i++) {
        if (block_contains(&proxies->blocks[i], address)) {
            return true;
        }
    }
    return false;
}

bool proxies_trust(const struct proxies *proxies, const char *address)
{
    unsigned char bytes[ADDRESS_BITS / 8];
    bool is_ipv4 = false;
    return proxies->count > 0 && address_parse(address, bytes, &is_ipv4) && is_trusted(proxies, bytes);
}

/* Some proxies add the port: 192.0.2.1:4711, [2001:db8::1]:4711, or brackets alone. */
static void cut_port(char *text)
{
    char *colon = strchr(text, ':');
    if (text[0] == '[') {
        char *bracket = strchr(text, ']');
        size_t length = bracket != NULL ? (size_t)(bracket - text) - 1 : 0;
        memmove(text, text + 1, length);
        text[length] = '\0';
    } else if (colon != NULL && strchr(colon + 1, ':') == NULL) {
        *colon = '\0';
    }
}

void proxies_client(const struct proxies *proxies, const char *peer, const char *forwarded,
                    char ret_address[static ADDRESS_SIZE])
{
    text_copy_cut(ret_address, ADDRESS_SIZE, peer);
    if (forwarded == NULL || !proxies_trust(proxies, peer)) {
        return;
    }
    size_t end = strlen(forwarded);
    for (bool is_last = false; !is_last;) {
        size_t start = end;
        while (start > 0 && forwarded[start - 1] != ',') {
            start--;
        }
        char item[BLOCK_TEXT_SIZE];
        copy_item(forwarded + start, end - start, item);
        cut_port(item);
        unsigned char address[ADDRESS_BITS / 8];
        bool is_ipv4 = false;
        if (!address_parse(item, address, &is_ipv4)) {
            return;
        }
        bytes_print(address, ret_address);
        is_last = start == 0 || !is_trusted(proxies, address);
        end = start > 0 ? start - 1 : 0;
    }
}
