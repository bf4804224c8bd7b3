# SPDX-License-Identifier: Apache-2.0
"""From one service's change to another's replica: order, gaps, doubles, dead letters."""

from __future__ import annotations

import itertools
import json
import random
import signal
import time
from typing import Any

import pytest

from harness import System, User, wait_until
from market import ORDERS_GROUP, TICKETS_GROUP, Market, new_id, order_event, ticket_event

pytestmark = pytest.mark.any_pair


@pytest.mark.deployed
def test_a_ticket_is_listed_changed_reserved_freed_and_replicated(system: System) -> None:
    market = Market(system)
    seller, buyer = market.user(), market.user()
    ticket = market.list_ticket(seller)["id"]
    market.change_ticket(seller, ticket, 25.5)
    market.wait_replica(ticket, 2)
    order = market.reserve(buyer, ticket)
    assert order["ticket"] == {"id": ticket, "title": "Concert", "price": 25.5}
    assert (order["status"], order["reservation"], order["version"]) == ("created", 1, 1)
    wait_until(lambda: market.ticket(ticket).get("orderId") == order["id"], "the ticket is reserved")
    assert ticket not in [t["id"] for t in market.tickets[0].client().get("/api/tickets").json]
    market.cancel(buyer, order["id"])
    wait_until(lambda: "orderId" not in market.ticket(ticket), "the ticket is free")
    assert ticket in [t["id"] for t in market.tickets[0].client().get("/api/tickets").json]
    market.wait_settled()
    market.check_converged()
    market.check_applied_in_order()


ACK_WAIT = 5.0  # seconds, as the listeners subscribe


def redelivered(market: Market) -> int:
    return sum(log.count(", redelivered)") for log in (orders.log() for orders in market.orders))


def fill_a_gap(market: Market, seller: User, versions: int) -> bool:
    """Versions 3 and up of a new ticket come before version 2. True if all was over before the bus could deliver
    anything again, so that nothing but the arrival of version 2 can have caused what was seen."""
    ticket = market.list_ticket(seller)["id"]
    market.wait_replica(ticket)
    market.wait_settled()
    start, before = time.monotonic(), redelivered(market)
    later = [ticket_event(ticket, version, version) for version in range(3, versions + 1)]
    market.publish_lines("ticket:updated", later)
    wait_until(
        lambda: market.broker.pending("ticket:updated", ORDERS_GROUP) == len(later), "all wait for their predecessor"
    )
    assert market.replica_version(ticket) == 1
    market.publish_lines("ticket:updated", [ticket_event(ticket, 2, 2)])
    market.wait_replica(ticket, versions)
    again = redelivered(market) - before
    in_time = time.monotonic() - start < ACK_WAIT
    wait_until(lambda: market.broker.settled("ticket:updated", ORDERS_GROUP), "all are acknowledged")
    market.check_applied_in_order()
    assert market.records("orders")[ticket]["price"] == versions * 100
    assert not in_time or again == 0
    return in_time


@pytest.mark.parametrize("instances", [1, 2])
@pytest.mark.parametrize("versions", [4, 12])
def test_a_gap_holds_events_until_the_missing_one_comes(system: System, instances: int, versions: int) -> None:
    market = Market(system, instances, LOG_LEVEL="debug")
    seller = market.user()
    assert any(fill_a_gap(market, seller, versions) for _ in range(10)), "this machine is too slow to tell"


@pytest.mark.own_pair("of NATS Streaming, which delivers again what is held")
def test_a_gap_that_lasts_is_told_in_the_log_once(system: System) -> None:
    market = Market(system, LOG_LEVEL="debug")
    ticket = market.list_ticket(market.user())["id"]
    market.wait_replica(ticket)
    market.wait_settled()
    market.tickets[0].stop()  # or it would be asked, and say that it never had these
    system.publish("ticket:updated", ticket_event(ticket, 4))
    system.publish("ticket:updated", ticket_event(ticket, 3))
    told = rf"WARN.* of ticket:updated is held: version 2 of tickets/{ticket} has not come"
    market.orders[0].wait_log(told)
    market.orders[0].wait_log(r"Message received: ticket:updated .*redelivered", 4)  # twice each
    lines = market.orders[0].wait_log(told)
    assert len(lines) <= 2, lines  # once for each of the two that were held for it
    system.publish("ticket:updated", ticket_event(ticket, 2))
    market.wait_replica(ticket, 4)


