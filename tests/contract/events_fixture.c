/* SPDX-License-Identifier: Apache-2.0
 * Services, processes and a bus for the tests of events. */
#include "tests/contract/events_fixture.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/failpoint.h"
#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    POLL_US = 5000,
    URI_SIZE = 256,
    OPEN_FILES_MAX = 8, /* of nftw */
    TAP_MAX = 20000,
    PROCESS_ARGUMENTS = 9,
};

extern char **environ;

const struct collection tickets = {.name = "tickets", .table = &ticket_table};
const struct collection copies = {.name = "copies", .table = &ticket_table};
static const struct collection *const owned[] = {&tickets, NULL};
static const struct collection *const copied[] = {&copies, NULL};

/* A live order with a higher reservation takes the ticket over, a cancelled one frees it. */
static enum effect reserve(const struct record *source, const void *entity, struct record *own, void *own_value,
                           struct event *ret_event)
{
    const struct order *order = entity;
    struct ticket *ticket = own_value;
    bool is_cancelled = order->status == ORDER_CANCELLED;
    if (own->version == 0) {
        return EFFECT_GAP;
    }
    if (order->ticket.price != 1 && order->ticket.price != 2) {
        return EFFECT_STRAY;
    }
    bool takes = !is_cancelled && order->reservation > ticket->reservation;
    bool frees = is_cancelled && (order->reservation > ticket->reservation ||
                                  (order->reservation == ticket->reservation && id_is_set(&ticket->order_id)));
    if (!takes && !frees) {
        return EFFECT_UNCHANGED;
    }
    ticket->reservation = order->reservation;
    ticket->order_id = takes ? source->id : (struct id){.hex = ""};
    *ret_event = event_ticket_updated(ticket);
    return EFFECT_CHANGED;
}

static const struct listener effects[] = {
    {.entity = &entity_order, .collection = &tickets, .effect = reserve, .own_id = offsetof(struct order, ticket.id)},
    {.entity = NULL},
};

static const struct listener replicas[] = {{.entity = &entity_ticket, .collection = &copies}, {.entity = NULL}};

/* ---- the world ---- */

int world_setup(void **state)
{
    struct world *world = xcalloc(1, sizeof(*world));
    text_copy_cut(world->directory, sizeof(world->directory), "/tmp/turnstile-events-XXXXXX");
    assert_non_null(mkdtemp(world->directory));
    world->server = bus_server_new(BUS_SERVER_FILE, NULL, NULL);
    bus_server_start(world->server);
    *state = world;
    return 0;
}

static int remove_file(const char *path, const struct stat *status UNUSED, int type UNUSED, struct FTW *at UNUSED)
{
    return remove(path);
}

int world_teardown(void **state)
{
    struct world *world = *state;
    bus_server_free(&world->server);
    nftw(world->directory, remove_file, OPEN_FILES_MAX, FTW_DEPTH | FTW_PHYS);
    xfree(world);
    return 0;
}

static bool is_shop(const char *service)
{
    return text_equal(service, "shop");
}

static struct store *open_store(const char *directory, const char *service, const struct clock *clock)
{
    char uri[URI_SIZE];
    snprintf(uri, sizeof(uri), "sqlite:%s/%s.db", directory, is_shop(service) ? "shop" : "tickets");
    const struct store_config config = {
        .uri = uri, .collections = is_shop(service) ? copied : owned, .readers = 4, .clock = clock};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    if (!store_open(&config, &store, &error)) {
        fail_msg("%s", error.message);
    }
    return store;
}

struct store *world_store(const struct world *world, const char *service, const struct clock *clock)
{
    return open_store(world->directory, service, clock);
}

static struct instance open_instance(const char *directory, const char *bus_uri, const char *service,
                                     const char *client_id)
{
    struct instance instance = {.store = open_store(directory, service, NULL)};
    const struct events_config config = {
        .service = is_shop(service) ? "shop" : "tickets",
        .bus_uri = bus_uri,
        .client_id = client_id,
        .store = instance.store,
        .collections = is_shop(service) ? copied : owned,
        .listeners = is_shop(service)                 ? replicas
                     : text_equal(service, "tickets") ? effects
                                                      : NULL,
        .in_flight = IN_FLIGHT,
        .workers = WORKERS,
    };
    struct error error = ERROR_INIT;
    if (!events_open(&config, &instance.events, &error)) {
        fail_msg("%s", error.message);
    }
    return instance;
}

struct instance instance_open(const struct world *world, const char *service, const char *client_id)
{
    return open_instance(world->directory, bus_server_uri(world->server), service, client_id);
}

void instance_close(struct instance *instance)
{
    events_close(&instance->events, CLOSE_MS);
    store_close(&instance->store);
}

/* ---- processes ---- */

