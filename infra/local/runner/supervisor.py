# SPDX-License-Identifier: Apache-2.0
"""Keeps a list of stages running: starts them in order, restarts what dies, stops them in reverse.

One thread and one loop, `turn`: it moves output, buries and restarts. Signals only raise a flag and wake it up.
"""

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path

from runner.output import LogFile, Terminal
from runner.process import Process, Spec

NAME = "turnstile"
READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 12.0
STARTS_MAX_BEFORE_READY = 5
POLL_SECONDS = 0.05
IDLE_SECONDS = 60.0
STATUS_CONFIGURATION = 78


class StartFailed(Exception):
    """Says what went wrong, in lines."""


class StopRequested(Exception):
    """A signal came before everything was ready."""


def describe_status(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


class Supervisor:
    def __init__(self, stages: Iterable[Iterable[Spec]], run_dir: Path, terminal: Terminal) -> None:
        self.streaming = False
        self._terminal = terminal
        self._log = LogFile(run_dir / f"{NAME}.log")
        self._stages = [[Process(spec, run_dir, self._show) for spec in stage] for stage in stages]
        self._processes = [process for stage in self._stages for process in stage]
        self._width = max(len(name) for name in (NAME, *(process.spec.name for process in self._processes)))
        self._started = False
        self._stopping = False
        self._stop_requested = False
        self._selector = selectors.DefaultSelector()
        self._listen_to_signals()

    def run(self, when_ready: Callable[[], None]) -> bool:
        """Runs everything until a signal comes; false when it did not all become ready. Nothing is left running."""
        try:
            for stage in self._stages:
                self._start_stage(stage)
            self._started = True
            when_ready()
            while not self._stop_requested:
                self.turn(IDLE_SECONDS)
            self.say("stopping")
            return True
        except StopRequested:
            self.say("stopping before all was ready")
            return False
        except StartFailed as failure:
            for line in str(failure).splitlines():
                self.say(line)
            return False
        finally:
            self._stop_all()
            self.say("all stopped")

    def say(self, text: str) -> None:
        """A line of the runner's own."""
        line = text.encode(errors="replace")
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._log.write(f"{now} ".encode() + line)
        self._print(NAME, line)

    def turn(self, seconds: float) -> None:
        """One turn of the loop, waiting at most so long for something to do."""
        due = [process.restart_at for process in self._processes if process.restart_at is not None]
        seconds = min([seconds, *(at - time.monotonic() for at in due)])
        if self._terminal.pending:
            seconds = min(seconds, POLL_SECONDS)
        for key, _ in self._selector.select(max(seconds, 0)):
            key.data()
        for process in self._processes:
            if process.has_ended():
                self._bury(process)
        for process in self._processes:
            if process.restart_at is not None and process.restart_at <= time.monotonic():
                self._start(process)
        self._terminal.flush()

    # ---- starting ----

    def _start_stage(self, stage: list[Process]) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        for process in stage:
            self._start(process)
        while waiting := [process for process in stage if not process.ready]:
            self._turn_for(POLL_SECONDS)
            for process in waiting:
                process.ready = process.running and process.spec.is_ready()
            if time.monotonic() > deadline:
                raise StartFailed("\n".join(self._last_words(process, f"is not ready after {READY_SECONDS_MAX:.0f} s")
                                            for process in waiting if not process.ready))

    def _turn_for(self, seconds: float) -> None:
        """Turns for so long, however much there is to do."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.turn(left)
            if self._stop_requested:
                raise StopRequested

    def _start(self, process: Process) -> None:
        try:
            descriptor = process.start()
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            self._restart(process, f"cannot be started: {where}{error.strerror}")
            return
        self._selector.register(descriptor, selectors.EVENT_READ, lambda: self._move_output(process, descriptor))

    def _move_output(self, process: Process, descriptor: int) -> None:
        if not process.read_output():
            self._selector.unregister(descriptor)

    # ---- dying ----

    def _bury(self, process: Process) -> None:
        for key in [key for key in self._selector.get_map().values() if key.fd == process.descriptor]:
            self._selector.unregister(key.fileobj)
        status = process.bury()
        if self._stopping:
            return
        if status == STATUS_CONFIGURATION and not self._started:
            raise StartFailed(self._last_words(process, "does not accept its configuration"))
        self._restart(process, describe_status(status))

    def _restart(self, process: Process, what: str) -> None:
        if not self._started and not process.ready and process.starts >= STARTS_MAX_BEFORE_READY:
            raise StartFailed(self._last_words(process, f"{what}, {process.starts} times, without ever being ready"))
        delay = process.schedule_restart()
        self.say(f"{process.spec.name} {what}; starting it again in {delay:g} s")

    def _last_words(self, process: Process, what: str) -> str:
        lines = [line.decode(errors="replace") for line in process.last_lines]
        return "\n    ".join([f"{process.spec.name} {what}" + (", its last words:" if lines else ""), *lines])

    # ---- stopping ----

    def _stop_all(self) -> None:
        self._stopping = True
        for stage in reversed(self._stages):
            for process in stage:
                process.stop()
            deadline = time.monotonic() + STOP_SECONDS_MAX
            while running := [process for process in stage if process.running]:
                if time.monotonic() > deadline:
                    for process in running:
                        self.say(f"{process.spec.name} does not stop within {STOP_SECONDS_MAX:.0f} s; killing it")
                        process.kill()
                    deadline = time.monotonic() + STOP_SECONDS_MAX
                self.turn(POLL_SECONDS)

    # ---- signals and the terminal ----

    def _listen_to_signals(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._selector.register(reader, selectors.EVENT_READ, lambda: os.read(reader, 4096))
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup's wish is respected.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._request_stop)

    def _request_stop(self, number: int, frame: object) -> None:
        self._stop_requested = True

    def _show(self, name: str, line: bytes) -> None:
        if self.streaming:
            self._print(name, line)

    def _print(self, name: str, line: bytes) -> None:
        self._terminal.write(f"{name:<{self._width}} | ".encode() + line)
        self._terminal.flush()
