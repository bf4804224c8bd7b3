# SPDX-License-Identifier: Apache-2.0
"""The stores that chaos runs on: how each is started, and what the checker needs to see of it."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path
from typing import Any, Protocol

from checker import Record
from engines import MongoServer
from harness import Process

COLLECTIONS = {"auth": ("users",), "tickets": ("tickets",), "orders": ("orders", "tickets")}
# Columns that are the store's own, and no part of what a record says.
HEAD = frozenset({"id", "version", "epoch", "writer", "claim", "changed"})
READ_SECONDS_MAX = 30
HOLDER = Path(__file__).with_name("lock_holder.py")


class Store(Protocol):
    name: str
    server: Process | None  # None: the services open it themselves
    port: int

    def uri(self, service: str, port: int) -> str:
        """For an instance of this service; `port`: of the proxy that stands before the server."""

    def records(self, service: str, collection: str) -> dict[str, Record]: ...

    def outbox(self, service: str) -> int:
        """Events that the bus has not confirmed."""

    def holder(self, service: str) -> Process | None:
        """A process that takes the right to write, and freezes with it; None if no process can do that here."""


class SqliteStore:
    name = "sqlite"
    server = None
    port = 0

    def __init__(self, folder: Path):
        self._folder = folder
        self._holders = 0

    def uri(self, service: str, port: int) -> str:
        return f"sqlite:{self._path(service)}"

    def records(self, service: str, collection: str) -> dict[str, Record]:
        with self._open(service) as database:
            rows = database.execute(f'SELECT * FROM "{collection}"').fetchall()
        return {row["id"]: record_of(dict(row)) for row in rows}

    def outbox(self, service: str) -> int:
        with self._open(service) as database:
            return int(database.execute("SELECT count(*) FROM store_outbox").fetchone()[0])

    def holder(self, service: str) -> Process | None:
        self._holders += 1
        command = [sys.executable, "-B", str(HOLDER), str(self._path(service))]
        return Process(f"holder-{self._holders}", command, self._folder)

    def _path(self, service: str) -> Path:
        return self._folder / f"{service}.db"

    def _open(self, service: str) -> contextlib.closing[sqlite3.Connection]:
        database = sqlite3.connect(f"file:{self._path(service)}?mode=ro", uri=True, timeout=READ_SECONDS_MAX)
        database.row_factory = sqlite3.Row
        return contextlib.closing(database)


class MongoStore:
    name = "mongo"

    def __init__(self, folder: Path):
        self.server = MongoServer(folder)
        self.port = self.server.port

    def uri(self, service: str, port: int) -> str:
        return self.server.uri(service, port=port)

    def records(self, service: str, collection: str) -> dict[str, Record]:
        with self._open() as client:
            return {str(document["_id"]): document_record(document) for document in client[service][collection].find()}

    def outbox(self, service: str) -> int:
        with self._open() as client:
            database = client[service]
            return sum(len(document.get("outbox") or []) for collection in COLLECTIONS[service]
                       for document in database[collection].find({"outbox.0": {"$exists": True}}, {"outbox": 1}))

    def holder(self, service: str) -> Process | None:
        return None

    def _open(self) -> Any:
        import pymongo  # only those who run on MongoDB need it

        client = pymongo.MongoClient("127.0.0.1", self.port, serverSelectionTimeoutMS=READ_SECONDS_MAX * 1000)
        return contextlib.closing(client)


def record_of(row: dict[str, Any]) -> Record:
    fields = {name: value for name, value in row.items() if name not in HEAD and value is not None}
    return Record(row["version"], row["epoch"], fields)


def document_record(document: dict[str, Any]) -> Record:
    return Record(document["version"], document["epoch"], unfolded(document["value"]))


def unfolded(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Fields of inner documents by their paths, as columns are named."""
    fields: dict[str, Any] = {}
    for name, inner in value.items():
        if isinstance(inner, dict):
            fields |= unfolded(inner, f"{prefix}{name}.")
        elif inner is not None:
            fields[prefix + name] = inner
    return fields


STORES: dict[str, type[SqliteStore] | type[MongoStore]] = {store.name: store for store in (SqliteStore, MongoStore)}
