/* SPDX-License-Identifier: Apache-2.0
 * An event bus's server for tests. */
#include "tests/contract/bus_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
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
#include "common/base/id.h"
#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    PORT_FIRST = 5000,
    PORT_LAST = 9999, /* below those that the integration tests take */
    PORT_TRIES = 1000,
    START_MS = 20000,
    POLL_US = 5000,
    ANSWER_MAX = 1024 * 1024,
    ARGUMENTS_MAX = 40,
    FTW_DESCRIPTORS = 16,
    PATH_SIZE = 256,
    LOG_LINE_MAX = 512, /* bytes; what is looked for is in the beginning of a line */
};

struct chosen {
    char name[CONFIG_TEXT_MAX];
};

static const struct config_option engine_options[] = {
    {.name = "TEST_BUS",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct chosen, name),
     .default_value = "stan",
     .max = CONFIG_TEXT_MAX - 1,
     .help = "the engine that the bus's tests use: stan, jetstream"},
    {.name = NULL},
};

struct engine {
    const char *name;
    const char *uri_scheme, *uri_end;
    const char *health, *healthy; /* what the monitoring is asked for, and what is in its answer when all is well */
    const char *ready;            /* what it logs when it is; NULL: the monitoring is enough */
    const char *programs[4];      /* where it may be */
    size_t (*make_arguments)(const struct bus_server *server, const char **arguments);
    long (*pending)(const struct bus_server *server, const char *subject, const char *group);
};

struct bus_server {
    const struct engine *engine;
    enum bus_server_store store;
    char *user, *password;
    char *settings; /* see bus_server_configure */
    char directory[64];
    char data[80], saved[80], log[80], settings_path[80];
    char port_text[8], monitor_port_text[8];
    unsigned port, monitor_port;
    char uri[256];
    pid_t process; /* 0: none */
};

/* ---- the engines ---- */

static size_t stan_arguments(const struct bus_server *server, const char **arguments)
{
    const char *const always[] = {
        "nats-streaming-server",
        "-a",
        "127.0.0.1",
        "-p",
        server->port_text,
        "-m",
        server->monitor_port_text,
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
        server->log,
    };
    size_t count = ARRAY_LENGTH(always);
    memcpy(arguments, always, sizeof(always));
    if (server->store == BUS_SERVER_FILE) {
        arguments[count++] = "-st";
        arguments[count++] = "file";
        arguments[count++] = "-dir";
        arguments[count++] = server->data;
    }
    if (server->user) {
        arguments[count++] = "--user";
        arguments[count++] = server->user;
        arguments[count++] = "--pass";
        arguments[count++] = server->password;
    }
    if (server->settings) {
        FILE *file = fopen(server->settings_path, "we");
        assert_non_null(file);
        fprintf(file, "%s\n", server->settings);
        assert_int_equal(fclose(file), 0);
        arguments[count++] = "-c";
        arguments[count++] = server->settings_path;
    }
    return count;
}

/* Its settings are in a file, since not all of them can be given as arguments. */
static size_t jetstream_arguments(const struct bus_server *server, const char **arguments)
{
    FILE *file = fopen(server->settings_path, "we");
    assert_non_null(file);
    fprintf(file,
            "listen: \"127.0.0.1:%u\"\nhttp: \"127.0.0.1:%u\"\nlog_file: \"%s\"\nping_interval: \"5s\"\nping_max: 2\n",
            server->port, server->monitor_port, server->log);
    if (server->store != BUS_SERVER_NONE) {
        fprintf(file, "jetstream { store_dir: \"%s\" }\n", server->data);
    }
    if (server->user) {
        fprintf(file, "authorization { user: \"%s\", password: \"%s\" }\n", server->user, server->password);
    }
    fprintf(file, "%s\n", server->settings ? server->settings : "");
    assert_int_equal(fclose(file), 0);
    arguments[0] = "nats-server";
    arguments[1] = "-c";
    arguments[2] = server->settings_path;
    return 3;
}

/* The number behind the first `name` in the text. */
static long number_of(const char *text, const char *name)
{
    const char *found = strstr(text, name);
    return found ? strtol(found + strlen(name), NULL, 10) : -1;
}

