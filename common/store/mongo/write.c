/* SPDX-License-Identifier: Apache-2.0
 * The write, its conflicts, and what is said when the answer is lost.
 *
 * DESIGN. A write is one command that does everything or nothing: an insert, which the unique indexes decide, or a
 * findAndModify whose filter has the expected version and the room in the outbox. If it did nothing, or nobody knows,
 * the document is read as a majority has it, and says what happened:
 *
 *   it has our writer          the write is done, by this attempt or by one whose answer was lost
 *   it is as we expect it      nothing stands in the way any more, or what did is not yet at a majority: once more
 *   it is another one          a conflict, if no attempt went unanswered, or if it is not later than what we write,
 *                              since versions only rise
 *   it is earlier than that    after an unanswered attempt, a majority is still behind: once more
 *   it is later than ours      after an unanswered attempt, nobody can tell: ours may have been there in between.
 *                              The outcome is unknown, and that is what is said.
 *
 * While there is no answer, the same write is sent again until MONGO_REPEAT_MS are over. On a replica set the library
 * repeats on its own first, under a number by which the server knows the write again. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/failpoint.h"
#include "common/base/text.h"
#include "common/store/mongo/mongo.h"

enum {
    AGAIN_US = 10000, /* before the next attempt, where another write is on its way to a majority */
};

enum step {
    STEP_DONE,
    STEP_CONFLICT,   /* it did nothing: something stands against it */
    STEP_AGAIN,      /* it did nothing, or is unknown: what to do is to repeat it */
    STEP_UNANSWERED, /* unknown */
    STEP_FAILED,     /* it did nothing, and repeating will not help */
    STEP_FULL,       /* the document has no room for another event */
};

struct attempt {
    struct mongo_store *store;
    const struct store_write_request *request;
    struct store_write_answer answer;
    enum store_result result; /* of a write that has ended */
    bool unsure;              /* an attempt went unanswered */
    struct error error;       /* of the last failure */
};

static enum step step_of_failure(struct attempt *attempt, const bson_error_t *failure)
{
    enum mongo_failure kind = mongo_failure_of(failure);
    if (kind == MONGO_DUPLICATE) {
        return STEP_CONFLICT;
    }
    mongo_fail(attempt->store, failure, &attempt->error);
    switch (kind) {
    case MONGO_NOT_SENT:
        return attempt->unsure ? STEP_AGAIN : STEP_FAILED;
    case MONGO_TOO_LARGE:
        return attempt->request->entry && !attempt->unsure ? STEP_FULL : STEP_FAILED;
    case MONGO_REFUSED:
        return STEP_FAILED;
    default:
        return STEP_UNANSWERED;
    }
}

static void append_head(bson_t *document, const struct store_write_request *request)
{
    BSON_APPEND_INT64(document, "version", (int64_t)request->record->version);
    BSON_APPEND_INT64(document, "epoch", (int64_t)request->record->epoch);
    BSON_APPEND_UTF8(document, "writer", request->writer);
    BSON_APPEND_INT64(document, "changed", request->created);
}

static enum step insert(struct attempt *attempt, struct lease *lease)
{
    const struct store_write_request *request = attempt->request;
    bson_t document = BSON_INITIALIZER, reply;
    mongo_append_id(&document, "_id", request->record->id.hex);
    append_head(&document, request);
    if (request->record->claim[0] != '\0') {
        BSON_APPEND_UTF8(&document, "claim", request->record->claim);
    }
    mongo_append_fields(&document, request->collection, request->value);
    if (request->entry) {
        bson_t outbox;
        BSON_APPEND_ARRAY_BEGIN(&document, "outbox", &outbox);
        mongo_append_entry(&outbox, "0", request);
        bson_append_array_end(&document, &outbox);
    }
    bson_error_t failure;
    bool done = mongoc_collection_insert_one(lease->collection, &document, NULL, &reply, &failure);
    bson_destroy(&document);
    bson_destroy(&reply);
    if (!done) {
        return step_of_failure(attempt, &failure);
    }
    attempt->answer.unconfirmed = request->entry ? request->record->version : 0;
    return STEP_DONE;
}

