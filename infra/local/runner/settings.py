# SPDX-License-Identifier: Apache-2.0
"""What the user may set, read from the environment and checked before anything is started."""

import errno
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
SCALE_MAX = 16
PORT_MAX = 65535
DEFAULT_PORTS = {"HTTP_PORT": 8080, "NATS_PORT": 4222, "NATS_MONITOR_PORT": 8222}

NATS_STREAMING, JETSTREAM = "stan", "jetstream"
# A server, several for a replica set, and options; the databases are the services'.
STORE = re.compile(r"mongodb://[^/?#\s]+/?(\?\S*)?")


class SettingsError(Exception):
    """One line per problem."""


@dataclass(frozen=True)
class Settings:
    root: Path
    build: Path
    run_dir: Path
    http_port: int
    nats_port: int
    nats_monitor_port: int
    scale: int
    detach: bool
    bus: str = NATS_STREAMING
    store: str = ""  # "": files in RUN_DIR

    def ports(self) -> dict[str, int]:
        return {"HTTP_PORT": self.http_port, "NATS_PORT": self.nats_port, "NATS_MONITOR_PORT": self.nats_monitor_port}


def read_number(environment: Mapping[str, str], name: str, default: int, maximum: int, problems: list[str]) -> int:
    text = environment.get(name, "") or str(default)
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= maximum:
        return int(text)
    problems.append(f"{name} is a number from 1 to {maximum}, not {text!r}")
    return default


def read_run_dir(environment: Mapping[str, str]) -> Path:
    """The one setting that `down` needs too."""
    run_dir = Path(environment.get("RUN_DIR", "") or "run").absolute()
    if any(character in '"\\$' or ord(character) < 32 for character in str(run_dir)):
        raise SettingsError(f"RUN_DIR has a character that a broker's configuration cannot hold: {str(run_dir)!r}")
    return run_dir


def read_settings(environment: Mapping[str, str], root: Path) -> Settings:
    problems: list[str] = []
    ports = {name: read_number(environment, name, default, PORT_MAX, problems)
             for name, default in DEFAULT_PORTS.items()}
    names = list(ports)
    for index, name in enumerate(names):
        problems += [f"{name} and {other} are both {ports[name]}"
                     for other in names[index + 1:] if ports[other] == ports[name]]
    scale = read_number(environment, "SCALE", 1, SCALE_MAX, problems)
    detach = environment.get("DETACH", "")
    if detach not in ("", "0", "1"):
        problems.append(f"DETACH is 1 or 0, not {detach!r}")
    bus = environment.get("BUS", "") or NATS_STREAMING
    if bus not in (NATS_STREAMING, JETSTREAM):
        problems.append(f"BUS is {NATS_STREAMING} or {JETSTREAM}, not {bus!r}")
    store = environment.get("STORE", "")
    if store and not STORE.fullmatch(store):
        problems.append("STORE is mongodb://[user:password@]host[:port][,host:port…][?options], without a database")
    if problems:
        raise SettingsError("\n".join(problems))
    build = Path(environment.get("TURNSTILE_BUILD", "") or "build/release")
    return Settings(root, root / build, read_run_dir(environment), ports["HTTP_PORT"], ports["NATS_PORT"],
                    ports["NATS_MONITOR_PORT"], scale, detach == "1", bus, store)


def port_problem(port: int) -> OSError | None:
    """Why nobody could listen on a port now, if so. What a closed connection leaves behind does not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            return error
    return None


def next_free_port(settings: Settings, port: int) -> int:
    ours = settings.ports().values()
    candidates = range(max(port, 1024) + 1, PORT_MAX)
    return next((other for other in candidates if other not in ours and not port_problem(other)), PORT_MAX)


def check_ports(settings: Settings, grace_seconds: float) -> None:
    """Raises unless all ports are free; with a grace, for what a killed runner left to be ready with dying."""
    deadline = time.monotonic() + grace_seconds
    while True:
        problems = []
        for name, port in settings.ports().items():
            error = port_problem(port)
            if error is None:
                continue
            why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            problems.append(f"port {port} {why}: {name}={next_free_port(settings, port)} make up uses another")
        if not problems:
            return
        if time.monotonic() >= deadline:
            raise SettingsError("\n".join(problems))
        time.sleep(0.05)
