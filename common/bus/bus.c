/* SPDX-License-Identifier: Apache-2.0
 * The bus: opening and closing it, its state, and what is to be received. */
#include "common/bus/bus.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/bus/internal.h"

enum {
    PUBLISH_LIMIT_MAX = 8192, /* well below the engines' own limits, at which they would block */
    ACK_WAIT_MIN_MS = 1000,
    ACK_WAIT_MAX_MS = 60 * 60 * 1000,
    IN_FLIGHT_MAX = 1024,
};

static const struct bus_driver *const drivers[] = {&bus_driver_stan};

#define LOWER_CASE "abcdefghijklmnopqrstuvwxyz"
#define UPPER_CASE "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS     "0123456789"

/* Not empty, fits into `size` bytes, and consists of `allowed`. */
static bool is_made_of(const char *text, size_t size, const char *allowed)
{
    size_t length = strlen(text);
    return length > 0 && length < size && strspn(text, allowed) == length;
}

static bool is_name(const char *name)
{
    return is_made_of(name, BUS_NAME_MAX, LOWER_CASE UPPER_CASE DIGITS "_-");
}

static bool is_subject(const char *subject)
{
    return is_made_of(subject, BUS_SUBJECT_MAX, LOWER_CASE DIGITS ":_-");
}

/* NATS splits subjects at dots, and takes no empty parts. */
static bool is_topic(const char *topic)
{
    return is_made_of(topic, BUS_SUBJECT_MAX, LOWER_CASE DIGITS "._-") && topic[0] != '.' &&
           topic[strlen(topic) - 1] != '.' && !strstr(topic, "..");
}

static bool find_driver(const char *text, struct bus_uri *uri, const struct bus_driver **ret_driver,
                        struct error *error)
{
    if (!bus_uri_parse(text, uri, error)) {
        return error_prefix(error, "the event bus's URI must be like %s", drivers[0]->form);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(drivers); i++) {
        if (text_equal(uri->scheme, drivers[i]->scheme)) {
            const char *problem = drivers[i]->check_path(uri->path);
            if (problem) {
                return error_set(error, ERROR_INVALID, "the event bus's URI must be like %s: %s", drivers[i]->form,
                                 problem);
            }
            *ret_driver = drivers[i];
            return true;
        }
    }
    return error_set(error, ERROR_INVALID, "the event bus's URI must be like %s: unknown scheme", drivers[0]->form);
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
    return is_name(client_id);
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
        xfree(bus->listeners[i]);
    }
    pthread_cond_destroy(&bus->idle);
    pthread_cond_destroy(&bus->supervise);
    pthread_mutex_destroy(&bus->mutex);
    memory_wipe(&bus->uri, sizeof(bus->uri));
    xfree(bus);
}

