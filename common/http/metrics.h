/* SPDX-License-Identifier: Apache-2.0
 * What the HTTP server counts itself: connections, waiting, and what it turns away. (Answers by route are
 * counted by whoever observes them: http_config.observer.) */
#ifndef TURNSTILE_HTTP_METRICS_H
#define TURNSTILE_HTTP_METRICS_H

#include <stdint.h>

void http_metrics_connected(void);
void http_metrics_disconnected(void);
/* A worker has taken the request out of the queue. */
void http_metrics_waited(int64_t microseconds);

enum http_rejection { HTTP_REJECTED_QUEUE_FULL, HTTP_REJECTED_QUEUE_WAIT, HTTP_REJECTED_STOPPING };
void http_metrics_rejected(enum http_rejection why);

/* So that what has not happened yet is 0, and not absent. */
void http_metrics_init(void);

#endif
