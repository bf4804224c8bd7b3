/* SPDX-License-Identifier: Apache-2.0
 * A driver of the event bus that does what the test says. */
#include "tests/unit/bus_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"

enum {
    PATIENCE_MS = 600000, /* where nothing hangs, and all is late at most: on a busy machine */
};

struct fake fake = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static const char *fake_check_uri(const struct bus_uri *uri UNUSED)
{
    return NULL;
}

static bool fake_connect(struct bus_link *link, const struct bus_target *target UNUSED, void **ret_connection,
                         struct error *error)
{
    pthread_mutex_lock(&fake.mutex);
    assert_true(fake.attempts < CONNECTIONS_MAX);
    fake.attempt_times[fake.attempts++] = clock_monotonic(NULL);
    pthread_cond_broadcast(&fake.changed);
    size_t attempt = fake.attempts;
    while (attempt <= fake.hang_connects) {
        pthread_cond_wait(&fake.changed, &fake.mutex);
    }
    bool fails = attempt <= fake.failing_connects;
    if (!fails) {
        fake.connects++;
        bus_link_release(&fake.link);
        fake.link = bus_link_retain(link);
    }
    pthread_mutex_unlock(&fake.mutex);
    *ret_connection = fails ? NULL : link;
    return !fails || error_set(error, ERROR_UNAVAILABLE, "it fails");
}

static void fake_disconnect(void *connection UNUSED)
{
    pthread_mutex_lock(&fake.mutex);
    fake.disconnects++;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.mutex);
}

static bool fake_find_positions(void *connection UNUSED, struct bus_position *positions, size_t count,
                                struct error *error)
{
    pthread_mutex_lock(&fake.mutex);
    assert_true(count <= POSITIONS_MAX);
    memcpy(fake.asked, positions, count * sizeof(*positions));
    fake.finds++;
    size_t find = fake.finds;
    pthread_cond_broadcast(&fake.changed);
    while (find <= fake.hang_finds) {
        pthread_cond_wait(&fake.changed, &fake.mutex);
    }
    for (size_t i = 0; i < count; i++) {
        positions[i].sequence = fake.found[i];
    }
    bool fails = find <= fake.failing_finds;
    pthread_mutex_unlock(&fake.mutex);
    return !fails || error_set(error, ERROR_UNAVAILABLE, "it cannot tell");
}

static bool fake_subscribe(void *connection UNUSED, const struct bus_desired *desired UNUSED,
                           struct error *error UNUSED)
{
    return true;
}

static bool fake_listen(void *connection UNUSED, const struct bus_listener *listener UNUSED, struct error *error UNUSED)
{
    return true;
}

static bool fake_publish(void *connection UNUSED, struct bus_publication *publication, struct error *error)
{
    pthread_mutex_lock(&fake.mutex);
    enum error_code failure = (enum error_code)fake.publish_failure;
    if (!failure) {
        fake.publications[fake.publication_count++] = publication;
    }
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.mutex);
    return !failure || error_set(error, failure, "it cannot");
}

static void fake_acknowledge(void *connection UNUSED, const struct delivery *delivery UNUSED)
{
    pthread_mutex_lock(&fake.mutex);
    fake.acknowledged++;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.mutex);
}

/* Notes that the message was dropped or extended, and which was the last: 'd', 'e'. */
static void note(size_t *number, char what)
{
    pthread_mutex_lock(&fake.mutex);
    while (fake.hang_sends) {
        pthread_cond_wait(&fake.changed, &fake.mutex);
    }
    ++*number;
    fake.last_sent = what;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.mutex);
}

static void fake_drop(void *connection UNUSED, const struct delivery *delivery)
{
    assert_non_null(delivery->link);
    note(&fake.dropped, 'd');
}

static void fake_extend(void *connection UNUSED, const struct delivery *delivery)
{
    assert_non_null(delivery->link);
    note(&fake.extended, 'e');
}

static void fake_signal(void *connection UNUSED, const char *topic UNUSED, const void *data UNUSED,
                        size_t length UNUSED)
{
}

