/* SPDX-License-Identifier: Apache-2.0
 * What the bus's tests have in common. */
#include "tests/contract/bus_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    POLL_US = 2000,
    LOG_MAX = 1024 * 1024,
};

int block_signals(void **state UNUSED)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return pthread_sigmask(SIG_BLOCK, &set, NULL);
}

struct bus *open_bus(const char *uri, const char *client_id)
{
    struct bus *bus = NULL;
    struct error error = ERROR_INIT;
    struct bus_config config = {.uri = uri, .client_id = client_id, .publish_limit = 1000};
    if (!bus_open(&config, &bus, &error)) {
        fail_msg("%s", error.message);
    }
    return bus;
}

void wait_for_state(struct bus *bus, enum bus_state state)
{
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS + 10000;
    while (bus_state(bus) != state) {
        if (clock_monotonic(NULL) > deadline) {
            fail_msg("the state is %d instead of %d", (int)bus_state(bus), (int)state);
        }
        usleep(POLL_US);
    }
}

struct bus *open_bus_and_wait(const char *uri, const char *client_id)
{
    struct bus *bus = open_bus(uri, client_id);
    assert_true(bus_wait_up(bus, WAIT_MS));
    return bus;
}

bool eventually(bool (*condition)(void *context), void *context, int64_t timeout_ms)
{
    int64_t deadline = clock_monotonic(NULL) + timeout_ms;
    while (!condition(context)) {
        if (clock_monotonic(NULL) > deadline) {
            return false;
        }
        usleep(POLL_US);
    }
    return true;
}

/* Waits on `changed` until `*count` is at least `wanted`; the mutex is held. */
static void wait_for_count(pthread_mutex_t *mutex, pthread_cond_t *changed, const size_t *count, size_t wanted,
                           const char *what)
{
    struct timespec deadline = clock_deadline(WAIT_MS);
    int waited = 0;
    while (*count < wanted && waited == 0) {
        waited = pthread_cond_clockwait(changed, mutex, CLOCK_MONOTONIC, &deadline);
    }
    if (*count < wanted) {
        size_t reached = *count;
        pthread_mutex_unlock(mutex);
        fail_msg("%zu %s instead of %zu", reached, what, wanted);
    }
}

/* ---- receiving ---- */

struct receiver *receiver_new(enum receiver_mode mode)
{
    struct receiver *receiver = xcalloc(1, sizeof(*receiver));
    receiver->mode = mode;
    receiver->received = xcalloc(RECEIVED_MAX, sizeof(*receiver->received));
    pthread_mutex_init(&receiver->mutex, NULL);
    pthread_cond_init(&receiver->changed, NULL);
    return receiver;
}

void receiver_free(struct receiver **receiver_pointer)
{
    struct receiver *receiver = TAKE(*receiver_pointer);
    if (!receiver) {
        return;
    }
    for (size_t i = 0; i < receiver->count; i++) {
        if (receiver->received[i].delivery) {
            bus_drop(receiver->received[i].delivery);
        }
    }
    pthread_cond_destroy(&receiver->changed);
    pthread_mutex_destroy(&receiver->mutex);
    xfree(receiver->received);
    xfree(receiver);
}

void receiver_receive(struct delivery *delivery, void *context)
{
    struct receiver *receiver = context;
    pthread_mutex_lock(&receiver->mutex);
    if (receiver->count == RECEIVED_MAX) {
        abort();
    }
    receiver->received[receiver->count++] = (struct received){
        .sequence = delivery_sequence(delivery),
        .time = delivery_time(delivery),
        .number = strtol(delivery_data(delivery), NULL, 10),
        .redelivered = delivery_redelivered(delivery),
        .delivery = receiver->mode == RECEIVER_KEEPS ? delivery : NULL,
    };
    pthread_cond_broadcast(&receiver->changed);
    pthread_mutex_unlock(&receiver->mutex);
    if (receiver->mode == RECEIVER_ACKNOWLEDGES) {
        bus_ack(delivery);
    } else if (receiver->mode == RECEIVER_DROPS) {
        bus_drop(delivery);
    }
}

void receiver_wait(struct receiver *receiver, size_t count)
{
    pthread_mutex_lock(&receiver->mutex);
    wait_for_count(&receiver->mutex, &receiver->changed, &receiver->count, count, "messages received");
    pthread_mutex_unlock(&receiver->mutex);
}

size_t receiver_count(struct receiver *receiver)
{
    pthread_mutex_lock(&receiver->mutex);
    size_t count = receiver->count;
    pthread_mutex_unlock(&receiver->mutex);
    return count;
}

size_t receiver_count_of(struct receiver *receiver, long number)
{
    size_t count = 0;
    pthread_mutex_lock(&receiver->mutex);
    for (size_t i = 0; i < receiver->count; i++) {
        count += receiver->received[i].number == number;
    }
    pthread_mutex_unlock(&receiver->mutex);
    return count;
}

struct received receiver_at(struct receiver *receiver, size_t index)
{
    pthread_mutex_lock(&receiver->mutex);
    struct received received = index < receiver->count ? receiver->received[index] : (struct received){.number = -1};
    pthread_mutex_unlock(&receiver->mutex);
    return received;
}

