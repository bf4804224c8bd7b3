# SPDX-License-Identifier: Apache-2.0
"""orders: reserving tickets over HTTP, one winner at a time."""

from __future__ import annotations

import datetime
import re
import time
from typing import Any

import pytest

from harness import Client, Response, Service, System, User, wait_until
from market import Market, new_id
from wire import at_once, check_errors, id_of_age, ids, next_page, pages, token_of

ORDERS = "/api/orders"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
ROUNDS = 20
RACERS = 50


def stocked(market: Market, count: int = 1, **ticket: Any) -> list[str]:
    """Tickets of somebody that orders knows."""
    seller = market.user()
    found = [market.list_ticket(seller, **ticket)["id"] for _ in range(count)]
    for ticket_id in found:
        market.wait_replica(ticket_id)
    return found


def buyers(count: int) -> list[str]:
    """Tokens of as many users."""
    return [token_of(new_id()) for _ in range(count)]


def place(service: Service, token: str, ticket: str, **headers: str) -> Response:
    client = service.client(token)
    try:
        return client.post(ORDERS, {"ticketId": ticket}, **headers)
    finally:
        client.close()


def milliseconds(text: str) -> float:
    assert TIME.match(text), text
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


def client_of(market: Market, user: User) -> Client:
    return market.client(market.orders[0], user)


# ---- placing one ----


@pytest.mark.deployed
def test_an_order_shows_the_ticket_and_until_when_it_is_held(system: System) -> None:
    market = Market(system)
    ticket = stocked(market, title="Concert 🎟", price=20.5)[0]
    buyer = market.user()
    answer = client_of(market, buyer).post(ORDERS, {"ticketId": ticket.upper(), "userId": new_id(), "reservation": 9})
    assert answer.status == 201 and answer.headers["ETag"] == '"1"'
    assert answer.headers["Cache-Control"] == "no-store"
    order = answer.json
    assert set(order) == {"id", "version", "status", "userId", "ticket", "reservation", "createdAt", "expiresAt"}
    assert re.match(r"[0-9a-f]{24}\Z", order["id"])
    assert order["ticket"] == {"id": ticket, "title": "Concert 🎟", "price": 20.5}
    assert (order["version"], order["status"], order["userId"], order["reservation"]) == (1, "created", buyer.id, 1)
    assert milliseconds(order["expiresAt"]) - milliseconds(order["createdAt"]) == 900000  # fifteen minutes by default
    again = client_of(market, buyer).get(f"{ORDERS}/{order['id']}")
    assert (again.status, again.json, again.headers["ETag"]) == (200, order, '"1"')
    wait_until(lambda: market.ticket(ticket).get("orderId") == order["id"], "the ticket carries the order")


@pytest.mark.deployed
def test_nobody_sees_or_places_orders_without_being_signed_in(system: System) -> None:
    nobody = system.service("orders").client()
    check_errors(nobody.post(ORDERS, {"ticketId": new_id()}), 401)
    check_errors(nobody.post(ORDERS, {}), 401)
    check_errors(nobody.get(ORDERS), 401)
    check_errors(nobody.get(f"{ORDERS}/{new_id()}"), 401)
    check_errors(nobody.delete(f"{ORDERS}/{new_id()}"), 401)


@pytest.mark.deployed
def test_an_order_names_a_ticket_that_is_there(system: System) -> None:
    client = system.service("orders").client(buyers(1)[0])
    for body in ({}, {"ticketId": None}, {"ticketId": ""}, {"ticketId": "1"}, {"ticketId": "g" * 24}, {"ticketId": 7}):
        check_errors(client.post(ORDERS, body), 400, "ticketId")
    for body in ({"ticketId": [new_id()]}, {"ticketId": {"id": new_id()}}, {"ticketId": "f" * 24 + " "}):
        check_errors(client.post(ORDERS, body), 400, "ticketId")
    # Its event may be on the way if it is young, and only then.
    young, old = (client.post(ORDERS, {"ticketId": id_of_age(seconds)}) for seconds in (1, 61))
    check_errors(young, 404)
    check_errors(old, 404)
    assert young.headers["Retry-After"] == "1" and old.headers["Retry-After"] is None
    assert client.get(ORDERS).json == []


@pytest.mark.deployed
def test_a_reserved_ticket_cannot_be_reserved_again_not_even_by_oneself(system: System) -> None:
    market = Market(system)
    ticket = stocked(market)[0]
    ann, bob = market.user(), market.user()
    order = market.reserve(ann, ticket)
    for user in (ann, bob):
        check_errors(client_of(market, user).post(ORDERS, {"ticketId": ticket}), 409)
    assert client_of(market, ann).get(ORDERS).json == [order]
    assert client_of(market, bob).get(ORDERS).json == []


