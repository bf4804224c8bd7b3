/* SPDX-License-Identifier: Apache-2.0
 * Starts a service from its definition, waits for a signal, and stops it in order. */
#include "common/service/service.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/service/health.h"
#include "common/service/healthcheck.h"
#include "common/service/metrics.h"
#include "common/service/operations.h"
#include "common/service/settings.h"
#include "common/service/signals.h"

enum {
    EXIT_START_FAILED = 1,
    EXIT_USAGE = 64, /* EX_USAGE of sysexits.h */
    CONNECTION_LIMIT = 960,
    QUEUE_LIMIT = 1024,
    QUEUE_WAIT_MS = 10000,   /* with what the store may take, well below the 30 s that the ingress waits */
    IDLE_TIMEOUT_MS = 75000, /* longer than proxies keep a connection they do not use, so that they close first */
    STORE_READERS = 16,
    STORE_RETRY_MIN_MS = 100, /* between attempts to open a store that is away; doubles */
    STORE_RETRY_MAX_MS = 1000,
    UNISSUED_LIFETIME_S = 1, /* of tokens where none are issued */
};

static void usage(const struct service_definition *definition, FILE *file)
{
    fprintf(
        file,
        "Usage: %s [--help | --version | --config-names | --healthcheck | OPERATION]\n"
        "%s\n\n"
        "  --healthcheck   ask the instance at LISTEN_ADDRESS and PORT whether it is ready: 0 if it is, 1 if not\n\n"
        "An operation is done in place of running, with the same variables:\n\n",
        definition->name, definition->summary);
    operation_print_help(definition, file);
    fputs("\nEverything is configured by environment variables.\n\n", file);
    settings_print_help(definition, file);
}

/* True if that was all that the command line asked for; *ret_status is then the exit status. Otherwise the operation is
 * to be done, if it is one. */
static bool answer_command_line(int argc, char **argv, const struct service_definition *definition,
                                struct operation *ret_operation, int *ret_status)
{
    struct error error = ERROR_INIT;
    *ret_status = 0;
    if (argc == 2 && text_equal(argv[1], "--help")) {
        usage(definition, stdout);
    } else if (argc == 2 && text_equal(argv[1], "--version")) {
        printf("%s %s\n", definition->name, TURNSTILE_VERSION);
    } else if (argc == 2 && text_equal(argv[1], "--config-names")) {
        settings_print_names(definition, stdout);
    } else if (argc == 2 && text_equal(argv[1], "--healthcheck")) {
        *ret_status = healthcheck_run(definition);
    } else if (operation_parse(argc, argv, definition, ret_operation, &error)) {
        return false;
    } else {
        fprintf(stderr, "%s: %s; try --help\n", definition->name, error.message);
        *ret_status = EXIT_USAGE;
    }
    return true;
}

static bool start_store(struct service *service, struct error *error)
{
    struct store_config config = {
        .uri = service->settings.store_uri,
        .collections = service->definition->collections,
        .readers = STORE_READERS,
        .threads = (size_t)(service->settings.workers + service->settings.event_workers),
        .owner = service->definition->name,
    };
    return store_open(&config, &service->store, error);
}

static void tell_of_wait(const struct error *problem)
{
    if (problem->code == ERROR_FORBIDDEN) {
        log_error("the store refuses this service, trying again until it does not: %s", problem->message);
    } else {
        log_warning("the store is away, trying again until it answers: %s", problem->message);
    }
}

/* A part of the start that needs the store. A server that is away is waited for, as it is when it goes away later:
 * false without an error if a signal came first. So is one that refuses the user or the password, which are changed
 * here and there one after the other. What is wrong with a file, with the URI or with the format does not pass by
 * itself. */
