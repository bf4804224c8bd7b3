/* SPDX-License-Identifier: Apache-2.0
 * The bus: opening and closing it, its state, and what is to be received. */
#include "common/bus/bus.h"

#include <string.h>

#include "common/base/buffer.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/bus/internal.h"
#include "common/bus/metrics.h"
#include "common/bus/names.h"

enum {
    BUS_LINK_HANG_MS = 30000, /* a slow name server takes that long */
    PUBLISH_LIMIT_MAX = 8192, /* well below the engines' own limits, at which they would block */
    ACK_WAIT_MIN_MS = 1000,
    ACK_WAIT_MAX_MS = 60 * 60 * 1000,
    IN_FLIGHT_MAX = 1024,
};

static const struct bus_driver *const drivers[] = {&bus_driver_stan, &bus_driver_jetstream};

/* Of the scheme that the text begins with; NULL if there is none such. */
static const struct bus_driver *driver_of(const char *text)
{
    for (size_t i = 0; i < ARRAY_LENGTH(drivers); i++) {
        size_t length = strlen(drivers[i]->scheme);
        if (text_starts_with(text, drivers[i]->scheme) && text_starts_with(text + length, "://")) {
            return drivers[i];
        }
    }
    return NULL;
}

static bool refuse_scheme(struct error *error)
{
    struct buffer forms = BUFFER_INIT(ERROR_MESSAGE_MAX);
    for (size_t i = 0; i < ARRAY_LENGTH(drivers); i++) {
        buffer_append_text(&forms, i == 0 ? "" : " or ");
        buffer_append_text(&forms, drivers[i]->form);
    }
    error_set(error, ERROR_INVALID, "the event bus's URI must be like %s", buffer_text(&forms));
    buffer_done(&forms);
    return false;
}

static bool find_driver(const char *text, struct bus_uri *ret_uri, const struct bus_driver **ret_driver,
                        struct error *error)
{
    const struct bus_driver *driver = driver_of(text);
    if (!driver) {
        return refuse_scheme(error);
    }
    struct bus_uri uri;
    if (!bus_uri_parse(text, &uri, error)) {
        return error_prefix(error, "the event bus's URI must be like %s", driver->form);
    }
    const char *problem = driver->check_uri(&uri);
    if (problem) {
        error_set(error, ERROR_INVALID, "the event bus's URI must be like %s: %s", driver->form, problem);
    } else {
        *ret_uri = uri;
        *ret_driver = driver;
    }
    memory_wipe(&uri, sizeof(uri));
    return !problem;
}

bool bus_uri_valid(const char *uri)
{
    struct bus_uri parsed;
    const struct bus_driver *driver;
    bool valid = find_driver(uri, &parsed, &driver, NULL);
    if (valid) {
        memory_wipe(&parsed, sizeof(parsed));
    }
    return valid;
}

bool bus_client_id_valid(const char *client_id)
{
    return bus_is_name(client_id);
}

bool bus_subject_valid(const char *subject)
{
    return bus_is_subject(subject);
}

void bus_retain(struct bus *bus)
{
    atomic_fetch_add(&bus->references, 1);
}

