/* SPDX-License-Identifier: Apache-2.0
 * Publishing to JetStream: each message asks for an answer at a subject of its own, and waits in a table until that
 * comes, or for too long.
 *
 * DESIGN
 * The answers arrive on a thread of libnats that may outlive the connection, so they know what they are about by number
 * only, and the table of all numbers is the process's. Whoever takes a publication out of it, under its mutex, reports
 * how it ended: the answer, the clock, or the end of the connection. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/bus/jetstream/jetstream.h"

enum {
    BUCKETS = 4096,       /* a bus has at most 8192 publications in flight */
    CONFIRM_MS = 5000,    /* after which a publication counts as not stored */
    LOOK_AGAIN_MS = 2000, /* between two looks at a stream that did not take something */
    SUBJECT_MAX = JETSTREAM_INBOX_MAX + 24,
    REASON_MAX = 160,
};

struct waiting {
    struct waiting *next_in_bucket;
    struct waiting *previous, *next; /* of the same connection, in the order of their deadlines */
    uint64_t number;
    int64_t deadline; /* monotonic ms */
    struct bus_publication *publication;
    struct jetstream_outgoing *outgoing; /* a reference */
};

/* What a connection has published; counted, since an answer may come when the connection is gone. */
struct jetstream_outgoing {
    atomic_uint references;
    atomic_bool is_doubted; /* something was not stored: the stream may have changed */
    uint64_t sequence;      /* the highest that was answered; used by on_answer only */
    char inbox[JETSTREAM_INBOX_MAX];
    struct waiting *first, *last; /* under the table's mutex */
};

/* Of the process, like the library's threads that use it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct waiting *table[BUCKETS];
static uint64_t last_number;

static void outgoing_release(struct jetstream_outgoing *outgoing)
{
    if (atomic_fetch_sub(&outgoing->references, 1) == 1) {
        xfree(outgoing);
    }
}

/* ---- the table ---- */

static uint64_t add(struct jetstream_outgoing *outgoing, struct bus_publication *publication)
{
    struct waiting *waiting = xcalloc(1, sizeof(*waiting));
    waiting->publication = publication;
    waiting->outgoing = outgoing;
    waiting->deadline = clock_monotonic(NULL) + CONFIRM_MS;
    atomic_fetch_add(&outgoing->references, 1);
    pthread_mutex_lock(&mutex);
    waiting->number = ++last_number;
    uint64_t number = waiting->number;
    struct waiting **bucket = &table[number % BUCKETS];
    waiting->next_in_bucket = *bucket;
    *bucket = waiting;
    waiting->previous = outgoing->last;
    *(outgoing->last ? &outgoing->last->next : &outgoing->first) = waiting;
    outgoing->last = waiting;
    pthread_mutex_unlock(&mutex);
    return number;
}

/* With the mutex held. */
static struct waiting *unlink_at(struct waiting **place)
{
    struct waiting *waiting = *place;
    struct jetstream_outgoing *outgoing = waiting->outgoing;
    *place = waiting->next_in_bucket;
    *(waiting->previous ? &waiting->previous->next : &outgoing->first) = waiting->next;
    *(waiting->next ? &waiting->next->previous : &outgoing->last) = waiting->previous;
    return waiting;
}

/* With the mutex held; the place in the table, which holds NULL if the number is not there. */
static struct waiting **find(uint64_t number)
{
    struct waiting **place = &table[number % BUCKETS];
    while (*place && (*place)->number != number) {
        place = &(*place)->next_in_bucket;
    }
    return place;
}

/* NULL: somebody else has taken it. */
static struct waiting *take(uint64_t number)
{
    pthread_mutex_lock(&mutex);
    struct waiting **place = find(number);
    struct waiting *waiting = *place ? unlink_at(place) : NULL;
    pthread_mutex_unlock(&mutex);
    return waiting;
}

/* The first of the connection's whose deadline is before `moment`; NULL if there is none. */
static struct waiting *take_overdue(struct jetstream_outgoing *outgoing, int64_t moment)
{
    pthread_mutex_lock(&mutex);
    struct waiting *waiting = outgoing->first;
    waiting = waiting && waiting->deadline < moment ? unlink_at(find(waiting->number)) : NULL;
    pthread_mutex_unlock(&mutex);
    return waiting;
}

static void waiting_free(struct waiting *waiting)
{
    outgoing_release(waiting->outgoing);
    xfree(waiting);
}

/* ---- how it ends ---- */

static void finish(struct waiting *waiting, bool stored, uint64_t sequence)
{
    bus_publication_confirmed(waiting->publication, stored, sequence);
    waiting_free(waiting);
}

static void fail(struct waiting *waiting, const char *reason)
{
    atomic_store(&waiting->outgoing->is_doubted, true);
    bus_link_complain(waiting->publication->link, "a message on %s was not confirmed: %s",
                      waiting->publication->subject, reason);
    finish(waiting, false, 0);
}

/* Sequences only rise, but for those of what was stored before: a stream in which they do not is not the one that it
 * was. What it takes now would hide how much is lost, so nothing of it counts. */
static bool goes_back(struct jetstream_outgoing *outgoing, uint64_t sequence, struct json answer)
{
    struct json duplicate;
    if (json_member(answer, "duplicate", &duplicate) && *duplicate.start == 't') {
        return false;
    }
    bool is_back = sequence <= outgoing->sequence;
    outgoing->sequence = is_back ? outgoing->sequence : sequence;
    return is_back;
}

