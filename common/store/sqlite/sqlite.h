/* SPDX-License-Identifier: Apache-2.0
 * The parts of the embedded store: one file, one connection that writes, a pool of connections that read. */
#ifndef TURNSTILE_STORE_SQLITE_SQLITE_H
#define TURNSTILE_STORE_SQLITE_SQLITE_H

#include <pthread.h>

#include "common/store/driver.h"
#include "common/store/sqlite/connection.h"
#include "common/store/sqlite/rows.h"

enum {
    SQLITE_STORE_FORMAT = 1,               /* of the tables that are the store's own; also PRAGMA user_version */
    SQLITE_STORE_APPLICATION = 0x5475726e, /* "Turn" */
    SQLITE_STORE_OPEN_WAIT_MS = 60 * 1000, /* for other processes that migrate */
    SQLITE_STORE_CLOSE_WAIT_MS = 1000,     /* for the committer to end, and for a last turn */
    SQLITE_STORE_BATCH_MAX = 256,          /* writes of one transaction */
    SQLITE_STORE_READERS_MAX = 64,
    SQLITE_STORE_READ_WAIT_MS = 5000,        /* for a free connection */
    SQLITE_STORE_PING_FRESH_MS = 1000,       /* a commit that is younger answers a ping */
    SQLITE_STORE_CHECKPOINT_PAGES = 1000,    /* of the log, between two checkpoints */
    SQLITE_STORE_LOG_PAGES_MAX = 16 * 1024,  /* then a checkpoint waits for readers, so that the log starts anew */
    SQLITE_STORE_LOG_PAGES_RETRY = 4 * 1024, /* between two of these */
    SQLITE_STORE_CHECKPOINT_WAIT_MS = 200,
};

/* ---- reads: pool.c ---- */

/* Connections that are not in use; they are opened when they are first needed. */
struct pool {
    const char *path;
    pthread_mutex_t mutex;
    pthread_cond_t given;
    size_t limit;
    size_t opened;
    size_t idle_count;
    struct connection *idle[SQLITE_STORE_READERS_MAX]; /* last in, first out: the warm ones are used */
};

void pool_init(struct pool *pool, const char *path, size_t limit);
void pool_done(struct pool *pool);
/* NULL with ERROR_UNAVAILABLE. Hand it back with pool_give. */
struct connection *pool_take(struct pool *pool, int64_t wait_ms, struct error *error) MUST_CHECK;
/* Closes it if it has failed. */
void pool_give(struct pool *pool, struct connection *connection);

/* ---- writes: committer.c queues and commits, transaction.c performs ---- */

enum task_state { TASK_QUEUED, TASK_TAKEN, TASK_DONE };

enum task_kind { TASK_WRITE, TASK_REMOVE, TASK_FACT, TASK_OUTBOX_REMOVE };

struct removal {
    const struct store_collection *collection;
    const struct id *id;
    uint64_t expected;
};

struct fact_change {
    const char *name;
    bool raises;      /* or replaces what has the expected value */
    int64_t expected; /* by replacements */
    int64_t value;
};

/* One caller's change, on its stack, in the queue until the committer takes it. */
struct task {
    enum task_kind kind;
    const struct store_write_request *write; /* of the kind's; the others are NULL */
    const struct removal *removal;
    const struct fact_change *fact;
    const struct outbox_key *keys;
    size_t key_count;
    /* How it went; set anew by each attempt. */
    enum store_result result;
    struct store_write_answer answer;
    bool replaced;  /* a fact */
    bool traceless; /* it changed what does not show afterwards whether this transaction was it */
    struct error error;
    /* Under the committer's mutex. */
    enum task_state state;
    pthread_cond_t done;
    struct task *next;
};