void bus_release(struct bus *bus)
{
    if (atomic_fetch_sub(&bus->references, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < bus->desired_count; i++) {
        struct bus_desired *desired = bus->desired[i];
        free_pointer(&desired->subscription.subject);
        free_pointer(&desired->subscription.queue_group);
        free_pointer(&desired->subscription.durable);
        xfree(desired);
    }
    for (size_t i = 0; i < bus->listener_count; i++) {
        xfree(bus->listeners[i]->topic);
        xfree(bus->listeners[i]->queue_group);
        xfree(bus->listeners[i]);
    }
    pthread_cond_destroy(&bus->idle);
    pthread_cond_destroy(&bus->supervise);
    pthread_mutex_destroy(&bus->mutex);
    memory_wipe(&bus->uri, sizeof(bus->uri));
    xfree(bus);
}

static bool check_positions(const struct bus_config *config, struct error *error)
{
    if (config->position_count > BUS_POSITIONS_MAX) {
        return error_set(error, ERROR_INVALID, "the event bus follows no more than %d subjects", BUS_POSITIONS_MAX);
    }
    for (size_t i = 0; i < config->position_count; i++) {
        if (!bus_is_subject(config->positions[i].subject)) {
            return error_set(error, ERROR_INVALID, "what the event bus is to follow is not a subject");
        }
    }
    return true;
}

bool bus_open_with(const struct bus_driver *driver, const struct bus_uri *uri, const struct bus_config *config,
                   int64_t hang_ms, struct bus **ret_bus, struct error *error)
{
    if (!bus_client_id_valid(config->client_id)) {
        return error_set(error, ERROR_INVALID, "the event bus's client id must be 1 to %d letters, digits, '_' or '-'",
                         BUS_NAME_MAX - 1);
    }
    if (config->publish_limit == 0 || config->publish_limit > PUBLISH_LIMIT_MAX) {
        return error_set(error, ERROR_INVALID, "the event bus's limit of publishes in flight must be 1 to %d",
                         PUBLISH_LIMIT_MAX);
    }
    if (!check_positions(config, error)) {
        return false;
    }
    struct bus *bus = xcalloc(1, sizeof(*bus));
    atomic_init(&bus->references, 1);
    bus->driver = driver;
    bus->uri = *uri;
    text_copy_cut(bus->client_id, sizeof(bus->client_id), config->client_id);
    bus->publish_limit = config->publish_limit;
    bus->state_changed = config->state_changed;
    bus->will_look = config->will_look;
    bus->history_lost = config->history_lost;
    bus->context = config->context;
    bus->subjects = config->subjects;
    bus->position_count = config->position_count;
    for (size_t i = 0; i < config->position_count; i++) {
        bus->positions[i] = config->positions[i];
        bus_metrics_followed(config->positions[i].subject);
    }
    bus->hang_ms = hang_ms;
    bus->state = BUS_CONNECTING;
    bus_metrics_state(BUS_CONNECTING);
    pthread_mutex_init(&bus->mutex, NULL);
    pthread_cond_init(&bus->supervise, NULL);
    pthread_cond_init(&bus->idle, NULL);
    int failure = pthread_create(&bus->supervisor, NULL, bus_supervise, bus);
    if (failure) {
        bus_release(bus);
        return error_set(error, ERROR_UNAVAILABLE, "cannot start the event bus's thread: %s", strerrordesc_np(failure));
    }
    *ret_bus = bus;
    return true;
}

bool bus_open(const struct bus_config *config, struct bus **ret_bus, struct error *error)
{
    struct bus_uri uri;
    const struct bus_driver *driver = NULL;
    if (!find_driver(config->uri, &uri, &driver, error)) {
        return false;
    }
    bool opened = bus_open_with(driver, &uri, config, BUS_LINK_HANG_MS, ret_bus, error);
    memory_wipe(&uri, sizeof(uri));
    return opened;
}

enum bus_state bus_state(const struct bus *bus)
{
    /* Locking is no change that a caller could notice. */
    pthread_mutex_t *mutex = (pthread_mutex_t *)(uintptr_t)&bus->mutex;
    pthread_mutex_lock(mutex);
    enum bus_state state = bus->state;
    pthread_mutex_unlock(mutex);
    return state;
}

/* With the mutex held. */
static bool is_settled(const struct bus *bus)
{
    return bus->state == BUS_UP && bus->link && bus->link->settled_count == bus->desired_count;
}

bool bus_wait_up(struct bus *bus, int64_t timeout_ms)
{
    struct timespec deadline = clock_deadline(timeout_ms);
    pthread_mutex_lock(&bus->mutex);
    int waited = 0;
    while (bus->state != BUS_CLOSED && !is_settled(bus) && waited == 0) {
        waited = pthread_cond_clockwait(&bus->idle, &bus->mutex, CLOCK_MONOTONIC, &deadline);
    }
    bool up = is_settled(bus);
    pthread_mutex_unlock(&bus->mutex);
    return up;
}

static bool check_subscription(const struct subscription *subscription, struct error *error)
{
    if (!bus_is_subject(subscription->subject)) {
        return error_set(error, ERROR_INVALID, "a subject must be 1 to %d of a-z, 0-9, ':', '_', '-'",
                         BUS_SUBJECT_MAX - 1);
    }
    if (subscription->queue_group && !bus_is_name(subscription->queue_group)) {
        return error_set(error, ERROR_INVALID, "a queue group must be 1 to %d letters, digits, '_' or '-'",
                         BUS_NAME_MAX - 1);
    }
    if (subscription->durable && !bus_is_name(subscription->durable)) {
        return error_set(error, ERROR_INVALID, "a durable name must be 1 to %d letters, digits, '_' or '-'",
                         BUS_NAME_MAX - 1);
    }
    if (subscription->ack_wait_ms < ACK_WAIT_MIN_MS || subscription->ack_wait_ms > ACK_WAIT_MAX_MS ||
        subscription->ack_wait_ms % 1000 != 0) {
        return error_set(error, ERROR_INVALID, "an ack wait must be whole seconds, 1 to %d", ACK_WAIT_MAX_MS / 1000);
    }
    if (subscription->in_flight == 0 || subscription->in_flight > IN_FLIGHT_MAX) {
        return error_set(error, ERROR_INVALID, "a subscription must allow 1 to %d messages in flight", IN_FLIGHT_MAX);
    }
    if (subscription->start == BUS_START_SEQUENCE && subscription->start_sequence == 0) {
        return error_set(error, ERROR_INVALID, "a start sequence must be 1 or more");
    }
    return true;
}

void bus_wake_link(struct bus *bus)
{
    if (bus->link) {
        pthread_cond_signal(&bus->link->wake);
    }
}

bool bus_subscribe(struct bus *bus, const struct subscription *subscription, bus_receive *receive, void *context,
                   struct error *error)
{
    if (!check_subscription(subscription, error)) {
        return false;
    }
    pthread_mutex_lock(&bus->mutex);
    bool accepted = bus->desired_count < BUS_SUBSCRIPTIONS_MAX && !bus->closing;
    if (accepted) {
        struct bus_desired *desired = xcalloc(1, sizeof(*desired));
        desired->index = bus->desired_count;
        desired->subscription = *subscription;
        desired->subscription.subject = xstrdup(subscription->subject);
        desired->subscription.queue_group = subscription->queue_group ? xstrdup(subscription->queue_group) : NULL;
        desired->subscription.durable = subscription->durable ? xstrdup(subscription->durable) : NULL;
        desired->receive = receive;
        desired->context = context;
        bus->desired[bus->desired_count++] = desired;
        bus_wake_link(bus);
    }
    pthread_mutex_unlock(&bus->mutex);
    return accepted ||
           error_set(error, ERROR_UNAVAILABLE,
                     "the event bus takes no more than %d subscriptions, and none once closing", BUS_SUBSCRIPTIONS_MAX);
}

void bus_stop_receiving(struct bus *bus)
{
    pthread_mutex_lock(&bus->mutex);
    bus->receiving_stopped = true;
    while (bus->receiving > 0) {
        pthread_cond_wait(&bus->idle, &bus->mutex);
    }
    pthread_mutex_unlock(&bus->mutex);
}

void bus_close(struct bus **bus_pointer, int64_t timeout_ms)
{
    struct bus *bus = TAKE(*bus_pointer);
    if (!bus) {
        return;
    }
    bus_stop_receiving(bus);
    struct timespec deadline = clock_deadline(timeout_ms);
    pthread_mutex_lock(&bus->mutex);
    bus->closing = true;
    int waited = 0;
    while (bus->in_flight > 0 && waited == 0) {
        waited = pthread_cond_clockwait(&bus->idle, &bus->mutex, CLOCK_MONOTONIC, &deadline);
    }
    bus->ending = true;
    pthread_cond_signal(&bus->supervise);
    pthread_mutex_unlock(&bus->mutex);
    pthread_join(bus->supervisor, NULL);
    /* Callbacks that are still at work use what the caller is about to free. */
    pthread_mutex_lock(&bus->mutex);
    while (bus->in_flight > 0 || bus->receiving > 0) {
        pthread_cond_wait(&bus->idle, &bus->mutex);
    }
    pthread_mutex_unlock(&bus->mutex);
    bus_release(bus);
}
