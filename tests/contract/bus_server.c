/* SPDX-License-Identifier: Apache-2.0
 * An event bus's server for tests. */
#include "tests/contract/bus_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buffer.h"
#include "common/base/clock.h"
#include "common/base/config.h"
#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    START_MS = 20000,
    POLL_US = 5000,
    ANSWER_MAX = 1024 * 1024,
    ARGUMENTS_MAX = 40,
    FTW_DESCRIPTORS = 16,
};

struct engine {
    char name[CONFIG_TEXT_MAX];
};

static const struct config_option engine_options[] = {
    {.name = "TEST_BUS",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct engine, name),
     .default_value = "stan",
     .max = CONFIG_TEXT_MAX - 1,
     .help = "the engine that the bus's tests use: stan"},
    {.name = NULL},
};

struct bus_server {
    enum bus_server_store store;
    char *user, *password;
    char directory[64];
    unsigned port, monitor_port;
    char uri[256];
    pid_t process; /* 0: none */
};

unsigned bus_server_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(descriptor >= 0);
    assert_int_equal(bind(descriptor, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(descriptor, (struct sockaddr *)&address, &size), 0);
    close(descriptor);
    return ntohs(address.sin_port);
}

struct bus_server *bus_server_new(enum bus_server_store store, const char *user, const char *password)
{
    struct engine engine;
    assert_int_equal(config_load(engine_options, &engine, stderr), 0);
    assert_string_equal(engine.name, "stan");
    struct bus_server *server = xcalloc(1, sizeof(*server));
    server->store = store;
    server->user = user ? xstrdup(user) : NULL;
    server->password = password ? xstrdup(password) : NULL;
    assert_true(text_copy(server->directory, sizeof(server->directory), "/tmp/turnstile-bus-XXXXXX"));
    assert_non_null(mkdtemp(server->directory));
    server->port = bus_server_free_port();
    server->monitor_port = bus_server_free_port();
    snprintf(server->uri, sizeof(server->uri), "stan://%s%s%s%s127.0.0.1:%u/ticketing", user ? user : "",
             user ? ":" : "", user ? password : "", user ? "@" : "", server->port);
    return server;
}

static int remove_entry(const char *path, const struct stat *status UNUSED, int type UNUSED, struct FTW *ftw UNUSED)
{
    return remove(path);
}

void bus_server_free(struct bus_server **server_pointer)
{
    struct bus_server *server = TAKE(*server_pointer);
    if (!server) {
        return;
    }
    if (server->process) {
        bus_server_kill(server);
    }
    nftw(server->directory, remove_entry, FTW_DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
    xfree(server->user);
    xfree(server->password);
    xfree(server);
}

const char *bus_server_uri(const struct bus_server *server)
{
    return server->uri;
}

unsigned bus_server_port(const struct bus_server *server)
{
    return server->port;
}

static void NORETURN run_server(const struct bus_server *server, pid_t parent)
{
    char port[8], monitor_port[8], data[80], log[80];
    snprintf(port, sizeof(port), "%u", server->port);
    snprintf(monitor_port, sizeof(monitor_port), "%u", server->monitor_port);
    snprintf(data, sizeof(data), "%s/data", server->directory);
    snprintf(log, sizeof(log), "%s/log", server->directory);
    const char *arguments[ARGUMENTS_MAX] = {
        "nats-streaming-server",
        "-a",
        "127.0.0.1",
        "-p",
        port,
        "-m",
        monitor_port,
        "-cid",
        "ticketing",
        "-hbi",
        "5s",
        "-hbt",
        "5s",
        "-hbf",
        "2",
        "-mm",
        "0",
        "-mb",
        "0",
        "-ma",
        "0s",
        "-mi",
        "0",
        "-SD",
        "-l",
        log,
    };
    size_t count = 0;
    while (arguments[count]) {
        count++;
    }
    if (server->store == BUS_SERVER_FILE) {
        arguments[count++] = "-st";
        arguments[count++] = "file";
        arguments[count++] = "-dir";
        arguments[count++] = data;
    }
    if (server->user) {
        arguments[count++] = "--user";
        arguments[count++] = server->user;
        arguments[count++] = "--pass";
        arguments[count++] = server->password;
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent) {
        execv(".deps/bin/nats-streaming-server", (char *const *)(uintptr_t)arguments);
    }
    _exit(127);
}

void bus_server_start(struct bus_server *server)
{
    assert_int_equal(server->process, 0);
    pid_t parent = getpid();
    server->process = fork();
    assert_true(server->process >= 0);
    if (server->process == 0) {
        run_server(server, parent);
    }
    int64_t deadline = clock_monotonic(NULL) + START_MS;
    for (;;) {
        char *answer = bus_server_monitor(server, "/streaming/serverz");
        bool up = answer && strstr(answer, "\"state\"");
        xfree(answer);
        if (up) {
            return;
        }
        assert_int_equal(waitpid(server->process, NULL, WNOHANG), 0);
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
    }
}

static void end(struct bus_server *server, int signal_number)
{
    assert_true(server->process > 0);
    kill(server->process, signal_number);
    kill(server->process, SIGCONT);
    waitpid(server->process, NULL, 0);
    server->process = 0;
}

void bus_server_stop(struct bus_server *server)
{
    end(server, SIGTERM);
}

void bus_server_kill(struct bus_server *server)
{
    end(server, SIGKILL);
}

void bus_server_freeze(struct bus_server *server)
{
    kill(server->process, SIGSTOP);
}

void bus_server_thaw(struct bus_server *server)
{
    kill(server->process, SIGCONT);
}

char *bus_server_monitor(const struct bus_server *server, const char *path)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)server->monitor_port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(descriptor >= 0);
    CLEANUP(buffer_done) struct buffer answer = BUFFER_INIT(ANSWER_MAX);
    if (connect(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0) {
        dprintf(descriptor, "GET %s HTTP/1.0\r\n\r\n", path);
        char piece[4096];
        for (ssize_t length; (length = read(descriptor, piece, sizeof(piece))) > 0;) {
            buffer_append(&answer, piece, (size_t)length);
        }
    }
    close(descriptor);
    return answer.length > 0 ? xstrdup(answer.data) : NULL;
}