def test_the_same_event_many_times_is_applied_once_and_acknowledged_every_time(system: System) -> None:
    market = Market(system, 2)
    ticket = market.list_ticket(market.user())["id"]
    market.wait_replica(ticket)
    for _ in range(10):
        system.publish("ticket:updated", ticket_event(ticket, 2, 22))
    market.wait_replica(ticket, 2)
    wait_until(lambda: market.broker.settled("ticket:updated", ORDERS_GROUP), "all are acknowledged")
    market.check_applied_in_order()

    # What is acknowledged does not come back. What is not would be the first thing that a listener gets when it starts
    # again; a later event is all that still arrives.
    def received() -> int:
        return sum(log.count("Message received: ticket:updated") for log in (o.log() for o in market.orders))

    before = received()
    for instance in market.orders:
        assert instance.stop() == 0
    assert before == received()
    for instance in market.orders:
        instance.start()
    system.publish("ticket:updated", ticket_event(ticket, 3, 33))
    market.wait_replica(ticket, 3)
    wait_until(lambda: market.broker.settled("ticket:updated", ORDERS_GROUP), "the later one is acknowledged")
    assert received() == before + 1


def test_an_event_whose_acknowledgement_was_lost_is_not_applied_again(system: System) -> None:
    market = Market(system)
    ticket = market.list_ticket(market.user())["id"]
    market.wait_replica(ticket)
    market.wait_settled()
    orders = market.orders[0]
    orders.kill()
    orders.env["FAILPOINTS"] = "orders.listener.before_ack=kill"
    orders.start()
    system.publish("ticket:updated", ticket_event(ticket, 2, 22))
    wait_until(lambda: not orders.running, "orders dies between its write and its acknowledgement")
    assert market.replica_version(ticket) == 2
    del orders.env["FAILPOINTS"]
    orders.start()
    wait_until(lambda: market.broker.settled("ticket:updated", ORDERS_GROUP), "the redelivered event is acknowledged")
    market.check_applied_in_order()
    assert market.replica_version(ticket) == 2


def dead_letters(system: System) -> list[Any]:
    return [json.loads(line) for line in system.eventctl("dead", "list", "--json").stdout.splitlines()]


# What is published, and what the reason says of it.
BAD_EVENTS = {
    "{not json": "invalid JSON",
    "": "must be a JSON object",
    '{"id":"5f43c0de5f43c0de5f43c0de","version":1,"title":7,"price":"free"}': "title: must be a string; price: must be",
    '{"version":1}': "id: is required",
    '{"id":"' + "x" * (512 * 1024) + '"}': "larger than 65536 bytes",
}


@pytest.mark.deployed
def test_events_that_cannot_be_applied_go_to_the_dead_letters_and_others_flow(system: System) -> None:
    market = Market(system)
    before = dead_letters(system)
    for event in BAD_EVENTS:
        system.publish("ticket:created", event)
    ticket = market.list_ticket(market.user())["id"]
    market.wait_replica(ticket)
    wait_until(lambda: market.broker.settled("ticket:created", ORDERS_GROUP), "the bad events are acknowledged")
    letters = [letter for letter in dead_letters(system) if letter not in before]
    reasons = dict(sorted((letter["eventSequence"], letter["reason"]) for letter in letters))
    assert len(reasons) == len(BAD_EVENTS), reasons
    for reason, expected in zip(reasons.values(), BAD_EVENTS.values()):
        assert expected in reason, reasons


def test_a_replica_that_cannot_be_read_holds_up_nobody_else(system: System) -> None:
    """A row that another release, or somebody's hand, left as this one does not know it."""
    market = Market(system, EVENT_WORKERS="1")
    seller = market.user()
    ticket = market.list_ticket(seller)["id"]
    market.wait_replica(ticket)
    system.stores.set_field("orders", "tickets", ticket, "title", "x" * 10000)
    market.change_ticket(seller, ticket, 21)
    other = market.list_ticket(seller)["id"]
    market.wait_replica(other)
    wait_until(lambda: market.broker.message_count("dead:ticket:updated") == 1, "its event is a dead letter")
    system.stores.set_field("orders", "tickets", ticket, "title", "Concert")
    system.eventctl("dead", "replay", "--subject", "ticket:updated")
    market.wait_replica(ticket, 2)


def test_a_dead_letter_is_replayed_when_what_it_needed_is_there(system: System) -> None:
    """An order of a ticket that does not exist is a stray; once the ticket is there, its replay is applied."""
    market = Market(system)
    seller = market.user()
    create = ("/api/tickets", {"title": "Concert", "price": 20})
    client = market.client(market.tickets[0], seller)
    # The id of a ticket under a key is known before it is there: this is how it is, from a market that then forgets it.
    ticket = client.post(*create, Idempotency_Key="a key").json["id"]
    market.wait_settled()
    system.stores.remove("tickets", "tickets", ticket)
    order = new_id()
    system.publish("order:created", order_event(order, 1, ticket, 1))
    wait_until(lambda: market.broker.message_count("dead:order:created") == 1, "the stray is a dead letter")
    wait_until(lambda: market.broker.settled("order:created", TICKETS_GROUP), "and was acknowledged")
    replay = ("dead", "replay", "--subject", "order:created")
    assert "replayed: 1" in system.eventctl(*replay).stdout
    wait_until(lambda: market.broker.message_count("dead:order:created") == 2, "not mended, it is refused again")
    assert client.post(*create, Idempotency_Key="a key").json["id"] == ticket
    assert "replayed: 1" in system.eventctl(*replay).stdout
    wait_until(lambda: market.holder(ticket) == order, "the replayed order holds the ticket")
    wait_until(lambda: market.broker.settled("order:created", TICKETS_GROUP), "and was acknowledged")
    assert market.broker.message_count("dead:order:created") == 2
    assert "replayed: 0" in system.eventctl(*replay).stdout


