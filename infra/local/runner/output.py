# SPDX-License-Identifier: Apache-2.0
"""Where output goes: the rotated log files, and the terminal, which may be slow or gone."""

import os
import select
import time
from collections.abc import Iterator
from pathlib import Path

LOG_BYTES_MAX = 10 * 1024 * 1024
LOGS_KEPT = 3
LINE_BYTES_MAX = 64 * 1024
PENDING_BYTES_MAX = 1024 * 1024
# A pipe that is writable at all takes this much without blocking.
CHUNK_BYTES = 4096


class LineSplitter:
    """Cuts a stream into lines; one that never ends is cut where it is too long."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        yield from lines
        while len(self._rest) > LINE_BYTES_MAX:
            yield self._rest[:LINE_BYTES_MAX]
            self._rest = self._rest[LINE_BYTES_MAX:]

    def end(self) -> Iterator[bytes]:
        if self._rest:
            yield self._rest
            self._rest = b""


class LogFile:
    """<name>.log, moved on to <name>.log.1 and so on when it is full. A full disk loses lines and nothing else."""

    def __init__(self, path: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._file = open(path, "ab", buffering=0)
        self._size = self._file.tell()

    def write(self, line: bytes) -> None:
        try:
            if self._size > 0 and self._size + len(line) >= self._bytes_max:
                self._rotate()
            self._size += self._file.write(line + b"\n")
        except OSError:
            pass

    def _rotate(self) -> None:
        for number in range(LOGS_KEPT, 1, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}")
            if newer.exists():
                newer.replace(older)
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._file.close()
        self._file = open(self._path, "ab", buffering=0)
        self._size = 0


class Terminal:
    """A stream that may stand still (Ctrl-S, a pager) or go away without holding up those who write to it."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._pending = bytearray()
        self._dropped = 0

    def write(self, line: bytes) -> None:
        if self._descriptor is None:
            return
        if len(self._pending) > PENDING_BYTES_MAX:
            self._dropped += 1
            return
        if self._dropped:
            self._pending += b"(%d lines are only in the log files)\n" % self._dropped
            self._dropped = 0
        self._pending += line + b"\n"

    @property
    def pending(self) -> bool:
        return bool(self._pending)

    def flush(self) -> None:
        """Writes what can be written at once."""
        while self._pending and self._descriptor is not None:
            _, writable, _ = select.select([], [self._descriptor], [], 0)
            if not writable:
                return
            try:
                written = os.write(self._descriptor, self._pending[:CHUNK_BYTES])
                del self._pending[:written]
            except OSError:
                self._descriptor = None
                self._pending.clear()

    def drain(self, seconds: float) -> None:
        """Writes everything, as long as that takes no longer than this."""
        deadline = time.monotonic() + seconds
        self.flush()
        while self._pending and time.monotonic() < deadline:
            time.sleep(0.01)
            self.flush()

    def close(self) -> None:
        """Writes what is pending and closes the stream; what is written from now on goes nowhere."""
        self.drain(2)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
