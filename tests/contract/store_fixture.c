/* SPDX-License-Identifier: Apache-2.0
 * The entity and the stores that the tests of the store work with. */
#include "tests/contract/store_fixture.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/config.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "tests/contract/mongo_server.h"

#define MONGO_PATIENCE                                                                                                 \
    "serverSelectionTimeoutMS=20000&connectTimeoutMS=20000&socketTimeoutMS=20000&waitQueueTimeoutMS=20000"

enum {
    RANDOM_WORD = 12,
    OPEN_FILES_MAX = 8, /* of nftw */
};

static const char *const states[] = {"open", "held", "sold", NULL};
static const char *const grades[] = {"", "gold", "silver", NULL};

static const struct field place_fields[] = {
    FIELD(struct item_place, town, FIELD_TEXT, .max = 64, .required = true, .in = IN_ALL),
    FIELD(struct item_place, row, FIELD_INTEGER, .max = 1000, .required = true, .in = IN_ALL),
    {.name = NULL},
};

static const struct table place_table = {.name = "place", .size = sizeof(struct item_place), .fields = place_fields};

static const struct field item_fields[] = {
    FIELD(struct item, title, FIELD_TEXT, .max = 64, .required = true, .in = IN_ALL),
    FIELD(struct item, price, FIELD_MONEY, .max = INT64_MAX, .required = true, .in = IN_ALL),
    FIELD(struct item, owner, FIELD_ID, .required = true, .in = IN_ALL),
    FIELD(struct item, state, FIELD_CHOICE, .required = true, .in = IN_ALL, .choices = states),
    FIELD(struct item, listed, FIELD_BOOLEAN, .required = true, .in = IN_ALL),
    FIELD(struct item, note, FIELD_TEXT, .max = 64, .in = IN_ALL),
    FIELD(struct item, order, FIELD_ID, .in = IN_ALL),
    FIELD(struct item, expires, FIELD_TIME, .in = IN_ALL),
    FIELD(struct item, grade, FIELD_CHOICE, .in = IN_ALL, .choices = grades),
    FIELD(struct item, place, FIELD_OBJECT, .in = IN_ALL, .object = &place_table),
    FIELD(struct item, secret, FIELD_TEXT, .max = 64, .in = IN_REQUEST),
    {.name = NULL},
};

static const struct table item_table = {
    .name = "item", .size = sizeof(struct item), .versioned = true, .fields = item_fields};

static const struct index item_indexes[] = {
    {.name = "by_id", .fields = {NULL}},
    {.name = "by_title", .fields = {"title"}},
    {.name = "by_price", .fields = {"price"}},
    {.name = "by_order", .fields = {"order"}},
    {.name = "by_owner", .fields = {"owner", "expires"}},
    {.name = "by_state", .fields = {"state", "order", "price"}},
    {.name = "by_town", .fields = {"place.town", "place.row"}},
    {.name = "by_all", .fields = {"grade", "note", "expires", "listed"}},
    {.name = NULL},
};

const struct collection items = {.name = "items", .table = &item_table, .indexes = item_indexes};
const struct collection others = {.name = "others", .table = &item_table};
const struct collection *const fixture_collections[] = {&items, &others, NULL};

struct settings {
    char store[CONFIG_TEXT_MAX];
    char mongo_uri[CONFIG_TEXT_MAX];
};

static const struct config_option options[] = {
    {.name = "TEST_STORE",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct settings, store),
     .max = CONFIG_TEXT_MAX - 1,
     .default_value = "sqlite",
     .help = "engine of the store to test: sqlite or mongo"},
    {.name = "TEST_MONGO_URI",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct settings, mongo_uri),
     .max = CONFIG_TEXT_MAX - 1,
     .help = "a MongoDB server to use instead of one of the tests' own: mongodb://host:port, without a database"},
    {.name = NULL},
};

/* Made when they are first needed. */
static char *directory;
static struct mongo_server *mongo_server;

