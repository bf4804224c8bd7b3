# SPDX-License-Identifier: Apache-2.0
"""The whole of it, as `make up` runs it, or as it is deployed: the real services, two of each, behind an ingress."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import SqliteStores, Stores
from harness import BUILD, DEPLOYMENT, INGRESS_HOST, JWT_KEY, SANITIZER_REPORT, Client, wait_until
from replicas import published, wait_replicas_equal
from runner_support import ROOT, Front, House, house
from wire import WireAnswer, at_once, claims_of, exchange, sign, token_of

SELLER = "5e11e45e11e45e11e45e11e4"
BUYERS = [f"b{number:023x}" for number in range(50)]


class LocalMarket:
    """As `make up` has started it."""

    def __init__(self, home: House):
        self.front: Front = home
        self.stores: Stores = SqliteStores(home.run_dir)
        self.tour = tour_of(home.said)
        assert f"U=http://localhost:{home.http_port}" in self.tour
        self.address = f"http://localhost:{home.http_port}"
        self.environment: dict[str, str] = {}
        self._home = home

    def kill(self, name: str) -> None:
        """Waits until it is started again."""
        pid = self._home.pid(name)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self._home.pids().get(name) not in (None, pid), f"{name} is started again")

    def log(self, service: str) -> str:
        return "".join(log.read_text(errors="replace") for log in self._home.run_dir.glob(f"{service}-*.log*"))


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Up, with two instances of each service; their logs are looked through at the end."""
    folder = tmp_path_factory.mktemp("whole")
    if DEPLOYMENT:
        from deployed import DeployedMarket, deployed_system

        with deployed_system(folder) as system:
            yield DeployedMarket(system)
        return
    with house(folder, BUILD) as home:
        home.said = home.up(SCALE="2", JWT_KEY=JWT_KEY, SIGNUPS_PER_MINUTE="100000", REQUEST_TIMEOUT_MS="5000")
        yield LocalMarket(home)
        home.down()
        for log in home.run_dir.glob("*.log*"):
            text = log.read_text(errors="replace")
            assert not SANITIZER_REPORT.search(text), f"{log.name}: {text[-6000:]}"


def client(market: Any, user: str | None = None) -> Client:
    front = market.front
    return Client(front.http_port, token_of(user) if user else None, front.address, INGRESS_HOST)


def list_ticket(market: Any, title: str = "Concert") -> str:
    answer = client(market, SELLER).post("/api/tickets", {"title": title, "price": 20})
    assert answer.status == 201, answer.body
    return str(answer.json["id"])


def reserve(market: Any, buyer: str, ticket: str) -> Any:
    """As soon as orders knows the ticket."""

    def order() -> Any:
        answer = client(market, buyer).post("/api/orders", {"ticketId": ticket})
        return answer if answer.status != 404 else None

    answer = wait_until(order, "orders knows the ticket")
    assert answer.status == 201, answer.body
    return answer.json


# ---- the tour ----


def tour_of(said: str) -> str:
    """What `make up` tells to paste: the indented lines."""
    return "\n".join(line[4:] for line in said.splitlines() if line.startswith("    "))


def paste(market: Any, script: str, folder: Path) -> list[str]:
    """Into a shell; the lines that it prints."""
    result = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120,
                            env={**os.environ, **market.environment})
    assert result.returncode == 0 and not result.stderr, result.stderr
    return [line for line in result.stdout.splitlines() if line]


@pytest.mark.deployed
def test_the_tour_that_make_up_prints_does_what_it_says(market: Any, tmp_path: Path) -> None:
    for _ in range(2):  # it can be pasted more than once
        lines = paste(market, market.tour, tmp_path)
        seller, buyer, listed, changed, order, while_reserved, cancelled, afterwards = lines
        assert {"id", "email", "token"} == set(json.loads(seller)) == set(json.loads(buyer))
        ticket = json.loads(listed)
        assert (ticket["price"], ticket["version"]) == (20, 1)
        assert (json.loads(changed)["price"], json.loads(changed)["version"]) == (25.5, 2)
        assert json.loads(order)["status"] == "created"
        assert json.loads(order)["ticket"] == {"id": ticket["id"], "title": ticket["title"], "price": 25.5}
        assert json.loads(while_reserved) == []
        assert cancelled == "204"
        assert [each["id"] for each in json.loads(afterwards)] == [ticket["id"]]


@pytest.mark.deployed
def test_the_examples_of_the_api_do_what_they_say(market: Any, tmp_path: Path) -> None:
    page = (ROOT / "docs/API.md").read_text()
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert "api=http://localhost:8080/api" in script
    script = script.replace("http://localhost:8080", market.address)
    script = script.replace("\ncurl", "\necho; curl")  # answers do not end with a newline
    for _ in range(2):  # they can be pasted more than once
        lines = paste(market, script, tmp_path)
        ticket, found, refused = (json.loads(lines[place]) for place in (0, -2, -1))
        assert (ticket["title"], ticket["price"], ticket["version"]) == ("Concert", 19.5, 1)
        assert "HTTP/1.1 200 OK" in lines and isinstance(found, list)
        assert [error["field"] for error in refused["errors"]] == ["title", "price"]


# ---- one winner ----


@pytest.mark.deployed
def test_of_50_buyers_one_gets_the_ticket(market: Any) -> None:
    for _ in range(3):
        ticket = list_ticket(market)
        first = reserve(market, BUYERS[0], ticket)
        assert client(market, BUYERS[0]).delete(f"/api/orders/{first['id']}").status == 204
        statuses = at_once(
            len(BUYERS), lambda i: client(market, BUYERS[i]).post("/api/orders", {"ticketId": ticket}).status
        )
        assert sorted(statuses) == [201] + [409] * 49


