# SPDX-License-Identifier: Apache-2.0
"""Which services there are, and which paths are theirs: the one table that the local runner goes by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    name: str
    prefixes: tuple[str, ...]


SERVICES = (
    Service("auth", ("/api/users",)),
    Service("tickets", ("/api/tickets",)),
    Service("orders", ("/api/orders",)),
)
