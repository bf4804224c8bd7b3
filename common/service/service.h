/* SPDX-License-Identifier: Apache-2.0
 * The main program that all services share: configuration, start in order, health, signals, stop in order. */
#ifndef TURNSTILE_SERVICE_SERVICE_H
#define TURNSTILE_SERVICE_SERVICE_H

#include <stdatomic.h>

#include "common/auth/auth.h"
#include "common/base/config.h"
#include "common/events/events.h"
#include "common/http/http.h"
#include "common/store/store.h"

enum {
    SERVICE_STOP_MS = 9500,        /* from SIGTERM to the end of the process, at most */
    SERVICE_STOP_HTTP_MS = 4000,   /* of these, for requests */
    SERVICE_STOP_STORE_MS = 500,   /* for the store */
    SERVICE_STOP_EVENTS_MS = 3000, /* for events, or less if the requests took their share */
    SERVICE_ROUTES_MAX = 32,
};

struct service;

/* What makes one service different from another. All is borrowed and static. */
struct service_definition {
    const char *name;                            /* "tickets" */
    const char *summary;                         /* one line for --help */
    const struct config_option *options;         /* its own variables, NULL: none */
    size_t settings_size;                        /* of the struct that `options` fill */
    const struct collection *const *collections; /* NULL-terminated */
    const struct route *routes;                  /* ends with a NULL method */
    bool no_store;                               /* nothing that it answers, refusals too, is for caches to keep */
    bool uses_bus;                               /* false: it neither publishes nor listens, and needs no BUS_URI */
    const struct listener *listeners;            /* ends with a NULL entity; NULL: none */
    /* Of the tokens that it issues, by its own settings; NULL: it issues none, and only verifies. */
    int64_t (*token_lifetime_s)(const void *own_settings);
    /* Makes the service's own state, before requests and events arrive. May be NULL. */
    bool (*start)(struct service *service, void **ret_state, struct error *error);
    void (*stop)(void *state); /* after the last request and event */
};

/* What every service is configured with. */
struct service_settings {
    char listen_address[CONFIG_TEXT_MAX];
    int64_t port;
    char store_uri[CONFIG_TEXT_MAX];
    char bus_uri[CONFIG_TEXT_MAX];
    char client_id[CONFIG_TEXT_MAX];
    char jwt_key[CONFIG_TEXT_MAX];
    char jwt_key_previous[CONFIG_TEXT_MAX];
    char session_cookie[CONFIG_TEXT_MAX];
    char trusted_proxies[CONFIG_TEXT_MAX];
    char log_level[CONFIG_TEXT_MAX];
    char log_format[CONFIG_TEXT_MAX];
    char failpoints[CONFIG_TEXT_MAX];
    int64_t workers;
    int64_t event_workers;
    int64_t events_in_flight;
    int64_t request_timeout_ms;
};

/* A running service: the context of its handlers. */
struct service {
    const struct service_definition *definition;
    struct service_settings settings;
    void *own_settings; /* the struct of definition->options */
    struct id_source *ids;
    struct store *store;
    struct auth *auth;
    struct events *events; /* NULL if it does not use the bus */
    struct health *health;
    struct http_server *http;
    struct service_metrics *metrics;
    void *state; /* what definition->start made */
    atomic_bool stopping;
};

/* The whole program: returns its exit status. 0 after SIGTERM or SIGINT, 1 when it could not start, 64 for a wrong
 * command line, 78 for wrong configuration. */
int service_main(int argc, char **argv, const struct service_definition *definition);

#endif