# ---- what is killed comes back ----


@pytest.mark.parametrize("name", ["tickets-1", "orders-2", "auth-1", "nats", "nginx"])
def test_whatever_is_killed_comes_back_and_nothing_is_lost(market: Any, name: str) -> None:
    before = list_ticket(market)
    market.kill(name)

    def lists() -> str | None:
        try:
            answer = client(market, SELLER).post("/api/tickets", {"title": "Concert", "price": 20})
        except OSError:
            return None
        return str(answer.json["id"]) if answer.status == 201 else None

    after = wait_until(lists, "tickets can be listed again")
    for ticket in (before, after):
        order = reserve(market, BUYERS[1], ticket)
        wait_until(
            lambda: client(market).get(f"/api/tickets/{ticket}").json.get("orderId") == order["id"], "it is reserved"
        )


# ---- bad requests, through nginx ----


def request(method: str, path: str, *lines: str, body: bytes = b"", token: str | None = None) -> bytes:
    authorization = [f"Authorization: Bearer {token}"] if token else []
    head = [f"{method} {path} HTTP/1.1", f"Host: {INGRESS_HOST}", "Connection: close", *authorization, *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def create(body: bytes, content_type: str = "application/json", token: str | None = None) -> bytes:
    lines = (f"Content-Type: {content_type}", f"Content-Length: {len(body)}")
    return request("POST", "/api/tickets", *lines, body=body, token=token or token_of(SELLER))


def unsigned() -> str:
    header, claims, _ = sign({"alg": "none", "typ": "JWT"}, claims_of(SELLER)).split(".")
    return f"{header}.{claims}."


def tampered() -> str:
    header, claims, signature = token_of(SELLER).split(".")
    other = base64.urlsafe_b64encode(json.dumps(claims_of(BUYERS[0])).encode()).rstrip(b"=").decode()
    return f"{header}.{other}.{signature}"


GOOD = b'{"title":"Concert","price":20}'
CHUNKED = "Transfer-Encoding: chunked"
JSON = "Content-Type: application/json"
OVERSIZE = b"10001\r\n" + b"x" * 65537 + b"\r\n0\r\n\r\n"

BAD: dict[str, tuple[int, bytes]] = {
    "malformed JSON": (400, create(b'{"title":')),
    "invalid UTF-8": (400, create(b'{"title":"\xff","price":1}')),
    "a duplicate key": (400, create(b'{"title":"a","title":"b","price":1}')),
    "invalid fields": (400, create(b'{"title":" ","price":-1}')),
    "no token": (401, request("POST", "/api/tickets", JSON, f"Content-Length: {len(GOOD)}", body=GOOD)),
    "alg=none": (401, create(GOOD, token=unsigned())),
    "HS512": (401, create(GOOD, token=sign({"alg": "HS512", "typ": "JWT"}, claims_of(SELLER), digest="sha512"))),
    "another key": (401, create(GOOD, token=token_of(SELLER, key="another key, but long enough, 0123456789"))),
    "an expired token": (401, create(GOOD, token=token_of(SELLER, exp=1))),
    "a tampered token": (401, create(GOOD, token=tampered())),
    "an unknown route": (404, request("GET", "/api/tickets/a/b")),
    "an unknown prefix": (404, request("GET", "/api/nothing")),
    "no id": (404, request("GET", "/api/tickets/nonsense")),
    "a wrong method": (405, request("PATCH", "/api/tickets", "Content-Length: 0", token=token_of(SELLER))),
    "a declared oversize": (413, request("POST", "/api/tickets", JSON, "Content-Length: 65537", token=token_of(SELLER))),
    "a chunked oversize": (413, request("POST", "/api/tickets", JSON, CHUNKED, body=OVERSIZE, token=token_of(SELLER))),
    "a wrong type": (415, create(GOOD, "text/plain")),
    "%00 in a path": (400, request("GET", "/api/tickets/%00")),
    "a broken escape in a query": (400, request("GET", "/api/tickets?q=%zz")),
    "a parameter twice": (400, request("GET", "/api/tickets?limit=1&limit=2")),
    "a limit out of range": (400, request("GET", "/api/tickets?limit=1001")),
}


@pytest.mark.deployed
@pytest.mark.parametrize("what", BAD)
def test_bad_requests_get_their_status_through_nginx_and_harm_nothing(market: Any, what: str) -> None:
    status, sent = BAD[what]
    answers: list[WireAnswer] = exchange(market.front.http_port, sent, address=market.front.address)
    assert [answer.status for answer in answers] == [status], [answer.body for answer in answers]
    assert answers[0].headers["content-type"] == "application/json"
    assert all(error["message"] for error in answers[0].json["errors"])
    if status == 405:
        assert answers[0].headers["allow"]
    assert client(market).get("/api/tickets?limit=1").status == 200


def test_a_slow_client_is_answered_in_time_or_cut_off_and_others_are_served(market: Any) -> None:
    head = f"POST /api/tickets HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 100\r\n\r\n".encode()
    answers = exchange(market.front.http_port, head + b"{")  # and no more: waits until the other side closes
    assert [answer.status for answer in answers] in ([408], [401], [])
    assert client(market).get("/api/tickets?limit=1").status == 200


@pytest.mark.deployed
def test_after_all_of_this_orders_knows_what_tickets_has_and_applied_nothing_twice(market: Any) -> None:
    wait_replicas_equal(market.stores)
    assert len(published(market.stores, "tickets")) > 5, "those of the tests above"
    applied = re.findall(r"Applied (ticket/[0-9a-f]{24}/\d+)", market.log("orders"))
    assert applied and len(set(applied)) == len(applied)
