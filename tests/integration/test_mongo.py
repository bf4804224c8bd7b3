# SPDX-License-Identifier: Apache-2.0
"""Services whose store is MongoDB: a server that is away or frozen, at the start and later."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Iterator

import pytest

from engines import MongoServer
from harness import PATIENCE, System, free_port, wait_until

TICKET = {"title": "Concert", "price": 20}
# What is promised is 3 s; a busy machine adds to it.
ANSWER_SECONDS_MAX = 3.0 + 3.0


@pytest.fixture
def mongo(tmp_path: Path) -> Iterator[MongoServer]:
    server = MongoServer(tmp_path)
    server.start()
    try:
        yield server
    finally:
        if server.running:
            server.thaw()
            server.stop()


def test_a_store_that_is_away_at_the_start_is_waited_for(system: System, mongo: MongoServer) -> None:
    mongo.kill()
    uri = mongo.uri("tickets").replace("//", "//somebody:secret-word@") + "?authSource=admin"
    tickets = system.service("tickets", start=False, STORE_URI=uri)
    tickets.start(wait=False)
    tickets.wait_log("the store is away, trying again until it answers: mongodb://127.0.0.1")
    stopped = time.monotonic()
    assert tickets.stop() == 0
    assert time.monotonic() - stopped < ANSWER_SECONDS_MAX
    assert "secret-word" not in tickets.log()

    patient = system.service("tickets", start=False, STORE_URI=mongo.uri("tickets"))
    patient.start(wait=False)
    patient.wait_log("the store is away")
    mongo.start()
    patient.wait_ready()
    assert len(patient.wait_log("the store is away.*refused")) == 1


def test_a_store_that_refuses_the_user_is_told_from_one_that_is_away(system: System, mongo: MongoServer) -> None:
    uri = mongo.uri("tickets").replace("//", "//somebody:secret-word@")
    tickets = system.service("tickets", start=False, STORE_URI=uri)
    tickets.start(wait=False)
    refused = "ERROR.*the store refuses this service, trying again.*/tickets: the user or the password is refused$"
    tickets.wait_log(refused)
    mongo.kill()
    tickets.wait_log("the store is away, trying again until it answers: mongodb://127.0.0.1")
    mongo.start()
    tickets.wait_log(refused, count=2)
    assert tickets.stop() == 0
    assert "secret-word" not in tickets.log()


class Trap:
    """Stands before a server, and passes everything on until somebody sends `word`; from then on, all is silent."""

    def __init__(self, port: int, word: bytes):
        self.word, self.target = word, port
        self.passing = threading.Event()
        self.passing.set()
        self.sprung = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", free_port()))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.word in data and not self.sprung.is_set():
                    self.passing.clear()
                    self.sprung.set()
                self.passing.wait(PATIENCE)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.passing.set()
        self.listener.close()


def test_a_store_that_goes_away_in_the_middle_of_the_start_is_waited_for(system: System, mongo: MongoServer) -> None:
    # The first fact that a service reads, when it has opened its store.
    trap = Trap(mongo.port, b"\x02_id\x00\x06\x00\x00\x00epoch\x00")
    tickets = system.service("tickets", start=False, STORE_URI=mongo.uri("tickets", port=trap.port))
    try:
        tickets.start(wait=False)
        wait_until(trap.sprung.is_set, "tickets asks for the epoch")
        tickets.wait_log("the store is away, trying again until it answers: reading the store's epoch")
        assert tickets.running
        trap.passing.set()
        tickets.wait_ready()
    finally:
        tickets.stop()
        trap.close()


def test_a_frozen_store_gives_503_in_time_and_all_heals(system: System, mongo: MongoServer) -> None:
    auth = system.service("auth", STORE_URI=mongo.uri("auth"))
    tickets = system.service("tickets", STORE_URI=mongo.uri("tickets"))
    orders = system.service("orders", STORE_URI=mongo.uri("orders"))
    client = tickets.client(system.user(auth).token)
    made = client.post("/api/tickets", TICKET)
    assert made.status == 201, made.body
    mongo.freeze()
    for _ in range(3):
        started = time.monotonic()
        answer = client.post("/api/tickets", TICKET)
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)
        assert time.monotonic() - started < ANSWER_SECONDS_MAX
        assert b"mongo" not in answer.body
    wait_until(lambda: client.get("/readyz").status == 503, "tickets says that it is not ready")
    assert client.get("/healthz").status == 200
    mongo.thaw()
    wait_until(lambda: client.get("/readyz").status == 200, "tickets is ready again")
    after = client.post("/api/tickets", {"title": "After", "price": 1})
    assert after.status == 201, after.body
    for ticket in (made, after):
        reserve(system, auth, orders, ticket.json["id"])


def test_what_was_answered_is_there_after_the_store_was_killed(system: System, mongo: MongoServer) -> None:
    auth = system.service("auth", STORE_URI=mongo.uri("auth"))
    tickets = system.service("tickets", STORE_URI=mongo.uri("tickets"))
    orders = system.service("orders", STORE_URI=mongo.uri("orders"))
    client = tickets.client(system.user(auth).token)
    made = [client.post("/api/tickets", TICKET).json["id"] for _ in range(20)]
    mongo.restart()
    wait_until(lambda: client.get("/readyz").status == 200, "tickets is ready again")
    for ticket in made:
        assert client.get(f"/api/tickets/{ticket}").status == 200
    for ticket in made[:2]:
        reserve(system, auth, orders, ticket)


def reserve(system: System, auth, orders, ticket: str) -> None:
    """Through the event of the ticket, which has to have reached the replica."""
    wait_until(lambda: auth.client().get("/readyz").status == 200, "auth is ready again")
    buyer = orders.client(system.user(auth).token)
    deadline = time.monotonic() + PATIENCE
    while (answer := buyer.post("/api/orders", {"ticketId": ticket})).status in (404, 503):
        assert time.monotonic() < deadline, answer.body
        time.sleep(0.05)
    assert answer.status == 201, answer.body
