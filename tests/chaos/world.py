# SPDX-License-Identifier: Apache-2.0
"""Everything that runs: a store, a bus, two instances of each service, and a proxy between each instance and its engines.

What dies is started again, with the delays of the local runner. Who dies without having been told to is remembered: no
failure of others is a reason for a service to end. All processes are started by the thread that ticks, and die with it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from buses import Bus
from harness import JWT_KEY, SANITIZER_REPORT, Process, free_port, wait_until
from proxy import Link, Loop
from stores import Store

SERVICES = ("auth", "tickets", "orders")
WITH_BUS = ("tickets", "orders")
INSTANCES = 2
RESTART_SECONDS_FIRST = 0.1
RESTART_SECONDS_MAX = 10.0
SETTLED_SECONDS = 10.0
STOP_SECONDS_MAX = 30.0
PROBE_SECONDS_MAX = 5.0
REPORT_BEFORE, REPORT_AFTER = 200, 6000


@dataclass
class Death:
    name: str
    time: float  # seconds since 1970, as in the logs
    how: str


@dataclass
class Target:
    """A process that is kept running."""

    process: Process
    group: str  # a service's name, "bus" or "store"
    port: int
    down_until: float | None = None  # it is meant to be down
    is_condemned: bool = False  # its next death is ours
    frozen: bool = False
    starts: int = 0
    restart_at: float | None = None
    delay: float = RESTART_SECONDS_FIRST
    started_at: float = 0.0
    memory: int = 0  # the most that it has had resident at once, in KiB

    @property
    def name(self) -> str:
        return self.process.name


@dataclass
class World:
    folder: Path
    build: Path
    store: Store
    bus: Bus
    targets: dict[str, Target] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    deaths: list[Death] = field(default_factory=list)  # by our hand
    surprises: list[str] = field(default_factory=list)
    holders: list[Process] = field(default_factory=list)

    # ---- starting ----

    def start(self) -> None:
        """Returns when everything is ready."""
        self._loop = Loop()
        if self.store.server is not None:
            self._add(self.store.server, "store", self.store.port)
        self._add(self.bus.server, "bus", self.bus.port)
        for target in self.targets.values():
            target.process.start()  # an engine's own start waits until it answers
            self._note_start(target)
        for service in SERVICES:
            for number in range(1, INSTANCES + 1):
                self._start(self._add_service(service, f"{service}-{number}"))
        wait_until(self._has_started, "all services are ready")

    def _has_started(self) -> bool:
        """Nothing has been done to anybody yet: who ends now will not be ready later."""
        for target in self.targets.values():
            if not target.process.running:
                raise AssertionError(f"{target.name} cannot be started: {last_lines(target.process)}")
        return self.is_ready()

    def ports(self, service: str) -> list[int]:
        return [target.port for target in self.targets.values() if target.group == service]

    def is_ready(self) -> bool:
        return all(is_up(target) for target in self.targets.values() if target.group in SERVICES)

    def _add(self, process: Process, group: str, port: int) -> Target:
        process.command = ["setpriv", "--pdeathsig", "KILL", "--", *process.command]
        target = Target(process, group, port)
        self.targets[process.name] = target
        return target

    def _add_service(self, service: str, name: str) -> Target:
        port = free_port()
        environment = {
            "PORT": str(port),
            "LISTEN_ADDRESS": "127.0.0.1",
            "JWT_KEY": JWT_KEY,
            "NATS_CLIENT_ID": name,
            "SIGNUPS_PER_MINUTE": "100000",
        }
        store_port = self._link(f"{name}-store", self.store.port) if self.store.server is not None else 0
        environment["STORE_URI"] = self.store.uri(service, store_port)
        if service in WITH_BUS:
            environment["BUS_URI"] = self.bus.uri(self._link(f"{name}-bus", self.bus.port))
        return self._add(Process(name, [str(self.build / service)], self.folder, environment), service, port)

    def _link(self, name: str, target: int) -> int:
        link = Link(self._loop, name, free_port(), target)
        self.links[name] = link
        return link.port

    def _start(self, target: Target) -> None:
        Process.start(target.process)
        self._note_start(target)

    def _note_start(self, target: Target) -> None:
        target.starts += 1
        target.started_at = time.monotonic()
        target.restart_at = None
        target.is_condemned = target.frozen = False

    # ---- what happens to it ----

    def kill(self, name: str, down_for: float = 0.0) -> None:
        """kill -9; it is started again, not before `down_for` seconds."""
        target = self.targets[name]
        if target.process.running:
            self._condemn(target, "kill -9", down_for)
            target.process.kill()

    def terminate(self, name: str, down_for: float = 0.0) -> None:
        """SIGTERM; it is started again when it has ended, not before `down_for` seconds."""
        target = self.targets[name]
        if target.process.running:
            self._condemn(target, "SIGTERM", down_for)
            target.process.send(signal.SIGTERM)

    def freeze(self, name: str) -> None:
        target = self.targets[name]
        if target.process.running:
            target.process.send(signal.SIGSTOP)
            target.frozen = True

    def thaw(self, name: str) -> None:
        target = self.targets[name]
        if target.frozen and target.process.running:
            target.process.send(signal.SIGCONT)
        target.frozen = False

    def hold(self, service: str) -> Process | None:
        """Somebody takes the right to write to a service's store, and freezes with it."""
        holder = self.store.holder(service)
        if holder is not None:
            holder.command = ["setpriv", "--pdeathsig", "KILL", "--", *holder.command]
            holder.start()
            self.holders.append(holder)
        return holder

    def heal(self) -> None:
        """Ends all that was done to it, and starts what is down."""
        for holder in self.holders:
            holder.kill()
        for link in self.links.values():
            link.resume()
        for target in self.targets.values():
            self.thaw(target.name)
            target.down_until = None

    def _condemn(self, target: Target, how: str, down_for: float) -> None:
        self._measure(target)
        target.is_condemned = True
        target.down_until = time.monotonic() + down_for
        self.deaths.append(Death(target.name, time.time(), how))

    # ---- keeping it running ----

    def tick(self) -> None:
        """To be called often: buries what has ended, and starts it again when it is time."""
        now = time.monotonic()
        for target in self.targets.values():
            if target.process.running:
                continue
            if target.restart_at is None:
                self._bury(target, now)
            if target.restart_at is not None and now >= max(target.restart_at, target.down_until or 0.0):
                self._start(target)

    def _bury(self, target: Target, now: float) -> None:
        assert target.process.process is not None
        status = target.process.process.returncode
        if not target.is_condemned:
            self.surprises.append(f"{target.name} ended by itself with status {status}: {last_lines(target.process)}")
        if now - target.started_at >= SETTLED_SECONDS:
            target.delay = RESTART_SECONDS_FIRST
        target.restart_at = now + target.delay
        target.delay = min(2 * target.delay, RESTART_SECONDS_MAX)

    def measure(self) -> None:
        for target in self.targets.values():
            self._measure(target)

    def _measure(self, target: Target) -> None:
        with contextlib.suppress(OSError, AssertionError):
            for line in Path(f"/proc/{target.process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    target.memory = max(target.memory, int(line.split()[1]))

    # ---- the end ----

    def stop(self) -> list[str]:
        """Stops everything; returns what was wrong with that."""
        problems = []
        services = [target for target in self.targets.values() if target.group in SERVICES]
        self.measure()
        for target in services:
            if target.process.running:
                target.process.send(signal.SIGCONT)
                target.process.send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for target in services:
            if target.process.process is None or target.process.process.returncode is not None:
                continue
            with contextlib.suppress(Exception):
                target.process.process.wait(max(0.0, deadline - time.monotonic()))
            if target.process.running:
                problems.append(f"{target.name} did not stop within {STOP_SECONDS_MAX:.0f} s")
            elif target.process.process.returncode != 0:
                problems.append(f"{target.name} stopped with status {target.process.process.returncode}")
        self.abandon()
        return problems

    def abandon(self) -> None:
        """Leaves nothing behind, and asks nobody."""
        for process in [*(target.process for target in self.targets.values()), *self.holders]:
            process.kill()
        if hasattr(self, "_loop"):
            self._loop.stop()
            del self._loop

    def reports(self) -> list[str]:
        """What sanitizers had to say."""
        found = []
        for log in sorted(self.folder.glob("*.log")):
            text = log.read_text(errors="replace")
            if match := SANITIZER_REPORT.search(text):
                found.append(f"{log.name}: {text[max(0, match.start() - REPORT_BEFORE):match.start() + REPORT_AFTER]}")
        return found


def last_lines(process: Process, count: int = 3) -> str:
    return "\n    ".join(process.log().splitlines()[-count:])


def is_up(target: Target) -> bool:
    """Its store answers, and it is connected to the bus if it uses one."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=PROBE_SECONDS_MAX)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = json.loads(response.read())
        return response.status == 200 and body.get("bus", "up") == "up"
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()


