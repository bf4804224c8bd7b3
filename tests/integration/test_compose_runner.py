# SPDX-License-Identifier: Apache-2.0
"""tests/deployed/compose.py: whatever becomes of it, nothing of it is left on the engine, nor anything else taken away.

docker is a script here, which knows what was made by name only; no engine is asked."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import importlib.util
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import wait_until
from runner_support import PYTHON, ROOT

DEPLOYED_TESTS = ROOT / "tests" / "deployed"
sys.path.append(str(DEPLOYED_TESTS))

import compose_operator  # noqa: E402
import compose_project  # noqa: E402
import compose_system  # noqa: E402
from endings import Endings  # noqa: E402


def load(name: str) -> Any:
    """By its path: Compose itself may be a module of this name."""
    spec = importlib.util.spec_from_file_location(f"{name}_runner", DEPLOYED_TESTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


compose, cluster = load("compose"), load("cluster")

# Keeps what there is in $ENGINE, one a line: kind, project or repository, name or tag, when it was made. What it is asked
# for goes to $ENGINE.calls.
DOCKER = """#!/usr/bin/python3
import fcntl, os, re, signal, sys, time
path, behaviour, told = os.environ["ENGINE"], os.environ.get("BEHAVIOUR", ""), sys.argv[1:]
if told[0] == "events":
    # What happens is what is written to $ENGINE.events.
    parent, since = os.getppid(), float(told[told.index("--since") + 1])
    signal.signal(signal.SIGTERM, lambda *_: (os.write(2, b"context canceled\\n"), os._exit(1)))
    with open(path + ".events", "a+") as events:
        events.seek(0)
        if "--until" in told and behaviour != "no events":
            assert since <= float(told[told.index("--until") + 1]) <= time.time()
            sys.exit(print(events.read(), end=""))
        while os.getppid() == parent and behaviour != "no events":
            print("" if behaviour == "late" else events.read(), end="", flush=True)
            time.sleep(0.02)
    sys.exit("nobody tells")
