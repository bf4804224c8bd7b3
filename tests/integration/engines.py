# SPDX-License-Identifier: Apache-2.0
"""Engines that tests start besides the broker: a MongoDB server of its own for whoever wants one."""

from __future__ import annotations

import secrets
import signal
import socket
from pathlib import Path

from harness import ROOT, Process, free_port, wait_until

MONGO_SERVER = ROOT / "tests" / "servers" / "mongo" / "mongo-test-server"
CONNECT_SECONDS_MAX = 1.0


class MongoServer(Process):
    """mongo-java-server on a file: what it has answered is there again after kill -9 and start on the same port."""

    def __init__(self, folder: Path, name: str = "mongo"):
        self.port = free_port()
        self.file = folder / f"{name}.mv"
        super().__init__(name, [str(MONGO_SERVER), "127.0.0.1", str(self.port), str(self.file)], folder)

    def uri(self, database: str | None = None, options: str = "", port: int | None = None) -> str:
        """Of one database, by default one that nobody else uses; `port`: that of a proxy in front of it."""
        name = database or f"test-{secrets.token_hex(6)}"
        return f"mongodb://127.0.0.1:{port or self.port}/{name}" + (f"?{options}" if options else "")

    def start(self) -> None:
        super().start()
        wait_until(self.listens, "the MongoDB server listens")

    def listens(self) -> bool:
        assert self.running, f"the MongoDB server ended: {self.log()[-2000:]}"
        try:
            socket.create_connection(("127.0.0.1", self.port), CONNECT_SECONDS_MAX).close()
            return True
        except OSError:
            return False

    def stop(self, timeout: float = 60.0) -> int:
        """SIGTERM. Java's status after one that it obeys is that of the signal."""
        status = super().stop(timeout)
        assert status in (0, 128 + signal.SIGTERM), f"status {status}: {self.log()[-2000:]}"
        return 0

    def restart(self) -> None:
        """kill -9, and started again on the same file and port."""
        self.kill()
        self.start()
