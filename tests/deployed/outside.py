# SPDX-License-Identifier: Apache-2.0
"""What the system looks like from outside: the tour with curl, and what its ingress must let through, and what not."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubectl import Failure, wait_for
from traffic import Address

ROOT = Path(__file__).resolve().parents[2]
TOUR = ROOT / "infra" / "local" / "tour.sh"
TOUR_ADDRESS = "U=http://localhost:8080\n"
TOUR_SECONDS_MAX = 120
ANSWER_SECONDS_MAX = 20.0
EVENTS_SECONDS_MAX = 60.0
BODY_BYTES_MAX = 64 * 1024
SHOWN_BYTES_MAX = 200
# Only those inside the cluster may ask for these, by whatever detour.
HIDDEN = ("metrics", "healthz", "readyz")
DETOURS = ("/{}", "//{}", "/{}/", "/./{}", "/api/../{}", "/api/users/../../{}", "/api/tickets/%2e%2e/%2e%2e/{}",
           "/api/tickets/..%2f..%2f{}", "/api/{}")
# What the services answer anybody: nobody is signed in.
ANSWERS = {"/api/users/currentuser": 200, "/api/tickets": 200, "/api/orders": 401}
REFUSED = (400, 401, 403, 404, 405)


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def __str__(self) -> str:
        return f"{self.status} {self.body[:SHOWN_BYTES_MAX]!r}"

    def is_error(self) -> bool:
        """In the errors format?"""
        try:
            return all(isinstance(error["message"], str) for error in json.loads(self.body)["errors"])
        except (ValueError, KeyError, TypeError):
            return False


class Outside:
    """Asks the ingress, each time by a connection of its own; paths are sent as they are."""

    def __init__(self, plain: Address, tls: Address):
        self.plain = plain
        self.tls = tls

    def ask(self, method: str, path: str, body: bytes = b"", host: str | None = None, token: str = "") -> Answer:
        connection = http.client.HTTPConnection(self.plain.machine, self.plain.port, timeout=ANSWER_SECONDS_MAX)
        return self._ask(connection, method, path, body, host or self.plain.host_header, token)

    def ask_tls(self, path: str) -> Answer:
        """Whoever signed the certificate."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = _NamedHTTPSConnection(self.tls, context)
        return self._ask(connection, "GET", path, b"", self.tls.host)

    @staticmethod
    def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes, host: str,
             token: str = "") -> Answer:
        try:
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", host)
            connection.putheader("Connection", "close")
            if token:
                connection.putheader("Authorization", f"Bearer {token}")
            if body:
                connection.putheader("Content-Type", "application/json")
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as problem:
            raise Failure(f"{method} {path} through the ingress: {problem!r}") from problem
        finally:
            connection.close()

    def answers(self) -> bool:
        """Of each service, an answer that only it can have given."""
        try:
            return all(self.ask("GET", path).status == status for path, status in ANSWERS.items())
        except Failure:
            return False


    def wait_for_events(self) -> None:
        """Until orders has heard of a ticket. A pod is ready before it has found the bus; who takes the tour should not be
        the one who waits for the first leader of a cluster."""
        account = self._make("/api/users/signup", {"email": f"events-{uuid.uuid4().hex}@example.com", "password": "a secret"})
        ticket = self._make("/api/tickets", {"title": "Events", "price": 1}, account["token"])["id"]
        body = json.dumps({"ticketId": ticket}).encode()
        wait_for(lambda: self.ask("POST", "/api/orders", body, token=account["token"]).status == http.HTTPStatus.CREATED,
                 "orders hears of a ticket", EVENTS_SECONDS_MAX)

    def _make(self, path: str, what: dict[str, Any], token: str = "") -> Any:
        answer = self.ask("POST", path, json.dumps(what).encode(), token=token)
        if answer.status != http.HTTPStatus.CREATED:
            raise Failure(f"POST {path}: {answer}")
        return json.loads(answer.body)


class _NamedHTTPSConnection(http.client.HTTPSConnection):
    """To an address, in the name of a host."""

    def __init__(self, address: Address, context: ssl.SSLContext):
        super().__init__(address.machine, address.port, timeout=ANSWER_SECONDS_MAX, context=context)
        self._name = address.host
        self._tls = context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def check_outside(outside: Outside) -> int:
    """Returns how many questions were asked."""
    found: list[str] = []
    asked = 0

    def expect(what: str, answer: Answer, is_right: bool) -> None:
        nonlocal asked
        asked += 1
        if not is_right:
            found.append(f"{what}: {answer}")

    for name in HIDDEN:
        for detour in DETOURS:
            answer = outside.ask("GET", detour.format(name))
            expect(f"GET {detour.format(name)}", answer, answer.status in REFUSED)
    for method, path in (("GET", "/api"), ("GET", "/api/nothing"), ("POST", "/api/nothing"), ("GET", "/api/usersandmore")):
        answer = outside.ask(method, path)
        expect(f"{method} {path}", answer, answer.status == http.HTTPStatus.NOT_FOUND and answer.is_error())
    answer = outside.ask("POST", "/api/users/signup", b"x" * (BODY_BYTES_MAX + 1))
    expect("a large body", answer, answer.status == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE and answer.is_error())
    answer = outside.ask("POST", "/api/users/signin", b"{")
    expect("malformed JSON", answer, answer.status == http.HTTPStatus.BAD_REQUEST and answer.is_error())
    answer = outside.ask("GET", "/api/tickets", host=f"elsewhere.{outside.plain.host}")
    expect("another host", answer, answer.status == http.HTTPStatus.NOT_FOUND)
    answer = outside.ask_tls("/api/tickets")
    expect("https", answer, answer.status == http.HTTPStatus.OK)
    if found:
        raise Failure("\n".join(found))
    return asked


def take_tour(address: Address, folder: Path) -> None:
    """What the README tells to paste, with the ingress in place of nginx."""
    text = TOUR.read_text()
    assert TOUR_ADDRESS in text, f"{TOUR} has changed"
    tour = text.replace(TOUR_ADDRESS, f"U=http://{address.host_header}\n")
    (folder / ".curlrc").write_text(f'resolve = "{address.host}:{address.port}:{address.machine}"\nnoproxy = "*"\n')
    result = subprocess.run(["bash", "-c", tour], cwd=folder, capture_output=True, text=True, timeout=TOUR_SECONDS_MAX,
                            env={**os.environ, "CURL_HOME": str(folder)})
    lines = [line for line in result.stdout.splitlines() if line]
    if result.returncode != 0 or result.stderr or not _is_tour(lines):
        raise Failure(f"the tour does not do what it says (exit status {result.returncode}):\n"
                      f"{result.stdout}{result.stderr}")


def _is_tour(lines: list[str]) -> bool:
    try:
        seller, buyer, listed, changed, order, reserved, cancelled, afterwards = (json.loads(line) for line in lines)
        ticket: dict[str, Any] = listed
        return ({"id", "email", "token"} == set(seller) == set(buyer)
                and (ticket["price"], ticket["version"]) == (20, 1)
                and (changed["price"], changed["version"]) == (25.5, 2)
                and order["status"] == "created"
                and order["ticket"] == {"id": ticket["id"], "title": ticket["title"], "price": 25.5}
                and reserved == []
                and cancelled == http.HTTPStatus.NO_CONTENT
                and [each["id"] for each in afterwards] == [ticket["id"]])
    except (ValueError, KeyError, TypeError):
        return False