static bool start_with_store(struct service *service, struct signals *signals,
                             bool (*start_part)(struct service *service, struct error *error), struct error *error)
{
    struct error told = ERROR_INIT;
    int64_t pause_ms = STORE_RETRY_MIN_MS;
    for (;;) {
        struct error problem = ERROR_INIT;
        if (start_part(service, &problem)) {
            return true;
        }
        bool may_pass = problem.code == ERROR_UNAVAILABLE || problem.code == ERROR_FORBIDDEN;
        if (!may_pass || !store_is_remote(service->settings.store_uri)) {
            return error_set(error, problem.code, "%s", problem.message);
        }
        if (!text_equal(told.message, problem.message)) {
            tell_of_wait(&problem);
            told = problem;
        }
        if (signals_wait_for(signals, pause_ms)) {
            return false;
        }
        pause_ms = pause_ms * 2 < STORE_RETRY_MAX_MS ? pause_ms * 2 : STORE_RETRY_MAX_MS;
    }
}

static bool start_auth(struct service *service, struct error *error)
{
    const struct service_definition *definition = service->definition;
    bool issues = definition->token_lifetime_s != NULL;
    struct auth_config config = {
        .key = service->settings.jwt_key,
        .previous_key = service->settings.jwt_key_previous,
        .lifetime_s = issues ? definition->token_lifetime_s(service->own_settings) : UNISSUED_LIFETIME_S,
    };
    bool done = auth_new(&config, &service->auth, error);
    memory_wipe(service->settings.jwt_key, sizeof(service->settings.jwt_key));
    memory_wipe(service->settings.jwt_key_previous, sizeof(service->settings.jwt_key_previous));
    return done;
}

static bool start_events(struct service *service, struct error *error)
{
    if (!service->definition->uses_bus) {
        return true;
    }
    struct events_config config = {
        .service = service->definition->name,
        .bus_uri = service->settings.bus_uri,
        .client_id = service->settings.client_id,
        .store = service->store,
        .collections = service->definition->collections,
        .listeners = service->definition->listeners,
        .in_flight = (size_t)service->settings.events_in_flight,
        .workers = (size_t)service->settings.event_workers,
        .context = service,
    };
    return events_open(&config, &service->events, error);
}

static bool start_http(struct service *service, struct route *routes, struct error *error)
{
    health_routes(service->definition->routes, routes);
    struct http_config config = {
        .address = service->settings.listen_address,
        .port = (uint16_t)service->settings.port,
        .workers = (size_t)service->settings.workers,
        .queue_limit = QUEUE_LIMIT,
        .queue_wait_ms = QUEUE_WAIT_MS,
        .connection_limit = CONNECTION_LIMIT,
        .request_timeout_ms = service->settings.request_timeout_ms,
        .idle_timeout_ms = IDLE_TIMEOUT_MS,
        .trusted_proxies = service->settings.trusted_proxies,
        .routes = routes,
        .authenticate = auth_authenticate,
        .authenticate_context = service->auth,
        .session_cookie = service->settings.session_cookie,
        .observer = service_metrics_answered,
        .no_store = service->definition->no_store,
        .context = service,
    };
    return http_start(&config, &service->http, error);
}

static bool start(struct service *service, struct signals *signals, struct route *routes, struct error *error)
{
    service->ids = id_source_new(NULL);
    return start_with_store(service, signals, start_store, error) && start_auth(service, error) &&
           (service->definition->start == NULL || service->definition->start(service, &service->state, error)) &&
           start_with_store(service, signals, start_events, error) &&
           health_start(service->store, &service->health, error) && start_http(service, routes, error);
}

static void *end_at_deadline(void *unused UNUSED)
{
    const struct timespec deadline = {SERVICE_STOP_MS / 1000, SERVICE_STOP_MS % 1000 * 1000000};
    nanosleep(&deadline, NULL);
    log_error("could not stop in %d ms, ending now", SERVICE_STOP_MS);
    _exit(1);
}

