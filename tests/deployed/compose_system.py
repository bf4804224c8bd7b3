# SPDX-License-Identifier: Apache-2.0
"""One composed system of `make test-compose`: started, tested, and taken down."""

from __future__ import annotations

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
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from compose_operator import NAMES
from compose_project import of_project, remove_project
from deployed import Deployment
from docker_command import docker
from endings import Endings
from harness import ROOT, free_port
from operators import BUS, SERVICES, STORE

INSTANCES = 2
KEY_BYTES = 32
# Hundreds of users come from one address.
SIGNUPS_PER_MINUTE = 1_000_000
UP_SECONDS_MAX = 300
TESTS_SECONDS_MAX = 900
STOP_SECONDS_MAX = 30
SECRETS_SECONDS_MAX = 20
LOOK_SECONDS = 3.0
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
# As Docker prints it.
SIZE = re.compile(r"^([\d.]+)(|Ki|Mi|Gi)B$")
UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
MIB = 2**20


class Failure(Exception):
    """Something is not as it has to be; the message is for whoever started it."""


def say(text: str) -> None:
    print(f"test-compose: {text}", flush=True)


def call(command: list[str], seconds: float, environment: dict[str, str],
         output: int | None = None) -> tuple[int | None, str]:
    """Its exit status, none if it took too long; and what it said, if that was asked for. When this ends, so has the
    command, and all that it has started."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, text=True,
                               stderr=subprocess.STDOUT if output else None, errors="replace", process_group=0)
    try:
        said, _ = process.communicate(timeout=seconds)
        return process.returncode, said or ""
    except subprocess.TimeoutExpired:
        return None, stop(process)
    except BaseException:
        stop(process)
        raise


def stop(process: subprocess.Popen[str]) -> str:
    """Its whole group; returns what it said."""
    said = ""
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=STOP_SECONDS_MAX)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return said or ""


def run(command: list[str], seconds: float, environment: dict[str, str]) -> None:
    """What it says is shown if it fails."""
    status, said = call(command, seconds, environment, subprocess.PIPE)
    if status != 0:
        print(said, end="", flush=True)
        what = f"not done after {seconds:.0f} s" if status is None else f"exit status {status}"
        raise Failure(f"{' '.join(command)}: {what}; what it said is above")


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


def read_counts(report: Path, status: int | None) -> Counts:
    """As tests/integration/conftest.py leaves them. What says nothing, or counts nothing, has failed."""
    counts = Counts(*map(int, report.read_text().split())) if report.exists() else Counts()
    if counts.failed == 0 and (status != 0 or counts.passed == 0):
        say("the tests " + ("took too long" if status is None else f"ended with status {status}"))
        counts.failed = 1
    return counts


def with_endings(counts: Counts, ended: list[str]) -> Counts:
    """A container that has ended by itself is a failure, also when no test was there to see it."""
    for line in ended:
        say(line)
    if ended and counts.failed == 0:
        counts.failed = 1
    return counts


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

    def __init__(self, run_name: str, bus: str, are_stand_ins: bool, compose: list[str], build: Path, folder: Path):
        self.name = f"{run_name}-{bus}"
        self.timer = Timer()
        self._are_stand_ins = are_stand_ins
        self.bus = bus
        self.folder = folder / bus  # what is kept when something fails
        self._scratch = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=folder))
        self._build = build
        self.memory: dict[str, float] = {}  # the most that each container has been seen with, in MiB
        self._ports = {part: free_port() for part in ("ingress", BUS, "monitor", STORE)}
        self._key = secrets.token_hex(KEY_BYTES)
        self._endings: Endings | None = None
        override = self._scratch / "override.json"
        override.write_text(json.dumps(self._override()))
        files = (STAND_IN_FILES if are_stand_ins else FILES)[bus]
        arguments = [part for file in (*files, str(override)) for part in ("--file", file)]
        # Of nobody else's, as .env might be.
        settings = self._scratch / "settings"
        settings.touch()
        self._compose = [*compose, "--project-name", self.name, "--project-directory", str(ROOT),
                         "--env-file", str(settings), *arguments]
        # Whatever somebody has set for a system of their own is not for this one.
        self._settings = {name: "" for file in files for name in VARIABLE.findall((ROOT / file).read_text())} | {
            "TAG": run_name,
            "SECRETS_DIR": str(self._scratch / "secrets"),
            "HTTP_PORT": str(self._ports["ingress"]),
            "NATS_PORT": str(self._ports[BUS]),
            "NATS_MONITOR_PORT": str(self._ports["monitor"]),
            "SIGNUPS_PER_MINUTE": str(SIGNUPS_PER_MINUTE),
            "COMPOSE_PROFILES": "",
            # For an engine that is busy: Compose 1 waits for its answers for a minute only.
            "COMPOSE_HTTP_TIMEOUT": str(UP_SECONDS_MAX),
        }
        self._environment = os.environ | self._settings

    def _override(self) -> dict[str, object]:
        """Tests look into the stores, to which nobody gets otherwise."""
        return {
            "services": {"mongo": {"networks": ["store", "tests"], "ports": [f"127.0.0.1:{self._ports[STORE]}:27017"]}},
            "networks": {"tests": {}},
        }

    def compose(self, *arguments: str, seconds: float) -> None:
        run([*self._compose, *arguments], seconds, self._environment)

    def start(self) -> None:
        self._endings = Endings(self.name, self._scratch / "endings")
        with self.timer.step("up"):
            run(["infra/compose/secrets.sh"], SECRETS_SECONDS_MAX, self._environment | {"JWT_KEY": self._key})
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
            "features": ["nginx", "freeze", "stays", "balanced"],
            "operator": {"class": "compose_operator.ComposeOperator", "settings": {
                "project": self.name, "compose": self._compose, "environment": self._settings,
                "endings": str(self._scratch / "endings")}},
        }

    def _store_uri(self, service: str) -> str:
        """As the service has it, but for the way there. The stand-in knows no users, and lets everybody in."""
        said = (self._scratch / "secrets" / f"{service}_store_uri").read_text()
        uri = urllib.parse.urlsplit(said)
        user = "" if self._are_stand_ins else uri.netloc.rpartition("@")[0] + "@"
        return uri._replace(netloc=f"{user}127.0.0.1:{self._ports[STORE]}").geturl()

    def test(self, word: str) -> Counts:
        """Returns what has become of the tests."""
        report = self._scratch / "counts"
        command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-m", "deployed",
                   *TESTS[self.bus], *(["-k", word] if word else [])]
        environment = os.environ | {"TEST_DEPLOYMENT": str(self.file), "TURNSTILE_BUILD": str(self._build),
                                    "TURNSTILE_COUNTS": str(report), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                                    "PYTHONDONTWRITEBYTECODE": "1"}
        with self.timer.step("tests"), Memory(self.name) as memory:
            status, _ = call(command, TESTS_SECONDS_MAX, environment)
        self.memory = memory.most
        return with_endings(read_counts(report, status), self._close_endings())

    def _close_endings(self) -> list[str]:
        endings, self._endings = self._endings, None
        return endings.close() if endings is not None else []

    def keep_logs(self) -> None:
        """And what Docker knows of each container."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for container in of_project("container", self.name):
            name = docker("container", "inspect", "--format", "{{.Name}}", container).strip().lstrip("/")
            name = short_name(name, self.name)
            (self.folder / f"{name}.json").write_text(docker("container", "inspect", container))
            log = docker("logs", "--timestamps", container, stderr=subprocess.STDOUT)
            (self.folder / f"{name}.log").write_text(log)
        say(f"the logs of all containers are in {self.folder}")

    def remove(self) -> None:
        # There are any only if it was not tested.
        for line in self._close_endings():
            say(line)
        remove_project(self.name)
        shutil.rmtree(self._scratch, ignore_errors=True)


def short_name(container: str, project: str) -> str:
    """Without the project, and as Compose 1 and 2 both might call it."""
    return container.removeprefix(project)[1:].replace("_", "-")


def mebibytes(text: str) -> float:
    """Of a size as Docker prints it: 12.5MiB."""
    match = SIZE.match(text)
    return float(match[1]) * UNITS[match[2]] / MIB if match else 0.0


class Memory:
    """Looks now and then at what each container has, until it is done."""

    def __init__(self, project: str):
        self.most: dict[str, float] = {}
        self._project = project
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            # A container may be killed just now.
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                self._look()

    def _look(self) -> None:
        names = of_project("container", self._project)
        lines = docker("stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}", *names).splitlines()
        for name, usage in (line.split("\t") for line in lines):
            name = short_name(name, self._project)
            self.most[name] = max(self.most.get(name, 0.0), mebibytes(usage.partition(" / ")[0]))