/* With timeouts for a busy machine: nothing here is about a store that is away. */
static char *mongo_uri(const char *server, const char *word)
{
    CLEANUP(free_pointer) char *own = NULL;
    if (server[0] == '\0') {
        if (!mongo_server) {
            mongo_server = mongo_server_new(MONGO_SERVER_MEMORY);
            mongo_server_start(mongo_server);
        }
        own = xasprintf("mongodb://127.0.0.1:%u", mongo_server_port(mongo_server));
        server = own;
    }
    const char *question = strchr(server, '?');
    size_t length = question ? (size_t)(question - server) : strlen(server);
    length -= length > 0 && server[length - 1] == '/';
    return xasprintf("%.*s/test-%s?%s%s" MONGO_PATIENCE, (int)length, server, word, question ? question + 1 : "",
                     question ? "&" : "");
}

char *fixture_uri(void)
{
    struct settings settings = {.store = ""};
    assert_int_equal(config_load(options, &settings, stderr), 0);
    char word[RANDOM_WORD + 1];
    random_hex(word, RANDOM_WORD);
    if (text_equal(settings.store, "mongo")) {
        return mongo_uri(settings.mongo_uri, word);
    }
    assert_string_equal(settings.store, "sqlite");
    if (!directory) {
        directory = xstrdup("/tmp/turnstile-store-XXXXXX");
        assert_non_null(mkdtemp(directory));
    }
    return xasprintf("sqlite:%s/%s.db", directory, word);
}

bool fixture_is_slow(void)
{
    return mongo_server != NULL;
}

static int remove_file(const char *path, const struct stat *status UNUSED, int type UNUSED, struct FTW *place UNUSED)
{
    return remove(path);
}

int fixture_cleanup(void **state UNUSED)
{
    mongo_server_free(&mongo_server);
    if (directory) {
        nftw(directory, remove_file, OPEN_FILES_MAX, FTW_DEPTH | FTW_PHYS);
        xfree(directory);
        directory = NULL;
    }
    return 0;
}

struct store *fixture_open(const char *uri)
{
    struct store_config config = {.uri = uri, .collections = fixture_collections, .readers = READERS};
    struct store *store = NULL;
    struct error error = ERROR_INIT;
    if (!store_open(&config, &store, &error)) {
        fprintf(stderr, "cannot open %s: %s\n", uri, error.message);
        return NULL;
    }
    return store;
}

int fixture_setup(void **state)
{
    CLEANUP(free_pointer) char *uri = fixture_uri();
    *state = fixture_open(uri);
    return *state ? 0 : -1;
}

int fixture_teardown(void **state)
{
    struct store *store = *state;
    store_close(&store);
    return 0;
}

struct id fixture_id(uint64_t number)
{
    struct id id = {.hex = ""};
    CLEANUP(free_pointer) char *text = xasprintf("%024" PRIx64, number);
    if (!id_from_text(text, &id)) {
        abort();
    }
    return id;
}

struct item fixture_item(const char *title, int64_t price)
{
    struct item item = {.price = price, .owner = fixture_id(7)};
    text_copy_cut(item.title, sizeof(item.title), title);
    return item;
}

struct record fixture_record(uint64_t number)
{
    struct record record = RECORD_INIT;
    record.id = fixture_id(number);
    record.version = 1;
    return record;
}

enum store_result fixture_write(struct store *store, uint64_t expected, struct record *record, const struct item *item,
                                const char *subject)
{
    struct error error = ERROR_INIT;
    struct outbox_entry entry = {.subject = subject, .payload = subject, .length = subject ? strlen(subject) : 0};
    record->version = expected + 1;
    enum store_result result = store_write(store, &items, expected, record, item, subject ? &entry : NULL, &error);
    if (result == STORE_UNAVAILABLE) {
        fprintf(stderr, "write: %s\n", error.message);
    }
    return result;
}

void fixture_insert(struct store *store, uint64_t number, const char *claim, const struct item *item,
                    const char *subject)
{
    struct record record = fixture_record(number);
    text_copy_cut(record.claim, sizeof(record.claim), claim);
    assert_int_equal(fixture_write(store, 0, &record, item, subject), STORE_DONE);
}

void child_fail(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: not true in a child process: %s\n", file, line, condition);
    _exit(1);
}

int child_start(void (*work)(const char *uri, int number), const char *uri, int number)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        work(uri, number);
        _exit(0);
    }
    return (int)child;
}

void child_join(int child)
{
    int status = 0;
    assert_int_equal(waitpid((pid_t)child, &status, 0), (pid_t)child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}