static void fake_message_free(void *message UNUSED)
{
    pthread_mutex_lock(&fake.mutex);
    fake.messages_freed++;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.mutex);
}

static const struct bus_driver fake_driver = {
    .scheme = "fake",
    .form = "fake://",
    .check_uri = fake_check_uri,
    .connect = fake_connect,
    .disconnect = fake_disconnect,
    .find_positions = fake_find_positions,
    .subscribe = fake_subscribe,
    .listen = fake_listen,
    .publish = fake_publish,
    .acknowledge = fake_acknowledge,
    .signal = fake_signal,
    .message_free = fake_message_free,
};

static const struct bus_driver fake_capable_driver = {
    .scheme = "fake",
    .form = "fake://",
    .check_uri = fake_check_uri,
    .connect = fake_connect,
    .disconnect = fake_disconnect,
    .find_positions = fake_find_positions,
    .subscribe = fake_subscribe,
    .listen = fake_listen,
    .publish = fake_publish,
    .acknowledge = fake_acknowledge,
    .drop = fake_drop,
    .extend = fake_extend,
    .signal = fake_signal,
    .message_free = fake_message_free,
};

int fake_reset(void **state UNUSED)
{
    pthread_mutex_lock(&fake.mutex);
    bus_link_release(&fake.link);
    fake.hang_connects = fake.failing_connects = fake.attempts = fake.connects = fake.disconnects = 0;
    fake.acknowledged = fake.messages_freed = fake.publication_count = 0;
    fake.publish_failure = ERROR_NONE;
    fake.hang_finds = fake.failing_finds = fake.finds = fake.hang_sends = fake.dropped = fake.extended = 0;
    memset(fake.found, 0, sizeof(fake.found));
    fake.last_sent = '\0';
    pthread_mutex_unlock(&fake.mutex);
    return 0;
}

void fake_wait_for(const size_t *number, size_t wanted)
{
    struct timespec deadline = clock_deadline(WAIT_MS);
    int waited = 0;
    pthread_mutex_lock(&fake.mutex);
    while (*number < wanted && waited == 0) {
        waited = pthread_cond_clockwait(&fake.changed, &fake.mutex, CLOCK_MONOTONIC, &deadline);
    }
    size_t reached = *number;
    pthread_mutex_unlock(&fake.mutex);
    if (reached < wanted) {
        fail_msg("%zu instead of %zu, after %zu attempts", reached, wanted, fake.attempts);
    }
}

void fake_set(size_t *number, size_t value)
{
    pthread_mutex_lock(&fake.mutex);
    *number = value;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.mutex);
}

static struct bus *open_with(const struct bus_driver *driver, const struct bus_config *config)
{
    struct bus *bus = NULL;
    struct error error = ERROR_INIT;
    struct bus_uri uri;
    int64_t hang_ms = fake.hang_connects > 0 || fake.hang_finds > 0 ? HANG_MS : PATIENCE_MS;
    assert_true(bus_uri_parse("fake://127.0.0.1:1", &uri, &error));
    assert_true(bus_open_with(driver, &uri, config, hang_ms, &bus, &error));
    return bus;
}

static const struct bus_config plain_config = {.client_id = "fake", .publish_limit = PUBLICATIONS_MAX};

struct bus *fake_open(void)
{
    return open_with(&fake_driver, &plain_config);
}

struct bus *fake_open_capable(void)
{
    return open_with(&fake_capable_driver, &plain_config);
}

struct bus *fake_open_as(const struct bus_config *config)
{
    return open_with(&fake_driver, config);
}

void fake_lose_connection(struct bus *bus)
{
    pthread_mutex_lock(&fake.mutex);
    struct bus_link *link = bus_link_retain(fake.link);
    size_t connects = fake.connects;
    size_t disconnects = fake.disconnects;
    pthread_mutex_unlock(&fake.mutex);
    bus_link_lost(link, "the test says so");
    bus_link_release(&link);
    fake_wait_for(&fake.disconnects, disconnects + 1);
    fake_wait_for(&fake.connects, connects + 1);
    assert_true(bus_wait_up(bus, WAIT_MS));
}
