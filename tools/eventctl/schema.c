/* SPDX-License-Identifier: Apache-2.0
 * eventctl schema: prints what the events look like. */
#include <stdio.h>

#include "common/base/text.h"
#include "tools/eventctl/asyncapi.h"
#include "tools/eventctl/command.h"
#include "tools/eventctl/indent.h"
#include "tools/eventctl/options.h"

enum {
    DOCUMENT_MAX = 1 << 20,
    INDENTED_MAX = 8 * DOCUMENT_MAX,
};

static const char usage[] =
    "Usage: eventctl schema [SUBJECT | --asyncapi] [--compact]\n"
    "Prints the JSON Schema of a subject's events, or of all subjects as one object {subject: schema}, or an AsyncAPI\n"
    "document of all channels.\n";

struct schema_options {
    bool asyncapi;
    bool compact;
};

static const struct option options[] = {
    {.name = "asyncapi",
     .type = OPTION_FLAG,
     .offset = offsetof(struct schema_options, asyncapi),
     .help = "print an AsyncAPI 2.6 document"},
    {.name = "compact",
     .type = OPTION_FLAG,
     .offset = offsetof(struct schema_options, compact),
     .help = "print it on one line"},
    {.name = NULL},
};

static void print_all(struct buffer *buffer)
{
    buffer_append_char(buffer, '{');
    for (size_t i = 0; catalogue_subjects[i] != NULL; i++) {
        buffer_printf(buffer, "%s\"%s\":", i > 0 ? "," : "", catalogue_subjects[i]->name);
        event_schema_print(catalogue_subjects[i], buffer);
    }
    buffer_append_char(buffer, '}');
}

static bool check_arguments(const struct schema_options *given, const struct option_texts *arguments,
                            struct error *error)
{
    if (given->asyncapi && arguments->count > 0) {
        return error_set(error, ERROR_INVALID, "--asyncapi is about all subjects, so it takes no argument");
    }
    if (arguments->count > 1) {
        return error_set(error, ERROR_INVALID, "schema takes one subject, not %zu", arguments->count);
    }
    if (arguments->count == 1 && catalogue_find(arguments->items[0]) == NULL) {
        return error_set(error, ERROR_INVALID, "the subject \"%s\" is not in the catalogue", arguments->items[0]);
    }
    return true;
}

static int print_document(const struct buffer *document, bool compact)
{
    CLEANUP(buffer_done) struct buffer indented = BUFFER_INIT(INDENTED_MAX);
    if (!compact) {
        indent_json(buffer_text(document), document->length, &indented);
    }
    if (document->overflowed || indented.overflowed) {
        fprintf(stderr, "eventctl: the catalogue is too large\n");
        return STATUS_FAILED;
    }
    printf("%s\n", buffer_text(compact ? document : &indented));
    return STATUS_OK;
}

int command_schema(int argc, char **argv)
{
    struct schema_options given = {.compact = false};
    struct option_texts arguments = {.count = 0};
    struct error error = ERROR_INIT;
    int status = STATUS_OK;
    enum options_result result = options_parse(options, argc, argv, &given, &arguments, &error);
    if (result == OPTIONS_READY && !check_arguments(&given, &arguments, &error)) {
        result = OPTIONS_WRONG;
    }
    if (!options_proceed(result, usage, options, &error, &status)) {
        return status;
    }
    CLEANUP(buffer_done) struct buffer document = BUFFER_INIT(DOCUMENT_MAX);
    if (given.asyncapi) {
        asyncapi_print(&document);
    } else if (arguments.count == 1) {
        event_schema_print(catalogue_find(arguments.items[0]), &document);
    } else {
        print_all(&document);
    }
    return print_document(&document, given.compact);
}