void receiver_acknowledge(struct receiver *receiver, size_t index)
{
    pthread_mutex_lock(&receiver->mutex);
    struct delivery *delivery = TAKE(receiver->received[index].delivery);
    pthread_mutex_unlock(&receiver->mutex);
    assert_non_null(delivery);
    bus_ack(delivery);
}

struct subscription group_subscription(const char *subject)
{
    return (struct subscription){
        .subject = subject,
        .queue_group = "group",
        .durable = "group",
        .start = BUS_START_ALL,
        .ack_wait_ms = 1000,
        .in_flight = 100,
    };
}

void subscribe(struct bus *bus, const struct subscription *subscription, struct receiver *receiver)
{
    struct error error = ERROR_INIT;
    if (!bus_subscribe(bus, subscription, receiver_receive, receiver, &error)) {
        fail_msg("%s", error.message);
    }
}

/* ---- publishing ---- */

/* Which message of which publisher. */
struct ticket {
    struct publisher *publisher;
    size_t number;
};

struct publisher *publisher_new(struct bus *bus, const char *subject)
{
    struct publisher *publisher = xcalloc(1, sizeof(*publisher));
    publisher->bus = bus;
    publisher->subject = subject;
    publisher->calls = xcalloc(PUBLISHED_MAX, 1);
    publisher->is_stored = xcalloc(PUBLISHED_MAX, 1);
    pthread_mutex_init(&publisher->mutex, NULL);
    pthread_cond_init(&publisher->changed, NULL);
    return publisher;
}

void publisher_free(struct publisher **publisher_pointer)
{
    struct publisher *publisher = TAKE(*publisher_pointer);
    if (!publisher) {
        return;
    }
    pthread_cond_destroy(&publisher->changed);
    pthread_mutex_destroy(&publisher->mutex);
    xfree(publisher->calls);
    xfree(publisher->is_stored);
    xfree(publisher);
}

static void confirmed(bool stored, void *context)
{
    struct ticket *ticket = context;
    struct publisher *publisher = ticket->publisher;
    pthread_mutex_lock(&publisher->mutex);
    publisher->calls[ticket->number]++;
    publisher->is_stored[ticket->number] = stored;
    publisher->confirmed++;
    publisher->stored += stored;
    pthread_cond_broadcast(&publisher->changed);
    pthread_mutex_unlock(&publisher->mutex);
    xfree(ticket);
}

bool publisher_publish(struct publisher *publisher)
{
    assert_true(publisher->accepted < PUBLISHED_MAX);
    struct ticket *ticket = xcalloc(1, sizeof(*ticket));
    *ticket = (struct ticket){.publisher = publisher, .number = publisher->accepted};
    char text[24];
    int length = snprintf(text, sizeof(text), "%zu", ticket->number);
    bool accepted = bus_publish(publisher->bus, publisher->subject, NULL, text, (size_t)length, confirmed, ticket);
    if (accepted) {
        publisher->accepted++;
    } else {
        xfree(ticket);
    }
    return accepted;
}

void publisher_publish_many(struct publisher *publisher, size_t count)
{
    int64_t deadline = clock_monotonic(NULL) + WAIT_MS;
    while (count > 0) {
        if (publisher_publish(publisher)) {
            count--;
        } else {
            assert_true(clock_monotonic(NULL) < deadline);
            usleep(POLL_US);
        }
    }
}

void publisher_wait(struct publisher *publisher)
{
    pthread_mutex_lock(&publisher->mutex);
    wait_for_count(&publisher->mutex, &publisher->changed, &publisher->confirmed, publisher->accepted, "confirmations");
    pthread_mutex_unlock(&publisher->mutex);
    assert_int_equal(publisher->confirmed, publisher->accepted);
    for (size_t i = 0; i < publisher->accepted; i++) {
        assert_int_equal(publisher->calls[i], 1);
    }
}

/* ---- the log ---- */

static FILE *log_file;
static int log_stderr;

void log_begin(void)
{
    log_file = tmpfile();
    assert_non_null(log_file);
    fflush(stderr);
    log_stderr = dup(STDERR_FILENO);
    assert_true(dup2(fileno(log_file), STDERR_FILENO) >= 0);
}

static char *log_text(void)
{
    char *text = xcalloc(1, LOG_MAX);
    ssize_t length = pread(fileno(log_file), text, LOG_MAX - 1, 0);
    assert_true(length >= 0);
    return text;
}

char *log_end(void)
{
    char *text = log_text();
    dup2(log_stderr, STDERR_FILENO);
    close(log_stderr);
    fclose(log_file);
    fputs(text, stderr);
    return text;
}

static bool log_contains(void *text)
{
    char *log = log_text();
    bool found = strstr(log, text) != NULL;
    xfree(log);
    return found;
}

void log_wait(const char *text)
{
    char *copy = xstrdup(text);
    bool found = eventually(log_contains, copy, WAIT_MS);
    xfree(copy);
    if (!found) {
        xfree(log_end());
        fail_msg("not in the log: %s", text);
    }
}
