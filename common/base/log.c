/* SPDX-License-Identifier: Apache-2.0
 * Formatting of log entries and writing each with one system call. */
#include "common/base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/text.h"

/* How long whoever logs waits for a reader who does not keep up. */
enum {
    WRITABLE_WAIT_MS = 1000,
};

/* Entries are written one at a time, so that between looking for room and writing no other takes the room. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static bool is_stuck;      /* with the turn: the last entry found no room */
static unsigned long lost; /* with the turn: entries that found no room since one was written */

/* The whole process logs alike: set once by log_init before there are other threads, and only read after. */
static struct {
    const char *service;
    enum log_level level;
    enum log_format format;
} settings = {.service = "-", .level = LOG_LEVEL_INFO, .format = LOG_FORMAT_HUMAN};

static _Thread_local char context_id[LOG_CONTEXT_MAX + 1];
static _Thread_local char context_trace[LOG_CONTEXT_MAX + 1];

static const struct {
    const char *text;   /* in configuration and JSON */
    const char *column; /* in the human format */
} level_names[] = {
    [LOG_LEVEL_DEBUG] = {"debug", "DEBUG"},
    [LOG_LEVEL_INFO] = {"info", "INFO "},
    [LOG_LEVEL_WARNING] = {"warning", "WARN "},
    [LOG_LEVEL_ERROR] = {"error", "ERROR"},
};

static const char cut_mark[] = "…";

/* What ends an entry always has room: the mark of a cut, and `"}` and a newline. */
enum {
    TAIL_MAX = sizeof cut_mark - 1 + sizeof "\"}\n" - 1,
};

struct entry {
    size_t length;
    bool is_cut;
    char text[LOG_ENTRY_MAX];
};

void log_init(const char *service, enum log_level level, enum log_format format)
{
    settings.service = service;
    settings.level = level;
    settings.format = format;
}

bool log_enabled(enum log_level level)
{
    return level >= settings.level;
}

static void append_piece(struct entry *entry, const char *piece, size_t length)
{
    /* Nothing follows a cut: a shorter piece that still fits would look like the continuation. */
    if (entry->is_cut || length > sizeof entry->text - TAIL_MAX - entry->length) {
        entry->is_cut = true;
        return;
    }
    memcpy(entry->text + entry->length, piece, length);
    entry->length += length;
}

static void append_plain(struct entry *entry, const char *text)
{
    append_piece(entry, text, strlen(text));
}

static void append_tail(struct entry *entry, const char *text)
{
    size_t length = strlen(text);
    memcpy(entry->text + entry->length, text, length);
    entry->length += length;
}

/* The first character of `text` as it stands between quotes in JSON. */
static size_t escape_next_json(const char *text, size_t length, char ret_piece[static TEXT_ESCAPED_MAX + 1])
{
    uint32_t code_point = 0;
    size_t count = text_escape_next(text, length, ret_piece);
    if (text[0] == '"' || text[0] == '\\') {
        memcpy(ret_piece, (char[]){'\\', text[0], '\0'}, 3);
    } else if (ret_piece[0] == '\\') { /* it did need an escape */
        bool is_utf8 = text_decode_utf8(text, length, &code_point) > 0;
        /* What needs one lies in the Basic Multilingual Plane: four digits are enough. */
        snprintf(ret_piece, TEXT_ESCAPED_MAX, "\\u%04x", is_utf8 ? (unsigned)(code_point & 0xffff) : 0xfffdU);
    }
    return count;
}

/* Appends text that may hold anything. */
static void append_escaped(struct entry *entry, const char *text, bool is_json)
{
    size_t length = strlen(text);
    size_t i = 0;
    while (i < length && !entry->is_cut) {
        char piece[TEXT_ESCAPED_MAX + 1];
        i += is_json ? escape_next_json(text + i, length - i, piece) : text_escape_next(text + i, length - i, piece);
        append_plain(entry, piece);
    }
}

static void format_human(struct entry *entry, enum log_level level, const char *time, const char *message)
{
    append_plain(entry, time);
    append_plain(entry, " ");
    append_plain(entry, level_names[level].column);
    append_plain(entry, " ");
    append_escaped(entry, settings.service, false);
    if (context_id[0] != '\0') {
        append_plain(entry, " [");
        append_escaped(entry, context_id, false);
        append_plain(entry, "]");
    }
    append_plain(entry, " ");
    append_escaped(entry, message, false);
    append_tail(entry, entry->is_cut ? cut_mark : "");
    append_tail(entry, "\n");
}

