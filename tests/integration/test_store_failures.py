# SPDX-License-Identifier: Apache-2.0
"""What a service does while its store fails it: the disk is full, a commit fails, a process dies or freezes in it."""

from __future__ import annotations

import resource
import sqlite3
import threading
from typing import Any, Iterator

import pytest

from harness import Client, Service, System, wait_until
from market import Market
from wire import check_errors, token_of

SELLER = "5e11e45e11e45e11e45e11e4"
FULL_AT = 16384  # bytes of any file: the store needs more for every write, the log less
TICKET = {"title": "Concert" * 20, "price": 20}


def set_disk(service: Service, full: bool) -> None:
    """As far as this process can see: no file of it can grow."""
    limit = FULL_AT if full else resource.RLIM_INFINITY
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def seller(service: Service) -> Client:
    return service.client(token_of(SELLER))


def stored(system: System, service: str, table: str) -> list[str]:
    database = sqlite3.connect(f"file:{system.store_path(service)}?mode=ro", uri=True, timeout=10)
    try:
        return [row[0] for row in database.execute(f"SELECT id FROM {table}")]
    finally:
        database.close()


def refusal(client: Client) -> Any:
    """Nothing while the service has not found out that its store takes no changes."""
    answer = client.get("/readyz")
    return answer if answer.status == 503 else None


# ---- a full disk ----


def test_with_a_full_disk_tickets_can_be_read_and_after_it_written_again(system: System) -> None:
    tickets = system.service("tickets", LOG_LEVEL="warning")
    client = seller(tickets)
    ticket = client.post("/api/tickets", TICKET).json
    path = f"/api/tickets/{ticket['id']}"
    set_disk(tickets, full=True)
    for _ in range(5):
        check_errors(client.post("/api/tickets", TICKET), 503)
        check_errors(client.post("/api/tickets", TICKET, Idempotency_Key="k"), 503)
        check_errors(client.put(path, {"title": "Encore", "price": 1}), 503)
        assert client.get(path).json == ticket
        assert client.get("/api/tickets").json == [ticket]
        assert client.get("/api/tickets/mine").json == [ticket]
        # What is refused for a better reason is refused for that.
        check_errors(client.post("/api/tickets", {}), 400, "title", "price")
        check_errors(client.put(path, TICKET, If_Match='"9"'), 412)
        # Nothing is written where nothing changes.
        assert client.put(path, TICKET).status == 200
    ready = wait_until(lambda: refusal(client), "it is not ready")
    assert ready.json["status"] == "unavailable" and ready.json["store"] == "down"
    assert client.get("/healthz").status == 200
    # The log says which file and why, the client is not told.
    tickets.wait_log(rf"POST /api/tickets: {system.store_path('tickets')}: .*File too large")

    set_disk(tickets, full=False)
    again = client.post("/api/tickets", TICKET, Idempotency_Key="k")
    assert again.status == 201
    assert client.put(path, {"title": "Encore", "price": 1}).json["version"] == 2
    assert sorted(stored(system, "tickets", "tickets")) == sorted([ticket["id"], again.json["id"]])
    tickets.wait_ready()
    assert tickets.stop() == 0
    system.check_intact("tickets")


def test_with_a_full_disk_orders_can_be_read_and_after_it_written_again(system: System) -> None:
    market = Market(system, LOG_LEVEL="warning")
    ann = market.user()
    held, free = (market.list_ticket(market.user())["id"] for _ in range(2))
    market.wait_replica(held)
    market.wait_replica(free)
    order = market.reserve(ann, held)
    market.wait_settled()
    client = market.client(market.orders[0], ann)
    set_disk(market.orders[0], full=True)
    for _ in range(3):
        check_errors(client.post("/api/orders", {"ticketId": free}), 503)
        check_errors(client.delete(f"/api/orders/{order['id']}"), 503)
        check_errors(client.post("/api/orders", {"ticketId": held}), 409)
        assert client.get("/api/orders").json == [order]
        assert client.get(f"/api/orders/{order['id']}").json == order
    # Events that come meanwhile wait, and so does whoever needs them.
    late = market.list_ticket(ann)["id"]
    set_disk(market.orders[0], full=False)
    assert market.reserve(ann, free)["reservation"] == 1
    market.cancel(ann, order["id"])
    market.wait_replica(late)
    market.wait_settled()
    market.check_converged()
    assert market.orders[0].stop() == 0
    system.check_intact("orders")


def test_with_a_full_disk_people_can_sign_in_but_not_up(system: System) -> None:
    auth = system.service("auth", LOG_LEVEL="warning")
    user = system.user(auth)
    client = auth.client()
    set_disk(auth, full=True)
    newcomer = {"email": "new@example.com", "password": "password"}
    for _ in range(3):
        check_errors(client.post("/api/users/signup", newcomer), 503)
        check_errors(client.post("/api/users/signup", {"email": user.email, "password": "password"}), 409, "email")
        assert client.post("/api/users/signin", {"email": user.email, "password": "password"}).json["id"] == user.id
        check_errors(client.post("/api/users/signin", newcomer), 401)
    set_disk(auth, full=False)
    assert client.post("/api/users/signup", newcomer).status == 201
    assert auth.stop() == 0
    system.check_intact("auth")


