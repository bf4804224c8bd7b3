# SPDX-License-Identifier: Apache-2.0
"""Engines that tests start besides NATS Streaming: MongoDB and JetStream, each a server of one's own."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

from harness import ROOT, Process, free_port, wait_until

MONGO_SERVER = ROOT / "tests" / "servers" / "mongo" / "mongo-test-server"
NATS_SERVER = shutil.which("nats-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nats-server"
STREAM = "turnstile"
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


class JetStreamServer(Process):
    """nats-server with JetStream on a folder, as docs/CONFIGURATION.md says to run it. What it has confirmed is there
    again after kill -9 and start on the same port; `store` can be copied and put back while it does not run."""

    address = "127.0.0.1"

    def __init__(self, folder: Path, name: str = "broker"):
        self.port = free_port()
        self.monitor_port = free_port()
        self.store = folder / f"{name}-store"
        settings = folder / f"{name}.conf"
        settings.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'http: "127.0.0.1:{self.monitor_port}"\n'
            'ping_interval: "5s"\n'
            "ping_max: 2\n"
            f'jetstream {{ store_dir: "{self.store}" }}\n'
        )
        super().__init__(name, [NATS_SERVER, "-c", str(settings)], folder)

    @property
    def uri(self) -> str:
        return self.uri_at(self.port)

    def uri_at(self, port: int) -> str:
        """That of a proxy in front of it."""
        return f"nats://127.0.0.1:{port}/{STREAM}"

    def start(self) -> None:
        super().start()
        wait_until(self.answers, "the broker answers")

    def answers(self) -> bool:
        assert self.running, f"the broker ended: {self.log()[-2000:]}"
        try:
            return self.monitor("/healthz")["status"] == "ok"
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            return False

    def stop(self, timeout: float = 60.0) -> int:
        """SIGTERM, which Debian's version takes for a reason to end with status 1."""
        status = super().stop(timeout)
        assert status in (0, 1), f"status {status}: {self.log()[-2000:]}"
        return 0

    def restart(self) -> None:
        self.stop()
        self.start()

    def monitor(self, path: str) -> Any:
        connection = http.client.HTTPConnection(self.address, self.monitor_port, timeout=5)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def clients(self) -> list[str]:
        return [client.get("name", "") for client in self.monitor("/connz?limit=1000")["connections"] or []]

    def stream(self) -> dict[str, Any]:
        """The state of the stream and of its consumers; empty if there is none."""
        accounts = self.monitor("/jsz?streams=1&consumers=1&config=1").get("account_details") or []
        streams = [stream for account in accounts for stream in account.get("stream_detail") or []]
        return next((stream for stream in streams if stream["name"] == STREAM), {})

    def consumer(self, subject: str, queue: str) -> dict[str, Any]:
        """Of a durable group that is named like its queue; empty if there is none."""
        name = f"{queue}:{subject}"
        return next((c for c in self.stream().get("consumer_detail") or [] if c["name"] == name), {})

    def pending(self, subject: str, queue: str) -> int:
        """Messages that the group's members have and did not acknowledge."""
        return self.consumer(subject, queue).get("num_ack_pending", 0)

    def settled(self, subject: str, queue: str) -> bool:
        """True if the group has received and acknowledged everything that is there."""
        consumer = self.consumer(subject, queue)
        return bool(consumer) and consumer["num_pending"] == 0 and consumer["num_ack_pending"] == 0
