# SPDX-License-Identifier: Apache-2.0
"""The load: several people list, change, reserve and cancel, each request to an instance at random.

Two threads share each account, so that they race for its tickets; everybody goes after the tickets that are new. A
create whose outcome stayed unknown is sometimes repeated under its Idempotency-Key, as a careful client would.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from harness import Client, Response
from journal import DONE, UNKNOWN, Answer, Journal

HOT_TICKETS = 24
OWN_TICKETS = 8
ORDERS_KEPT = 12
ANSWER_SECONDS_MAX = 8.0
SIGN_UPS_MAX = 5  # before it is given up
PASSWORD = "password"
Actions = tuple[tuple[str, int], ...]
ACTIONS: Actions = (("create", 20), ("edit", 36), ("reserve", 24), ("cancel", 18), ("sign-up", 1), ("look", 4))


class Account:
    """One user, and what is known of its things; shared by two threads."""

    def __init__(self, user: str, token: str):
        self.user = user
        self.token = token
        self.tickets: deque[str] = deque(maxlen=OWN_TICKETS)
        self.orders: deque[str] = deque(maxlen=ORDERS_KEPT)


# Makes the client of a port for the owner of a token, who waits for so many seconds.
Connect = Callable[[int, "str | None", float], Client]


def connect_here(port: int, token: str | None, seconds: float) -> Client:
    return Client(port, token, seconds=seconds)


class Load:
    def __init__(self, ports: dict[str, list[int]], journal: Journal, seed: int, accounts: int, rate: float,
                 connect: Connect = connect_here, mark: str = "", actions: Actions = ACTIONS):
        """`ports`: of the instances of each service. `rate`: requests a second, all threads together. `mark`: makes the
        users different from those of other loads on the same system. `actions`: what they do, and how often."""
        self._ports = ports
        self._journal = journal
        self._connect = connect
        self._mark = mark
        self._actions = actions
        self._stopping = threading.Event()
        self._hot: deque[str] = deque(maxlen=HOT_TICKETS)
        self._seed = seed
        self._accounts = accounts
        self._pause = 2 * accounts / rate
        self._threads: list[threading.Thread] = []
        self.problems: list[str] = []
        self.looked = 0

    def start(self) -> None:
        """Signs the users up, and lets them go to work."""
        for number in range(self._accounts):
            first = Worker(self, random.Random(f"{self._seed} account {number}"), None, self._ports)
            account = self._account = first.sign_up_for_sure(f"user{number}")
            for half in range(2):
                worker = Worker(self, random.Random(f"{self._seed} worker {number} {half}"), account, self._ports)
                thread = threading.Thread(target=self._run, args=(worker,), name=f"load-{number}-{half}", daemon=True)
                self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Asks the threads to end: after the request that they are at."""
        self._stopping.set()

    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def canary(self, number: int) -> "Canary":
        """A stay-at-home among the users: only to the instances of this number, from 0."""
        ports = {service: [ports[number]] for service, ports in self._ports.items()}
        return Canary(Worker(self, random.Random(f"{self._seed} canary {number}"), self._account, ports))

    def _run(self, worker: "Worker") -> None:
        try:
            while not self._stopping.wait(worker.random.uniform(0.2, 1.8) * self._pause):
                worker.act()
        except Exception as problem:  # a fault of the tests' own: it is to be seen, not to end the load silently
            self.problems.append(f"{threading.current_thread().name}: {problem!r}")
            raise


