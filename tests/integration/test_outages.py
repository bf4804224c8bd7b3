# SPDX-License-Identifier: Apache-2.0
"""What is killed, frozen or away in the middle of it: nothing is lost, nothing is doubled."""

from __future__ import annotations

import time

import pytest

from harness import DEPLOYMENT, System, wait_until
from market import Load, Market

pytestmark = pytest.mark.any_pair


@pytest.mark.deployed
def test_while_the_bus_is_away_tickets_are_listed_and_their_events_wait(system: System) -> None:
    market = Market(system)
    seller = market.user()
    market.broker.stop()
    tickets = [market.list_ticket(seller)["id"] for _ in range(20)]
    if not DEPLOYMENT:  # where nobody gets at this
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


@pytest.mark.parametrize(
    "bus, instances",
    [("there", 1), ("there", 2), ("away", 1), pytest.param("away", 2, marks=pytest.mark.deployed)],
)
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


@pytest.mark.own_pair("JetStream knows the second one by its id, and drops it")
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
    wait_until(lambda: market.broker.message_count("ticket:created") == 2, "it is published again")
    market.wait_settled()
    market.check_converged()
    market.check_applied_in_order()


def check_nothing_lost(market: Market, load: Load) -> None:
    assert not load.failures, load.failures[:5]
    market.wait_settled()
    stored = market.records("tickets")
    for ticket, price in load.tickets.items():
        assert stored[ticket]["price"] == price * 100
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


@pytest.mark.own_pair("a matter of speed, which the tests' MongoDB server does not have")
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
