# SPDX-License-Identifier: Apache-2.0
"""The commands `up` and `down`, in the foreground or detached."""

import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from runner.engines import broker_page, bus_uri
from runner.output import Terminal
from runner.plan import ignored_variables, plan
from runner.process import Spec
from runner.services import SERVICES
from runner.settings import Settings, SettingsError, check_ports, read_run_dir, read_settings
from runner.state import RunLock, StateError, down, prepare_run_dir, remove_stale_pid_files
from runner.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[3]
TOUR = "infra/local/tour.sh"
TOUR_ADDRESS = "http://localhost:8080"
# What the tour brings about.
WATCHED_SUBJECTS = "ticket:created ticket:updated order:created order:cancelled"
# How long what a killed runner left behind may take to be gone.
STALE_SECONDS_MAX = 5.0
# The last byte that a detached supervisor sends when everything is ready.
READY_MARK = b"\0"
USAGE = ("usage: run.py up|down, with RUN_DIR, HTTP_PORT, NATS_PORT, NATS_MONITOR_PORT, SCALE, DETACH, BUS, STORE in "
         "the environment")


def complain(text: str) -> None:
    for line in text.splitlines():
        print(f"turnstile: {line}", file=sys.stderr)


def eventctl(settings: Settings) -> str:
    """The program, as one would type it at the root."""
    program = settings.build / "eventctl"
    return shlex.quote(str(program.relative_to(settings.root) if program.is_relative_to(settings.root) else program))


def closing_words(settings: Settings, stages: list[list[Spec]]) -> str:
    address = f"http://localhost:{settings.http_port}"
    script = (settings.root / TOUR).read_text().replace(TOUR_ADDRESS, address)
    # Without the first lines, which are about the file.
    tour = "".join(f"    {line}" if line.strip() else line for line in script.splitlines(keepends=True)[3:])
    elsewhere = "" if settings.run_dir == settings.root / "run" else f"RUN_DIR={shlex.quote(str(settings.run_dir))} "
    stop = f"{elsewhere}make down" if settings.detach else "Ctrl-C"
    services = ", ".join(f"{spec.name} {spec.address}" for stage in stages for spec in stage if spec.address)
    return f"""
Turnstile is up at {address}. To look around, paste this into a terminal:

{tour}
The API:     {address}{" ".join(prefix for service in SERVICES for prefix in service.prefixes)}
Services:    {services}
The broker:  port {settings.nats_port}; its state: {broker_page(settings)}
Events:      BUS_URI={bus_uri(settings, "localhost")} {eventctl(settings)} listen {WATCHED_SUBJECTS}
Logs:        {settings.run_dir}/<name>.log
To stop it:  {stop}
"""


def supervise(settings: Settings, stages: list[list[Spec]], lock: RunLock, terminal: Terminal,
              when_ready: Callable[[Supervisor], None]) -> int:
    lock.name_holder()
    supervisor = Supervisor(stages, settings.run_dir, terminal)
    for name in ignored_variables(os.environ):
        supervisor.say(f"{name} is set in the environment and not used: each service gets its own from the runner")
    supervisor.say("starting")

    def ready() -> None:
        supervisor.say("ready")
        for line in closing_words(settings, stages).splitlines():
            terminal.write(line.encode())
        when_ready(supervisor)

    succeeded = supervisor.run(ready)
    lock.forget_holder()
    terminal.drain(2)
    return 0 if succeeded else 1


def up_in_foreground(settings: Settings, stages: list[list[Spec]], lock: RunLock) -> int:
    def stream(supervisor: Supervisor) -> None:
        supervisor.streaming = True

    return supervise(settings, stages, lock, Terminal(1), stream)


def up_detached(settings: Settings, stages: list[list[Spec]], lock: RunLock) -> int:
    """The child becomes the supervisor; this process shows what it says until it is ready, or has failed."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os._exit(supervise_detached(settings, stages, lock, writer))
    os.close(writer)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: os.kill(child, signal.SIGTERM))
    ready = False
    while data := os.read(reader, 65536):
        ready = data.endswith(READY_MARK)
        sys.stdout.buffer.write(data.removesuffix(READY_MARK))
        sys.stdout.flush()
    return 0 if ready else 1


def supervise_detached(settings: Settings, stages: list[list[Spec]], lock: RunLock, writer: int) -> int:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    terminal = Terminal(writer)

    def let_go(supervisor: Supervisor) -> None:
        terminal.drain(2)
        os.write(writer, READY_MARK)
        terminal.close()

    try:
        return supervise(settings, stages, lock, terminal, let_go)
    except BaseException as error:
        terminal.write(f"turnstile: {type(error).__name__}: {error}".encode())
        terminal.drain(2)
        return 1


def up() -> int:
    settings = read_settings(os.environ, ROOT)
    prepare_run_dir(settings.run_dir)
    lock = RunLock(settings.run_dir)
    if not lock.take():
        pid = lock.wait_for_holder()
        raise StateError(f"already running in {settings.run_dir}" + (f" (process {pid})" if pid else "")
                         + "; make down stops it, RUN_DIR= and other ports run another")
    stale = remove_stale_pid_files(settings.run_dir)
    check_ports(settings, STALE_SECONDS_MAX if stale else 0)
    stages = plan(settings)
    return (up_detached if settings.detach else up_in_foreground)(settings, stages, lock)


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["up"]:
            return up()
        if arguments == ["down"]:
            print(down(read_run_dir(os.environ)))
            return 0
        complain(USAGE)
        return 2
    except (SettingsError, StateError) as error:
        complain(str(error))
    except OSError as error:
        complain(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))
    return 1
