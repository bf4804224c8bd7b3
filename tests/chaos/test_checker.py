# SPDX-License-Identifier: Apache-2.0
"""The checker can fail: every kind of violation, put into a healthy history, is found, and by the check that is for it.
And a seed means something: what is drawn from it hangs on nothing else."""

from __future__ import annotations

import copy
import random
import sys
import unittest
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from checker import CHECKS, EVENT_WORKERS, Apply, Event, Evidence, Letter, Record, check, flatten  # noqa: E402
from faults import Faults, Limits  # noqa: E402
from journal import Answer  # noqa: E402

ANN, TICKET, OTHER, FIRST, SECOND = "a" * 24, "1" * 24, "2" * 24, "c" * 24, "d" * 24
TIME = "2026-01-31T12:00:00.000Z"
WRITTEN = 1000.0


def ticket_json(version: int, price: float, order: str | None = None, id: str = TICKET) -> dict[str, Any]:
    body = {"id": id, "version": version, "title": "Concert", "price": price, "userId": ANN,
            "createdAt": TIME, "updatedAt": TIME}
    return body | ({"orderId": order} if order else {})


def order_json(id: str, version: int, reservation: int, status: str) -> dict[str, Any]:
    return {"id": id, "version": version, "status": status, "userId": ANN, "reservation": reservation,
            "ticket": {"id": TICKET, "title": "Concert", "price": 25.5}, "createdAt": TIME, "expiresAt": TIME}


def event(subject: str, sequence: int, time: float, body: dict[str, Any]) -> Event:
    return Event(subject, sequence, time, body["id"], body["version"], flatten(body))


def healthy() -> Evidence:
    """A ticket is listed, changed, reserved, freed, reserved again; somebody signs up; garbage is thrown in."""
    versions = [ticket_json(1, 20), ticket_json(2, 25.5), ticket_json(3, 25.5, FIRST), ticket_json(4, 25.5),
                ticket_json(5, 25.5, SECOND)]
    orders = [order_json(FIRST, 1, 1, "created"), order_json(FIRST, 2, 1, "cancelled"),
              order_json(SECOND, 1, 2, "created")]
    asked = {"title": "Concert", "price": 20}
    reserve = {"ticketId": TICKET}
    evidence = Evidence(frozen_max=5.0, outboxes={"tickets": 0, "orders": 0})
    evidence.answers = [
        Answer("sign-up", "auth", 1, 2, 201, id=ANN, asked={"email": "ann@example.com"}, body={"id": ANN}),
        Answer("create", "tickets", 2, 3, None, ANN, key="k", asked=asked),
        Answer("create", "tickets", 3, 4, 201, ANN, TICKET, "k", asked, versions[0]),
        Answer("edit", "tickets", 4, 5, 200, ANN, TICKET, asked={"title": "Concert", "price": 25.5}, body=versions[1]),
        Answer("reserve", "orders", 6, 7, 201, ANN, FIRST, "k", reserve, orders[0]),
        Answer("reserve", "orders", 7, 8, 409, ANN, asked=reserve),
        Answer("cancel", "orders", 8, 9, 204, ANN, FIRST),
        Answer("reserve", "orders", 8, 10, 201, ANN, SECOND, "", reserve, orders[2]),
        Answer("cancel", "orders", 11, 12, 503, ANN, OTHER),
    ]
    stored = Record(5, 0, flatten(versions[4]) | {"reservation": 2, "request": OTHER})
    evidence.stores = {
        "auth": {"users": {ANN: Record(1, 0, {"email": "ann@example.com"})}},
        "tickets": {"tickets": {TICKET: stored}},
        "orders": {"tickets": {TICKET: Record(5, 0, flatten(versions[4]))},
                   "orders": {FIRST: Record(2, 0, flatten(orders[1])), SECOND: Record(1, 0, flatten(orders[2]))}},
    }
    evidence.events = [event("ticket:created", 1, WRITTEN + 1, versions[0])]
    evidence.events += [event("ticket:updated", number, WRITTEN + 1 + number, body)
                        for number, body in enumerate(versions[1:], 1)]
    evidence.events += [event("ticket:updated", 5, WRITTEN + 9, versions[1]),  # a double
                        event("order:created", 1, WRITTEN + 2, orders[0]),
                        event("order:cancelled", 1, WRITTEN + 3, orders[1]),
                        event("order:created", 2, WRITTEN + 3, orders[2])]
    evidence.applied = [Apply(f"orders-{1 + number % 2}", WRITTEN + 10 + number, "ticket", TICKET, number)
                        for number in range(1, 6)]
    evidence.changed = [Apply("tickets-1", WRITTEN + number, "ticket", TICKET, number) for number in (3, 4, 5)]
    evidence.garbage = [("ticket:created", "garbage", True), ("order:created", '{"id":"x"}', False)]
    evidence.letters = [Letter("ticket:created", "garbage"), Letter("order:created", '{"id": "x"}')]
    return evidence


