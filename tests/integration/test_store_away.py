# SPDX-License-Identifier: Apache-2.0
"""A store that is away for a while: whoever writes is told so quickly, events wait, and all heals by itself."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from engines import MongoServer
from harness import ROOT, Client, Process, Service, System, wait_until
from wire import check_errors, token_of

# More than enough for an event to be tried, and delivered, more often than would end in a dead letter.
AWAY_SECONDS = float(os.environ.get("TURNSTILE_AWAY_SECONDS") or 30)
QUICK_SECONDS = 3.5
SELLER, BUYER = "5e11e45e11e45e11e45e11e4", "b0b0b0b0b0b0b0b0b0b0b0b0"
LISTED = 5


class Store(Protocol):
    """One service's store, which can go away and come back."""

    uri: str

    def leave(self) -> None: ...

    def come_back(self) -> None: ...


class LockedFile:
    """Away means here: a process has the right to write, and is frozen."""

    def __init__(self, folder: Path, service: str):
        path = folder / f"{service}.db"
        self.uri = f"sqlite:{path}"
        holder = ROOT / "tests" / "chaos" / "lock_holder.py"
        self.holder = Process(f"{service}-holder", [sys.executable, "-B", str(holder), str(path)], folder)

    def leave(self) -> None:
        self.holder.start()
        self.holder.wait_frozen()

    def come_back(self) -> None:
        self.holder.kill()


class StoppedServer:
    def __init__(self, folder: Path, service: str):
        self.server = MongoServer(folder, f"{service}-mongo")
        self.server.start()
        self.uri = self.server.uri(service)

    def leave(self) -> None:
        self.server.stop()

    def come_back(self) -> None:
        if not self.server.running:
            self.server.start()


class FrozenServer(StoppedServer):
    def leave(self) -> None:
        self.server.freeze()

    def come_back(self) -> None:
        self.server.thaw()


@pytest.fixture(params=[LockedFile, StoppedServer, FrozenServer])
def stores(request: pytest.FixtureRequest, tmp_path: Path, system: System) -> Iterator[dict[str, Any]]:
    found = {service: request.param(tmp_path, service) for service in ("tickets", "orders")}
    try:
        yield found
    finally:
        for store in found.values():
            store.come_back()
        for process in system.processes:
            process.stop()
        for store in found.values():
            if isinstance(store, StoppedServer):
                store.server.stop()


def refused_in(client: Client, path: str, body: Any) -> float:
    """Seconds until it is answered that the store is away."""
    start = time.monotonic()
    check_errors(client.post(path, body), 503)  # with Retry-After
    return time.monotonic() - start


def is_unready(service: Service) -> bool:
    answer = service.client().get("/readyz")
    return answer.status == 503 and answer.json["store"] == "down"


def test_a_store_that_is_away_is_told_of_quickly_and_events_wait_until_it_is_back(
    system: System, stores: dict[str, Any]
) -> None:
    tickets, orders = (system.service(name, STORE_URI=stores[name].uri) for name in ("tickets", "orders"))
    seller, buyer = tickets.client(token_of(SELLER)), orders.client(token_of(BUYER))
    concert = {"title": "Concert", "price": 20}

    wanted = seller.post("/api/tickets", concert).json["id"]
    wait_until(lambda: system.broker.last_sequence("ticket:created") == 1, "the ticket's event is published")
    wait_until(lambda: system.broker.settled("ticket:created", "orders-service"), "orders knows the ticket")

    stores["orders"].leave()
    since = time.monotonic()
    listed = [seller.post("/api/tickets", concert).json["id"] for _ in range(LISTED)]
    stores["tickets"].leave()
    took: dict[str, list[float]] = {"tickets": [], "orders": []}
    while time.monotonic() < since + AWAY_SECONDS:
        took["tickets"].append(refused_in(seller, "/api/tickets", concert))
        took["orders"].append(refused_in(buyer, "/api/orders", {"ticketId": wanted}))
    # The quickest: how long the others took may be this machine's doing.
    assert all(min(times) < QUICK_SECONDS for times in took.values()), took
    wait_until(lambda: is_unready(tickets) and is_unready(orders), "both say that they are not ready")
    assert tickets.client().get("/healthz").status == 200
    # The events have come, wait unacknowledged, and nobody has given them up.
    wait_until(lambda: system.broker.pending("ticket:created", "orders-service") == LISTED, "all of them have come")
    assert system.eventctl("dead", "list", "--json").stdout == ""
    orders.wait_log("Events wait for the store")

    for store in stores.values():
        store.come_back()
    for service in (tickets, orders):
        service.wait_ready()
    for ticket in listed:
        answer = wait_until(lambda: known(buyer.post("/api/orders", {"ticketId": ticket})), "the ticket can be reserved")
        assert answer.status == 201 and answer.json["ticket"]["price"] == 20
        wait_until(lambda: seller.get(f"/api/tickets/{ticket}").json.get("orderId") == answer.json["id"], "it is held")
    for subject, group in (("ticket:created", "orders-service"), ("order:created", "tickets-service")):
        wait_until(lambda: system.broker.settled(subject, group), f"all of {subject} is acknowledged")
    assert system.eventctl("dead", "list", "--json").stdout == ""


def known(answer: Any) -> Any:
    """Nothing while the event has not come."""
    return None if answer.status == 404 else answer