def order_histories() -> list[list[tuple[str, str]]]:
    """Orders A (reservation 1, cancelled later) and B (reservation 2, live): all orders in which their events may come."""
    events = [("A", "created"), ("A", "cancelled"), ("B", "created")]
    return [list(permutation) for permutation in itertools.permutations(events)]


@pytest.mark.deployed
def test_order_events_in_any_order_end_with_the_right_holder(system: System) -> None:
    market = Market(system, 2)
    seller = market.user()
    expected = {}
    for history in order_histories():
        ticket = market.list_ticket(seller)["id"]
        orders = {"A": new_id(), "B": new_id()}
        expected[ticket] = orders["B"]
        doubled = history + random.Random(len(expected)).sample(history, len(history))
        for name, what in doubled:
            version = 1 if what == "created" else 2
            event = order_event(orders[name], version, ticket, 1 if name == "A" else 2, what)
            system.publish(f"order:{what}", event)
    for ticket, order in expected.items():
        wait_until(lambda: market.holder(ticket) == order, "the live order holds the ticket")
    wait_until(lambda: market.broker.settled("order:created", TICKETS_GROUP), "all are acknowledged")
    wait_until(lambda: market.broker.settled("order:cancelled", TICKETS_GROUP), "all are acknowledged")
    for ticket, order in expected.items():
        assert market.holder(ticket) == order
        system.publish("order:cancelled", order_event(order, 2, ticket, 2, "cancelled"))
    for ticket in expected:
        wait_until(lambda: market.holder(ticket) is None, "the ticket is free again")


@pytest.mark.deployed
def test_cancelled_before_created_leaves_the_ticket_free(system: System) -> None:
    market = Market(system, 2)
    ticket = market.list_ticket(market.user())["id"]
    before = system.broker.message_count("order:created")
    order = new_id()
    for _ in range(2):
        system.publish("order:cancelled", order_event(order, 2, ticket, 1, "cancelled"))
    wait_until(lambda: market.broker.settled("order:cancelled", TICKETS_GROUP), "the cancellation is applied")
    for _ in range(2):
        system.publish("order:created", order_event(order, 1, ticket, 1))
    wait_until(lambda: market.broker.settled("order:created", TICKETS_GROUP), "the creation is acknowledged")
    assert market.broker.message_count("order:created") == before + 2
    assert market.holder(ticket) is None


def test_an_instance_frozen_before_its_write_changes_nothing_when_it_thaws(system: System) -> None:
    market = Market(system)
    ticket = market.list_ticket(market.user())["id"]
    frozen = market.tickets[0]
    frozen.stop()
    frozen.env.update(FAILPOINTS="tickets.effect.before_write=stop", LOG_LEVEL="debug")
    frozen.start()
    order = new_id()
    system.publish("order:created", order_event(order, 1, ticket, 1))
    frozen.wait_frozen()
    other = system.service("tickets", "tickets-2")
    # The frozen member's message is delivered again, to the other one, when the ack wait is over.
    wait_until(lambda: market.holder(ticket) == order, "the other instance applies order:created")
    system.publish("order:cancelled", order_event(order, 2, ticket, 1, "cancelled"))
    wait_until(lambda: market.holder(ticket) is None, "the other instance applies order:cancelled")
    version = market.record(ticket)["version"]
    frozen.thaw()
    # It goes on with the write that it had decided on; what it then says it did is what counts.
    frozen.wait_log(rf"Nothing to change in tickets/{ticket}|Changed ticket/{ticket}")
    assert f"Changed ticket/{ticket}" not in frozen.log()
    wait_until(lambda: market.broker.settled("order:created", TICKETS_GROUP), "both are acknowledged")
    wait_until(lambda: market.broker.settled("order:cancelled", TICKETS_GROUP), "both are acknowledged")
    assert market.holder(ticket) is None
    assert market.record(ticket)["version"] == version
    assert other.running and frozen.running


def test_a_service_that_was_frozen_catches_up(system: System) -> None:
    market = Market(system, 2)
    seller = market.user()
    market.orders[0].freeze()
    tickets = [market.list_ticket(seller)["id"] for _ in range(20)]
    market.orders[0].thaw()
    for ticket in tickets:
        market.wait_replica(ticket)
    market.wait_settled()
    market.check_converged()
    assert market.orders[0].running
    market.orders[0].send(signal.SIGTERM)
