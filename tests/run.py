#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the test programs it is given, the integration tests and chaos, and ends with the counts of all of them.

The integration tests, which mostly wait, run beside the programs and chaos; what they say is shown when they are done.
Those with the marker any_pair, but not own_pair, are run again on each pair of engines that --integration names.

A program is given as its path, and behind that the environment variables that choose its engine, if it has several:
build/test/tests/contract/store,TEST_STORE=mongo is reported as contract/store [mongo]. Its output is shown when it
fails (or always, with --verbose). The counts are also left in
<build>/test-summary, for those who run several variants. With --check nothing is run or needs to be built: it only says
whether --only names anything.
"""

import argparse
import ctypes
import difflib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM_SECONDS_MAX = 240
INTEGRATION_SECONDS_MAX = 1800
STOP_SECONDS_MAX = 30
COLLECT_SECONDS_MAX = 60
PYTEST_NO_TESTS = 5
SUGGESTIONS_MAX = 5
INTEGRATION = "integration"
COUNTS_FILE = "pytest-counts"
CHAOS = "chaos"
CHECKER_SECONDS_MAX = 60
# Enough for each kind of failure to happen a few times; `make chaos` has more patience.
CHAOS_SECONDS = 60
CHAOS_SECONDS_MAX = 300
CHAOS_LIMITS = ("--frozen-max", "6", "--away-max", "4")
# Requests a second that two cores can do beside all that happens.
CHAOS_RATE, CHAOS_RATE_SANITIZED = 40, 25
PROGRAM_FOLDERS = ("unit", "contract")
ADDR_NO_RANDOMIZE = 0x0040000
# Of a backtrace that tests/last_words.c has left: a program, and a place in it.
FRAME = re.compile(r"^(\S+)\(\+(0x[0-9a-f]+)\)\[0x[0-9a-f]+\]$", re.MULTILINE)
ADDR2LINE_SECONDS_MAX = 20
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: "Counts") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


def count_cmocka(output: str, status: int) -> Counts:
    """A program may run several groups, each with its own closing lines; one that breaks off has failed too."""

    def total(word: str) -> int:
        return sum(int(number) for number in re.findall(rf"^\[ +{word} +\] (\d+) test\(s\)", output, re.MULTILINE))

    counts = Counts(total("PASSED"), total("FAILED"), total("SKIPPED"))
    if counts.failed == 0 and (status != 0 or counts.passed + counts.skipped == 0):
        counts.failed = 1
    return counts


def stop(process: subprocess.Popen[bytes]) -> bytes:
    """Interrupts a command, so that it can stop what it started, and then ends whatever is left of its group."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        text, _ = process.communicate(timeout=STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
    return text or b""


