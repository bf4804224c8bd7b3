/* SPDX-License-Identifier: Apache-2.0
 * The connection to the bus, brought to the thread of the command.
 *
 * The bus' threads put what they receive into a list and wake the command by an eventfd, so that it can wait for that
 * and for signals at once. They wait while there is too much in the list, which happens only while the output does not
 * take any more. */
#include "tools/eventctl/connection.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/config.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "tools/eventctl/command.h"

enum {
    LIST_BYTES_MAX = 32 << 20, /* one message more may be in the list */
    ITEM_BYTES = 512,          /* what a message takes beside its data */
    SUBSCRIBED_MS = 10000,     /* for subscriptions that were asked for while the connection came up */
    CLOSE_MS = 5000,
    CLIENT_ID_DIGITS = 8,
    PUBLISH_LIMIT = 16, /* one is waited for at a time, but those before may not be cleared away yet */
};

struct settings {
    char bus_uri[CONFIG_TEXT_MAX];
    char client_id[CONFIG_TEXT_MAX];
    char log_level[CONFIG_TEXT_MAX];
    char log_format[CONFIG_TEXT_MAX];
};

struct item {
    struct item *next;
    struct delivery *delivery;
};

struct connection {
    struct bus *bus;
    const struct signals *signals;
    int64_t connect_timeout_ms;
    int wake; /* eventfd: something has changed below */

    pthread_mutex_t mutex;
    pthread_cond_t room; /* wakes the bus' threads */
    bool up;
    bool came_up; /* and the command does not know yet */
    bool closing;
    struct item *list, **list_end;
    size_t list_bytes;
};

/* ---- settings ---- */

const char *connection_check_bus(const char *uri)
{
    return bus_uri_valid(uri) ? NULL : "must be stan://<host>:<port>/<cluster id> or nats://<host>:<port>[/<stream>]";
}

static const char *check_client_id(const char *value)
{
    return bus_client_id_valid(value) ? NULL : "may have letters, digits, '-' and '_' only";
}

static const char *check_log_level(const char *value)
{
    enum log_level level;
    return log_level_from_text(value, &level) ? NULL : "must be debug, info, warning or error";
}

static const char *check_log_format(const char *value)
{
    enum log_format format;
    return log_format_from_text(value, &format) ? NULL : "must be human or json";
}

enum {
    BUS_URI_ROW, /* left out if the command line has the URI */
    OTHER_ROWS,
};

static const struct config_option setting_options[] = {
    [BUS_URI_ROW] = {.name = "BUS_URI",
                     .type = CONFIG_TEXT,
                     .offset = offsetof(struct settings, bus_uri),
                     .required = true,
                     .help = "the event bus: stan://<host>:<port>/<cluster id> or nats://<host>:<port>[/<stream>]",
                     .check = connection_check_bus},
    [OTHER_ROWS] = {.name = "NATS_CLIENT_ID",
                    .type = CONFIG_TEXT,
                    .offset = offsetof(struct settings, client_id),
                    .min = 1,
                    .max = BUS_NAME_MAX - 1,
                    .help = "unique on the bus; if unset, eventctl and the name of the durable, or random",
                    .check = check_client_id},
    {.name = "LOG_LEVEL",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct settings, log_level),
     .default_value = "warning",
     .help = "debug, info, warning or error",
     .check = check_log_level},
    {.name = "LOG_FORMAT",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct settings, log_format),
     .default_value = "human",
     .help = "human or json",
     .check = check_log_format},
    {.name = NULL},
};

void connection_print_settings(void)
{
    config_print_help(setting_options, stdout);
}

/* Names that would make it too long are told apart by a hash. */
static void make_client_id(const char *name, char ret_client_id[static BUS_NAME_MAX])
{
    char random[CLIENT_ID_DIGITS + 1];
    if (name == NULL) {
        random_hex(random, CLIENT_ID_DIGITS);
        name = random;
    }
    if (snprintf(ret_client_id, BUS_NAME_MAX, "eventctl-%s", name) >= BUS_NAME_MAX) {
        snprintf(ret_client_id, BUS_NAME_MAX, "eventctl-%016" PRIx64, text_hash(name, strlen(name)));
    }
}

