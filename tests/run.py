#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the test programs it is given and then the integration tests, and ends with the counts of all of them.

A program's output is shown when it fails (or always, with --verbose). The counts are also left in
<build>/test-summary, for those who run several variants.
"""

import argparse
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from dataclasses import dataclass
from pathlib import Path

PROGRAM_SECONDS_MAX = 120
INTEGRATION_SECONDS_MAX = 1800
STOP_SECONDS_MAX = 30
PYTEST_NO_TESTS = 5
ADDR_NO_RANDOMIZE = 0x0040000
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


def run_bounded(command: list[str], seconds: int, output: int | None) -> tuple[int | None, str]:
    """Runs a command in a process group of its own; status None means that it had to be stopped."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                               stderr=subprocess.STDOUT if output else None, process_group=0)
    try:
        text, _ = process.communicate(timeout=seconds)
        return process.returncode, (text or b"").decode(errors="replace")
    except subprocess.TimeoutExpired:
        return None, stop(process).decode(errors="replace")
    except BaseException:
        stop(process)
        raise


def describe(status: int | None, seconds: int) -> str:
    if status == 0:
        return "says that all is well, but counts no test"
    if status is None:
        return f"not done after {seconds} s"
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def run_program(program: Path, verbose: bool) -> Counts:
    name = f"{program.parent.name}/{program.name}"
    start = time.monotonic()
    status, output = run_bounded([str(program)], PROGRAM_SECONDS_MAX, subprocess.PIPE)
    counts = count_cmocka(output, 1 if status is None else status)
    if verbose or counts.failed:
        print(output, end="" if output.endswith("\n") else "\n")
    print(f"  TEST   {name:<36} {counts}, {time.monotonic() - start:.1f} s", flush=True)
    if counts.failed:
        print(f"  FAILED {name}: {describe(status, PROGRAM_SECONDS_MAX)}", flush=True)
    return counts


def count_junit(report: Path) -> Counts:
    counts = Counts()
    for suite in xml.etree.ElementTree.parse(report).getroot().iter("testsuite"):
        number = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
        failed = number["failures"] + number["errors"]
        counts.add(Counts(number["tests"] - failed - number["skipped"], failed, number["skipped"]))
    return counts


def run_integration(build: Path, only: str, verbose: bool) -> Counts:
    report = build / "pytest.xml"
    report.unlink(missing_ok=True)
    os.environ.update(TURNSTILE_BUILD=str(build), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTHONDONTWRITEBYTECODE="1")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", "tests/integration"]
    command += ["-v"] if verbose else ["-q"]
    command += ["-k", only] if only else []
    status, _ = run_bounded(command, INTEGRATION_SECONDS_MAX, None)
    if status == PYTEST_NO_TESTS and only:
        return Counts()
    counts = count_junit(report) if report.exists() else Counts()
    if status != 0 and counts.failed == 0:
        print(f"  FAILED integration: {describe(status, INTEGRATION_SECONDS_MAX)}", flush=True)
        counts.failed = 1
    return counts


def keep_addresses_in_place() -> None:
    """The sanitizers' fixed shadow collides with some kernels' wide address randomisation; children inherit this."""
    libc = ctypes.CDLL(None)
    persona = libc.personality(0xFFFFFFFF)
    if persona != -1:
        libc.personality(persona | ADDR_NO_RANDOMIZE)


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="where the variant under test is")
    parser.add_argument("--sanitizer", default="", help="address, thread or undefined; thread: no integration tests")
    parser.add_argument("--only", default="", help="a word that the names to run contain")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("programs", nargs="*", type=Path)
    options = parser.parse_args()

    if options.sanitizer:
        keep_addresses_in_place()
    total = Counts()
    failures = []
    for program in options.programs:
        if options.only in program.name:
            counts = run_program(program.resolve(), options.verbose)
            total.add(counts)
            failures += [f"{program.parent.name}/{program.name}"] if counts.failed else []
    if options.sanitizer != "thread":
        counts = run_integration(options.build.resolve(), options.only, options.verbose)
        total.add(counts)
        failures += ["integration"] if counts.failed else []

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
