/* SPDX-License-Identifier: Apache-2.0
 * The failpoints of this process: parsing of the specification, and what happens at them. */
#include "common/base/failpoint.h"

#ifdef TURNSTILE_FAILPOINTS

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/log.h"
#include "common/base/text.h"

enum {
    FAILPOINTS_MAX = 32,
    FAILPOINT_NAME_SIZE = 64,      /* with the NUL */
    FAILPOINT_PART_SIZE = 128,     /* one name=action:argument:count, with the NUL */
    FAILPOINT_SLEEP_MAX = 3600000, /* milliseconds */
    FAILPOINT_COUNT_MAX = 1000000,
    FAILPOINT_EVER = -1, /* a count that never runs out */
};

enum action { ACTION_STOP, ACTION_KILL, ACTION_SLEEP, ACTION_FAIL };

struct point {
    char name[FAILPOINT_NAME_SIZE];
    enum action action;
    int64_t milliseconds; /* of ACTION_SLEEP */
    atomic_int left;      /* how many times still, or FAILPOINT_EVER */
};

/* Failpoints are reached from everywhere and exist in test builds only, hence no context that is passed along. Written
 * before there are other threads; afterwards only the counts change. */
static struct point points[FAILPOINTS_MAX];
static size_t point_count;

static const struct {
    const char *name;
    bool takes_milliseconds;
    int default_count;
} actions[] = {
    [ACTION_STOP] = {"stop", false, 1},
    [ACTION_KILL] = {"kill", false, FAILPOINT_EVER},
    [ACTION_SLEEP] = {"sleep", true, FAILPOINT_EVER},
    [ACTION_FAIL] = {"fail", false, FAILPOINT_EVER},
};

static struct point *find(const char *name)
{
    for (size_t i = 0; i < point_count; i++) {
        if (strcmp(points[i].name, name) == 0) {
            return &points[i];
        }
    }
    return NULL;
}

/* Cuts the text at the separator and returns what is behind it, NULL if there is none. */
static char *split(char *text, char separator)
{
    char *found = strchr(text, separator);
    if (found != NULL) {
        *found++ = '\0';
    }
    return found;
}

static bool parse_action(const char *name, enum action *ret_action)
{
    for (size_t i = 0; i < ARRAY_LENGTH(actions); i++) {
        if (strcmp(name, actions[i].name) == 0) {
            *ret_action = (enum action)i;
            return true;
        }
    }
    return false;
}

/* `part` is one name=action[:argument]…, and is cut into pieces. */
static bool parse_point(char *part, struct point *ret_point)
{
    char *action = split(part, '=');
    if (action == NULL || part[0] == '\0' || !text_copy(ret_point->name, sizeof ret_point->name, part)) {
        return false;
    }
    char *argument = split(action, ':');
    if (!parse_action(action, &ret_point->action)) {
        return false;
    }
    if (actions[ret_point->action].takes_milliseconds) {
        char *milliseconds = argument;
        argument = milliseconds != NULL ? split(milliseconds, ':') : NULL;
        if (milliseconds == NULL || !text_to_int64(milliseconds, 0, FAILPOINT_SLEEP_MAX, &ret_point->milliseconds)) {
            return false;
        }
    }
    int64_t count = actions[ret_point->action].default_count;
    if (argument != NULL && !text_to_int64(argument, 1, FAILPOINT_COUNT_MAX, &count)) {
        return false;
    }
    atomic_init(&ret_point->left, (int)count);
    return true;
}

bool failpoint_configure(const char *specification, struct error *error)
{
    const char *rest = specification != NULL ? specification : "";
    point_count = 0;
    while (*rest != '\0') {
        size_t length = strcspn(rest, ",");
        char part[FAILPOINT_PART_SIZE];
        char shown[FAILPOINT_PART_SIZE];
        if (length >= sizeof part) {
            return error_set(error, ERROR_INVALID, "a failpoint may have at most %zu bytes", sizeof part - 1);
        }
        memcpy(part, rest, length);
        part[length] = '\0';
        memcpy(shown, part, length + 1);
        if (point_count == FAILPOINTS_MAX) {
            return error_set(error, ERROR_INVALID, "more than %d failpoints", FAILPOINTS_MAX);
        }
        if (!parse_point(part, &points[point_count])) {
            return error_set(error, ERROR_INVALID,
                             "not a failpoint: \"%s\" (name=stop|kill|sleep:<ms>|fail, and optionally :<count>)",
                             shown);
        }
        if (find(points[point_count].name) != NULL) {
            return error_set(error, ERROR_INVALID, "failpoint %s is there twice", points[point_count].name);
        }
        point_count++;
        rest += length;
        if (*rest == ',' && *++rest == '\0') {
            return error_set(error, ERROR_INVALID, "a failpoint is missing behind the last comma");
        }
    }
    return true;
}

/* Uses up one of the times that are left. */
static bool take(struct point *point)
{
    int left = atomic_load(&point->left);
    while (left > 0) {
        if (atomic_compare_exchange_weak(&point->left, &left, left - 1)) {
            return true;
        }
    }
    return left == FAILPOINT_EVER;
}

static void sleep_milliseconds(int64_t milliseconds)
{
    struct timespec left = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

bool failpoint(const char *name)
{
    struct point *point = find(name);
    if (point == NULL || !take(point)) {
        return false;
    }
    log_info("failpoint %s: %s", name, actions[point->action].name);
    switch (point->action) {
    case ACTION_STOP:
        /* raise and not kill: a signal to the process may be taken by another thread, and this one would run on for
         * a moment, past the place where it is to freeze. */
        raise(SIGSTOP);
        return false;
    case ACTION_KILL:
        raise(SIGKILL);
        abort();
    case ACTION_SLEEP:
        sleep_milliseconds(point->milliseconds);
        return false;
    case ACTION_FAIL:
        return true;
    }
    return false;
}

#endif
