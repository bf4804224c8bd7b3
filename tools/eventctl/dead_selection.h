/* SPDX-License-Identifier: Apache-2.0
 * Which dead letters a command is about: the options that all commands of eventctl dead share. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_DEAD_SELECTION_H
#define TURNSTILE_TOOLS_EVENTCTL_DEAD_SELECTION_H

#include "tools/eventctl/dead_letters.h"

struct dead_selection {
    struct connection_options connection;
    struct option_texts subjects;
    struct option_numbers sequences;
    const char *listener;
    const char *reason;
    const char *since, *until;

    /* Set by dead_selection_parse. */
    struct option_texts checked; /* the subjects to go through */
    int64_t since_ms, until_ms;
    /* Which of the sequences were seen. */
    bool found[OPTION_LIST_MAX];
};

/* The rows of a command's table for a member of this type. */
#define DEAD_SELECTION_OPTIONS(struct_type, member)                                                                    \
    {.name = "subject",                                                                                                \
     .type = OPTION_TEXTS,                                                                                             \
     .offset = offsetof(struct_type, member.subjects),                                                                 \
     .value = "SUBJECT",                                                                                               \
     .help = "letters of these subjects only"},                                                                        \
        {.name = "sequence",                                                                                           \
         .type = OPTION_NUMBERS,                                                                                       \
         .offset = offsetof(struct_type, member.sequences),                                                            \
         .min = 1,                                                                                                     \
         .max = INT64_MAX,                                                                                             \
         .value = "N",                                                                                                 \
         .help = "these letters only, as dead list numbers them; needs one --subject"},                                \
        {.name = "listener",                                                                                           \
         .type = OPTION_TEXT,                                                                                          \
         .offset = offsetof(struct_type, member.listener),                                                             \
         .value = "NAME",                                                                                              \
         .help = "letters of this listener only, like orders-service"},                                                \
        {.name = "reason",                                                                                             \
         .type = OPTION_TEXT,                                                                                          \
         .offset = offsetof(struct_type, member.reason),                                                               \
         .value = "TEXT",                                                                                              \
         .help = "letters whose reason contains this only, in any case"},                                              \
        {.name = "since",                                                                                              \
         .type = OPTION_TEXT,                                                                                          \
         .offset = offsetof(struct_type, member.since),                                                                \
         .value = "TIME",                                                                                              \
         .help = "letters that were written at or after this only"},                                                   \
        {.name = "until",                                                                                              \
         .type = OPTION_TEXT,                                                                                          \
         .offset = offsetof(struct_type, member.until),                                                                \
         .value = "TIME",                                                                                              \
         .help = "letters that were written at or before this only"},                                                  \
        CONNECTION_OPTIONS(struct_type, member.connection)

/* Parses the command line of "dead <command>" into *values, of which *selection is a member, and checks what the
 * selection says. */
enum options_result dead_selection_parse(const struct option *options, const char *command, int argc, char **argv,
                                         void *values, struct dead_selection *selection,
                                         struct error *error) MUST_CHECK;
/* True if anything but the connection was chosen by. */
bool dead_selection_is_narrow(const struct dead_selection *selection);

enum dead_choice {
    DEAD_NOT_MEANT, /* nothing is to be said of it */
    DEAD_CHOSEN,
    DEAD_EXCLUDED, /* named by its sequence, but excluded by another option: *ret_why */
};
enum dead_choice dead_selection_choose(struct dead_selection *selection, const struct dead_item *item,
                                       const char **ret_why);

/* After all letters: tells on stderr which of the sequences are not there, and returns how many. */
size_t dead_selection_missing(const struct dead_selection *selection);

#endif