def drop(items: list[Any], **fields: Any) -> None:
    """Removes the items that have these attributes; there must be some."""
    doomed = [item for item in items if all(getattr(item, name) == value for name, value in fields.items())]
    assert doomed, fields
    for item in doomed:
        items.remove(item)


class Checker(unittest.TestCase):
    def setUp(self) -> None:
        self.evidence = healthy()
        self.tickets = self.evidence.stores["tickets"]["tickets"]
        self.replicas = self.evidence.stores["orders"]["tickets"]
        self.orders = self.evidence.stores["orders"]["orders"]

    def assert_found(self, *names: str) -> None:
        """These checks find something, and no others."""
        found = {name: lines for name, lines in check(self.evidence).items() if lines}
        self.assertEqual(set(found), set(names), found)

    def test_nothing_is_found_in_a_healthy_history(self) -> None:
        self.assert_found()

    def test_every_check_finds_something_in_some_test(self) -> None:
        text = Path(__file__).read_text()
        self.assertEqual([name for name in CHECKS if f'"{name}"' not in text], [])

    # ---- answers ----

    def test_an_answer_that_no_service_may_give(self) -> None:
        self.evidence.answers[-1].status = 500
        self.assert_found("answers")

    def test_a_user_that_is_lost(self) -> None:
        self.evidence.stores["auth"]["users"].clear()
        self.assert_found("answered writes are there")

    def test_a_user_with_another_email(self) -> None:
        self.evidence.stores["auth"]["users"][ANN].fields["email"] = "eve@example.com"
        self.assert_found("answered writes are there")

    def test_a_ticket_that_is_lost_everywhere(self) -> None:
        answer = copy.deepcopy(self.evidence.answers[2])
        answer.id = answer.body["id"] = OTHER
        answer.key = ""
        self.evidence.answers.append(answer)
        self.assert_found("answered writes are there")

    def test_a_version_that_is_lost(self) -> None:
        self.evidence.answers[3].body = ticket_json(6, 25.5)
        self.assert_found("answered writes are there")

    def test_an_answer_without_a_version(self) -> None:
        del self.evidence.answers[4].body["version"]
        self.assert_found("answered writes are there")

    def test_an_event_that_says_something_else_than_the_answer(self) -> None:
        self.evidence.answers[3].body = ticket_json(2, 26)
        self.evidence.answers[3].asked["price"] = 26
        self.assert_found("answered writes are there")

    def test_a_change_that_is_answered_and_not_made(self) -> None:
        self.evidence.answers[3].asked["price"] = 27
        self.assert_found("answered writes are there")

    def test_an_order_of_another_ticket(self) -> None:
        self.evidence.answers[4].asked = {"ticketId": OTHER}
        self.assert_found("answered writes are there")

    def test_a_cancel_that_is_answered_and_not_made(self) -> None:
        self.evidence.answers.append(Answer("cancel", "orders", 20, 21, 204, ANN, SECOND))
        self.assert_found("answered writes are there")

    def test_an_order_that_is_lost(self) -> None:
        self.evidence.answers.append(Answer("cancel", "orders", 20, 21, 204, ANN, OTHER))
        self.assert_found("answered writes are there")

    def test_a_key_that_made_two_records(self) -> None:
        self.evidence.answers.append(copy.deepcopy(self.evidence.answers[7]))
        self.evidence.answers[-1].key = "k"
        self.assert_found("a key makes one record")

    # ---- events ----

    def test_an_event_that_was_never_published(self) -> None:
        drop(self.evidence.events, id=TICKET, version=4)
        self.assert_found("every version is on the bus")

    def test_an_event_of_a_version_that_the_store_does_not_have(self) -> None:
        self.evidence.events.append(event("ticket:updated", 6, WRITTEN + 20, ticket_json(6, 1)))
        self.assert_found("every version is on the bus")

    def test_an_event_of_a_record_that_the_store_does_not_have(self) -> None:
        self.evidence.events.append(event("ticket:created", 6, WRITTEN + 20, ticket_json(1, 1, id=OTHER)))
        self.assert_found("every version is on the bus")

    def test_an_event_on_the_wrong_subject(self) -> None:
        self.evidence.events[0].subject = "ticket:updated"
        self.evidence.events[0].sequence = 0
        self.assert_found("every version is on the bus")

    def test_two_events_of_one_version_that_differ(self) -> None:
        self.evidence.events.append(event("ticket:updated", 6, WRITTEN + 20, ticket_json(4, 30)))
        self.assert_found("every version is on the bus")

    def test_a_store_that_says_something_else_than_the_last_event(self) -> None:
        for records in (self.tickets, self.replicas):
            records[TICKET].fields["price"] = 1
        self.assert_found("every version is on the bus")

    def test_a_later_version_that_comes_to_the_bus_first(self) -> None:
        self.evidence.events[2].time = WRITTEN
        self.assert_found("lower versions first")

    def test_a_later_version_with_a_lower_sequence(self) -> None:
        self.evidence.events[1].sequence, self.evidence.events[2].sequence = 2, 1
        self.evidence.events[1].time = self.evidence.events[2].time
        self.assert_found("lower versions first")

    def test_a_later_version_that_was_injected_may_come_first(self) -> None:
        self.evidence.events[2].time = WRITTEN
        self.evidence.injected.add((TICKET, 3))
        self.assert_found()

    # ---- replicas ----

    def test_a_replica_that_is_missing(self) -> None:
        self.replicas.clear()
        self.evidence.applied.clear()
        self.assert_found("replicas equal their owners")

    def test_a_replica_of_nothing(self) -> None:
        self.replicas[OTHER] = Record(1, 0, {})
        self.evidence.applied.append(Apply("orders-1", WRITTEN, "ticket", OTHER, 1))
        self.assert_found("replicas equal their owners")

    def test_a_replica_that_is_behind(self) -> None:
        self.replicas[TICKET].version = 4
        drop(self.evidence.applied, version=5)
        self.assert_found("replicas equal their owners")

    def test_a_replica_that_says_something_else(self) -> None:
        del self.replicas[TICKET].fields["orderId"]
        self.assert_found("replicas equal their owners")

    # ---- applies ----

    def test_a_version_that_is_applied_twice(self) -> None:
        self.evidence.applied.append(Apply("orders-2", WRITTEN + 30, "ticket", TICKET, 2))
        self.assert_found("applied 1, 2, 3, …, once")

    def test_an_effect_that_is_made_twice(self) -> None:
        self.evidence.changed.append(Apply("tickets-2", WRITTEN + 30, "ticket", TICKET, 4))
        self.assert_found("applied 1, 2, 3, …, once")

    def test_an_apply_of_what_is_not_there(self) -> None:
        self.evidence.applied.append(Apply("orders-2", WRITTEN + 30, "ticket", OTHER, 1))
        self.assert_found("applied 1, 2, 3, …, once")

    def test_an_apply_of_a_version_that_the_replica_does_not_have(self) -> None:
        self.evidence.applied.append(Apply("orders-2", WRITTEN + 30, "ticket", TICKET, 6))
        self.assert_found("applied 1, 2, 3, …, once")

    def test_a_version_that_is_jumped_over(self) -> None:
        drop(self.evidence.applied, version=3)
        self.assert_found("applied 1, 2, 3, …, once")

    def test_the_last_version_is_missing_from_the_logs(self) -> None:
        drop(self.evidence.applied, version=5)
        self.assert_found("applied 1, 2, 3, …, once")

    def test_a_jump_by_a_snapshot_is_none(self) -> None:
        drop(self.evidence.applied, version=2)
        drop(self.evidence.applied, version=3)
        self.evidence.applied[1].is_snapshot = True
        self.assert_found()

    def test_a_snapshot_does_not_excuse_what_is_behind_it(self) -> None:
        self.evidence.applied[0].is_snapshot = True
        drop(self.evidence.applied, version=4)
        self.assert_found("applied 1, 2, 3, …, once")

    def test_who_is_killed_may_have_applied_what_no_log_tells(self) -> None:
        drop(self.evidence.applied, version=3)
        self.evidence.deaths = [("orders-1", WRITTEN + 12)]
        self.assert_found()

    def test_who_is_killed_before_the_event_came_has_not_applied_it(self) -> None:
        drop(self.evidence.applied, version=3)
        self.evidence.deaths = [("orders-1", WRITTEN + 2)]
        self.assert_found("applied 1, 2, 3, …, once")

    def test_who_is_killed_long_after_the_next_was_applied_has_not_applied_it(self) -> None:
        drop(self.evidence.applied, version=3)
        self.evidence.deaths = [("orders-1", WRITTEN + 100)]
        self.assert_found("applied 1, 2, 3, …, once")

    def test_others_than_orders_apply_no_tickets(self) -> None:
        drop(self.evidence.applied, version=3)
        self.evidence.deaths = [("tickets-1", WRITTEN + 12)]
        self.assert_found("applied 1, 2, 3, …, once")

    def test_who_is_killed_was_at_no_more_records_than_it_has_threads(self) -> None:
        self.evidence.deaths = [("orders-1", WRITTEN + 50)]
        for number in range(EVENT_WORKERS + 1):
            id = f"{number:024x}"
            for records in (self.tickets, self.replicas):
                records[id] = Record(1, 0, flatten(ticket_json(1, 1, id=id)))
            self.evidence.events.append(event("ticket:created", 10 + number, WRITTEN + 40, ticket_json(1, 1, id=id)))
        self.assert_found("applied 1, 2, 3, …, once")
        lines = check(self.evidence)["applied 1, 2, 3, …, once"]
        self.assertEqual(len(lines), 1, lines)

    def test_a_store_that_is_a_server_may_have_lost_its_answer(self) -> None:
        drop(self.evidence.applied, version=3)
        self.evidence.already[TICKET] = 3
        self.assert_found("applied 1, 2, 3, …, once")
        self.evidence.store_is_server = True
        self.assert_found()
        self.evidence.already[TICKET] = 2
        self.assert_found("applied 1, 2, 3, …, once")

    # ---- two buyers ----

    def test_two_live_orders(self) -> None:
        self.orders[FIRST] = Record(1, 0, flatten(order_json(FIRST, 1, 1, "created")))
        drop(self.evidence.answers, kind="cancel", id=FIRST)
        drop(self.evidence.events, id=FIRST, version=2)
        self.evidence.stores["tickets"]["tickets"][TICKET].fields["orderId"] = SECOND
        self.assert_found("one live order a ticket")

    def test_a_live_order_that_is_not_the_last(self) -> None:
        for id, reservation in ((FIRST, 2), (SECOND, 1)):
            self.orders[id].fields["reservation"] = reservation
            for each in self.evidence.events:
                if each.id == id:
                    each.fields["reservation"] = reservation
            for answer in self.evidence.answers:
                if answer.id == id and answer.body:
                    answer.body["reservation"] = reservation
        self.assert_found("one live order a ticket")

    def test_a_reservation_twice_or_missing(self) -> None:
        for reservation in (1, 3):
            self.setUp()
            self.orders[SECOND].fields["reservation"] = reservation
            self.evidence.events[-1].fields["reservation"] = reservation
            self.evidence.answers[7].body["reservation"] = reservation
            self.assert_found("one live order a ticket")

    def test_two_orders_that_lived_at_the_same_time(self) -> None:
        self.evidence.answers[6].sent = 11
        self.assert_found("one live order a ticket")

    def test_a_cancel_that_was_refused_ended_nothing(self) -> None:
        self.evidence.answers[6].status = 409
        self.assert_found("one live order a ticket")

    def test_a_ticket_that_is_held_by_another_order(self) -> None:
        for records in (self.tickets, self.replicas):
            records[TICKET].fields["orderId"] = FIRST
        self.evidence.events[4].fields["orderId"] = FIRST
        self.assert_found("held by the live order")

    # ---- rest ----

    def test_an_outbox_that_is_not_empty(self) -> None:
        self.evidence.outboxes["orders"] = 1
        self.assert_found("nothing waits")

    def test_an_event_that_is_not_acknowledged(self) -> None:
        self.evidence.waiting["order:created"] = 1
        self.assert_found("nothing waits")

    def test_a_dead_letter_of_what_is_no_garbage(self) -> None:
        self.evidence.letters.append(Letter("ticket:created", '{"id": "y"}'))
        self.assert_found("dead letters")

    def test_garbage_that_vanished(self) -> None:
        del self.evidence.letters[0]
        self.assert_found("dead letters")

    def test_garbage_that_may_never_have_come_to_the_bus(self) -> None:
        del self.evidence.letters[1]
        self.assert_found()

    def test_what_was_noticed_on_the_way(self) -> None:
        self.evidence.problems.append("orders-1 ended by itself with status -11")
        self.assert_found("nothing else went wrong")


