/* SPDX-License-Identifier: Apache-2.0
 * Going through the dead letters of subjects. What was resolved is read first; the letters themselves then pass one by
 * one, so that any number of them can be there. */
#include "tools/eventctl/dead_letters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/events/catalogue.h"
#include "common/schema/schema.h"
#include "tools/eventctl/command.h"

enum {
    RESOLUTION_TEXT_MAX = 256,
    RESOLUTIONS_FIRST = 64,     /* how many there is room for at first */
    RESOLUTIONS_MAX = 10 << 20, /* of one subject */
};

/* A message on resolved:<subject>. */
struct resolution {
    int64_t sequence; /* of the letter on dead:<subject> */
    char action[DEAD_ACTION_MAX];
    int64_t time;
};

static const struct field resolution_fields[] = {
    FIELD(struct resolution, sequence, FIELD_INTEGER, .min = 1, .max = INT64_MAX, .required = true, .in = IN_EVENT),
    FIELD(struct resolution, action, FIELD_TEXT, .min = 1, .max = DEAD_ACTION_MAX - 1, .required = true,
          .in = IN_EVENT),
    FIELD(struct resolution, time, FIELD_TIME, .in = IN_EVENT),
    {.name = NULL},
};

static const struct table resolution_table = {
    .name = "resolution", .size = sizeof(struct resolution), .fields = resolution_fields};

struct reader {
    struct connection *connection;
    const char *subject;
    struct resolution *resolutions; /* of the subject */
    size_t count, capacity;
    dead_visit *visit;
    void *context;
};

/* ---- subjects ---- */

static bool check_subject(const char *subject, struct error *error)
{
    char channel[sizeof(RESOLVED_PREFIX) + BUS_SUBJECT_MAX];
    snprintf(channel, sizeof(channel), RESOLVED_PREFIX "%.*s", BUS_SUBJECT_MAX, subject);
    return bus_subject_valid(channel) ||
           error_set(error, ERROR_INVALID, "--subject must be 1 to %d of a-z, 0-9, ':', '_', '-', not \"%s\"",
                     (int)(BUS_SUBJECT_MAX - sizeof(RESOLVED_PREFIX)), subject);
}

static bool contains(const struct option_texts *texts, const char *text)
{
    for (size_t i = 0; i < texts->count; i++) {
        if (text_equal(texts->items[i], text)) {
            return true;
        }
    }
    return false;
}

bool dead_subjects(const struct option_texts *given, struct option_texts *ret_subjects, struct error *error)
{
    struct option_texts subjects = {.count = 0};
    for (size_t i = 0; i < given->count; i++) {
        /* The list says dead:<subject>, which is as clear. */
        const char *subject = given->items[i];
        subject += text_starts_with(subject, DEAD_LETTER_PREFIX) ? sizeof(DEAD_LETTER_PREFIX) - 1 : 0;
        if (!check_subject(subject, error)) {
            return false;
        }
        if (!contains(&subjects, subject)) {
            subjects.items[subjects.count++] = subject;
        }
    }
    for (size_t i = 0; given->count == 0 && catalogue_subjects[i] != NULL; i++) {
        subjects.items[subjects.count++] = catalogue_subjects[i]->name;
    }
    *ret_subjects = subjects;
    return true;
}

/* ---- what was resolved ---- */

static int collect_resolution(const struct delivery *delivery, void *context)
{
    struct reader *reader = context;
    struct resolution resolution;
    struct field_errors errors = FIELD_ERRORS_INIT;
    if (!schema_parse(&resolution_table, IN_EVENT, delivery_data(delivery), delivery_length(delivery), NULL,
                      &resolution, &errors)) {
        fprintf(stderr, "eventctl: %s #%" PRIu64 " says nothing of a dead letter, ignored\n",
                delivery_subject(delivery), delivery_sequence(delivery));
        return STATUS_OK;
    }
    if (reader->count == RESOLUTIONS_MAX) {
        fprintf(stderr, "eventctl: there is too much on %s\n", delivery_subject(delivery));
        return STATUS_FAILED;
    }
    if (reader->count == reader->capacity) {
        reader->capacity = reader->capacity > 0 ? 2 * reader->capacity : RESOLUTIONS_FIRST;
        reader->resolutions = xreallocarray(reader->resolutions, reader->capacity, sizeof(*reader->resolutions));
    }
    reader->resolutions[reader->count++] = resolution;
    return STATUS_OK;
}

