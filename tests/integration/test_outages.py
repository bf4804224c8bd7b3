# SPDX-License-Identifier: Apache-2.0
"""What is killed, frozen or away in the middle of it: nothing is lost, nothing is doubled."""

from __future__ import annotations

import threading
import time

import pytest

from harness import System, wait_until
from market import Market


def test_while_the_bus_is_away_tickets_are_listed_and_their_events_wait(system: System) -> None:
    market = Market(system)
    seller = market.user()
    market.broker.stop()
    tickets = [market.list_ticket(seller)["id"] for _ in range(20)]
    answer = market.tickets[0].client().get("/readyz")
    assert answer.status == 200 and answer.json["bus"] != "up"
    assert market.outbox("tickets") == 20
    market.broker.start()
    for ticket in tickets:
        market.wait_replica(ticket)
    market.wait_settled()
    market.check_converged()


def test_services_that_start_before_the_bus_serve_and_catch_up(system: System) -> None:
    system.broker.stop()
    market = Market(system)
    ticket = market.list_ticket(market.user())["id"]
    system.broker.start()
    market.wait_replica(ticket)


@pytest.mark.parametrize("instances", [1, 2])
@pytest.mark.parametrize("bus", ["there", "away"])
def test_an_event_survives_kill_9_right_after_the_201(system: System, instances: int, bus: str) -> None:
    market = Market(system, instances)
    seller = market.user()
    if bus == "away":
        market.broker.stop()
    victim = market.tickets[0]
    listed = []
    for price in range(1, 6):
        ticket = market.list_ticket(seller, at=victim)["id"]
        market.change_ticket(seller, ticket, price + 1, at=victim)
        victim.kill()
        listed.append(ticket)
        if instances == 2:
            market.change_ticket(seller, ticket, price + 2, at=market.tickets[1])
        victim.start(wait=False)
        victim.wait_ready(bus=bus == "there")
    if bus == "away":
        market.broker.start()
    for ticket in listed:
        market.wait_replica(ticket, 1 + instances)
        assert market.rows("orders", "SELECT count(*) FROM tickets WHERE id = ?", ticket) == [(1,)]
    market.wait_settled()
    market.check_converged()
    market.check_applied_in_order()
    market.check_published_in_order()


def test_an_instance_that_dies_between_write_and_publish_leaves_the_rest_to_the_other(system: System) -> None:
    market = Market(system, 2)
    seller = market.user()
    victim = market.tickets[0]
    victim.kill()
    victim.env["FAILPOINTS"] = "tickets.relay.before_publish=kill"
    victim.start()
    ticket = market.list_ticket(seller, at=market.tickets[1])["id"]
    try:
        market.change_ticket(seller, ticket, 30, at=victim)
    except OSError:
        pass  # it may die before it answers
    wait_until(lambda: not victim.running, "the instance dies before it publishes")
    market.change_ticket(seller, ticket, 31, at=market.tickets[1])
    market.wait_replica(ticket, 3)
    market.wait_settled()
    market.check_converged()
    market.check_published_in_order()


def test_an_instance_that_dies_between_confirmation_and_removal_publishes_twice_and_that_is_ignored(
    system: System,
) -> None:
    market = Market(system)
    seller = market.user()
    victim = market.tickets[0]
    victim.kill()
    victim.env["FAILPOINTS"] = "tickets.relay.after_confirm=kill"
    victim.start()
    try:
        market.list_ticket(seller)
    except OSError:
        pass
    wait_until(lambda: not victim.running, "the instance dies before it removes what was confirmed")
    assert market.outbox("tickets") == 1
    del victim.env["FAILPOINTS"]
    victim.start()
    wait_until(lambda: market.broker.last_sequence("ticket:created") == 2, "it is published again")
    market.wait_settled()
    market.check_converged()
    market.check_applied_in_order()


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
        while not self.stopping.is_set():
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


def check_nothing_lost(market: Market, load: Load) -> None:
    assert not load.failures, load.failures[:5]
    market.wait_settled()
    stored = dict(market.rows("tickets", "SELECT id, price FROM tickets"))
    for ticket, price in load.tickets.items():
        assert stored[ticket] == price * 100
    market.check_converged()
    market.check_applied_in_order()
    market.check_published_in_order()


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_broker_that_is_restarted_or_killed_loses_and_doubles_nothing(system: System, how: str) -> None:
    market = Market(system, 2)
    load = Load(market)
    try:
        for _ in range(3):
            load.wait_for(10)
            if how == "restart":
                market.broker.stop()
            else:
                market.broker.kill()
            load.wait_for(10)
            market.broker.start()
        load.wait_for(10)
    finally:
        load.stop()
    check_nothing_lost(market, load)


def test_a_broker_that_is_frozen_for_20_s_loses_and_doubles_nothing(system: System) -> None:
    market = Market(system, 2)
    load = Load(market, threads=2)
    try:
        load.wait_for(10)
        market.broker.freeze()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            load.wait_for(1)  # requests are served all the while
        market.broker.thaw()
        load.wait_for(10)
    finally:
        load.stop()
    check_nothing_lost(market, load)