@pytest.mark.deployed
def test_the_price_is_that_of_the_moment_of_the_order(system: System) -> None:
    market = Market(system)
    seller, buyer = market.user(), market.user()
    ticket = market.list_ticket(seller, price=20)["id"]
    market.wait_replica(ticket)
    first = market.reserve(buyer, ticket)
    market.cancel(buyer, first["id"])
    wait_until(lambda: market.ticket(ticket)["version"] == 3, "the ticket was reserved and is free again")
    changed = market.change_ticket(seller, ticket, 35.25)
    market.wait_replica(ticket, changed["version"])
    second = market.reserve(buyer, ticket)
    assert (first["ticket"]["price"], second["ticket"]["price"]) == (20, 35.25)
    shown = [order["ticket"]["price"] for order in client_of(market, buyer).get(ORDERS).json]
    assert shown == [20, 35.25]


# ---- one winner ----


@pytest.mark.deployed
@pytest.mark.parametrize("keyed", [False, True])
def test_of_fifty_who_reserve_a_ticket_at_once_on_two_instances_one_gets_it(system: System, keyed: bool) -> None:
    market = Market(system, 2)
    tickets = stocked(market, ROUNDS)
    tokens = buyers(RACERS)
    for ticket in tickets:

        def reserve(i: int) -> Response:
            headers = {"Idempotency_Key": f"{ticket}/{i}"} if keyed else {}
            return place(market.orders[i % 2], tokens[i], ticket, **headers)

        answers = at_once(RACERS, reserve)
        won = [answer for answer in answers if answer.status == 201]
        assert len(won) == 1, [answer.status for answer in answers]
        assert won[0].json["reservation"] == 1 and won[0].json["ticket"]["id"] == ticket
        for answer in answers:
            if answer is not won[0]:
                check_errors(answer, 409)
                assert answer.errors == [{"message": "the ticket is already reserved"}]
    for ticket in tickets:
        assert len(market.orders_of(ticket)) == 1


@pytest.mark.deployed
def test_a_ticket_that_was_given_back_goes_to_one_again_under_the_next_number(system: System) -> None:
    """Twenty times over, while the events of the rounds before are still under way."""
    market = Market(system, 2)
    ticket = stocked(market)[0]
    tokens = buyers(RACERS)
    winners = []
    for round_number in range(1, ROUNDS + 1):
        answers = at_once(RACERS, lambda i: place(market.orders[i % 2], tokens[i], ticket))
        won = [i for i, answer in enumerate(answers) if answer.status == 201]
        assert len(won) == 1, [answer.status for answer in answers]
        assert {answer.status for answer in answers} == {201, 409}
        order = answers[won[0]].json
        assert order["reservation"] == round_number
        winners.append(order["id"])
        if round_number < ROUNDS:
            gone = market.orders[round_number % 2].client(tokens[won[0]]).delete(f"{ORDERS}/{order['id']}")
            assert gone.status == 204
    wait_until(lambda: market.holder(ticket) == winners[-1], "the ticket is with the last winner")
    market.wait_settled()
    market.check_converged()
    orders = sorted(market.orders_of(ticket).items(), key=lambda order: order[1]["reservation"])
    held = [(order["claim"], id, order["status"]) for id, order in orders]
    statuses = ["cancelled"] * (ROUNDS - 1) + ["created"]
    assert held == [(f"{ticket}/{n}", order, status) for n, (order, status) in enumerate(zip(winners, statuses), 1)]


@pytest.mark.deployed
def test_who_cancels_and_reserves_again_has_the_next_reservation(system: System) -> None:
    market = Market(system)
    ticket = stocked(market)[0]
    ann, bob = market.user(), market.user()
    first = market.reserve(ann, ticket)
    market.cancel(ann, first["id"])
    second = market.reserve(ann, ticket)
    assert second["id"] != first["id"] and second["reservation"] == 2
    assert milliseconds(second["createdAt"]) >= milliseconds(first["createdAt"])
    market.cancel(ann, second["id"])
    third = market.reserve(bob, ticket)
    assert third["reservation"] == 3
    mine = client_of(market, ann).get(ORDERS).json
    assert [(order["id"], order["status"], order["version"]) for order in mine] == [
        (first["id"], "cancelled", 2),
        (second["id"], "cancelled", 2),
    ]
    wait_until(lambda: market.holder(ticket) == third["id"], "the ticket is with the third")


# ---- Idempotency-Key ----


@pytest.mark.deployed
def test_fifty_requests_under_one_key_on_two_instances_are_one_order(system: System) -> None:
    market = Market(system, 2)
    for ticket in stocked(market, ROUNDS):
        token = buyers(1)[0]
        answers = at_once(RACERS, lambda i: place(market.orders[i % 2], token, ticket, Idempotency_Key="k"))
        assert {answer.status for answer in answers} == {201}, [answer.body for answer in answers]
        assert all(answer.json == answers[0].json for answer in answers)
        assert market.orders[0].client(token).get(ORDERS).json == [answers[0].json]


