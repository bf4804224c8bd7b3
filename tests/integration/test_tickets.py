# SPDX-License-Identifier: Apache-2.0
"""tickets: listing, changing and finding them over HTTP."""

from __future__ import annotations

import itertools
import re
import urllib.parse
from typing import Any

import pytest

from harness import Client, Response, Service, System, quote, wait_until
from market import Market, new_id
from wire import at_once, check_errors, id_of_age, ids, next_page, pages, token_of

SELLER = "5e11e45e11e45e11e45e11e4"
OTHER = "07e407e407e407e407e407e4"
TICKETS = "/api/tickets"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")


def seller(service: Service, user: str = SELLER) -> Client:
    return service.client(token_of(user))


def listed(client: Client, title: str = "Concert", price: Any = 20, **headers: str) -> Any:
    answer = client.post(TICKETS, {"title": title, "price": price}, **headers)
    assert answer.status == 201, answer.body
    return answer.json


def titles(answer: Response) -> list[str]:
    assert answer.status == 200, answer.body
    return [ticket["title"] for ticket in answer.json]


# ---- listing one ----


@pytest.mark.deployed
def test_a_ticket_is_answered_with_its_version_and_owner(system: System) -> None:
    tickets = system.service("tickets")
    answer = seller(tickets).post(TICKETS, {"title": "Concert", "price": 20.5})
    assert answer.status == 201 and answer.headers["ETag"] == '"1"'
    ticket = answer.json
    assert set(ticket) == {"id", "version", "title", "price", "userId", "createdAt", "updatedAt"}
    assert re.match(r"[0-9a-f]{24}\Z", ticket["id"])
    assert (ticket["version"], ticket["title"], ticket["price"], ticket["userId"]) == (1, "Concert", 20.5, SELLER)
    assert TIME.match(ticket["createdAt"]) and ticket["updatedAt"] == ticket["createdAt"]
    again = tickets.client().get(f"{TICKETS}/{ticket['id']}")
    assert (again.status, again.json, again.headers["ETag"]) == (200, ticket, '"1"')


@pytest.mark.deployed
def test_nobody_lists_or_changes_a_ticket_without_being_signed_in(system: System) -> None:
    tickets = system.service("tickets")
    ticket = listed(seller(tickets))["id"]
    nobody = tickets.client()
    check_errors(nobody.post(TICKETS, {"title": "t", "price": 1}), 401)
    check_errors(nobody.post(TICKETS, {}), 401)
    check_errors(nobody.put(f"{TICKETS}/{ticket}", {"title": "t", "price": 1}), 401)
    check_errors(nobody.get(f"{TICKETS}/mine"), 401)
    assert nobody.get(f"{TICKETS}?limit=1").json == [nobody.get(f"{TICKETS}/{ticket}").json]


@pytest.mark.deployed
def test_titles_are_any_text_of_1_to_200_characters(system: System) -> None:
    client = seller(system.service("tickets"))
    good = ["x", "x" * 200, "🎟" * 200, "👩‍👩‍👧‍👦 family", "  spaces stay  ", "e\u0301", "שלום עולם", '"quotes" \\ </script>', "%s%n"]
    good += ["\u202eoverride", "\ufeffbom", "\U0010ffff", "NUL is not \\0"]
    for title in good:
        ticket = listed(client, title)
        assert ticket["title"] == title
        assert client.get(f"{TICKETS}/{ticket['id']}").json["title"] == title
    for title in ["", "x" * 201, "🎟" * 201, " ", " \t ", "\u00a0\u2003\u3000", "a\nb", "a\tb", "\x1b[31m", "\x7f", "a\u0085b"]:
        check_errors(client.post(TICKETS, {"title": title, "price": 1}), 400, "title")
    for wrong in (7, True, ["Concert"], {"text": "Concert"}, None):
        check_errors(client.post(TICKETS, {"title": wrong, "price": 1}), 400, "title")


