# SPDX-License-Identifier: Apache-2.0
"""Acts on the containers of one Compose project, by docker, which finds them by the labels that Compose gave them."""

from __future__ import annotations

import contextlib
import datetime
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from docker_command import NUMBER_LABEL, PART_LABEL, PROJECT_LABEL, docker
from operators import BUS, INGRESS, SERVICES, STORE

SCALE_SECONDS_MAX = 120.0
AT_ONCE_MAX = 8
# What the parts are called in docker-compose.yml. nats-2 and nats-3 are there with JetStream only.
NAMES = {**{service: (service,) for service in SERVICES}, BUS: ("nats", "nats-2", "nats-3"), STORE: ("mongo",),
         INGRESS: ("nginx",)}
COLUMNS = ("{{.Names}}", "{{.State}}", f'{{{{.Label "{PART_LABEL}"}}}}', f'{{{{.Label "{NUMBER_LABEL}"}}}}')


@dataclass(frozen=True)
class Container:
    name: str
    is_up: bool
    part: str  # as NAMES' keys
    place: tuple[int, int]  # among those of its part


def part_of(service: str, number: int) -> tuple[str, tuple[int, int]] | None:
    """Of a service in docker-compose.yml; none for what is no part."""
    return next(((part, (names.index(service), number)) for part, names in NAMES.items() if service in names), None)


class ComposeOperator:
    keeps_logs = True

    def __init__(self, project: str, compose: list[str], environment: dict[str, str], endings: str):
        """`compose`: the command that Compose is called by, with its files, and what its files need in the environment.
        `endings`: the file in which containers are noted that ended by themselves (endings.py)."""
        self._project = project
        self._endings = Path(endings)
        self._compose = compose
        self._environment = environment
        self._frozen: dict[str, list[str]] = {}
        self._expected = {part: len(self.running(part)) for part in NAMES}
        self.parts = tuple(part for part, count in self._expected.items() if count)

    def running(self, part: str) -> list[str]:
        return [container.name for container in self._containers(part) if container.is_up]

    def kill(self, container: str) -> None:
        docker("kill", "--signal", "KILL", container)
        docker("wait", container)

    def stop(self, part: str) -> None:
        if names := self.running(part):
            docker("stop", *names)

    def start(self, part: str) -> None:
        self.thaw(part)
        if names := [container.name for container in self._containers(part) if not container.is_up]:
            docker("start", *names)

    def scale(self, service: str, count: int) -> None:
        # --no-deps: no other part is scaled. --no-recreate: what is down stays the container that it is.
        command = [*self._compose, "up", "--detach", "--no-deps", "--no-recreate", "--scale", f"{service}={count}", service]
        subprocess.run(command, env={**os.environ, **self._environment}, stdin=subprocess.DEVNULL, check=True,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SCALE_SECONDS_MAX)
        self._expected[service] = count

    def is_ready(self, part: str) -> bool:
        names = self.running(part)
        if len(names) < self._expected[part]:
            return False
        if part == INGRESS:
            return True  # Docker knows later than those who ask it for something
        if part not in SERVICES:
            return all(health in ("healthy", "none") for health in self._healths(names))
        # Not what Docker found out some seconds ago: what the instance says now.
        with ThreadPoolExecutor(AT_ONCE_MAX) as threads:
            return all(threads.map(is_healthy, names))

    def freeze(self, part: str) -> None:
        """By a signal: docker pause now and then cannot stop all at once, and gives up."""
        self._frozen[part] = self.running(part)
        docker("kill", "--signal", "STOP", *self._frozen[part])

    def thaw(self, part: str) -> None:
        if names := self._frozen.pop(part, []):
            docker("kill", "--signal", "CONT", *names)

    def logs(self, part: str, since: float = 0.0) -> dict[str, str]:
        start = datetime.datetime.fromtimestamp(since, datetime.timezone.utc).isoformat()
        return {container.name: docker("logs", "--since", start, container.name, stderr=subprocess.STDOUT)
                for container in self._containers(part)}

    def surprises(self) -> list[str]:
        return self._endings.read_text().splitlines()

    def _containers(self, part: str) -> list[Container]:
        return [container for container in self._all() if container.part == part]

    def _all(self) -> list[Container]:
        lines = docker("ps", "--all", "--filter", f"label={PROJECT_LABEL}={self._project}",
                       "--format", "\t".join(COLUMNS)).splitlines()
        found = []
        for name, state, service, number in (line.split("\t") for line in lines):
            if (place := part_of(service, int(number))) is not None:
                found.append(Container(name, state == "running", *place))
        return sorted(found, key=lambda container: container.place)

    def _healths(self, names: list[str]) -> list[str]:
        return docker("inspect", "--format", "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}",
                      *names).split()


def is_healthy(container: str) -> bool:
    with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
        docker("exec", container, "/program", "--healthcheck")
        return True
    return False
