# SPDX-License-Identifier: Apache-2.0
"""Compares the records of an owner with the replicas of a consumer, in the files of their SQLite stores."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from harness import wait_until

# What a replica does not have, or has of its own.
NOT_COPIED = {"writer", "claim", "changed", "epoch", "reservation", "reservationEpoch", "request"}


def records(store: Path, collection: str = "tickets") -> dict[str, dict[str, Any]]:
    """What is in a store, by id: the version, and the fields that owners publish."""
    database = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)
    database.row_factory = sqlite3.Row
    try:
        rows = database.execute(f'SELECT * FROM "{collection}"').fetchall()
    finally:
        database.close()
    return {row["id"]: {name: row[name] for name in row.keys() if name not in NOT_COPIED} for row in rows}


def differences(owner: Path, replica: Path, collection: str = "tickets") -> list[str]:
    """One line for each record that is not the same, version for version, in both."""
    owned, copied = records(owner, collection), records(replica, collection)
    return [
        f"{collection}/{id}: {owned.get(id)} is copied as {copied.get(id)}"
        for id in sorted(owned.keys() | copied.keys())
        if owned.get(id) != copied.get(id)
    ]


def replicas_equal(owner: Path, replica: Path, collection: str = "tickets") -> bool:
    return not differences(owner, replica, collection)


def wait_replicas_equal(owner: Path, replica: Path, collection: str = "tickets") -> None:
    try:
        wait_until(lambda: replicas_equal(owner, replica, collection), "every replica equals its owner's record")
    except AssertionError as problem:
        found = differences(owner, replica, collection)
        raise AssertionError(f"{problem}: {len(found)} differ, such as {found[:3]}") from None


def facts(store: Path) -> dict[str, int]:
    database = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)
    try:
        rows = database.execute("SELECT key, value FROM store_meta WHERE key LIKE 'fact:%'").fetchall()
    finally:
        database.close()
    return {key.removeprefix("fact:"): value for key, value in rows}


def copy_store(store: Path, backup: Path) -> None:
    """A backup of a store whose service may run, as `sqlite3 <store> ".backup <backup>"` makes it."""
    source, target = sqlite3.connect(store, timeout=10), sqlite3.connect(backup)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()


def restore_store(backup: Path, store: Path) -> None:
    """Puts it back in place of a store that nobody has open."""
    for suffix in ("-wal", "-shm"):
        Path(f"{store}{suffix}").unlink(missing_ok=True)
    store.write_bytes(backup.read_bytes())
