/* SPDX-License-Identifier: Apache-2.0
 * --republish and --restored: in a process of their own, with the service's own configuration. */
#include "common/service/operations.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/moment.h"
#include "common/base/text.h"
#include "common/events/epoch.h"
#include "common/events/history.h"
#include "common/events/republish.h"
#include "common/service/signals.h"

enum {
    EXIT_FAILED = 1,
    READERS = 2,            /* of the store */
    PUBLISH_LIMIT = 1024,   /* more than republish_run has in flight */
    TELL_TERMINAL_MS = 100, /* how often the line is written anew */
    TELL_LOG_MS = 5000,     /* the same where it is not a terminal */
    STORE_RETRY_MS = 500,   /* between attempts to note what was published */
    LEAVE_MS = 2000,        /* for closing the bus */
    SUFFIX_LENGTH = 8,      /* of the client id */
    NOUN_SIZE = 64,
};

/* ---- the command line ---- */

/* "--name VALUE" or "--name=VALUE"; NULL: it is another argument, or the value is missing. Moves on behind it. */
static const char *option_value(int argc, char **argv, int *at, const char *name)
{
    const char *argument = argv[*at];
    size_t length = strlen(name);
    if (text_equal(argument, name) && *at + 1 < argc) {
        (*at)++;
        return argv[*at];
    }
    return text_starts_with(argument, name) && argument[length] == '=' ? argument + length + 1 : NULL;
}

static bool parse_one(int argc, char **argv, int *at, struct operation *operation, struct error *error)
{
    const char *argument = argv[*at];
    const char *value = NULL;
    enum operation_kind kind = text_equal(argument, "--republish")  ? OPERATION_REPUBLISH
                               : text_equal(argument, "--restored") ? OPERATION_RESTORED
                                                                    : OPERATION_NONE;
    if (kind != OPERATION_NONE) {
        bool is_first = operation->kind == OPERATION_NONE;
        operation->kind = kind;
        return is_first || error_set(error, ERROR_INVALID, "only one of --republish and --restored, and once");
    }
    if ((value = option_value(argc, argv, at, "--id")) != NULL) {
        return id_from_text(value, &operation->id) ||
               error_set(error, ERROR_INVALID, "--id must be %d hex digits, not \"%s\"", ID_LENGTH, value);
    }
    if ((value = option_value(argc, argv, at, "--since")) != NULL) {
        return moment_parse("--since", value, clock_now(NULL), &operation->since, error);
    }
    if ((value = option_value(argc, argv, at, "--rate")) != NULL) {
        return text_to_int64(value, 1, REPUBLISH_RATE_MAX, &operation->rate) ||
               error_set(error, ERROR_INVALID, "--rate must be 1 to %d, not \"%s\"", REPUBLISH_RATE_MAX, value);
    }
    bool lacks_value =
        text_equal(argument, "--id") || text_equal(argument, "--since") || text_equal(argument, "--rate");
    return error_set(error, ERROR_INVALID, lacks_value ? "%s needs a value" : "unknown argument \"%s\"", argument);
}

bool operation_parse(int argc, char **argv, const struct service_definition *definition,
                     struct operation *ret_operation, struct error *error)
{
    struct operation operation = {.kind = OPERATION_NONE};
    for (int at = 1; at < argc; at++) {
        if (!parse_one(argc, argv, &at, &operation, error)) {
            return false;
        }
    }
    bool has_options = id_is_set(&operation.id) || operation.since != 0 || operation.rate != 0;
    if (has_options && operation.kind != OPERATION_REPUBLISH) {
        return error_set(error, ERROR_INVALID, "--id, --since and --rate go with --republish only");
    }
    if (id_is_set(&operation.id) && operation.since != 0) {
        return error_set(error, ERROR_INVALID, "only one of --id and --since");
    }
    if (operation.kind == OPERATION_REPUBLISH && !republish_can(definition->name, definition->collections)) {
        return error_set(error, ERROR_INVALID, "%s publishes nothing, so there is nothing to publish again",
                         definition->name);
    }
    operation.rate = operation.rate != 0 ? operation.rate : REPUBLISH_RATE;
    *ret_operation = operation;
    return true;
}

void operation_print_help(const struct service_definition *definition, FILE *file)
{
    if (republish_can(definition->name, definition->collections)) {
        fprintf(
            file,
            "  --republish     publish the present state of everything again, and end; the service may run meanwhile\n"
            "    --id ID       only of this one, also if there is none\n"
            "    --since TIME  only of what was written since: 2026-01-31T12:00:00Z, or an age like 30s, 10m, 2h, 1d\n"
            "    --rate N      so many a second, 1 to %d (default %d)\n",
            REPUBLISH_RATE_MAX, REPUBLISH_RATE);
    }
    fprintf(file,
            "  --restored      an older backup of the store was put back: run this before the service is started\n");
}

