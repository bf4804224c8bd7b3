/* SPDX-License-Identifier: Apache-2.0
 * What the tests of the store have in common: an entity with a field of every type, and stores of their own. */
#ifndef TURNSTILE_TESTS_CONTRACT_STORE_FIXTURE_H
#define TURNSTILE_TESTS_CONTRACT_STORE_FIXTURE_H

/* cmocka.h wants these four in front of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/store/store.h"

enum {
    TITLE_SIZE = 65,
    READERS = 8,
};

enum item_state { STATE_OPEN, STATE_HELD, STATE_SOLD };
enum item_grade { GRADE_NONE, GRADE_GOLD, GRADE_SILVER };

struct item_place {
    char town[TITLE_SIZE];
    int64_t row;
};

struct item {
    char title[TITLE_SIZE];
    int64_t price;
    struct id owner;
    int32_t state;
    bool listed;
    char note[TITLE_SIZE];   /* optional */
    struct id order;         /* optional */
    int64_t expires;         /* optional */
    int32_t grade;           /* optional */
    struct item_place place; /* optional */
    char secret[TITLE_SIZE]; /* not in the store */
};

extern const struct collection items;  /* indexes: see store_fixture.c */
extern const struct collection others; /* the same entity, without indexes */
extern const struct collection *const fixture_collections[];

/* The URI of a store that nobody else has, of the engine that TEST_STORE names: sqlite (the default), in a file of a
 * directory of its own; mongo, in a database of TEST_MONGO_URI's server or of one that is started. Caller frees with
 * xfree. */
char *fixture_uri(void);
/* Whether the engine is so slow that what is random about the tests has to be less of it. */
bool fixture_is_slow(void);
struct store *fixture_open(const char *uri);
/* For cmocka's setup and teardown: *state is a struct store on a fresh URI. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* Removes the directory that fixture_uri made files in. */
int fixture_cleanup(void **state);

struct id fixture_id(uint64_t number);
struct item fixture_item(const char *title, int64_t price);
struct record fixture_record(uint64_t number);
/* Writes and expects success: with an event if `subject` is not NULL, whose payload is the subject too. */
void fixture_insert(struct store *store, uint64_t number, const char *claim, const struct item *item,
                    const char *subject);
enum store_result fixture_write(struct store *store, uint64_t expected, struct record *record, const struct item *item,
                                const char *subject);

/* Ends a child process that found something wrong; cmocka's own assertions do not work there. */
#define CHILD_REQUIRE(condition) ((condition) ? (void)0 : child_fail(__FILE__, __LINE__, #condition))
void child_fail(const char *file, int line, const char *condition);
/* Runs `work` in a process of its own; no store may be open in this one. */
int child_start(void (*work)(const char *uri, int number), const char *uri, int number);
/* Expects that it ended with status 0. */
void child_join(int child);

#endif