/* The bus takes each id once, so a second connection cannot have the one of the first. */
static void append_suffix(struct settings *settings, const char *suffix)
{
    CLEANUP(free_pointer) char *text = xasprintf("%s-%s", settings->client_id, suffix);
    if (strlen(text) >= BUS_NAME_MAX) {
        snprintf(settings->client_id, sizeof(settings->client_id), "eventctl-%016" PRIx64,
                 text_hash(text, strlen(text)));
    } else {
        text_copy_cut(settings->client_id, sizeof(settings->client_id), text);
    }
}

static bool load_settings(const struct connection_options *options, struct settings *ret_settings)
{
    const struct config_option *rows = setting_options + (options->bus == NULL ? BUS_URI_ROW : OTHER_ROWS);
    size_t problems = config_load(rows, ret_settings, stderr);
    if (ret_settings->client_id[0] == '\0') {
        make_client_id(options->client_name, ret_settings->client_id);
    }
    if (options->client_suffix != NULL) {
        append_suffix(ret_settings, options->client_suffix);
    }
    return problems == 0;
}

static void start_log(const struct settings *settings)
{
    enum log_level level = LOG_LEVEL_WARNING;
    enum log_format format = LOG_FORMAT_HUMAN;
    if (log_level_from_text(settings->log_level, &level) && log_format_from_text(settings->log_format, &format)) {
        log_init("eventctl", level, format);
    }
}

/* ---- on the bus' threads ---- */

static void wake(const struct connection *connection)
{
    uint64_t one = 1;
    if (write(connection->wake, &one, sizeof(one)) < 0) {
        log_debug("the command was woken often enough already");
    }
}

static void on_state_changed(struct bus *bus UNUSED, enum bus_state state, void *context)
{
    struct connection *connection = context;
    pthread_mutex_lock(&connection->mutex);
    connection->up = state == BUS_UP;
    connection->came_up = connection->up;
    pthread_mutex_unlock(&connection->mutex);
    wake(connection);
}

static void on_delivery(struct delivery *delivery, void *context)
{
    struct connection *connection = context;
    struct item *item = xmalloc(sizeof(*item));
    *item = (struct item){.delivery = delivery};
    pthread_mutex_lock(&connection->mutex);
    while (connection->list_bytes >= LIST_BYTES_MAX && !connection->closing) {
        pthread_cond_wait(&connection->room, &connection->mutex);
    }
    connection->list_bytes += delivery_length(delivery) + ITEM_BYTES;
    *connection->list_end = item;
    connection->list_end = &item->next;
    pthread_mutex_unlock(&connection->mutex);
    wake(connection);
}

/* ---- on the command's thread ---- */

int connection_open(const struct connection_options *options, const struct signals *signals,
                    struct connection **ret_connection)
{
    struct settings settings;
    if (!load_settings(options, &settings)) {
        return STATUS_CONFIG;
    }
    start_log(&settings);
    CLEANUP(connection_close) struct connection *connection = xcalloc(1, sizeof(*connection));
    connection->signals = signals;
    connection->connect_timeout_ms = options->connect_timeout_ms;
    connection->list_end = &connection->list;
    pthread_mutex_init(&connection->mutex, NULL);
    pthread_cond_init(&connection->room, NULL);
    connection->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (connection->wake < 0) {
        fprintf(stderr, "eventctl: cannot wait for the event bus: %s\n", strerrordesc_np(errno));
        return STATUS_FAILED;
    }
    struct error error = ERROR_INIT;
    struct bus_config config = {
        .uri = options->bus != NULL ? options->bus : settings.bus_uri,
        .client_id = settings.client_id,
        .publish_limit = PUBLISH_LIMIT,
        .state_changed = on_state_changed,
        .context = connection,
    };
    if (!bus_open(&config, &connection->bus, &error)) {
        fprintf(stderr, "eventctl: %s\n", error.message);
        return error.code == ERROR_INVALID ? STATUS_CONFIG : STATUS_UNAVAILABLE;
    }
    *ret_connection = TAKE(connection);
    return STATUS_OK;
}

static struct delivery *take(struct connection *connection)
{
    struct item *item = connection->list;
    if (item == NULL) {
        return NULL;
    }
    connection->list = item->next;
    if (connection->list == NULL) {
        connection->list_end = &connection->list;
    }
    struct delivery *delivery = item->delivery;
    xfree(item);
    connection->list_bytes -= delivery_length(delivery) + ITEM_BYTES;
    pthread_cond_broadcast(&connection->room);
    return delivery;
}