@pytest.mark.deployed
def test_under_a_key_an_order_is_placed_once_and_answered_as_it_is_now(system: System) -> None:
    market = Market(system, 2)
    ticket, other_ticket = stocked(market, 2)
    token, other = buyers(2)
    first = place(market.orders[0], token, ticket, Idempotency_Key="k")
    assert first.status == 201
    market.orders[0].kill()
    market.orders[0].start()
    for instance in market.orders:
        again = place(instance, token, ticket, Idempotency_Key="k")
        assert (again.status, again.json, again.headers["ETag"]) == (201, first.json, '"1"')
        check_errors(place(instance, token, other_ticket, Idempotency_Key="k"), 422)
        check_errors(place(instance, token, new_id(), Idempotency_Key="k"), 422)
        check_errors(place(instance, token, ticket, Idempotency_Key="another"), 409)
        check_errors(place(instance, other, ticket, Idempotency_Key="k"), 409)
    assert market.orders[0].client(token).delete(f"{ORDERS}/{first.json['id']}").status == 204
    again = place(market.orders[1], token, ticket, Idempotency_Key="k")
    assert (again.status, again.json["status"], again.headers["ETag"]) == (201, "cancelled", '"2"')
    assert again.json == {**first.json, "status": "cancelled", "version": 2}
    # The ticket is free, and the key is used up: who wants it again needs a new one.
    theirs = place(market.orders[0], other, ticket, Idempotency_Key="k")
    assert theirs.status == 201 and theirs.json["id"] != first.json["id"] and theirs.json["reservation"] == 2


@pytest.mark.deployed
def test_a_refusal_is_not_remembered_under_the_key(system: System) -> None:
    market = Market(system)
    ticket = stocked(market)[0]
    token, other = buyers(2)
    order = place(market.orders[0], other, ticket).json
    check_errors(place(market.orders[0], token, ticket, Idempotency_Key="k"), 409)
    check_errors(place(market.orders[0], token, new_id(), Idempotency_Key="k"), 404)
    assert market.orders[0].client(other).delete(f"{ORDERS}/{order['id']}").status == 204
    assert place(market.orders[0], token, ticket, Idempotency_Key="k").json["reservation"] == 2


@pytest.mark.deployed
def test_keys_that_are_none_are_refused(system: System) -> None:
    client = system.service("orders").client(buyers(1)[0])
    for key in ("x" * 65, "", "tab\tinside", "größe"):
        check_errors(client.request("POST", ORDERS, {"ticketId": new_id()}, {"Idempotency-Key": key}), 400)


# ---- looking at them ----


@pytest.mark.deployed
def test_orders_are_listed_oldest_first_page_by_page(system: System) -> None:
    market = Market(system, 2)
    tickets = stocked(market, 23)
    ann, bob = market.user(), market.user()
    placed = [market.reserve(bob if i % 4 == 3 else ann, ticket) for i, ticket in enumerate(tickets)]
    client = client_of(market, ann)
    everything = client.get(ORDERS)
    assert everything.headers["Cache-Control"] == "no-store" and next_page(everything) is None
    # The instances may make two in one millisecond.
    mine = [order for i, order in enumerate(placed) if i % 4 != 3]
    assert everything.json == sorted(mine, key=lambda order: (order["createdAt"], order["id"]))
    assert {order["userId"] for order in everything.json} == {ann.id}
    for limit in (1, 5, 17, 18, 1000):
        assert pages(client, f"{ORDERS}?limit={limit}") == everything.json
    first = client.get(f"{ORDERS}?limit=5")
    assert ids(first.json) == ids(everything.json)[:5]
    assert (next_page(first) or "").startswith(f"{ORDERS}?limit=5&after=")
    # A place in one's own list is no way into another's.
    theirs = client_of(market, bob)
    assert {order["userId"] for order in theirs.get(next_page(first) or "").json} <= {bob.id}
    for limit in ("0", "1001", "x", ""):
        check_errors(client.get(f"{ORDERS}?limit={limit}"), 400, "limit")
    check_errors(client.get(f"{ORDERS}?after=x"), 400, "after")


