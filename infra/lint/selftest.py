#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that each check accepts what is right and refuses what is wrong, on small trees of its own."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from checks import CHECKS, SPDX, Tree, diagnostics, without_comments_and_strings

LINE = f"/* {SPDX} */\n"
STYLE = "BasedOnStyle: LLVM\nIndentWidth: 4\n"
HASH = f"# {SPDX}\n"
SHELL = f"#!/bin/sh\n{HASH}"
GOOD_C = LINE + "int good(int x);\nint good(int x) { return x; }\n"
SERVICES_TABLE = HASH + """class Service:
    def __init__(self, name):
        self.name = name


SERVICES = (Service("auth"), Service("orders"))
"""

# For each check: files that it accepts, and then changes to them with the words that each must bring about.
Files = dict[str, str]
SAMPLES: dict[str, tuple[Files, list[tuple[Files, str]]]] = {
    "format": ({".clang-format": STYLE, "common/base/a.c": GOOD_C}, [
        ({"common/base/a.c": LINE + "int  x ;\n"}, "common/base/a.c:2"),
        ({"services/auth/a.h": LINE + "int  x ;\n"}, "services/auth/a.h:2"),
    ]),
    "layers": ({"common/store/store.c": '#include "common/base/error.h"\n#include "common/schema/table.h"\n',
                "common/base/error.h": "", "common/schema/table.h": "", "common/store/store.h": "",
                "common/store/sqlite/driver.c": "#include <sqlite3.h>\n#include <stdio.h>\n",
                "common/store/mongo/mongo.h": "#include <mongoc/mongoc.h>\n",
                "common/bus/nats/plain.h": "#include <nats/nats.h>\n",
                "common/bus/stan/stan.h": '#include "common/bus/nats/plain.h"\n',
                "services/auth/main.c": '#include "services/auth/user.h"\n#include "common/service/service.h"\n',
                "services/auth/user.h": "", "tools/eventctl/main.c": '#include "common/events/events.h"\n',
                "common/events/a.c": '#include "common/bus/bus.h"\n#include "common/store/store.h"\n',
                "tests/contract/store.c": '#include "services/auth/user.h"\n#include <sqlite3.h>\n'}, [
        ({"common/base/a.c": '#include "common/schema/table.h"\n'}, "base is not above schema"),
        ({"common/store/a.c": '\n#include "common/bus/bus.h"\n'}, "common/store/a.c:2"),
        ({"common/bus/a.h": '#  include "common/http/http.h"\n'}, "bus is not above http"),
        ({"common/auth/a.c": '#include "common/events/events.h"\n'}, "auth is not above events"),
        ({"common/base/a.c": '#include "services/auth/user.h"\n'}, "services/auth is for nobody else"),
        ({"services/orders/a.c": '#include "services/auth/user.h"\n'}, "services/auth is for nobody else"),
        ({"examples/a/a.c": '#include "services/auth/user.h"\n'}, "services/auth is for nobody else"),
        ({"tools/eventctl/a.c": '#include "common/http/http.h"\n'}, "tools do not use http"),
        ({"tools/eventctl/a.c": '#include "common/service/service.h"\n'}, "tools do not use service"),
        ({"common/base/a.c": '#include "error.h"\n'}, "written from the root"),
        ({"common/base/a.c": '#include "common/new/a.h"\n'}, "no place in the layers"),
        ({"common/new/a.c": '#include "common/base/error.h"\n'}, "new is not above base"),
        ({"common/store/store.c": "#include <sqlite3.h>\n"}, "knows sqlite3.h"),
        ({"common/store/store.c": '#include "common/store/mongo/mongo.h"\n'}, "knows mongoc.h"),
        ({"common/events/a.c": "#include <bson/bson.h>\n"}, "knows bson.h"),
        ({"services/auth/main.c": "#include <jansson.h>\n"}, "knows jansson.h"),
        ({"services/auth/main.c": "#include <microhttpd.h>\n"}, "knows microhttpd.h"),
        ({"common/http/a.c": "#include <sodium.h>\n"}, "knows sodium.h"),
        ({"common/http/a.c": "#include <jwt.h>\n"}, "knows jwt.h"),
        ({"common/bus/bus.h": '#include "common/bus/stan/stan.h"\n'}, "common/bus/bus.h: knows nats.h"),
        ({"common/bus/bus.h": '#include "common/bus/nats/plain.h"\n'}, "common/bus/bus.h: knows nats.h"),
    ]),
    "banned functions": ({"common/base/memory.c": "void *p = malloc(1); free(p);\n",
                          "common/base/config.c": "const char *x = getenv(name);\n",
                          "common/store/a.c": "/* atoi(x) */ // strcpy(a, b)\nx = \"sprintf(\"; store->free(y); y.free(z);\n"
                                              "xmalloc(3); my_atoi(2); char quote = '\"'; snprintf(a, 1, b);\n"}, [
        ({"services/auth/a.c": "int x = atoi(y);\n"}, "services/auth/a.c:1: atoi"),
        ({"common/base/a.c": "\nsprintf (a, b);\n"}, "common/base/a.c:2: sprintf"),
        ({"common/base/a.c": "/* a\n b */ strcpy(a, b);\n"}, "common/base/a.c:2: strcpy"),
        ({"tools/a/a.c": "strcat(a, b);"}, "strcat"),
        ({"tests/unit/a.c": "strtok(a, b);"}, "strtok"),
        ({"common/base/a.c": "strncpy(a, b, 1);"}, "strncpy"),
        ({"common/base/a.c": "gets(a);"}, "gets"),
        ({"common/base/a.c": "alloca(1);"}, "alloca"),
        ({"common/base/a.c": "\"\\\\\"; atoi(a);"}, "atoi"),
        ({"common/store/a.h": "malloc(1)"}, "malloc"),
        ({"common/store/a.c": "calloc(1, 2)"}, "calloc"),
        ({"common/store/a.c": "x = strdup(y);"}, "strdup"),
        ({"common/store/a.c": "if (!realloc(a, 1)) free(b);"}, "free"),
        ({"common/store/a.c": "each(list, free);"}, "free"),
        ({"common/base/log.c": "getenv(\"X\");"}, "getenv"),
        ({"tests/contract/a.c": "secure_getenv(\"X\");"}, "secure_getenv"),
    ]),
    "headers": ({"common/base/a.h": "#include <stddef.h>\nsize_t a(void);\n"}, [
        ({"common/base/b.h": "size_t b(void);\n"}, "common/base/b.h: does not compile alone"),
        ({"common/base/b.h": '#include "common/base/c.h"\n'}, "common/base/b.h: does not compile alone"),
    ]),
    "analysis": ({"common/base/a.c": GOOD_C}, [
        ({"common/base/a.c": "int f(void);\nint f(void) { int a[2] = {1, 2}; return a[2]; }\n"}, "common/base/a.c:2"),
        ({"services/auth/a.c": "void f(char *p);\nvoid f(char *p) { *p = 1; if (!p) return; }\n"}, "nullPointer"),
    ]),
    "shell scripts": ({"infra/a.sh": SHELL + 'echo "$1"\n'}, [
        ({"infra/a.sh": SHELL + "cd $1\n"}, "infra/a.sh:3"),
        ({".ci/run": "#!/usr/bin/env bash\ncd $1\n"}, ".ci/run:2"),
    ]),
    "licence lines": ({"common/base/a.c": GOOD_C, "infra/a.sh": SHELL, "Makefile": HASH, "README.md": "# Turnstile\n"}, [
        ({"common/base/a.h": "\n" + LINE}, "common/base/a.h"),
        ({"infra/a.sh": "#!/bin/sh\necho\n"}, "infra/a.sh"),
        ({".ci/run": "#!/bin/bash\necho\n"}, ".ci/run"),
        ({"Makefile": "all:\n"}, "Makefile"),
        ({"tests/run.py": '"""x"""\n'}, "tests/run.py"),
        ({"tests/empty.py": ""}, "tests/empty.py"),
        ({"infra/debian/nats/Dockerfile": "FROM scratch\n"}, "infra/debian/nats/Dockerfile"),
        ({"infra/nginx/http.conf": "a;\n"}, "infra/nginx/http.conf"),
    ]),
    "lists of sources": ({"Makefile": "base_SOURCES := a.c\nstore_SOURCES := sqlite/a.c\nUNIT_TESTS := b\n"
                                      "b_WITH := tests/unit/c.c\n",
                          "common/base/a.c": "", "common/store/sqlite/a.c": "", "tests/unit/b.c": "",
                          "tests/unit/c.c": ""}, [
        ({"common/base/z.c": ""}, "common/base/z.c"),
        ({"common/store/lite/a.c": ""}, "common/store/lite/a.c"),
        ({"services/auth/z.c": ""}, "services/auth/z.c"),
        ({"tests/unit/z.c": ""}, "tests/unit/z.c"),
        ({"tests/contract/z.c": ""}, "tests/contract/z.c"),
    ]),
    "runner": ({"infra/local/runner/services.py": SERVICES_TABLE}, [
        ({"infra/local/runner/services.py": SERVICES_TABLE.replace("orders", "tickets")}, "runs auth tickets"),
        ({"infra/local/runner/services.py": SERVICES_TABLE.replace(', Service("orders")', ",")}, "runs auth;"),
    ]),
}

