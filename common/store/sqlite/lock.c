/* SPDX-License-Identifier: Apache-2.0
 * A file lock that processes get in turns.
 *
 * SQLite's own lock is polled with growing pauses, so that a busy process starves the others; and the kernel's lock
 * alone goes to whoever asks first, mostly to the process that has just released it. Hence two locks on two bytes of
 * the file, like the two doors of a lock gate: one waits for the room while holding the entrance, and leaves the
 * entrance once inside. Who comes out has to queue at the entrance behind the one who waits there. The locks belong to
 * the open file, are known to the kernel only, and die with the process. */
#include "common/store/sqlite/lock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/store/sqlite/connection.h"

enum lock_byte { LOCK_ROOM, LOCK_ENTRANCE };

enum {
    LOCK_FILE_MODE = 0600,
    LOCK_POLL_MS = 5,
    LOCK_MESSAGE_MAX = 128,
};

int lock_open(const char *path, struct error *error)
{
    CLEANUP(free_pointer) char *name = xasprintf("%s.lock", path);
    int file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, LOCK_FILE_MODE);
    if (file < 0) {
        char buffer[LOCK_MESSAGE_MAX];
        error_set(error, ERROR_UNAVAILABLE, "%s: %s", name, strerror_r(errno, buffer, sizeof(buffer)));
    }
    return file;
}

void lock_close(int *file)
{
    if (*file >= 0) {
        close(*file);
    }
    *file = -1;
}

static struct flock describe(short type, enum lock_byte byte)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
}

static void wait_for(int file, enum lock_byte byte)
{
    struct flock lock = describe(F_WRLCK, byte);
    int status;
    do {
        status = fcntl(file, F_OFD_SETLKW, &lock);
    } while (status < 0 && errno == EINTR);
    assert(status == 0);
}

static void release(int file, enum lock_byte byte)
{
    struct flock lock = describe(F_UNLCK, byte);
    int status = fcntl(file, F_OFD_SETLK, &lock);
    assert(status == 0);
    (void)status;
}

static bool wait_within(int file, enum lock_byte byte, int64_t deadline, struct error *error)
{
    struct flock lock = describe(F_WRLCK, byte);
    while (fcntl(file, F_OFD_SETLK, &lock) < 0) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
            char reason[LOCK_MESSAGE_MAX];
            return error_set(error, ERROR_UNAVAILABLE, "locking: %s", strerror_r(errno, reason, sizeof(reason)));
        }
        if (clock_monotonic(NULL) >= deadline) {
            return error_set(error, ERROR_UNAVAILABLE, "another process keeps it locked");
        }
        struct timespec pause = {.tv_nsec = LOCK_POLL_MS * 1000 * 1000};
        nanosleep(&pause, NULL);
    }
    return true;
}

void lock_take(int file)
{
    wait_for(file, LOCK_ENTRANCE);
    wait_for(file, LOCK_ROOM);
    release(file, LOCK_ENTRANCE);
}

bool lock_take_within(int file, int64_t milliseconds, struct error *error)
{
    int64_t deadline = clock_monotonic(NULL) + milliseconds;
    if (!wait_within(file, LOCK_ENTRANCE, deadline, error)) {
        return false;
    }
    bool taken = wait_within(file, LOCK_ROOM, deadline, error);
    release(file, LOCK_ENTRANCE);
    return taken;
}

void lock_release(int file)
{
    release(file, LOCK_ROOM);
}
