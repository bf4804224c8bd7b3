/* SPDX-License-Identifier: Apache-2.0
 * Group commit: one thread takes whatever writes have queued up, and gives them one transaction and one sync.
 *
 * DESIGN. Callers put a task, which lives on their stack, into the queue and wait. The committing thread first waits
 * for this process's turn on the file, then takes the queue: so what arrives meanwhile shares the commit, and a single
 * writer waits for nobody. A task that is still queued when its time is up, because another process keeps the turn, is
 * withdrawn by its caller, with nothing written. Once taken, a task is answered after its transaction has ended:
 * conflicts too, since what they conflict with may be in the same transaction.
 *
 * When the commit itself fails its outcome is unknown. The turn is kept, the last write's token is looked up, and if it
 * is not there everything is repeated once. Behind any other failure the connection is opened anew for the next
 * writes, so that the store recovers as soon as the file does. */
#include <assert.h>
#include <string.h>

#include "common/store/sqlite/lock.h"
#include "common/store/sqlite/sqlite.h"

enum {
    COMMIT_ATTEMPTS = 2,
};

/* ---- the queue; all under the mutex ---- */

static void enqueue(struct committer *committer, struct task *task)
{
    if (committer->last) {
        committer->last->next = task;
    } else {
        committer->first = task;
    }
    committer->last = task;
}

static void withdraw(struct committer *committer, struct task *task)
{
    struct task *before = NULL;
    for (struct task *other = committer->first; other != task; other = other->next) {
        before = other;
    }
    if (before) {
        before->next = task->next;
    } else {
        committer->first = task->next;
    }
    if (committer->last == task) {
        committer->last = before;
    }
}

static size_t take_batch(struct committer *committer, struct task **ret_tasks)
{
    size_t count = 0;
    while (committer->first && count < SQLITE_STORE_BATCH_MAX) {
        struct task *task = committer->first;
        committer->first = task->next;
        task->state = TASK_TAKEN;
        ret_tasks[count++] = task;
    }
    if (!committer->first) {
        committer->last = NULL;
    }
    return count;
}

void committer_run(struct committer *committer, struct task *task)
{
    struct timespec deadline = clock_deadline(STORE_WRITE_WAIT_MS);
    task->state = TASK_QUEUED;
    task->error = ERROR_INIT;
    pthread_cond_init(&task->done, NULL);
    pthread_mutex_lock(&committer->mutex);
    enqueue(committer, task);
    if (committer->first == task) {
        pthread_cond_signal(&committer->work);
    }
    while (task->state != TASK_DONE) {
        if (task->state == TASK_TAKEN) {
            pthread_cond_wait(&task->done, &committer->mutex);
        } else if (pthread_cond_clockwait(&task->done, &committer->mutex, CLOCK_MONOTONIC, &deadline) != 0 &&
                   task->state == TASK_QUEUED) {
            withdraw(committer, task);
            task->result = STORE_UNAVAILABLE;
            error_set(&task->error, ERROR_UNAVAILABLE, "no turn to write within %d ms; nothing was written",
                      STORE_WRITE_WAIT_MS);
            task->state = TASK_DONE;
        }
    }
    pthread_mutex_unlock(&committer->mutex);
    pthread_cond_destroy(&task->done);
}

bool committer_ping(struct committer *committer, int64_t wait_ms, struct error *error)
{
    struct timespec deadline = clock_deadline(wait_ms > 0 ? wait_ms : 0);
    int64_t now = clock_monotonic(NULL);
    pthread_mutex_lock(&committer->mutex);
    bool fresh = committer->problem.code == ERROR_NONE && committer->committed > 0 &&
                 now - committer->committed < SQLITE_STORE_PING_FRESH_MS;
    struct error problem = ERROR_INIT;
    if (!fresh) {
        uint64_t round = committer->rounds;
        committer->ping_wanted = true;
        pthread_cond_signal(&committer->work);
        int status = 0;
        while (committer->rounds == round && status == 0) {
            status = pthread_cond_clockwait(&committer->pinged, &committer->mutex, CLOCK_MONOTONIC, &deadline);
        }
        problem = committer->problem;
        if (committer->rounds == round) {
            error_set(&problem, ERROR_UNAVAILABLE, "no turn to write within %d ms", STORE_PING_WAIT_MS);
        }
    }
    pthread_mutex_unlock(&committer->mutex);
    return problem.code == ERROR_NONE || error_set(error, problem.code, "%s", problem.message);
}

/* ---- the committing thread ---- */

/* Returns false when it is time to end. */
static bool wait_for_work(struct committer *committer)
{
    pthread_mutex_lock(&committer->mutex);
    while (!committer->first && !committer->ping_wanted && !committer->closing) {
        pthread_cond_wait(&committer->work, &committer->mutex);
    }
    bool work = committer->first || !committer->closing;
    committer->waits_for_lock = work;
    pthread_mutex_unlock(&committer->mutex);
    return work;
}

/* Another process may keep its turn for ever, being stopped: then closing has to end the wait. */
static void wait_for_turn(struct committer *committer)
{
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    lock_take(committer->lock_file);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
}

static int note_log_pages(void *context, sqlite3 *database UNUSED, const char *name UNUSED, int pages)
{
    struct committer *committer = context;
    committer->log_pages = pages;
    committer->wrote = true;
    return SQLITE_OK;
}

