# SPDX-License-Identifier: Apache-2.0
"""Events that never come: their owner is asked, and its snapshot heals the replica; nobody else waits meanwhile."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from typing import Any

import pytest

from harness import PATIENCE, System, User, wait_until
from market import ORDERS_GROUP, Market, new_id, ticket_event
from replicas import wait_replicas_equal

pytestmark = pytest.mark.any_pair

HEALED_SECONDS = 15  # a gap of 10 s, a moment for the look at what is held, and one for the snapshot
LATER_EVENTS = 5000
OF_THE_RECORD = 2000
GAP = re.compile(r"Gap of ticket/([0-9a-f]{24}): version (\d+) has not come for 1\d s, asking tickets \(1 held for it\)")


def lose_a_change(market: Market, seller: User, ticket: str) -> None:
    """Changes a ticket in such a way that the change's event is never published."""
    market.wait_settled()
    market.broker.stop()
    version = market.change_ticket(seller, ticket, 99)["version"]
    for instance in market.tickets:
        instance.kill()
    market.system.stores.lose_event("tickets", "tickets", ticket, version)
    market.broker.start()
    for instance in market.tickets + market.orders:
        if not instance.running:
            instance.start(wait=False)
    for instance in market.tickets + market.orders:
        instance.wait_ready()


def letters(system: System) -> list[Any]:
    return [json.loads(line) for line in system.eventctl("dead", "list", "--json").stdout.splitlines()]