static void append_filter(bson_t *filter, const struct store_write_request *request)
{
    mongo_append_id(filter, "_id", request->record->id.hex);
    BSON_APPEND_INT64(filter, "version", (int64_t)request->expected);
    if (!request->entry) {
        return;
    }
    char last[MONGO_PATH_MAX];
    bson_t none;
    snprintf(last, sizeof(last), "outbox.%d", STORE_OUTBOX_MAX - 1);
    BSON_APPEND_DOCUMENT_BEGIN(filter, last, &none);
    BSON_APPEND_BOOL(&none, "$exists", false);
    bson_append_document_end(filter, &none);
    if (request->record->version <= request->expected) {
        /* Only a snapshot may set a version back, and snapshots have no events. */
        bson_t not, later;
        BSON_APPEND_DOCUMENT_BEGIN(filter, "outbox.version", &not );
        BSON_APPEND_DOCUMENT_BEGIN(&not, "$not", &later);
        BSON_APPEND_INT64(&later, "$gte", (int64_t)request->record->version);
        bson_append_document_end(&not, &later);
        bson_append_document_end(filter, &not );
    }
}

static void append_update(bson_t *update, const struct store_write_request *request)
{
    bson_t set, unset = BSON_INITIALIZER;
    BSON_APPEND_DOCUMENT_BEGIN(update, "$set", &set);
    append_head(&set, request);
    mongo_append_changes(&set, &unset, request->collection, request->value);
    bson_append_document_end(update, &set);
    if (!bson_empty(&unset)) {
        BSON_APPEND_DOCUMENT(update, "$unset", &unset);
    }
    bson_destroy(&unset);
    if (request->entry) {
        bson_t push;
        BSON_APPEND_DOCUMENT_BEGIN(update, "$push", &push);
        mongo_append_entry(&push, "outbox", request);
        bson_append_document_end(update, &push);
    }
}

static void read_answer(struct attempt *attempt, const bson_t *document)
{
    size_t count;
    uint64_t last;
    mongo_outbox_versions(document, &count, &attempt->answer.unconfirmed, &last);
    text_copy_cut(attempt->answer.claim, sizeof(attempt->answer.claim), mongo_text(document, "claim"));
}

static enum step find_and_modify(struct attempt *attempt, struct lease *lease, const bson_t *filter,
                                 mongoc_find_and_modify_opts_t *options)
{
    bson_t reply, document;
    bson_error_t failure;
    bson_iter_t value;
    bool done = mongoc_collection_find_and_modify_with_opts(lease->collection, filter, options, &reply, &failure);
    if (done && mongo_is_unconfirmed(&reply, &failure)) {
        done = false;
    }
    enum step step = done ? STEP_CONFLICT : step_of_failure(attempt, &failure);
    if (done && bson_iter_init_find(&value, &reply, "value") && BSON_ITER_HOLDS_DOCUMENT(&value)) {
        const uint8_t *data;
        uint32_t length;
        bson_iter_document(&value, &length, &data);
        if (bson_init_static(&document, data, length)) {
            read_answer(attempt, &document);
            step = STEP_DONE;
        }
    }
    bson_destroy(&reply);
    return step;
}

static enum step update(struct attempt *attempt, struct lease *lease)
{
    bson_t filter = BSON_INITIALIZER, change = BSON_INITIALIZER, fields = BSON_INITIALIZER;
    append_filter(&filter, attempt->request);
    append_update(&change, attempt->request);
    BSON_APPEND_INT32(&fields, "claim", 1);
    BSON_APPEND_INT32(&fields, "outbox.version", 1);
    mongoc_find_and_modify_opts_t *options = mongoc_find_and_modify_opts_new();
    mongoc_find_and_modify_opts_set_flags(options, MONGOC_FIND_AND_MODIFY_RETURN_NEW);
    mongoc_find_and_modify_opts_set_update(options, &change);
    mongoc_find_and_modify_opts_set_fields(options, &fields);
    enum step step = find_and_modify(attempt, lease, &filter, options);
    mongoc_find_and_modify_opts_destroy(options);
    bson_destroy(&filter);
    bson_destroy(&change);
    bson_destroy(&fields);
    return step;
}

static enum step perform(struct attempt *attempt, struct lease *lease)
{
    if (failpoint("store.commit")) {
        error_set(&attempt->error, ERROR_UNAVAILABLE, "writing: failed by the failpoint store.commit");
        return STEP_UNANSWERED;
    }
    enum step step = attempt->request->expected == 0 ? insert(attempt, lease) : update(attempt, lease);
    if (step == STEP_DONE && failpoint("store.after_commit")) {
        error_set(&attempt->error, ERROR_UNAVAILABLE, "writing: failed by the failpoint store.after_commit");
        return STEP_UNANSWERED;
    }
    return step;
}

/* ---- what stands against a write ---- */

