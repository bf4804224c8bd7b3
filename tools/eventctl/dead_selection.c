/* SPDX-License-Identifier: Apache-2.0
 * Which dead letters a command is about. */
#include "tools/eventctl/dead_selection.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/moment.h"
#include "common/base/text.h"
#include "tools/eventctl/subject.h"

static bool check(struct dead_selection *selection, struct error *error)
{
    int64_t now = clock_now(NULL);
    selection->until_ms = INT64_MAX;
    if (!dead_subjects(&selection->subjects, &selection->checked, error)) {
        return false;
    }
    if (selection->sequences.count > 0 && selection->subjects.count != 1) {
        return error_set(error, ERROR_INVALID, "--sequence needs one --subject, whose letters it numbers");
    }
    return (selection->since == NULL || moment_parse("--since", selection->since, now, &selection->since_ms, error)) &&
           (selection->until == NULL || moment_parse("--until", selection->until, now, &selection->until_ms, error));
}

enum options_result dead_selection_parse(const struct option *options, const char *command, int argc, char **argv,
                                         void *values, struct dead_selection *selection, struct error *error)
{
    struct option_texts arguments = {.count = 0};
    selection->connection.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    enum options_result result = options_parse(options, argc, argv, values, &arguments, error);
    if (result != OPTIONS_READY) {
        return result;
    }
    if (arguments.count > 0) {
        error_set(error, ERROR_INVALID, "dead %s takes options only, not \"%s\"", command, arguments.items[0]);
        return OPTIONS_WRONG;
    }
    if (!check(selection, error)) {
        return OPTIONS_WRONG;
    }
    subjects_warn(&selection->checked);
    return OPTIONS_READY;
}

bool dead_selection_is_narrow(const struct dead_selection *selection)
{
    return selection->subjects.count > 0 || selection->listener != NULL || selection->reason != NULL ||
           selection->since != NULL || selection->until != NULL;
}

static bool is_named(struct dead_selection *selection, uint64_t sequence)
{
    bool is_there = false;
    for (size_t i = 0; i < selection->sequences.count; i++) {
        if ((uint64_t)selection->sequences.items[i] == sequence) {
            selection->found[i] = true;
            is_there = true;
        }
    }
    return is_there;
}

/* What keeps a letter out; NULL: nothing. Of one that cannot be read, nothing is known that could be chosen by. */
static const char *find_reason_against(const struct dead_selection *selection, const struct dead_item *item)
{
    const struct dead_letter *letter = &item->letter;
    bool is_read = item->problem == NULL;
    if (selection->listener != NULL && (!is_read || !text_equal(letter->listener, selection->listener))) {
        return "it is of another listener";
    }
    if (selection->reason != NULL && (!is_read || !text_contains_folded(letter->reason, selection->reason))) {
        return "it has another reason";
    }
    bool has_time = selection->since != NULL || selection->until != NULL;
    if (has_time && (!is_read || letter->time < selection->since_ms || letter->time > selection->until_ms)) {
        return "it is of another time";
    }
    return NULL;
}

enum dead_choice dead_selection_choose(struct dead_selection *selection, const struct dead_item *item,
                                       const char **ret_why)
{
    bool named = is_named(selection, item->sequence);
    if (selection->sequences.count > 0 && !named) {
        return DEAD_NOT_MEANT;
    }
    const char *why = find_reason_against(selection, item);
    if (why == NULL) {
        return DEAD_CHOSEN;
    }
    *ret_why = why;
    return named ? DEAD_EXCLUDED : DEAD_NOT_MEANT;
}

size_t dead_selection_missing(const struct dead_selection *selection)
{
    size_t missing = 0;
    for (size_t i = 0; i < selection->sequences.count; i++) {
        if (!selection->found[i]) {
            fprintf(stderr, "eventctl: there is no dead letter #%" PRId64 "\n", selection->sequences.items[i]);
            missing++;
        }
    }
    return missing;
}
