# SPDX-License-Identifier: Apache-2.0
""".ci/run and infra/ci/docker-engine.sh: when the tests of the containers are run, and what is said when they are not. make
and docker are scripts here that note how they are called; no engine is started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from runner_support import ROOT

FILES = (".ci/run", "infra/ci/docker-engine.sh", "infra/local/packages.sh")
NOBODY = "65534"
COMPOSE = "test-compose ONLY=test_containers or test_events or test_images or test_whole"
# What make leaves of each kind of test.
MAKE = """#!/bin/sh
echo "make $* ($DOCKER_HOST)" >>"$CALLS"
case $* in
*SAN=address*) echo 20 0 1 >build/address/test-summary ;;
"$COMPOSE") echo 3 0 0 >build/test-compose/test-summary ;;
test*) echo 10 0 0 >build/test/test-summary ;;
esac
[ "$*" != "$FAILING" ]
""".replace("$COMPOSE", COMPOSE)
DOCKER = """#!/bin/sh
echo "docker $*" >>"$CALLS"
case "$1 $2" in
"info ") [ "$ENGINE" ] ;;
"image inspect") [ "$ENGINE" != bare ] ;;
"run --rm") [ "$ENGINE" = complete ] || { echo not permitted >&2; exit 125; } ;;
*) echo no such registry >&2; exit 1 ;;
esac
"""


class Machine:
    """A folder with the scripts, and what they find there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.engine = folder / "engine"
        for name in FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        for name in ("test", "address", "test-compose"):
            (folder / "build" / name).mkdir(parents=True)
        (folder / "bin").mkdir()
        for name, text in {"make": MAKE, "docker": DOCKER}.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.calls.touch()

    def run(self, *command: str, nobody: bool = False, **settings: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items()
                if name not in ("CI", "TURNSTILE_CI_COMPOSE", "DOCKER_HOST") and not name.startswith("MAKE")}
        environment = {**kept, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "CALLS": str(self.calls), **settings}
        if nobody and os.geteuid() == 0:
            os.chmod(self.calls, 0o666)
            command = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "bash", *command)
        return subprocess.run(command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60)

    def ci(self, **settings: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(self.folder / ".ci/run"), **settings)

    def start(self, nobody: bool = False, **settings: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(self.folder / "infra/ci/docker-engine.sh"), "start", str(self.engine), nobody=nobody, **settings)

    def made(self) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith("make")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


STEPS = ["make lint WERROR=1 ()", "make test WERROR=1 ()", "make test SAN=address WERROR=1 ()"]


def test_the_containers_are_tested_where_an_engine_answers_and_all_tests_are_counted(machine: Machine) -> None:
    """Nobody has to be asked, by any variable: nothing is installed or started for it."""
    result = machine.ci(ENGINE="complete")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "33 passed, 0 failed, 1 skipped")
    assert machine.made() == [*STEPS, f"make {COMPOSE} ()"]
    assert "using the engine that answers" in result.stderr


def test_without_an_engine_the_rest_is_tested_and_the_reason_said(machine: Machine) -> None:
    result = machine.ci(ENGINE="")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "30 passed, 0 failed, 1 skipped")
    assert machine.made() == STEPS
    assert "==== make test-compose: not run, for want of a Docker engine" in result.stdout
    assert "docker-engine: no engine: none answers. TURNSTILE_CI_COMPOSE=1 installs" in result.stderr


def test_the_containers_can_be_left_out_or_insisted_on(machine: Machine) -> None:
    result = machine.ci(ENGINE="complete", TURNSTILE_CI_COMPOSE="0")
    assert (result.returncode, machine.made()) == (0, STEPS)
    assert "==== make test-compose: not run, as TURNSTILE_CI_COMPOSE=0 says" in result.stdout
    # An engine that answers, and has nothing to build on, is none to insist on; nor is another one put beside it.
    result = machine.ci(ENGINE="bare", TURNSTILE_CI_COMPOSE="1")
    assert result.returncode == 1
    assert "==== make test-compose: cannot run, for want of a Docker engine" in result.stdout
    assert "has no debian:bookworm-slim: no such registry" in result.stderr
    # Nor is one that runs nothing.
    result = machine.ci(ENGINE="lame", TURNSTILE_CI_COMPOSE="1")
    assert (result.returncode, "cannot run containers here: not permitted" in result.stderr) == (1, True)
    assert machine.ci(TURNSTILE_CI_COMPOSE="yes").returncode == 64


@pytest.mark.parametrize("failing", ["lint WERROR=1", "test SAN=address WERROR=1", COMPOSE])
def test_a_step_that_fails_is_the_last(machine: Machine, failing: str) -> None:
    result = machine.ci(ENGINE="complete", FAILING=failing)
    assert (result.returncode, machine.made()[-1]) == (1, f"make {failing} ()")
    assert f"==== make {failing}: failed after" in result.stdout
    assert "passed" not in result.stdout


@pytest.mark.parametrize("failing", ["", COMPOSE])
def test_an_engine_that_was_started_is_told_to_the_tests_and_stopped_whatever_they_say(machine: Machine, failing: str) -> None:
    script = machine.folder / "infra/ci/docker-engine.sh"
    script.write_text('#!/bin/sh\necho "make: $1" >>"$CALLS"\n[ "$1" = stop ] && rmdir "$2" || echo unix://socket\n')
    result = machine.ci(FAILING=failing)
    assert result.returncode == (1 if failing else 0)
    assert machine.made() == [*STEPS, "make: start", f"make {COMPOSE} (unix://socket)", "make: stop"]