@pytest.mark.deployed
@pytest.mark.parametrize(
    "text, price",
    [
        ("0.01", 0.01), ("1", 1), ("1.0", 1), ("12.5", 12.5), ("12.50", 12.5), ("19.99", 19.99), ("0.1", 0.1),
        ("1000000", 1000000), ("1000000.00", 1000000), ("999999.99", 999999.99), ("1e2", 100), ("1.5E1", 15),
        ('"0.01"', 0.01), ('"12.5"', 12.5), ('"12.50"', 12.5), ('"12"', 12), ('"1000000.00"', 1000000),
    ],
)  # fmt: skip
def test_prices_are_numbers_or_decimal_strings_from_a_cent_to_a_million(system: System, text: str, price: float) -> None:
    client = seller(system.service("tickets"))
    answer = client.post(TICKETS, f'{{"title":"t","price":{text}}}'.encode())
    assert answer.status == 201, answer.body
    assert answer.json["price"] == price
    # Printed as the shortest number, not as what a double makes of it.
    assert f'"price":{price:g}' in answer.body.decode() or f'"price":{price}' in answer.body.decode()


@pytest.mark.deployed
def test_prices_that_are_none_are_refused(system: System) -> None:
    client = seller(system.service("tickets"), new_id())
    outside = ["0", "-0", "-1", "-0.01", "0.00", "1000000.01", "1000001", "1e9", "1e300", "9223372036854775807"]
    outside += ['"0"', '"1000000.01"', '"99999999999999999999"', '"-1"']
    malformed = ["0.001", "12.345", "1.999", "1e-3", '"12.345"', '"1e2"', '" 12"', '"12 "', '"12."', '".5"', '""', '"abc"']
    malformed += ['"1,50"', '"NaN"', '"Infinity"', '"0x10"', '"+1"', "true", "[]", "{}", "null", '["12"]', '"\u0661\u0662"']
    for price in outside + malformed:
        check_errors(client.post(TICKETS, f'{{"title":"t","price":{price}}}'.encode()), 400, "price")
    # No JSON at all, or a number that nothing can hold.
    for price in ("NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 30, "01", "1.", ".5", "+1", "0x10", "1,5"):
        check_errors(client.post(TICKETS, f'{{"title":"t","price":{price}}}'.encode()), 400)
    assert client.get(f"{TICKETS}/mine").json == []


@pytest.mark.deployed
def test_every_invalid_field_is_reported_at_once(system: System) -> None:
    client = seller(system.service("tickets"))
    ticket = listed(client)["id"]
    for body in ({}, {"title": "", "price": -1}, {"title": 1, "price": "x"}, {"title": None, "price": None}):
        check_errors(client.post(TICKETS, body), 400, "title", "price")
        check_errors(client.put(f"{TICKETS}/{ticket}", body), 400, "title", "price")


@pytest.mark.deployed
def test_what_is_not_the_clients_to_say_is_not_listened_to(system: System) -> None:
    client = seller(system.service("tickets"))
    body = {"title": "t", "price": 1, "id": "f" * 24, "version": 7, "userId": OTHER, "orderId": OTHER, "reservation": 9}
    body |= {"createdAt": "2001-01-01T00:00:00.000Z", "request": OTHER, "unknown": {"deep": [1, 2]}}
    ticket = client.post(TICKETS, body).json
    assert ticket["id"] != "f" * 24 and ticket["version"] == 1 and ticket["userId"] == SELLER
    assert "orderId" not in ticket and not ticket["createdAt"].startswith("2001")
    changed = client.put(f"{TICKETS}/{ticket['id']}", body).json
    assert changed == ticket


# ---- Idempotency-Key ----


@pytest.mark.deployed
def test_under_a_key_a_ticket_is_listed_once_and_answered_as_it_is_now(system: System) -> None:
    tickets, other_instance = system.service("tickets"), system.service("tickets")
    user = new_id()
    client = seller(tickets, user)
    body = {"title": "Concert", "price": 20}
    first = client.post(TICKETS, body, Idempotency_Key="k")
    assert first.status == 201
    again = client.post(TICKETS, {"price": "20.00", "title": "Concert"}, Idempotency_Key="k")
    assert (again.status, again.json, again.headers["ETag"]) == (201, first.json, '"1"')
    for different in ({"title": "Concert", "price": 21}, {"title": "concert", "price": 20}):
        check_errors(client.post(TICKETS, different, Idempotency_Key="k"), 422)
    changed = client.put(f"{TICKETS}/{first.json['id']}", {"title": "Encore", "price": 30}).json
    tickets.kill()
    tickets.start()
    for instance in (tickets, other_instance):
        # The body is compared with what was asked for then, the answer is what has become of it since.
        again = seller(instance, user).post(TICKETS, body, Idempotency_Key="k")
        assert (again.status, again.json, again.headers["ETag"]) == (201, changed, '"2"')
        check_errors(seller(instance, user).post(TICKETS, {"title": "Encore", "price": 30}, Idempotency_Key="k"), 422)
    assert ids(seller(tickets, user).get(f"{TICKETS}/mine").json) == [first.json["id"]]


@pytest.mark.deployed
def test_keys_belong_to_users_and_are_not_needed(system: System) -> None:
    tickets = system.service("tickets")
    me, other = new_id(), new_id()
    mine = listed(seller(tickets, me), Idempotency_Key="k")
    theirs = listed(seller(tickets, other), Idempotency_Key="k")
    another = listed(seller(tickets, me), Idempotency_Key="K")
    without = [listed(seller(tickets, me)) for _ in range(2)]
    assert len({t["id"] for t in (mine, theirs, another, *without)}) == 5
    assert theirs["userId"] == other


@pytest.mark.deployed
def test_a_refusal_is_not_remembered_under_the_key(system: System) -> None:
    client = seller(system.service("tickets"), new_id())
    check_errors(client.post(TICKETS, {"title": "", "price": 20}, Idempotency_Key="k"), 400, "title")
    assert listed(client, "Concert", Idempotency_Key="k")["title"] == "Concert"


@pytest.mark.deployed("nginx")  # others may find words of their own for a control character
def test_keys_that_are_none_are_refused(system: System) -> None:
    client = seller(system.service("tickets"), new_id())
    for key in ("x" * 65, "", "tab\tinside", "größe", "\x7f"):
        answer = client.request("POST", TICKETS, {"title": "t", "price": 1}, {"Idempotency-Key": key})
        check_errors(answer, 400)
    for key in ("x" * 64, "x", "a b/c?d=e&f\"'\\~", "x" * 64):
        listed(client, Idempotency_Key=key)
    assert len(client.get(f"{TICKETS}/mine").json) == 3


@pytest.mark.deployed
def test_concurrent_requests_under_one_key_list_one_ticket(system: System) -> None:
    instances = [system.service("tickets"), system.service("tickets")]
    user = new_id()
    answers = at_once(30, lambda i: listed(seller(instances[i % 2], user), Idempotency_Key="k"))
    assert len(set(ids(answers))) == 1
    assert ids(instances[0].client().get(f"{TICKETS}?userId={user}").json) == ids(answers)[:1]


# ---- the list ----


@pytest.mark.deployed
def test_the_list_has_what_is_free_newest_first(system: System) -> None:
    market = Market(system)
    ann, bob = market.user(), market.user()
    tickets = [market.list_ticket(ann, f"Concert {i}", 10 + i)["id"] for i in range(5)]
    market.wait_replica(tickets[2])
    public = market.tickets[0].client()
    hers = f"{TICKETS}?userId={ann.id}"
    assert ids(public.get(f"{TICKETS}?limit=5").json) == ids(public.get(hers).json) == tickets[::-1]
    order = market.reserve(bob, tickets[2])
    wait_until(lambda: len(public.get(hers).json) == 4, "the reserved ticket has left the list")
    assert ids(public.get(hers).json) == [tickets[i] for i in (4, 3, 1, 0)]
    assert ids(public.get(f"{TICKETS}?limit=4").json) == [tickets[i] for i in (4, 3, 1, 0)]
    assert ids(public.get(f"{hers}&sort=price").json) == [tickets[i] for i in (0, 1, 3, 4)]
    mine = market.client(market.tickets[0], ann).get(f"{TICKETS}/mine")
    assert ids(mine.json) == tickets[::-1] and mine.headers["Cache-Control"] == "no-store"
    assert [ticket.get("orderId") for ticket in mine.json] == [None, None, order["id"], None, None]
    assert market.client(market.tickets[0], bob).get(f"{TICKETS}/mine").json == []
    market.cancel(bob, order["id"])
    wait_until(lambda: ids(public.get(hers).json) == tickets[::-1], "the ticket is back at its place")


def test_the_list_is_searched_filtered_and_sorted(system: System) -> None:
    tickets = system.service("tickets")
    ann, bob, public = seller(tickets), tickets.client(token_of(OTHER)), tickets.client()
    stock = [(ann, "Élan vital", 10), (ann, "ÉLAN & Co. 100%", 30), (bob, "Концерт под_звёздами", 20), (bob, "STRASSE", 20.5)]
    stock += [(ann, "straße", 0.01), (bob, "İstanbul ĞŞ", 1000000)]
    for client, title, price in stock:
        listed(client, title, price)

    def found(query: str) -> list[str]:
        return titles(public.get(f"{TICKETS}?{query}"))

    newest = [title for _, title, _ in stock[::-1]]
    assert found("") == found("sort=newest") == found("q=") == newest
    cheapest = [title for _, title, price in sorted(stock, key=lambda row: row[2])]
    assert found("sort=price") == cheapest and found("sort=-price") == cheapest[::-1]

    assert found(f"q={quote('élan')}") == ["ÉLAN & Co. 100%", "Élan vital"]
    assert found(f"q={quote('ÉLAN V')}") == found("q=%C3%A9lan+VITAL") == ["Élan vital"]
    assert found(f"q={quote('КОНЦЕРТ')}") == ["Концерт под_звёздами"]
    assert found(f"q={quote('ğş')}") == ["İstanbul ĞŞ"]
    assert found("q=stra") == ["straße", "STRASSE"]
    # Nothing in it has a meaning of its own.
    assert found(f"q={quote('0%')}") == ["ÉLAN & Co. 100%"] and found(f"q={quote('d_з')}") == []
    assert found(f"q={quote('под_зв')}") == ["Концерт под_звёздами"]
    assert found("q=_") == ["Концерт под_звёздами"] and found("q=*") == [] and found(f"q={quote(chr(39))}") == []

    assert found("minPrice=20") == ["İstanbul ĞŞ", "STRASSE", "Концерт под_звёздами", "ÉLAN & Co. 100%"]
    assert found("maxPrice=20") == ["straße", "Концерт под_звёздами", "Élan vital"]
    assert found("minPrice=20&maxPrice=20.50&sort=-price") == ["STRASSE", "Концерт под_звёздами"]
    assert found("minPrice=21&maxPrice=20") == []
    assert found(f"userId={OTHER}") == ["İstanbul ĞŞ", "STRASSE", "Концерт под_звёздами"]
    assert found(f"userId={OTHER.upper()}&sort=price&maxPrice=21") == ["Концерт под_звёздами", "STRASSE"]
    assert found(f"userId={new_id()}") == []
    assert found(f"userId={SELLER}&q=o&minPrice=1&limit=1&unknown=parameter") == ["ÉLAN & Co. 100%"]


@pytest.mark.deployed
@pytest.mark.parametrize(
    "query, fields",
    [
        ("limit=0", ["limit"]), ("limit=1001", ["limit"]), ("limit=-1", ["limit"]), ("limit=", ["limit"]),
        ("limit=ten", ["limit"]), ("limit=1.5", ["limit"]), ("limit=+5", ["limit"]), ("limit=%205", ["limit"]),
        ("limit=99999999999999999999", ["limit"]), ("limit", ["limit"]),
        ("minPrice=", ["minPrice"]), ("minPrice=x", ["minPrice"]), ("maxPrice=1.234", ["maxPrice"]),
        ("maxPrice=-1", ["maxPrice"]), ("maxPrice=1000000.01", ["maxPrice"]),
        ("userId=", ["userId"]), ("userId=me", ["userId"]), ("userId=" + "g" * 24, ["userId"]),
        ("sort=", ["sort"]), ("sort=Price", ["sort"]), ("sort=title", ["sort"]), ("sort=+price", ["sort"]),
        ("q=" + "x" * 201, ["q"]), ("q=%ff", ["q"]), ("q=%zz", ["q"]), ("q=%00", ["q"]), ("q=a&q=b", ["q"]),
        ("limit=5&limit=5", ["limit"]),
        ("limit=0&minPrice=x&maxPrice=y&userId=z&sort=w", ["limit", "minPrice", "maxPrice", "userId", "sort"]),
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused(system: System, query: str, fields: list[str]) -> None:
    check_errors(system.service("tickets").client().get(f"{TICKETS}?{query}"), 400, *fields)


# ---- pages ----


@pytest.mark.deployed
def test_pages_have_100_unless_asked_otherwise_and_1000_at_most(system: System) -> None:
    tickets, user = system.service("tickets"), new_id()
    at_once(5, lambda i: [listed(seller(tickets, user), f"{i}/{j}") for j in range(22)])
    client = seller(tickets, user)
    hers = f"{TICKETS}?userId={user}"
    everything = client.get(f"{hers}&limit=1000")
    assert len(everything.json) == 110 and next_page(everything) is None
    # These are the newest of all, so whose they are need not be asked to get them.
    assert client.get(TICKETS).json == everything.json[:100]
    assert client.get(f"{TICKETS}?limit=110").json == everything.json
    for path in (hers, f"{TICKETS}/mine"):
        first = client.get(path)
        assert len(first.json) == 100
        second = client.get(next_page(first) or "")
        assert len(second.json) == 10 and next_page(second) is None
        assert first.json + second.json == everything.json
    one = client.get(f"{TICKETS}?limit=1")
    assert one.json == everything.json[:1]
    # A page that is exactly full does not promise another one.
    assert next_page(client.get(f"{hers}&limit=110")) is None
    assert len(pages(client, f"{hers}&limit=55")) == 110


@pytest.mark.parametrize(
    "path",
    ["?limit=7", "?limit=7&sort=price", "?limit=7&sort=-price", pytest.param("/mine?limit=7", marks=pytest.mark.deployed)],
)
def test_pages_are_complete_and_without_repeats_while_tickets_are_listed(system: System, path: str) -> None:
    tickets = system.service("tickets")
    user = new_id()
    client = seller(tickets, user)
    prices = [((i * 37) % 50 + 1) / 2 for i in range(100)]
    batches = at_once(5, lambda i: [listed(seller(tickets, user), price=price) for price in prices[i::5]])
    before = {ticket["id"] for ticket in itertools.chain(*batches)}
    more = itertools.cycle(prices)
    found = ids(pages(client, TICKETS + path, between=lambda: [listed(client, price=next(more)) for _ in range(3)]))
    assert len(found) == len(set(found)), "a ticket is there twice"
    assert before <= set(found)


@pytest.mark.deployed
def test_the_next_page_is_of_the_same_search(system: System) -> None:
    user = new_id()
    client = seller(system.service("tickets"), user)
    needle = 'a&b=c é?#/"+%'
    for i in range(6):
        listed(client, f"{needle} {i}", 10 + i)
        listed(client, f"something else {i}", 10 + i)
    query = f"q={quote(needle)}&minPrice=11&maxPrice=14&sort=price&limit=2&userId={user}"
    first = client.get(f"{TICKETS}?{query}")
    assert titles(first) == [f"{needle} 1", f"{needle} 2"]
    link = urllib.parse.urlsplit(next_page(first) or "")
    assert link.path == TICKETS
    carried = dict(urllib.parse.parse_qsl(link.query, strict_parsing=True, keep_blank_values=True))
    assert carried.pop("after")
    assert carried == dict(urllib.parse.parse_qsl(query))
    second = client.get(next_page(first) or "")
    assert titles(second) == [f"{needle} 3", f"{needle} 4"] and next_page(second) is None


@pytest.mark.deployed
def test_a_position_that_is_none_is_refused(system: System) -> None:
    user = new_id()
    client = seller(system.service("tickets"), user)
    newest_first = [listed(client) for _ in range(3)][::-1]
    link = next_page(client.get(f"{TICKETS}?limit=1")) or ""
    after = urllib.parse.parse_qs(urllib.parse.urlsplit(link).query)["after"][0]
    assert client.get(f"{TICKETS}?limit=2&after={after}").json == newest_first[1:]
    # Of another order, of another list, cut, changed, or nothing like it.
    for path in (f"?sort=price&after={after}", f"/mine?after={after}", f"?after={after[:-1]}", f"?after={after}A"):
        check_errors(client.get(TICKETS + path), 400, "after")
    for after in ("x", "AAAA", "%F0%9F%8E%9F", "x" * 600, "...", "0", "%27%20OR%201=1"):
        check_errors(client.get(f"{TICKETS}?after={after}"), 400, "after")
    assert client.get(f"{TICKETS}?limit=3&after=").json == newest_first


# ---- one ticket ----


@pytest.mark.deployed
def test_a_ticket_that_has_not_changed_is_not_sent_again(system: System) -> None:
    client = seller(system.service("tickets"))
    ticket = listed(client)["id"]
    path = f"{TICKETS}/{ticket}"
    for tags in ('"1"', 'W/"1"', '"7", "1"', "*", '"x","1"', 'W/"9" , W/"1"'):
        answer = client.get(path, If_None_Match=tags)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", '"1"'), tags
        assert client.request("HEAD", path, headers={"If-None-Match": tags}).status == 304
    for tags in ('"2"', '"11"', "1", '""', 'w/"1"', '"1', '*, "2"'):
        answer = client.get(path, If_None_Match=tags)
        assert (answer.status, answer.headers["ETag"]) == (200, '"1"'), tags
    client.put(path, {"title": "Encore", "price": 1})
    answer = client.get(path, If_None_Match='"1"')
    assert (answer.status, answer.json["title"], answer.headers["ETag"]) == (200, "Encore", '"2"')


@pytest.mark.deployed
def test_a_ticket_is_only_sent_if_it_has_the_version_that_was_asked_for(system: System) -> None:
    client = seller(system.service("tickets"))
    path = f"{TICKETS}/{listed(client)['id']}"
    for tags in ('"1"', "*", '"7", "1"'):
        answer = client.get(path, If_Match=tags)
        assert (answer.status, answer.headers["ETag"]) == (200, '"1"'), tags
    for tags in ('"2"', '"11"', 'W/"1"', "1", '""', ""):
        check_errors(client.get(path, If_Match=tags), 412)
        head = client.request("HEAD", path, headers={"If-Match": tags})
        assert (head.status, head.body) == (412, b""), tags
    # It is looked at before If-None-Match.
    check_errors(client.get(path, If_Match='"2"', If_None_Match='"1"'), 412)
    assert client.get(path, If_Match='"1"', If_None_Match='"1"').status == 304
    client.put(path, {"title": "Encore", "price": 1})
    check_errors(client.get(path, If_Match='"1"'), 412)
    check_errors(client.get(f"{TICKETS}/{id_of_age(100)}", If_Match='"1"'), 404)


@pytest.mark.deployed
def test_head_is_get_without_the_body(system: System) -> None:
    client = seller(system.service("tickets"))
    ticket = listed(client)["id"]
    for path in (f"{TICKETS}/{ticket}", TICKETS, f"{TICKETS}/mine", f"{TICKETS}/{id_of_age(1000)}", f"{TICKETS}?limit=0"):
        got = client.get(path)
        head = client.request("HEAD", path)
        assert (head.status, head.body) == (got.status, b"")
        for name in ("Content-Type", "Content-Length", "ETag", "Cache-Control", "X-Content-Type-Options"):
            assert head.headers[name] == got.headers[name], name


@pytest.mark.deployed
def test_an_unknown_ticket_is_worth_another_try_only_if_it_is_young(system: System) -> None:
    client = seller(system.service("tickets"))
    for call in (client.get, lambda path: client.put(path, {"title": "t", "price": 1})):
        young, old = call(f"{TICKETS}/{id_of_age(1)}"), call(f"{TICKETS}/{id_of_age(61)}")
        check_errors(young, 404)
        check_errors(old, 404)
        assert young.headers["Retry-After"] == "1" and old.headers["Retry-After"] is None
        for malformed in ("1", "f" * 23, "f" * 25, "g" * 24, "%F0%9F%8E%9F"):
            check_never_there(call(f"{TICKETS}/{malformed}"))
    ticket = listed(client)["id"]
    assert client.get(f"{TICKETS}/{ticket.upper()}").json["id"] == ticket


def test_what_looks_like_a_way_out_of_the_tickets_is_unknown_or_malformed(system: System) -> None:
    """An ingress takes care of such paths itself."""
    client = seller(system.service("tickets"))
    for call in (client.get, lambda path: client.put(path, {"title": "t", "price": 1})):
        for malformed in ("..", "%2e%2e", "f" * 12 + "%2F" + "f" * 11):
            check_never_there(call(f"{TICKETS}/{malformed}"))
        for broken in ("%00" * 24, "%zz", "%ff"):
            check_errors(call(f"{TICKETS}/{broken}"), 400)


def check_never_there(answer: Response) -> None:
    check_errors(answer, 404)
    assert answer.headers["Retry-After"] is None


# ---- changing one ----


@pytest.mark.deployed
def test_its_owner_changes_a_ticket(system: System) -> None:
    tickets = system.service("tickets")
    client = seller(tickets)
    ticket = listed(client)
    answer = client.put(f"{TICKETS}/{ticket['id']}", {"title": "Encore", "price": "25.50"})
    assert (answer.status, answer.headers["ETag"]) == (200, '"2"')
    changed = answer.json
    assert (changed["version"], changed["title"], changed["price"]) == (2, "Encore", 25.5)
    assert changed["updatedAt"] >= ticket["updatedAt"]
    same = ("id", "userId", "createdAt")
    assert [changed[name] for name in same] == [ticket[name] for name in same]
    assert tickets.client().get(f"{TICKETS}/{ticket['id']}").json == changed


@pytest.mark.deployed
def test_nobody_else_changes_a_ticket(system: System) -> None:
    tickets = system.service("tickets")
    ticket = listed(seller(tickets))
    other = tickets.client(token_of(OTHER))
    body = {"title": "Mine now", "price": 1}
    check_errors(other.put(f"{TICKETS}/{ticket['id']}", body), 403)
    check_errors(other.put(f"{TICKETS}/{ticket['id']}", body, If_Match='"7"'), 403)
    assert other.get(f"{TICKETS}/{ticket['id']}").json == ticket


@pytest.mark.deployed
def test_a_change_that_changes_nothing_makes_no_version_and_no_event(system: System) -> None:
    market = Market(system)
    user = market.user()
    client = market.client(market.tickets[0], user)
    ticket = market.list_ticket(user, "Concert", 20)
    before = system.broker.message_count("ticket:updated")
    for price in (20, 20.0, "20", "20.00"):
        answer = client.put(f"{TICKETS}/{ticket['id']}", {"title": "Concert", "price": price})
        assert (answer.status, answer.json, answer.headers["ETag"]) == (200, ticket, '"1"')
    assert client.put(f"{TICKETS}/{ticket['id']}", {"title": "Concert", "price": 21}).json["version"] == 2
    market.wait_replica(ticket["id"], 2)
    market.wait_settled()
    assert system.broker.message_count("ticket:updated") == before + 1


@pytest.mark.deployed
def test_if_match_decides_whether_a_ticket_is_changed(system: System) -> None:
    client = seller(system.service("tickets"))
    path = f"{TICKETS}/{listed(client)['id']}"
    for tags in ('"2"', 'W/"1"', "1", "", '"0"', '"1', '"11"'):
        answer = client.request("PUT", path, {"title": "Wrong", "price": 1}, {"If-Match": tags})
        check_errors(answer, 412)
    assert client.get(path).json["version"] == 1
    for version, tags in enumerate(('"1"', "*", '"9", "3"'), 2):
        answer = client.put(path, {"title": f"Title {version}", "price": 1}, If_Match=tags)
        assert (answer.status, answer.headers["ETag"]) == (200, f'"{version}"')
    check_errors(client.put(path, {"title": "Wrong", "price": 1}, If_None_Match="*"), 412)
    # Where there is none, it is unknown rather than of another version.
    check_errors(client.put(f"{TICKETS}/{id_of_age(100)}", {"title": "t", "price": 1}, If_Match='"1"'), 404)


@pytest.mark.deployed
def test_a_reserved_ticket_is_not_changed(system: System) -> None:
    market = Market(system)
    ann, bob = market.user(), market.user()
    ticket = market.list_ticket(ann)["id"]
    market.wait_replica(ticket)
    order = market.reserve(bob, ticket)
    wait_until(lambda: "orderId" in market.ticket(ticket), "the ticket is reserved")
    reserved = market.ticket(ticket)
    assert reserved["orderId"] == order["id"] and reserved["version"] == 2
    client = market.client(market.tickets[0], ann)
    path = f"{TICKETS}/{ticket}"
    for body in ({"title": "Concert", "price": 99}, {"title": "Concert", "price": 20}):
        check_errors(client.put(path, body), 409)
    check_errors(client.put(path, {"title": "Concert", "price": 99}, If_Match='"2"'), 409)
    check_errors(client.put(path, {"title": "Concert", "price": 99}, If_Match='"1"'), 412)
    assert market.ticket(ticket) == reserved
    market.cancel(bob, order["id"])
    wait_until(lambda: "orderId" not in market.ticket(ticket), "the ticket is free")
    assert client.put(path, {"title": "Concert", "price": 99}).json["version"] == 4


@pytest.mark.deployed
def test_forty_concurrent_changes_all_succeed_and_no_version_is_lost(system: System) -> None:
    """Without If-Match a lost race is run again: each change is made once, on two instances, and each has its event."""
    market = Market(system, 2)
    user = market.user()
    ticket = market.list_ticket(user)["id"]

    def change(i: int) -> Any:
        body = {"title": f"Title {i}", "price": 1 + i}
        answer = market.client(market.tickets[i % 2], user).put(f"{TICKETS}/{ticket}", body)
        assert answer.status == 200, answer.body
        assert answer.headers["ETag"] == f'"{answer.json["version"]}"'
        assert (answer.json["title"], answer.json["price"]) == (body["title"], body["price"])
        return answer.json["version"]

    assert sorted(at_once(40, change)) == list(range(2, 42))
    assert market.ticket(ticket)["version"] == 41
    market.wait_replica(ticket, 41)
    market.wait_settled()
    market.check_converged()
    market.check_applied_in_order()
    events = [message["data"] for message in market.messages("ticket:updated") if message["data"]["id"] == ticket]
    assert list(dict.fromkeys(event["version"] for event in events)) == list(range(2, 42))


@pytest.mark.deployed
def test_of_concurrent_changes_of_one_version_one_wins(system: System) -> None:
    instances = [system.service("tickets"), system.service("tickets")]
    path = f"{TICKETS}/{listed(seller(instances[0]))['id']}"
    for version in range(1, 6):

        def change(i: int) -> Response:
            return seller(instances[i % 2]).put(path, {"title": f"{version}/{i}", "price": 1}, If_Match=f'"{version}"')

        answers = at_once(20, change)
        won = [answer for answer in answers if answer.status == 200]
        assert len(won) == 1 and won[0].json["version"] == version + 1
        for answer in answers:
            if answer is not won[0]:
                check_errors(answer, 412)
        assert instances[1].client().get(path).json == won[0].json
