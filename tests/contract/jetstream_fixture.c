/* SPDX-License-Identifier: Apache-2.0
 * Asks a JetStream server as its administrator would, past the bus: in NATS' own protocol, of which this needs little.
 */
#include "tests/contract/jetstream_fixture.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buffer.h"
#include "common/base/memory.h"

enum {
    ANSWER_MAX = 1024 * 1024,
    ANSWER_SECONDS = 20,
};

static int connect_to(const struct bus_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)bus_server_port(server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(descriptor >= 0);
    assert_int_equal(setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(descriptor, (struct sockaddr *)&address, sizeof(address)), 0);
    return descriptor;
}

/* The payload of the first message in what was received, if it is there as a whole: "MSG <subject> <sid> <bytes>\r\n".
 */
static char *take_message(const char *received, size_t length)
{
    const char *message = strstr(received, "\r\nMSG ");
    const char *end = message ? strstr(message + 2, "\r\n") : NULL;
    unsigned long size;
    if (!end || sscanf(message + 2, "MSG %*s %*s %lu", &size) != 1) {
        return NULL;
    }
    const char *payload = end + 2;
    return (size_t)(payload - received) + size <= length ? xstrndup(payload, size) : NULL;
}

char *jetstream_ask(const struct bus_server *server, const char *what, const char *body)
{
    int descriptor = connect_to(server);
    dprintf(descriptor, "CONNECT {\"verbose\":false}\r\nSUB _INBOX.ask 1\r\nPUB $JS.API.%s _INBOX.ask %zu\r\n%s\r\n",
            what, strlen(body), body);
    CLEANUP(buffer_done) struct buffer received = BUFFER_INIT(ANSWER_MAX);
    char piece[4096];
    char *answer = NULL;
    for (ssize_t length; !answer && (length = recv(descriptor, piece, sizeof(piece), 0)) > 0;) {
        buffer_append(&received, piece, (size_t)length);
        answer = take_message(buffer_text(&received), received.length);
    }
    close(descriptor);
    if (!answer) {
        fail_msg("%s: no answer, but %s", what, buffer_text(&received));
    }
    return answer;
}
