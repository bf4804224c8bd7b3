/* SPDX-License-Identifier: Apache-2.0
 * Group commit: one thread takes whatever writes have queued up, and gives them one transaction and one sync.
 *
 * DESIGN. Callers put a task, which lives on their stack, into the queue and wait. The committing thread first waits
 * for this process's turn on the file, then takes the queue: so what arrives meanwhile shares the commit, and a single
 * writer waits for nobody. A task that is still queued when its time is up, because another process keeps the turn, is
 * withdrawn by its caller, with nothing written. Once taken, a task is answered after its transaction has ended:
 * conflicts too, since what they conflict with may be in the same transaction.
 *
 * When the commit itself fails its outcome is unknown. The turn is kept, the last write's token, or the transaction's
 * mark, is looked up, and if it is not there everything is repeated once. Behind any other failure, and when the file
 * was removed or replaced, the connection is opened anew for the next writes, so that the store recovers as soon as the
 * file does. */
#include <assert.h>
#include <string.h>

#include "common/base/memory.h"
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
    pthread_mutex_unlock(&committer->mutex);
    return work;
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
    if (committer->writer && (committer->writer->failed || connection_is_astray(committer->writer))) {
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
    bool failed_in_commit = false; /* then it may be in the log all the same, for who reads that after a crash */
    for (int attempt = 0; outcome == TRANSACTION_UNKNOWN && settled && attempt < COMMIT_ATTEMPTS; attempt++) {
        outcome = transaction_run(committer, tasks, count, ping, error);
        if (outcome == TRANSACTION_UNKNOWN) {
            failed_in_commit = true;
            bool committed = false;
            struct error ignored = ERROR_INIT;
            settled = transaction_settle(committer, tasks, count, ping, &committed, &ignored);
            outcome = committed ? TRANSACTION_COMMITTED : outcome;
        }
    }
    if (outcome != TRANSACTION_COMMITTED) {
        committer->writer->failed = true;
    }
    return outcome == TRANSACTION_COMMITTED || (failed_in_commit && error_prefix(error, "outcome unknown"));
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
 * writes. Once all of it is copied the log starts anew. What other processes added meanwhile is copied in the next turn
 * of this one, since otherwise busy processes would never see the log copied whole. What readers still need stays;
 * where there is always one that does, the log would grow for ever: then this waits for them, briefly, in its turn.
 * Failures are left to the next writes, which find them too. */
static void checkpoint(struct committer *committer, bool in_turn)
{
    if (!committer->writer || committer->writer->failed) {
        return;
    }
    sqlite3 *database = committer->writer->database;
    if (in_turn) {
        bool large = committer->log_pages >= SQLITE_STORE_LOG_PAGES_MAX;
        int mode = large ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
        committer->checkpoint_wanted = false;
        sqlite3_busy_timeout(database, SQLITE_STORE_CHECKPOINT_WAIT_MS);
        sqlite3_wal_checkpoint_v2(database, NULL, mode, NULL, NULL);
        sqlite3_busy_timeout(database, SQLITE_STORE_BUSY_MS);
        return;
    }
    if (committer->log_pages < committer->log_pages_checkpointed) {
        committer->log_pages_checkpointed = 0; /* the log has started anew */
    }
    bool large = committer->log_pages >= SQLITE_STORE_LOG_PAGES_MAX;
    int distance = large ? SQLITE_STORE_LOG_PAGES_RETRY : SQLITE_STORE_CHECKPOINT_PAGES;
    if (committer->log_pages - committer->log_pages_checkpointed >= distance) {
        int pages = 0, copied = 0;
        committer->log_pages_checkpointed = committer->log_pages;
        sqlite3_wal_checkpoint_v2(database, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &copied);
        committer->checkpoint_wanted = copied < pages;
    }
}

static void free_committer(struct committer *committer)
{
    /* Closing the last connection ends the log, which disturbs others that open the file just then. They are spared if
     * the turn can be had. */
    struct error ignored = ERROR_INIT;
    bool in_turn = lock_take_within(committer->lock_file, SQLITE_STORE_CLOSE_WAIT_MS, &ignored);
    connection_close(&committer->writer);
    if (in_turn) {
        lock_release(committer->lock_file);
    }
    lock_close(&committer->lock_file);
    pthread_cond_destroy(&committer->ending);
    pthread_cond_destroy(&committer->pinged);
    pthread_cond_destroy(&committer->work);
    pthread_mutex_destroy(&committer->mutex);
    xfree(committer->path);
    xfree(committer);
}

static void *commit_for_ever(void *context)
{
    struct committer *committer = context;
    struct task *tasks[SQLITE_STORE_BATCH_MAX];
    while (wait_for_work(committer)) {
        lock_take(committer->lock_file);
        pthread_mutex_lock(&committer->mutex);
        size_t count = take_batch(committer, tasks);
        bool ping = committer->ping_wanted;
        committer->ping_wanted = false;
        pthread_mutex_unlock(&committer->mutex);
        struct error problem = ERROR_INIT;
        bool work = count > 0 || ping;
        if (work && commit_batch(committer, tasks, count, ping, &problem)) {
            problem = ERROR_INIT; /* of an attempt that was repeated */
        }
        bool in_turn = work && committer->checkpoint_wanted;
        if (!in_turn) {
            lock_release(committer->lock_file);
        }
        if (work) {
            answer(committer, tasks, count, &problem);
            checkpoint(committer, in_turn);
        }
        if (in_turn) {
            lock_release(committer->lock_file);
        }
    }
    pthread_mutex_lock(&committer->mutex);
    committer->ended = true;
    bool abandoned = committer->abandoned;
    pthread_cond_signal(&committer->ending);
    pthread_mutex_unlock(&committer->mutex);
    if (abandoned) {
        free_committer(committer);
    }
    return NULL;
}

struct committer *committer_start(const char *path, const struct rows_texts *texts, struct connection *writer,
                                  int lock_file)
{
    struct committer *committer = xcalloc(1, sizeof(*committer));
    committer->path = xstrdup(path);
    committer->texts = texts;
    committer->writer = writer;
    committer->lock_file = lock_file;
    pthread_mutex_init(&committer->mutex, NULL);
    pthread_cond_init(&committer->work, NULL);
    pthread_cond_init(&committer->pinged, NULL);
    pthread_cond_init(&committer->ending, NULL);
    int status = pthread_create(&committer->thread, NULL, commit_for_ever, committer);
    assert(status == 0);
    (void)status;
    return committer;
}

void committer_stop(struct committer **committer)
{
    struct committer *stopping = TAKE(*committer);
    if (!stopping) {
        return;
    }
    struct timespec deadline = clock_deadline(SQLITE_STORE_CLOSE_WAIT_MS);
    int status = 0;
    pthread_mutex_lock(&stopping->mutex);
    stopping->closing = true;
    pthread_cond_signal(&stopping->work);
    while (!stopping->ended && status == 0) {
        status = pthread_cond_clockwait(&stopping->ending, &stopping->mutex, CLOCK_MONOTONIC, &deadline);
    }
    /* Another process may keep its turn for ever, being stopped, and the wait for it cannot be ended: then the thread
     * is left to itself, with nothing to write. */
    bool abandoned = stopping->abandoned = !stopping->ended;
    pthread_t thread = stopping->thread;
    pthread_mutex_unlock(&stopping->mutex);
    if (abandoned) {
        pthread_detach(thread);
    } else {
        pthread_join(thread, NULL);
        free_committer(stopping);
    }
}