class Drawn(Faults):
    """Keeps what comes of each draw in which no time and no length is."""

    def __init__(self, seed: int, limits: Limits):
        world = MagicMock()
        world.targets = {f"{group}-1": MagicMock(group=group) for group in ("auth", "tickets", "orders")}
        world.links = {"tickets-1-bus": MagicMock(), "orders-1-bus": MagicMock()}
        super().__init__(world, MagicMock(), seed, limits, lambda text: None)
        self.drawn: list[int] = []

    def _begin(self, now: float) -> None:
        super()._begin(now)
        self.drawn.append(self._detail)


class Seed(unittest.TestCase):
    def draw(self, seed: int, limits: Limits, pause: float) -> list[int]:
        faults, rng, now = Drawn(seed, limits), random.Random(pause), 0.0
        while now < 300:
            faults.tick(now)
            now += rng.uniform(0.01, pause)
        return faults.drawn[:200]

    def test_what_is_drawn_hangs_on_the_seed_alone(self) -> None:
        drawn = self.draw(7, Limits(), 0.02)
        self.assertEqual(len(drawn), 200)
        self.assertEqual(self.draw(7, Limits(), 0.1), drawn)
        self.assertEqual(self.draw(7, Limits(6.0, 4.0, 4.0), 0.02), drawn)
        self.assertNotEqual(self.draw(8, Limits(), 0.02), drawn)


if __name__ == "__main__":
    unittest.main()