open(path + ".calls", "a").write(" ".join(told) + "\\n")
lock = open(path + ".lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
things = [line.split() for line in open(path)]

def keep(things):
    open(path, "w").write("".join(" ".join(thing) + "\\n" for thing in things))

def option(name):
    return told[told.index(name) + 1] if name in told else ""

if told == ["version"]:
    sys.exit(1 if behaviour == "no engine" else 0)
if told[0] == "build":
    repository, tag = option("--tag").split(":")
    keep(things + [["image", repository, tag, "-"]])
elif told[0] == "compose" and "up" in told:
    project = option("--project-name")
    made = [[kind, project, f"{project}-{kind}", "2026-01-31T12:00:00.5Z"] for kind in ("network", "volume", "container")]
    keep(things + made)
    if behaviour == "hangs":
        print(os.getpid(), file=open(path + ".hangs", "w"), flush=True)
        fcntl.flock(lock, fcntl.LOCK_UN)
        time.sleep(600)
    sys.exit("no container is healthy")
elif told[:2] == ["image", "ls"]:
    tag = option("--filter").partition(":")[2]
    for kind, repository, its_tag, _ in things:
        if kind == "image" and tag in ("", its_tag):
            print(its_tag if option("--format") == "{{.Tag}}" else f"{repository}:{its_tag}")
elif told[:2] == ["image", "rm"]:
    assert "--no-prune" in told
    keep([thing for thing in things if f"{thing[1]}:{thing[2]}" not in told])
elif told[:2] == ["image", "inspect"]:
    print(2**20 * 26)
elif told[0] in ("container", "network", "volume") and told[1] == "ls":
    project = option("--filter").removeprefix("label=com.docker.compose.project").removeprefix("=")
    for kind, its_project, name, _ in things:
        if kind == told[0] and project in ("", its_project):
            print(name if "--quiet" in told else its_project)
elif told[1] == "rm":
    if behaviour == "stuck" and told[0] == "network":
        sys.exit("the network has active endpoints")
    keep([thing for thing in things if thing[0] != told[0] or thing[2] not in told])
elif told[1] == "inspect":
    for kind, _, name, created in things:
        if kind == "container" and name in told:
            print({"{{.Created}}": created, "{{.Name}}": "/" + name}.get(option("--format"), "[]"))
elif told[0] == "logs":
    print("what it had to say")
"""
OTHERS = "container somebody somebody-container 2026-01-31T12:00:00Z\nimage turnstile-auth 0.1.0 -\n"


class Desk:
    """Where a runner is started, with an engine of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.engine = folder / "engine"
        self.logs = folder / "logs"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        (folder / "bin").mkdir()
        (folder / "bin" / "docker").write_text(DOCKER)
        (folder / "bin" / "docker").chmod(0o755)
        self.engine.write_text(OTHERS)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, behaviour: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "TEST_"))}
        environment |= {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "ENGINE": str(self.engine),
                        "TMPDIR": str(self.temporary), "BEHAVIOUR": behaviour}
        command = [PYTHON, "-B", str(ROOT / "tests/deployed/compose.py"), "--build", str(self.folder), "--bus", "stan",
                   "--stand-ins", "debian", "--folder", str(self.logs)]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, process_group=0)
        self.started.append(process)
        return process

    def run(self, behaviour: str = "") -> tuple[int, str]:
        process = self.start(behaviour)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said

    def start_and_hang(self) -> subprocess.Popen[str]:
        """As somebody sees it who loses patience while containers are started."""
        process = self.start("hangs")
        wait_until(lambda: self.pid_of_hanging() or process.poll() is not None, "it starts containers")
        assert process.poll() is None, process.communicate()[0]
        return process

    def pid_of_hanging(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int(Path(f"{self.engine}.hangs").read_text())
        return 0

    def left(self) -> list[str]:
        """On the engine, besides what was there before."""
        return [line for line in self.engine.read_text().splitlines() if line not in OTHERS.splitlines()]

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
        with contextlib.suppress(OSError):
            if pid := self.pid_of_hanging():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    try:
        yield desk
    finally:
        desk.close()


def check_nothing_is_left(desk: Desk) -> None:
    assert desk.left() == []
    assert desk.engine.read_text() == OTHERS
    assert list(desk.temporary.glob("turnstile-test-compose-*")) == []
    assert [path.name for path in desk.logs.glob("turnstile-test-*")] == []


def test_what_cannot_be_started_is_a_failure_whose_logs_are_kept_and_nothing_is_left(desk: Desk) -> None:
    status, said = desk.run()
    assert status == 1
    assert "no container is healthy" in said and "\n0 passed, 1 failed\n" in said
    assert f"the logs of all containers are in {desk.logs}/stan" in said
    assert (desk.logs / "stan" / "container.log").read_text() == "what it had to say\n"
    assert (desk.logs / "test-summary").read_text() == "0 1 0\n"
    check_nothing_is_left(desk)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_interrupted_takes_all_down(desk: Desk, number: signal.Signals) -> None:
    process = desk.start_and_hang()
    assert any(line.startswith("container turnstile-test-") for line in desk.left())
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    check_nothing_is_left(desk)
    with pytest.raises(ProcessLookupError):
        os.kill(desk.pid_of_hanging(), 0)


def test_what_a_killed_run_has_left_the_next_one_removes(desk: Desk) -> None:
    process = desk.start_and_hang()
    process.kill()
    process.wait()
    left = desk.left()
    assert {line.split()[0] for line in left} == {"container", "network", "volume", "image"}
    _, said = desk.run()
    [run] = {line.split()[2] for line in left if line.startswith("image")}
    assert f"removed what {run} had left behind" in said
    check_nothing_is_left(desk)


def test_a_run_that_is_alive_is_left_alone_by_another_one(desk: Desk) -> None:
    process = desk.start_and_hang()
    before = desk.left()
    _, said = desk.run()
    assert "left behind" not in said
    assert desk.left() == before
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    check_nothing_is_left(desk)


def test_what_cannot_be_removed_is_told_and_all_else_is_removed(desk: Desk) -> None:
    status, said = desk.run("stuck")
    assert status == 1
    assert "could be removed:" in said and "active endpoints" in said
    assert {line.split()[0] for line in desk.left()} == {"network", "image"}


def test_without_an_engine_it_says_so_and_does_nothing(desk: Desk) -> None:
    status, said = desk.run("no engine")
    assert status == 1
    assert said == "test-compose: no Docker engine answers: is it running, and may this user talk to it?\n"
    assert Path(f"{desk.engine}.calls").read_text() == "version\n"


NOW = datetime.datetime(2026, 1, 31, 13, 0, 0, tzinfo=datetime.timezone.utc)


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock file of a run, which is not there yet; the run has no container either."""
    monkeypatch.setattr(compose_project, "lock_file", lambda name: tmp_path / name)
    monkeypatch.setattr(compose_project, "created_at", lambda name: [])
    return tmp_path / compose_project.new_run()


def is_dead(lock: Path) -> bool:
    with compose_project.taken_if_dead(lock.name, NOW) as answer:
        return answer


def test_a_run_without_a_lock_is_dead_when_it_is_older_than_a_run_gets(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for created, answer in ((["2026-01-31T11:59:59+00:00"], True), (["2026-01-31T12:30:00+00:00"], False), ([], False)):
        monkeypatch.setattr(compose_project, "created_at", lambda name, created=created: created)
        assert (is_dead(lock), lock.exists()) == (answer, False)
    lock.touch()
    assert is_dead(lock) and not lock.exists()
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not is_dead(lock) and lock.exists()


def test_what_was_left_behind_is_removed_by_one_of_those_who_find_it(lock: Path) -> None:
    lock.touch()
    with compose_project.taken_if_dead(lock.name, NOW) as first:
        assert first and not is_dead(lock)
    # What could not be removed is found again.
    lock.touch()
    with pytest.raises(RuntimeError), compose_project.taken_if_dead(lock.name, NOW):
        raise RuntimeError("stuck")
    assert is_dead(lock)


def test_a_run_whose_lock_file_was_taken_for_a_dead_ones_makes_another(lock: Path) -> None:
    """It was found between being made and being locked."""
    claiming = threading.Event()

    def claim() -> None:
        with compose_project.claimed(lock.name):
            claiming.set()
            done.wait(60)

    done, thread = threading.Event(), threading.Thread(target=claim)
    lock.touch()
    try:
        with compose_project.taken_if_dead(lock.name, NOW) as answer:
            thread.start()
            wait_until(lambda: str(lock) in waiting_for_locks(), "the run waits for the lock")
            assert answer
        assert claiming.wait(60)
        assert lock.exists() and not is_dead(lock)
    finally:
        done.set()
        thread.join()
    assert not lock.exists()


def waiting_for_locks() -> list[str]:
    """The files that this process waits to lock, as it has them open twice."""
    links = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(path))
    return [link for link in links if links.count(link) > 1]


def test_all_files_of_tests_that_are_run_on_a_deployed_system_are_there() -> None:
    """pytest ends with an error if one is not."""
    for file in {*itertools.chain(*compose_system.TESTS.values()), *cluster.TESTS}:
        assert (ROOT / file).exists(), file


# ---- containers that end by themselves ----


CONTAINER = {"com.docker.compose.service": "tickets", "com.docker.compose.container-number": "2", "name": "x_tickets_2"}


class Events:
    """Follows an engine that says what the test wants."""

    def __init__(self, folder: Path):
        self._engine = folder / "engine"
        self._log = folder / "engine.events"
        self._log.touch()
        self._moments = itertools.count(1769860800 * 10**9)
        self.endings = Endings("x", folder / "endings")

    def happens(self, kind: str, container: str = "a", **attributes: str) -> None:
        self.is_said(json.dumps({"Action": kind, "time": 1769860800, "timeNano": next(self._moments),
                                 "Actor": {"ID": container, "Attributes": CONTAINER | attributes}}))

    def is_said(self, line: str) -> None:
        with open(self._log, "a") as log:
            log.write(line + "\n")

    def noted(self, count: int) -> list[str]:
        wait_until(lambda: self.endings.file.read_text().count("\n") >= count, f"{count} are noted")
        return self.endings.file.read_text().splitlines()


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    Desk(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("ENGINE", str(tmp_path / "engine"))
    events = Events(tmp_path)
    try:
        yield events
    finally:
        events.endings.close()


def test_a_container_that_ends_by_itself_is_noted_though_it_is_started_or_removed_afterwards(events: Events) -> None:
    events.happens("die", exitCode="139")
    events.happens("start")
    events.happens("kill", signal="9")
    events.happens("die", exitCode="137")
    events.happens("start")
    events.happens("oom")
    events.happens("die", exitCode="137")
    assert events.noted(2) == [
        "tickets-2 ended by itself at 12:00:00 with status 139",
        "tickets-2 ended by itself at 12:00:00 with status 137: it had run out of memory",
    ]


def test_containers_that_are_told_to_end_are_not_noted(events: Events) -> None:
    events.happens("kill", "a", signal="15")
    events.happens("die", "a", exitCode="0")
    events.happens("kill", "b", signal="19")  # frozen, and let go on
    events.happens("kill", "b", signal="18")
    events.happens("die", "b", exitCode="1")
    noted = events.noted(1)
    assert noted == ["tickets-2 ended by itself at 12:00:00 with status 1"]
    assert events.endings.close() == noted, "nor is the end of the watch itself"


def test_a_container_that_has_ended_by_itself_is_a_failure_though_all_tests_pass(capsys: pytest.CaptureFixture[str]) -> None:
    counts = compose_system.Counts(4)
    assert str(compose_system.with_endings(counts, [])) == "4 passed, 0 failed"
    assert str(compose_system.with_endings(counts, ["nats-1 ended by itself"])) == "4 passed, 1 failed"
    assert "nats-1 ended by itself" in capsys.readouterr().out


def test_that_nobody_looks_any_more_is_noted(events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHAVIOUR", "no events")
    blind = Endings("x", tmp_path / "blind")
    wait_until(lambda: "nobody sees" in blind.file.read_text(), "it says so")
    said = blind.close()
    assert said[0] == "docker events said nobody tells"
    assert "nobody sees whether a container has ended by itself at the last moment" in said[-1]


def test_what_is_on_its_way_when_the_watch_ends_is_noted(
    events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVIOUR", "late")
    late = Endings("x", tmp_path / "late")
    events.happens("die", exitCode="3")
    events.noted(1)
    assert late.file.read_text() == ""
    assert late.close() == ["tickets-2 ended by itself at 12:00:00 with status 3"]


@pytest.mark.parametrize("line", ["no JSON", "7", '{"Action": "die"}'])
def test_what_is_no_event_is_noted_once_and_does_not_end_the_watch(events: Events, line: str) -> None:
    events.is_said(line)
    events.happens("die", exitCode="3")
    noted = events.noted(2)
    assert noted[0].startswith(f"docker events said {line}")
    assert noted[1:] == ["tickets-2 ended by itself at 12:00:00 with status 3"]
    assert events.endings.close() == noted


def test_what_ends_by_itself_while_the_system_starts_is_said(
    events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compose_system, "remove_project", lambda name: None)
    project = compose_system.Project("x", "stan", True, ["compose"], tmp_path, tmp_path)
    monkeypatch.setattr(project, "_endings", events.endings)
    events.happens("die", exitCode="3")
    project.remove()
    assert "tickets-2 ended by itself at 12:00:00 with status 3" in capsys.readouterr().out


def test_only_its_own_names_are_those_of_runs() -> None:
    run = compose_project.new_run()
    for name, found in {run: run, f"{run}-stan": run, f"{run}-images": run, f"x{run}": None, f"{run}0": None,
                        "turnstile-test-xyzxyzxy": None, "turnstile-test-": None, "turnstile": None}.items():
        match = compose_project.RUN.match(name)
        assert (match and match[1]) == found, name


@pytest.mark.parametrize(
    "text, status, said",
    [
        ("4 0 0", 0, "4 passed, 0 failed"), ("4 3 2", 1, "4 passed, 3 failed, 2 skipped"),
        ("4 0 0", 2, "4 passed, 1 failed"), ("0 0 0", 5, "0 passed, 1 failed"), ("0 0 3", 0, "0 passed, 1 failed, 3 skipped"),
        ("4 0 0", None, "4 passed, 1 failed"), (None, 0, "0 passed, 1 failed"),
    ],
)  # fmt: skip
def test_tests_that_do_not_all_pass_or_count_nothing_are_a_failure(
    tmp_path: Path, text: str | None, status: int | None, said: str
) -> None:
    report = tmp_path / "counts"
    if text is not None:
        report.write_text(text)
    assert str(compose_system.read_counts(report, status)) == said


def test_sizes_are_read_as_docker_prints_them() -> None:
    for text, size in {"512KiB": 0.5, "12.5MiB": 12.5, "1.25GiB": 1280, "0B": 0, "--": 0}.items():
        assert compose_system.mebibytes(text) == size


def test_containers_are_called_alike_by_both_versions_of_compose() -> None:
    assert compose_system.short_name("turnstile-test-1-stan_nats-2_1", "turnstile-test-1-stan") == "nats-2-1"
    assert compose_system.short_name("turnstile-test-1-stan-nats-2-1", "turnstile-test-1-stan") == "nats-2-1"


def test_the_images_that_are_pulled_are_those_that_the_files_name() -> None:
    names = [image.partition(":")[0] for image in compose.images_to_pull(["stan", "jetstream"])]
    assert sorted(names) == ["mongo", "nats", "nats-streaming", "nginx"]
    assert "nats" not in [image.partition(":")[0] for image in compose.images_to_pull(["stan"])]


def test_every_service_of_the_compose_files_is_a_part_or_a_tool() -> None:
    text = "".join((ROOT / file).read_text() for files in compose_system.FILES.values() for file in files)
    services = {name for block in text.split("\nservices:\n")[1:]
                for name in re.findall(r"^  ([\w-]+):", re.split(r"\n(?:networks|volumes):", block)[0], re.MULTILINE)}
    known = {name for names in compose_operator.NAMES.values() for name in names}
    assert services - known == {"eventctl"}