struct committer {
    char *path;
    const struct rows_texts *texts; /* by position of the collection */
    struct connection *writer;      /* NULL behind a failure, until it is opened again; the committing thread's */
    int lock_file;
    bool wrote;    /* the last transaction changed something */
    int log_pages; /* of the write-ahead log, behind the last commit */
    int log_pages_checkpointed;
    bool checkpoint_wanted; /* in the next turn */
    int64_t mark;           /* of the last transaction that has one */
    pthread_t thread;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t work;
    pthread_cond_t pinged;
    pthread_cond_t ending;
    struct task *first, *last;
    bool closing;
    bool ended;
    bool abandoned; /* the thread frees all this when it ends */
    bool ping_wanted;
    uint64_t rounds;      /* transactions that have come to an end */
    int64_t committed;    /* monotonic time of the last commit that reached the disk */
    struct error problem; /* of the last round; ERROR_NONE if it was committed */
};

/* Takes ownership of the writing connection and the lock file; borrows the texts until it is stopped. */
struct committer *committer_start(const char *path, const struct rows_texts *texts, struct connection *writer,
                                  int lock_file);
/* Ends the thread, closes the connection and the lock. NULL inside is fine. */
void committer_stop(struct committer **committer);
/* Blocks until the task is done or withdrawn; its result and error say how. */
void committer_run(struct committer *committer, struct task *task);
/* Whether a commit has reached the disk within the last second, or does so now. */
bool committer_ping(struct committer *committer, int64_t wait_ms, struct error *error) MUST_CHECK;

enum transaction_outcome {
    TRANSACTION_COMMITTED,
    TRANSACTION_FAILED,  /* nothing was written */
    TRANSACTION_UNKNOWN, /* the commit itself failed */
};

/* Performs each task with its own result, and commits once. `ping` writes even if no task does. */
enum transaction_outcome transaction_run(struct committer *committer, struct task *const *tasks, size_t count,
                                         bool ping, struct error *error) MUST_CHECK;
/* Whether the transaction of these tasks, which is the last one on this file, is in the store after all. */
bool transaction_settle(struct committer *committer, struct task *const *tasks, size_t count, bool ping,
                        bool *ret_committed, struct error *error) MUST_CHECK;

/* What the kinds of tasks do in a transaction; false is the file's failure. Each sets the task's result. */
bool remove_perform(struct connection *connection, const struct rows_texts *texts, struct task *task,
                    struct error *error) MUST_CHECK;
bool fact_perform(struct connection *connection, struct task *task, struct error *error) MUST_CHECK;
bool outbox_remove_perform(struct connection *connection, struct task *task, struct error *error) MUST_CHECK;

/* The columns of rows_texts.look. */
enum { LOOK_VERSION, LOOK_WRITER, LOOK_CLAIM };

/* ---- the whole ---- */

struct sqlite_store {
    char *path;
    const struct store_collection *collections;
    size_t collection_count;
    struct rows_texts texts[STORE_COLLECTIONS_MAX];
    char *outbox_due; /* ?1: created at or before; ?2: how many; ?3: or at or after */
    char *outbox_count;
    struct pool pool;
    struct committer *committer; /* NULL until everything else is open */
};

/* Creates and changes tables and indexes, and notes the owner; nothing is written where nothing is to change. Under the
 * file lock. */
bool migrate(struct connection *connection, const struct store_setup *setup, struct error *error) MUST_CHECK;

bool read_get(void *state, const struct store_collection *collection, enum store_key key, const char *text,
              bool *ret_found, struct record *ret_head, void *entity, struct error *error);
bool read_scan(void *state, const struct store_scan *scan, const struct store_visitor *visitor, struct error *error);
bool read_ping(struct sqlite_store *store, int64_t wait_ms, struct error *error) MUST_CHECK;

enum store_result remove_record(void *state, const struct store_collection *collection, const struct id *id,
                                uint64_t expected, struct error *error);

bool fact_get(void *state, const char *name, int64_t *ret_value, struct error *error);
bool fact_raise(void *state, const char *name, int64_t value, struct error *error);
bool fact_replace(void *state, const char *name, int64_t expected, int64_t value, bool *ret_replaced,
                  struct error *error);

void outbox_init(struct sqlite_store *store);
bool outbox_scan(void *state, const struct outbox_query *query, size_t limit,
                 const struct store_outbox_visitor *visitor, struct error *error);
bool outbox_remove(void *state, const struct outbox_key *keys, size_t count, struct error *error);
bool outbox_count(void *state, uint64_t *ret_count, int64_t *ret_oldest, struct error *error);

#endif