static void append_member(struct entry *entry, const char *name, const char *value)
{
    append_plain(entry, "\",\"");
    append_plain(entry, name);
    append_plain(entry, "\":\"");
    append_escaped(entry, value, true);
}

static void format_json(struct entry *entry, enum log_level level, const char *time, const char *message)
{
    append_plain(entry, "{\"time\":\"");
    append_plain(entry, time);
    append_member(entry, "level", level_names[level].text);
    append_member(entry, "service", settings.service);
    if (context_id[0] != '\0') {
        append_member(entry, "id", context_id);
    }
    if (context_trace[0] != '\0') {
        append_member(entry, "trace", context_trace);
    }
    append_member(entry, "message", message);
    append_tail(entry, entry->is_cut ? cut_mark : "");
    append_tail(entry, "\"}\n");
}

/* There is nowhere to report a failure of the log to, so what cannot be written is lost. */
static void write_entry(const struct entry *entry)
{
    size_t written = 0;
    while (written < entry->length) {
        ssize_t count = write(STDERR_FILENO, entry->text + written, entry->length - written);
        if (count == 0 || (count < 0 && errno != EINTR)) {
            return;
        }
        written += count > 0 ? (size_t)count : 0;
    }
}

static void format_entry(struct entry *entry, enum log_level level, const char *message)
{
    char time[CLOCK_TEXT_SIZE];
    clock_to_text(clock_now(NULL), time);
    entry->length = 0;
    entry->is_cut = false;
    if (settings.format == LOG_FORMAT_JSON) {
        format_json(entry, level, time, message);
    } else {
        format_human(entry, level, time, message);
    }
}

/* A pipe that is writable takes a whole entry, which is no longer than PIPE_BUF. Anything but a plain no (a closed
 * descriptor, say) is left for write(2) to find. */
static bool is_writable(int timeout_ms)
{
    struct pollfd standard_error = {.fd = STDERR_FILENO, .events = POLLOUT};
    int count = 0;
    do {
        count = poll(&standard_error, 1, timeout_ms);
    } while (count < 0 && errno == EINTR);
    return count != 0;
}

static void write_loss(void)
{
    char message[64];
    char id[sizeof context_id];
    char trace[sizeof context_trace];
    struct entry entry;
    snprintf(message, sizeof message, "%lu log entries are lost: nobody read them", lost);
    memcpy(id, context_id, sizeof id);
    memcpy(trace, context_trace, sizeof trace);
    log_set_context(NULL, NULL); /* what is lost is not this thread's alone */
    format_entry(&entry, LOG_LEVEL_WARNING, message);
    log_set_context(id, trace);
    write_entry(&entry);
    lost = 0;
}

/* A reader who has stopped reading (a collector that hangs, say) must not stop the service, nor keep it from ending:
 * the first entry that finds no room waits for a moment, those after it are dropped and counted until there is room. */
static void write_or_lose(const struct entry *entry)
{
    int cancel_state = 0;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state); /* whoever has the turn has to give it back */
    pthread_mutex_lock(&turn);
    is_stuck = !is_writable(is_stuck ? 0 : WRITABLE_WAIT_MS);
    if (!is_stuck && lost > 0) {
        write_loss();
        is_stuck = !is_writable(0);
    }
    if (is_stuck) {
        lost++;
    } else {
        write_entry(entry);
    }
    pthread_mutex_unlock(&turn);
    pthread_setcancelstate(cancel_state, &cancel_state);
}

void log_write(enum log_level level, const char *format, ...)
{
    if (!log_enabled(level)) {
        return;
    }
    int saved_errno = errno;
    char message[LOG_ENTRY_MAX]; /* what is cut here would not fit the entry either */
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length < 0) {
        text_copy_cut(message, sizeof message, format);
    }
    struct entry entry;
    format_entry(&entry, level, message);
    write_or_lose(&entry);
    errno = saved_errno;
}

void log_set_context(const char *id, const char *trace)
{
    text_copy_cut(context_id, sizeof context_id, id != NULL ? id : "");
    text_copy_cut(context_trace, sizeof context_trace, trace != NULL ? trace : "");
}

const char *log_context_id(void)
{
    return context_id;
}

const char *log_context_trace(void)
{
    return context_trace;
}

bool log_level_from_text(const char *text, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_LENGTH(level_names); i++) {
        if (text_equal_ignore_case(text, level_names[i].text)) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_format_from_text(const char *text, enum log_format *ret_format)
{
    if (text_equal_ignore_case(text, "human")) {
        *ret_format = LOG_FORMAT_HUMAN;
        return true;
    }
    if (text_equal_ignore_case(text, "json")) {
        *ret_format = LOG_FORMAT_JSON;
        return true;
    }
    return false;
}