/* What is left for events when the requests have ended: leaving the bus takes its own time on top of it. */
static int64_t time_for_events(int64_t stopping_since)
{
    int64_t left =
        SERVICE_STOP_MS - SERVICE_STOP_STORE_MS - BUS_LEAVE_MAX_MS - (clock_monotonic(NULL) - stopping_since);
    return left < SERVICE_STOP_EVENTS_MS ? left > 0 ? left : 0 : SERVICE_STOP_EVENTS_MS;
}

/* In the opposite order of the start: what still runs finds what it needs. Takes half-started services too. */
static void stop(struct service *service)
{
    atomic_store(&service->stopping, true);
    pthread_t watchdog;
    if (pthread_create(&watchdog, NULL, end_at_deadline, NULL) == 0) {
        pthread_detach(watchdog);
    }
    int64_t stopping_since = clock_monotonic(NULL);
    service_metrics_stop(service->metrics);
    http_stop(&service->http, SERVICE_STOP_HTTP_MS);
    health_stop(service->health);
    if (service->events != NULL) {
        events_close(&service->events, time_for_events(stopping_since));
        log_info("NATS connection closed!");
    }
    if (service->definition->stop != NULL && service->state != NULL) {
        service->definition->stop(service->state);
    }
    auth_free(&service->auth);
    service_metrics_free(&service->metrics);
    health_free(&service->health);
    store_close(&service->store);
    id_source_free(&service->ids);
}

/* An operation writes what a person wants to know itself. */
static void start_logging(const struct service *service, bool is_operation)
{
    enum log_level level = LOG_LEVEL_INFO;
    enum log_format format = LOG_FORMAT_HUMAN;
    if (log_level_from_text(service->settings.log_level, &level) &&
        log_format_from_text(service->settings.log_format, &format)) {
        bool is_quiet = is_operation && level == LOG_LEVEL_INFO;
        log_init(service->definition->name, is_quiet ? LOG_LEVEL_WARNING : level, format);
    }
}

/* Returns the exit status. */
static int start_wait_stop(struct service *service)
{
    CLEANUP(signals_free) struct signals *signals = NULL;
    struct route routes[SERVICE_ROUTES_MAX];
    struct error error = ERROR_INIT;
    int status = 0;
    if (signals_new(&signals, &error) && start(service, signals, routes, &error)) {
        service->metrics = service_metrics_start(service);
        log_info("%s %s listening on %s:%u", service->definition->name, TURNSTILE_VERSION,
                 service->settings.listen_address, (unsigned)http_port(service->http));
        signals_wait(signals);
    } else if (error.code != ERROR_NONE) {
        log_error("cannot start: %s", error.message);
        status = EXIT_START_FAILED;
    }
    stop(service);
    return status;
}

/* The next file that is opened takes the number of one that is closed: the log would go into the store's files. */
static void open_standard_files(void)
{
    int file;
    do {
        file = open("/dev/null", O_RDWR);
    } while (file >= 0 && file <= STDERR_FILENO);
    if (file > STDERR_FILENO) {
        close(file);
    }
}

int service_main(int argc, char **argv, const struct service_definition *definition)
{
    int status = 0;
    open_standard_files();
    struct operation operation = {.kind = OPERATION_NONE};
    if (answer_command_line(argc, argv, definition, &operation, &status)) {
        return status;
    }
    struct service service = {.definition = definition};
    if (!settings_load(&service, stderr)) {
        xfree(service.own_settings);
        return CONFIG_EXIT_STATUS;
    }
    start_logging(&service, operation.kind != OPERATION_NONE);
#ifdef TURNSTILE_FAILPOINTS
    struct error error = ERROR_INIT;
    if (service.settings.failpoints[0] != '\0' && !failpoint_configure(service.settings.failpoints, &error)) {
        fprintf(stderr, "FAILPOINTS: %s\n", error.message);
        xfree(service.own_settings);
        return CONFIG_EXIT_STATUS;
    }
#endif
    status = operation.kind == OPERATION_NONE ? start_wait_stop(&service) : operation_run(&service, &operation);
    xfree(service.own_settings);
    return status;
}
