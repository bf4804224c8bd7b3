/* SPDX-License-Identifier: Apache-2.0
 * A MongoDB server for tests: tests/servers/mongo as a child process. */
#include "tests/contract/mongo_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    PORT_FIRST = 5000,
    PORT_LAST = 9999, /* below those that the integration tests take */
    PORT_TRIES = 1000,
    START_MS = 30000,
    POLL_US = 5000,
    OPEN_FILES_MAX = 8, /* of nftw */
};

struct mongo_server {
    char directory[64];
    char file[80];
    enum mongo_server_store store;
    unsigned port;
    pid_t process; /* 0: none */
};

/* Not of those that outgoing connections are given: one of these might take it before the server does. */
static unsigned free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < PORT_TRIES; i++) {
        address.sin_port = htons((uint16_t)(PORT_FIRST + random_below(PORT_LAST - PORT_FIRST + 1)));
        int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(descriptor >= 0);
        bool is_free = bind(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0;
        close(descriptor);
        if (is_free) {
            return ntohs(address.sin_port);
        }
    }
    fail_msg("no port is free");
    return 0;
}

struct mongo_server *mongo_server_new(enum mongo_server_store store)
{
    struct mongo_server *server = xcalloc(1, sizeof(*server));
    assert_true(text_copy(server->directory, sizeof(server->directory), "/tmp/turnstile-mongo-XXXXXX"));
    assert_non_null(mkdtemp(server->directory));
    snprintf(server->file, sizeof(server->file), "%s/data.mv", server->directory);
    server->store = store;
    server->port = free_port();
    return server;
}

static int remove_entry(const char *path, const struct stat *status UNUSED, int type UNUSED, struct FTW *ftw UNUSED)
{
    return remove(path);
}

void mongo_server_free(struct mongo_server **server_pointer)
{
    struct mongo_server *server = TAKE(*server_pointer);
    if (!server) {
        return;
    }
    if (server->process) {
        mongo_server_kill(server);
    }
    nftw(server->directory, remove_entry, OPEN_FILES_MAX, FTW_DEPTH | FTW_PHYS);
    xfree(server);
}

unsigned mongo_server_port(const struct mongo_server *server)
{
    return server->port;
}

static void NORETURN run_server(const struct mongo_server *server, pid_t parent)
{
    char port[8], log[80];
    snprintf(port, sizeof(port), "%u", server->port);
    snprintf(log, sizeof(log), "%s/log", server->directory);
    int output = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent) {
        execl("tests/servers/mongo/mongo-test-server", "mongo-test-server", "127.0.0.1", port, server->file,
              server->store == MONGO_SERVER_MEMORY ? "memory" : NULL, (char *)NULL);
    }
    _exit(127);
}

static bool listens(const struct mongo_server *server)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)server->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(descriptor >= 0);
    bool connected = connect(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(descriptor);
    return connected;
}

void mongo_server_start(struct mongo_server *server)
{
    assert_int_equal(server->process, 0);
    pid_t parent = getpid();
    server->process = fork();
    assert_true(server->process >= 0);
    if (server->process == 0) {
        run_server(server, parent);
    }
    int64_t deadline = clock_monotonic(NULL) + START_MS;
    while (!listens(server)) {
        assert_int_equal(waitpid(server->process, NULL, WNOHANG), 0);
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
    }
}

void mongo_server_kill(struct mongo_server *server)
{
    assert_true(server->process > 0);
    kill(server->process, SIGKILL);
    waitpid(server->process, NULL, 0);
    server->process = 0;
}

void mongo_server_freeze(struct mongo_server *server)
{
    int status = 0;
    assert_int_equal(kill(server->process, SIGSTOP), 0);
    assert_int_equal(waitpid(server->process, &status, WUNTRACED), server->process);
    assert_true(WIFSTOPPED(status));
}

void mongo_server_thaw(struct mongo_server *server)
{
    assert_int_equal(kill(server->process, SIGCONT), 0);
}
