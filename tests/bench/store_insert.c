/* SPDX-License-Identifier: Apache-2.0
 * What a durable insert costs: a bare loop of SQLite transactions beside store_write with more and more threads.
 *
 *   store_insert DIRECTORY [SECONDS [PROCESSES]]
 *
 * Each insert is a record of a few fields with one index, and its event. The bare loop has the same table, index and
 * settings, and neither outbox nor events. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/store.h"

enum {
    TITLE_SIZE = 65,
    THREADS_MAX = 64,
    PROCESSES_MAX = 8,
    SECONDS_MAX = 600,
    LATENCIES_MAX = 1 << 20, /* of one run; later ones are not kept */
};

struct ticket {
    char title[TITLE_SIZE];
    int64_t price;
    struct id user_id;
    int64_t created_at;
};

static const struct field fields[] = {
    FIELD(struct ticket, title, FIELD_TEXT, .max = 64, .required = true, .in = IN_ALL),
    FIELD(struct ticket, price, FIELD_MONEY, .max = INT64_MAX, .required = true, .in = IN_ALL),
    FIELD_NAMED("userId", struct ticket, user_id, FIELD_ID, .required = true, .in = IN_ALL),
    FIELD_NAMED("createdAt", struct ticket, created_at, FIELD_TIME, .required = true, .in = IN_ALL),
    {.name = NULL},
};
static const struct table table = {
    .name = "ticket", .size = sizeof(struct ticket), .versioned = true, .fields = fields};
static const struct index indexes[] = {{.name = "by_created", .fields = {"createdAt"}}, {.name = NULL}};
static const struct collection tickets = {.name = "tickets", .table = &table, .indexes = indexes};
static const struct collection *const collections[] = {&tickets, NULL};

static const char payload[] =
    "{\"id\":\"65b9f0c2a1b2c3d4e5f60718\",\"version\":1,\"title\":\"A concert in the park\",\"price\":25.00,"
    "\"userId\":\"65b9f0c2a1b2c3d4e5f60719\",\"createdAt\":\"2026-01-31T12:00:00.000Z\",\"meta\":{\"eventId\":"
    "\"ticket/65b9f0c2a1b2c3d4e5f60718/1\",\"time\":\"2026-01-31T12:00:00.000Z\",\"epoch\":0}}";

