# SPDX-License-Identifier: Apache-2.0
"""What is to run, and with which arguments: the broker, the services, nginx in front of them."""

import json
import os
import random
import secrets
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from runner.process import Spec
from runner.services import SERVICES, Service
from runner.settings import HOST, Settings, SettingsError, port_problem

BROKER = ".deps/bin/nats-streaming-server"
CLUSTER = "ticketing"
# How its lines about each connection and subscription are marked.
BROKER_CHATTER = b"[DBG]"
NGINX_TEMPLATE = "infra/nginx/nginx.conf.in"
NGINX_PATH = "/usr/sbin:/usr/local/sbin"
NGINX_ROOT_USER = "user www-data;"
UPSTREAM_CONNECTIONS = 256
PROBE_SECONDS_MAX = 1.0
PROBE_BYTES_MAX = 65536
# Below the ports that the kernel gives to outgoing connections, so that a port is still free when its service returns.
SERVICE_PORTS = range(20000, 30000)
KEY_BYTES = 32
# The make that started us is none of the services' business.
MAKE_VARIABLES = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR")
# What the runner decides for each service.
OWN_VARIABLES = ("PORT", "STORE_URI", "BUS_URI", "NATS_CLIENT_ID")

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str) -> tuple[int, bytes] | None:
    """Status and body of an answer, or None where nobody answers in time."""
    try:
        with opener.open(url, timeout=PROBE_SECONDS_MAX) as response:
            return response.status, response.read(PROBE_BYTES_MAX)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except (OSError, ValueError, EOFError) as error:
        del error
        return None


def answers(url: str) -> bool:
    return fetch(url) is not None


def service_is_ready(port: int) -> bool:
    """Its store answers, and it has found the bus, if it has any use for one."""
    answer = fetch(f"http://{HOST}:{port}/readyz")
    if answer is None or answer[0] != 200:
        return False
    try:
        body = json.loads(answer[1])
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("bus", "up") == "up"


def ignored_variables(environment: Mapping[str, str]) -> list[str]:
    return [name for name in OWN_VARIABLES if environment.get(name)]


def base_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in MAKE_VARIABLES}


def ensure_key(settings: Settings) -> Path:
    """The key that signs sessions, made once: with a new one, everybody would be signed out."""
    path = settings.run_dir / "jwt.key"
    if not path.exists():
        scratch = path.with_suffix(".new")
        scratch.unlink(missing_ok=True)
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
        scratch.replace(path)
    return path


def pick_ports(count: int, taken: set[int]) -> list[int]:
    picked: list[int] = []
    for port in random.sample(SERVICE_PORTS, len(SERVICE_PORTS)):
        if len(picked) == count:
            break
        if port not in taken and not port_problem(port):
            picked.append(port)
    if len(picked) < count:
        raise SettingsError(f"there are not {count} free ports from {SERVICE_PORTS.start} to {SERVICE_PORTS.stop - 1}")
    return picked


def broker_spec(settings: Settings) -> Spec:
    directory = settings.run_dir / "nats"
    command = [str(settings.root / BROKER), "-a", HOST, "-p", str(settings.nats_port),
               "-m", str(settings.nats_monitor_port), "-hbi", "5s", "-hbt", "5s", "-hbf", "2", "-SD", "-cid", CLUSTER,
               "-st", "file", "-dir", str(directory), "-mm", "0", "-mb", "0", "-ma", "0s", "-mi", "0"]
    return Spec("nats", command, partial(answers, f"http://{HOST}:{settings.nats_monitor_port}/streaming/serverz"),
                base_environment(os.environ), chatter=BROKER_CHATTER)


def service_spec(settings: Settings, service: Service, number: int, port: int) -> Spec:
    environment = base_environment(os.environ)
    environment |= {
        "PORT": str(port),
        "STORE_URI": f"sqlite:{settings.run_dir / service.name}.db",
        "BUS_URI": f"stan://{HOST}:{settings.nats_port}/{CLUSTER}",
        "NATS_CLIENT_ID": f"{service.name}-{number}",
    }
    environment.setdefault("TRUSTED_PROXIES", HOST)
    if not environment.get("JWT_KEY") and not environment.get("JWT_KEY_FILE"):
        environment.pop("JWT_KEY", None)
        environment["JWT_KEY_FILE"] = str(ensure_key(settings))
    name = service.name if settings.scale == 1 else f"{service.name}-{number}"
    is_ready: Callable[[], bool] = partial(service_is_ready, port)
    return Spec(name, [str(settings.build / service.name)], is_ready, environment, address=f"{HOST}:{port}")


def nginx_configuration(settings: Settings, state: Path, ports: Mapping[str, list[int]]) -> str:
    upstreams, locations = [], []
    for service in SERVICES:
        servers = " ".join(f"server {HOST}:{port} max_fails=0;" for port in ports[service.name])
        upstreams.append(f"    upstream {service.name} {{ {servers} keepalive {UPSTREAM_CONNECTIONS}; "
                         "keepalive_timeout 15s; }")
        for prefix in service.prefixes:
            locations += [f"        location {place} {{ proxy_pass http://{service.name}; }}"
                          for place in (f"= {prefix}", f"{prefix}/")]
    words = {
        "@USER@": NGINX_ROOT_USER if os.geteuid() == 0 else "",
        "@STATE@": str(state),
        "@LISTEN@": f"{HOST}:{settings.http_port}",
        "@UPSTREAMS@": "\n".join(upstreams),
        "@LOCATIONS@": "\n".join(locations),
    }
    lines = (settings.root / NGINX_TEMPLATE).read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("#"))
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def nginx_spec(settings: Settings, ports: Mapping[str, list[int]]) -> Spec:
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":" + NGINX_PATH)
    if program is None:
        raise SettingsError("nginx is not installed: make deps installs it")
    state = settings.run_dir / "nginx"
    state.mkdir(exist_ok=True)
    configuration = state / "nginx.conf"
    configuration.write_text(nginx_configuration(settings, state, ports))
    return Spec("nginx", [program, "-e", "stderr", "-p", str(state), "-c", str(configuration)],
                partial(answers, f"http://{HOST}:{settings.http_port}/"), base_environment(os.environ),
                stop_signal=signal.SIGQUIT, orphan_signal=signal.SIGTERM)


def check_programs(settings: Settings) -> None:
    programs = {settings.root / BROKER: "make deps", **{settings.build / service.name: "make build"
                                                        for service in SERVICES}}
    missing = [f"{path} is missing: {remedy} makes it" for path, remedy in programs.items()
               if not os.access(path, os.X_OK)]
    if missing:
        raise SettingsError("\n".join(missing))


def plan(settings: Settings) -> list[list[Spec]]:
    """The stages, in the order of their start."""
    check_programs(settings)
    picked = iter(pick_ports(settings.scale * len(SERVICES), set(settings.ports().values())))
    ports = {service.name: [next(picked) for _ in range(settings.scale)] for service in SERVICES}
    services = [service_spec(settings, service, number, port)
                for service in SERVICES for number, port in enumerate(ports[service.name], 1)]
    return [[broker_spec(settings)], services, [nginx_spec(settings, ports)]]