static long stan_pending(const struct bus_server *server, const char *subject, const char *group)
{
    char path[PATH_SIZE], queue[PATH_SIZE];
    snprintf(path, sizeof(path), "/streaming/channelsz?subs=1&channel=%s", subject);
    snprintf(queue, sizeof(queue), "\"%s:%s\"", group, group);
    char *text = bus_server_monitor(server, path);
    if (!text) {
        return -1;
    }
    long pending = 0;
    long sent = -1;
    for (const char *member = text; (member = strstr(member, queue)) != NULL; member++) {
        long last = number_of(member, "\"last_sent\": ");
        sent = last > sent ? last : sent;
        pending += number_of(member, "\"pending_count\": ");
    }
    bool is_all = sent >= number_of(text, "\"last_seq\": ");
    xfree(text);
    return is_all ? pending : -1;
}

static long jetstream_pending(const struct bus_server *server, const char *subject, const char *group)
{
    char name[PATH_SIZE];
    snprintf(name, sizeof(name), "\"name\": \"%s:%s\"", group, subject);
    char *text = bus_server_monitor(server, "/jsz?consumers=1");
    const char *consumer = text ? strstr(text, name) : NULL;
    bool is_all = consumer && number_of(consumer, "\"num_pending\": ") == 0;
    long pending = is_all ? number_of(consumer, "\"num_ack_pending\": ") : -1;
    xfree(text);
    return pending;
}

static const struct engine engines[] = {
    {.name = "stan",
     .uri_scheme = "stan",
     .uri_end = "/ticketing",
     .health = "/streaming/serverz",
     .healthy = "\"state\"",
     /* Before that it writes its files: killed then, it may never start again. */
     .ready = "Streaming Server is ready",
     .programs = {".deps/bin/nats-streaming-server"},
     .make_arguments = stan_arguments,
     .pending = stan_pending},
    {.name = "jetstream",
     .uri_scheme = "nats",
     .uri_end = "",
     .health = "/healthz",
     .healthy = "\"ok\"",
     .programs = {"/usr/sbin/nats-server", "/usr/local/sbin/nats-server", "/usr/local/bin/nats-server",
                  "/usr/bin/nats-server"},
     .make_arguments = jetstream_arguments,
     .pending = jetstream_pending},
};

static struct chosen choose(void)
{
    struct chosen chosen;
    assert_int_equal(config_load(engine_options, &chosen, stderr), 0);
    return chosen;
}

static const struct engine *find_engine(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(engines); i++) {
        if (text_equal(engines[i].name, name)) {
            return &engines[i];
        }
    }
    fail_msg("TEST_BUS=%s is no engine", name);
    return NULL;
}

bool bus_server_is_jetstream(void)
{
    return text_equal(choose().name, "jetstream");
}

/* Below those that the system gives to outgoing connections: one of these would take the port before the server does,
 * or while it is stopped. */
unsigned bus_server_free_port(void)
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

struct bus_server *bus_server_new(enum bus_server_store store, const char *user, const char *password)
{
    return bus_server_new_of(choose().name, store, user, password);
}

struct bus_server *bus_server_new_of(const char *engine, enum bus_server_store store, const char *user,
                                     const char *password)
{
    struct bus_server *server = xcalloc(1, sizeof(*server));
    server->engine = find_engine(engine);
    server->store = store;
    server->user = user ? xstrdup(user) : NULL;
    server->password = password ? xstrdup(password) : NULL;
    assert_true(text_copy(server->directory, sizeof(server->directory), "/tmp/turnstile-bus-XXXXXX"));
    assert_non_null(mkdtemp(server->directory));
    snprintf(server->data, sizeof(server->data), "%s/data", server->directory);
    snprintf(server->saved, sizeof(server->saved), "%s/saved", server->directory);
    snprintf(server->log, sizeof(server->log), "%s/log", server->directory);
    snprintf(server->settings_path, sizeof(server->settings_path), "%s/settings", server->directory);
    server->port = bus_server_free_port();
    server->monitor_port = bus_server_free_port();
    snprintf(server->port_text, sizeof(server->port_text), "%u", server->port);
    snprintf(server->monitor_port_text, sizeof(server->monitor_port_text), "%u", server->monitor_port);
    snprintf(server->uri, sizeof(server->uri), "%s://%s%s%s%s127.0.0.1:%u%s", server->engine->uri_scheme,
             user ? user : "", user ? ":" : "", user ? password : "", user ? "@" : "", server->port,
             server->engine->uri_end);
    return server;
}