class Beside:
    """What runs in a thread of its own, beside the integration tests, until it is done or called off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.is_called_off = False

    def begin(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self.is_called_off:
                raise KeyboardInterrupt
            self._process = start()
            return self._process

    def end(self) -> None:
        with self._lock:
            self._process = None

    def call_off(self, number: signal.Signals) -> None:
        """Signals what runs, so that it stops what it has started; nothing more is begun."""
        with self._lock:
            self.is_called_off = True
            if self._process is not None:
                os.killpg(self._process.pid, number)


def run_bounded(command: list[str], seconds: int, output: int | None, settings: dict[str, str] | None = None,
                beside: Beside | None = None) -> tuple[int | None, str]:
    """Runs a command in a process group of its own; status None means that it had to be stopped."""
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                                env={**os.environ, **(settings or {})},
                                stderr=subprocess.STDOUT if output else None, process_group=0)

    process = beside.begin(start) if beside else start()
    try:
        text, _ = process.communicate(timeout=seconds)
        return process.returncode, (text or b"").decode(errors="replace")
    except subprocess.TimeoutExpired:
        return None, stop(process).decode(errors="replace")
    except BaseException:
        stop(process)
        raise
    finally:
        if beside:
            beside.end()


def describe(status: int | None, seconds: int) -> str:
    if status == 0:
        return "says that all is well, but counts no test"
    if status is None:
        return f"not done after {seconds} s"
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


@dataclass
class Program:
    path: Path
    settings: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> "Program":
        path, *settings = text.split(",")
        return cls(Path(path), dict(setting.split("=", 1) for setting in settings))

    @property
    def name(self) -> str:
        engines = f" [{', '.join(self.settings.values())}]" if self.settings else ""
        return f"{self.path.parent.name}/{self.path.name}{engines}"


def name_frames(output: str, path: Path) -> str:
    """The output, with the function and the line behind each frame of a backtrace that is in this program."""

    def name(match: re.Match[str]) -> str:
        if Path(match[1]).resolve() != path.resolve():
            return match[0]
        # A frame is where the function goes on: the call is before that.
        command = ["addr2line", "-f", "-p", "-e", match[1], hex(int(match[2], 16) - 1)]
        _, place = run_bounded(command, ADDR2LINE_SECONDS_MAX, subprocess.PIPE)
        return f"{match[0]} {place.strip().replace(f'{ROOT}/', '')}"

    return FRAME.sub(name, output) if shutil.which("addr2line") else output


def run_program(program: Program, verbose: bool, beside: Beside) -> Counts:
    name = program.name
    start = time.monotonic()
    status, output = run_bounded([str(program.path.resolve())], PROGRAM_SECONDS_MAX, subprocess.PIPE, program.settings,
                                 beside)
    counts = count_cmocka(output, 1 if status is None else status)
    if verbose or counts.failed:
        output = name_frames(output, program.path)
        print(output, end="" if output.endswith("\n") else "\n")
    print(f"  TEST   {name:<36} {counts}, {time.monotonic() - start:.1f} s", flush=True)
    if counts.failed:
        print(f"  FAILED {name}: {describe(status, PROGRAM_SECONDS_MAX)}", flush=True)
    return counts


@dataclass
class Chaos:
    """Everything goes wrong at once, on one pair of engines; or what judges it is itself tested."""

    name: str
    arguments: list[str]
    seconds_max: int

    @classmethod
    def suites(cls, pairs: list[str], build: Path, sanitizer: str) -> "list[Chaos]":
        if not pairs:
            return []
        rate = CHAOS_RATE_SANITIZED if sanitizer else CHAOS_RATE
        suites = [cls(f"{CHAOS}/checker", ["test_checker.py"], CHECKER_SECONDS_MAX)]
        for pair in pairs:
            store, bus = pair.split(",")
            arguments = ["chaos.py", "--build", str(build), "--store", store, "--bus", bus, *CHAOS_LIMITS,
                         "--seconds", str(CHAOS_SECONDS), "--rate", str(rate)]
            suites.append(cls(f"{CHAOS} [{store}, {bus}]", arguments, CHAOS_SECONDS_MAX))
        return suites

    def run(self, verbose: bool, beside: Beside) -> Counts:
        start = time.monotonic()
        program, *arguments = self.arguments
        command = [sys.executable, "-B", f"tests/chaos/{program}", *arguments]
        status, output = run_bounded(command, self.seconds_max, subprocess.PIPE, beside=beside)
        counts = Counts(passed=1) if status == 0 else Counts(failed=1)
        if verbose or counts.failed:
            print(output, end="" if output.endswith("\n") else "\n")
        print(f"  TEST   {self.name:<36} {counts}, {time.monotonic() - start:.1f} s", flush=True)
        if counts.failed:
            print(f"  FAILED {self.name}: {describe(status, self.seconds_max)}", flush=True)
        return counts


@dataclass
class Integration:
    """The integration tests, on the engines that each of them names; or those that can be, on one pair of engines."""

    build: Path
    pair: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{INTEGRATION} [{', '.join(self.pair)}]" if self.pair else INTEGRATION

    def word(self, only: str) -> str | None:
        """What the name of a test is to contain; None: nothing here is meant."""
        folder, _, rest = only.partition("/")
        if only.startswith(f"{INTEGRATION} ["):
            return "" if only in self.name else None
        if folder == INTEGRATION:
            return rest
        return None if folder in (*PROGRAM_FOLDERS, CHAOS) or only.startswith(f"{CHAOS} ") else only

    def run(self, word: str, verbose: bool, is_alone: bool) -> Counts:
        start = time.monotonic()
        report = self.build / COUNTS_FILE
        report.unlink(missing_ok=True)
        settings = dict(zip(("TEST_STORE", "TEST_BUS"), self.pair))
        status, said = run_bounded(pytest_command(word, *self._marked(), "-v" if verbose else "-q"),
                                   INTEGRATION_SECONDS_MAX, None if is_alone and not self.pair else subprocess.PIPE,
                                   settings)
        if status == PYTEST_NO_TESTS and word:
            return Counts()
        counts = Counts(*map(int, report.read_text().split())) if report.exists() else Counts()
        print(said, end="", flush=True)
        if self.pair:
            print(f"  TEST   {self.name:<36} {counts}, {time.monotonic() - start:.1f} s", flush=True)
        if status != 0 and counts.failed == 0:
            counts.failed = 1
        if counts.failed:
            print(f"  FAILED {self.name}: {describe(status, INTEGRATION_SECONDS_MAX)}", flush=True)
        return counts

    def _marked(self) -> tuple[str, ...]:
        return ("-m", "any_pair and not own_pair") if self.pair else ()


def set_environment(build: Path, counts: bool) -> None:
    """Of everything that is run; before any thread is."""
    os.environ.update(TURNSTILE_BUILD=str(build), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTHONDONTWRITEBYTECODE="1")
    os.environ.pop("TURNSTILE_COUNTS", None)
    if counts:
        os.environ["TURNSTILE_COUNTS"] = str(build / COUNTS_FILE)


def pytest_command(word: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/integration", *arguments]
    return [*command, "-k", word] if word else command


def integration_names(word: str) -> list[str]:
    """As integration/<file>::<test>."""
    status, output = run_bounded(pytest_command(word, "--collect-only", "-q"), COLLECT_SECONDS_MAX,
                                 subprocess.PIPE)
    found = re.findall(r"^(?:.*/)?(\w+)\.py::(\w+)", output, re.MULTILINE)
    return [f"{INTEGRATION}/{file}::{test}" for file, test in found] if status == 0 else []


def similar_names(only: str, names: list[str]) -> list[str]:
    """Names, or files of tests, that have a word like this one."""
    by_word: dict[str, list[str]] = {}
    for name in names:
        name = name.partition("::")[0]
        short = name.rpartition("/")[2]
        for word in {name, short, *short.split("_")}:
            if name not in by_word.setdefault(word, []):
                by_word[word].append(name)
    close = difflib.get_close_matches(only.rpartition("/")[2], by_word, n=SUGGESTIONS_MAX)
    return list(dict.fromkeys(name for word in close for name in by_word[word]))[:SUGGESTIONS_MAX]


def check_only(only: str, suites: list[Program | Chaos], integration: list[Integration]) -> bool:
    """Whether the word names a test; says so if not."""
    names = [suite.name for suite in suites]
    if any(only in name for name in names) or any(suite.word(only) == "" for suite in integration):
        return True
    word = integration[0].word(only) if integration else None
    if word is not None and integration_names(word):
        return True
    names += integration_names("") if integration else []
    similar = similar_names(only, names)
    known = f"like {', '.join(similar)}" if similar else f"such as {names[0]}, {names[-1].partition('::')[0]}"
    print(f"ONLY={only}: no test has this in its name; there are names {known}"
          + ("" if integration else ", and no integration tests with this sanitizer"))
    return False


def keep_addresses_in_place() -> None:
    """The sanitizers' fixed shadow collides with some kernels' wide address randomisation; children inherit this."""
    libc = ctypes.CDLL(None)
    persona = libc.personality(0xFFFFFFFF)
    if persona != -1:
        libc.personality(persona | ADDR_NO_RANDOMIZE)


@dataclass
class Results:
    total: Counts = field(default_factory=Counts)
    failures: list[str] = field(default_factory=list)

    def add(self, name: str, counts: Counts) -> None:
        self.total.add(counts)
        self.failures += [name] if counts.failed else []


def run_all(suites: list[Program | Chaos], verbose: bool, beside: Beside, results: Results) -> None:
    for suite in suites:
        try:
            counts = run_program(suite, verbose, beside) if isinstance(suite, Program) else suite.run(verbose, beside)
        except KeyboardInterrupt:
            return
        if not beside.is_called_off:
            results.add(suite.name, counts)


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="where the variant under test is")
    parser.add_argument("--sanitizer", default="", help="address, thread or undefined; thread: no integration tests")
    parser.add_argument("--only", default="", help="a word that the names to run contain")
    parser.add_argument("--check", action="store_true", help="run nothing, say whether --only names anything")
    parser.add_argument("--chaos", action="append", default=[], metavar="STORE,BUS", help="a pair of engines to try")
    parser.add_argument("--integration", action="append", default=[], metavar="STORE,BUS",
                        help="a pair of engines for the integration tests that can be run on any")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("programs", nargs="*", type=Program.parse)
    options = parser.parse_args()

    build = options.build.resolve()
    integration: list[Integration] = []
    if options.sanitizer != "thread":
        integration = [Integration(build), *(Integration(build, tuple(pair.split(","))) for pair in options.integration)]
    set_environment(build, counts=not options.check)
    chaos = Chaos.suites(options.chaos if integration else [], build, options.sanitizer)
    if options.check:
        return 0 if check_only(options.only, [*options.programs, *chaos], integration) else 1
    if options.sanitizer:
        keep_addresses_in_place()
    suites = [suite for suite in [*options.programs, *chaos] if options.only in suite.name]
    results = Results()
    beside = Beside()
    thread = threading.Thread(target=run_all, args=(suites, options.verbose, beside, results))
    thread.start()
    counts: dict[str, Counts] = {}
    try:
        for suite in integration:
            word = suite.word(options.only)
            if word is not None:
                counts[suite.name] = suite.run(word, options.verbose, is_alone=not suites)
        thread.join()
    except BaseException:
        beside.call_off(signal.SIGINT)
        thread.join(STOP_SECONDS_MAX)
        beside.call_off(signal.SIGKILL)
        thread.join()
        raise
    for name, found in counts.items():
        results.add(name, found)
    total, failures = results.total, results.failures

    (options.build / "test-summary").write_text(f"{total.passed} {total.failed} {total.skipped}\n")
    print("\nfailed: " + ", ".join(failures) if failures else "")
    if total.passed + total.failed == 0:
        print("no test was run" + (f": nothing is called {options.only}" if options.only else ""))
        return 1
    print(total, flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