class Worker:
    def __init__(self, load: Load, rng: random.Random, account: Account | None, ports: dict[str, list[int]]):
        self.random = rng
        self._ports = ports
        self._load = load
        self._account = account
        self._clients: dict[int, Client] = {}
        self._repeat: tuple[str, str, dict[str, Any]] | None = None

    def act(self) -> None:
        names, weights = zip(*self._load._actions)
        action = self.random.choices(names, weights)[0]
        if self._repeat is not None and self.random.random() < 0.5:
            kind, key, asked = self._repeat
            self._repeat = None
            self.create(kind, key, asked)
        elif action == "create":
            self.create("create", self._new_key(), {"title": self._title(), "price": self._price()})
        elif action == "edit":
            self._edit()
        elif action == "reserve" and self._load._hot:
            ticket = self.random.choice(list(self._load._hot))
            self.create("reserve", self._new_key(), {"ticketId": ticket})
        elif action == "cancel":
            self._cancel()
        elif action == "sign-up":
            self._sign_up(f"{self.random.getrandbits(64):016x}{self._load._mark}@example.com")
        elif action == "look":
            self._look()

    def sign_up_for_sure(self, name: str) -> Account:
        """Whoever is told by a busy machine to come back later does, under another address: perhaps the first is taken now."""
        for attempt in range(SIGN_UPS_MAX):
            answer = self._sign_up(f"{name}{f'-{attempt}' if attempt else ''}{self._load._mark}@example.com")
            if answer.outcome == DONE:
                return Account(answer.body["id"], answer.body["token"])
            if answer.outcome != UNKNOWN:
                break
        raise AssertionError(f"{name} could not be signed up before anything went wrong: {answer}")

    # ---- what people do ----

    def create(self, kind: str, key: str, asked: dict[str, Any]) -> Answer:
        assert self._account is not None
        service = "tickets" if kind == "create" else "orders"
        answer = self._send(kind, service, "POST", f"/api/{service}", asked, key=key)
        if answer.outcome == DONE:
            answer.id = answer.body["id"]
            (self._account.tickets if kind == "create" else self._account.orders).append(answer.id)
            if kind == "create":
                self._load._hot.append(answer.id)
        elif answer.outcome == UNKNOWN and key:
            self._repeat = (kind, key, asked)
        self._load._journal.add(answer)
        return answer

    def _edit(self) -> None:
        assert self._account is not None
        tickets = list(self._account.tickets)
        if tickets:
            ticket = self.random.choice(tickets)
            asked = {"title": self._title(), "price": self._price()}
            self._load._journal.add(self._send("edit", "tickets", "PUT", f"/api/tickets/{ticket}", asked, id=ticket))

    def _cancel(self) -> None:
        assert self._account is not None
        orders = list(self._account.orders)
        if orders:
            order = self.random.choice(orders)
            answer = self.cancel(order)
            if answer.outcome == DONE and order in self._account.orders:
                try:
                    self._account.orders.remove(order)
                except ValueError:
                    pass  # the account's other thread was faster

    def cancel(self, order: str) -> Answer:
        answer = self._send("cancel", "orders", "DELETE", f"/api/orders/{order}", id=order)
        self._load._journal.add(answer)
        return answer

    def ticket(self, id: str) -> Answer:
        return self._send("look", "tickets", "GET", f"/api/tickets/{id}")

    def _sign_up(self, email: str) -> Answer:
        answer = self._send("sign-up", "auth", "POST", "/api/users/signup", {"email": email, "password": PASSWORD})
        if answer.outcome == DONE:
            answer.id = answer.body["id"]
        self._load._journal.add(answer)
        return answer

    def _look(self) -> None:
        """Reads have nothing to lose; they are there to be in the way."""
        self._send("look", self.random.choice(("tickets", "orders")), "GET", "/readyz")
        self._send("look", "tickets", "GET", "/api/tickets?limit=20")
        self._load.looked += 1

    # ---- requests ----

    def _send(self, kind: str, service: str, method: str, path: str, asked: Any = None, id: str = "",
              key: str = "") -> Answer:
        port = self.random.choice(self._ports[service])
        headers = {"Idempotency-Key": key} if key else {}
        answer = Answer(kind, service, time.monotonic(), 0.0, id=id, key=key, asked=asked or {},
                        user=self._account.user if self._account else "")
        try:
            response = self._client(port).request(method, path, asked, headers)
            answer.status = response.status
            answer.body = _body(response)
        except (OSError, http.client.HTTPException):
            self._clients.pop(port).close()
        answer.received = time.monotonic()
        return answer

    def _client(self, port: int) -> Client:
        if port not in self._clients:
            token = self._account.token if self._account else None
            self._clients[port] = self._load._connect(port, token, ANSWER_SECONDS_MAX)
        return self._clients[port]

    def _new_key(self) -> str:
        return f"{self.random.getrandbits(64):016x}" if self.random.random() < 0.5 else ""

    def _title(self) -> str:
        return self.random.choice(("Concert", "Théâtre", "Лекция", "Opera \u266b", "Match")) + \
            f" {self.random.randrange(1000)}"

    def _price(self) -> float:
        return self.random.randrange(1, 100_000) / 100


class Canary:
    """Lists a ticket, reserves it, sees that it is held, cancels, sees that it is free: then what was published before
    that on these subjects has been delivered too, and the whole works again. Each step is tried until it succeeds."""

    def __init__(self, worker: Worker):
        self._worker = worker
        self._key = f"canary-{worker.random.getrandbits(64):016x}"
        self._ticket = self._order = ""
        self._steps = [self._list, self._reserve, self._is_held, self._cancel, self._is_free]

    def step(self) -> bool:
        """Goes on; true when it has come to the end."""
        while self._steps and self._steps[0]():
            del self._steps[0]
        return not self._steps

    def _list(self) -> bool:
        self._ticket = self._worker.create("create", self._key, {"title": "Canary", "price": 1}).id
        return bool(self._ticket)

    def _reserve(self) -> bool:
        self._order = self._worker.create("reserve", self._key, {"ticketId": self._ticket}).id
        return bool(self._order)

    def _is_held(self) -> bool:
        answer = self._worker.ticket(self._ticket)
        return answer.outcome == DONE and answer.body.get("orderId") == self._order

    def _cancel(self) -> bool:
        return self._worker.cancel(self._order).outcome == DONE

    def _is_free(self) -> bool:
        answer = self._worker.ticket(self._ticket)
        return answer.outcome == DONE and "orderId" not in answer.body


def _body(response: Response) -> Any:
    try:
        return response.json if response.body else None
    except ValueError:
        return None
