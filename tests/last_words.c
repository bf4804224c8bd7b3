/* SPDX-License-Identifier: Apache-2.0
 * Linked into every test program, so that it does not end without saying why. (Unless a stack runs over that is not the
 * first thread's, and no sanitizer is there: then a signal ends it.)
 *
 * cmocka looks after the thread that runs the test. On any other, an assertion that fails and a signal like SIGSEGV end
 * the process with status 255, and what cmocka would have said of it is lost. So signals are kept from cmocka: they end
 * the process, after a backtrace; in a program with a sanitizer, after its report. And where the process ends on a
 * thread that is not the test's, cmocka is made to say what it has. All of it goes where stderr went at the start,
 * since tests turn that aside. */
#include <execinfo.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/compiler.h"

enum {
    FRAMES_MAX = 64,
    LINE_MAX_BYTES = 256,
    NAME_SIZE = 16, /* of a thread, as the kernel keeps it */
    FIRST_DESCRIPTOR = 3,
    SIGNAL_STACK_BYTES = 256 * 1024,
};

static const int deadly[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGABRT};

static int report_descriptor = STDERR_FILENO;

/* Of the sanitizers' libraries, if they are there: 2 keeps others from handling these signals. */
#define SANITIZER_OPTIONS "handle_segv=2:handle_sigbus=2:handle_sigfpe=2:handle_sigill=2:handle_abort=2"
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__ubsan_default_options(void);
extern void __sanitizer_set_report_fd(void *descriptor) __attribute__((weak));

const char *__asan_default_options(void)
{
    return SANITIZER_OPTIONS;
}

const char *__tsan_default_options(void)
{
    return SANITIZER_OPTIONS;
}

const char *__ubsan_default_options(void)
{
    return SANITIZER_OPTIONS;
}

/* Nothing here may allocate: the heap may be what is broken. */
static void say_thread(const char *what)
{
    char name[NAME_SIZE] = "", line[LINE_MAX_BYTES];
    prctl(PR_GET_NAME, name);
    int length = snprintf(line, sizeof(line), "\n%s on the thread \"%s\", %s the test's\n", what, name,
                          gettid() == getpid() ? "which is" : "which is not");
    ssize_t written UNUSED = write(report_descriptor, line, (size_t)length);
}

static void on_deadly_signal(int number)
{
    void *frames[FRAMES_MAX];
    say_thread(sigdescr_np(number));
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), report_descriptor);
    raise(number); /* now with its default action, once this returns */
}

/* At the end of the process: by an assertion, if that is not where main ends. */
static void on_exit_elsewhere(void)
{
    if (gettid() == getpid()) {
        return;
    }
    dup2(report_descriptor, STDERR_FILENO);
    say_thread("The process was to end");
    /* Makes cmocka print what it has recorded on this thread, with this line at the end, and abort. */
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    fail();
}

/* In place of the C library's, for all of the program: cmocka calls it in each test, and gets none of those. */
sighandler_t signal(int number, sighandler_t handler)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, before;
    for (size_t i = 0; i < ARRAY_LENGTH(deadly); i++) {
        if (number == deadly[i]) {
            return SIG_DFL;
        }
    }
    sigemptyset(&action.sa_mask);
    return sigaction(number, &action, &before) == 0 ? before.sa_handler : SIG_ERR;
}

/* Of the thread that calls, for when its own has run over. Sanitizers have given it one already, and free that
 * themselves. */
static void prepare_signal_stack(void)
{
    static _Alignas(max_align_t) char memory[SIGNAL_STACK_BYTES];
    stack_t there, own = {.ss_sp = memory, .ss_size = sizeof(memory)};
    if (sigaltstack(NULL, &there) == 0 && (there.ss_flags & SS_DISABLE)) {
        sigaltstack(&own, NULL);
    }
}

__attribute__((constructor)) static void prepare(void)
{
    void *frame;
    int descriptor = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR);
    report_descriptor = descriptor >= 0 ? descriptor : STDERR_FILENO;
    if (__sanitizer_set_report_fd) {
        __sanitizer_set_report_fd((void *)(intptr_t)report_descriptor);
    }
    backtrace(&frame, 1); /* loads what it needs, which is too late in a handler */
    struct sigaction action = {.sa_handler = on_deadly_signal, .sa_flags = (int)SA_RESETHAND | SA_ONSTACK};
    prepare_signal_stack();
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_LENGTH(deadly); i++) {
        sigaction(deadly[i], &action, NULL);
    }
    atexit(on_exit_elsewhere);
}
