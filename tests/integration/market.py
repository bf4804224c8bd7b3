# SPDX-License-Identifier: Apache-2.0
"""A whole market for a test: auth, and as many instances of tickets and orders as it wants."""

from __future__ import annotations

import itertools
import json
import re
import threading
import uuid
from typing import Any

from databases import Record
from harness import Client, Service, System, User, wait_until
from replicas import differences

ORDERS_GROUP = "orders-service"
TICKETS_GROUP = "tickets-service"
# What each group follows.
FOLLOWED = {
    ORDERS_GROUP: ("ticket:created", "ticket:updated"),
    TICKETS_GROUP: ("order:created", "order:updated", "order:cancelled"),
}
APPLIED = re.compile(r"Applied ticket/([0-9a-f]{24})/(\d+)(?: \(snapshot, from version (\d+)\))?")


def new_id() -> str:
    """An id that no service has made."""
    return uuid.uuid4().hex[:24]


def is_settled(system: System) -> bool:
    """Every event is published, received and acknowledged."""
    return all(system.stores.outbox(service) == 0 for service in ("tickets", "orders")) and all(
        system.broker.settled(subject, group) for group, subjects in FOLLOWED.items() for subject in subjects
    )


class Market:
    """Calls go to the instances in turn. Nothing here waits for what an event has yet to bring, except where it says so."""

    def __init__(self, system: System, instances: int = 1, **env: str):
        self.system = system
        self.broker = system.broker
        self.auth = system.service("auth")
        self.tickets = [system.service("tickets", **env) for _ in range(instances)]
        self.orders = [system.service("orders", **env) for _ in range(instances)]
        self._next_tickets = itertools.cycle(self.tickets)
        self._next_orders = itertools.cycle(self.orders)

    def user(self) -> User:
        return self.system.user(self.auth)

    # ---- requests ----

    def client(self, service: Service, user: User | None = None) -> Client:
        return service.client(user.token if user else None)

    def list_ticket(self, seller: User, title: str = "Concert", price: float = 20, at: Service | None = None) -> Any:
        answer = self.client(at or next(self._next_tickets), seller).post(
            "/api/tickets", {"title": title, "price": price}
        )
        assert answer.status == 201, answer.body
        return answer.json

    def change_ticket(self, seller: User, ticket: str, price: float, at: Service | None = None) -> Any:
        answer = self.client(at or next(self._next_tickets), seller).put(
            f"/api/tickets/{ticket}", {"title": "Concert", "price": price}
        )
        assert answer.status == 200, answer.body
        return answer.json

    def ticket(self, ticket: str) -> Any:
        answer = next(self._next_tickets).client().get(f"/api/tickets/{ticket}")
        assert answer.status == 200, answer.body
        return answer.json

    def reserve(self, buyer: User, ticket: str, at: Service | None = None) -> Any:
        answer = self.client(at or next(self._next_orders), buyer).post("/api/orders", {"ticketId": ticket})
        assert answer.status == 201, answer.body
        return answer.json

    def cancel(self, buyer: User, order: str, at: Service | None = None) -> None:
        answer = self.client(at or next(self._next_orders), buyer).delete(f"/api/orders/{order}")
        assert answer.status == 204, answer.body

    # ---- what is in the stores ----

    def records(self, service: str, collection: str = "tickets") -> dict[str, Record]:
        return self.system.stores.records(service, collection)

    def record(self, ticket: str) -> Record:
        """A ticket as its owner has it."""
        record = self.system.stores.record("tickets", "tickets", ticket)
        assert record is not None, ticket
        return record

    def replica_version(self, ticket: str) -> int:
        """The version of a ticket that orders knows, 0 if none."""
        replica = self.system.stores.record("orders", "tickets", ticket)
        return replica["version"] if replica else 0

    def wait_replica(self, ticket: str, version: int = 1) -> None:
        wait_until(lambda: self.replica_version(ticket) >= version, f"orders has version {version} of ticket {ticket}")

    def orders_of(self, ticket: str) -> dict[str, Record]:
        """All orders of a ticket, by id."""
        return {id: order for id, order in self.records("orders", "orders").items() if order["ticket.id"] == ticket}

    def holder(self, ticket: str) -> str | None:
        """The order that holds a ticket, as tickets knows it."""
        return self.record(ticket).get("orderId")

    def outbox(self, service: str) -> int:
        return self.system.stores.outbox(service)

    # ---- the end of a test ----

    def wait_settled(self) -> None:
        """Every event is published, received and acknowledged."""
        wait_until(lambda: is_settled(self.system), "all events are published, received and acknowledged")

    def check_converged(self) -> None:
        """Every replica equals its owner's record, and no ticket has two live orders."""
        assert differences(self.system.stores) == []
        live = [(order["ticket.id"], id) for id, order in self.records("orders", "orders").items()
                if order["status"] != "cancelled"]
        holders = dict(live)
        assert len(holders) == len(live), "a ticket has two live orders"
        assert {id: ticket.get("orderId") for id, ticket in self.records("tickets").items()} == {
            id: holders.get(id) for id in self.records("tickets")
        }

    def check_applied_in_order(self) -> None:
        """In the logs of all instances of orders, the versions applied of each ticket are 1, 2, 3, … each once; a
        snapshot stands for all versions that it skipped."""
        applied: dict[str, list[int]] = {}
        for instance in self.orders:
            for line in instance.log().splitlines():
                if match := APPLIED.search(line):
                    version = int(match[2])
                    before = int(match[3]) if match[3] else version - 1
                    applied.setdefault(match[1], []).extend(range(before + 1, version + 1))
        for ticket, versions in applied.items():
            assert sorted(versions) == list(range(1, len(versions) + 1)), (ticket, versions)

    # ---- events ----

    def publish_lines(self, subject: str, events: list[Any]) -> None:
        """Publishes these in their order, by one eventctl."""
        lines = "".join(json.dumps(event) + "\n" for event in events)
        self.system.eventctl("publish", subject, "-", "--lines", stdin=lines)

    def messages(self, *subjects: str) -> list[Any]:
        """Everything that was published on these subjects, as eventctl prints it, oldest first."""
        count = sum(self.broker.message_count(subject) for subject in subjects)
        if count == 0:
            return []
        listened = self.system.eventctl(
            "listen", *subjects, "--deliver-all", "--json", "--count", str(count), "--timeout", "30"
        )
        return [json.loads(line) for line in listened.stdout.splitlines() if line.startswith("{")]

    def check_published_in_order(self) -> None:
        """No version of a ticket came to the bus for the first time before a lower one. Between the two subjects, whose
        sequences are their own, the time of storing decides, which is of the broker's one clock."""
        first: dict[str, dict[int, tuple[str, int, str]]] = {}
        for message in self.messages("ticket:created", "ticket:updated"):
            event = message["data"]
            if not isinstance(event, dict) or "createdAt" not in event:
                continue  # what another test has made up
            place = (message["subject"], message["sequence"], message["time"])
            versions = first.setdefault(event["id"], {})
            versions[event["version"]] = min(versions.get(event["version"], place), place, key=lambda p: p[1])
        assert first
        for ticket, versions in first.items():
            places = [versions[version] for version in sorted(versions)]
            for (subject, sequence, time), (next_subject, next_sequence, next_time) in zip(places, places[1:]):
                assert time <= next_time, (ticket, versions)
                assert subject != next_subject or sequence < next_sequence, (ticket, versions)


