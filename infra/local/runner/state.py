# SPDX-License-Identifier: Apache-2.0
"""Who runs in a RUN_DIR: the supervisor holds a lock there for as long as anything of it runs."""

import fcntl
import os
import signal
import time
from pathlib import Path

from runner.supervisor import NAME

LOCK = "lock"
DOWN_SECONDS_MAX = 90.0
HOLDER_SECONDS_MAX = 2.0
POLL_SECONDS = 0.05


class StateError(Exception):
    """A sentence for the user."""


def start_time(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks; with its number this names a process for good."""
    try:
        # The name of the program, in brackets, may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def prepare_run_dir(run_dir: Path) -> None:
    """Makes the folder, for its owner only. One that is there must be ours, or empty: nothing is mixed into what is
    somebody else's."""
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise StateError(f"RUN_DIR: {run_dir} is not a folder") from None
    except OSError as error:
        raise StateError(f"RUN_DIR: cannot make {run_dir}: {error.strerror}") from None
    if run_dir.stat().st_uid != os.geteuid():
        raise StateError(f"RUN_DIR: {run_dir} belongs to another user")
    try:
        is_free = (run_dir / LOCK).is_file() or not any(run_dir.iterdir())
    except OSError as error:
        raise StateError(f"RUN_DIR: cannot use {run_dir}: {error.strerror}") from None
    if not is_free:
        raise StateError(f"RUN_DIR: {run_dir} holds other files; name an empty folder, or one that is not there")


class RunLock:
    """RUN_DIR/lock. The kernel lets go of it when its last holder dies, however that comes about."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / LOCK
        self._pid_file = run_dir / f"{NAME}.pid"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)

    def take(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False

    def name_holder(self) -> None:
        """Called by the supervisor, once it is the process that it will remain."""
        pid = os.getpid()
        self._pid_file.write_text(f"{pid}\n")
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{pid} {start_time(pid)}\n".encode(), 0)

    def forget_holder(self) -> None:
        self._pid_file.unlink(missing_ok=True)
        os.ftruncate(self._descriptor, 0)

    def holder(self) -> int | None:
        """The process that named itself, if it still lives."""
        words = os.pread(self._descriptor, 100, 0).decode(errors="replace").split()
        if len(words) == 2 and words[0].isdigit() and start_time(int(words[0])) == words[1]:
            return int(words[0])
        return None

    def wait_for_holder(self) -> int | None:
        """A supervisor that has just taken the lock names itself in a moment."""
        deadline = time.monotonic() + HOLDER_SECONDS_MAX
        while (pid := self.holder()) is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return pid


def remove_stale_pid_files(run_dir: Path) -> bool:
    """Under the lock nothing runs, so every pid file is of a runner that was killed; true if there was one."""
    stale = list(run_dir.glob("*.pid"))
    for path in stale:
        path.unlink(missing_ok=True)
    return bool(stale)


def down(run_dir: Path) -> str:
    """Stops what runs in run_dir and returns when all of it is gone; returns what to tell the user."""
    if not (run_dir / LOCK).exists():
        return f"nothing is running in {run_dir}"
    lock = RunLock(run_dir)
    if lock.take():
        remove_stale_pid_files(run_dir)
        return f"nothing is running in {run_dir}"
    pid = lock.wait_for_holder()
    if pid is None:
        raise StateError(f"{run_dir / LOCK} is held by a process that does not say which it is")
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise StateError(f"process {pid}, which runs in {run_dir}, is another user's") from None
    deadline = time.monotonic() + DOWN_SECONDS_MAX
    while not lock.take():
        if time.monotonic() > deadline:
            raise StateError(f"process {pid} has not stopped after {DOWN_SECONDS_MAX:.0f} s; see {run_dir}/{NAME}.log")
        time.sleep(POLL_SECONDS)
    return f"stopped what was running in {run_dir}"
