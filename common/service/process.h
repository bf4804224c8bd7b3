/* SPDX-License-Identifier: Apache-2.0
 * What the operating system says about this process, by the names that every exporter gives it. */
#ifndef TURNSTILE_SERVICE_PROCESS_H
#define TURNSTILE_SERVICE_PROCESS_H

/* A metrics_collect: memory, processor time, files, threads. */
void process_collect(void *unused);

#endif
