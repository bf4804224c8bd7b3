/* SPDX-License-Identifier: Apache-2.0
 * Reading of the environment by a table, and the help that is printed from the same table. */
#include "common/base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    NAME_SIZE = 128,    /* of a variable, with "_FILE" and the NUL */
    RANGE_SIZE = 96,    /* a type and its range in words, with the NUL */
    PRINTED_SIZE = 256, /* a value in a problem, with the NUL; longer ones are cut */
};

struct loader {
    FILE *problems;
    size_t count;
    const char *path; /* of the file that the value at hand is from; NULL: it is from no file */
};

/* A value as a problem shows it: escaped, and without what stands before an '@', where URIs carry passwords. */
static const char *printable(const char *value, char ret_text[static PRINTED_SIZE])
{
    static const char ellipsis[] = "…";
    static const char hidden[] = "***";
    const char *scheme_end = strstr(value, "://");
    const char *user = scheme_end != NULL ? scheme_end + strlen("://") : value;
    const char *at = strrchr(user, '@');
    const char *rest = value;
    const char *end = value + strlen(value);
    size_t used = 0;
    while (rest < end) {
        char piece[TEXT_ESCAPED_MAX + 1];
        if (at != NULL && rest == user && rest < at) {
            memcpy(piece, hidden, sizeof hidden);
            rest = at;
        } else {
            rest += text_escape_next(rest, (size_t)(end - rest), piece);
        }
        size_t length = strlen(piece);
        if (used + length + sizeof ellipsis > PRINTED_SIZE) {
            memcpy(ret_text + used, ellipsis, sizeof ellipsis);
            return ret_text;
        }
        memcpy(ret_text + used, piece, length);
        used += length;
    }
    ret_text[used] = '\0';
    return ret_text;
}

static void report(struct loader *loader, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);

static void report(struct loader *loader, const char *name, const char *format, ...)
{
    loader->count++;
    if (loader->count > CONFIG_PROBLEMS_MAX) {
        return;
    }
    fputs(name, loader->problems);
    if (loader->path != NULL) {
        char shown[PRINTED_SIZE];
        fprintf(loader->problems, " (from %s_FILE=%s)", name, printable(loader->path, shown));
    }
    fputs(": ", loader->problems);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(loader->problems, format, arguments);
    va_end(arguments);
    fputc('\n', loader->problems);
}

static bool is_textual(const struct config_option *option)
{
    return option->type == CONFIG_TEXT || option->type == CONFIG_SECRET;
}

/* A table that names no maximum means what fits. */
static int64_t longest(const struct config_option *option)
{
    return option->max > 0 && option->max < CONFIG_TEXT_MAX ? option->max : CONFIG_TEXT_MAX - 1;
}

/* "1 to 65535", "at least 32 bytes", and so on. */
static const char *describe_range(const struct config_option *option, char ret_text[static RANGE_SIZE])
{
    switch (option->type) {
    case CONFIG_INTEGER:
        snprintf(ret_text, RANGE_SIZE, "%" PRId64 " to %" PRId64, option->min, option->max);
        break;
    case CONFIG_BOOLEAN:
        snprintf(ret_text, RANGE_SIZE, "true or false");
        break;
    case CONFIG_TEXT:
    case CONFIG_SECRET:
        if (option->min > 0 && option->max > 0) {
            snprintf(ret_text, RANGE_SIZE, "%" PRId64 " to %" PRId64 " bytes", option->min, longest(option));
        } else if (option->min > 0) {
            snprintf(ret_text, RANGE_SIZE, "at least %" PRId64 " bytes", option->min);
        } else {
            snprintf(ret_text, RANGE_SIZE, "at most %" PRId64 " bytes", longest(option));
        }
        break;
    }
    return ret_text;
}

/* Reads until the end of the file, or until the buffer is full, which a value that fits never makes it. */
static bool read_whole(int file, char *ret_data, size_t size, size_t *ret_length)
{
    size_t length = 0;
    while (length < size) {
        ssize_t count = read(file, ret_data + length, size - length);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return false;
        }
        if (count == 0) {
            break;
        }
        length += (size_t)count;
    }
    *ret_length = length;
    return true;
}

