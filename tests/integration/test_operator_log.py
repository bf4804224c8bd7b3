# SPDX-License-Identifier: Apache-2.0
"""What those who run services read: why everything is published again, and that a store is away; each said once."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

from engines import MongoServer
from harness import PATIENCE, Service, System, wait_until
from market import ORDERS_GROUP, Market, ticket_event

NOT_NOTED = "What the event bus has of it cannot be noted: "
AWAY, BACK = "the store does not answer: ", "the store answers again"


def operate(instance: Service, *arguments: str) -> None:
    command = [*instance.command, *arguments]
    subprocess.run(command, cwd=instance.folder, env=instance.env, check=True, capture_output=True, timeout=PATIENCE)


def stored_position(system: System, subject: str) -> int:
    with contextlib.closing(sqlite3.connect(system.store_path("tickets"), timeout=10)) as store:
        row = store.execute("SELECT value FROM store_meta WHERE key = ?", (f"fact:position/{subject}",)).fetchone()
    return row[0] if row else 0


def test_snapshots_of_a_republish_that_the_bus_loses_are_published_again(system: System) -> None:
    market = Market(system)
    tickets = [market.list_ticket(market.user())["id"] for _ in range(3)]
    market.wait_settled()
    for instance in market.tickets + market.orders:
        instance.stop()
    system.broker.stop()
    files = Path(system.folder) / "broker-store"
    older = Path(system.folder) / "older"
    shutil.copytree(files, older)  # with all events, but without the snapshots
    system.broker.start()
    operate(market.tickets[0], "--republish")
    assert stored_position(system, "ticket:snapshot") == len(tickets)
    system.broker.stop()
    shutil.rmtree(files)
    shutil.move(older, files)
    system.broker.start()
    market.tickets[0].start()
    market.tickets[0].wait_log("the event bus has lost history: ticket:snapshot ends at 0, it was at 3")
    market.tickets[0].wait_log("Publishing everything again, as snapshots: the event bus has lost history$")
    market.tickets[0].wait_log("Everything was published again: 3 snapshots")


def test_a_republish_that_waits_for_the_store_says_so_once(system: System, tmp_path: Path) -> None:
    """Reading went well, and at the end it has something to note."""
    market = Market(system)
    tickets = [market.list_ticket(market.user())["id"] for _ in range(8)]
    market.wait_settled()
    instance = market.tickets[0]
    instance.stop()
    path = tmp_path / "republish.log"
    with open(path, "wb") as log, contextlib.closing(sqlite3.connect(system.store_path("tickets"), timeout=60)) as store:
        running = subprocess.Popen([*instance.command, "--republish", "--rate", "1"], cwd=instance.folder,
                                   env=instance.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: system.broker.last_sequence("ticket:snapshot") >= 1, "it has begun")
        store.execute("BEGIN IMMEDIATE")
        wait_until(lambda: NOT_NOTED in path.read_text(), "it says that it waits")
        assert stored_position(system, "ticket:snapshot") < len(tickets)
        store.rollback()
        assert running.wait(PATIENCE) == 0, path.read_text()
    assert path.read_text().count(NOT_NOTED) == 1
    assert stored_position(system, "ticket:snapshot") == len(tickets)


def test_a_restored_store_and_its_reason_are_told(system: System) -> None:
    market = Market(system)
    market.list_ticket(market.user())
    market.wait_settled()
    tickets = market.tickets[0]
    tickets.stop()
    assert "restored" not in tickets.log()
    operate(tickets, "--restored")
    tickets.start()
    tickets.wait_log("The store was restored from a backup once, and is of epoch [1-9][0-9]*$")
    tickets.wait_log("Publishing everything again, as snapshots: .*the store was restored")


def failed_looks(service: Service) -> float:
    """How often the store was looked at in vain, by what is done once it was seen to be away."""
    name = 'turnstile_store_operation_duration_seconds_count{operation="ping",result="unavailable"} '
    lines = service.client().get("/metrics").body.decode().splitlines()
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0)


def test_a_store_that_goes_away_is_told_of_once_and_so_is_its_return(system: System, tmp_path: Path) -> None:
    server = MongoServer(tmp_path)
    server.start()
    try:
        tickets = system.service("tickets", STORE_URI=server.uri("tickets"))
        for _ in range(2):
            server.kill()
            looks = failed_looks(tickets) + 3
            wait_until(lambda: failed_looks(tickets) >= looks, "the store was looked at more than once")
            told, ended = (len(re.findall(words, tickets.log())) for words in (AWAY, BACK))
            assert told == ended + 1
            server.start()
            tickets.wait_log(f"{BACK}$", ended + 1)
        assert tickets.stop() == 0
    finally:
        server.stop()


def test_what_waits_is_told_of_when_it_comes_and_not_each_time_it_is_delivered_again(system: System) -> None:
    market = Market(system)
    ticket = market.list_ticket(market.user())["id"]
    market.wait_replica(ticket)
    market.wait_settled()
    market.tickets[0].stop()  # or it would be asked, and say that it never had this
    orders = market.orders[0]
    system.publish("ticket:updated", ticket_event(ticket, 3))
    wait_until(lambda: system.broker.pending("ticket:updated", ORDERS_GROUP) == 1, "it has come")

    def again() -> float:
        lines = orders.client().get("/metrics").body.decode().splitlines()
        name = 'turnstile_events_redelivered_total{subject="ticket:updated"} '
        return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    wait_until(lambda: again() >= 2, "it is delivered again", 60)
    assert len(re.findall("Message received: ticket:updated", orders.log())) == 1
