/* SPDX-License-Identifier: Apache-2.0
 * Logging: one line an entry on stderr, JSON or human, with the thread's context. */
#ifndef TURNSTILE_BASE_LOG_H
#define TURNSTILE_BASE_LOG_H

#include "common/base/compiler.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_HUMAN, LOG_FORMAT_JSON };

enum {
    LOG_ENTRY_MAX = 4096, /* bytes of one entry; longer ones are cut, and end in "…" */
    LOG_CONTEXT_MAX = 64, /* bytes of an id or trace in the context, without the NUL; longer ones are cut */
};

/* Call once, before other threads start; `service` is borrowed for the life of the process.
 * Before it is called, everything from INFO up is logged in the human format. */
void log_init(const char *service, enum log_level level, enum log_format format);

/* Writes one entry with one write(2), so that lines of several processes do not mix. Control characters,
 * quotes and invalid UTF-8 in the message are escaped. Thread-safe. Keeps errno. Does not block for long: where
 * nobody reads what is written (a full pipe), it waits for a second at most; what does not fit then is dropped, and the
 * next entry that fits is preceded by one that says how many were.
 *   human  2026-01-31T12:00:00.000Z INFO  tickets [request-id] Message text
 *   json   {"time":"…","level":"info","service":"tickets","id":"…","trace":"…","message":"…"} */
void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

bool log_enabled(enum log_level level);

/* The request or event that this thread works on, printed with every entry until it is replaced.
 * Both texts are copied (LOG_CONTEXT_MAX bytes each); NULL or "" clears. */
void log_set_context(const char *id, const char *trace);
const char *log_context_id(void);    /* borrowed, this thread's; "" if none */
const char *log_context_trace(void); /* borrowed, this thread's; "" if none */

bool log_level_from_text(const char *text, enum log_level *ret_level) MUST_CHECK;
bool log_format_from_text(const char *text, enum log_format *ret_format) MUST_CHECK;

#endif
