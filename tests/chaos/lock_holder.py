# SPDX-License-Identifier: Apache-2.0
"""Takes an SQLite store's right to write, as a service does in the middle of a transaction, and freezes with it.

Usage: lock_holder.py FILE. Whoever kills it gives the right back. The two bytes of FILE.lock are those of
common/store/sqlite/lock.c: the room and its entrance.
"""

import fcntl
import os
import signal
import sqlite3
import struct
import sys

ROOM, ENTRANCE = 0, 1
# Locks of the open file, as Python's fcntl does not name them before 3.13.
F_OFD_SETLKW = 38
BUSY_SECONDS_MAX = 5


def lock(file: int, kind: int, byte: int) -> None:
    fcntl.fcntl(file, F_OFD_SETLKW, struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0))


def main() -> None:
    path = sys.argv[1]
    file = os.open(f"{path}.lock", os.O_RDWR)
    lock(file, fcntl.F_WRLCK, ENTRANCE)
    lock(file, fcntl.F_WRLCK, ROOM)
    lock(file, fcntl.F_UNLCK, ENTRANCE)
    database = sqlite3.connect(path, timeout=BUSY_SECONDS_MAX, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    main()
