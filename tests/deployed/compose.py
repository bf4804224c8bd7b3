#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Starts Turnstile by docker-compose.yml, under a name and on ports of its own, and tests it: `make test-compose`.

Two of each service, first on NATS Streaming, with all tests of deployed systems, then on a JetStream cluster, with those
of events and of containers that are killed. The images are built for it. What would have to be pulled and cannot be is
replaced by the stand-ins of docker-compose.debian.yml.

Whatever happens, also after SIGINT and SIGTERM, it takes down and removes all that it has put on the engine; what a run
leaves behind that is killed itself, the next one removes. When something fails, the logs of all containers are kept in
build/test-compose, where the counts are left too. Exit status 0: all tests have passed; 1: not so; 130: interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "integration")]

import interrupts  # noqa: E402
from compose_project import claimed, images_of, new_run, remove_dead_runs, remove_run  # noqa: E402
from compose_system import FILES, MIB, Counts, Failure, Project, run, say  # noqa: E402
from docker_command import docker  # noqa: E402
from harness import ROOT  # noqa: E402

FOLDER = ROOT / "build" / "test-compose"
# As tests/run.py leaves it, for those who add up several runs.
COUNTS_FILE = "test-summary"
PULL_SECONDS_MAX = 600
BUILD_SECONDS_MAX = 1800
STAND_INS = "debian"
# Of others than this project.
IMAGE = re.compile(r"^ +image: ((?!turnstile-)[\w.:/-]+)$", re.MULTILINE)
PROBLEMS = (Failure, AssertionError, RuntimeError, OSError, subprocess.SubprocessError)


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


@dataclass
class Options:
    build: Path
    buses: list[str]
    are_stand_ins: bool
    word: str
    folder: Path


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
            return f"{image} cannot be pulled ({str(problem).splitlines()[-1].rpartition(': ')[2]})"
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
        with interrupts.signals_ignored():
            remove_run(self._name)

    def _prepare(self) -> None:
        start = time.monotonic()
        self._options.folder.mkdir(parents=True, exist_ok=True)
        images = images_to_pull(self._options.buses)
        if not self._are_stand_ins and (problem := why_not_pulled(images)):
            say(f"{problem}: stand-ins from Debian's packages take the place of {', '.join(images)}")
            self._are_stand_ins = True
        # Whatever make was told is for our programs, not for those in the images.
        told = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "REGISTRY", "TAG", "FRESH")
        environment = {name: value for name, value in os.environ.items() if name not in told}
        run(["make", "images", f"TAG={self._name}"], BUILD_SECONDS_MAX, environment)
        if self._are_stand_ins:
            run(["infra/local/deps.sh", "stand-ins"], BUILD_SECONDS_MAX, environment)
            for name in ("mongo", "nats", "nginx"):
                run(["docker", "build", "--quiet", "--force-rm", "--file", f"infra/debian/{name}/Dockerfile",
                     "--tag", f"turnstile-debian-{name}:{self._name}", "."], BUILD_SECONDS_MAX, environment)
        sizes = [(image.partition(":")[0], int(docker("image", "inspect", "--format", "{{.Size}}", image)) / MIB)
                 for image in sorted(images_of(self._name))]
        self._summary.append(f"images, built in {time.monotonic() - start:.1f} s:")
        self._summary += [f"  {name:<24} {size:6.1f} MiB" for name, size in sizes]

    def _test(self, bus: str) -> None:
        project = Project(self._name, bus, self._are_stand_ins, self._compose, self._options.build,
                          self._options.folder)
        counts = Counts(failed=1)
        say(f"{bus}: starting {project.name}")
        try:
            try:
                project.start()
                counts = project.test(self._options.word)
            except PROBLEMS as problem:
                say(f"{bus}: {problem}")
            if counts.failed:
                with interrupts.signals_ignored():
                    project.keep_logs()
        except PROBLEMS as problem:
            say(f"{bus}: not all logs could be kept: {problem}")
        finally:
            with interrupts.signals_ignored(), project.timer.step("down"):
                project.remove()
        self._counts.add(counts)
        self._summary.append(f"{bus}: {counts}; {project.timer}")
        self._summary += [f"  {name:<24} at most {used:6.1f} MiB" for name, used in sorted(project.memory.items())]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True, help="where eventctl is")
    parser.add_argument("--bus", choices=FILES, help="only on this one; else on each in turn")
    parser.add_argument("--stand-ins", choices=[STAND_INS], help="do not try to pull anything")
    parser.add_argument("--only", default="", help="a word that the names of the tests contain")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where logs and counts are left")
    options = parser.parse_args()
    interrupts.begin()
    try:
        check_engine()
        for name in remove_dead_runs():
            for scratch in options.folder.glob(f"{name}-*"):
                shutil.rmtree(scratch)
            say(f"removed what {name} had left behind")
        run_ = Run(Options(options.build.resolve(), [options.bus] if options.bus else list(FILES),
                           bool(options.stand_ins), options.only, options.folder.resolve()))
        counts = run_.all()
    except (Failure, RuntimeError) as problem:
        say(str(problem))
        return 1
    (options.folder / COUNTS_FILE).write_text(f"{counts.passed} {counts.failed} {counts.skipped}\n")
    print(f"\n{run_.summary()}\n{counts}", flush=True)
    return 1 if counts.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
