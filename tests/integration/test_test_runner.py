# SPDX-License-Identifier: Apache-2.0
"""tests/run.py: what ONLY= selects, what is said when it selects nothing, and what is counted.

The words are not parameters: as parts of these tests' own names they would select these tests."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from runner_support import PYTHON, ROOT

NAMES = ("unit/schema_fields", "unit/store", "contract/store", "contract/bus")
# A test that is quick and needs nothing, to be selected among the integration tests.
QUICK = "test_lines_are_cut_where_they_end"


@pytest.fixture
def programs(tmp_path: Path) -> list[Path]:
    """Test programs that pass one test each, and say so as cmocka does."""
    found = []
    for name in NAMES:
        program = tmp_path / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\necho '[  PASSED  ] 1 test(s).'\n")
        program.chmod(0o755)
        found.append(program)
    return found


def run(programs: list[Path], only: str, *options: str) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TEST_"))}
    command = [PYTHON, "-B", str(ROOT / "tests/run.py"), "--build", str(programs[0].parents[1]), "--only", only, *options]
    result = subprocess.run([*command, *map(str, programs)], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=120)
    return result.returncode, result.stdout


def test_a_word_selects_the_programs_that_have_it_in_the_name_that_is_printed(programs: list[Path]) -> None:
    for only, names in {"unit": NAMES[:2], "contract": NAMES[2:], "unit/store": NAMES[1:2], "contract/bus": NAMES[3:],
                        "unit/schema_f": NAMES[:1]}.items():
        status, said = run(programs, only)
        assert [line.split()[1] for line in said.splitlines() if line.startswith("  TEST")] == list(names)
        assert (status, said.splitlines()[-1]) == (0, f"{len(names)} passed, 0 failed")
        assert (programs[0].parents[1] / "test-summary").read_text() == f"{len(names)} 0 0\n"


def test_a_program_runs_on_the_engine_that_is_named_behind_it(programs: list[Path]) -> None:
    programs[2].write_text('#!/bin/sh\n[ "$TEST_STORE,$TEST_BUS" = mongo,stan ] && echo "[  PASSED  ] 1 test(s)."\n')
    runs = [f"{programs[2]},TEST_STORE=mongo,TEST_BUS=stan", f"{programs[2]},TEST_STORE=sqlite,TEST_BUS=stan"]
    status, said = run([programs[0], *map(Path, runs)], "contract/store")
    assert "TEST   contract/store [mongo, stan]" in said
    assert "failed: contract/store [sqlite, stan]\n1 passed, 1 failed" in said
    assert status == 1
    status, said = run([programs[0], *map(Path, runs)], "contract/store [mongo")
    assert (status, said.splitlines()[-1]) == (0, "1 passed, 0 failed")


def test_a_word_selects_integration_tests_and_they_are_counted(programs: list[Path]) -> None:
    for only in (QUICK, f"integration/{QUICK}"):
        status, said = run(programs, only)
        assert (status, said.splitlines()[-1]) == (0, "1 passed, 0 failed")
        assert "xml" not in said


def test_a_word_that_selects_nothing_is_refused_with_names_that_there_are(programs: list[Path]) -> None:
    for only, words in {
        "shema": "ONLY=shema: no test has this in its name; there are names like unit/schema_fields\n",
        "unit/stoer": "names like unit/store, contract/store",
        "integration/shutdwon": "names like integration/test_shutdown\n",
        "xyzzy": "names such as unit/schema_fields, integration/test_",
    }.items():
        status, said = run(programs, only, "--check")
        assert status == 1
        assert words in said


def test_a_word_that_selects_something_is_accepted_without_a_word_or_a_run(programs: list[Path]) -> None:
    for only in ("unit", "contract/bus", "integration", "integration/test_auth", "test_auth"):
        assert run([Path("unit/not_built"), *programs], only, "--check") == (0, "")


def test_chaos_is_selected_by_its_pair_of_engines(programs: list[Path]) -> None:
    pairs = ("--chaos", "sqlite,stan", "--chaos", "mongo,stan")
    assert run(programs, "chaos [mongo, stan]", "--check", *pairs) == (0, "")
    assert run(programs, "chaos [mongo, jetstream]", "--check", *pairs)[0] == 1
    assert run(programs, "chaos [mongo, stan]", "--check", "--sanitizer", "thread", *pairs)[0] == 1
    status, said = run(programs, "chaos/checker", *pairs)
    assert (status, said.splitlines()[-1]) == (0, "1 passed, 0 failed")
    assert [line.split()[1] for line in said.splitlines() if line.startswith("  TEST")] == ["chaos/checker"]


def test_integration_tests_for_any_pair_of_engines_are_run_on_those_that_are_named(programs: list[Path]) -> None:
    pair = ("--integration", "mongo,jetstream")
    assert run(programs, "integration [mongo, jetstream]", "--check", *pair) == (0, "")
    assert run(programs, "integration [mongo, stan]", "--check", *pair)[0] == 1
    assert run(programs, "integration [mongo, jetstream]", "--check", "--sanitizer", "thread", *pair)[0] == 1
    status, said = run(programs, "integration/test_pairs", *pair)
    assert (status, said.splitlines()[-1]) == (0, "2 passed, 0 failed")
    assert re.search(r"  TEST   integration \[mongo, jetstream\] +1 passed, 0 failed", said)
    status, said = run(programs, QUICK, *pair)
    assert (status, said.splitlines()[-1]) == (0, "1 passed, 0 failed")


def test_there_are_no_integration_tests_with_the_thread_sanitizer(programs: list[Path]) -> None:
    status, said = run(programs, "integration", "--check", "--sanitizer", "thread")
    assert status == 1
    assert "and no integration tests with this sanitizer" in said
