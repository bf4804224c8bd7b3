/* SPDX-License-Identifier: Apache-2.0
 * The variables that every service reads, and their checks. */
#include "common/service/settings.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stddef.h>
#include <stdio.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    SETTINGS_MAX = 64, /* variables of one service, and the end of the table */
};

static const char *check_store_uri(const char *value)
{
    return store_uri_valid(value)
               ? NULL
               : "must be sqlite:<path of the file> or mongodb://[user:password@]host[:port]/<database>";
}

static const char *check_bus_uri(const char *value)
{
    return bus_uri_valid(value) ? NULL : "must be stan://<host>:<port>/<cluster id> or nats://<host>:<port>[/<stream>]";
}

static const char *check_client_id(const char *value)
{
    return bus_client_id_valid(value) ? NULL : "may have letters, digits, '-' and '_' only";
}

static const char *check_address(const char *value)
{
    struct in6_addr address; /* large enough for either */
    bool valid = inet_pton(AF_INET, value, &address) == 1 || inet_pton(AF_INET6, value, &address) == 1;
    return valid ? NULL : "must be an IPv4 or IPv6 address";
}

static const char *check_proxies(const char *value)
{
    return http_proxies_valid(value) ? NULL : "must be addresses or CIDR blocks with commas between them";
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

/* RFC 6265 section 4.1.1: a token of RFC 2616. */
static const char *check_cookie_name(const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        bool letter_or_digit = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');
        if (!letter_or_digit && *c != '-' && *c != '_' && *c != '.') {
            return "may have letters, digits, '-', '_' and '.' only";
        }
    }
    return NULL;
}

#define SETTING(member) .offset = offsetof(struct service_settings, member)

static const struct config_option listening_options[] = {
    {"LISTEN_ADDRESS", CONFIG_TEXT, SETTING(listen_address), .default_value = "127.0.0.1", .min = 1, .max = 64,
     .help = "address to listen on; 0.0.0.0 for all", .check = check_address},
    {"PORT", CONFIG_INTEGER, SETTING(port), .default_value = "3000", .min = 1, .max = 65535,
     .help = "port to listen on"},
    {.name = NULL},
};

static const struct config_option common_options[] = {
    {"STORE_URI", CONFIG_TEXT, SETTING(store_uri), .required = true, .min = 1, .max = CONFIG_TEXT_MAX - 1,
     .help = "where records are kept: sqlite:<path of the file> or mongodb://[user:password@]host[:port]/<database>",
     .check = check_store_uri},
    {"JWT_KEY", CONFIG_SECRET, SETTING(jwt_key), .required = true, .min = AUTH_KEY_MIN, .max = CONFIG_TEXT_MAX - 1,
     .help = "signs tokens, the same for all services: at least 32 bytes; make one with: openssl rand -hex 32"},
    {"JWT_KEY_PREVIOUS", CONFIG_SECRET, SETTING(jwt_key_previous), .min = AUTH_KEY_MIN, .max = CONFIG_TEXT_MAX - 1,
     .help = "verifies tokens of the key before, while it is being replaced"},
    {"SESSION_COOKIE", CONFIG_TEXT, SETTING(session_cookie), .default_value = "session", .min = 1, .max = 64,
     .help = "name of the session cookie", .check = check_cookie_name},
    {"TRUSTED_PROXIES", CONFIG_TEXT, SETTING(trusted_proxies), .min = 1, .max = CONFIG_TEXT_MAX - 1,
     .help = "addresses or CIDR blocks whose X-Forwarded-For is believed, with commas between them",
     .check = check_proxies},
    {"LOG_LEVEL", CONFIG_TEXT, SETTING(log_level), .default_value = "info", .min = 1, .max = 16,
     .help = "debug, info, warning or error", .check = check_log_level},
    {"LOG_FORMAT", CONFIG_TEXT, SETTING(log_format), .default_value = "human", .min = 1, .max = 16,
     .help = "human or json", .check = check_log_format},
    {"WORKERS", CONFIG_INTEGER, SETTING(workers), .default_value = "64", .min = 1, .max = 256,
     .help = "threads that handle requests"},
    {"REQUEST_TIMEOUT_MS", CONFIG_INTEGER, SETTING(request_timeout_ms), .default_value = "10000", .min = 100,
     .max = 600000, .help = "time in which a client must have sent its whole request"},
#ifdef TURNSTILE_FAILPOINTS
    {"FAILPOINTS", CONFIG_TEXT, SETTING(failpoints), .min = 1, .max = CONFIG_TEXT_MAX - 1,
     .help = "test builds only: where to stop, kill, sleep or fail, as name=action with commas between them"},
#endif
    {.name = NULL},
};

static const struct config_option bus_options[] = {
    {"BUS_URI", CONFIG_TEXT, SETTING(bus_uri), .required = true, .min = 1, .max = CONFIG_TEXT_MAX - 1,
     .help = "the event bus: stan://<host>:<port>/<cluster id> or nats://<host>:<port>[/<stream>]",
     .check = check_bus_uri},
    {"NATS_CLIENT_ID", CONFIG_TEXT, SETTING(client_id), .min = 1, .max = BUS_NAME_MAX - 1,
     .help = "unique on the bus; if unset, the service's name and random hex digits", .check = check_client_id},
    {"EVENT_WORKERS", CONFIG_INTEGER, SETTING(event_workers), .default_value = "16", .min = 1, .max = 64,
     .help = "threads that apply events"},
    {"EVENTS_IN_FLIGHT", CONFIG_INTEGER, SETTING(events_in_flight), .default_value = "128", .min = 8, .max = 1024,
     .help = "unacknowledged events of one subject at once"},
    {.name = NULL},
};

#undef SETTING

bool settings_load_listening(struct service_settings *ret_settings, FILE *problems)
{
    return config_load(listening_options, ret_settings, problems) == 0;
}

bool settings_load(struct service *service, FILE *problems)
{
    const struct service_definition *definition = service->definition;
    struct service_settings *settings = &service->settings;
    size_t count = config_load(listening_options, settings, problems) + config_load(common_options, settings, problems);
    if (definition->uses_bus) {
        count += config_load(bus_options, settings, problems);
        if (settings->client_id[0] == '\0') {
            char suffix[9];
            random_hex(suffix, sizeof(suffix) - 1);
            snprintf(settings->client_id, sizeof(settings->client_id), "%s-%s", definition->name, suffix);
        }
    }
    if (definition->options != NULL) {
        service->own_settings = xcalloc(1, definition->settings_size);
        count += config_load(definition->options, service->own_settings, problems);
    }
    return count == 0;
}

static size_t append_options(struct config_option *all, size_t count, const struct config_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        assert(count + 1 < SETTINGS_MAX);
        all[count++] = *options;
    }
    return count;
}

/* All variables of a service as one table, its own first. */
static void collect_options(const struct service_definition *definition,
                            struct config_option ret_all[static SETTINGS_MAX])
{
    size_t count = append_options(ret_all, 0, definition->options);
    count = append_options(ret_all, count, listening_options);
    count = append_options(ret_all, count, common_options);
    if (definition->uses_bus) {
        count = append_options(ret_all, count, bus_options);
    }
    ret_all[count] = (struct config_option){.name = NULL};
}

void settings_print_help(const struct service_definition *definition, FILE *file)
{
    struct config_option all[SETTINGS_MAX];
    collect_options(definition, all);
    config_print_help(all, file);
}

void settings_print_names(const struct service_definition *definition, FILE *file)
{
    struct config_option all[SETTINGS_MAX];
    collect_options(definition, all);
    config_print_names(all, file);
}
