# SPDX-License-Identifier: Apache-2.0
"""Traffic of which no request may fail: people look, list, change, reserve and cancel through the ingress, each at what
is their own, so that it is known what every answer has to be.

Half of them keep their connection to the ingress, as browsers do; the others make a new one for each request, as curl
does. Whatever they do is answered by a service, so a replica that goes while it still gets requests shows at once.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kubectl import Failure

PASSWORD = "password"
ANSWER_SECONDS_MAX = 20.0
KNOWN_SECONDS_MAX = 60.0
SHOWN_BYTES_MAX = 300
KEEPING, CLOSING = "kept connections", "a connection each"


@dataclass(frozen=True)
class Address:
    """Where the ingress listens, and the host for which it passes requests on."""

    machine: str
    port: int
    host: str

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.machine, self.port, timeout=ANSWER_SECONDS_MAX)

    @property
    def host_header(self) -> str:
        return self.host if self.port == http.client.HTTP_PORT else f"{self.host}:{self.port}"


class Unexpected(Failure):
    """An answer that should not have come, or none."""


class Person:
    """Somebody with an account, a ticket that is changed, and one that is reserved and freed again."""

    def __init__(self, address: Address, number: int, keeps: bool, run: str):
        self.kind = KEEPING if keeps else CLOSING
        self._address = address
        self._keeps = keeps
        self._connection: http.client.HTTPConnection | None = None
        self._token = ""
        self._email = f"{run}-{number}@example.com"
        self._ticket = ""
        self._reserved = ""
        self._order = ""
        self._numbers = itertools.count(1)

    def begin(self) -> None:
        """Signs up, lists two tickets, and waits until they can be reserved."""
        account = {"email": self._email, "password": PASSWORD}
        self._token = self._ask("POST", "/api/users/signup", 201, account)["token"]
        self._ticket, self._reserved = (self._ask("POST", "/api/tickets", 201, {"title": "Concert", "price": 20})["id"]
                                        for _ in range(2))
        deadline = time.monotonic() + KNOWN_SECONDS_MAX
        while not self._order:
            try:
                self._reserve()
            except Unexpected:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def errands(self) -> Iterator[Callable[[], Any]]:
        """What it does, over and over: two reads for each write."""
        for number in self._numbers:
            yield lambda: self._ask("GET", "/api/tickets?limit=20", 200)
            yield lambda: self._ask("POST", "/api/tickets", 201, {"title": "Match", "price": 10})
            yield lambda: self._ask("GET", f"/api/tickets/{self._ticket}", 200)
            yield self._cancel
            yield lambda: self._ask("GET", "/api/orders?limit=20", 200)
            yield lambda: self._ask("PUT", f"/api/tickets/{self._ticket}", 200, {"title": "Concert", "price": number})
            yield lambda: self._ask("GET", "/api/users/currentuser", 200)
            yield self._reserve
            yield lambda: self._ask("GET", f"/api/orders/{self._order}", 200)
            # A password is expensive to check, on purpose.
            yield lambda: self._ask("POST", "/api/users/signin", 200, {"email": self._email, "password": PASSWORD})

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _reserve(self) -> None:
        self._order = self._ask("POST", "/api/orders", 201, {"ticketId": self._reserved})["id"]

    def _cancel(self) -> None:
        self._ask("DELETE", f"/api/orders/{self._order}", 204)

    def _ask(self, method: str, path: str, expected: int, body: Any = None) -> Any:
        headers = {"Host": self._address.host_header}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        if not self._keeps:
            headers["Connection"] = "close"
        if self._connection is None:
            self._connection = self._address.connection()
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as problem:
            self.close()
            raise Unexpected(f"{method} {path}: {problem!r}") from problem
        if response.will_close or not self._keeps:
            self.close()
        if response.status != expected:
            raise Unexpected(f"{method} {path}: {response.status} {text[:SHOWN_BYTES_MAX]!r}")
        return json.loads(text) if text else None


@dataclass
class Traffic:
    """Runs from `start` to `stop`, so many requests a second of all people together."""

    address: Address
    run: str
    people: int
    rate: float
    answered: Counter[str] = field(default_factory=Counter)  # by kind of connection
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Returns when everybody is at it."""
        everybody = [Person(self.address, number, number % 2 == 0, self.run) for number in range(self.people)]
        for person in everybody:
            person.begin()
        for person in everybody:
            thread = threading.Thread(target=self._live, args=(person,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def count(self) -> int:
        with self._lock:
            return sum(self.answered.values()) + len(self.failures)

    def _live(self, person: Person) -> None:
        pause = self.people / self.rate
        for errand in person.errands():
            if self._stopping.wait(pause):
                break
            begun = time.monotonic()
            failure = None
            try:
                errand()
            except Unexpected as problem:
                failure = f"{time.strftime('%H:%M:%S')} {person.kind}: {problem}"
            with self._lock:
                self.slowest = max(self.slowest, time.monotonic() - begun)
                if failure:
                    self.failures.append(failure)
                else:
                    self.answered[person.kind] += 1
        person.close()