/* ---- what both need ---- */

/* None is made: there is nothing to be done to one that was not there before. */
static bool open_store(struct service *service, struct error *error)
{
    const struct store_config config = {
        .uri = service->settings.store_uri,
        .collections = service->definition->collections,
        .readers = READERS,
        .owner = service->definition->name,
        .must_be_there = true,
    };
    return store_open(&config, &service->store, error);
}

static int fail(const struct service *service, const struct error *error)
{
    fprintf(stderr, "%s: %s\n", service->definition->name, error->message);
    return EXIT_FAILED;
}

/* ---- --republish ---- */

struct task {
    struct service *service;
    const struct operation *operation;
    struct signals *signals;
    struct bus *bus;
    atomic_bool is_lost; /* what was published, at least a part of it */
    bool is_terminal;
    bool has_line; /* on the terminal, without its end */
    int64_t start, told_at;
};

/* "1 ticket", "2 tickets"; of several kinds, "2 records". */
static void count_nouns(const struct service_definition *definition, uint64_t count, char ret_text[static NOUN_SIZE])
{
    const char *noun = NULL;
    for (const struct collection *const *at = definition->collections; *at != NULL; at++) {
        const struct entity *entity = catalogue_published(definition->name, *at);
        if (entity != NULL) {
            noun = noun == NULL ? entity->name : "record";
        }
    }
    snprintf(ret_text, NOUN_SIZE, "%" PRIu64 " %s%s", count, noun, count == 1 ? "" : "s");
}

static void end_line(struct task *task)
{
    if (task->has_line) {
        fputc('\n', stderr);
        task->has_line = false;
    }
}

static void tell(struct task *task, const struct republish_progress *progress)
{
    char count[NOUN_SIZE];
    const char *waiting = progress->bus_is_away     ? ", waiting for the event bus"
                          : progress->store_is_away ? ", waiting for the store"
                                                    : "";
    int64_t now = clock_monotonic(NULL);
    if (now < task->told_at + (task->is_terminal ? TELL_TERMINAL_MS : TELL_LOG_MS)) {
        return;
    }
    task->told_at = now;
    count_nouns(task->service->definition, progress->published, count);
    if (task->is_terminal) {
        fprintf(stderr, "\r\033[Krepublished %s%s", count, waiting);
        task->has_line = true;
    } else {
        fprintf(stderr, "republished %s so far%s\n", count, waiting);
    }
    fflush(stderr);
}

static bool go_on(const struct republish_progress *progress, void *context)
{
    struct task *task = context;
    tell(task, progress);
    return !signals_came(task->signals) && !atomic_load(&task->is_lost);
}

static void on_history_lost(struct bus *bus UNUSED, const char *subject UNUSED, uint64_t expected UNUSED,
                            uint64_t found UNUSED, void *context)
{
    struct task *task = context;
    atomic_store(&task->is_lost, true);
}

static size_t snapshot_positions(const struct service_definition *definition,
                                 struct bus_position ret_positions[static STORE_COLLECTIONS_MAX])
{
    size_t count = 0;
    for (const struct collection *const *at = definition->collections; *at != NULL; at++) {
        const struct entity *entity = catalogue_published(definition->name, *at);
        const struct subject *subject = entity != NULL ? catalogue_snapshot(entity) : NULL;
        if (subject != NULL) {
            ret_positions[count] = (struct bus_position){.sequence = 0};
            text_copy_cut(ret_positions[count].subject, sizeof(ret_positions[count].subject), subject->name);
            count++;
        }
    }
    return count;
}

/* A client of its own: the instances' ids are in use. */
static bool open_bus(struct task *task, struct error *error)
{
    struct bus_position positions[STORE_COLLECTIONS_MAX];
    char client_id[BUS_NAME_MAX];
    char suffix[SUFFIX_LENGTH + 1];
    random_hex(suffix, SUFFIX_LENGTH);
    snprintf(client_id, sizeof(client_id), "%s-republish-%s", task->service->definition->name, suffix);
    const struct bus_config config = {
        .uri = task->service->settings.bus_uri,
        .client_id = client_id,
        .publish_limit = PUBLISH_LIMIT,
        .subjects = catalogue_bus_subjects,
        .positions = positions,
        .position_count = snapshot_positions(task->service->definition, positions),
        .history_lost = on_history_lost,
        .context = task,
    };
    return bus_open(&config, &task->bus, error);
}

