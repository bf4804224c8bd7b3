# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and SIGINT: what was accepted is finished, the bus is left properly, and it takes no longer than 10 s."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from pathlib import Path

import pytest

from harness import PATIENCE, Service, System, wait_until
from market import ORDERS_GROUP, Market
from wire import Wire, token_of

STOP_MAX = 10.0  # seconds
SELLER = "5e11e45e11e45e11e45e11e4"
TICKETS = "/api/tickets"
ENDED = "NATS connection closed!$"


def request(title: str) -> bytes:
    """A request to list a ticket."""
    body = json.dumps({"title": title, "price": 1}).encode()
    lines = (f"POST {TICKETS} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token_of(SELLER)}")
    return "\r\n".join((*lines, "Content-Type: application/json", f"Content-Length: {len(body)}", "", "")).encode() + body


def titles(market: Market) -> list[str]:
    return sorted(ticket["title"] for ticket in market.records("tickets").values())


def wait_end(service: Service, start: float) -> float:
    """Waits for the end, which must be a good one and in time; how long it took."""
    assert service.process is not None
    status = service.process.wait(PATIENCE)
    seconds = time.monotonic() - start
    assert status == 0, service.log()[-3000:]
    assert seconds < STOP_MAX, service.log()[-3000:]
    return seconds


def terminate(service: Service, number: signal.Signals = signal.SIGTERM) -> float:
    start = time.monotonic()
    service.send(number)
    return wait_end(service, start)


class Sellers:
    """Threads that list tickets as fast as they can, on new connections and on kept ones, until nobody listens.

    A request is answered in full or not at all: an answer that breaks off is a failed assertion in Wire.read_answer.
    """

    def __init__(self, service: Service, count: int = 8):
        self.service = service
        self.listed: list[str] = []
        self.problems: list[BaseException] = []
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, number: int) -> None:
        try:
            count = 0
            while True:
                try:
                    wire = Wire(self.service.port)
                except ConnectionError:
                    return
                with wire:
                    count = self.use(wire, number, count)
        except BaseException as problem:  # noqa: BLE001 - check() looks at it
            self.problems.append(problem)

    def use(self, wire: Wire, number: int, count: int) -> int:
        """Sells on one connection: odd numbers one ticket, even ones as many as the service takes."""
        while True:
            count += 1
            title = f"{number}/{count}"
            try:
                wire.send(request(title))
                answer = wire.read_answer()
            except ConnectionError:
                answer = None
            if answer is None:
                return count
            assert answer.status == 201, (answer.status, answer.body)
            assert answer.json["title"] == title
            self.listed.append(title)
            if number % 2 or answer.headers.get("connection", "").lower() == "close":
                return count

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.listed) >= count or self.problems, f"{count} tickets are listed")

    def check(self, market: Market) -> None:
        """Exactly what was answered is in the store: no 201 is lost, and nothing was carried out without an answer."""
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert not self.problems, self.problems[0]
        stored = set(titles(market))
        assert (set(self.listed) - stored, stored - set(self.listed)) == (set(), set()), "lost, unanswered"
        assert len(self.listed) == len(stored)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM])
def test_under_load_what_was_accepted_is_answered_and_what_was_answered_is_stored(
    system: System, number: signal.Signals
) -> None:
    market = Market(system)
    tickets = market.tickets[0]
    sellers = Sellers(tickets)
    sellers.wait_for(100)
    terminate(tickets, number)
    sellers.check(market)
    tickets.wait_log(f"{number.name} received, stopping$")
    assert ENDED.rstrip("$") in tickets.log().splitlines()[-1]
    assert tickets.name not in system.broker.clients()
    system.check_intact("tickets")
    # What the bus has not confirmed by then, the next one publishes.
    tickets.start()
    wait_until(lambda: market.outbox("tickets") == 0, "everything is published")
    wait_until(lambda: len(market.records("orders")) == len(sellers.listed), "orders knows all")


@pytest.mark.parametrize("service", ["tickets", "orders"])
def test_the_bus_has_forgotten_the_client_when_the_log_says_so(system: System, service: str) -> None:
    """At once, and not when heartbeats have gone unanswered for half a minute: the name can be used again."""
    for count in range(1, 4):
        instance = system.service(service, "one-name")
        assert "one-name" in system.broker.clients()
        instance.send(signal.SIGTERM)
        instance.wait_log(ENDED, count=count)
        assert "one-name" not in system.broker.clients()
        wait_end(instance, time.monotonic())