def test_an_engine_that_answers_is_used_and_left_as_it_is(machine: Machine) -> None:
    result = machine.start(ENGINE="complete", CI="true")
    assert (result.returncode, result.stdout) == (0, "")
    calls = machine.calls.read_text()
    stopped = machine.run(str(machine.folder / "infra/ci/docker-engine.sh"), "stop", str(machine.engine), ENGINE="complete")
    assert (stopped.returncode, stopped.stderr, machine.engine.exists()) == (0, "", False)
    assert machine.calls.read_text() == calls
    assert [line.split()[:2] for line in calls.splitlines()] == [["docker", word] for word in ("info", "image", "run")]


def test_only_root_starts_an_engine_and_only_where_it_is_wanted() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        machine = Machine(Path(folder))
        machine.engine.mkdir()
        machine.engine.chmod(0o777)
        result = machine.start(nobody=True, ENGINE="", CI="true")
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == "docker-engine: no engine: none answers, and only root can start one\n"
        result = machine.start(nobody=True, ENGINE="")
        assert (result.returncode, "TURNSTILE_CI_COMPOSE=1 installs" in result.stderr) == (1, True)


@pytest.mark.parametrize("is_its_engine", [True, False])
def test_only_the_engine_that_it_started_is_stopped(machine: Machine, is_its_engine: bool) -> None:
    """The number in the pid file may be another process's by now."""
    machine.engine.mkdir()
    pid_file = machine.engine / "dockerd.pid"
    told = [str(pid_file)] if is_its_engine else []
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "--pidfile", *told])
    try:
        pid_file.write_text(f"{process.pid}\n")
        result = machine.run(str(machine.folder / "infra/ci/docker-engine.sh"), "stop", str(machine.engine), ENGINE="")
        assert (result.returncode, result.stderr, machine.engine.exists()) == (0, "", False)
        if is_its_engine:
            assert process.wait(60) == -signal.SIGTERM
        else:
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("said", ["", "nonsense", "999999999"])
def test_a_pid_file_that_names_no_process_is_in_nobodys_way(machine: Machine, said: str) -> None:
    machine.engine.mkdir()
    (machine.engine / "dockerd.pid").write_text(said)
    result = machine.run(str(machine.folder / "infra/ci/docker-engine.sh"), "stop", str(machine.engine), ENGINE="")
    assert (result.returncode, result.stderr, machine.engine.exists()) == (0, "", False)


def functions(machine: Machine, script: str) -> str:
    """What a script prints that has the functions of docker-engine.sh, and does nothing to this machine."""
    harmless = 'as_root() { echo "root: $*"; }; apt() { echo "apt: $*"; }; forbid_service_starts() { :; };'
    result = machine.run("bash", "-c", f"source infra/ci/docker-engine.sh; {harmless} {script}")
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("when", ["remove_containers", "kill"])
def test_an_engine_that_ends_while_it_is_stopped_leaves_no_network_behind(machine: Machine, when: str) -> None:
    machine.engine.mkdir()
    (machine.engine / "dockerd.pid").write_text("999999999\n")
    ends = f'remove_containers() {{ :; }}; kill() {{ false; }}; {when}() {{ rm "$folder/dockerd.pid"; [ {when} != kill ]; }};'
    stands_for = 'is_running() { [[ -e $folder/dockerd.pid ]]; }; restore_network() { echo restored; };'
    assert functions(machine, f"folder={machine.engine}; {ends} {stands_for} stop") == "restored\n"
    assert not machine.engine.exists()


def test_password_files_of_apt_do_not_come_into_images(machine: Machine) -> None:
    settings = machine.folder / "apt"
    for name in ("auth.conf", "auth.conf.d/one.conf", "sources.list.d/debian.sources", "apt.conf.d/proxy"):
        (settings / name).parent.mkdir(parents=True, exist_ok=True)
        (settings / name).write_text(name)
    functions(machine, "copy_apt_settings apt copied")
    copied = machine.folder / "copied"
    assert {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()} == {
        "sources.list.d/debian.sources", "apt.conf.d/proxy"}


def test_what_comes_with_an_engine_does_not_start_with_the_machine_and_what_was_there_is_left_alone(machine: Machine) -> None:
    there = 'has_unit() { [ "$1" = containerd.service ]; };'
    said = functions(machine, f'{there} install_engine')
    assert "apt: install --no-install-recommends --no-remove docker.io\n" in said
    for unit, wants in (("docker.socket", "sockets"), ("docker.service", "multi-user")):
        assert f"/etc/systemd/system/{wants}.target.wants/{unit}" in said
    assert "containerd" not in said
    assert "containerd.service" in functions(machine, "has_unit() { false; }; install_engine")


def test_the_folder_of_an_engine_is_for_its_owner_alone(machine: Machine) -> None:
    machine.start(ENGINE="complete")
    assert machine.engine.stat().st_mode & 0o777 == 0o700


def test_the_engine_script_explains_itself(machine: Machine) -> None:
    result = machine.run(str(machine.folder / "infra/ci/docker-engine.sh"))
    assert (result.returncode, result.stdout) == (64, "")
    assert "docker-engine.sh stop FOLDER" in result.stderr
