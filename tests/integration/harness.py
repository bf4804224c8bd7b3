# SPDX-License-Identifier: Apache-2.0
"""Runs the real programs for a test: a broker, services, their logs, and clients that speak HTTP to them.

Every test has a folder of its own, free ports, and stops what it started by process id. A sanitizer's report in any
log, or a service that does not stop cleanly, fails the test that caused it.
"""

from __future__ import annotations

import fcntl
import http.client
import itertools
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, TypeVar

from databases import SqliteStores, Stores

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TURNSTILE_BUILD", ROOT / "build" / "test")).resolve()
BROKER = ROOT / ".deps" / "bin" / "nats-streaming-server"
# Set: tests are run on the system that is described in this file (deployed.py), and not on one of their own.
DEPLOYMENT = os.environ.get("TEST_DEPLOYMENT", "")
BROKER_READY = "STREAM: Streaming Server is ready"
JWT_KEY = "a-key-for-tests-that-is-long-enough-0123456789"
INGRESS_HOST = "localhost"
if DEPLOYMENT:
    JWT_KEY = json.loads(Path(DEPLOYMENT).read_text())["jwt_key"]
    INGRESS_HOST = json.loads(Path(DEPLOYMENT).read_text())["ingress"].get("host", INGRESS_HOST)
SANITIZER_REPORT = re.compile(
    r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|SUMMARY: \w*Sanitizer"
)
# Instrumented programs are slower; nothing asserts how fast something is, so patience costs nothing when all is well.
PATIENCE = 60.0
PORTS_FROM, PORTS_END, PORT_BLOCK = 10000, 32768, 200

T = TypeVar("T")


def wait_until(check: Callable[[], T], what: str, timeout: float = PATIENCE, pause: float = 0.02) -> T:
    """Calls check until it returns something true, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {timeout:.0f} s: {what}")
        time.sleep(pause)


def _ports() -> Iterator[int]:
    """Ports of a block that this run alone uses, over and over.

    A port that was free a moment ago may be anybody's by the time it is listened on. So the block is claimed by a lock
    on a file, which ends with the process, and lies below what the kernel gives to outgoing connections.
    """
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if end < 2 * PORTS_FROM:
        end = PORTS_END  # all ports are for outgoing connections: then the block is at least nobody else's test's
    blocks = list(range(PORTS_FROM, end - PORT_BLOCK, PORT_BLOCK))
    random.shuffle(blocks)
    for block in blocks:
        try:
            claim = open(Path(tempfile.gettempdir()) / f"turnstile-test-ports-{block}", "w")
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        yield from (block + i % PORT_BLOCK for i in itertools.count())
    raise AssertionError("no ports are left")


_next_port = _ports()


def free_port() -> int:
    for port in _next_port:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise AssertionError("no ports are left")


class Process:
    """A program that a test started."""

    def __init__(self, name: str, command: list[str], folder: Path, env: dict[str, str] | None = None):
        self.name = name
        self.command = command
        self.folder = folder
        self.env = {**os.environ, **(env or {})}
        self.log_path = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        if self.running:
            self.send(signal.SIGKILL)
            assert self.process is not None
            self.process.wait()

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)
        self.wait_frozen()

    def wait_frozen(self) -> None:
        wait_until(self.is_frozen, f"{self.name} is stopped by SIGSTOP")

    def is_frozen(self) -> bool:
        state = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state == "T"

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        if self.running:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        return self.process.wait(timeout)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_log(self, pattern: str, count: int = 1) -> list[str]:
        """Waits until at least `count` lines match."""
        expression = re.compile(pattern)

        def lines() -> list[str]:
            found = [line for line in self.log().splitlines() if expression.search(line)]
            return found if len(found) >= count else []

        return wait_until(lines, f"{count} lines of {self.name}'s log match {pattern!r}")


class Broker(Process):
    """NATS Streaming with a file store, as `make up` runs it."""

    address = "127.0.0.1"

    def __init__(self, folder: Path, name: str = "broker"):
        self.port = free_port()
        self.monitor_port = free_port()
        self.store = folder / f"{name}-store"
        command = [str(BROKER), "-a", "127.0.0.1", "-p", str(self.port), "-m", str(self.monitor_port)]
        command += ["-hbi", "5s", "-hbt", "5s", "-hbf", "2", "-SD", "-cid", "ticketing", "-st", "file"]
        command += ["-dir", str(self.store), "-mm", "0", "-mb", "0", "-ma", "0s", "-mi", "0"]
        super().__init__(name, command, folder)

    @property
    def uri(self) -> str:
        return f"stan://127.0.0.1:{self.port}/ticketing"

    def start(self) -> None:
        """Returns when it says itself that it is ready. Its monitoring answers before: stopped then, when it has made the
        files of its store and written nothing, it could not be started again."""
        before = self.log().count(BROKER_READY)
        super().start()
        wait_until(self.answers, "the broker answers")
        wait_until(lambda: self.log().count(BROKER_READY) > before, "the broker is ready")

    def answers(self) -> bool:
        assert self.running, f"the broker ended: {self.log()[-2000:]}"
        try:
            return self.monitor("/streaming/serverz")["state"] == "STANDALONE"
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            return False

    def restart(self) -> None:
        self.stop()
        self.start()

    def monitor(self, path: str) -> Any:
        connection = http.client.HTTPConnection(self.address, self.monitor_port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            if response.status == 404:
                raise KeyError(path)
            return json.loads(body)
        finally:
            connection.close()

    def clients(self) -> list[str]:
        return [client["id"] for client in self.monitor("/streaming/clientsz?limit=1000").get("clients") or []]

    def last_sequence(self, subject: str) -> int:
        try:
            return self.monitor(f"/streaming/channelsz?channel={subject}")["last_seq"]
        except KeyError:
            return 0

    def message_count(self, subject: str) -> int:
        """How many there are on this subject; on every bus."""
        return self.last_sequence(subject)

    def subscriptions(self, subject: str) -> list[dict[str, Any]]:
        try:
            channel = self.monitor(f"/streaming/channelsz?channel={subject}&subs=1")
        except KeyError:
            return []
        return channel.get("subscriptions") or []

    def pending(self, subject: str, queue: str) -> int:
        """Messages that the group's members have and did not acknowledge."""
        members = [s for s in self.subscriptions(subject) if s.get("queue_name") == f"{queue}:{queue}"]
        return sum(member["pending_count"] for member in members)

    def settled(self, subject: str, queue: str) -> bool:
        """True if the group has received and acknowledged everything that is there."""
        members = [s for s in self.subscriptions(subject) if s.get("queue_name") == f"{queue}:{queue}"]
        last_sent = max((member["last_sent"] for member in members), default=-1)
        return last_sent == self.last_sequence(subject) and all(member["pending_count"] == 0 for member in members)