def test_a_request_that_is_being_handled_is_finished(system: System) -> None:
    tickets = system.service("tickets", start=False, FAILPOINTS="store.before_commit=sleep:1500:1")
    tickets.start(wait=False)
    tickets.wait_alive()
    with Wire(tickets.port) as wire:
        wire.send(request("in the middle"))
        tickets.wait_log("failpoint store.before_commit: sleep")
        start = time.monotonic()
        tickets.send(signal.SIGTERM)
        answer = wire.read_answer()
        assert answer is not None and answer.status == 201
        assert answer.headers["connection"].lower() == "close"
        assert wire.is_closed()
    wait_end(tickets, start)


def test_a_request_that_is_on_its_way_is_waited_for(system: System) -> None:
    market = Market(system)
    tickets = market.tickets[0]
    data = request("half of it")
    with Wire(tickets.port) as wire, Wire(tickets.port) as first_line:
        wire.send(data[:-10])
        first_line.send(data[:7])
        # The service has them: it answers what was sent after them.
        assert tickets.client().get(TICKETS).json == []
        start = time.monotonic()
        tickets.send(signal.SIGTERM)
        tickets.wait_log("SIGTERM received")
        wait_until(lambda: not listens(tickets), "it accepts nobody any more")
        wire.send(data[-10:])
        answer = wire.read_answer()
        assert answer is not None and answer.status == 201
        assert answer.headers["connection"].lower() == "close" and wire.is_closed()
        first_line.send(data[7:])
        answer = first_line.read_answer()
        assert answer is not None and answer.status == 201
    wait_end(tickets, start)
    assert titles(market) == ["half of it"] * 2


def test_requests_that_were_sent_before_the_signal_are_answered(system: System) -> None:
    """The service is frozen while they come, so that it learns of all of them, and of the signal, at one moment."""
    market = Market(system)
    tickets = market.tickets[0]
    kept = [Wire(tickets.port) for _ in range(20)]
    for i, wire in enumerate(kept):
        wire.send(request(f"before {i}"))
        answer = wire.read_answer()
        assert answer is not None and answer.status == 201
    tickets.freeze()
    new = [Wire(tickets.port) for _ in range(20)]
    for i, wire in enumerate(kept + new):
        wire.send(request(f"during {i}"))
    tickets.send(signal.SIGTERM)
    start = time.monotonic()
    tickets.thaw()
    for wire in kept + new:
        answer = wire.read_answer()
        assert answer is not None and answer.status == 201
        wire.close()
    wait_end(tickets, start)
    assert len(titles(market)) == 60


def listens(service: Service) -> bool:
    try:
        Wire(service.port).close()
    except ConnectionError:
        return False
    return True


def test_idle_connections_do_not_hold_it_up(system: System) -> None:
    tickets = system.service("tickets")
    fresh = [Wire(tickets.port) for _ in range(50)]
    used = [Wire(tickets.port) for _ in range(50)]
    for wire in used:
        wire.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = wire.read_answer()
        assert answer is not None and answer.status == 200
    assert terminate(tickets) < STOP_MAX / 2
    for wire in fresh + used:
        assert wire.is_closed()
        wire.close()