class Load:
    """Lists, changes, reserves and cancels in the background until it is stopped; keeps what was answered."""

    def __init__(self, market: Market, threads: int = 4):
        self.market = market
        self.seller, self.buyer = market.user(), market.user()
        self.stopping = threading.Event()
        self.tickets: dict[str, float] = {}
        self.failures: list[str] = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, number: int) -> None:
        sellers = self.market.tickets[number % len(self.market.tickets)].client(self.seller.token)
        buyers = self.market.orders[number % len(self.market.orders)].client(self.buyer.token)
        while not self.stopping.wait(self.market.system.pause):
            try:
                listed = sellers.post("/api/tickets", {"title": f"Concert {number}", "price": 1})
                if listed.status != 201:
                    self.fail(f"POST tickets: {listed.status} {listed.body!r}")
                    continue
                ticket = listed.json["id"]
                changed = sellers.put(f"/api/tickets/{ticket}", {"title": "Concert", "price": 2})
                with self.lock:
                    self.tickets[ticket] = 2 if changed.status == 200 else 1
                ordered = buyers.post("/api/orders", {"ticketId": ticket})
                if ordered.status == 201 and number % 2 == 0:
                    buyers.delete(f"/api/orders/{ordered.json['id']}")
            except OSError as problem:
                self.fail(repr(problem))

    def fail(self, problem: str) -> None:
        with self.lock:
            self.failures.append(problem)

    def wait_for(self, count: int) -> None:
        target = len(self.tickets) + count
        wait_until(lambda: len(self.tickets) >= target, f"{count} more tickets are listed")

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def ticket_event(ticket: str, version: int, price: float = 20, **fields: Any) -> dict[str, Any]:
    """An event of a ticket as its owner would publish it."""
    event = {
        "id": ticket,
        "version": version,
        "title": "Concert",
        "price": price,
        "userId": "5f43c0de5f43c0de5f43c0de",
        "createdAt": "2026-01-31T12:00:00.000Z",
        "updatedAt": "2026-01-31T12:00:00.000Z",
    }
    event.update(fields)
    return event


def order_event(order: str, version: int, ticket: str, reservation: int, status: str = "created") -> dict[str, Any]:
    """An event of an order as its owner would publish it."""
    return {
        "id": order,
        "version": version,
        "status": status,
        "userId": "5f43c0de5f43c0de5f43c0de",
        "ticket": {"id": ticket, "title": "Concert", "price": 20},
        "reservation": reservation,
        "createdAt": "2026-01-31T12:00:00.000Z",
        "expiresAt": "2026-01-31T12:15:00.000Z",
    }
