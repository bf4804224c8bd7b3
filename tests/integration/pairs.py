# SPDX-License-Identifier: Apache-2.0
"""The pair of engines that a system of a test runs on: SQLite and NATS Streaming, or what TEST_STORE and TEST_BUS say.

Tests with the marker any_pair are run on other pairs, too (tests/run.py --integration). Those of them that are about one
engine, or would say nothing new on another one, have the marker own_pair, which says why.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from databases import MongoStores, SqliteStores
from engines import STREAM, JetStreamServer, MongoServer
from harness import Broker, System

REQUEST_SECONDS_MAX = 5.0


class OwnMongoStores(MongoStores):
    """On a server that is started for this test."""

    def __init__(self, folder: Path):
        self.server = MongoServer(folder)
        super().__init__(self.server.uri)

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        super().stop()
        if self.server.process is not None:
            self.server.stop()


class JetStreamBroker(JetStreamServer):
    """With what tests ask of NATS Streaming's monitor."""

    def message_count(self, subject: str) -> int:
        stream = self._request(f"$JS.API.STREAM.INFO.{STREAM}", {"subjects_filter": subject})
        return stream.get("state", {}).get("subjects", {}).get(subject, 0)

    def _request(self, subject: str, question: dict[str, Any]) -> Any:
        """A request over NATS itself: the monitor does not tell the subjects of a stream."""
        inbox, body = f"_INBOX.{secrets.token_hex(8)}", json.dumps(question).encode()
        with socket.create_connection((self.address, self.port), REQUEST_SECONDS_MAX) as connection:
            connection.sendall(
                b'CONNECT {"verbose":false}\r\n' + f"SUB {inbox} 1\r\nPUB {subject} {inbox} {len(body)}\r\n".encode()
                + body + b"\r\n"
            )
            with connection.makefile("rb") as lines:
                deadline = time.monotonic() + REQUEST_SECONDS_MAX
                for line in lines:
                    if line.startswith(b"MSG "):
                        return json.loads(lines.read(int(line.split()[-1])))
                    if line.startswith(b"-ERR") or time.monotonic() > deadline:
                        raise ConnectionError(f"the broker has answered {line!r}")
        raise ConnectionError("the broker has closed the connection")


STORES = {"sqlite": SqliteStores, "mongo": OwnMongoStores}
BUSES = {"stan": Broker, "jetstream": JetStreamBroker}


def new_system(folder: Path) -> System:
    store, bus = os.environ.get("TEST_STORE", "sqlite"), os.environ.get("TEST_BUS", "stan")
    return System(folder, BUSES[bus](folder), STORES[store](folder))