class Changes:
    """Changes tickets in the background, each thread its own, until there are so many changes in all."""

    def __init__(self, market: Market, seller: User, counts: dict[str, int]):
        self.market, self.seller = market, seller
        self.threads = [
            threading.Thread(target=self.change, args=(ticket, count, market.tickets[i % len(market.tickets)]))
            for i, (ticket, count) in enumerate(counts.items())
        ]
        self.problems: list[str] = []
        for thread in self.threads:
            thread.start()

    def change(self, ticket: str, count: int, instance: Any) -> None:
        client = instance.client(self.seller.token)
        done = 0
        deadline = time.monotonic() + 2 * PATIENCE
        while done < count:
            price = 1 + done % 1000
            answer = client.put(f"/api/tickets/{ticket}", {"title": "Concert", "price": price})
            if answer.status == 200:
                done += 1
            elif answer.status != 503 or time.monotonic() > deadline:
                self.problems.append(f"{answer.status} {answer.body!r}")
                return
        client.close()

    def running(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def join(self) -> None:
        for thread in self.threads:
            thread.join()
        assert not self.problems, self.problems


def slowest_of_others(market: Market, seller: User, changes: Changes) -> float:
    """Changes a ticket of its own as long as the others are changed; how long its replica took at most."""
    ticket = market.list_ticket(seller)["id"]
    market.wait_replica(ticket)
    slowest = 0.0
    for price in itertools.count(1):
        start = time.monotonic()
        version = market.change_ticket(seller, ticket, 1 + price % 1000)["version"]
        market.wait_replica(ticket, version)
        slowest = max(slowest, time.monotonic() - start)
        if not changes.running():
            return slowest


@pytest.mark.own_pair("a matter of speed, which the tests' MongoDB server does not have")
def test_a_lost_event_with_thousands_behind_it_is_healed_and_no_other_record_waits(system: System) -> None:
    market = Market(system, 2)
    seller = market.user()
    gapped = market.list_ticket(seller)["id"]
    others = [market.list_ticket(seller)["id"] for _ in range(6)]
    lose_a_change(market, seller, gapped)
    counts = dict.fromkeys(others, (LATER_EVENTS - OF_THE_RECORD) // len(others)) | {gapped: OF_THE_RECORD}
    changes = Changes(market, seller, counts)
    slowest = slowest_of_others(market, seller, changes)
    changes.join()
    wait_replicas_equal(system.stores, HEALED_SECONDS)
    # The window is 128 events, and thousands of the gapped record were behind the lost one.
    assert slowest < HEALED_SECONDS / 2, f"another record waited for {slowest:.1f} s"
    assert any(f"Gap of ticket/{gapped}: version 2 has not come" in orders.log() for orders in market.orders)
    market.wait_settled()
    market.check_converged()
    market.check_applied_in_order()
    assert letters(system) == []


@pytest.mark.own_pair("a matter of speed, which the tests' MongoDB server does not have")
def test_thousands_of_events_that_wait_behind_a_lost_one_are_no_plug_for_who_starts(system: System) -> None:
    market = Market(system, 2)
    seller = market.user()
    gapped = market.list_ticket(seller)["id"]
    others = [market.list_ticket(seller)["id"] for _ in range(3)]
    lose_a_change(market, seller, gapped)
    for instance in market.orders:
        instance.stop()
    changes = Changes(market, seller, dict.fromkeys(others, 200) | {gapped: 900})
    changes.join()
    wait_until(lambda: market.outbox("tickets") == 0, "all is published")
    for instance in market.orders:
        instance.start(wait=False)
    for instance in market.orders:
        instance.wait_ready()
    wait_replicas_equal(system.stores, HEALED_SECONDS)
    market.wait_settled()
    market.check_applied_in_order()
    assert letters(system) == []


def test_gaps_of_every_kind_are_healed_by_their_owner_or_found_to_be_strays(system: System) -> None:
    market = Market(system, 2)
    seller = market.user()
    lost, buried, owned = (market.list_ticket(seller)["id"] for _ in range(3))
    nowhere = new_id()
    lose_a_change(market, seller, lost)
    for ticket in (lost, buried, owned):
        market.wait_replica(ticket)
    system.stores.set_field("orders", "tickets", buried, "title", "x" * 10000)  # which nobody can read
    market.change_ticket(seller, buried, 30)
    wait_until(lambda: market.broker.message_count("dead:ticket:updated") == 1, "an event is a dead letter")
    system.stores.set_field("orders", "tickets", buried, "title", "Concert")

    market.change_ticket(seller, lost, 31)
    market.change_ticket(seller, buried, 31)
    system.publish("ticket:updated", ticket_event(owned, 3))
    system.publish("ticket:updated", ticket_event(nowhere, 2))
    wait_replicas_equal(system.stores)
    assert market.replica_version(lost) == 3 and market.replica_version(buried) == 3
    wait_until(lambda: market.broker.settled("ticket:updated", ORDERS_GROUP), "nothing is held any more")
    # What was delivered again to the other instance is a letter of each of the two.
    assert {letter["reason"] for letter in letters(system)} >= {
        f"stray: its owner has no ticket {nowhere}",
        f"stray: its owner has ticket {owned} at version 1 only",
    }
    assert market.replica_version(owned) == 1 and market.replica_version(nowhere) == 0
    for orders in market.orders:
        asked = GAP.findall(orders.log())
        assert len(asked) == len(set(asked)), asked  # each is told once
    told = {match for orders in market.orders for match in GAP.findall(orders.log())}
    assert told == {(lost, "2"), (buried, "2"), (owned, "2"), (nowhere, "1")}


@pytest.mark.deployed
def test_an_epoch_that_its_owner_never_had_keeps_no_replica_from_following_it(system: System) -> None:
    market = Market(system, 2)
    before = letters(system)
    seller = market.user()
    ticket = market.list_ticket(seller)["id"]
    market.wait_replica(ticket)
    meta = {"epoch": 2**53 - 1}
    system.publish("ticket:updated", {**ticket_event(ticket, 2, 99), "meta": meta})
    system.publish("ticket:snapshot", {**ticket_event(new_id(), 7), "meta": meta})

    def reasons() -> set[str]:
        return {letter["reason"] for letter in letters(system) if letter not in before}

    wait_until(lambda: len(reasons()) == 2, "both are dead letters")
    assert all(re.fullmatch(r"stray: its owner has .*", reason) for reason in reasons())
    market.change_ticket(seller, ticket, 31)
    later = market.list_ticket(seller)["id"]
    market.wait_replica(ticket, 2)
    market.wait_replica(later)
    market.wait_settled()
    market.check_converged()


@pytest.mark.own_pair("it takes long, and another one says nothing new")
def test_an_owner_that_is_away_is_asked_until_it_is_back(system: System) -> None:
    market = Market(system, 1)
    seller = market.user()
    ticket, other = (market.list_ticket(seller)["id"] for _ in range(2))
    lose_a_change(market, seller, ticket)
    market.change_ticket(seller, ticket, 31)
    wait_until(lambda: market.outbox("tickets") == 0, "the later event is published")
    market.tickets[0].kill()
    market.orders[0].wait_log(rf"Gap of ticket/{ticket}: version 2 has not come for 1\d s, asking tickets")
    assert market.replica_version(ticket) == 1
    # Its first ask is lost, since nobody listens.
    market.tickets[0].start()
    wait_until(lambda: market.replica_version(ticket) == 3, "asked again, the owner has healed it")
    market.change_ticket(seller, ticket, 32)
    market.change_ticket(seller, other, 32)
    wait_replicas_equal(system.stores)
    market.wait_settled()
    market.check_applied_in_order()


@pytest.mark.own_pair("it takes long, and another one says nothing new")
def test_of_two_owners_one_of_which_is_frozen_the_other_is_asked_in_the_end(system: System) -> None:
    market = Market(system, 1)
    frozen = system.service("tickets", "tickets-2")
    market.tickets.append(frozen)
    seller = market.user()
    ticket = market.list_ticket(seller)["id"]
    lose_a_change(market, seller, ticket)
    market.change_ticket(seller, ticket, 31, at=market.tickets[0])
    wait_until(lambda: market.outbox("tickets") == 0, "the later event is published")
    frozen.freeze()
    wait_until(lambda: market.replica_version(ticket) == 3, "the replica is healed")
    frozen.thaw()
    market.wait_settled()