/* `name` is that of the variable with the path, e.g. JWT_KEY_FILE. */
static bool read_file(struct loader *loader, const char *name, const char *path, char ret_value[static CONFIG_TEXT_MAX])
{
    char shown[PRINTED_SIZE];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        report(loader, name, "cannot read %s: %s", printable(path, shown), strerror(errno));
        return false;
    }
    char content[CONFIG_TEXT_MAX + 1]; /* the longest value, a newline, and a byte to see that there is more */
    size_t length = 0;
    bool is_read = read_whole(file, content, sizeof content, &length);
    int read_errno = errno;
    close(file);
    if (is_read && length > 0 && content[length - 1] == '\n') {
        length--;
    }
    const char *wrong = NULL;
    if (!is_read) {
        wrong = strerror(read_errno);
    } else if (length == 0) {
        wrong = "the file is empty";
    } else if (length >= CONFIG_TEXT_MAX) {
        wrong = "the file is too long for a value";
    } else if (memchr(content, '\0', length) != NULL) {
        wrong = "the file contains a NUL byte";
    }
    if (wrong != NULL) {
        report(loader, name, "cannot read %s: %s", printable(path, shown), wrong);
    } else {
        memcpy(ret_value, content, length);
        ret_value[length] = '\0';
    }
    memory_wipe(content, sizeof content);
    return wrong == NULL;
}

/* Where the text of a value comes from: the environment, a file, the default, or nowhere. NULL: a problem is reported
 * already. The text is borrowed from the environment, the table or `file_value`. */
static const char *find_value(struct loader *loader, const struct config_option *option,
                              char file_value[static CONFIG_TEXT_MAX])
{
    char file_name[NAME_SIZE];
    snprintf(file_name, sizeof file_name, "%s_FILE", option->name);
    const char *value = getenv(option->name);
    const char *path = is_textual(option) ? getenv(file_name) : NULL;
    bool has_value = value != NULL && value[0] != '\0';
    bool has_path = path != NULL && path[0] != '\0';
    if (has_value && has_path) {
        report(loader, option->name, "set together with %s: set one of them", file_name);
        return NULL;
    }
    if (has_path) {
        if (!read_file(loader, file_name, path, file_value)) {
            return NULL;
        }
        loader->path = path;
        return file_value;
    }
    if (has_value) {
        return value;
    }
    if (option->required) {
        report(loader, option->name, "missing: %s", option->help);
        return NULL;
    }
    return option->default_value != NULL ? option->default_value : "";
}

static bool parse_boolean(const char *value, bool *ret_boolean)
{
    static const char *const names[][2] = {{"false", "true"}, {"0", "1"}, {"no", "yes"}};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        for (int truth = 0; truth < 2; truth++) {
            if (text_equal_ignore_case(value, names[i][truth])) {
                *ret_boolean = truth == 1;
                return true;
            }
        }
    }
    return false;
}

static bool store_text(struct loader *loader, const struct config_option *option, const char *value, char *ret_text)
{
    int64_t length = (int64_t)strlen(value);
    if (length > longest(option)) {
        report(loader, option->name, "must have at most %" PRId64 " bytes, not %" PRId64, longest(option), length);
        return false;
    }
    if (length < option->min) {
        report(loader, option->name, "must have at least %" PRId64 " bytes, not %" PRId64, option->min, length);
        return false;
    }
    memcpy(ret_text, value, (size_t)length + 1);
    return true;
}

/* Parses a value that is not empty into its place. */
static bool store_value(struct loader *loader, const struct config_option *option, const char *value, void *ret_place)
{
    char shown[PRINTED_SIZE];
    char range[RANGE_SIZE];
    int64_t number;
    bool boolean;
    switch (option->type) {
    case CONFIG_TEXT:
    case CONFIG_SECRET:
        return store_text(loader, option, value, ret_place);
    case CONFIG_INTEGER:
        if (!text_to_int64(value, option->min, option->max, &number)) {
            report(loader, option->name, "must be an integer from %s, not \"%s\"", describe_range(option, range),
                   printable(value, shown));
            return false;
        }
        memcpy(ret_place, &number, sizeof number);
        return true;
    case CONFIG_BOOLEAN:
        if (!parse_boolean(value, &boolean)) {
            report(loader, option->name, "must be true or false, not \"%s\"", printable(value, shown));
            return false;
        }
        memcpy(ret_place, &boolean, sizeof boolean);
        return true;
    }
    return false;
}