pid_t process_start(const struct world *world, const char *service, const char *client_id, const char *failpoints,
                    const struct id *id)
{
    char *const arguments[PROCESS_ARGUMENTS] = {xstrdup("events"),
                                                xstrdup("process"),
                                                xstrdup(world->directory),
                                                xstrdup(bus_server_uri(world->server)),
                                                xstrdup(service),
                                                xstrdup(client_id),
                                                xstrdup(failpoints != NULL ? failpoints : ""),
                                                xstrdup(id != NULL ? id->hex : ""),
                                                NULL};
    pid_t process = 0;
    assert_int_equal(posix_spawn(&process, "/proc/self/exe", NULL, NULL, arguments, environ), 0);
    for (size_t i = 0; arguments[i] != NULL; i++) {
        xfree(arguments[i]);
    }
    return process;
}

int process_main(int count, char **arguments)
{
    struct error error = ERROR_INIT;
    struct id id = {.hex = ""};
    if (count != PROCESS_ARGUMENTS - 1 || !failpoint_configure(arguments[6], &error)) {
        return EXIT_FAILURE;
    }
    sigset_t signals;
    sigfillset(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    struct instance instance = open_instance(arguments[2], arguments[3], arguments[4], arguments[5]);
    if (id_from_text(arguments[7], &id)) {
        write_version(&instance, id, 1);
    }
    for (;;) {
        pause(); /* until it is killed */
    }
}

void process_kill(pid_t process)
{
    kill(process, SIGKILL);
    process_wait_killed(process, SIGKILL);
}

void process_wait_killed(pid_t process, int by_signal)
{
    int status = 0;
    while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), by_signal);
}

void process_wait_stopped(pid_t process)
{
    int status = 0;
    while (waitpid(process, &status, WUNTRACED) < 0 && errno == EINTR) {
    }
    assert_true(WIFSTOPPED(status));
}

/* ---- what is written and published ---- */

struct id make_id(uint64_t number)
{
    struct id id;
    snprintf(id.hex, sizeof(id.hex), "%024" PRIx64, number);
    return id;
}

struct ticket make_ticket(int64_t price)
{
    struct ticket ticket = {.price = price, .user_id = make_id(1), .created_at = 1000, .updated_at = 2000};
    text_copy_cut(ticket.title, sizeof(ticket.title), "A concert");
    return ticket;
}

struct order make_order(struct id ticket, int64_t reservation, enum order_status status)
{
    struct order order = {
        .status = status,
        .user_id = make_id(1),
        .ticket = {.id = ticket, .price = 1},
        .reservation = reservation,
        .created_at = 1000,
        .expires_at = 2000,
    };
    text_copy_cut(order.ticket.title, sizeof(order.ticket.title), "A concert");
    return order;
}

void write_version(struct instance *instance, struct id id, uint64_t version)
{
    struct record record = RECORD_INIT;
    record.id = id;
    struct ticket ticket = make_ticket((int64_t)version);
    struct error error = ERROR_INIT;
    enum store_result result =
        events_write(instance->events, &tickets, version - 1, &record,
                     version == 1 ? event_ticket_created(&ticket) : event_ticket_updated(&ticket), &error);
    if (result != STORE_DONE) {
        fail_msg("version %" PRIu64 ": %s", version, error.message);
    }
}

struct bus *bus_connect(const struct world *world)
{
    static unsigned number;
    char client_id[BUS_NAME_MAX];
    snprintf(client_id, sizeof(client_id), "test-%u", ++number);
    const struct bus_config config = {
        .uri = bus_server_uri(world->server), .client_id = client_id, .publish_limit = 1000};
    struct bus *bus = NULL;
    struct error error = ERROR_INIT;
    assert_true(bus_open(&config, &bus, &error));
    assert_true(bus_wait_up(bus, WAIT_MS));
    return bus;
}

void publish_text(struct bus *bus, const char *subject, const char *text, size_t length)
{
    struct error error = ERROR_INIT;
    if (!bus_publish_wait(bus, subject, NULL, text, length, WAIT_MS, &error)) {
        fail_msg("%s", error.message);
    }
}

static void publish_event(struct bus *bus, struct event event, struct id id, uint64_t version)
{
    struct record record = RECORD_INIT;
    record.id = id;
    record.version = version;
    struct buffer text = BUFFER_INIT(EVENT_PAYLOAD_MAX);
    message_print(event.subject, &record, event.value, 1000, &text);
    publish_text(bus, event.subject->name, text.data, text.length);
    buffer_done(&text);
}

void publish_version(struct bus *bus, struct id id, uint64_t version)
{
    struct ticket ticket = make_ticket((int64_t)version);
    publish_event(bus, version == 1 ? event_ticket_created(&ticket) : event_ticket_updated(&ticket), id, version);
}

