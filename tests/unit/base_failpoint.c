/* SPDX-License-Identifier: Apache-2.0
 * Tests of failpoints; what stops or kills a process does so to a child. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/failpoint.h"

#ifdef TURNSTILE_FAILPOINTS

enum {
    EXIT_REACHED = 7,
    EXIT_UNEXPECTED = 9,
    OUTPUT_SIZE = 4096,
};

static void configure(const char *specification)
{
    struct error error = ERROR_INIT;
    if (!failpoint_configure(specification, &error)) {
        fail_msg("\"%s\": %s", specification, error.message);
    }
}

static int switch_off(void **state UNUSED)
{
    return failpoint_configure("", NULL) ? 0 : -1;
}

static void does_nothing_where_nothing_is_configured(void **state UNUSED)
{
    configure(NULL);
    assert_false(failpoint("a"));
    configure("");
    assert_false(failpoint("a"));
    configure("ab=fail");
    assert_false(failpoint("a"));
    assert_false(failpoint("abc"));
    assert_true(failpoint("ab"));
}

static void fails_as_often_as_asked(void **state UNUSED)
{
    configure("ever=fail,twice=fail:2");
    for (int i = 0; i < 10; i++) {
        assert_true(failpoint("ever"));
        assert_int_equal(failpoint("twice"), i < 2);
    }
    configure("twice=fail:1");
    assert_false(failpoint("ever"));
    assert_true(failpoint("twice"));
    assert_false(failpoint("twice"));
}

static void sleeps_as_long_and_as_often_as_asked(void **state UNUSED)
{
    configure("nap=sleep:30:2");
    int64_t start = clock_monotonic(NULL);
    assert_false(failpoint("nap"));
    assert_false(failpoint("nap"));
    assert_true(clock_monotonic(NULL) - start >= 60);
    configure("nap=sleep:3600000:1,other=sleep:0");
    assert_false(failpoint("other"));
}

static void names_the_part_that_is_wrong(void **state UNUSED)
{
    static const struct {
        const char *specification;
        const char *named;
    } cases[] = {
        {"a", "\"a\""},
        {"a=", "\"a=\""},
        {"=stop", "\"=stop\""},
        {"a=explode", "\"a=explode\""},
        {"a=Stop", "\"a=Stop\""},
        {"a=stop,b=oops", "\"b=oops\""},
        {"a=stop:0", "\"a=stop:0\""},
        {"a=fail:x", "\"a=fail:x\""},
        {"a=fail:-1", "\"a=fail:-1\""},
        {"a=fail:", "\"a=fail:\""},
        {"a=fail:1:2", "\"a=fail:1:2\""},
        {"a=fail:1000001", "\"a=fail:1000001\""},
        {"a=sleep", "\"a=sleep\""},
        {"a=sleep:x", "\"a=sleep:x\""},
        {"a=sleep:3600001", "\"a=sleep:3600001\""},
        {"a=sleep:1:0", "\"a=sleep:1:0\""},
        {"a=sleep:1:", "\"a=sleep:1:\""},
        {",", "\"\""},
        {"a=stop,,b=stop", "\"\""},
        {"a=stop,", "last comma"},
        {"a=stop,a=fail", "failpoint a is there twice"},
        {"a-name-that-is-longer-than-anyone-would-ever-want-to-type-or-read-again=fail", "\"a-name-that"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct error error = ERROR_INIT;
        if (failpoint_configure(cases[i].specification, &error)) {
            fail_msg("\"%s\" is accepted", cases[i].specification);
        }
        assert_int_equal(error.code, ERROR_INVALID);
        if (strstr(error.message, cases[i].named) == NULL) {
            fail_msg("\"%s\": %s", cases[i].specification, error.message);
        }
    }
}

static void bounds_what_it_takes(void **state UNUSED)
{
    char specification[2048] = "";
    struct error error = ERROR_INIT;
    size_t length = 0;
    for (int i = 0; i < 33; i++) {
        char part[] = "aa=fail,";
        part[0] = (char)('a' + i % 26);
        part[1] = (char)('a' + i / 26);
        memcpy(specification + length, part, sizeof part);
        length += sizeof part - 1;
    }
    specification[length - 1] = '\0';
    assert_false(failpoint_configure(specification, &error));
    assert_string_equal(error.message, "more than 32 failpoints");
    memset(specification, 'x', 200);
    specification[200] = '\0';
    assert_false(failpoint_configure(specification, &error));
    assert_string_equal(error.message, "a failpoint may have at most 127 bytes");
}

/* Starts a child that passes the failpoint "here" twice and then ends. Its standard error goes to `ret_log`. */
static pid_t start_child(const char *specification, int *ret_log)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct error error = ERROR_INIT;
        bool is_ready = dup2(ends[1], STDERR_FILENO) >= 0 && failpoint_configure(specification, &error);
        close(ends[0]);
        close(ends[1]);
        bool has_failed = failpoint("here");
        has_failed = failpoint("here") || has_failed;
        _exit(is_ready && !has_failed ? EXIT_REACHED : EXIT_UNEXPECTED);
    }
    close(ends[1]);
    *ret_log = ends[0];
    return child;
}

/* Reads the log until the child is gone, and counts the times that `text` stands in it. */
static size_t count_in_log(int log, const char *text)
{
    char output[OUTPUT_SIZE] = "";
    size_t length = 0;
    ssize_t count;
    while ((count = read(log, output + length, sizeof output - 1 - length)) > 0) {
        length += (size_t)count;
    }
    close(log);
    size_t found = 0;
    for (const char *c = strstr(output, text); c != NULL; c = strstr(c + 1, text)) {
        found++;
    }
    return found;
}

static void stops_once_and_goes_on_when_continued(void **state UNUSED)
{
    int log;
    int status = 0;
    pid_t child = start_child("here=stop", &log);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(WSTOPSIG(status), SIGSTOP);
    assert_int_equal(kill(child, SIGCONT), 0);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_REACHED);
    assert_int_equal(count_in_log(log, "failpoint here: stop\n"), 1);
}

static void stops_as_often_as_asked(void **state UNUSED)
{
    int log;
    int status = 0;
    pid_t child = start_child("here=stop:2", &log);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(waitpid(child, &status, WUNTRACED), child);
        assert_true(WIFSTOPPED(status));
        assert_int_equal(kill(child, SIGCONT), 0);
    }
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_REACHED);
    assert_int_equal(count_in_log(log, "failpoint here: stop\n"), 2);
}

static void kills_the_process_after_saying_so(void **state UNUSED)
{
    int log;
    int status = 0;
    pid_t child = start_child("here=kill", &log);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_int_equal(count_in_log(log, "failpoint here: kill\n"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(does_nothing_where_nothing_is_configured, switch_off),
        cmocka_unit_test_teardown(fails_as_often_as_asked, switch_off),
        cmocka_unit_test_teardown(sleeps_as_long_and_as_often_as_asked, switch_off),
        cmocka_unit_test_teardown(names_the_part_that_is_wrong, switch_off),
        cmocka_unit_test_teardown(bounds_what_it_takes, switch_off),
        cmocka_unit_test_teardown(stops_once_and_goes_on_when_continued, switch_off),
        cmocka_unit_test_teardown(stops_as_often_as_asked, switch_off),
        cmocka_unit_test_teardown(kills_the_process_after_saying_so, switch_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void a_release_has_no_failpoints(void **state UNUSED)
{
    assert_false(failpoint("a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_release_has_no_failpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