/* Finds the document; it is empty if there is none. Caller destroys `ret_document` after true. */
static bool look(struct attempt *attempt, struct lease *lease, const char *key, const char *text, bson_t *ret_document)
{
    bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER;
    if (text_equal(key, "_id")) {
        mongo_append_id(&filter, key, text);
    } else {
        BSON_APPEND_UTF8(&filter, key, text);
    }
    BSON_APPEND_INT64(&options, "limit", 1);
    mongo_append_projection(&options, false);
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(lease->collection, &filter, &options, NULL);
    const bson_t *document = NULL;
    bson_error_t failure;
    bson_init(ret_document);
    if (mongoc_cursor_next(cursor, &document)) {
        bson_destroy(ret_document);
        bson_copy_to(document, ret_document);
    }
    bool failed = mongoc_cursor_error(cursor, &failure);
    mongoc_cursor_destroy(cursor);
    bson_destroy(&filter);
    bson_destroy(&options);
    if (failed) {
        bson_destroy(ret_document);
        mongo_fail(attempt->store, &failure, &attempt->error);
    }
    return !failed;
}

static enum step end_with(struct attempt *attempt, enum store_result result)
{
    attempt->result = result;
    return STEP_CONFLICT;
}

static enum step end_unknown(struct attempt *attempt)
{
    const struct store_write_request *request = attempt->request;
    error_set(&attempt->error, ERROR_UNAVAILABLE,
              "%s: the answer to a write was lost, and %s %s has been written since: outcome unknown",
              attempt->store->name, request->collection->declared->name, request->record->id.hex);
    return end_with(attempt, STORE_UNAVAILABLE);
}

/* It is there with the version that we expect, and yet was not written. */
static enum step judge_outbox(struct attempt *attempt, const bson_t *document)
{
    const struct store_write_request *request = attempt->request;
    size_t count;
    uint64_t first, last;
    mongo_outbox_versions(document, &count, &first, &last);
    bool full = request->entry && count >= STORE_OUTBOX_MAX;
    bool outrun = request->entry && last >= request->record->version;
    if (full || outrun) {
        error_set(&attempt->error, full ? ERROR_UNAVAILABLE : ERROR_INTERNAL, "%s: %s %s has %s", attempt->store->name,
                  request->collection->declared->name, request->record->id.hex,
                  full ? "too many unconfirmed events" : "a later event than this write's");
        /* An attempt that is still on its way may find it otherwise. */
        return attempt->unsure ? STEP_AGAIN : end_with(attempt, full ? STORE_OUTBOX_FULL : STORE_UNAVAILABLE);
    }
    return STEP_AGAIN;
}

static enum step judge(struct attempt *attempt, const bson_t *document)
{
    const struct store_write_request *request = attempt->request;
    const struct record *record = request->record;
    if (text_equal(mongo_text(document, "writer"), request->writer)) {
        read_answer(attempt, document);
        return STEP_DONE;
    }
    uint64_t version = (uint64_t)mongo_number(document, "version");
    uint64_t epoch = (uint64_t)mongo_number(document, "epoch");
    bool later = epoch > record->epoch || (epoch == record->epoch && version > record->version);
    if (attempt->unsure && later) {
        return end_unknown(attempt);
    }
    if (request->expected == 0) {
        return end_with(attempt, STORE_CONFLICT_ID);
    }
    if (version == request->expected) {
        return judge_outbox(attempt, document);
    }
    /* What a majority has may lag behind for a moment after a failover, and ours be on its way there. */
    bool is_behind = attempt->unsure && version < request->expected;
    return is_behind ? STEP_AGAIN : end_with(attempt, STORE_CONFLICT_VERSION);
}

static enum step find_conflict(struct attempt *attempt, struct lease *lease)
{
    const struct record *record = attempt->request->record;
    bson_t document;
    if (!look(attempt, lease, "_id", record->id.hex, &document)) {
        return STEP_AGAIN;
    }
    bool there = !bson_empty(&document);
    enum step step = there ? judge(attempt, &document) : STEP_AGAIN;
    bson_destroy(&document);
    if (there) {
        return step;
    }
    if (attempt->request->expected > 0) {
        return attempt->unsure ? STEP_AGAIN : end_with(attempt, STORE_CONFLICT_VERSION);
    }
    if (record->claim[0] == '\0' || !look(attempt, lease, "claim", record->claim, &document)) {
        return STEP_AGAIN;
    }
    there = !bson_empty(&document);
    bool is_ours =
        text_equal(mongo_text(&document, "writer"), attempt->request->writer); /* come since the first look */
    bson_destroy(&document);
    return there && !is_ours ? end_with(attempt, STORE_CONFLICT_CLAIM) : STEP_AGAIN;
}

/* ---- attempts ---- */