def test_clients_that_never_finish_do_not_hold_it_up_for_ever(system: System) -> None:
    tickets = system.service("tickets", REQUEST_TIMEOUT_MS="600000")
    data = request("never")
    wires = [Wire(tickets.port) for _ in range(20)]
    for i, wire in enumerate(wires):
        wire.send(data[: len(data) * i // 20 or 1])
    assert tickets.client().get(TICKETS).json == []
    terminate(tickets)
    for wire in wires:
        wire.close()


@pytest.mark.parametrize("service", ["tickets", "orders"])
@pytest.mark.parametrize("broker", ["away", "frozen", "never there"])
def test_it_ends_in_time_while_the_broker_does_not_answer(system: System, service: str, broker: str) -> None:
    if broker == "never there":
        system.broker.stop()
    instance = system.service(service)
    client = instance.client(token_of(SELLER))
    if broker == "away":
        system.broker.stop()
    elif broker == "frozen":
        system.broker.freeze()
    if service == "tickets":
        # With an event that waits for it, too.
        assert client.post(TICKETS, {"title": "Concert", "price": 1}).status == 201
    terminate(instance)
    assert ENDED.rstrip("$") in instance.log()
    if broker == "frozen":
        system.broker.thaw()
    else:
        system.broker.start()
    instance.start()
    if service == "tickets":
        wait_until(lambda: system.broker.last_sequence("ticket:created") >= 1, "the event is published after all")


@pytest.mark.parametrize("count", [1, 3])
def test_dead_letters_that_the_broker_does_not_confirm_do_not_hold_it_up(system: System, count: int) -> None:
    """The service is frozen while their events come to it, so that the broker is frozen when it handles them."""
    orders = system.service("orders", EVENT_WORKERS="1")
    wait_until(lambda: system.broker.subscriptions("ticket:created"), "orders listens")
    orders.freeze()
    for _ in range(count):
        system.publish("ticket:created", "{not json")
    wait_until(lambda: system.broker.pending("ticket:created", ORDERS_GROUP) == count, "they are delivered")
    system.broker.freeze()
    orders.thaw()
    orders.wait_log("Message received: ticket:created")
    terminate(orders)
    assert ENDED.rstrip("$") in orders.log()
    system.broker.thaw()
    orders.start()
    wait_until(lambda: system.broker.last_sequence("dead:ticket:created") >= count, "they are kept after all")


def test_auth_ends_as_the_others_do(system: System) -> None:
    auth = system.service("auth")
    user = system.user(auth)
    for number in (signal.SIGTERM, signal.SIGINT):
        with Wire(auth.port) as idle:
            terminate(auth, number)
            assert idle.is_closed()
        auth.start()
    assert auth.client().post("/api/users/signin", {"email": user.email, "password": "password"}).json["id"] == user.id


def test_a_second_signal_changes_nothing(system: System) -> None:
    tickets = system.service("tickets", start=False, FAILPOINTS="store.before_commit=sleep:1000:1")
    tickets.start(wait=False)
    tickets.wait_alive()
    with Wire(tickets.port) as wire:
        wire.send(request("in the middle"))
        tickets.wait_log("failpoint store.before_commit: sleep")
        start = time.monotonic()
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            tickets.send(number)
        answer = wire.read_answer()
        assert answer is not None and answer.status == 201
    wait_end(tickets, start)


def test_a_signal_at_any_moment_of_the_start_ends_it(system: System) -> None:
    """Before it could arrange for anything else, the signal ends it in the way of all programs."""
    statuses = set()
    for milliseconds in range(0, 60, 3):
        instance = system.service("orders", start=False)
        instance.may_fail = True  # type: ignore[attr-defined]
        instance.start(wait=False)
        time.sleep(milliseconds / 1000)
        start = time.monotonic()
        instance.send(signal.SIGTERM)
        assert instance.process is not None
        statuses.add(instance.process.wait(PATIENCE))
        assert time.monotonic() - start < STOP_MAX, instance.log()
    assert statuses <= {0, -signal.SIGTERM}, statuses
    assert system.broker.clients() == []


def freeze_in_a_commit(system: System) -> tuple[Service, threading.Thread, list[int]]:
    """An instance of tickets that keeps the store locked, the request that it is frozen in, and how that is answered."""
    frozen = system.service("tickets", start=False, FAILPOINTS="store.before_commit=stop")
    frozen.start(wait=False)
    frozen.wait_alive()
    answers: list[int] = []
    client = frozen.client(token_of(SELLER))
    writer = threading.Thread(target=lambda: answers.append(client.post(TICKETS, {"title": "t", "price": 1}).status))
    writer.start()
    frozen.wait_frozen()
    return frozen, writer, answers


def test_a_start_that_waits_for_the_store_can_be_ended(system: System) -> None:
    frozen, writer, answers = freeze_in_a_commit(system)
    waiting = system.service("tickets", start=False)
    waiting.start(wait=False)
    store = str(system.store_path("tickets"))
    wait_until(lambda: has_open(waiting, store), "it has opened the store's file, or its lock")
    assert not listens(waiting)
    terminate(waiting)
    frozen.thaw()
    writer.join()
    assert answers == [201]
    waiting.start()
    assert len(waiting.client().get(TICKETS).json) == 1


def test_a_request_that_waits_for_the_store_is_answered_before_the_end(system: System) -> None:
    """Another instance keeps the store locked: the write is given up, and that is told."""
    tickets = system.service("tickets")
    frozen, writer, answers = freeze_in_a_commit(system)
    wires = [Wire(tickets.port) for _ in range(5)]
    for wire in wires:
        wire.send(request("waits"))
    assert tickets.client().get(TICKETS).json == []
    terminate(tickets)
    for wire in wires:
        answer = wire.read_answer()
        assert answer is not None and answer.status == 503 and answer.json["errors"]
        assert wire.is_closed()
        wire.close()
    frozen.thaw()
    writer.join()
    assert answers == [201]


def has_open(service: Service, path: str) -> bool:
    """True if the process has opened a file whose path begins like this. Others may be closed while this looks."""
    for link in Path(f"/proc/{service.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(link.readlink()).startswith(path):
                return True
    return False
