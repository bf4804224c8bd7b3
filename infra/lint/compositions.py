# SPDX-License-Identifier: Apache-2.0
"""The rules for compose, as functions of compose files that are read together: each tells what is wrong, and with which
service."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from rendered import Composition, Facts, dig, mounts_of, ports_of, words_of
from rules import IMAGE_PREFIX, SECRET_NAME, SERVICE_PORT, STOP_SECONDS, broker_problems, hosts_of, image_problem, \
    key_problems, parse_arguments

Problem = tuple[str, str]

LOOPBACK = "127.0.0.1"
SECRETS_FOLDER = ".secrets"
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def environment_of(service: dict[str, Any]) -> dict[str, str | None]:
    """None is a variable whose value comes from the user's environment."""
    given = service.get("environment", {})
    if isinstance(given, list):
        given = {name: value if mark else None for name, mark, value in (text.partition("=") for text in given)}
    return {name: None if value is None else str(value) for name, value in given.items()}


def check_images(composition: Composition, facts: Facts) -> Iterator[Problem]:
    for name, service in composition.services.items():
        why = image_problem(service["image"], facts.version) if "image" in service else "has no image name"
        if why:
            yield name, why
    for name in facts.keys:
        image = dig(composition.services, name, "image", default="")
        if name in composition.services and not image.rpartition("/")[2].startswith(f"{IMAGE_PREFIX}{name}:"):
            yield name, f"runs the image {image}, not {IMAGE_PREFIX}{name}"


def check_published(composition: Composition, facts: Facts) -> Iterator[Problem]:
    for name, service in composition.services.items():
        for port in ports_of(service):
            if port.address != LOOPBACK:
                where = port.address or "every address"
                yield name, f"publishes port {port.published or port.target} on {where}, not on {LOOPBACK}"


def check_security(composition: Composition, facts: Facts) -> Iterator[Problem]:
    for name, service in composition.services.items():
        if service.get("read_only") is not True:
            yield name, "can write to its own file system (read_only)"
        if "ALL" not in service.get("cap_drop", []):
            yield name, "keeps capabilities (cap_drop)"
        if service.get("cap_add"):
            yield name, f"adds capabilities: {', '.join(service['cap_add'])}"
        if not {"no-new-privileges", "no-new-privileges:true"} & set(service.get("security_opt", [])):
            yield name, "may gain privileges (security_opt: no-new-privileges:true)"
        if service.get("privileged"):
            yield name, "is privileged"
        if str(service.get("user", "")).partition(":")[0] in ("root", "0"):
            yield name, "runs as root"
        for mode in ("network_mode", "pid", "ipc"):
            if service.get(mode) == "host":
                yield name, f"shares the machine's own ({mode}: host)"
        for mount in mounts_of(service):
            if mount.source.endswith("docker.sock"):
                yield name, "can command the Docker engine"


def seconds(duration: Any) -> int:
    """compose tells durations as 1h2m3s."""
    match = DURATION.fullmatch(str(duration or ""))
    hours, minutes, rest = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return hours * 3600 + minutes * 60 + rest


def check_life(composition: Composition, facts: Facts) -> Iterator[Problem]:
    """What dies is started again, what hangs is seen, what is stopped has the time to end by itself."""
    for name, service in composition.services.items():
        if "profiles" in service:  # a tool, which is run by hand
            continue
        if service.get("restart") not in ("unless-stopped", "always"):
            yield name, "is not started again when it dies (restart)"
        if seconds(service.get("stop_grace_period")) <= STOP_SECONDS:
            yield name, f"is killed before it can have ended, which may take {STOP_SECONDS} s (stop_grace_period)"
        check = service.get("healthcheck", {})
        # The images of the services bring their own.
        if check.get("disable") or name not in facts.keys and not check.get("test"):
            yield name, "has no healthcheck"
        waits = service.get("depends_on", {})
        for other in waits:
            if dig(waits, other, "condition") != "service_healthy":
                yield name, f"does not wait until {other} is healthy (depends_on)"


def check_keys(composition: Composition, facts: Facts) -> Iterator[Problem]:
    for name, keys in facts.keys.items():
        service = composition.services.get(name)
        if service is None:
            yield name, "is missing"
            continue
        for why in key_problems(environment_of(service), keys, name):
            yield name, why


def check_addresses(composition: Composition, facts: Facts) -> Iterator[Problem]:
    """The store and the bus are where the services look for them."""
    for name in facts.keys:
        environment = environment_of(composition.services.get(name, {}))
        if environment.get("PORT", str(SERVICE_PORT)) != str(SERVICE_PORT):
            yield name, f"listens on port {environment['PORT']}, not on {SERVICE_PORT}"
        for key in ("STORE_URI", "BUS_URI"):
            for host, _ in hosts_of(environment.get(key) or ""):
                if host not in composition.services:
                    yield name, f"{key} leads to {host}, which is no service"


def check_broker(composition: Composition, facts: Facts) -> Iterator[Problem]:
    for name, service in composition.services.items():
        words = [*words_of(service.get("entrypoint")), *words_of(service.get("command"))]
        if "-cid" in parse_arguments(words):
            folders = [mount.target for mount in mounts_of(service) if mount.kind == "volume" and mount.source]
            for why in broker_problems(words, facts.broker, folders):
                yield name, why


def check_secrets(composition: Composition, facts: Facts) -> Iterator[Problem]:
    for name, secret in dig(composition.data, "secrets", default={}).items():
        if f"/{SECRETS_FOLDER}/" not in f"/{dig(secret, 'file', default='')}":
            yield f"secret {name}", f"is no file in {SECRETS_FOLDER}/"
    for name, service in composition.services.items():
        for variable, value in environment_of(service).items():
            if value and not variable.endswith("_FILE") and (SECRET_NAME.search(variable) or urlsplit(value).password):
                yield name, f"{variable} has a value that everybody can read"


Check = Callable[[Composition, Facts], Iterator[Problem]]
CHECKS: dict[str, Check] = {
    "images": check_images,
    "published ports": check_published,
    "security": check_security,
    "life": check_life,
    "keys": check_keys,
    "addresses": check_addresses,
    "broker": check_broker,
    "secrets": check_secrets,
}