@pytest.mark.deployed
def test_an_order_is_shown_to_its_owner_only(system: System) -> None:
    market = Market(system)
    ann, bob = market.user(), market.user()
    order = market.reserve(ann, stocked(market)[0])
    path = f"{ORDERS}/{order['id']}"
    mine = client_of(market, ann).get(path)
    assert (mine.status, mine.json, mine.headers["Cache-Control"]) == (200, order, "no-store")
    head = client_of(market, ann).request("HEAD", path)
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(mine.body)))
    unchanged = client_of(market, ann).get(path, If_None_Match='"1"')
    assert (unchanged.status, unchanged.body, unchanged.headers["ETag"]) == (304, b"", '"1"')
    for method in ("GET", "DELETE"):
        check_errors(client_of(market, bob).request(method, path), 403)
        for unknown, retry_after in ((id_of_age(61), None), (id_of_age(1), "1"), ("x", None), ("f" * 25, None)):
            answer = client_of(market, bob).request(method, f"{ORDERS}/{unknown}")
            check_errors(answer, 404)
            assert answer.headers["Retry-After"] == retry_after
            assert answer.headers["Cache-Control"] == "no-store"
    assert client_of(market, ann).get(path).json == order


@pytest.mark.deployed
def test_nothing_is_for_caches_to_keep_refusals_neither(system: System) -> None:
    client = system.service("orders").client(buyers(1)[0])
    for status, method, path, headers in (
        (200, "GET", ORDERS, {}),
        (400, "GET", f"{ORDERS}?limit=0", {}),
        (400, "GET", f"{ORDERS}?limit=%zz", {}),
        (404, "GET", f"{ORDERS}/{id_of_age(100)}/x", {}),
        (405, "PUT", ORDERS, {}),
        (415, "POST", ORDERS, {"Content-Type": "text/plain"}),
        (401, "GET", ORDERS, {"Authorization": "Bearer x"}),
    ):
        answer = client.request(method, path, b"x" if method == "POST" else None, headers)
        assert (answer.status, answer.headers["Cache-Control"]) == (status, "no-store"), (method, path)


# ---- cancelling ----


@pytest.mark.deployed
def test_cancelling_frees_the_ticket_and_can_be_repeated(system: System) -> None:
    market = Market(system)
    ticket = stocked(market)[0]
    ann = market.user()
    before = system.broker.message_count("order:cancelled")
    order = market.reserve(ann, ticket)
    wait_until(lambda: market.holder(ticket) == order["id"], "the ticket is reserved")
    client = client_of(market, ann)
    for _ in range(3):
        answer = client.delete(f"{ORDERS}/{order['id']}")
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Content-Type"] is None
    assert client.get(f"{ORDERS}/{order['id']}").json == {**order, "status": "cancelled", "version": 2}
    wait_until(lambda: market.holder(ticket) is None, "the ticket is free")
    market.wait_settled()
    assert system.broker.message_count("order:cancelled") == before + 1
    assert market.ticket(ticket)["version"] == 3


@pytest.mark.deployed
def test_if_match_decides_whether_an_order_is_cancelled(system: System) -> None:
    market = Market(system)
    ann, bob = market.user(), market.user()
    order = market.reserve(ann, stocked(market)[0])
    path = f"{ORDERS}/{order['id']}"
    client = client_of(market, ann)
    for tags in ('"2"', 'W/"1"', "1", "", '"1'):
        check_errors(client.request("DELETE", path, headers={"If-Match": tags}), 412)
    check_errors(client_of(market, bob).delete(path, If_Match='"2"'), 403)
    assert client.get(path).json == order
    assert client.delete(path, If_Match='"1"').status == 204
    check_errors(client.delete(path, If_Match='"1"'), 412)
    assert client.delete(path, If_Match='"2"').status == 204


@pytest.mark.deployed
def test_concurrent_cancellations_cancel_once(system: System) -> None:
    market = Market(system, 2)
    ticket = stocked(market)[0]
    ann = market.user()
    order = market.reserve(ann, ticket)
    before = system.broker.message_count("order:cancelled")

    def cancel(i: int) -> int:
        return market.client(market.orders[i % 2], ann).delete(f"{ORDERS}/{order['id']}").status

    assert set(at_once(20, cancel)) == {204}
    assert client_of(market, ann).get(f"{ORDERS}/{order['id']}").json["version"] == 2
    market.wait_settled()
    assert system.broker.message_count("order:cancelled") == before + 1


@pytest.mark.deployed
def test_orders_are_taken_while_the_bus_is_away(system: System) -> None:
    market = Market(system)
    ticket = stocked(market)[0]
    ann = market.user()
    system.broker.stop()
    order = market.reserve(ann, ticket)
    check_errors(client_of(market, market.user()).post(ORDERS, {"ticketId": ticket}), 409)
    assert "orderId" not in market.ticket(ticket)
    system.broker.start()
    wait_until(lambda: market.holder(ticket) == order["id"], "the event arrived after all")


def test_a_new_order_lives_for_its_hold_by_the_clock_of_the_service(system: System) -> None:
    market = Market(system, ORDER_HOLD_SECONDS="77")
    before = time.time() * 1000
    order = market.reserve(market.user(), stocked(market)[0])
    assert before - 1 <= milliseconds(order["createdAt"]) <= time.time() * 1000
    assert milliseconds(order["expiresAt"]) - milliseconds(order["createdAt"]) == 77000
