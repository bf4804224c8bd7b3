# SPDX-License-Identifier: Apache-2.0
"""The images themselves: what is in them, and what is not; how they say what they are; how they start and stop.

TEST_DEPLOYMENT names the file that tells the tag of the images; without it the tag is TAG, or the version. So it can be run
alone: `make images && /usr/bin/python3 -B -m pytest tests/deployed/test_images.py`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "integration")]

from docker_command import PROJECT_LABEL, docker  # noqa: E402
from harness import DEPLOYMENT, JWT_KEY, ROOT, wait_until  # noqa: E402

pytestmark = pytest.mark.deployed

SERVICES = ("auth", "tickets", "orders")
PROGRAMS = (*SERVICES, "eventctl")
BYTES_MAX = 40_000_000
USER = 65532
INVALID, NOT_FOUND, NOT_READY = 78, 127, 1
RUN_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
# What deployments take away from a container; the programs have to do without.
CONFINED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
# What every file in an image is: made by Docker for each container, a library, or one of these.
MADE_BY_DOCKER = {".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"}
LIBRARY = re.compile(r"lib(64)?/(\w+-linux-\w+/)?(lib[\w.+-]+|ld-linux[\w-]*)\.so[\d.a-z]*")
TEXTS = {"etc/group", "etc/nsswitch.conf", "etc/passwd", "etc/ssl/certs/ca-certificates.crt", "etc/ssl/openssl.cnf"}
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
CERTIFICATES_MIN = 100
# A store in memory, and a bus that is away, which keeps nobody from serving.
SETTINGS = {
    "JWT_KEY": JWT_KEY,
    "STORE_URI": "sqlite:/data/store.db",
    "BUS_URI": "stan://127.0.0.1:1/ticketing",
}


def tag() -> str:
    if DEPLOYMENT:
        return json.loads(Path(DEPLOYMENT).read_text())["operator"]["settings"]["environment"]["TAG"]
    return os.environ.get("TAG") or version()


def version() -> str:
    match = re.search(r"^VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert match is not None
    return match[1]


def image(program: str) -> str:
    return f"turnstile-{program}:{tag()}"


def labelled() -> list[str]:
    """By this, what is left of a run that was killed is found (compose_project.py)."""
    return [f"--label={PROJECT_LABEL}={tag()}-images"]


@functools.cache
def described(program: str) -> Any:
    return json.loads(docker("image", "inspect", image(program)))[0]


@functools.cache
def files(program: str) -> dict[str, tarfile.TarInfo]:
    """All that is in the image, by path."""
    return {member.name: member for member in archive(program).getmembers()}


@functools.cache
def archive(program: str) -> tarfile.TarFile:
    container = docker("create", *labelled(), image(program)).strip()
    try:
        exported = subprocess.run(["docker", "export", container], capture_output=True, check=True, timeout=RUN_SECONDS_MAX)
    finally:
        docker("rm", container)
    return tarfile.open(fileobj=io.BytesIO(exported.stdout))


def content(program: str, path: str) -> str:
    file = archive(program).extractfile(files(program)[path])
    assert file is not None, path
    return file.read().decode()


def run(program: str, *arguments: str, options: tuple[str, ...] = (), **settings: str) -> "subprocess.CompletedProcess[str]":
    """A container that is expected to end by itself."""
    variables = [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
    return subprocess.run(
        ["docker", "run", "--rm", "--network=none", *CONFINED, *labelled(), *variables, *options, image(program), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
    )


@contextlib.contextmanager
def running(service: str) -> Iterator[str]:
    """A container of a service, which has nobody to talk to, and a place to write to that only its user may enter."""
    variables = [part for name, value in SETTINGS.items() for part in ("--env", f"{name}={value}")]
    container = docker("run", "--detach", "--network=none", f"--tmpfs=/data:uid={USER},mode=0700", *CONFINED, *labelled(),
                       *variables, image(service)).strip()
    try:
        yield container
    finally:
        docker("rm", "--force", "--volumes", container)


def state(container: str) -> Any:
    return json.loads(docker("inspect", "--format", "{{json .State}}", container))


def wait_healthy(container: str) -> None:
    def is_healthy() -> bool:
        now = state(container)
        assert now["Running"], log(container)
        return now["Health"]["Status"] == "healthy"

    wait_until(is_healthy, f"the engine finds {container} healthy")


def log(container: str) -> str:
    return docker("logs", container, stderr=subprocess.STDOUT)


# ---- what is in it ----


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_image_is_small(program: str) -> None:
    assert described(program)["Size"] <= BYTES_MAX


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_image_has_the_program_its_libraries_and_nothing_else(program: str) -> None:
    own = f"usr/local/bin/{program}"
    paths = {path for path, member in files(program).items() if member.isfile()} - MADE_BY_DOCKER
    strange = {path for path in paths - TEXTS - {own} if not LIBRARY.fullmatch(path)}
    assert strange == set()
    assert paths >= {own, *TEXTS}
    assert files(program)["program"].linkname == f"/{own}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_in_an_image_can_be_changed_by_its_user_or_gives_rights(program: str) -> None:
    for path, member in files(program).items():
        assert (member.uid, member.gid) == (0, 0), path
        assert member.issym() or member.mode & 0o7022 == 0, (path, oct(member.mode))


@pytest.mark.parametrize("program", PROGRAMS)
def test_there_is_no_shell(program: str) -> None:
    ended = run(program, "-c", "exit 0", options=("--entrypoint=sh",))
    assert ended.returncode == NOT_FOUND, ended


@pytest.mark.parametrize("program", PROGRAMS)
def test_certificates_are_where_openssl_looks_for_them(program: str) -> None:
    assert content(program, CERTIFICATES).count("-----BEGIN CERTIFICATE-----") >= CERTIFICATES_MIN
    assert files(program)["usr/lib/ssl/cert.pem"].linkname == f"/{CERTIFICATES}"
    assert files(program)["usr/lib/ssl/certs"].linkname == "/etc/ssl/certs"


@pytest.mark.parametrize("program", PROGRAMS)
def test_its_user_and_the_way_to_names_are_known(program: str) -> None:
    assert re.search(rf"^\w+:x:{USER}:{USER}:", content(program, "etc/passwd"), re.MULTILINE)
    assert re.search(rf"^\w+:x:{USER}:", content(program, "etc/group"), re.MULTILINE)
    assert "hosts: files dns" in content(program, "etc/nsswitch.conf").splitlines()


def test_services_share_the_layer_of_their_libraries() -> None:
    assert len({described(service)["RootFS"]["Layers"][0] for service in SERVICES}) == 1


# ---- what it says of itself ----


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_image_is_labelled(program: str) -> None:
    labels = described(program)["Config"]["Labels"]
    prefix = "org.opencontainers.image."
    said = {name.removeprefix(prefix): value for name, value in labels.items() if name.startswith(prefix)}
    assert said["version"] == version()
    assert said["licenses"] == "Apache-2.0"
    assert program in said["title"] and "Turnstile" in said["description"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_image_starts_its_program_as_nobody_in_particular(program: str) -> None:
    config = described(program)["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["/program"] and not config["Cmd"]
    assert "PATH=/usr/local/bin" in config["Env"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_listens_for_others_and_says_how_it_is(service: str) -> None:
    config = described(service)["Config"]
    assert {"LISTEN_ADDRESS=0.0.0.0", "PORT=3000"} <= set(config["Env"])
    assert list(config["ExposedPorts"]) == ["3000/tcp"]
    assert config["Healthcheck"]["Test"] == ["CMD", "/program", "--healthcheck"]


def test_eventctl_listens_to_nobody() -> None:
    config = described("eventctl")["Config"]
    assert not config.get("ExposedPorts") and not config.get("Healthcheck")


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_is_of_this_version(program: str) -> None:
    ended = run(program, "--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{program} {version()}\n", "")


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_needs_nothing(program: str) -> None:
    ended = run(program, "--help")
    assert ended.returncode == 0 and program in ended.stdout.splitlines()[0] and ended.stderr == ""


def test_a_program_is_found_by_its_name() -> None:
    assert run("eventctl", "--version", options=("--entrypoint=eventctl",)).returncode == 0


# ---- how it starts and stops ----


@pytest.mark.parametrize("service", SERVICES)
def test_all_that_is_missing_is_told(service: str) -> None:
    ended = run(service)
    missing = {line.partition(":")[0] for line in ended.stderr.splitlines()}
    assert ended.returncode == INVALID
    assert missing == {"STORE_URI", "JWT_KEY"} | ({"BUS_URI"} if service != "auth" else set())


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_without_any_rights_becomes_healthy_and_ends_when_told(service: str) -> None:
    with running(service) as container:
        wait_healthy(container)
        docker("exec", container, "/program", "--healthcheck")
        docker("kill", "--signal=TERM", container)
        assert docker("wait", container, seconds=STOP_SECONDS_MAX).strip() == "0", log(container)
        assert "SIGTERM received, stopping" in log(container)


def test_a_health_check_of_nothing_fails_with_a_reason() -> None:
    ended = run("tickets", "--healthcheck")
    assert ended.returncode == NOT_READY and "Connection refused" in ended.stderr