/* Begins anew where the bus lost what it had confirmed. False: interrupted. */
static bool publish_all(struct task *task, uint64_t epoch, struct republish_progress *progress)
{
    const struct republish_config config = {
        .service = task->service->definition->name,
        .store = task->service->store,
        .bus = task->bus,
        .collections = task->service->definition->collections,
        .epoch = epoch,
        .rate = task->operation->rate,
        .id = task->operation->id,
        .since = task->operation->since,
        .go_on = go_on,
        .context = task,
    };
    bool done = republish_run(&config, progress);
    while (atomic_exchange(&task->is_lost, false) && !signals_came(task->signals)) {
        end_line(task);
        fputs("the event bus has lost what was published: beginning anew\n", stderr);
        done = republish_run(&config, progress);
    }
    return done;
}

/* As a running service does, before anybody counts on them: else a bus that loses these snapshots could come back with
 * nothing missing. A store that is away is waited for. False without an error: interrupted. */
static bool note_positions(struct task *task, struct error *error)
{
    struct bus_position positions[STORE_COLLECTIONS_MAX];
    size_t count = snapshot_positions(task->service->definition, positions);
    bool is_told = false;
    for (size_t i = 0; i < count;) {
        struct error problem = ERROR_INIT;
        if (history_note(task->service->store, task->bus, positions[i].subject, &problem)) {
            i++;
            continue;
        }
        if (problem.code != ERROR_UNAVAILABLE) {
            *error = problem;
            return error_prefix(error, "noting what the event bus has");
        }
        if (!is_told) {
            end_line(task);
            log_warning("What the event bus has of it cannot be noted: %s, retrying", problem.message);
            is_told = true;
        }
        if (signals_wait_for(task->signals, STORE_RETRY_MS)) {
            return false;
        }
    }
    return true;
}

static int report(struct task *task, bool done, const struct republish_progress *progress)
{
    char count[NOUN_SIZE];
    const char *name = task->service->definition->name;
    end_line(task);
    count_nouns(task->service->definition, progress->published, count);
    if (!done) {
        fprintf(stderr, "%s: interrupted; republished %s, the rest is not\n", name, count);
        return EXIT_FAILED;
    }
    if (progress->failed > 0) {
        fprintf(stderr, "%s: republished %s, but not %" PRIu64 " more\n", name, count, progress->failed);
        return EXIT_FAILED;
    }
    if (progress->is_absent) {
        printf("there is no %s: published that\n", task->operation->id.hex);
    } else {
        printf("republished %s in %.1f s\n", count, (double)(clock_monotonic(NULL) - task->start) / 1000);
    }
    return 0;
}

static int republish(struct service *service, const struct operation *operation, struct signals *signals)
{
    struct task task = {
        .service = service,
        .operation = operation,
        .signals = signals,
        .is_terminal = isatty(STDERR_FILENO) == 1,
        .start = clock_monotonic(NULL),
    };
    struct republish_progress progress = {.published = 0};
    struct error error = ERROR_INIT;
    uint64_t epoch = 0;
    task.told_at = task.start;
    if (!epoch_read(service->store, &epoch, &error) || !open_bus(&task, &error)) {
        return fail(service, &error);
    }
    bool done = publish_all(&task, epoch, &progress) && note_positions(&task, &error);
    bus_close(&task.bus, LEAVE_MS);
    if (error.code != ERROR_NONE) {
        end_line(&task);
        return fail(service, &error);
    }
    return report(&task, done, &progress);
}

/* ---- --restored ---- */

static bool listens(const struct service_definition *definition)
{
    return definition->listeners != NULL && definition->listeners->entity != NULL;
}

static int restored(struct service *service)
{
    const struct service_definition *definition = service->definition;
    bool publishes = republish_can(definition->name, definition->collections);
    struct error error = ERROR_INIT;
    uint64_t epoch = 0;
    if (!epoch_raise(service->store, definition->name, definition->collections, definition->listeners, NULL, &epoch,
                     &error)) {
        return fail(service, &error);
    }
    printf("the store of %s is of epoch %" PRIu64 " now\n", definition->name, epoch);
    if (publishes) {
        printf("once %s is started, it publishes everything again, and all replicas follow it\n", definition->name);
    }
    if (listens(definition)) {
        printf("and it asks those whom it listens to to do the same for what it has missed\n");
    }
    return 0;
}

/* ---- the whole ---- */

int operation_run(struct service *service, const struct operation *operation)
{
    CLEANUP(signals_free) struct signals *signals = NULL;
    struct error error = ERROR_INIT;
    if (!signals_new(&signals, &error) || !open_store(service, &error)) {
        return fail(service, &error);
    }
    signals_started(signals);
    int status = operation->kind == OPERATION_REPUBLISH ? republish(service, operation, signals) : restored(service);
    store_close(&service->store);
    return status;
}
