# SPDX-License-Identifier: Apache-2.0
"""nginx in front of the services: what it passes on, what it answers itself, and what it does when an instance is gone."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import DEPLOYMENT
from runner_support import Front, House, house, wait_until


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    if DEPLOYMENT:
        from deployed import DeployedFront

        yield DeployedFront()
        return
    with house(tmp_path_factory.mktemp("ingress")) as home:
        home.up()
        yield home


def answer_to(home: Front, request: bytes) -> tuple[int, str, Any]:
    head, _, body = home.exchange(request).partition(b"\r\n\r\n")
    content_type = re.search(rb"^Content-Type: (.*?)\r?$", head, re.MULTILINE)
    return int(head.split()[1]), content_type.group(1).decode() if content_type else "", json.loads(body)


def assert_error(answer: tuple[int, str, Any], status: int) -> None:
    assert answer[0] == status
    assert answer[1] == "application/json"
    assert list(answer[2]) == ["errors"]
    [error] = answer[2]["errors"]
    assert list(error) == ["message"] and error["message"]


def request(line: str, *headers: str, body: str = "") -> bytes:
    return "\r\n".join([line, "Host: localhost", "Connection: close", *headers, "", body]).encode("latin-1")


@pytest.mark.deployed("nginx")
@pytest.mark.parametrize("status, sent", [
    (404, request("GET / HTTP/1.1")),
    (404, request("GET /api/ticketsx HTTP/1.1")),
    (404, request("GET /api HTTP/1.1")),
    (404, request("GET //api/tickets HTTP/1.1")),
    (404, request("GET /metrics HTTP/1.1")),
    (404, request("GET /api/tickets/../../metrics HTTP/1.1")),
    (404, request("GET /api/tickets/%2e%2e/%2e%2e/metrics HTTP/1.1")),
    (404, request("GET /api/tickets/..%2f..%2fmetrics HTTP/1.1")),
    (404, request("GET /ingress-error HTTP/1.1")),
    (404, request("DELETE /nowhere HTTP/1.1")),
    (400, request("GET /api/tickets/%00 HTTP/1.1")),
    (400, request("GET /api/tickets/a%00b HTTP/1.1")),
    (400, request("GET /api/tickets/%zz HTTP/1.1")),
    (400, request("GET /../../etc/passwd HTTP/1.1")),
    (400, b"GET /api/tickets HTTP/1.1\r\nConnection: close\r\n\r\n"),
    (400, b"NONSENSE\r\n\r\n"),
    (400, request("GET /api/tickets HTTP/1.1", "Content-Length: -1")),
    (400, request("GET /api/tickets HTTP/1.1", "Content-Length: 1", "Content-Length: 2")),
    (400, request("POST /api/tickets HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked")),
    (400, request("POST /api/tickets HTTP/1.1", "Transfer-Encoding: chunked", body="zz\r\n")),
    (405, request("TRACE /api/tickets HTTP/1.1")),
    (413, request("POST /api/tickets HTTP/1.1", "Content-Length: 65537")),
    (413, request("POST /api/tickets HTTP/1.1", "Transfer-Encoding: chunked",
                  body="10001\r\n" + "x" * 65537 + "\r\n0\r\n\r\n")),
    (414, request("GET /api/tickets?" + "x" * 9000 + " HTTP/1.1")),
    (431, request("GET /api/tickets HTTP/1.1", "X-Large: " + "x" * 9000)),
    (431, request("GET /api/tickets HTTP/1.1", *(f"X-Large-{n}: " + "x" * 7000 for n in range(4)))),
    (501, request("POST /api/tickets HTTP/1.1", "Transfer-Encoding: gzip")),
    (505, request("GET /api/tickets HTTP/3.0")),
], ids=lambda value: str(value) if isinstance(value, int) else value[:40].decode("latin-1").split("\r")[0])
def test_its_own_errors_are_in_the_errors_format(home: Front, status: int, sent: bytes) -> None:
    assert_error(answer_to(home, sent), status)


@pytest.mark.deployed("nginx")
def test_a_method_that_it_refuses_itself_is_answered_with_those_that_may_do(home: Front) -> None:
    def allow(line: str) -> list[bytes]:
        return re.findall(rb"^Allow: (.*?)\r?$", home.exchange(request(line)), re.MULTILINE)

    for path in ("/api/tickets", "/nowhere"):
        assert allow(f"TRACE {path} HTTP/1.1") == [b"GET, HEAD, POST, PUT, DELETE, OPTIONS"]
    # Other errors, and what a service answers, go without.
    assert allow("GET /nowhere HTTP/1.1") == allow("GET /api/tickets/teapot HTTP/1.1") == []


@pytest.mark.deployed("nginx")
def test_a_head_request_gets_no_body_with_its_error(home: Front) -> None:
    answer = home.exchange(request("HEAD /nowhere HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.deployed("nginx")
def test_it_does_not_say_which_version_it_is(home: Front) -> None:
    assert re.search(rb"^Server: nginx\r$", home.exchange(request("GET / HTTP/1.1")), re.MULTILINE)


def test_what_a_service_answers_is_passed_on_as_it_is(home: House) -> None:
    status, _, body = home.fetch("/api/tickets/teapot")
    assert status == 418
    assert json.loads(body)["name"] == "tickets"


def test_the_path_is_passed_on_as_it_came(home: House) -> None:
    path = "/api/tickets/a%2Fb/../%41//c?q=%20%00&x=1"
    assert answer_to(home, request(f"GET {path} HTTP/1.1"))[2]["path"] == path


@pytest.mark.parametrize("size", [0, 1, 65536])
def test_a_body_of_up_to_64_kib_is_passed_on(home: House, size: int) -> None:
    status, _, body = home.fetch("/api/tickets", "POST", b"x" * size)
    assert (status, json.loads(body)["length"]) == (200, size)


def test_the_address_that_a_client_claims_is_overwritten(home: House) -> None:
    headers = json.loads(home.fetch("/api/tickets", headers={"X-Forwarded-For": "6.6.6.6"})[2])["headers"]
    assert headers["X-Forwarded-For"] == "127.0.0.1"


def test_the_host_is_passed_on_with_its_port(home: House) -> None:
    headers = json.loads(home.fetch("/api/tickets", headers={"Host": "ticketing.dev:1234"})[2])["headers"]
    assert headers["Host"] == "ticketing.dev:1234"


def test_a_request_keeps_its_name_or_is_given_one(home: House) -> None:
    def name_given(name: str) -> str:
        return json.loads(home.fetch("/api/tickets", headers={"X-Request-Id": name})[2])["headers"]["X-Request-Id"]

    for name in ("abc-1.2_3", "x" * 64):
        assert name_given(name) == name
    for odd in ("", "two words", "x" * 65, '"quoted"', "a:b"):
        assert re.fullmatch("[0-9a-f]{32}", name_given(odd))


def test_a_service_that_hangs_up_is_a_502(home: House) -> None:
    assert_error(answer_to(home, request("GET /api/tickets/drop HTTP/1.1")), 502)


def test_no_request_that_was_sent_is_repeated_unless_its_method_allows_it(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        home.up(SCALE="2")
        for method in ("POST", "PUT", "DELETE", "GET"):
            assert home.fetch("/api/tickets/drop", method, b"")[0] == 502
        tries = home.record.read_text().split()
        assert tries.count("POST") == 1
        assert tries.count("GET") == 2


def test_every_method_goes_to_the_next_instance_while_one_refuses(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        home.up(SCALE="2")
        # It cannot come back, so that its port stays closed.
        (home.build / "tickets").unlink()
        os.kill(home.pid("tickets-1"), signal.SIGKILL)
        wait_until(lambda: "tickets-1 was killed" in home.log("turnstile"), "the death was not noticed")
        for method in ("POST", "PUT", "DELETE", "GET") * 4:
            status, _, body = home.fetch("/api/tickets", method, b"x")
            assert (status, json.loads(body)["client"]) == (200, "tickets-2")
        os.kill(home.pid("tickets-2"), signal.SIGKILL)
        wait_until(lambda: "tickets-2 was killed" in home.log("turnstile"), "the death was not noticed")
        assert_error(answer_to(home, request("POST /api/tickets HTTP/1.1", "Content-Length: 0")), 502)
        assert home.fetch("/api/orders")[0] == 200