static int compare_resolutions(const void *a, const void *b)
{
    int64_t first = ((const struct resolution *)a)->sequence;
    int64_t second = ((const struct resolution *)b)->sequence;
    return (first > second) - (first < second);
}

static const char *find_action(const struct reader *reader, uint64_t sequence)
{
    struct resolution key = {.sequence = (int64_t)sequence};
    if (reader->count == 0) {
        return NULL;
    }
    const struct resolution *found =
        bsearch(&key, reader->resolutions, reader->count, sizeof(key), compare_resolutions);
    return found != NULL ? found->action : NULL;
}

/* ---- the letters ---- */

static int visit_letter(const struct delivery *delivery, void *context)
{
    struct reader *reader = context;
    struct error error = ERROR_INIT;
    struct dead_item item = {
        .subject = reader->subject,
        .sequence = delivery_sequence(delivery),
        .action = find_action(reader, delivery_sequence(delivery)),
    };
    if (!dead_letter_parse(delivery_data(delivery), delivery_length(delivery), &item.letter, &error)) {
        item.problem = error.message;
    }
    int status = reader->visit(reader->connection, &item, reader->context);
    dead_letter_done(&item.letter);
    return status;
}

static int read_subject(struct reader *reader, const struct channel *dead, const struct channel *resolved)
{
    if (dead->last == 0) {
        return STATUS_OK;
    }
    reader->count = 0;
    int status = channel_read(reader->connection, resolved, collect_resolution, reader);
    if (reader->count > 0) {
        qsort(reader->resolutions, reader->count, sizeof(*reader->resolutions), compare_resolutions);
    }
    return status == STATUS_OK ? channel_read(reader->connection, dead, visit_letter, reader) : status;
}

static void name_channels(const struct option_texts *subjects, struct channel *ret_dead, struct channel *ret_resolved)
{
    for (size_t i = 0; i < subjects->count; i++) {
        snprintf(ret_dead[i].subject, sizeof(ret_dead[i].subject), DEAD_LETTER_PREFIX "%s", subjects->items[i]);
        snprintf(ret_resolved[i].subject, sizeof(ret_resolved[i].subject), RESOLVED_PREFIX "%s", subjects->items[i]);
    }
}

int dead_letters_each(const struct connection_options *options, const struct signals *signals,
                      const struct option_texts *subjects, dead_visit *visit, void *context)
{
    struct channel channels[CHANNELS_MAX] = {{.last = 0}};
    struct channel *dead = channels;
    struct channel *resolved = channels + subjects->count;
    name_channels(subjects, dead, resolved);
    int status = channels_find_last(options, signals, channels, 2 * subjects->count);
    if (status != STATUS_OK) {
        return status;
    }
    CLEANUP(connection_close) struct connection *connection = NULL;
    status = connection_open(options, signals, &connection);
    if (status == STATUS_OK) {
        status = connection_wait_up(connection);
    }
    struct reader reader = {.connection = connection, .visit = visit, .context = context};
    for (size_t i = 0; i < subjects->count && status == STATUS_OK; i++) {
        reader.subject = subjects->items[i];
        status = read_subject(&reader, &dead[i], &resolved[i]);
    }
    xfree(reader.resolutions);
    return status;
}

int dead_letter_resolve(struct connection *connection, const struct dead_item *item, const char *action)
{
    struct resolution resolution = {.sequence = (int64_t)item->sequence, .time = clock_now(NULL)};
    char channel[BUS_SUBJECT_MAX];
    CLEANUP(buffer_done) struct buffer text = BUFFER_INIT(RESOLUTION_TEXT_MAX);
    text_copy_cut(resolution.action, sizeof(resolution.action), action);
    snprintf(channel, sizeof(channel), RESOLVED_PREFIX "%s", item->subject);
    schema_print(&resolution_table, IN_EVENT, NULL, &resolution, &text);
    return connection_publish(connection, channel, text.data, text.length);
}
