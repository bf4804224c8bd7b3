#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Starts Turnstile by docker-compose.yml, under a name and on ports of its own, and tests it there: `make test-compose`.

Two of each service, first on NATS Streaming, with all tests of deployed systems, then on a JetStream cluster, with those of
events and of containers that are killed. The images are built for it. What would have to be pulled and cannot be is
replaced by the stand-ins of docker-compose.debian.yml.

Whatever happens, also after SIGINT and SIGTERM, it takes down and removes all that it has put on the engine; what a run
leaves behind that is killed itself, the next one removes. When something fails, the logs of all containers are kept in
build/test-compose, where the counts are left too. Exit status 0: all tests have passed; 1: not so; 130: interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import xml.etree.ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "integration")]

from compose_operator import NAMES  # noqa: E402
from compose_project import claimed, images_of, new_run, of_project, remove_dead_runs, remove_project, remove_run  # noqa: E402
from deployed import Deployment  # noqa: E402
from docker_command import docker  # noqa: E402
from harness import ROOT, free_port  # noqa: E402
from operators import BUS, SERVICES, STORE  # noqa: E402

FOLDER = ROOT / "build" / "test-compose"
# As tests/run.py leaves it, for those who add up several runs.
COUNTS_FILE = "test-summary"
INSTANCES = 2
KEY_BYTES = 32
# Hundreds of users come from one address.
SIGNUPS_PER_MINUTE = 1_000_000
PULL_SECONDS_MAX = 600
BUILD_SECONDS_MAX = 1800
UP_SECONDS_MAX = 300
TESTS_SECONDS_MAX = 900
STOP_SECONDS_MAX = 30
ANSWER_SECONDS_MAX = 20
STAND_INS = "debian"
FILES = {"stan": ["docker-compose.yml"], "jetstream": ["docker-compose.yml", "docker-compose.jetstream.yml"]}
STAND_IN_FILES = {
    "stan": ["docker-compose.yml", "docker-compose.debian.yml"],
    "jetstream": ["docker-compose.yml", "docker-compose.debian.yml", "docker-compose.jetstream.yml",
                  "docker-compose.jetstream.debian.yml"],
}
BUS_URIS = {"stan": "stan://127.0.0.1:{}/ticketing", "jetstream": "nats://127.0.0.1:{}/turnstile?replicas=3"}
CONTAINERS = "tests/deployed/test_containers.py"
TESTS = {
    "stan": ["tests/deployed/test_images.py", "tests/integration", CONTAINERS],
    "jetstream": ["tests/integration/test_events.py", CONTAINERS],
}
# The variables that a file for Compose asks the environment for.
VARIABLE = re.compile(r"\$\{(\w+)")
# Of others than this project.
IMAGE = re.compile(r"^ +image: ((?!turnstile-)[\w.:/-]+)$", re.MULTILINE)
MIB = 2**20


class Failure(Exception):
    """Something is not as it has to be; the message is for whoever started it."""


def say(text: str) -> None:
    print(f"test-compose: {text}", flush=True)


def run(command: list[str], seconds: float, environment: dict[str, str] | None = None) -> None:
    """What it says is shown if it fails."""
    try:
        result = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired as problem:
        raise Failure(f"{' '.join(command)}: not done after {seconds:.0f} s: {(problem.output or b'')!r}") from None
    if result.returncode != 0:
        print(result.stdout, end="", flush=True)
        raise Failure(f"{' '.join(command)}: exit status {result.returncode}; what it said is above")


def compose_command() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    raise Failure("neither `docker compose` nor `docker-compose` is installed")


def check_engine() -> None:
    if shutil.which("docker") is None:
        raise Failure("docker is not installed")
    if subprocess.run(["docker", "version"], capture_output=True).returncode != 0:
        raise Failure("no Docker engine answers: is it running, and may this user talk to it?")


@contextlib.contextmanager
def signals_ignored() -> Iterator[None]:
    """Also by the programs that are started meanwhile."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: Counts) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


def count_tests(report: Path) -> Counts:
    """From pytest's own report; a test that broke off has failed."""
    counts = Counts()
    for suite in xml.etree.ElementTree.parse(report).getroot().iter("testsuite"):
        total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        counts.add(Counts(max(0, total - failed - skipped), failed, skipped))
    return counts


@dataclass
class Options:
    build: Path
    buses: list[str]
    are_stand_ins: bool
    word: str