PROGRAM = """#include <stdio.h>
#include <string.h>
int main(int count, char **words) { char line[64]; strcpy(line, words[count - 1]); return puts(line) < 0; }
"""
HARDENED = ["-O2", "-fPIE", "-pie", "-fstack-protector-strong", "-Wl,-z,relro,-z,now,-z,noexecstack",
            "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
SOFTENED = {
    "position independent": ["-fno-pie", "-no-pie"],
    "full RELRO": ["-Wl,-z,lazy"],
    "executable stack": ["-Wl,-z,execstack"],
    "stack protector": ["-fno-stack-protector"],
    "fortified": ["-U_FORTIFY_SOURCE"],
}


class SelfTest(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)

    def tree(self, files: Files) -> Tree:
        root = Path(tempfile.mkdtemp(dir=self.root))
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        return Tree(root, services=["auth", "orders"], flags=["-std=c17", "-I.", "-Wall"])

    def test_every_check_has_samples(self) -> None:
        self.assertEqual(set(CHECKS), {*SAMPLES, "hardening"})

    def test_each_check_accepts_what_is_right(self) -> None:
        for name, (good, _) in SAMPLES.items():
            with self.subTest(name):
                self.assertEqual(CHECKS[name](self.tree(good)), [])

    def test_each_check_refuses_what_is_wrong(self) -> None:
        for name, (good, bad) in SAMPLES.items():
            for change, words in bad:
                with self.subTest(name, change=change):
                    self.assertIn(words, "\n".join(CHECKS[name](self.tree(good | change))))

    def test_problems_are_counted_and_not_the_lines_that_they_take(self) -> None:
        bad = LINE + "int  x;\n\nint  y;\nint z( void );\n"
        problems = CHECKS["format"](self.tree({".clang-format": STYLE, "common/base/a.c": bad}))
        self.assertEqual([problem.split(":")[1] for problem in problems], ["2", "4", "5", "5"], problems)
        told = "a.c:1:2: warning: one\n  x\n  ^\nb.c:3: error: two\nb.c:4:1: note: because\nc.c:5:1: style: three"
        self.assertEqual([problem[:3] for problem in diagnostics(told)], ["a.c", "b.c", "c.c"])
        self.assertEqual(diagnostics(""), [])
        script = SHELL + "echo $1\necho $2\n"
        self.assertEqual(len(CHECKS["shell scripts"](self.tree({"a.sh": script}))), 2)

    def compile_services(self, flags: list[str]) -> Tree:
        tree = self.tree({"build/release/none": ""})
        for name in tree.services:
            subprocess.run(["gcc", "-w", *HARDENED, *flags, "-x", "c", "-o", tree.build / name, "-"], input=PROGRAM,
                           text=True, cwd=tree.root, check=True)
        return tree

    def test_a_hardened_program_is_accepted_and_each_softer_one_refused(self) -> None:
        self.assertEqual(CHECKS["hardening"](self.compile_services([])), [])
        for words, flags in SOFTENED.items():
            with self.subTest(words):
                problems = CHECKS["hardening"](self.compile_services(flags))
                self.assertEqual(len(problems), 2, problems)
                self.assertIn(words, problems[0])

    def test_a_program_that_is_missing_is_refused(self) -> None:
        self.assertNotEqual(CHECKS["hardening"](self.tree({})), [])

    def test_comments_and_strings_leave_their_lines(self) -> None:
        self.assertEqual(without_comments_and_strings('a /* b\nc */ d "e\\"f" // g\nh'), 'a  \n d ""  \nh')


if __name__ == "__main__":
    result = unittest.TextTestRunner(verbosity=0, stream=sys.stderr).run(
        unittest.defaultTestLoader.loadTestsFromTestCase(SelfTest))
    sys.exit(0 if result.wasSuccessful() else 1)