/* {"stream":"turnstile","seq":7} or {"error":{…,"description":"…"},…} */
static void judge(struct waiting *waiting, const char *text)
{
    struct json answer, value, description;
    uint64_t sequence;
    if (!json_from_text(text, &answer) || *answer.start != '{') {
        fail(waiting, "the answer is no object in JSON");
    } else if (json_member(answer, "error", &value)) {
        char reason[REASON_MAX] = "refused";
        if (*value.start == '{' && json_member(value, "description", &description)) {
            json_copy_cut(description, reason, sizeof(reason));
        }
        fail(waiting, reason);
    } else if (!json_member(answer, "seq", &value) || !json_to_uint64(value, &sequence) || sequence == 0) {
        fail(waiting, "the answer has no sequence");
    } else if (goes_back(waiting->outgoing, sequence, answer)) {
        bus_link_lost(waiting->publication->link, "the stream has begun anew");
        finish(waiting, false, 0);
    } else {
        finish(waiting, true, sequence);
    }
}

/* Runs on the subscription's own thread. */
static void on_answer(natsConnection *nats UNUSED, natsSubscription *subscription UNUSED, natsMsg *message,
                      void *closure UNUSED)
{
    const char *dot = strrchr(natsMsg_GetSubject(message), '.');
    uint64_t number;
    struct waiting *waiting = dot && text_to_uint64(dot + 1, UINT64_MAX, &number) ? take(number) : NULL;
    if (waiting && natsMsg_IsNoResponders(message)) {
        fail(waiting, "no stream takes it at present");
    } else if (waiting) {
        const char *text = natsMsg_GetData(message); /* libnats puts a NUL behind it */
        judge(waiting, text ? text : "");
    }
    natsMsg_Destroy(message);
}

/* ---- sending ---- */

bool jetstream_publish_begin(struct jetstream_connection *connection, struct error *error)
{
    char subject[SUBJECT_MAX], inbox[JETSTREAM_INBOX_MAX];
    if (!jetstream_new_inbox(inbox, error)) {
        return false;
    }
    struct jetstream_outgoing *outgoing = xcalloc(1, sizeof(*outgoing));
    atomic_init(&outgoing->references, 1);
    atomic_init(&outgoing->is_doubted, false);
    text_copy_cut(outgoing->inbox, sizeof(outgoing->inbox), inbox);
    connection->outgoing = outgoing;
    snprintf(subject, sizeof(subject), "%s.*", outgoing->inbox);
    natsStatus status =
        natsConnection_Subscribe(&connection->confirmations, connection->nats, subject, on_answer, NULL);
    return status == NATS_OK || jetstream_fail(error, status, "confirmations cannot be subscribed to");
}

void jetstream_publish_end(struct jetstream_connection *connection)
{
    if (!connection->outgoing) {
        return;
    }
    for (struct waiting *waiting; (waiting = take_overdue(connection->outgoing, INT64_MAX)) != NULL;) {
        finish(waiting, false, 0);
    }
    outgoing_release(TAKE(connection->outgoing));
}

/* Whether the stream still has the subjects that it had: looked at when something was not stored, but not each time,
 * since it may be that nobody answers. */
static void settle_doubts(struct jetstream_connection *connection)
{
    struct error error = ERROR_INIT;
    int64_t now = clock_monotonic(NULL);
    if (now >= connection->look_at && atomic_exchange(&connection->outgoing->is_doubted, false)) {
        connection->look_at = now + LOOK_AGAIN_MS;
        if (!jetstream_read_stream(connection, JETSTREAM_LOOK_MS, &error)) {
            atomic_store(&connection->outgoing->is_doubted, true);
        }
    }
}

static natsStatus send_message(struct jetstream_connection *connection, const struct bus_publication *publication,
                               uint64_t number)
{
    char reply[SUBJECT_MAX];
    natsMsg *message = NULL;
    snprintf(reply, sizeof(reply), "%s.%llu", connection->outgoing->inbox, (unsigned long long)number);
    natsStatus status =
        natsMsg_Create(&message, publication->subject, reply, publication->data, (int)publication->length);
    if (status == NATS_OK && publication->message_id[0] != '\0') {
        status = natsMsgHeader_Set(message, "Nats-Msg-Id", publication->message_id);
    }
    status = status == NATS_OK ? natsConnection_PublishMsg(connection->nats, message) : status;
    natsMsg_Destroy(message);
    return status;
}

bool jetstream_publish(void *pointer, struct bus_publication *publication, struct error *error)
{
    struct jetstream_connection *connection = pointer;
    settle_doubts(connection);
    if (!jetstream_ensure_subject(connection, publication->subject, error)) {
        return false;
    }
    uint64_t number = add(connection->outgoing, publication);
    natsStatus status = send_message(connection, publication, number);
    if (status == NATS_OK) {
        return true;
    }
    struct waiting *waiting = take(number);
    if (!waiting) {
        return true; /* there was an answer all the same */
    }
    waiting_free(waiting);
    return jetstream_fail(error, status, "cannot publish");
}

void jetstream_tend(void *pointer)
{
    struct jetstream_connection *connection = pointer;
    for (struct waiting *waiting; (waiting = take_overdue(connection->outgoing, clock_monotonic(NULL))) != NULL;) {
        fail(waiting, "JetStream does not answer");
    }
    settle_doubts(connection);
    jetstream_check(connection);
}