static bool ensure_writer(struct committer *committer, struct error *error)
{
    if (committer->writer && committer->writer->failed) {
        connection_close(&committer->writer);
    }
    if (!committer->writer) {
        if (!connection_open_writer(committer->path, &committer->writer, error)) {
            return false;
        }
        /* What failed may have been the disk being full: a checkpoint lets the log start anew. Its own failure says
         * nothing about the writes to come. */
        committer->log_pages_checkpointed = 0;
        sqlite3_wal_checkpoint_v2(committer->writer->database, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    }
    sqlite3_wal_hook(committer->writer->database, note_log_pages, committer);
    return true;
}

static bool commit_batch(struct committer *committer, struct task *const *tasks, size_t count, bool ping,
                         struct error *error)
{
    if (!ensure_writer(committer, error)) {
        return false;
    }
    committer->wrote = false;
    enum transaction_outcome outcome = TRANSACTION_UNKNOWN;
    bool settled = true;
    for (int attempt = 0; outcome == TRANSACTION_UNKNOWN && settled && attempt < COMMIT_ATTEMPTS; attempt++) {
        outcome = transaction_run(committer, tasks, count, ping, error);
        if (outcome == TRANSACTION_UNKNOWN) {
            bool committed = false;
            struct error ignored = ERROR_INIT;
            settled = transaction_settle(committer, tasks, count, ping, &committed, &ignored);
            outcome = committed ? TRANSACTION_COMMITTED : outcome;
        }
    }
    if (outcome != TRANSACTION_COMMITTED) {
        committer->writer->failed = true;
    }
    return outcome == TRANSACTION_COMMITTED ||
           (outcome == TRANSACTION_UNKNOWN && error_prefix(error, "outcome unknown"));
}

/* All of a batch that is not committed has the same answer, whatever each had come to. */
static void answer(struct committer *committer, struct task *const *tasks, size_t count, const struct error *problem)
{
    pthread_mutex_lock(&committer->mutex);
    committer->rounds++;
    committer->problem = *problem;
    if (problem->code == ERROR_NONE && committer->wrote) {
        committer->committed = clock_monotonic(NULL);
    }
    pthread_cond_broadcast(&committer->pinged);
    for (size_t i = 0; i < count; i++) {
        if (problem->code != ERROR_NONE) {
            tasks[i]->result = STORE_UNAVAILABLE;
            tasks[i]->error = *problem;
        }
        tasks[i]->state = TASK_DONE;
        pthread_cond_signal(&tasks[i]->done);
    }
    pthread_mutex_unlock(&committer->mutex);
}

/* Copies the log into the file when it has grown by enough, behind the answers: nobody waits for it but the next
 * writes. It goes as far as readers let it. Where they never let it finish, the log would grow for ever: then it waits
 * for them, briefly, with the turn kept. Failures are left to the next writes, which find them too. */
static void checkpoint(struct committer *committer)
{
    if (!committer->writer || committer->writer->failed) {
        return;
    }
    if (committer->log_pages < committer->log_pages_checkpointed) {
        committer->log_pages_checkpointed = 0; /* the log has started anew */
    }
    bool large = committer->log_pages >= SQLITE_STORE_LOG_PAGES_MAX;
    int distance = large ? SQLITE_STORE_LOG_PAGES_RETRY : SQLITE_STORE_CHECKPOINT_PAGES;
    if (committer->log_pages - committer->log_pages_checkpointed < distance) {
        return;
    }
    sqlite3 *database = committer->writer->database;
    committer->log_pages_checkpointed = committer->log_pages;
    if (!large) {
        sqlite3_wal_checkpoint_v2(database, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        return;
    }
    lock_take(committer->lock_file);
    sqlite3_busy_timeout(database, SQLITE_STORE_CHECKPOINT_WAIT_MS);
    sqlite3_wal_checkpoint_v2(database, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(database, SQLITE_STORE_BUSY_MS);
    lock_release(committer->lock_file);
}

static void *commit_for_ever(void *context)
{
    struct committer *committer = context;
    struct task *tasks[SQLITE_STORE_BATCH_MAX];
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    while (wait_for_work(committer)) {
        wait_for_turn(committer);
        pthread_mutex_lock(&committer->mutex);
        committer->waits_for_lock = false;
        size_t count = take_batch(committer, tasks);
        bool ping = committer->ping_wanted;
        committer->ping_wanted = false;
        pthread_mutex_unlock(&committer->mutex);
        struct error problem = ERROR_INIT;
        bool work = count > 0 || ping;
        if (work && commit_batch(committer, tasks, count, ping, &problem)) {
            problem = ERROR_INIT; /* of an attempt that was repeated */
        }
        lock_release(committer->lock_file);
        if (work) {
            answer(committer, tasks, count, &problem);
            checkpoint(committer);
        }
    }
    return NULL;
}

void committer_start(struct committer *committer, const char *path, const struct rows_texts *texts,
                     struct connection *writer, int lock_file)
{
    *committer = (struct committer){.path = path, .texts = texts, .writer = writer, .lock_file = lock_file};
    pthread_mutex_init(&committer->mutex, NULL);
    pthread_cond_init(&committer->work, NULL);
    pthread_cond_init(&committer->pinged, NULL);
    int status = pthread_create(&committer->thread, NULL, commit_for_ever, committer);
    assert(status == 0);
    (void)status;
    committer->started = true;
}

void committer_stop(struct committer *committer)
{
    if (!committer->started) {
        return;
    }
    pthread_mutex_lock(&committer->mutex);
    committer->closing = true;
    if (committer->waits_for_lock && !committer->first) {
        pthread_cancel(committer->thread);
    }
    pthread_cond_signal(&committer->work);
    pthread_mutex_unlock(&committer->mutex);
    pthread_join(committer->thread, NULL);
    connection_close(&committer->writer);
    lock_close(&committer->lock_file);
    pthread_cond_destroy(&committer->pinged);
    pthread_cond_destroy(&committer->work);
    pthread_mutex_destroy(&committer->mutex);
}
