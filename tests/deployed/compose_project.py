# SPDX-License-Identifier: Apache-2.0
"""What `make test-compose` leaves on a Docker engine, and how it is removed: its own, and that of runs that died.

A run has a name that nobody else has. Its images have it for a tag, its Compose projects begin with it, and it holds a
lock on a file of that name as long as it lives. So what is on the engine under the name of a run whose lock is free was
left behind. Who removes that holds the lock meanwhile: of several who begin at once one does it, and the others go on.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from docker_command import PROJECT_LABEL, docker

RUN_PREFIX = "turnstile-test-"
RUN = re.compile(rf"^({RUN_PREFIX}[0-9a-f]{{8}})(?:-[a-z]+)?$")
LOCK_PREFIX = "turnstile-test-compose-"
# A run without a lock file, as after a restart of the machine, is dead if it is older than any run may get.
AGE_SECONDS_MAX = 3600.0
REMOVE_SECONDS_MAX = 120.0


def new_run() -> str:
    return f"{RUN_PREFIX}{secrets.token_hex(4)}"


def lock_file(run: str) -> Path:
    return Path(tempfile.gettempdir()) / f"{LOCK_PREFIX}{run}"


@contextlib.contextmanager
def claimed(run: str) -> Iterator[None]:
    """Says for as long as it lasts, or the process lives, that the run is alive."""
    path = lock_file(run)
    with contextlib.ExitStack() as closing:
        while True:
            file = closing.enter_context(open(path, "a"))
            fcntl.flock(file, fcntl.LOCK_EX)
            if is_at(file, path):
                break
            # Somebody has found the file before it was locked, and removed it.
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def is_at(file: IO[str], path: Path) -> bool:
    """Is what is open there still what goes by that name?"""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def taken_if_dead(run: str, now: datetime.datetime) -> Iterator[bool]:
    """Whether it is; then nobody else finds it so for as long as this lasts. Its lock file goes, unless this is left by an
    exception."""
    path = lock_file(run)
    with contextlib.ExitStack() as closing:
        try:
            # One that has no lock file gets none, unless it is dead: to find an unlocked one is to know that it is.
            mode = "r+" if path.exists() or not is_old(run, now) else "a"
            file = closing.enter_context(open(path, mode))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            is_ours = False  # it is not there and young, or it is locked, or another user's
        else:
            is_ours = is_at(file, path)  # or somebody has just removed it
        yield is_ours
        if is_ours:
            path.unlink()


def is_old(run: str, now: datetime.datetime) -> bool:
    created = [datetime.datetime.fromisoformat(text) for text in created_at(run)]
    return bool(created) and (now - min(created)).total_seconds() > AGE_SECONDS_MAX


def created_at(run: str) -> list[str]:
    """When the containers of a run were created, to the second."""
    containers = [name for project in projects(run) for name in of_project("container", project)]
    if not containers:
        return []
    lines = docker("container", "inspect", "--format", "{{.Created}}", *containers).split()
    return [f"{line[:19]}+00:00" for line in lines]


def remove_dead_runs() -> list[str]:
    """Of all that is left on this engine; returns their names."""
    now = datetime.datetime.now(datetime.timezone.utc)
    found = []
    for run in sorted(runs()):
        with taken_if_dead(run, now) as is_dead:
            if is_dead:
                remove_run(run)
                found.append(run)
    return found


def runs() -> set[str]:
    """All of which there is a trace: a lock, something with a label of Compose's, or an image."""
    names = {path.name.removeprefix(LOCK_PREFIX) for path in Path(tempfile.gettempdir()).glob(f"{LOCK_PREFIX}*")}
    names |= {project for kind in ("container", "network", "volume") for project in labels(kind)}
    names |= set(docker("image", "ls", "--format", "{{.Tag}}").split())
    return {match[1] for name in names if (match := RUN.match(name))}


def projects(run: str) -> set[str]:
    found = {project for kind in ("container", "network", "volume") for project in labels(kind)}
    return {project for project in found if (match := RUN.match(project)) and match[1] == run}


def labels(kind: str) -> set[str]:
    """The projects that something of this kind belongs to."""
    everything = ["--all"] if kind == "container" else []
    return set(docker(kind, "ls", *everything, "--filter", f"label={PROJECT_LABEL}",
                      "--format", f'{{{{.Label "{PROJECT_LABEL}"}}}}').split())


def of_project(kind: str, project: str) -> list[str]:
    everything = ["--all"] if kind == "container" else []
    return docker(kind, "ls", *everything, "--filter", f"label={PROJECT_LABEL}={project}", "--quiet").split()


def remove_project(project: str) -> None:
    """What fails keeps nothing else from being removed, and is told at the end."""
    problems = []
    for kind, how in (("container", ("rm", "--force", "--volumes")), ("network", ("rm",)), ("volume", ("rm",))):
        try:
            if names := of_project(kind, project):
                docker(kind, *how, *names, seconds=REMOVE_SECONDS_MAX)
        except (RuntimeError, subprocess.TimeoutExpired) as problem:
            problems.append(str(problem))
    if problems:
        raise RuntimeError("\n".join([f"not all of {project} could be removed:", *problems]))


def remove_run(run: str) -> None:
    """All that goes by its name."""
    for project in sorted(projects(run)):
        remove_project(project)
    # Layers that the next build starts from stay.
    if images := images_of(run):
        docker("image", "rm", "--no-prune", *images, seconds=REMOVE_SECONDS_MAX)


def images_of(run: str) -> list[str]:
    return docker("image", "ls", "--filter", f"reference=*:{run}", "--format", "{{.Repository}}:{{.Tag}}").split()
