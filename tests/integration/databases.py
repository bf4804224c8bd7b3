# SPDX-License-Identifier: Apache-2.0
"""The services' stores as tests look into them, spoil them, back them up and put them back, whatever the engine is."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import bson
import pymongo

Record = dict[str, Any]
OPEN_SECONDS_MAX = 30
# What MongoDB keeps beside the fields of a record, of what SQLite has in columns.
HEAD = ("version", "epoch", "writer", "claim", "changed")


class Stores(Protocol):
    """One store for each service, and backups of them by name."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def uri(self, service: str) -> str:
        """As the service opens it."""

    def records(self, service: str, collection: str) -> dict[str, Record]:
        """By id: what the store keeps of its own, and all fields that have a value, those of inner objects by their
        paths."""

    def record(self, service: str, collection: str, id: str) -> Record | None: ...

    def outbox(self, service: str) -> int:
        """Events that the bus has not confirmed."""

    def facts(self, service: str) -> dict[str, int]: ...

    def lose_event(self, service: str, collection: str, id: str, version: int) -> None:
        """Takes away an event that was not published yet."""

    def set_field(self, service: str, collection: str, id: str, name: str, value: Any) -> None:
        """Behind the back of the service."""

    def remove(self, service: str, collection: str, id: str) -> None: ...

    def forget(self, service: str) -> None:
        """Removes a store that nobody has open."""

    def back_up(self, service: str) -> None:
        """The service may run."""

    def restore(self, service: str) -> None:
        """Puts the backup in place of a store that nobody has open."""


class SqliteStores:
    """A file for each service."""

    def __init__(self, folder: Path):
        self.folder = folder

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def path(self, service: str) -> Path:
        return self.folder / f"{service}.db"

    def uri(self, service: str) -> str:
        return f"sqlite:{self.path(service)}"

    def records(self, service: str, collection: str) -> dict[str, Record]:
        with self._reading(service) as database:
            rows = database.execute(f'SELECT * FROM "{collection}"').fetchall()
        return {row["id"]: record_of_row(row) for row in rows}

    def record(self, service: str, collection: str, id: str) -> Record | None:
        with self._reading(service) as database:
            row = database.execute(f'SELECT * FROM "{collection}" WHERE id = ?', (id,)).fetchone()
        return record_of_row(row) if row else None

    def outbox(self, service: str) -> int:
        with self._reading(service) as database:
            return int(database.execute("SELECT count(*) FROM store_outbox").fetchone()[0])

    def facts(self, service: str) -> dict[str, int]:
        with self._reading(service) as database:
            rows = database.execute("SELECT key, value FROM store_meta WHERE key LIKE 'fact:%'").fetchall()
        return {key.removeprefix("fact:"): value for key, value in rows}

    def lose_event(self, service: str, collection: str, id: str, version: int) -> None:
        self._change_one(service, 'DELETE FROM store_outbox WHERE "id" = ? AND "version" = ?', id, version)

    def set_field(self, service: str, collection: str, id: str, name: str, value: Any) -> None:
        self._change_one(service, f'UPDATE "{collection}" SET "{name}" = ? WHERE id = ?', value, id)

    def remove(self, service: str, collection: str, id: str) -> None:
        self._change_one(service, f'DELETE FROM "{collection}" WHERE id = ?', id)

    def forget(self, service: str) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path(service)}{suffix}").unlink(missing_ok=True)

    def back_up(self, service: str) -> None:
        """As `sqlite3 <store> ".backup <backup>"` makes it."""
        with self._writing(service) as source, contextlib.closing(sqlite3.connect(self._backup(service))) as target:
            source.backup(target)

    def restore(self, service: str) -> None:
        self.forget(service)
        self.path(service).write_bytes(self._backup(service).read_bytes())

    def _backup(self, service: str) -> Path:
        return self.folder / f"{service}-backup.db"

    def _change_one(self, service: str, statement: str, *arguments: Any) -> None:
        with self._writing(service) as database, database:
            assert database.execute(statement, arguments).rowcount == 1, statement

    def _reading(self, service: str) -> contextlib.closing[sqlite3.Connection]:
        database = sqlite3.connect(f"file:{self.path(service)}?mode=ro", uri=True, timeout=OPEN_SECONDS_MAX)
        database.row_factory = sqlite3.Row
        return contextlib.closing(database)

    def _writing(self, service: str) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(sqlite3.connect(self.path(service), timeout=OPEN_SECONDS_MAX))