static void check(bool fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

static int64_t microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int compare(const void *left, const void *right)
{
    const int64_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

/* What one run did; in shared memory, since processes add to it. */
struct results {
    atomic_size_t count;
    int64_t latencies[LATENCIES_MAX];
};

static void note(struct results *results, int64_t latency)
{
    size_t position = atomic_fetch_add(&results->count, 1);
    if (position < LATENCIES_MAX) {
        results->latencies[position] = latency;
    }
}

static void report(const char *name, struct results *results, int64_t elapsed)
{
    size_t count = atomic_load(&results->count);
    size_t kept = count < LATENCIES_MAX ? count : LATENCIES_MAX;
    check(kept > 0, "nothing was written");
    qsort(results->latencies, kept, sizeof(results->latencies[0]), compare);
    printf("%-34s %8.0f/s   p50 %6ld us   p99 %6ld us   max %7ld us\n", name, (double)count * 1e6 / (double)elapsed,
           (long)results->latencies[kept / 2], (long)results->latencies[kept * 99 / 100],
           (long)results->latencies[kept - 1]);
    fflush(stdout);
    atomic_store(&results->count, 0);
}

/* ---- bare SQLite ---- */

static void run_bare(const char *directory, int seconds, struct results *results)
{
    static const char prepare[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = OFF;"
                                  "CREATE TABLE tickets (id TEXT NOT NULL PRIMARY KEY, version INTEGER, epoch INTEGER,"
                                  " writer TEXT, claim TEXT, title TEXT, price INTEGER, userId TEXT,"
                                  " createdAt INTEGER) WITHOUT ROWID, STRICT;"
                                  "CREATE INDEX by_created ON tickets (createdAt, id);";
    CLEANUP(free_pointer) char *path = xasprintf("%s/bare.db", directory);
    sqlite3 *database = NULL;
    sqlite3_stmt *insert = NULL;
    check(sqlite3_open(path, &database) == SQLITE_OK, "cannot open a database in the directory");
    check(sqlite3_exec(database, prepare, NULL, NULL, NULL) == SQLITE_OK, "cannot prepare: is the directory empty?");
    check(sqlite3_prepare_v2(database,
                             "INSERT INTO tickets VALUES (?1, 1, 0, 'writer', NULL, 'A concert in the park', 2500,"
                             " '65b9f0c2a1b2c3d4e5f60719', ?2)",
                             -1, &insert, NULL) == SQLITE_OK,
          "cannot prepare the insert");
    CLEANUP(id_source_free) struct id_source *ids = id_source_new(NULL);
    int64_t start = microseconds(), before = start;
    while (before < start + seconds * 1000000LL) {
        struct id id = id_new(ids);
        sqlite3_bind_text(insert, 1, id.hex, -1, SQLITE_STATIC);
        sqlite3_bind_int64(insert, 2, clock_now(NULL));
        check(sqlite3_step(insert) == SQLITE_DONE, "an insert failed");
        sqlite3_reset(insert);
        int64_t after = microseconds();
        note(results, after - before);
        before = after;
    }
    report("bare SQLite loop", results, microseconds() - start);
    sqlite3_finalize(insert);
    sqlite3_close(database);
}

/* ---- store_write ---- */

struct inserter {
    struct store *store;
    struct id_source *ids;
    struct results *results;
    int64_t end;
};

static void *insert_for_a_while(void *context)
{
    struct inserter *inserter = context;
    struct outbox_entry entry = {.subject = "ticket:created", .payload = payload, .length = sizeof(payload) - 1};
    struct ticket ticket = {.title = "A concert in the park", .price = 2500};
    check(id_from_text("65b9f0c2a1b2c3d4e5f60719", &ticket.user_id), "an id is wrong");
    int64_t before = microseconds();
    while (before < inserter->end) {
        struct error error = ERROR_INIT;
        struct record record = RECORD_INIT;
        record.id = id_new(inserter->ids);
        record.version = 1;
        ticket.created_at = clock_now(NULL);
        check(store_write(inserter->store, &tickets, 0, &record, &ticket, &entry, &error) == STORE_DONE, error.message);
        int64_t after = microseconds();
        note(inserter->results, after - before);
        before = after;
    }
    return NULL;
}

static void insert_in_threads(const char *uri, int threads, int seconds, struct results *results)
{
    struct store_config config = {.uri = uri, .collections = collections, .readers = 1};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    check(store_open(&config, &store, &error), error.message);
    CLEANUP(id_source_free) struct id_source *ids = id_source_new(NULL);
    struct inserter inserter = {
        .store = store, .ids = ids, .results = results, .end = microseconds() + seconds * 1000000LL};
    pthread_t running[THREADS_MAX];
    for (int i = 0; i < threads; i++) {
        check(pthread_create(&running[i], NULL, insert_for_a_while, &inserter) == 0, "cannot start a thread");
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(running[i], NULL);
    }
    store_close(&store);
}

static void run_store(const char *directory, int processes, int threads, int seconds, struct results *results)
{
    CLEANUP(free_pointer) char *uri = xasprintf("sqlite:%s/store-%d-%d.db", directory, processes, threads);
    CLEANUP(free_pointer)
    char *name = xasprintf("store_write, %d x %d thread%s", processes, threads, threads == 1 ? "" : "s");
    pid_t children[PROCESSES_MAX];
    for (int i = 0; i < processes; i++) {
        children[i] = fork();
        check(children[i] >= 0, "cannot fork");
        if (children[i] == 0) {
            insert_in_threads(uri, threads, seconds, results);
            _exit(0);
        }
    }
    for (int i = 0; i < processes; i++) {
        int status = 0;
        check(waitpid(children[i], &status, 0) == children[i] && status == 0, "a process failed");
    }
    report(name, results, seconds * 1000000LL);
}

int main(int argc, char **argv)
{
    static const int threads[] = {1, 8, 64};
    int64_t seconds = 3, processes = 1;
    bool fine = argc >= 2 && argc <= 4;
    fine = fine && (argc < 3 || text_to_int64(argv[2], 1, SECONDS_MAX, &seconds));
    fine = fine && (argc < 4 || text_to_int64(argv[3], 1, PROCESSES_MAX, &processes));
    check(fine, "usage: store_insert EMPTY_DIRECTORY [SECONDS [PROCESSES]]");
    struct results *results = mmap(NULL, sizeof(*results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(results != MAP_FAILED, "no memory");
    run_bare(argv[1], (int)seconds, results);
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        run_store(argv[1], (int)processes, threads[i], (int)seconds, results);
    }
    munmap(results, sizeof(*results));
    return 0;
}
