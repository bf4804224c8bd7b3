/* SPDX-License-Identifier: Apache-2.0
 * A test program says why it ends, also when that happens on a thread which is not the test's. */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buffer.h"
#include "common/base/compiler.h"
#include "common/base/memory.h"

enum {
    SAID_MAX = 1024 * 1024,
    STACK_MAX = 8 * 1024 * 1024,
    STACK_PIECE = 16 * 1024, /* of each call, so that these stay few */
};

/* ---- what goes wrong, in a process of its own ---- */

static void assert_what_is_not_so(void)
{
    assert_string_equal("what is", "what should be");
}

static void write_to_nowhere(void)
{
    int *volatile nowhere = (int *)(uintptr_t)sizeof(int);
    *nowhere = 1;
}

static volatile size_t deepest = SIZE_MAX; /* unknown to the compiler, which else would find that this never ends */

static size_t use_up_the_stack(size_t depth)
{
    volatile char piece[STACK_PIECE];
    piece[depth % STACK_PIECE] = 1;
    size_t below = depth < deepest ? use_up_the_stack(depth + 1) : 0;
    return below + (size_t)piece[depth % STACK_PIECE];
}

static void run_over_the_stack(void)
{
    use_up_the_stack(0);
}

static const struct mishap {
    const char *name;
    void (*happen)(void);
} mishaps[] = {
    {"assertion", assert_what_is_not_so},
    {"crash", write_to_nowhere},
    {"abort", abort},
    {"overflow", run_over_the_stack},
};

static const struct mishap *chosen;
static bool is_on_thread, is_stderr_elsewhere;

static void *run(void *argument UNUSED)
{
    pthread_setname_np(pthread_self(), "elsewhere");
    chosen->happen();
    return NULL;
}

static void something_happens(void **state UNUSED)
{
    if (is_stderr_elsewhere) {
        assert_int_equal(dup2(STDIN_FILENO, STDERR_FILENO), STDERR_FILENO);
    }
    if (is_on_thread) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    } else {
        chosen->happen();
    }
}

static int happen(const char *name, const char *where)
{
    const struct rlimit no_core = {0, 0}, small_stack = {STACK_MAX, STACK_MAX};
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_STACK, &small_stack);
    const struct CMUnitTest tests[] = {cmocka_unit_test(something_happens)};
    for (size_t i = 0; i < ARRAY_LENGTH(mishaps); i++) {
        chosen = strcmp(mishaps[i].name, name) == 0 ? &mishaps[i] : chosen;
    }
    is_on_thread = where[0] != 't';
    is_stderr_elsewhere = where[0] == 's';
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* ---- what is said of it ---- */

/* What the process says to stdout and stderr; caller frees with xfree. */
static char *hear(const char *name, const char *where, int *ret_status)
{
    char program[PATH_MAX] = "", *first = xstrdup(name), *second = xstrdup(where);
    char *arguments[] = {program, first, second, NULL};
    assert_true(readlink("/proc/self/exe", program, sizeof(program) - 1) > 0);
    int descriptors[2];
    posix_spawn_file_actions_t actions;
    pid_t process;
    struct buffer said = BUFFER_INIT(SAID_MAX);
    assert_int_equal(pipe(descriptors), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, descriptors[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, descriptors[1], STDERR_FILENO);
    posix_spawn_file_actions_addclose(&actions, descriptors[0]);
    posix_spawn_file_actions_addclose(&actions, descriptors[1]);
    assert_int_equal(posix_spawn(&process, program, &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(descriptors[1]);
    char piece[4096];
    for (ssize_t length; (length = read(descriptors[0], piece, sizeof(piece))) > 0;) {
        buffer_append(&said, piece, (size_t)length);
    }
    close(descriptors[0]);
    assert_int_equal(waitpid(process, ret_status, 0), process);
    char *text = xstrdup(buffer_text(&said));
    buffer_done(&said);
    xfree(first);
    xfree(second);
    return text;
}

/* It is said in these words, and the process has ended by a signal, or in the sanitizer's way. */
static void expect(const char *name, const char *where, const char *const words[])
{
    int status;
    char *said = hear(name, where, &status);
    bool is_ended = WIFSIGNALED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 255);
    if (!is_ended) {
        fail_msg("%s, %s: status %x, and said: %s", name, where, (unsigned)status, said);
    }
    for (size_t i = 0; words[i]; i++) {
        if (!strstr(said, words[i])) {
            fail_msg("%s, %s: not said: %s, but: %s", name, where, words[i], said);
        }
    }
    xfree(said);
}

static void an_assertion_on_another_thread_is_told_with_its_place(void **state UNUSED)
{
    static const char *const words[] = {"on the thread \"elsewhere\", which is not the test's", "\"what is\"",
                                        "\"what should be\"", "tests/unit/last_words.c:", NULL};
    expect("assertion", "on a thread", words);
    expect("assertion", "stderr elsewhere", words);
}

static void a_crash_is_told_with_a_backtrace_on_whatever_thread(void **state UNUSED)
{
    static const char *const words[] = {"last_words", "0x", NULL};
    static const char *const wheres[] = {"on a thread", "the test's thread", "stderr elsewhere"};
    for (size_t i = 0; i < ARRAY_LENGTH(wheres); i++) {
        expect("crash", wheres[i], words);
        expect("abort", wheres[i], words);
    }
}

static void a_stack_that_runs_over_is_told_with_a_backtrace(void **state UNUSED)
{
    static const char *const words[] = {"last_words", "0x", NULL};
    expect("overflow", "the test's thread", words);
}

static void an_assertion_on_the_thread_of_the_test_fails_that_test_only(void **state UNUSED)
{
    int status;
    char *said = hear("assertion", "the test's thread", &status);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1); /* the count of tests that have failed */
    assert_non_null(strstr(said, "\"what should be\""));
    xfree(said);
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_assertion_on_another_thread_is_told_with_its_place),
        cmocka_unit_test(a_crash_is_told_with_a_backtrace_on_whatever_thread),
        cmocka_unit_test(a_stack_that_runs_over_is_told_with_a_backtrace),
        cmocka_unit_test(an_assertion_on_the_thread_of_the_test_fails_that_test_only),
    };
    return count == 3 ? happen(arguments[1], arguments[2]) : cmocka_run_group_tests(tests, NULL, NULL);
}