/* The value of an optional variable that is not there. */
static void store_nothing(const struct config_option *option, void *ret_place)
{
    switch (option->type) {
    case CONFIG_TEXT:
    case CONFIG_SECRET:
        memset(ret_place, 0, CONFIG_TEXT_MAX);
        break;
    case CONFIG_INTEGER:
        memset(ret_place, 0, sizeof(int64_t));
        break;
    case CONFIG_BOOLEAN:
        memset(ret_place, 0, sizeof(bool));
        break;
    }
}

static void load_option(struct loader *loader, const struct config_option *option, void *ret_place)
{
    char file_value[CONFIG_TEXT_MAX];
    char shown[PRINTED_SIZE];
    const char *value = find_value(loader, option, file_value);
    if (value != NULL && value[0] == '\0') {
        store_nothing(option, ret_place);
    } else if (value != NULL && store_value(loader, option, value, ret_place) && option->check != NULL) {
        const char *wrong = option->check(value);
        if (wrong != NULL && option->type == CONFIG_SECRET) {
            report(loader, option->name, "%s", wrong);
        } else if (wrong != NULL) {
            report(loader, option->name, "%s, not \"%s\"", wrong, printable(value, shown));
        }
    }
    loader->path = NULL;
    if (value == file_value) {
        memory_wipe(file_value, sizeof file_value);
    }
}

size_t config_load(const struct config_option *options, void *ret_settings, FILE *problems)
{
    struct loader loader = {.problems = problems};
    for (const struct config_option *option = options; option->name != NULL; option++) {
        load_option(&loader, option, (char *)ret_settings + option->offset);
    }
    if (loader.count > CONFIG_PROBLEMS_MAX) {
        fprintf(problems, "and %zu more problems\n", loader.count - CONFIG_PROBLEMS_MAX);
    }
    return loader.count;
}

static const char *describe_type(const struct config_option *option, char ret_text[static RANGE_SIZE])
{
    static const char *const words[] = {
        [CONFIG_TEXT] = "text, ",
        [CONFIG_INTEGER] = "integer, ",
        [CONFIG_BOOLEAN] = "",
        [CONFIG_SECRET] = "secret, ",
    };
    char range[RANGE_SIZE];
    bool is_any_text = is_textual(option) && option->min <= 0 && option->max <= 0;
    if (is_any_text) {
        snprintf(ret_text, RANGE_SIZE, "%s", option->type == CONFIG_SECRET ? "secret" : "text");
    } else {
        int length = snprintf(ret_text, RANGE_SIZE, "%s", words[option->type]);
        text_copy_cut(ret_text + length, RANGE_SIZE - (size_t)length, describe_range(option, range));
    }
    return ret_text;
}

static const char *describe_default(const struct config_option *option)
{
    if (option->required) {
        return "required";
    }
    return option->default_value != NULL && option->default_value[0] != '\0' ? option->default_value : "-";
}

static int wider(int width, const char *text)
{
    int length = (int)strlen(text);
    return length > width ? length : width;
}

void config_print_help(const struct config_option *options, FILE *file)
{
    static const char *const titles[] = {"NAME", "VALUE", "DEFAULT", "MEANING"};
    char type[RANGE_SIZE];
    int name_width = (int)strlen(titles[0]);
    int type_width = (int)strlen(titles[1]);
    int default_width = (int)strlen(titles[2]);
    for (const struct config_option *option = options; option->name != NULL; option++) {
        name_width = wider(name_width, option->name);
        type_width = wider(type_width, describe_type(option, type));
        default_width = wider(default_width, describe_default(option));
    }
    fprintf(file, "%-*s  %-*s  %-*s  %s\n", name_width, titles[0], type_width, titles[1], default_width, titles[2],
            titles[3]);
    for (const struct config_option *option = options; option->name != NULL; option++) {
        fprintf(file, "%-*s  %-*s  %-*s  %s\n", name_width, option->name, type_width, describe_type(option, type),
                default_width, describe_default(option), option->help);
    }
    fprintf(file, "\nA text or secret can come from a file: <NAME>_FILE is its path, in place of <NAME>.\n");
}

void config_print_names(const struct config_option *options, FILE *file)
{
    for (const struct config_option *option = options; option->name != NULL; option++) {
        fprintf(file, "%s\n", option->name);
    }
}