/* One attempt, and a look at what stood against it. */
static enum step try_once(struct attempt *attempt)
{
    CLEANUP(lease_give) struct lease lease = LEASE_INIT;
    if (!lease_take(attempt->store, attempt->request->collection->declared->name, &lease, &attempt->error)) {
        return attempt->unsure ? STEP_AGAIN : STEP_FAILED;
    }
    enum step step = perform(attempt, &lease);
    attempt->unsure = attempt->unsure || step == STEP_UNANSWERED;
    return step == STEP_CONFLICT ? find_conflict(attempt, &lease) : step;
}

static enum store_result give_up(const struct attempt *attempt, struct error *error)
{
    error_set(error, attempt->error.code == ERROR_NONE ? ERROR_UNAVAILABLE : attempt->error.code, "%s%s",
              attempt->error.code == ERROR_NONE ? "what stood against the write did not reach a majority in time"
                                                : attempt->error.message,
              attempt->unsure ? ": outcome unknown" : "");
    return STORE_UNAVAILABLE;
}

enum store_result mongo_write(void *state, const struct store_write_request *request,
                              struct store_write_answer *ret_answer, struct error *error)
{
    struct attempt attempt = {.store = state, .request = request, .error = ERROR_INIT};
    int64_t deadline = clock_monotonic(NULL) + MONGO_REPEAT_MS;
    if (failpoint("store.before_commit")) {
        error_set(error, ERROR_UNAVAILABLE, "writing: failed by the failpoint store.before_commit");
        return STORE_UNAVAILABLE;
    }
    do {
        switch (try_once(&attempt)) {
        case STEP_DONE:
            *ret_answer = attempt.answer;
            return STORE_DONE;
        case STEP_CONFLICT:
            if (attempt.result == STORE_UNAVAILABLE) {
                error_set(error, attempt.error.code, "%s", attempt.error.message);
            }
            return attempt.result;
        case STEP_FULL:
            return STORE_OUTBOX_FULL;
        case STEP_FAILED:
            return give_up(&attempt, error);
        case STEP_UNANSWERED:
            break;
        case STEP_AGAIN:
            usleep(AGAIN_US);
            break;
        }
    } while (clock_monotonic(NULL) < deadline);
    return give_up(&attempt, error);
}

/* ---- removal ---- */

/* Whether a document of another version is there after nothing was removed. */
static bool is_there(struct lease *lease, struct attempt *attempt, const struct id *id, bool *ret_there)
{
    bson_t document;
    if (!look(attempt, lease, "_id", id->hex, &document)) {
        return false;
    }
    *ret_there = !bson_empty(&document);
    bson_destroy(&document);
    return true;
}

static enum step remove_once(struct attempt *attempt, const struct store_collection *collection, const struct id *id,
                             uint64_t expected)
{
    CLEANUP(lease_give) struct lease lease = LEASE_INIT;
    if (!lease_take(attempt->store, collection->declared->name, &lease, &attempt->error)) {
        return STEP_FAILED;
    }
    bson_t filter = BSON_INITIALIZER, reply;
    bson_error_t failure;
    mongo_append_id(&filter, "_id", id->hex);
    BSON_APPEND_INT64(&filter, "version", (int64_t)expected);
    bool sent = mongoc_collection_delete_one(lease.collection, &filter, NULL, &reply, &failure);
    bool removed = sent && mongo_number(&reply, "deletedCount") > 0;
    bson_destroy(&filter);
    bson_destroy(&reply);
    if (removed) {
        return STEP_DONE;
    }
    if (!sent) {
        mongo_fail(attempt->store, &failure, &attempt->error);
        return mongo_failure_of(&failure) == MONGO_UNKNOWN ? STEP_UNANSWERED : STEP_FAILED;
    }
    bool there = false;
    if (!is_there(&lease, attempt, id, &there)) {
        return STEP_UNANSWERED;
    }
    return there ? STEP_CONFLICT : STEP_DONE;
}

/* A removal is the same however often it is done. */
enum store_result mongo_remove(void *state, const struct store_collection *collection, const struct id *id,
                               uint64_t expected, struct error *error)
{
    struct attempt attempt = {.store = state, .error = ERROR_INIT};
    int64_t deadline = clock_monotonic(NULL) + MONGO_REPEAT_MS;
    enum step step;
    do {
        step = remove_once(&attempt, collection, id, expected);
        if (step == STEP_DONE || step == STEP_CONFLICT) {
            return step == STEP_DONE ? STORE_DONE : STORE_CONFLICT_VERSION;
        }
    } while (step == STEP_UNANSWERED && clock_monotonic(NULL) < deadline);
    error_set(error, attempt.error.code, "%s", attempt.error.message);
    return STORE_UNAVAILABLE;
}
