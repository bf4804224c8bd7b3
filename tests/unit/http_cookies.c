/* SPDX-License-Identifier: Apache-2.0
 * Tests of finding a cookie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/http/cookies.h"

static void the_first_cookie_of_the_name_is_found(void **state UNUSED)
{
    static const struct {
        const char *header, *value;
    } cases[] = {
        {"session=abc", "abc"},
        {"a=1; session=abc; b=2", "abc"},
        {"a=1;session=abc;b=2", "abc"},
        {"  session=abc  ;b=2", "abc"},
        {"session=\"abc\"", "abc"},
        {"session=\"", "\""},
        {"session=\"\"", ""},
        {"session=", ""},
        {"session=; a=1", ""},
        {"session=eyJqd3QiOiJ4In0=", "eyJqd3QiOiJ4In0="},
        {"session=abc; session=def", "abc"},
        {"a=session=abc; session=def", "def"},
        {";;; session=abc", "abc"},
        {"session;session=abc", "abc"},
        {"", NULL},
        {"session", NULL},
        {"Session=abc", NULL},
        {"xsession=abc", NULL},
        {"session2=abc", NULL},
        {"session =abc", NULL},
        {"; ;", NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        CLEANUP(free_pointer) char *value = cookie_find(cases[i].header, "session");
        if ((value == NULL) != (cases[i].value == NULL) || (value != NULL && !text_equal(value, cases[i].value))) {
            fail_msg("\"%s\" gives %s", cases[i].header, value != NULL ? value : "nothing");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_cookie_of_the_name_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
