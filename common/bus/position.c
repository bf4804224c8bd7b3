/* SPDX-License-Identifier: Apache-2.0
 * How far the followed subjects have come: what each new connection finds, and what is confirmed after it.
 *
 * A link that is lost or given up has failed all its publications before the next one is started, and a confirmation
 * that comes after that raises nothing: so nothing moves while a new link looks, and an older link cannot touch what a
 * newer one has found. */
#include <inttypes.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/text.h"
#include "common/bus/internal.h"
#include "common/bus/metrics.h"

static struct bus_position *find(struct bus *bus, const char *subject)
{
    for (size_t i = 0; i < bus->position_count; i++) {
        if (text_equal(bus->positions[i].subject, subject)) {
            return &bus->positions[i];
        }
    }
    return NULL;
}

uint64_t bus_position(struct bus *bus, const char *subject)
{
    pthread_mutex_lock(&bus->mutex);
    const struct bus_position *position = find(bus, subject);
    uint64_t sequence = position ? position->sequence : 0;
    pthread_mutex_unlock(&bus->mutex);
    return sequence;
}

void bus_expect(struct bus *bus, const char *subject, uint64_t sequence)
{
    pthread_mutex_lock(&bus->mutex);
    const struct bus_position *position = find(bus, subject);
    if (position) {
        uint64_t *expected = &bus->expected[position - bus->positions];
        *expected = sequence > *expected ? sequence : *expected;
    }
    pthread_mutex_unlock(&bus->mutex);
}

void bus_position_raise(struct bus *bus, const char *subject, uint64_t sequence)
{
    struct bus_position *position = find(bus, subject);
    if (!position) {
        return;
    }
    if (sequence == 0) {
        position->sequence++; /* the engine does not tell, but has one more */
    } else if (sequence > position->sequence) {
        position->sequence = sequence;
    }
}

static void end_callback(struct bus *bus)
{
    pthread_mutex_lock(&bus->mutex);
    bus->receiving--;
    pthread_cond_broadcast(&bus->idle);
    pthread_mutex_unlock(&bus->mutex);
}

bool bus_will_look(struct bus_link *link, struct error *error)
{
    struct bus *bus = link->bus;
    pthread_mutex_lock(&bus->mutex);
    bool wanted = bus->will_look && link->phase != BUS_LINK_ENDED && !bus->receiving_stopped;
    bus->receiving += wanted ? 1 : 0;
    pthread_mutex_unlock(&bus->mutex);
    if (!wanted) {
        return true;
    }
    bool is_known = bus->will_look(bus, bus->context, error);
    end_callback(bus);
    return is_known;
}

/* False if nobody waits for this link any more: then nothing is changed, and nobody may be told. Otherwise the caller
 * counts as a callback at work. */
static bool set_positions(struct bus_link *link, const struct bus_position *found)
{
    struct bus *bus = link->bus;
    pthread_mutex_lock(&bus->mutex);
    bool wanted = link->phase != BUS_LINK_ENDED;
    if (wanted) {
        bus->receiving++;
        for (size_t i = 0; i < bus->position_count; i++) {
            bus->positions[i].sequence = found[i].sequence;
            bus->expected[i] = 0;
        }
    }
    pthread_mutex_unlock(&bus->mutex);
    return wanted;
}

static void tell(struct bus *bus, const struct bus_position *expected, const struct bus_position *found)
{
    log_warning("the event bus has lost history: %s ends at %" PRIu64 ", it was at %" PRIu64, expected->subject,
                found->sequence, expected->sequence);
    bus_metrics_history_lost(expected->subject);
    if (bus->history_lost) {
        bus->history_lost(bus, expected->subject, expected->sequence, found->sequence, bus->context);
    }
}

void bus_copy_positions(struct bus *bus, struct bus_position ret_positions[static BUS_POSITIONS_MAX])
{
    pthread_mutex_lock(&bus->mutex);
    memcpy(ret_positions, bus->positions, sizeof(bus->positions));
    for (size_t i = 0; i < bus->position_count; i++) {
        if (bus->expected[i] > ret_positions[i].sequence) {
            ret_positions[i].sequence = bus->expected[i];
        }
    }
    pthread_mutex_unlock(&bus->mutex);
}

void bus_settle_positions(struct bus_link *link, const struct bus_position *expected, const struct bus_position *found)
{
    struct bus *bus = link->bus;
    if (!set_positions(link, found)) {
        return;
    }
    for (size_t i = 0; i < bus->position_count; i++) {
        if (found[i].sequence < expected[i].sequence) {
            tell(bus, &expected[i], &found[i]);
        }
    }
    end_callback(bus);
}
