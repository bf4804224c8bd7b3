/* SPDX-License-Identifier: Apache-2.0
 * Reads /proc/self. What cannot be read is left out. */
#include "common/service/process.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/metrics.h"

enum {
    STAT_MAX = 2048, /* bytes of a file of /proc, with the NUL */
};

static struct metric_family resident = {"process_resident_memory_bytes", "Resident memory size in bytes.", METRIC_GAUGE,
                                        .labels = {NULL}};
static struct metric_family virtual = {"process_virtual_memory_bytes", "Virtual memory size in bytes.", METRIC_GAUGE,
                                       .labels = {NULL}};
static struct metric_family cpu = {"process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
                                   METRIC_COUNTER, .labels = {NULL}};
static struct metric_family started = {"process_start_time_seconds",
                                       "Start time of the process since unix epoch in seconds.", METRIC_GAUGE,
                                       .labels = {NULL}};
static struct metric_family threads = {"process_threads", "Number of OS threads in the process.", METRIC_GAUGE,
                                       .labels = {NULL}};
static struct metric_family open_fds = {"process_open_fds", "Number of open file descriptors.", METRIC_GAUGE,
                                        .labels = {NULL}};
static struct metric_family max_fds = {"process_max_fds", "Maximum number of open file descriptors.", METRIC_GAUGE,
                                       .labels = {NULL}};

static bool read_text(const char *path, char ret_text[static STAT_MAX])
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t length = fread(ret_text, 1, STAT_MAX - 1, file);
    fclose(file);
    ret_text[length] = '\0';
    return length > 0;
}

/* When the machine was started, in seconds since 1970; NAN: unknown. */
static double boot_time(void)
{
    double seconds = NAN;
    char line[STAT_MAX];
    FILE *file = fopen("/proc/stat", "re");
    while (file != NULL && isnan(seconds) && fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "btime %lf", &seconds);
    }
    if (file != NULL) {
        fclose(file);
    }
    return seconds;
}

static void collect_stat(void)
{
    char text[STAT_MAX];
    unsigned long user = 0;
    unsigned long system = 0;
    long thread_count = 0;
    unsigned long long start = 0;
    unsigned long size = 0;
    long pages = 0;
    /* The second field is the program's name in parentheses, and may hold anything. */
    const char *rest = read_text("/proc/self/stat", text) ? strrchr(text, ')') : NULL;
    if (rest == NULL || sscanf(rest + 1,
                               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %ld %*d %llu %lu"
                               " %ld",
                               &user, &system, &thread_count, &start, &size, &pages) != 6) {
        return;
    }
    double ticks = (double)sysconf(_SC_CLK_TCK);
    metric_set(metric_only(&cpu), (double)(user + system) / ticks);
    metric_set(metric_only(&threads), (double)thread_count);
    metric_set(metric_only(&virtual), (double)size);
    metric_set(metric_only(&resident), (double)pages * (double)sysconf(_SC_PAGESIZE));
    metric_set(metric_only(&started), boot_time() + (double)start / ticks);
}

static void collect_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        metric_set(metric_only(&max_fds), limit.rlim_cur == RLIM_INFINITY ? INFINITY : (double)limit.rlim_cur);
    }
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL) {
        metric_set(metric_only(&open_fds), NAN);
        return;
    }
    size_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        count += entry->d_name[0] != '.' ? 1 : 0;
    }
    closedir(folder);
    metric_set(metric_only(&open_fds), (double)(count - 1)); /* one is of the folder that was read */
}

void process_collect(void *unused UNUSED)
{
    collect_stat();
    collect_files();
}