@dataclass
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def errors(self) -> list[dict[str, str]]:
        return self.json["errors"]

    def fields(self) -> set[str]:
        return {error.get("field", "") for error in self.errors}


class Client:
    """One keep-alive connection to one address, not shared between threads; optionally signed in."""

    def __init__(self, port: int, token: str | None = None, address: str = "127.0.0.1", host: str = "",
                 seconds: float = PATIENCE):
        """`host`: whom requests say that they are for, if not for this address. `seconds`: how long each answer is
        waited for."""
        self.port = port
        self.token = token
        self.address = address
        self.host = host
        self.seconds = seconds
        self.connection: http.client.HTTPConnection | None = None

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Response:
        sent = dict(headers or {})
        data: bytes | None = None
        if isinstance(body, bytes):
            data = body
        elif body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if self.host:
            sent.setdefault("Host", self.host)
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.address, self.port, timeout=self.seconds)
        try:
            self.connection.request(method, path, data, sent)
            response = self.connection.getresponse()
            answer = Response(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if response.will_close:
            self.close()
        return answer

    def get(self, path: str, **headers: str) -> Response:
        return self.request("GET", path, headers=_header_names(headers))

    def post(self, path: str, body: Any, **headers: str) -> Response:
        return self.request("POST", path, body, headers=_header_names(headers))

    def put(self, path: str, body: Any, **headers: str) -> Response:
        return self.request("PUT", path, body, headers=_header_names(headers))

    def delete(self, path: str, **headers: str) -> Response:
        return self.request("DELETE", path, headers=_header_names(headers))

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _header_names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class Service(Process):
    """One instance of a service."""

    address = "127.0.0.1"

    def __init__(self, system: "System", service: str, name: str, env: dict[str, str]):
        self.system = system
        self.service = service
        self.port = free_port()
        settings = {
            "PORT": str(self.port),
            "LISTEN_ADDRESS": "127.0.0.1",
            "STORE_URI": system.stores.uri(service),
            "BUS_URI": system.broker.uri,
            "JWT_KEY": JWT_KEY,
            "NATS_CLIENT_ID": name,
            "TRUSTED_PROXIES": "127.0.0.1",
            "SIGNUPS_PER_MINUTE": "100000",
        }
        settings.update(env)
        super().__init__(name, [str(BUILD / service)], system.folder, settings)

    def start(self, wait: bool = True) -> None:
        super().start()
        if wait:
            self.wait_ready()

    def wait_ready(self, bus: bool | None = None) -> None:
        """Ready to serve, and connected to the bus if the broker runs (or as `bus` says)."""
        wants_bus = self.system.broker.running if bus is None else bus
        wait_until(lambda: self.is_ready(wants_bus), f"{self.name} is ready")

    def is_ready(self, wants_bus: bool) -> bool:
        assert self.running, f"{self.name} ended: {self.log()[-3000:]}"
        client = self.client()
        try:
            answer = client.get("/readyz")
            return answer.status == 200 and (not wants_bus or answer.json.get("bus", "up") == "up")
        except OSError:
            return False
        finally:
            client.close()

    def wait_alive(self) -> None:
        """Answers, whether ready or not: for those who are to fail at their first write, which readiness is."""

        def is_alive() -> bool:
            assert self.running, f"{self.name} ended: {self.log()[-3000:]}"
            client = self.client()
            try:
                return client.get("/healthz").status == 200
            except OSError:
                return False
            finally:
                client.close()

        wait_until(is_alive, f"{self.name} is alive")

    def client(self, token: str | None = None) -> Client:
        return Client(self.port, token)


@dataclass
class User:
    id: str
    email: str
    token: str


@dataclass
class System:
    """Everything that one test runs: on SQLite and NATS Streaming, if nothing else is given."""

    folder: Path
    broker: Any = None  # a Broker, or a server with the same methods
    stores: Stores | None = None
    processes: list[Process] = field(default_factory=list)
    users: int = 0
    # Between two rounds of each thread of a Load.
    pause = 0.0

    def __post_init__(self) -> None:
        self.broker = self.broker or Broker(self.folder)
        self.stores = self.stores or SqliteStores(self.folder)

    def start(self) -> None:
        self.stores.start()
        self.broker.start()

    def store_path(self, service: str) -> Path:
        """Of an SQLite store."""
        return SqliteStores(self.folder).path(service)

    def service(self, service: str, name: str | None = None, start: bool = True, **env: str) -> Service:
        count = sum(1 for p in self.processes if isinstance(p, Service) and p.service == service)
        instance = Service(self, service, name or f"{service}-{count + 1}", env)
        self.processes.append(instance)
        if start:
            instance.start()
        return instance

    def check_intact(self, service: str) -> None:
        """The store's file is in order, by SQLite's own judgement."""
        database = sqlite3.connect(self.store_path(service), timeout=PATIENCE)
        try:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            database.close()

    def email(self, number: int) -> str:
        return f"user{number}@example.com"

    def user(self, auth: Service) -> User:
        """Signs up somebody new."""
        self.users += 1
        email = self.email(self.users)
        client = auth.client()
        answer = client.post("/api/users/signup", {"email": email, "password": "password"})
        client.close()
        assert answer.status == 201, answer.body
        return User(answer.json["id"], email, answer.json["token"])

    def eventctl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs eventctl against the broker and waits for its end."""
        result = subprocess.run(
            [str(BUILD / "eventctl"), *arguments],
            env={**os.environ, "BUS_URI": self.broker.uri},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert not SANITIZER_REPORT.search(result.stderr), result.stderr
        if check:
            assert result.returncode == 0, f"eventctl {arguments}: {result.stdout}{result.stderr}"
        return result

    def publish(self, subject: str, event: Any) -> None:
        text = event if isinstance(event, str) else json.dumps(event)
        self.eventctl("publish", subject, "-", stdin=text)

    def end(self) -> None:
        """Stops everything and checks that nothing went wrong on the way."""
        problems = self.end_processes()
        if self.broker.process is not None:
            self.broker.thaw() if self.broker.running else None
            self.broker.stop()
        self.stores.stop()
        problems += self.reports()
        assert not problems, "\n".join(problems)

    def end_processes(self) -> list[str]:
        """Stops all that the test has started; returns what went wrong."""
        services = [p for p in self.processes if p.process is not None]
        problems = []
        for process in services:
            if process.running:
                process.send(signal.SIGCONT)
                process.send(signal.SIGTERM)
        for process in services:
            was_killed = process.process is not None and process.process.returncode == -signal.SIGKILL
            try:
                status = process.process.wait(PATIENCE) if process.process else 0
            except subprocess.TimeoutExpired:
                process.kill()
                problems.append(f"{process.name} did not stop")
                continue
            if status != 0 and not was_killed and not getattr(process, "may_fail", False):
                problems.append(f"{process.name} ended with status {status}: {process.log()[-3000:]}")
        return problems

    def reports(self) -> list[str]:
        """What sanitizers have found."""
        problems = []
        for log in sorted(self.folder.glob("*.log")):
            text = log.read_text(errors="replace")
            if SANITIZER_REPORT.search(text):
                start = SANITIZER_REPORT.search(text).start()  # type: ignore[union-attr]
                problems.append(f"{log.name}: {text[max(0, start - 200):start + 6000]}")
        return problems


def quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def clients(services: list[Service], token: str | None = None) -> Iterator[Client]:
    """Clients of the instances in turn, for ever."""
    while True:
        for service in services:
            yield service.client(token)
