# SPDX-License-Identifier: Apache-2.0
"""Rules that hold for containers wherever they run: in compose and in Kubernetes."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

SERVICE_PORT = 3000
IMAGE_PREFIX = "turnstile-"
HEALTHZ, READYZ = "/healthz", "/readyz"
# A service ends within this time after SIGTERM.
STOP_SECONDS = 10
SECRET_NAME = re.compile(r"(KEY|SECRET|PASSWORD|PASSWD|TOKEN)(_PREVIOUS)?$")


def image_problem(image: str, version: str) -> str | None:
    """Why an image is not one and the same every time, if so. Ours have the Makefile's version."""
    if "@sha256:" in image:
        return None
    name, _, tag = image.rpartition("/")[2].partition(":")
    if not tag:
        return f"image {image} has no tag"
    if tag == "latest":
        return f"image {image} is another one every day"
    if name.startswith(IMAGE_PREFIX) and tag != version:
        return f"image {image} is of another version than {version}"
    return None


# ---- what the services are told ----


def key_problems(names: dict[str, str | None], keys: list[str], service: str) -> Iterator[str]:
    """Each key is given, itself or by file, and nothing that the service does not know."""
    for key in keys:
        given = [name for name in (key, f"{key}_FILE") if name in names]
        # Empty, the key has the service's own default; the file's name says that there is no file.
        if not given or (given == [f"{key}_FILE"] and names[given[0]] == ""):
            yield f"{key}, which {service} reads, is not set"
        if len(given) > 1 and all(names[name] != "" for name in given):
            yield f"{key} and {key}_FILE are both set: {service} takes one of them"
    for name in sorted(names.keys() - {name for key in keys for name in (key, f"{key}_FILE")}):
        yield f"{name} is set, which {service} does not know"


def hosts_of(uri: str) -> Iterator[tuple[str, int]]:
    """Host and port of each server of a URI of ours."""
    for part in urlsplit(uri).netloc.rpartition("@")[2].split(","):
        host, _, port = part.partition(":")
        if host and port.isdigit():
            yield host, int(port)


# ---- the broker ----


def parse_arguments(words: list[str]) -> dict[str, str]:
    """Each option, and its value if it has one."""
    found: dict[str, str] = {}
    option = ""
    for word in words:
        if word.startswith("-"):
            option, _, value = ("-" + word.lstrip("-")).partition("=")
            found[option] = value
        elif option:
            found[option] = word
    return found


# Where a container is, not how it is to behave: its address, its ports, its folder.
PLACED = {"-a": "0.0.0.0", "-p": "4222", "-m": "8222"}
# What the server does anyway, and may be told all the same.
DEFAULTS = {"-file_sync": "true"}


def broker_problems(words: list[str], local: list[str], folders: list[str]) -> Iterator[str]:
    """How the broker's arguments differ from those of the local runner; folders are those that outlive it."""
    given, wanted = parse_arguments(words), parse_arguments(local) | PLACED
    folder = given.pop("-dir", "")
    wanted.pop("-dir", None)
    for option, value in wanted.items():
        what = f"{option} {value}".strip()
        if option not in given:
            yield f"NATS Streaming lacks {what}"
        elif given[option] != value:
            yield f"NATS Streaming has {option} {given[option]}, not {what}"
    for option in sorted(given.keys() - wanted.keys()):
        if DEFAULTS.get(option) != given[option]:
            yield f"NATS Streaming has {option}, which the local runner does not give"
    if not any(folder == place or folder.startswith(place.rstrip("/") + "/") for place in folders):
        yield f"NATS Streaming keeps its events in {folder or 'no folder'}, which does not outlive it"
