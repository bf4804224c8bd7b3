/* SPDX-License-Identifier: Apache-2.0
 * Passwords: Argon2id, and no more of it at a time than there are cores. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/auth/auth.h"
#include "common/auth/metrics.h"
#include "common/base/failpoint.h"
#include "common/base/text.h"

enum {
    PASSES = 2,
    MEMORY_KIB = 19 * 1024,
    KIB = 1024,
};

_Static_assert(AUTH_PASSWORD_HASH_MAX == crypto_pwhash_STRBYTES, "libsodium writes this many bytes");

/* The cores are the process's, and so is what rations them. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool ready;
static sem_t free_cores;
/* Costs what a hash of ours costs; which password it belongs to does not matter, and nobody knows. */
static char nobody[AUTH_PASSWORD_HASH_MAX];

static void prepare(void)
{
    cpu_set_t cores;
    int count = sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
    snprintf(nobody, sizeof(nobody),
             "$argon2id$v=19$m=%d,t=%d,p=1$bm9ib2R5IGlzIG5vYm9keQ$yl1HeMvMkgnV2mkpsDaDrIlk9zj7j5UtRb5N8E1iNSg",
             MEMORY_KIB, PASSES);
    ready = sodium_init() >= 0 && sem_init(&free_cores, 0, (unsigned)count) == 0;
}

static bool enter(double *ret_started)
{
    pthread_once(&once, prepare);
    if (!ready) {
        return false;
    }
    *ret_started = metrics_clock();
    auth_metrics_hash_waits();
    while (sem_wait(&free_cores) != 0 && errno == EINTR) {
    }
    auth_metrics_hash_runs();
    return true;
}

static void leave(double started)
{
    sem_post(&free_cores);
    auth_metrics_hash_ends(started);
}

bool auth_password_hash(const char *password, char ret_hash[static AUTH_PASSWORD_HASH_MAX], struct error *error)
{
    char hash[AUTH_PASSWORD_HASH_MAX];
    double started = 0;
    if (!enter(&started)) {
        return error_set(error, ERROR_INTERNAL, "libsodium does not start");
    }
    bool hashed = crypto_pwhash_str_alg(hash, password, strlen(password), PASSES, (size_t)MEMORY_KIB * KIB,
                                        crypto_pwhash_ALG_ARGON2ID13) == 0;
    leave(started);
    if (!hashed) {
        return error_set(error, ERROR_UNAVAILABLE, "no memory to hash a password");
    }
    memcpy(ret_hash, hash, sizeof(hash));
    return true;
}

bool auth_password_verify(const char *hash, const char *password)
{
    char stored[AUTH_PASSWORD_HASH_MAX]; /* the library may read all of it */
    double started = 0;
    if (!enter(&started)) {
        return false;
    }
    text_copy_cut(stored, sizeof(stored), hash == NULL ? nobody : hash);
    failpoint("auth.password.verify");
    bool matches = crypto_pwhash_str_verify(stored, password, strlen(password)) == 0;
    leave(started);
    return matches && hash != NULL;
}