void connection_close(struct connection **connection_pointer)
{
    struct connection *connection = TAKE(*connection_pointer);
    if (connection == NULL) {
        return;
    }
    pthread_mutex_lock(&connection->mutex);
    connection->closing = true;
    pthread_cond_broadcast(&connection->room);
    pthread_mutex_unlock(&connection->mutex);
    if (connection->bus != NULL) {
        bus_stop_receiving(connection->bus);
        for (struct delivery *delivery; (delivery = take(connection)) != NULL;) {
            bus_drop(delivery);
        }
        bus_close(&connection->bus, CLOSE_MS);
    }
    if (connection->wake >= 0) {
        close(connection->wake);
    }
    pthread_cond_destroy(&connection->room);
    pthread_mutex_destroy(&connection->mutex);
    xfree(connection);
}

bool connection_subscribe(struct connection *connection, const struct subscription *subscription, struct error *error)
{
    return bus_subscribe(connection->bus, subscription, on_delivery, connection, error);
}

/* True if there is an event that the command has not seen. */
static bool take_event(struct connection *connection, enum connection_event *ret_event, struct delivery **ret_delivery)
{
    pthread_mutex_lock(&connection->mutex);
    bool came_up = connection->came_up;
    connection->came_up = false;
    bool may_take = connection->up && !came_up && ret_delivery != NULL;
    struct delivery *delivery = may_take ? take(connection) : NULL;
    pthread_mutex_unlock(&connection->mutex);
    if (came_up) {
        /* If it is gone again meanwhile, there will be another such event. */
        (void)bus_wait_up(connection->bus, SUBSCRIBED_MS);
        *ret_event = CONNECTION_UP;
        return true;
    }
    if (delivery != NULL) {
        *ret_event = CONNECTION_DELIVERY;
        *ret_delivery = delivery;
        return true;
    }
    return false;
}

enum connection_event connection_wait(struct connection *connection, int64_t timeout_ms, struct delivery **ret_delivery)
{
    int64_t deadline = timeout_ms < 0 ? INT64_MAX : clock_monotonic(NULL) + timeout_ms;
    for (;;) {
        enum connection_event event;
        if (signals_arrived(connection->signals)) {
            return CONNECTION_SIGNAL;
        }
        if (take_event(connection, &event, ret_delivery)) {
            return event;
        }
        int64_t left = timeout_ms < 0 ? -1 : deadline - clock_monotonic(NULL);
        if (timeout_ms >= 0 && left <= 0) {
            return CONNECTION_TIMEOUT;
        }
        if (signals_wait_file(connection->signals, connection->wake, POLLIN, left) == SIGNALS_READY) {
            uint64_t count;
            if (read(connection->wake, &count, sizeof(count)) < 0) {
                log_debug("woken for nothing");
            }
        }
    }
}

static bool is_up(struct connection *connection)
{
    pthread_mutex_lock(&connection->mutex);
    bool up = connection->up && !connection->came_up;
    pthread_mutex_unlock(&connection->mutex);
    return up;
}

int connection_wait_up(struct connection *connection)
{
    int64_t timeout_ms = connection->connect_timeout_ms > 0 ? connection->connect_timeout_ms : -1;
    if (is_up(connection)) {
        return STATUS_OK;
    }
    enum connection_event event = connection_wait(connection, timeout_ms, NULL);
    if (event == CONNECTION_SIGNAL) {
        fprintf(stderr, "eventctl: interrupted\n");
        return STATUS_FAILED;
    }
    if (event == CONNECTION_TIMEOUT) {
        fprintf(stderr, "eventctl: the event bus could not be reached within %g s\n", (double)timeout_ms / 1000);
        return STATUS_UNAVAILABLE;
    }
    return STATUS_OK;
}

int connection_publish(struct connection *connection, const char *subject, const void *data, size_t length)
{
    struct error error = ERROR_INIT;
    int status = connection_wait_up(connection);
    if (status != STATUS_OK) {
        return status;
    }
    if (!bus_publish_wait(connection->bus, subject, NULL, data, length, PUBLISH_TIMEOUT_MS, &error)) {
        fprintf(stderr, "eventctl: %s\n", error.message);
        return error.code == ERROR_INVALID ? STATUS_DATA : STATUS_UNAVAILABLE;
    }
    return STATUS_OK;
}
