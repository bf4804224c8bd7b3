/* SPDX-License-Identifier: Apache-2.0
 * A proxy between a MongoDB client and its server. */
#include "tests/contract/mongo_proxy.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <mongoc/mongoc.h>

#include "common/base/memory.h"

enum { PIECE = 65536 };

static int connect_to_server(const struct proxy *proxy)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)proxy->server_port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(descriptor, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

static void proxy_accept(struct proxy *proxy)
{
    int client = accept(proxy->listener, NULL, NULL);
    int onward = connect_to_server(proxy);
    for (size_t i = 1; client >= 0 && onward >= 0 && i < ARRAY_LENGTH(proxy->ends); i += 2) {
        if (proxy->ends[i].fd < 0) {
            proxy->ends[i] = (struct pollfd){.fd = client, .events = POLLIN};
            proxy->ends[i + 1] = (struct pollfd){.fd = onward, .events = POLLIN};
            return;
        }
    }
    close(client);
    close(onward);
}

static void proxy_close(struct proxy *proxy, size_t pair)
{
    for (size_t i = pair; i < pair + 2; i++) {
        close(proxy->ends[i].fd);
        proxy->ends[i].fd = -1;
    }
}

/* An answer to a write has n, an int32; one to findAndModify says what it found, or that it found nothing. */
static bool is_write_answer(const char *data, size_t length)
{
    return memmem(data, length, "\x10n\0", 3) != NULL || memmem(data, length, "lastErrorObject", 15) != NULL ||
           memmem(data, length, "\x0avalue\0", 7) != NULL;
}

/* Makes an answer with a record one without, of the same request. */
static ssize_t hide_record(char *data, ssize_t length)
{
    if (!memmem(data, (size_t)length, "firstBatch", 10) || !memmem(data, (size_t)length, "\x02writer\0", 8)) {
        return length;
    }
    bson_t *answer = BCON_NEW("cursor", "{", "firstBatch", "[", "]", "id", BCON_INT64(0), "ns", "hidden.items", "}",
                              "ok", BCON_DOUBLE(1));
    size_t head = 16 + 4 + 1; /* of the message; flags; kind of the section: as they were */
    memcpy(data + head, bson_get_data(answer), answer->len);
    length = (ssize_t)(head + answer->len);
    memcpy(data, &(int32_t){(int32_t)length}, sizeof(int32_t));
    bson_destroy(answer);
    return length;
}

/* What is asked of outboxes comes as one piece: it is short. */
static void look(struct proxy *proxy, const char *data, size_t length)
{
    if (!memmem(data, length,
                "\x02"
                "aggregate\0",
                11) ||
        !memmem(data, length, "outbox.0.created", 16)) {
        return;
    }
    const char *cut = memmem(data, length, "$limit", 6);
    if (cut) {
        atomic_fetch_add(&proxy->sorted_pages, memmem(data, (size_t)(cut - data), "$sort", 5) ? 1 : 0);
        atomic_fetch_add(&proxy->pages, 1);
    } else {
        atomic_fetch_add(&proxy->unlimited_counts, memmem(data, length, "maxTimeMS", 9) ? 0 : 1);
        atomic_fetch_add(&proxy->counts, 1);
    }
}

static void proxy_pass(struct proxy *proxy, size_t end)
{
    static char data[PIECE];
    size_t pair = end - (end - 1) % 2;
    bool from_server = end != pair;
    ssize_t length = read(proxy->ends[end].fd, data, sizeof(data));
    if (length > 0 && !from_server) {
        look(proxy, data, (size_t)length);
    }
    bool swallow =
        length > 0 && from_server && atomic_load(&proxy->swallow) > 0 && is_write_answer(data, (size_t)length);
    if (swallow) {
        atomic_fetch_sub(&proxy->swallow, 1);
        atomic_fetch_add(&proxy->swallowed, 1);
    }
    if (length > 0 && from_server && atomic_load(&proxy->hide) > 0) {
        ssize_t shown = hide_record(data, length);
        atomic_fetch_sub(&proxy->hide, shown == length ? 0 : 1);
        length = shown;
    }
    int other = proxy->ends[from_server ? pair : pair + 1].fd;
    if (length <= 0 || swallow || send(other, data, (size_t)length, MSG_NOSIGNAL) != length) {
        proxy_close(proxy, pair);
    }
}

static void *proxy_run(void *context)
{
    struct proxy *proxy = context;
    while (!atomic_load(&proxy->stop)) {
        if (poll(proxy->ends, ARRAY_LENGTH(proxy->ends), 50) <= 0) {
            continue;
        }
        for (size_t i = 1; i < ARRAY_LENGTH(proxy->ends); i++) {
            if (proxy->ends[i].fd >= 0 && proxy->ends[i].revents) {
                proxy_pass(proxy, i);
            }
        }
        if (proxy->ends[0].revents) {
            proxy_accept(proxy);
        }
    }
    for (size_t i = 1; i < ARRAY_LENGTH(proxy->ends); i += 2) {
        if (proxy->ends[i].fd >= 0) {
            proxy_close(proxy, i);
        }
    }
    return NULL;
}

struct proxy *proxy_start(unsigned server_port)
{
    struct proxy *proxy = xcalloc(1, sizeof(*proxy));
    proxy->server_port = server_port;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(proxy->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(proxy->listener, MONGO_PROXY_CONNECTIONS_MAX), 0);
    assert_int_equal(getsockname(proxy->listener, (struct sockaddr *)&address, &size), 0);
    proxy->port = ntohs(address.sin_port);
    for (size_t i = 1; i < ARRAY_LENGTH(proxy->ends); i++) {
        proxy->ends[i].fd = -1;
    }
    proxy->ends[0] = (struct pollfd){.fd = proxy->listener, .events = POLLIN};
    assert_int_equal(pthread_create(&proxy->thread, NULL, proxy_run, proxy), 0);
    return proxy;
}

void proxy_stop(struct proxy *proxy)
{
    atomic_store(&proxy->stop, true);
    pthread_join(proxy->thread, NULL);
    close(proxy->listener);
    xfree(proxy);
}
