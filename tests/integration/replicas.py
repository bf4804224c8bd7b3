# SPDX-License-Identifier: Apache-2.0
"""Compares the tickets of their owner with the replicas of orders, in the stores of both."""

from __future__ import annotations

from databases import Record, Stores
from harness import wait_until

# What a replica does not have, or has of its own.
NOT_COPIED = {"writer", "claim", "changed", "epoch", "reservation", "reservationEpoch", "request"}


def published(stores: Stores, service: str) -> dict[str, Record]:
    """The tickets in a store, by id: the version, and the fields that owners publish."""
    return {
        id: {name: value for name, value in record.items() if name not in NOT_COPIED}
        for id, record in stores.records(service, "tickets").items()
    }


def differences(stores: Stores) -> list[str]:
    """One line for each ticket that is not the same, version for version, in both."""
    owned, copied = published(stores, "tickets"), published(stores, "orders")
    return [
        f"tickets/{id}: {owned.get(id)} is copied as {copied.get(id)}"
        for id in sorted(owned.keys() | copied.keys())
        if owned.get(id) != copied.get(id)
    ]


def wait_replicas_equal(stores: Stores, seconds: float | None = None) -> None:
    what = "every replica equals its owner's record"
    try:
        wait_until(lambda: not differences(stores), what, *([] if seconds is None else [seconds]))
    except AssertionError as problem:
        found = differences(stores)
        raise AssertionError(f"{problem}: {len(found)} differ, such as {found[:3]}") from None
