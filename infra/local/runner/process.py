# SPDX-License-Identifier: Apache-2.0
"""One process that is kept running: how it is started, watched, logged, started again and stopped."""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.output import LineSplitter, LogFile

BACKOFF_SECONDS_FIRST = 0.1
BACKOFF_SECONDS_MAX = 10.0
# Who has been up for this long starts again without delay.
SETTLED_SECONDS = 10.0
LAST_LINES = 20
READ_BYTES = 65536
PR_SET_PDEATHSIG = 1

# The make that started us is none of what runs' business.
MAKE_VARIABLES = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR")

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Spec:
    """What to run. `is_ready` asks it, and does not wait for long."""

    name: str
    command: list[str]
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    # What it gets when the runner is killed. All of these survive a SIGKILL, but a killed nginx leaves its workers.
    orphan_signal: signal.Signals = signal.SIGKILL
    # Lines with this are in the log only.
    chatter: bytes | None = None
    # Where it is reached, if the user is to know.
    address: str = ""


def base_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in MAKE_VARIABLES}


def write_pid_file(path: Path, pid: int) -> None:
    """On a full disk there is none, and the process runs all the same."""
    scratch = path.with_suffix(".pid.new")
    with contextlib.suppress(OSError):
        scratch.write_text(f"{pid}\n")
        scratch.replace(path)


class Process:
    def __init__(self, spec: Spec, run_dir: Path, show: Callable[[str, bytes], None]) -> None:
        self.spec = spec
        self.ready = False
        self.starts = 0
        self.restart_at: float | None = None
        self.last_lines: deque[bytes] = deque(maxlen=LAST_LINES)
        self._pid_file = run_dir / f"{spec.name}.pid"
        self._log = LogFile(run_dir / f"{spec.name}.log")
        self._show = show
        self._lines = LineSplitter()
        self._popen: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._delay = BACKOFF_SECONDS_FIRST

    @property
    def running(self) -> bool:
        return self._popen is not None

    @property
    def descriptor(self) -> int:
        """That of its output."""
        assert self._popen is not None and self._popen.stdout is not None
        return self._popen.stdout.fileno()

    def start(self) -> int:
        """Starts it and returns the descriptor of its output. Only from the main thread: the death signal is bound
        to the thread that forks."""
        runner = os.getpid()

        def in_child() -> None:
            libc.prctl(PR_SET_PDEATHSIG, self.spec.orphan_signal, 0, 0, 0)
            if os.getppid() != runner:
                os._exit(1)

        self.restart_at = None
        self.starts += 1
        self.last_lines.clear()
        self._started_at = time.monotonic()
        # A session of its own keeps the terminal's Ctrl-C from it: the runner stops things in their order.
        self._popen = subprocess.Popen(self.spec.command, env=dict(self.spec.environment), stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                                       preexec_fn=in_child)
        write_pid_file(self._pid_file, self._popen.pid)
        os.set_blocking(self.descriptor, False)
        return self.descriptor

    def read_output(self) -> bool:
        """Takes what is there of its output; false at the end of it."""
        try:
            data = os.read(self.descriptor, READ_BYTES)
        except BlockingIOError:
            return True
        for line in self._lines.feed(data) if data else self._lines.end():
            self._take_line(line)
        return bool(data)

    def _take_line(self, line: bytes) -> None:
        self.last_lines.append(line)
        self._log.write(line)
        if self.spec.chatter is None or self.spec.chatter not in line:
            self._show(self.spec.name, line)

    def has_ended(self) -> bool:
        if self._popen is None:
            return False
        return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def bury(self) -> int:
        """After has_ended: ends what it left behind (nginx's workers), takes its last words; returns its status."""
        assert self._popen is not None and self._popen.stdout is not None
        self.kill()
        while select.select([self.descriptor], [], [], 0)[0] and self.read_output():
            pass
        for line in self._lines.end():
            self._take_line(line)
        self._popen.stdout.close()
        status = self._popen.wait()
        self._popen = None
        self._pid_file.unlink(missing_ok=True)
        return status

    def schedule_restart(self) -> float:
        """Says in how many seconds it will be started again."""
        now = time.monotonic()
        if now - self._started_at >= SETTLED_SECONDS:
            self._delay = BACKOFF_SECONDS_FIRST
        delay = self._delay
        self.restart_at = now + delay
        self._delay = min(self._delay * 2, BACKOFF_SECONDS_MAX)
        return delay

    def stop(self) -> None:
        self.restart_at = None
        if self._popen is not None:
            os.kill(self._popen.pid, self.spec.stop_signal)

    def kill(self) -> None:
        """Ends its whole group. It is not yet reaped, so the number is still its own."""
        if self._popen is not None:
            os.killpg(self._popen.pid, signal.SIGKILL)
