# SPDX-License-Identifier: Apache-2.0
"""What the tests of the local runner share: fake services, a private RUN_DIR, free ports, waiting."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness import free_port

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "infra/local/run.py"
PYTHON = "/usr/bin/python3"
SERVICES = ("auth", "tickets", "orders")
WAIT_SECONDS_MAX = 60.0

# Answers /readyz as a service does and anything else with its name, instance and path. FAKE_<NAME> makes it misbehave.
FAKE_SERVICE = """#!/usr/bin/python3
import http.server, json, os, signal, sys, time

name = os.path.basename(sys.argv[0])
behaviour = os.environ.get("FAKE_" + name.upper(), "")
print(f"{name} says hello", file=sys.stderr, flush=True)
if behaviour == "misconfigured":
    print("ORDER_HOLD_SECONDS: not a number", file=sys.stderr, flush=True)
    sys.exit(78)
if behaviour == "dies":
    print("something is badly wrong", file=sys.stderr, flush=True)
    sys.exit(3)
if behaviour == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: (print(f"{name} says goodbye", flush=True), os._exit(0)))

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/readyz":
            answer = {"status": "ready", "store": "up", "bus": "down" if behaviour == "cut off" else "up"}
            if behaviour == "knows no bus":
                del answer["bus"]
        else:
            answer = {"name": name, "client": os.environ["NATS_CLIENT_ID"], "method": self.command, "path": self.path,
                      "headers": dict(self.headers), "environment": dict(os.environ), "length": len(body)}
        if self.path.endswith("/drop"):
            with open(os.environ["FAKE_RECORD"], "a") as record:
                record.write(self.command + "\\n")
            self.close_connection = True
            return
        status = 418 if self.path.endswith("/teapot") else 200
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def wait_until(condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS_MAX) -> Any:
    """The first true answer of the condition."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return answer


def is_alive(pid: int) -> bool:
    """A zombie is as dead as it gets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def default_signals() -> None:
    """In a process before its program: who runs the tests by nohup, or in the background of a script, has these ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def processes_mentioning(text: str) -> list[int]:
    """The processes whose command line or environment holds the text."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        pid = int(directory.name)
        with contextlib.suppress(OSError):
            if any(text.encode() in (directory / part).read_bytes() for part in ("cmdline", "environ")):
                if pid != os.getpid() and is_alive(pid):
                    found.append(pid)
    return found


class Front:
    """The ingress, as clients find it."""

    address = "127.0.0.1"
    http_port: int

    def url(self, path: str) -> str:
        return f"http://{self.address}:{self.http_port}{path}"

    def fetch(self, path: str, method: str = "GET", body: bytes | None = None,
              headers: dict[str, str] | None = None) -> tuple[int, Any, bytes]:
        """Status, headers and body of an answer, whatever the status."""
        request = urllib.request.Request(self.url(path), data=body, method=method, headers=headers or {})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def serves(self, path: str) -> bool:
        try:
            return self.fetch(path)[0] == 200
        except OSError:
            return False

    def exchange(self, request: bytes) -> bytes:
        """Sends bytes as they are; returns all that comes back until the other side closes. (A client that closes its
        half of the connection has given up, to nginx.)"""
        with socket.create_connection((self.address, self.http_port), timeout=30) as connection:
            connection.sendall(request)
            answer = b""
            while data := connection.recv(65536):
                answer += data
            return answer


class House(Front):
    """A RUN_DIR with ports of its own, and fake service programs, or the real ones of a build."""

    def __init__(self, directory: Path, build: Path | None = None) -> None:
        self.run_dir = directory / "a run"
        self.build = build or directory / "build"
        self.record = directory / "record"
        if build is None:
            self.make_fake_services()
        self.http_port, self.nats_port, self.monitor_port = (free_port() for _ in range(3))
        self.foreground: list[subprocess.Popen[str]] = []

    def make_fake_services(self) -> None:
        self.build.mkdir()
        for name in SERVICES:
            program = self.build / name
            program.write_text(FAKE_SERVICE)
            program.chmod(0o755)

    def environment(self, **changes: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items()
                     if name not in ("BUS", "STORE", "DETACH", "SCALE", "JWT_KEY", "JWT_KEY_FILE", "TRUSTED_PROXIES")}
        return inherited | {
            "RUN_DIR": str(self.run_dir), "TURNSTILE_BUILD": str(self.build), "FAKE_RECORD": str(self.record),
            "HTTP_PORT": str(self.http_port), "NATS_PORT": str(self.nats_port),
            "NATS_MONITOR_PORT": str(self.monitor_port), "PYTHONDONTWRITEBYTECODE": "1"} | changes

    def run(self, command: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([PYTHON, str(RUNNER), command], env=self.environment(**changes), cwd=ROOT, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=2 * WAIT_SECONDS_MAX)

    def up(self, **changes: str) -> str:
        """Starts it detached; returns what it said."""
        result = self.run("up", DETACH="1", **changes)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def up_in_foreground(self, output: Path, **changes: str) -> subprocess.Popen[str]:
        """Starts it in the foreground, in a process group of its own, and waits until it says that it is up."""
        with output.open("w") as file:
            process = subprocess.Popen([PYTHON, str(RUNNER), "up"], env=self.environment(**changes), cwd=ROOT,
                                       stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, text=True,
                                       start_new_session=True, preexec_fn=default_signals)
        self.foreground.append(process)
        wait_until(lambda: "is up at" in output.read_text() or process.poll() is not None, "not up")
        assert process.poll() is None, output.read_text()
        return process

    def down(self) -> str:
        result = self.run("down")
        assert result.returncode == 0, result.stdout
        return result.stdout

    def pid(self, name: str) -> int:
        def read() -> int:
            try:
                return int((self.run_dir / f"{name}.pid").read_text())
            except (OSError, ValueError):
                return 0

        return int(wait_until(read, f"{name}.pid is not there"))

    def pids(self) -> dict[str, int]:
        """By name, the processes that run now; one that is just being started again has no file for a moment."""
        pids = {}
        for path in self.run_dir.glob("*.pid"):
            with contextlib.suppress(FileNotFoundError):
                pids[path.stem] = int(path.read_text())
        return pids

    def log(self, name: str) -> str:
        return (self.run_dir / f"{name}.log").read_text()

    def processes(self) -> list[int]:
        return processes_mentioning(str(self.run_dir))


@contextlib.contextmanager
def house(directory: Path, build: Path | None = None) -> Iterator[House]:
    """Whatever a test does, nothing of it runs afterwards."""
    home = House(directory, build)
    try:
        yield home
    finally:
        home.run("down")
        for process in home.foreground:
            if process.poll() is None:
                process.kill()
            process.wait()
        for pid in home.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
