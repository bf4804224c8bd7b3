# SPDX-License-Identifier: Apache-2.0
"""What clients should not send, and how they should not send it; and what every answer has in common."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

from harness import BUILD, DEPLOYMENT, INGRESS_HOST, PATIENCE, Client, Process, Service, System, wait_until
from market import new_id
from wire import Wire, WireAnswer, at_once, check_errors, exchange, token_of

TICKETS = "/api/tickets"
USER = "5e11e45e11e45e11e45e11e4"
BODY_MAX = 65536
DISCARD_MAX = 1 << 20
GROWTH_MAX = 64 << 20  # bytes; what a service may keep of a storm
SANITIZED = any(word in BUILD.name for word in ("address", "thread"))


def headers(*lines: str, method: str = "POST", path: str = TICKETS, user: str = USER) -> bytes:
    """The head of a request by a user who is signed in."""
    common = (f"{method} {path} HTTP/1.1", f"Host: {INGRESS_HOST}", f"Authorization: Bearer {token_of(user)}")
    return "\r\n".join((*common, *lines, "", "")).encode()


def ticket_of_size(size: int) -> bytes:
    """A good body, made long by blanks."""
    body = json.dumps({"title": "Concert", "price": 20}).encode()
    return body[:-1] + b" " * (size - len(body)) + b"}"


def chunked(data: bytes, size: int = 8000) -> bytes:
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def check_wire_errors(answer: WireAnswer | None, status: int) -> None:
    assert answer is not None and answer.status == status, answer and (answer.status, answer.body)
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"errors"} and all(error["message"] for error in answer.json["errors"])


def resident_bytes(process: Process) -> int:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def check_unharmed(service: Service) -> None:
    """It lists tickets as ever."""
    client = service.client(token_of(USER))
    answer = client.post(TICKETS, {"title": "still here", "price": 1})
    assert answer.status == 201
    assert client.get(f"{TICKETS}/{answer.json['id']}").json == answer.json


@pytest.fixture
def tickets(system: System) -> Iterator[Service]:
    """An instance of tickets, which must be unharmed at the end of the test."""
    settings = {} if DEPLOYMENT else {"REQUEST_TIMEOUT_MS": "60000"}
    service = system.service("tickets", **settings)
    yield service
    check_unharmed(service)


# ---- what all answers have in common ----


def test_every_answer_has_a_type_and_the_request_id(tickets: Service) -> None:
    client = tickets.client(token_of(USER))
    for method, path, body in (
        ("GET", TICKETS, None),
        ("POST", TICKETS, {"title": "t", "price": 1}),
        ("POST", TICKETS, {}),
        ("GET", "/nowhere", None),
        ("DELETE", TICKETS, None),
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
    ):
        given = client.request(method, path, body, {"X-Request-Id": "My-Id_1.2"})
        assert given.headers["X-Request-Id"] == "My-Id_1.2"
        assert given.headers["Content-Type"] == "application/json"
        assert given.headers["X-Content-Type-Options"] == "nosniff"
        assert given.headers["Date"] and int(given.headers["Content-Length"]) == len(given.body)
        made = [client.request(method, path, body).headers["X-Request-Id"] for _ in range(2)]
        assert made[0] != made[1] and all(re.match(r"[0-9a-f]{16,}\Z", request_id) for request_id in made)
    for bad in ("a b", "x" * 65, "a/b", "größe", '"', "${jndi:ldap}", ""):
        answer = client.request("GET", TICKETS, None, {"X-Request-Id": bad})
        assert answer.status == 200 and answer.headers["X-Request-Id"] not in (bad, "")
    client.request("GET", TICKETS, None, {"X-Request-Id": "x" * 64})
    tickets.wait_log(r"\[" + "x" * 64 + r"\] GET /api/tickets 200 ")
    tickets.wait_log(r"\[My-Id_1\.2\] GET /nowhere 404 ")


@pytest.mark.deployed
def test_other_origins_are_not_invited(tickets: Service) -> None:
    client = tickets.client()
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method in ("GET", "OPTIONS", "POST"):
        answer = client.request(method, TICKETS, None, origin)
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


# ---- routes and methods ----


def test_unknown_paths_are_404(tickets: Service) -> None:
    client = tickets.client(token_of(USER))
    paths = ["/", "/api", "/api/", "/api/ticket", "/api/tickets/", "/api/tickets/1/2", "//api/tickets", "/API/TICKETS"]
    paths += ["/api/tickets/mine/", "/api%2Ftickets", "/api/orders", "/api/users/signin", "/.env", "/api/tickets/../orders"]
    paths += ["/a" * 2000, "/healthz/", "/api/./tickets"]
    for path in paths:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            check_errors(client.request(method, path), 404)
    # A path is compared as it is meant, not as it is spelled.
    assert client.get("/api/%74ickets").status == 200


def test_wrong_methods_are_405_and_the_right_ones_are_named(system: System) -> None:
    auth, tickets, orders = (system.service(name).client() for name in ("auth", "tickets", "orders"))
    an_id = "f" * 24
    allowed = [
        (auth, "/api/users/signup", "POST, OPTIONS"),
        (auth, "/api/users/signin", "POST, OPTIONS"),
        (auth, "/api/users/signout", "POST, OPTIONS"),
        (auth, "/api/users/currentuser", "GET, HEAD, OPTIONS"),
        (tickets, TICKETS, "GET, HEAD, POST, OPTIONS"),
        (tickets, f"{TICKETS}/mine", "GET, HEAD, OPTIONS"),
        (tickets, f"{TICKETS}/{an_id}", "GET, HEAD, PUT, OPTIONS"),
        (orders, "/api/orders", "GET, HEAD, POST, OPTIONS"),
        (orders, f"/api/orders/{an_id}", "GET, HEAD, DELETE, OPTIONS"),
        *((service, path, "GET, HEAD, OPTIONS") for service in (auth, tickets, orders) for path in ("/healthz", "/readyz")),
    ]
    for client, path, methods in allowed:
        answer = client.request("OPTIONS", path)
        assert (answer.status, answer.body, answer.headers["Allow"]) == (204, b"", methods)
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "get"} - set(methods.split(", ")):
            answer = client.request(method, path)
            check_errors(answer, 405)
            assert answer.headers["Allow"] == methods, (method, path)
    answer = tickets.request("OPTIONS", "*")
    assert answer.status == 204 and answer.headers["Allow"] == "GET, HEAD, POST, PUT, OPTIONS"


def test_targets_that_are_malformed_are_refused(tickets: Service) -> None:
    client = tickets.client()
    for path in ("/api/tickets/%", "/api/tickets/%4", "/api/tickets/%00", "/api/tickets/%c0%ae", "/%ed%a0%80"):
        check_errors(client.get(path), 400)
    for target in (b"api/tickets", b"/\xff\xfe", b"/api/tickets#top"):
        request = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        check_wire_errors(exchange(tickets.port, request, 1)[0], 400)
    many = "&".join(f"p{i}=1" for i in range(200))
    check_errors(client.get(f"{TICKETS}?{many}"), 400)
    absolute = b"GET http://localhost/api/tickets?limit=5 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert exchange(tickets.port, absolute, 1)[0].status == 200


# ---- bodies ----


@pytest.mark.deployed
def test_bodies_must_be_json_by_their_type(tickets: Service) -> None:
    client = tickets.client(token_of(USER))
    body = json.dumps({"title": "t", "price": 1}).encode()
    for wrong in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx",
                  "application/json; charset=latin1", "text/json", "json", "", "application/json, text/plain"):  # fmt: skip
        check_errors(client.request("POST", TICKETS, body, {"Content-Type": wrong}), 415)
        check_errors(client.request("PUT", f"{TICKETS}/{'f' * 24}", body, {"Content-Type": wrong}), 415)
    for right in ("application/json", "Application/JSON", "application/json;charset=utf-8", 'application/json ; charset="UTF-8"'):
        assert client.request("POST", TICKETS, body, {"Content-Type": right}).status == 201
    without = headers(f"Content-Length: {len(body)}") + body
    check_wire_errors(exchange(tickets.port, without, 1, tickets.address)[0], 415)
    # Who asks is looked at first.
    check_errors(tickets.client().request("POST", TICKETS, body, {"Content-Type": "text/plain"}), 401)


@pytest.mark.deployed
@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"}", b"[]", b"null", b"7", b'"text"', b"true", b"{}{}", b"{} x", b"{'title':'t'}", b"{title:1}",
        b'{"title":"t","price":1,}', b'{"title":"t","title":"u","price":1}', b'{"title":"t","price":1,"x":{"y":1,"y":2}}',
        b'{"title":"t\xff","price":1}', b'{"title":"\xc0\x80","price":1}', b'{"title":"\xed\xa0\x80","price":1}',
        b'{"title":"t\x00","price":1}', b'{"title":"\\u0000","price":1}', b'{"a\\u0000b":1,"title":"t","price":1}',
        b'{"title":"\\ud800","price":1}', b'{"title":"\\x41","price":1}', b'{"title":"t\n","price":1}',
        b'\xef\xbb\xbf{"title":"t","price":1}', b'{"title":"t","price":NaN}', b'{"title":"t","price":1e999}',
        '{"title":"t","price":1}'.encode("utf-16"), b"// comment\n{}", b'{"x":' + b"[" * 20 + b"]" * 20 + b',"title":"t","price":1}',
        b"[" * 60000, b'{"a":' * 12000, b'"' + b"\\" * 60001, b"\x00" * 100, bytes(range(256)),
    ],
    ids=lambda body: repr(body)[2:30],
)  # fmt: skip
def test_bodies_that_are_no_json_object_are_one_error(tickets: Service, body: bytes) -> None:
    client = tickets.client(token_of(new_id()))
    check_errors(client.post(TICKETS, body), 400)
    check_errors(client.put(f"{TICKETS}/{'f' * 24}", body), 400)
    assert client.get(f"{TICKETS}/mine").json == []


@pytest.mark.deployed
def test_what_is_ignored_may_be_nested_but_not_endlessly(tickets: Service) -> None:
    client = tickets.client(token_of(USER))
    for depth, status in ((15, 201), (16, 400)):
        nested = b"[" * depth + b"]" * depth
        answer = client.post(TICKETS, b'{"title":"[[[[[[[[[[[[[[[[[[{{{{","price":1,"x":' + nested + b"}")
        assert answer.status == status, answer.body


def test_bodies_have_64_kib_at_most(tickets: Service) -> None:
    client = tickets.client(token_of(USER))
    assert client.post(TICKETS, ticket_of_size(BODY_MAX)).status == 201
    check_errors(client.post(TICKETS, ticket_of_size(BODY_MAX + 1)), 413)
    # A length that is only announced is enough, also when the client waits to be asked for the rest.
    for expect in ((), ("Expect: 100-continue",)):
        for length in (BODY_MAX + 1, 10**12):
            with Wire(tickets.port) as wire:
                wire.send(headers("Content-Type: application/json", f"Content-Length: {length}", *expect))
                check_wire_errors(wire.read_answer(), 413)
                wire.end_sending()
                assert wire.is_closed()
    with Wire(tickets.port) as wire:
        wire.send(headers("Content-Type: application/json", "Content-Length: 26", "Expect: 100-continue"))
        go_on = wire.read_answer()
        assert go_on is not None and go_on.status == 100
        wire.send(b'{"title":"t", "price": 10}')
        created = wire.read_answer()
        assert created is not None and created.status == 201


def test_chunked_bodies_are_counted(tickets: Service) -> None:
    head = headers("Content-Type: application/json", "Transfer-Encoding: chunked")
    with Wire(tickets.port) as wire:
        for size, status in ((50, 201), (BODY_MAX, 201), (BODY_MAX + 1, 413), (DISCARD_MAX - 1, 413), (60, 201)):
            wire.send(head + chunked(ticket_of_size(size)))
            answer = wire.read_answer()
            assert answer is not None and answer.status == status, (size, answer and answer.body)
            if status == 413:
                check_wire_errors(answer, 413)
        # One byte at a time is the same body.
        wire.send(head + chunked(ticket_of_size(100), size=1))
        answer = wire.read_answer()
        assert answer is not None and answer.status == 201
    # What goes on and on is not read to the end.
    with Wire(tickets.port) as wire:
        wire.send(head)
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        sent = 0
        try:
            while sent < 64 * DISCARD_MAX:
                wire.send(piece)
                sent += len(piece)
        except OSError:
            pass
        assert sent < 64 * DISCARD_MAX


# ---- framing ----


@pytest.mark.parametrize(
    "lines, status",
    [
        (("Content-Length: 5", "Content-Length: 6"), 400),
        (("Content-Length: 5", "Content-Length: 5"), 400),
        (("Content-Length: 5", "Transfer-Encoding: chunked"), 400),
        (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400),
        (("Transfer-Encoding: gzip",), 501),
        (("Transfer-Encoding: gzip, chunked",), 501),
        (("Transfer-Encoding: identity", "Content-Length: 5"), 400),
        (("Expect: something", "Content-Length: 5"), 417),
        (("Host: elsewhere", "Content-Length: 5"), 400),
        (("Authorization: Bearer x", "Content-Length: 5"), 400),
        (("Content-Type: text/plain", "Content-Type: application/json", "Content-Length: 5"), 400),
        (("Bad Name: x", "Content-Length: 5"), 400),
        (("Content-Length : 5",), 400),
    ],
)
def test_requests_whose_end_is_in_doubt_end_the_connection(tickets: Service, lines: tuple[str, ...], status: int) -> None:
    """The second request must not be taken for one: it may be the body of the first."""
    smuggled = headers(method="DELETE", path="/smuggled")
    answers = exchange(tickets.port, headers(*lines) + b"0\r\n\r\n" + smuggled)
    assert len(answers) == 1
    check_wire_errors(answers[0], status)
    assert answers[0].headers["connection"] == "close"
    assert "/smuggled" not in tickets.log()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n", b"GET /healthz\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", headers("Content-Length: -5") + b"abcde",
        headers("Content-Length: 5x") + b"abcde", headers("Content-Length: 99999999999999999999999") + b"abcde",
        headers("Content-Length:") + b"abcde", headers("Content-Length: 5, 5") + b"abcde",
        headers("Content-Type: application/json", "Transfer-Encoding: chunked") + b"ZZ\r\nabc\r\n0\r\n\r\n",
        headers("Content-Type: application/json", "Transfer-Encoding: chunked") + b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(9000)) + b"\r\n",
        b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, b"\x00" * 1000, b"\n" * 50000, b" " * 50000,
    ],
    ids=lambda request: repr(request)[-30:-1],
)  # fmt: skip
def test_what_is_no_request_is_refused_or_hung_up_on(tickets: Service, request_bytes: bytes) -> None:
    """Some of these are answered by the HTTP library in its own words: then the status is all that counts."""
    with Wire(tickets.port) as wire:
        try:
            wire.send(request_bytes)
            wire.end_sending()
        except OSError:
            pass  # it was refused before all of it was sent
        answer = wire.read_all()
    assert answer == b"" or re.match(rb"HTTP/1\.[01] (4\d\d|50[15]) ", answer), answer[:200]


@pytest.mark.deployed
def test_requests_in_one_packet_are_answered_in_their_order(tickets: Service) -> None:
    body, user = json.dumps({"title": "t", "price": 1}).encode(), new_id()
    create = headers("Content-Type: application/json", f"Content-Length: {len(body)}", user=user) + body
    look = headers(method="GET", path=f"{TICKETS}/mine", user=user)
    packet = create + look + headers(method="GET", path="/nowhere") + create + look
    answers = exchange(tickets.port, packet, 5, tickets.address)
    assert [answer.status for answer in answers] == [201, 200, 404, 201, 200]
    assert [len(answers[i].json) for i in (1, 4)] == [1, 2]


def test_old_clients_are_answered_and_hung_up_on(tickets: Service) -> None:
    answers = exchange(tickets.port, b"GET /healthz HTTP/1.0\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n")
    assert [answer.status for answer in answers] == [200]
    answers = exchange(tickets.port, headers("Connection: close", method="GET") + headers(method="GET"))
    assert [(answer.status, answer.headers["connection"].lower()) for answer in answers] == [(200, "close")]


# ---- slow, rude and confused clients ----


def slow_starts() -> dict[str, bytes]:
    body = ticket_of_size(1000)
    head = headers("Content-Type: application/json", f"Content-Length: {len(body)}")
    return {
        "first line": b"GE",
        "headers": head[:-2],
        "header name": head[:-2] + b"X-Slow",
        "body missing": head,
        "body half": head + body[:500],
        "chunk": headers("Content-Type: application/json", "Transfer-Encoding: chunked") + b"3e8\r\n{",
    }


@pytest.mark.parametrize("trickle", [False, True])
def test_requests_that_take_too_long_to_arrive_are_cut_off(system: System, trickle: bool) -> None:
    """A byte now and then does not help: what counts is when the whole request is there."""
    timeout_s = 2.0
    tickets = system.service("tickets", REQUEST_TIMEOUT_MS="2000")
    wires = {name: Wire(tickets.port) for name in slow_starts()}
    start = time.monotonic()
    for name, data in slow_starts().items():
        wires[name].send(data)
    ended: dict[str, float] = {}
    received = {name: b"" for name in wires}

    def all_ended() -> bool:
        for name in wires.keys() - ended.keys():
            wire = wires[name].socket
            wire.settimeout(0.001)
            try:
                if trickle:
                    wire.send(b" ")
                data = wire.recv(65536)
                received[name] += data
                if not data:
                    ended[name] = time.monotonic() - start
            except TimeoutError:
                pass
            except ConnectionError:
                ended[name] = time.monotonic() - start
        # Those who do not dawdle are served meanwhile.
        assert tickets.client().get("/healthz").status == 200
        return len(ended) == len(wires)

    wait_until(all_ended, "all slow connections are cut off")
    for name, seconds in ended.items():
        assert seconds >= timeout_s * 0.9, (name, seconds)
        if not trickle:
            # A client that goes on sending may lose the answer to the reset that it gets for that.
            assert received[name].startswith(b"HTTP/1.1 408 "), (name, received[name])
            assert b"Connection: close" in received[name]
            assert json.loads(received[name].split(b"\r\n\r\n", 1)[1])["errors"][0]["message"]
    check_unharmed(system.service("tickets"))
    check_unharmed(tickets)


def test_idle_connections_are_no_burden_and_are_not_cut_off_as_slow(system: System) -> None:
    tickets = system.service("tickets", REQUEST_TIMEOUT_MS="300")
    idle = [Wire(tickets.port) for _ in range(300)]
    keep_alive = tickets.client(token_of(USER))
    assert keep_alive.post(TICKETS, {"title": "t", "price": 1}).status == 201
    held = keep_alive.connection
    with Wire(tickets.port) as slow:
        slow.send(b"GET")
        answer = slow.read_answer()  # the moment when what is slow is cut off has come and gone
        assert answer is not None and answer.status == 408
    for wire in (idle[0], idle[150], idle[299]):
        wire.send(headers(method="GET"))
        answer = wire.read_answer()
        assert answer is not None and answer.status == 200
    assert keep_alive.get(TICKETS).status == 200 and keep_alive.connection is held
    for wire in idle:
        wire.close()
    check_unharmed(tickets)


def test_clients_that_hang_up_in_the_middle_leave_nothing_behind(tickets: Service) -> None:
    body = ticket_of_size(2000)
    whole = headers("Content-Type: application/json", f"Content-Length: {len(body)}") + body
    generator = random.Random(1)
    for i in range(200):
        wire = Wire(tickets.port)
        wire.send(whole[: generator.randrange(len(whole))])
        if i % 2:
            # A reset and not a goodbye.
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
    # Who hangs up before reading the answer has listed the ticket all the same.
    for _ in range(20):
        with Wire(tickets.port) as wire:
            wire.send(whole)
    client = tickets.client(token_of(USER))
    wait_until(lambda: len(client.get(TICKETS).json) == 20, "whole requests have been carried out, and only they")

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{tickets.pid}/fd"))

    client.close()
    wait_until(lambda: descriptors() < 60, "the connections are gone")


def test_a_storm_of_nonsense_is_survived_without_growing(tickets: Service) -> None:
    """Random bytes, damaged requests, and oversized ones, on many connections at once."""
    body = ticket_of_size(300)
    good = headers("Content-Type: application/json", f"Content-Length: {len(body)}") + body

    def storm(seed: int) -> None:
        generator = random.Random(seed)
        for _ in range(40):
            kind = generator.randrange(4)
            if kind == 0:
                data = generator.randbytes(generator.randrange(1, 3000))
            elif kind == 1:
                damaged = bytearray(good)
                for _ in range(generator.randrange(1, 10)):
                    damaged[generator.randrange(len(damaged))] = generator.randrange(256)
                data = bytes(damaged)
            elif kind == 2:
                data = good[: generator.randrange(len(good))] + generator.randbytes(50)
            else:
                data = headers("Content-Type: application/json", "Transfer-Encoding: chunked")
                data += chunked(generator.randbytes(200000))
            with Wire(tickets.port) as wire:
                try:
                    wire.send(data)
                    wire.end_sending()
                except OSError:
                    pass
                wire.read_all()

    def storms(first: int) -> None:
        threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(first, first + 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a connection hangs"

    storms(0)
    before = resident_bytes(tickets)
    for first in range(4, 16, 4):
        storms(first)
    if not SANITIZED:
        assert resident_bytes(tickets) - before < GROWTH_MAX // 4
        assert resident_bytes(tickets) < GROWTH_MAX
    check_unharmed(tickets)


def test_many_answers_do_not_make_it_grow(tickets: Service) -> None:
    client = tickets.client(token_of(USER))
    for i in range(100):
        assert client.post(TICKETS, {"title": f"{i} " + "🎟" * 190, "price": 1}).status == 201
    requests: list[tuple[Any, ...]] = [
        ("GET", f"{TICKETS}?limit=1000", None), ("POST", TICKETS, b"{"), ("POST", TICKETS, b" " * 65536),
        ("GET", "/nowhere", None), ("GET", f"{TICKETS}?q={'x' * 190}", None),
    ]  # fmt: skip

    def rounds(count: int) -> None:
        for _ in range(count):
            for request in requests:
                client.request(*request)

    rounds(100)
    before = resident_bytes(tickets)
    rounds(300)
    if not SANITIZED:
        assert resident_bytes(tickets) - before < 4 << 20


def test_more_requests_than_workers_wait_their_turn(system: System) -> None:
    tickets = system.service("tickets", WORKERS="1")
    def call(i: int) -> int:
        client: Client = tickets.client(token_of(USER))
        return client.post(TICKETS, {"title": f"{i}", "price": 1}).status

    assert at_once(100, call) == [201] * 100
    assert len(tickets.client().get(f"{TICKETS}?limit=1000").json) == 100