void bus_server_configure(struct bus_server *server, const char *settings)
{
    xfree(server->settings);
    server->settings = xstrdup(settings);
}

static int remove_entry(const char *path, const struct stat *status UNUSED, int type UNUSED, struct FTW *ftw UNUSED)
{
    return remove(path);
}

static void remove_folder(const char *path)
{
    nftw(path, remove_entry, FTW_DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
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
    remove_folder(server->directory);
    xfree(server->user);
    xfree(server->password);
    xfree(server->settings);
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

const char *bus_server_data(const struct bus_server *server)
{
    return server->data;
}

static void NORETURN run_server(const struct bus_server *server, const char *const *arguments, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; getppid() == parent && i < ARRAY_LENGTH(server->engine->programs); i++) {
        if (server->engine->programs[i]) {
            execv(server->engine->programs[i], (char *const *)(uintptr_t)arguments);
        }
    }
    _exit(127);
}

void bus_server_launch(struct bus_server *server)
{
    assert_int_equal(server->process, 0);
    const char *arguments[ARGUMENTS_MAX] = {NULL};
    assert_true(server->engine->make_arguments(server, arguments) < ARGUMENTS_MAX);
    if (server->store == BUS_SERVER_MEMORY) {
        remove_folder(server->data);
    }
    (void)unlink(server->log); /* of the start before */
    pid_t parent = getpid();
    server->process = fork();
    assert_true(server->process >= 0);
    if (server->process == 0) {
        run_server(server, arguments, parent);
    }
}

static bool has_logged(const struct bus_server *server, const char *text)
{
    FILE *file = fopen(server->log, "re");
    char line[LOG_LINE_MAX];
    bool found = false;
    while (file && !found && fgets(line, sizeof(line), file)) {
        found = strstr(line, text);
    }
    if (file) {
        (void)fclose(file);
    }
    return found;
}

void bus_server_wait(struct bus_server *server)
{
    int64_t deadline = clock_monotonic(NULL) + START_MS;
    for (;;) {
        char *answer = bus_server_monitor(server, server->engine->health);
        bool up = answer && strstr(answer, server->engine->healthy);
        xfree(answer);
        assert_int_equal(waitpid(server->process, NULL, WNOHANG), 0);
        if (up && (!server->engine->ready || has_logged(server, server->engine->ready))) {
            return;
        }
        assert_true(clock_monotonic(NULL) < deadline);
        usleep(POLL_US);
    }
}

void bus_server_start(struct bus_server *server)
{
    bus_server_launch(server);
    bus_server_wait(server);
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

void bus_server_restart(struct bus_server *server)
{
    bus_server_stop(server);
    bus_server_start(server);
}

void bus_server_freeze(struct bus_server *server)
{
    int status = 0;
    assert_int_equal(kill(server->process, SIGSTOP), 0);
    assert_int_equal(waitpid(server->process, &status, WUNTRACED), server->process);
    assert_true(WIFSTOPPED(status));
}

void bus_server_thaw(struct bus_server *server)
{
    assert_int_equal(kill(server->process, SIGCONT), 0);
}

static void copy_folder(const char *from, const char *to)
{
    char program[] = "cp", options[] = "-a", *source = xstrdup(from), *target = xstrdup(to);
    char *arguments[] = {program, options, source, target, NULL};
    pid_t process;
    int status;
    assert_int_equal(posix_spawnp(&process, program, NULL, NULL, arguments, environ), 0);
    assert_int_equal(waitpid(process, &status, 0), process);
    assert_int_equal(status, 0);
    xfree(source);
    xfree(target);
}

void bus_server_wipe(struct bus_server *server)
{
    assert_int_equal(server->process, 0);
    remove_folder(server->data);
}

void bus_server_save(struct bus_server *server)
{
    assert_int_equal(server->process, 0);
    remove_folder(server->saved);
    copy_folder(server->data, server->saved);
}

void bus_server_revert(struct bus_server *server)
{
    bus_server_wipe(server);
    copy_folder(server->saved, server->data);
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

long bus_server_pending(const struct bus_server *server, const char *subject, const char *group)
{
    return server->engine->pending(server, subject, group);
}