void publish_order(struct bus *bus, struct id order, uint64_t version, const struct order *value)
{
    struct event event = value->status == ORDER_CANCELLED ? event_order_cancelled(value) : event_order_created(value);
    publish_event(bus, event, order, version);
}

/* ---- what is waited for ---- */

bool eventually(bool (*condition)(void *context), void *context)
{
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    while (!condition(context)) {
        if (clock_monotonic(NULL) > deadline) {
            return false;
        }
        usleep(POLL_US);
    }
    return true;
}

uint64_t stored_version(struct store *store, const struct collection *collection, struct id id)
{
    struct record record = RECORD_INIT;
    struct error error = ERROR_INIT;
    return store_get(store, collection, &id, &record, NULL, &error) ? record.version : 0;
}

struct awaited {
    struct store *store;
    const struct collection *collection;
    struct id id;
    uint64_t version;
};

static bool has_version(void *context)
{
    const struct awaited *awaited = context;
    return stored_version(awaited->store, awaited->collection, awaited->id) == awaited->version;
}

void wait_for_version(struct store *store, const struct collection *collection, struct id id, uint64_t version)
{
    struct awaited awaited = {.store = store, .collection = collection, .id = id, .version = version};
    if (!eventually(has_version, &awaited)) {
        fail_msg("%s/%s is at version %" PRIu64 " instead of %" PRIu64, collection->name, id.hex,
                 stored_version(store, collection, id), version);
    }
}

static bool is_outbox_empty(void *context)
{
    struct error error = ERROR_INIT;
    uint64_t count = 0;
    int64_t oldest = 0;
    return store_outbox_count(context, &count, &oldest, &error) && count == 0;
}

void wait_for_empty_outbox(struct store *store)
{
    assert_true(eventually(is_outbox_empty, store));
}

/* Of all members of the service's group on the subject: what is unacknowledged, or -1 if one has not been sent all. */
long pending_of(const struct world *world, const char *service, const char *subject)
{
    char group[BUS_NAME_MAX];
    snprintf(group, sizeof(group), "%s-service", service);
    return bus_server_pending(world->server, subject, group);
}

struct group {
    const struct world *world;
    const char *service, *subject;
};

static bool is_acknowledged(void *context)
{
    const struct group *group = context;
    return pending_of(group->world, group->service, group->subject) == 0;
}

void wait_for_acknowledged(const struct world *world, const char *service, const char *subject)
{
    struct group group = {.world = world, .service = service, .subject = subject};
    if (!eventually(is_acknowledged, &group)) {
        fail_msg("%s: %ld unacknowledged", subject, pending_of(world, service, subject));
    }
}

/* ---- taps ---- */

struct tap {
    pthread_mutex_t lock;
    size_t count;
    char *texts[TAP_MAX];
};

static void on_tapped(struct delivery *delivery, void *context)
{
    struct tap *tap = context;
    pthread_mutex_lock(&tap->lock);
    if (tap->count < TAP_MAX) {
        tap->texts[tap->count++] = xstrndup(delivery_data(delivery), delivery_length(delivery));
    }
    pthread_mutex_unlock(&tap->lock);
    bus_ack(delivery);
}

struct tap *tap_new(struct bus *bus, const char *subject)
{
    struct tap *tap = xcalloc(1, sizeof(*tap));
    pthread_mutex_init(&tap->lock, NULL);
    const struct subscription subscription = {.subject = subject,
                                              .start = BUS_START_ALL,
                                              .acknowledge_by_engine = true,
                                              .ack_wait_ms = 5000,
                                              .in_flight = 1000};
    struct error error = ERROR_INIT;
    assert_true(bus_subscribe(bus, &subscription, on_tapped, tap, &error));
    return tap;
}

void tap_free(struct tap **tap)
{
    for (size_t i = 0; i < (*tap)->count; i++) {
        xfree((*tap)->texts[i]);
    }
    pthread_mutex_destroy(&(*tap)->lock);
    xfree(*tap);
    *tap = NULL;
}

size_t tap_count(struct tap *tap)
{
    pthread_mutex_lock(&tap->lock);
    size_t count = tap->count;
    pthread_mutex_unlock(&tap->lock);
    return count;
}

struct tapped {
    struct tap *tap;
    size_t count;
};

static bool has_come(void *context)
{
    const struct tapped *tapped = context;
    return tap_count(tapped->tap) >= tapped->count;
}

void tap_wait(struct tap *tap, size_t count)
{
    struct tapped tapped = {.tap = tap, .count = count};
    if (!eventually(has_come, &tapped)) {
        fail_msg("%zu of %zu messages came", tap_count(tap), count);
    }
}

const char *tap_text(struct tap *tap, size_t index)
{
    pthread_mutex_lock(&tap->lock);
    const char *text = tap->texts[index];
    pthread_mutex_unlock(&tap->lock);
    return text;
}
