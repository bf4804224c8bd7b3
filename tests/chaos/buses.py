# SPDX-License-Identifier: Apache-2.0
"""The buses that chaos runs on: how each is started, and what the checker needs to see of it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from engines import JetStreamServer
from harness import Broker, Process

# Which queue group listens to which subjects.
LISTENING = {
    "orders-service": ("ticket:created", "ticket:updated", "ticket:snapshot"),
    "tickets-service": ("order:created", "order:updated", "order:cancelled", "order:snapshot"),
}
PUBLISHED = tuple(subject for subjects in LISTENING.values() for subject in subjects)


class Bus(Protocol):
    name: str
    server: Process
    port: int

    def uri(self, port: int) -> str:
        """`port`: its own, or that of a proxy that stands before it."""

    def waiting(self) -> dict[str, int]:
        """What the groups have not acknowledged, by subject; only where there is something."""


class StanBus:
    name = "stan"

    def __init__(self, folder: Path):
        self.server = Broker(folder)
        self.port = self.server.port

    def uri(self, port: int) -> str:
        return f"stan://127.0.0.1:{port}/ticketing"

    def waiting(self) -> dict[str, int]:
        found = {subject: self.server.pending(subject, group) for group, subjects in LISTENING.items()
                 for subject in subjects}
        return {subject: count for subject, count in found.items() if count}


class JetStreamBus:
    name = "jetstream"

    def __init__(self, folder: Path):
        self.server = JetStreamServer(folder)
        self.port = self.server.port

    def uri(self, port: int) -> str:
        return self.server.uri_at(port)

    def waiting(self) -> dict[str, int]:
        consumers = [self.server.consumer(subject, group) for group, subjects in LISTENING.items()
                     for subject in subjects]
        found = {c["name"]: c["num_pending"] + c["num_ack_pending"] for c in consumers if c}
        return {name: count for name, count in found.items() if count}


BUSES: dict[str, type[StanBus] | type[JetStreamBus]] = {bus.name: bus for bus in (StanBus, JetStreamBus)}