bool bus_open(const struct bus_config *config, struct bus **ret_bus, struct error *error)
{
    struct bus_uri uri;
    const struct bus_driver *driver = NULL;
    if (!find_driver(config->uri, &uri, &driver, error)) {
        return false;
    }
    if (!bus_client_id_valid(config->client_id)) {
        return error_set(error, ERROR_INVALID, "the event bus's client id must be 1 to %d letters, digits, '_' or '-'",
                         BUS_NAME_MAX - 1);
    }
    if (config->publish_limit == 0 || config->publish_limit > PUBLISH_LIMIT_MAX) {
        return error_set(error, ERROR_INVALID, "the event bus's limit of publishes in flight must be 1 to %d",
                         PUBLISH_LIMIT_MAX);
    }
    struct bus *bus = xcalloc(1, sizeof(*bus));
    atomic_init(&bus->references, 1);
    bus->driver = driver;
    bus->uri = uri;
    memory_wipe(&uri, sizeof(uri));
    text_copy_cut(bus->client_id, sizeof(bus->client_id), config->client_id);
    bus->publish_limit = config->publish_limit;
    bus->state_changed = config->state_changed;
    bus->context = config->context;
    bus->state = BUS_CONNECTING;
    pthread_mutex_init(&bus->mutex, NULL);
    pthread_cond_init(&bus->supervise, NULL);
    pthread_cond_init(&bus->idle, NULL);
    int failure = pthread_create(&bus->supervisor, NULL, bus_supervise, bus);
    if (failure) {
        bus_release(bus);
        return error_set(error, ERROR_UNAVAILABLE, "cannot start the event bus's thread: %s", strerror(failure));
    }
    *ret_bus = bus;
    return true;
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

bool bus_wait_up(struct bus *bus, int64_t timeout_ms)
{
    struct timespec deadline = clock_deadline(timeout_ms);
    pthread_mutex_lock(&bus->mutex);
    int waited = 0;
    while (bus->state == BUS_CONNECTING && waited == 0) {
        waited = pthread_cond_clockwait(&bus->idle, &bus->mutex, CLOCK_MONOTONIC, &deadline);
    }
    bool up = bus->state == BUS_UP;
    pthread_mutex_unlock(&bus->mutex);
    return up;
}

static bool check_subscription(const struct subscription *subscription, struct error *error)
{
    if (!is_subject(subscription->subject)) {
        return error_set(error, ERROR_INVALID, "a subject must be 1 to %d of a-z, 0-9, ':', '_', '-'",
                         BUS_SUBJECT_MAX - 1);
    }
    if (subscription->queue_group && !is_name(subscription->queue_group)) {
        return error_set(error, ERROR_INVALID, "a queue group must be 1 to %d letters, digits, '_' or '-'",
                         BUS_NAME_MAX - 1);
    }
    if (subscription->durable && !is_name(subscription->durable)) {
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

/* With the mutex held. */
static void wake_link(struct bus *bus)
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
        wake_link(bus);
    }
    pthread_mutex_unlock(&bus->mutex);
    return accepted ||
           error_set(error, ERROR_UNAVAILABLE,
                     "the event bus takes no more than %d subscriptions, and none once closing", BUS_SUBSCRIPTIONS_MAX);
}

bool bus_on_signal(struct bus *bus, const char *topic, bus_signalled *receive, void *context, struct error *error)
{
    if (!is_topic(topic)) {
        return error_set(error, ERROR_INVALID, "a topic must be 1 to %d of a-z, 0-9, '_', '-', with single dots within",
                         BUS_SUBJECT_MAX - 1);
    }
    pthread_mutex_lock(&bus->mutex);
    bool accepted = bus->listener_count < BUS_SUBSCRIPTIONS_MAX && !bus->closing;
    if (accepted) {
        struct bus_listener *listener = xcalloc(1, sizeof(*listener));
        listener->index = bus->listener_count;
        listener->topic = xstrdup(topic);
        listener->receive = receive;
        listener->context = context;
        bus->listeners[bus->listener_count++] = listener;
        wake_link(bus);
    }
    pthread_mutex_unlock(&bus->mutex);
    return accepted ||
           error_set(error, ERROR_UNAVAILABLE, "the event bus takes no more than %d listeners, and none once closing",
                     BUS_SUBSCRIPTIONS_MAX);
}

void bus_signal(struct bus *bus, const char *topic, const void *data, size_t length)
{
    if (!is_topic(topic) || length > BUS_SIGNAL_MAX) {
        log_error("cannot signal %zu bytes on \"%s\": too long, or not a topic", length, topic);
        return;
    }
    struct bus_signal_item *signal = xmalloc(sizeof(*signal) + length);
    *signal = (struct bus_signal_item){.item.kind = BUS_ITEM_SIGNAL, .topic = xstrdup(topic), .length = length};
    if (length > 0) {
        memcpy(signal->data, data, length);
    }
    pthread_mutex_lock(&bus->mutex);
    struct bus_link *link = bus->link;
    bool queued = link && link->phase == BUS_LINK_UP && link->signals_queued < BUS_SIGNALS_QUEUED_MAX &&
                  bus_link_enqueue(link, &signal->item);
    if (queued) {
        link->signals_queued++;
    }
    pthread_mutex_unlock(&bus->mutex);
    if (!queued) {
        xfree(signal->topic);
        xfree(signal);
    }
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

void bus_complain(struct bus *bus, const char *text, const char *next)
{
    struct bus_complaint *last = &bus->complaint;
    int64_t now = clock_monotonic(NULL);
    pthread_mutex_lock(&bus->mutex);
    bool repeated = text_equal(last->text, text) && now - last->time < BUS_COMPLAINT_INTERVAL_MS;
    if (!repeated) {
        text_copy_cut(last->text, sizeof(last->text), text);
        last->time = now;
    }
    pthread_mutex_unlock(&bus->mutex);
    if (!repeated) {
        log_warning("%s%s", text, next);
    }
}
