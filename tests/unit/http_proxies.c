/* SPDX-License-Identifier: Apache-2.0
 * Tests of trusted proxies and of the client's address. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/http/proxies.h"

static void lists_of_addresses_and_blocks_are_told_from_others(void **state UNUSED)
{
    static const struct {
        const char *text;
        bool is_valid;
    } cases[] = {
        {"", true},
        {"  ", true},
        {"127.0.0.1", true},
        {"10.0.0.0/8, 192.168.0.0/16", true},
        {"::1,fd00::/8", true},
        {"0.0.0.0/0", true},
        {"::/0", true},
        {"10.0.0.0/33", false},
        {"::/129", false},
        {"10.0.0.0/-1", false},
        {"10.0.0.0/", false},
        {"10.0.0.0/8/8", false},
        {"10.0.0", false},
        {"10.0.0.256", false},
        {"localhost", false},
        {"127.0.0.1,", false},
        {",127.0.0.1", false},
        {"127.0.0.1 10.0.0.1", false},
        {"2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(proxies_free) struct proxies *proxies = NULL;
        if (proxies_new(cases[i].text, &proxies) != cases[i].is_valid) {
            fail_msg("\"%s\"", cases[i].text);
        }
        assert_int_equal(proxies != NULL, cases[i].is_valid);
    }
}

static void blocks_contain_what_shares_their_prefix(void **state UNUSED)
{
    static const struct {
        const char *list, *address;
        bool is_trusted;
    } cases[] = {
        {"", "127.0.0.1", false},
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {"10.0.0.0/8", "10.255.0.1", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.1.2.3/8", "10.9.9.9", true},
        {"192.0.2.128/25", "192.0.2.128", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "::1", true},
        {"fd00::/8", "fdff::1", true},
        {"fd00::/8", "fe00::1", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"127.0.0.1", "::ffff:127.0.0.1", true},
        {"10.0.0.0/8", "nonsense", false},
        {"192.0.2.1,fd00::/8,10.0.0.0/8", "10.0.0.1", true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(proxies_free) struct proxies *proxies = NULL;
        assert_true(proxies_new(cases[i].list, &proxies));
        if (proxies_trust(proxies, cases[i].address) != cases[i].is_trusted) {
            fail_msg("\"%s\" and %s", cases[i].list, cases[i].address);
        }
    }
}

static void the_client_is_the_last_address_that_is_not_a_trusted_proxy(void **state UNUSED)
{
    static const struct {
        const char *peer, *forwarded, *client;
    } cases[] = {
        {"203.0.113.9", NULL, "203.0.113.9"},
        {"203.0.113.9", "198.51.100.1", "203.0.113.9"}, /* not trusted: anybody can send the header */
        {"10.0.0.1", NULL, "10.0.0.1"},
        {"10.0.0.1", "", "10.0.0.1"},
        {"10.0.0.1", "198.51.100.1", "198.51.100.1"},
        {"10.0.0.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"}, /* the first was the client's own invention */
        {"10.0.0.1", "198.51.100.1, 10.0.0.2 ,10.0.0.3", "198.51.100.1"},
        {"10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"},
        {"10.0.0.1", "198.51.100.1, unknown", "10.0.0.1"},
        {"10.0.0.1", "198.51.100.1, _hidden, 10.0.0.2", "10.0.0.2"},
        {"10.0.0.1", "198.51.100.1,", "10.0.0.1"},
        {"10.0.0.1", "198.51.100.1:4711", "198.51.100.1"},
        {"10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"},
        {"10.0.0.1", "[2001:db8::1]", "2001:db8::1"},
        {"10.0.0.1", "[2001:db8::1", "10.0.0.1"},
        {"10.0.0.1", "2001:DB8:0::1", "2001:db8::1"},
        {"10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"},
        {"fd00::1", "2001:db8::1, fd00::2", "2001:db8::1"},
        {"10.0.0.1", "2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb", "10.0.0.1"},
    };
    CLEANUP(proxies_free) struct proxies *proxies = NULL;
    assert_true(proxies_new("10.0.0.0/8, fd00::/8", &proxies));
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char client[ADDRESS_SIZE];
        proxies_client(proxies, cases[i].peer, cases[i].forwarded, client);
        assert_string_equal(client, cases[i].client);
    }
}

static void addresses_are_printed(void **state UNUSED)
{
    char text[ADDRESS_SIZE];
    struct sockaddr_in ipv4 = {.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, "192.0.2.1", &ipv4.sin_addr), 1);
    address_print((const struct sockaddr *)&ipv4, text);
    assert_string_equal(text, "192.0.2.1");
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};
    assert_int_equal(inet_pton(AF_INET6, "2001:db8::1", &ipv6.sin6_addr), 1);
    address_print((const struct sockaddr *)&ipv6, text);
    assert_string_equal(text, "2001:db8::1");
    assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.1", &ipv6.sin6_addr), 1);
    address_print((const struct sockaddr *)&ipv6, text);
    assert_string_equal(text, "192.0.2.1");
    struct sockaddr other = {.sa_family = AF_UNIX};
    address_print(&other, text);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_addresses_and_blocks_are_told_from_others),
        cmocka_unit_test(blocks_contain_what_shares_their_prefix),
        cmocka_unit_test(the_client_is_the_last_address_that_is_not_a_trusted_proxy),
        cmocka_unit_test(addresses_are_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