def test_a_disk_that_is_full_now_and_then_loses_nothing_that_was_answered(system: System) -> None:
    """Under load, on two instances that share the file."""
    market = Market(system, 2, LOG_LEVEL="error")
    created: list[str] = []
    refused: list[int] = []
    stopping = threading.Event()

    def load(number: int) -> None:
        client = seller(market.tickets[number % 2])
        while not stopping.is_set():
            answer = client.post("/api/tickets", TICKET)
            if answer.status == 201:
                created.append(answer.json["id"])
            else:
                check_errors(answer, 503)
                refused.append(answer.status)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            for full in (True, False):
                for instance in market.tickets:
                    set_disk(instance, full)
                counted = refused if full else created
                target = len(counted) + 10
                wait_until(lambda: len(counted) >= target, "ten more are refused" if full else "ten more are listed")
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    found = stored(system, "tickets", "tickets")
    assert set(created) <= set(found) and len(created) == len(set(created))
    # A 503 may hide a ticket that was stored all the same, and nothing else may.
    assert len(found) <= len(created) + len(refused)
    for ticket in found:
        market.wait_replica(ticket)
    market.wait_settled()
    market.check_converged()
    for instance in market.tickets:
        assert instance.stop() == 0
    system.check_intact("tickets")


# ---- a commit that fails ----


@pytest.fixture
def fragile(system: System) -> Iterator[Any]:
    """Starts tickets with a failpoint in the store, ready or not."""

    def start(failpoints: str) -> Service:
        service = system.service("tickets", start=False, FAILPOINTS=failpoints)
        service.start(wait=False)
        service.wait_alive()
        return service

    yield start


def test_a_commit_that_fails_is_answered_503_and_wrote_nothing(system: System, fragile: Any) -> None:
    tickets = fragile("store.before_commit=fail:3")
    client = seller(tickets)
    for _ in range(3):
        check_errors(client.post("/api/tickets", TICKET), 503)
        assert client.get("/api/tickets").json == []
    assert client.post("/api/tickets", TICKET).status == 201
    assert len(client.get("/api/tickets").json) == 1


@pytest.mark.parametrize("where", ["store.commit", "store.after_commit"])
def test_a_commit_whose_outcome_is_unknown_is_settled(system: System, fragile: Any, where: str) -> None:
    """Whether the failed commit took place (after_commit) or not (commit), the ticket is there once."""
    client = seller(fragile(f"{where}=fail:1"))
    answer = client.post("/api/tickets", TICKET)
    assert answer.status == 201
    assert client.get("/api/tickets").json == [answer.json]
    ticket = client.put(f"/api/tickets/{answer.json['id']}", {"title": "Encore", "price": 1})
    assert ticket.json["version"] == 2
    wait_until(lambda: system.broker.last_sequence("ticket:updated") == 1, "its event is published")
    assert system.broker.last_sequence("ticket:created") == 1


@pytest.mark.parametrize("where, survives", [("store.before_commit", False), ("store.after_commit", True)])
def test_who_dies_in_a_commit_has_done_all_of_it_or_nothing(
    system: System, fragile: Any, where: str, survives: bool
) -> None:
    tickets = fragile(f"{where}=kill")
    client = seller(tickets)
    with pytest.raises(OSError):
        client.post("/api/tickets", TICKET, Idempotency_Key="k")
    wait_until(lambda: not tickets.running, "it is dead")
    found = stored(system, "tickets", "tickets")
    assert len(found) == (1 if survives else 0)
    del tickets.env["FAILPOINTS"]
    tickets.start()
    # The retry finds what the first try has made, or makes it.
    again = client.post("/api/tickets", TICKET, Idempotency_Key="k")
    assert again.status == 201 and again.json["version"] == 1
    assert stored(system, "tickets", "tickets") == [again.json["id"]] and (not survives or found == [again.json["id"]])
    wait_until(lambda: system.broker.last_sequence("ticket:created") == 1, "its event is published, once")
    assert tickets.stop() == 0
    system.check_intact("tickets")


def test_an_instance_that_is_frozen_in_a_commit_holds_the_others_up_but_not_for_ever(system: System) -> None:
    market = Market(system, 1)
    other = market.tickets[0]
    client = seller(other)
    ticket = client.post("/api/tickets", TICKET).json
    frozen = system.service("tickets", start=False, FAILPOINTS="store.before_commit=stop")
    # Else it might find on the bus what nobody has noted in the store yet, and write that first.
    wait_until(lambda: market.outbox("tickets") == 0, "what was published is noted")
    frozen.start(wait=False)
    frozen.wait_alive()
    answers: list[Any] = []
    writer = threading.Thread(target=lambda: answers.append(seller(frozen).post("/api/tickets", TICKET)))
    writer.start()
    frozen.wait_frozen()
    check_errors(client.post("/api/tickets", TICKET), 503)
    # It has waited, and given up while the turn was still the frozen one's.
    other.wait_log("no turn to write within [0-9]+ ms; nothing was written")
    assert frozen.is_frozen()
    assert client.get("/api/tickets").json == [ticket]
    wait_until(lambda: refusal(client), "the other one is not ready")
    frozen.thaw()
    writer.join()
    assert answers[0].status == 201
    assert client.post("/api/tickets", TICKET).status == 201
    other.wait_ready()
    # One that was killed holds nobody up.
    frozen.env["FAILPOINTS"] = "store.before_commit=stop"
    frozen.stop()
    wait_until(lambda: market.outbox("tickets") == 0, "what was published is noted")
    frozen.start(wait=False)
    frozen.wait_alive()

    def doomed() -> None:
        try:
            answers.append(seller(frozen).post("/api/tickets", TICKET))
        except OSError as problem:
            answers.append(problem)

    writer = threading.Thread(target=doomed)
    writer.start()
    frozen.wait_frozen()
    frozen.kill()
    writer.join()
    assert isinstance(answers[1], OSError)
    assert client.post("/api/tickets", TICKET).status == 201
    assert len(client.get("/api/tickets").json) == 4