@dataclass
class Timer:
    """How long each step took."""

    steps: list[tuple[str, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.steps.append((name, time.monotonic() - start))

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.steps)


class Project:
    """One composed system: from its secrets to its end."""

    def __init__(self, run_name: str, bus: str, are_stand_ins: bool, compose: list[str], build: Path):
        self.name = f"{run_name}-{bus}"
        self.timer = Timer()
        self._are_stand_ins = are_stand_ins
        self.bus = bus
        self.folder = FOLDER / bus  # what is kept when something fails
        self._scratch = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=FOLDER))
        self._build = build
        self._ports = {part: free_port() for part in ("ingress", BUS, "monitor", STORE)}
        self._key = secrets.token_hex(KEY_BYTES)
        override = self._scratch / "override.json"
        override.write_text(json.dumps(self._override()))
        files = (STAND_IN_FILES if are_stand_ins else FILES)[bus]
        arguments = [part for file in (*files, str(override)) for part in ("--file", file)]
        # Of nobody else's, as .env might be.
        settings = self._scratch / "settings"
        settings.touch()
        self._compose = [*compose, "--project-name", self.name, "--project-directory", str(ROOT),
                         "--env-file", str(settings), *arguments]
        self._settings = {
            "TAG": run_name,
            "SECRETS_DIR": str(self._scratch / "secrets"),
            "HTTP_PORT": str(self._ports["ingress"]),
            "NATS_PORT": str(self._ports[BUS]),
            "NATS_MONITOR_PORT": str(self._ports["monitor"]),
            "SIGNUPS_PER_MINUTE": str(SIGNUPS_PER_MINUTE),
        }
        asked_for = {name for file in files for name in VARIABLE.findall((ROOT / file).read_text())}
        # Whatever somebody has set for a system of their own is not for this one.
        self._environment = {name: value for name, value in os.environ.items()
                             if name not in asked_for and not name.startswith("COMPOSE_")} | self._settings

    def _override(self) -> dict[str, object]:
        """Tests look into the stores, to which nobody gets otherwise."""
        return {
            "services": {"mongo": {"networks": ["store", "tests"], "ports": [f"127.0.0.1:{self._ports[STORE]}:27017"]}},
            "networks": {"tests": {}},
        }

    def compose(self, *arguments: str, seconds: float) -> None:
        run([*self._compose, *arguments], seconds, self._environment)

    def start(self) -> None:
        with self.timer.step("up"):
            run(["infra/compose/secrets.sh"], ANSWER_SECONDS_MAX, self._environment | {"JWT_KEY": self._key})
            scales = [part for service in SERVICES for part in ("--scale", f"{service}={INSTANCES}")]
            self.compose("up", "--detach", "--no-build", *scales, seconds=UP_SECONDS_MAX)
        with self.timer.step("ready"):
            self.file.write_text(json.dumps(self._description(), indent=2))
            deployment = Deployment(self.file)
            deployment.heal()
        missing = {*NAMES} - {*deployment.operator.parts}
        if missing:
            raise Failure(f"no container runs of {', '.join(sorted(missing))}")

    @property
    def file(self) -> Path:
        return self._scratch / "deployment.json"

    def _description(self) -> dict[str, object]:
        """What tests/integration/deployed.py wants to know."""
        return {
            "ingress": {"address": "127.0.0.1", "port": self._ports["ingress"]},
            "bus": {"uri": BUS_URIS[self.bus].format(self._ports[BUS]),
                    "monitor": f"http://127.0.0.1:{self._ports['monitor']}"},
            "stores": {service: self._store_uri(service) for service in SERVICES},
            "jwt_key": self._key,
            "features": ["nginx", "freeze", "stays"],
            "operator": {"class": "compose_operator.ComposeOperator", "settings": {
                "project": self.name, "compose": self._compose, "environment": self._settings}},
        }

    def _store_uri(self, service: str) -> str:
        """As the service has it, but for the way there. The stand-in knows no users, and lets everybody in."""
        said = (self._scratch / "secrets" / f"{service}_store_uri").read_text()
        uri = urllib.parse.urlsplit(said)
        user = "" if self._are_stand_ins else uri.netloc.rpartition("@")[0] + "@"
        return uri._replace(netloc=f"{user}127.0.0.1:{self._ports[STORE]}").geturl()

    def test(self, word: str) -> Counts:
        """Returns what has become of the tests."""
        report = self._scratch / "tests.xml"
        tests = [path for path in TESTS[self.bus] if (ROOT / path).exists()]
        command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-m", "deployed",
                   f"--junitxml={report}", *tests, *(["-k", word] if word else [])]
        environment = os.environ | {"TEST_DEPLOYMENT": str(self.file), "TURNSTILE_BUILD": str(self._build),
                                    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("TURNSTILE_COUNTS", None)
        with self.timer.step("tests"):
            status = run_tests(command, environment)
        counts = count_tests(report) if report.exists() else Counts()
        if counts.failed == 0 and (status != 0 or counts.passed == 0):
            say("the tests " + ("took too long" if status is None else f"ended with status {status}"))
            counts.failed = 1
        return counts

    def memory(self) -> list[tuple[str, str]]:
        """Of each container, now."""
        names = of_project("container", self.name)
        lines = docker("stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}", *names).splitlines()
        return sorted((name.removeprefix(self.name)[1:], usage.partition(" / ")[0])
                      for name, usage in (line.split("\t") for line in lines))

    def keep_logs(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for container in of_project("container", self.name):
            name = docker("container", "inspect", "--format", "{{.Name}}", container).strip().lstrip("/")
            log = docker("logs", "--timestamps", container, stderr=subprocess.STDOUT)
            (self.folder / f"{name.removeprefix(self.name)[1:]}.log").write_text(log)
            (self.folder / f"{name.removeprefix(self.name)[1:]}.json").write_text(docker("container", "inspect", container))
        say(f"the logs of all containers are in {self.folder}")

    def remove(self) -> None:
        remove_project(self.name)
        shutil.rmtree(self._scratch, ignore_errors=True)


def run_tests(command: list[str], environment: dict[str, str]) -> int | None:
    """Its exit status; none if it had to be stopped."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, process_group=0)
    try:
        return process.wait(TESTS_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def images_to_pull(buses: list[str]) -> list[str]:
    """Those that the files name, and that are not built here."""
    files = {file for bus in buses for file in FILES[bus]}
    return sorted({image for file in files for image in IMAGE.findall((ROOT / file).read_text())})


def why_not_pulled(images: list[str]) -> str:
    """Pulls what is not there; empty if all of them are."""
    for image in images:
        if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0:
            continue
        try:
            docker("pull", "--quiet", image, seconds=PULL_SECONDS_MAX)
        except (RuntimeError, subprocess.TimeoutExpired) as problem:
            return f"{image} cannot be pulled: {str(problem).splitlines()[-1]}"
    return ""


class Run:
    def __init__(self, options: Options):
        self._options = options
        self._compose = compose_command()
        self._name = new_run()
        self._counts = Counts()
        self._summary: list[str] = []
        self._are_stand_ins = options.are_stand_ins

    def all(self) -> Counts:
        with contextlib.ExitStack() as closing:
            closing.enter_context(claimed(self._name))
            closing.callback(self._remove)
            self._prepare()
            for bus in self._options.buses:
                self._test(bus)
        return self._counts

    def summary(self) -> str:
        return "\n".join(self._summary)

    def _remove(self) -> None:
        with signals_ignored():
            remove_run(self._name)

    def _prepare(self) -> None:
        start = time.monotonic()
        FOLDER.mkdir(parents=True, exist_ok=True)
        images = images_to_pull(self._options.buses)
        if not self._are_stand_ins and (problem := why_not_pulled(images)):
            say(f"stand-ins from Debian's packages take the place of {', '.join(images)}: {problem}")
            self._are_stand_ins = True
        # Whatever make was told is for our programs, not for those in the images.
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        run(["make", "images", f"TAG={self._name}"], BUILD_SECONDS_MAX, environment | {"REGISTRY": ""})
        if self._are_stand_ins:
            for name in ("mongo", "nats", "nginx"):
                run(["docker", "build", "--quiet", "--file", f"infra/debian/{name}/Dockerfile",
                     "--tag", f"turnstile-debian-{name}:{self._name}", "."], BUILD_SECONDS_MAX)
        sizes = [(image.partition(":")[0], int(docker("image", "inspect", "--format", "{{.Size}}", image)) / MIB)
                 for image in sorted(images_of(self._name))]
        self._summary.append(f"images, built in {time.monotonic() - start:.1f} s:")
        self._summary += [f"  {name:<24} {size:6.1f} MiB" for name, size in sizes]

    def _test(self, bus: str) -> None:
        project = Project(self._name, bus, self._are_stand_ins, self._compose, self._options.build)
        counts = Counts(failed=1)
        say(f"{bus}: starting {project.name}")
        try:
            try:
                project.start()
                counts = project.test(self._options.word)
                memory = project.memory()
            finally:
                if counts.failed:
                    with signals_ignored():
                        project.keep_logs()
        except (Failure, AssertionError, RuntimeError, OSError, subprocess.SubprocessError) as problem:
            say(f"{bus}: {problem}")
            memory = []
        finally:
            with signals_ignored(), project.timer.step("down"):
                project.remove()
        self._counts.add(counts)
        self._summary.append(f"{bus}: {counts}; {project.timer}")
        self._summary += [f"  {name:<24} {used}" for name, used in memory]


def interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True, help="where eventctl is")
    parser.add_argument("--bus", choices=FILES, help="only on this one; else on each in turn")
    parser.add_argument("--stand-ins", choices=[STAND_INS], help="do not try to pull anything")
    parser.add_argument("--only", default="", help="a word that the names of the tests contain")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        check_engine()
        for name in remove_dead_runs():
            say(f"removed what {name} had left behind")
        run_ = Run(Options(options.build.resolve(), [options.bus] if options.bus else list(FILES),
                           bool(options.stand_ins), options.only))
        counts = run_.all()
    except (Failure, RuntimeError) as problem:
        say(str(problem))
        return 1
    (FOLDER / COUNTS_FILE).write_text(f"{counts.passed} {counts.failed} {counts.skipped}\n")
    print(f"\n{run_.summary()}\n{counts}", flush=True)
    return 1 if counts.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
