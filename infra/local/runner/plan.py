# SPDX-License-Identifier: Apache-2.0
"""What is to run, and with which arguments: the broker, the services, nginx in front of them."""

import os
import random
import re
import secrets
import shutil
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from runner.engines import broker_spec, bus_uri, check_broker, store_uri
from runner.probe import answers, service_is_ready
from runner.process import Spec, base_environment
from runner.services import SERVICES, Service
from runner.settings import HOST, Settings, SettingsError, port_problem

NGINX_TEMPLATE = "infra/nginx/nginx.conf.in"
NGINX_INCLUDE = re.compile(r"^ *include (\S+);\n", re.MULTILINE)
NGINX_COMMENT = re.compile(r"^#.*\n", re.MULTILINE)
NGINX_PATH = "/usr/sbin:/usr/local/sbin"
NGINX_ROOT_USER = "user www-data;"
UPSTREAM_CONNECTIONS = 256
# Below the ports that the kernel gives to outgoing connections, so that a port is still free when its service returns.
SERVICE_PORTS = range(20000, 30000)
KEY_BYTES = 32
# What the runner decides for each service.
OWN_VARIABLES = ("PORT", "STORE_URI", "BUS_URI", "NATS_CLIENT_ID")


def ignored_variables(environment: Mapping[str, str]) -> list[str]:
    return [name for name in OWN_VARIABLES if environment.get(name)]


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


def service_spec(settings: Settings, service: Service, number: int, port: int) -> Spec:
    environment = base_environment(os.environ)
    environment |= {
        "PORT": str(port),
        "STORE_URI": store_uri(settings, service.name),
        "BUS_URI": bus_uri(settings),
        "NATS_CLIENT_ID": f"{service.name}-{number}",
    }
    environment.setdefault("TRUSTED_PROXIES", HOST)
    if not environment.get("JWT_KEY") and not environment.get("JWT_KEY_FILE"):
        environment.pop("JWT_KEY", None)
        environment["JWT_KEY_FILE"] = str(ensure_key(settings))
    name = service.name if settings.scale == 1 else f"{service.name}-{number}"
    is_ready: Callable[[], bool] = partial(service_is_ready, port)
    return Spec(name, [str(settings.build / service.name)], is_ready, environment, address=f"{HOST}:{port}")


def nginx_configuration(settings: Settings, ports: Mapping[str, list[int]]) -> str:
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
        "@LISTEN@": f"{HOST}:{settings.http_port}",
        "@UPSTREAMS@": "\n".join(upstreams),
        "@LOCATIONS@": "\n".join(locations),
    }
    template = settings.root / NGINX_TEMPLATE
    text = NGINX_COMMENT.sub("", template.read_text())
    # In place, not by their paths: a path may have characters that nginx takes for a pattern.
    text = NGINX_INCLUDE.sub(lambda include: (template.parent / include[1]).read_text(), text)
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
    configuration.write_text(nginx_configuration(settings, ports))
    return Spec("nginx", [program, "-e", "stderr", "-p", str(state), "-c", str(configuration)],
                partial(answers, f"http://{HOST}:{settings.http_port}/"), base_environment(os.environ),
                stop_signal=signal.SIGQUIT, orphan_signal=signal.SIGTERM)


def check_programs(settings: Settings) -> None:
    check_broker(settings)
    programs = [settings.build / service.name for service in SERVICES]
    missing = [f"{path} is missing: make build makes it" for path in programs if not os.access(path, os.X_OK)]
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