def record_of_row(row: sqlite3.Row) -> Record:
    return {name: row[name] for name in row.keys() if name != "id" and row[name] is not None}


class MongoStores:
    """A database for each service, where `uri_of` says: as the service opens it, or from wherever else the tests see
    it, with a user that may read and write."""

    def __init__(self, uri_of: Callable[[str], str], seconds: float = OPEN_SECONDS_MAX):
        """`seconds`: how long a server that is away is waited for."""
        self.uri = uri_of
        self._seconds = seconds
        self._clients: dict[str, Any] = {}
        self._backups: dict[str, dict[str, list[Any]]] = {}

    def start(self) -> None:
        pass

    def stop(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _database(self, service: str) -> Any:
        if service not in self._clients:
            milliseconds = int(self._seconds * 1000)
            self._clients[service] = pymongo.MongoClient(self.uri(service), serverSelectionTimeoutMS=milliseconds)
        return self._clients[service].get_default_database()

    def records(self, service: str, collection: str) -> dict[str, Record]:
        found = self._database(service)[collection].find()
        return {str(document["_id"]): record_of_document(document) for document in found}

    def record(self, service: str, collection: str, id: str) -> Record | None:
        document = self._database(service)[collection].find_one({"_id": bson.ObjectId(id)})
        return record_of_document(document) if document else None

    def outbox(self, service: str) -> int:
        database = self._database(service)
        waiting = [document for name in database.list_collection_names()
                   for document in database[name].find({"outbox.0": {"$exists": True}}, {"outbox": 1})]
        return sum(len(document["outbox"]) for document in waiting)

    def facts(self, service: str) -> dict[str, int]:
        return {document["_id"]: document["value"] for document in self._database(service)["store_facts"].find()}

    def lose_event(self, service: str, collection: str, id: str, version: int) -> None:
        self._change_one(service, collection, id, {"$pull": {"outbox": {"version": version}}})

    def set_field(self, service: str, collection: str, id: str, name: str, value: Any) -> None:
        self._change_one(service, collection, id, {"$set": {f"value.{name}": value}})

    def _change_one(self, service: str, collection: str, id: str, update: dict[str, Any]) -> None:
        assert self._database(service)[collection].update_one({"_id": bson.ObjectId(id)}, update).modified_count == 1

    def remove(self, service: str, collection: str, id: str) -> None:
        assert self._database(service)[collection].delete_one({"_id": bson.ObjectId(id)}).deleted_count == 1

    def forget(self, service: str) -> None:
        database = self._database(service)
        database.client.drop_database(database.name)

    def back_up(self, service: str) -> None:
        database = self._database(service)
        self._backups[service] = {name: list(database[name].find()) for name in database.list_collection_names()}

    def restore(self, service: str) -> None:
        """As mongorestore --drop does it; the service makes its indexes again."""
        self.forget(service)
        for name, documents in self._backups[service].items():
            if documents:
                self._database(service)[name].insert_many(documents)


def record_of_document(document: dict[str, Any]) -> Record:
    return {name: document[name] for name in HEAD if name in document} | unfolded(document["value"])


def unfolded(value: dict[str, Any], prefix: str = "") -> Record:
    """Fields of inner documents by their paths, as SQLite's columns are named."""
    fields: Record = {}
    for name, inner in value.items():
        if isinstance(inner, dict):
            fields |= unfolded(inner, f"{prefix}{name}.")
        elif inner is not None:
            fields[prefix + name] = inner
    return fields
