# SPDX-License-Identifier: Apache-2.0
"""HTTP by hand, for what no client library sends; tokens as auth makes them; and what every error looks like."""

from __future__ import annotations

import base64
import hmac
import json
import re
import socket
import threading
import time
from typing import Any, Callable, TypeVar

from harness import JWT_KEY, PATIENCE, Client, Response

T = TypeVar("T")

DAY = 86400
NEXT = re.compile(r'<(/[^>]*)>; rel="next"\Z')


# ---- tokens ----


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_part(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def sign(header: Any, claims: Any, key: str = JWT_KEY, digest: str = "sha256") -> str:
    """A JSON Web Token of any header and claims."""
    text = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{base64url(hmac.new(key.encode(), text.encode(), digest).digest())}"


def claims_of(user: str, **others: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"id": user, "email": f"{user}@example.com", "iat": now, "exp": now + DAY, **others}


def token_of(user: str, key: str = JWT_KEY, **claims: Any) -> str:
    """A good token for anybody: services trust the signature, and ask nobody."""
    return sign({"alg": "HS256", "typ": "JWT"}, claims_of(user, **claims), key)


def cookie_of(token: str) -> str:
    """A session cookie's value, as Node would write it."""
    return base64.b64encode(json.dumps({"jwt": token}, separators=(",", ":")).encode()).decode()


# ---- errors ----


def check_errors(answer: Response, status: int, *fields: str) -> None:
    """The status, the errors format, and one error for each of these fields and no other ("" for none)."""
    assert answer.status == status, (answer.status, answer.body)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Request-Id"]
    assert set(answer.json) == {"errors"} and answer.errors, answer.body
    for error in answer.errors:
        assert set(error) <= {"message", "field"} and error["message"], answer.body
        assert "field" not in error or error["field"], answer.body
    found = sorted(error.get("field", "") for error in answer.errors)
    assert found == sorted(fields or ("",)), answer.body
    if status in (429, 503):
        assert int(answer.headers["Retry-After"]) >= 1
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"


# ---- lists and ids ----


def next_page(answer: Response) -> str | None:
    """The target of the Link to the next page."""
    if answer.headers["Link"] is None:
        return None
    match = NEXT.match(answer.headers["Link"])
    assert match, answer.headers["Link"]
    return match[1]


def pages(client: Client, path: str, between: Callable[[], object] = lambda: None) -> list[Any]:
    """Everything in a list, page by page; `between` runs between two pages."""
    found: list[Any] = []
    while path:
        answer = client.get(path)
        assert answer.status == 200, answer.body
        found += answer.json
        path = next_page(answer) or ""
        between()
    return found


def ids(tickets: list[Any]) -> list[str]:
    return [ticket["id"] for ticket in tickets]


def id_of_age(seconds: float) -> str:
    """An id that might have been made that long ago."""
    return f"{int(time.time() - seconds):08x}" + "f" * 16


# ---- many at once ----


def at_once(count: int, call: Callable[[int], T]) -> list[T]:
    """Runs call(0) to call(count - 1) on threads that start together; the results, or the first exception."""
    barrier = threading.Barrier(count)
    results: list[T | None] = [None] * count
    problems: list[BaseException] = []

    def run(i: int) -> None:
        try:
            barrier.wait(PATIENCE)
            results[i] = call(i)
        except BaseException as problem:  # noqa: BLE001 - it is raised again below
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return results  # type: ignore[return-value]


# ---- sockets ----


class Wire:
    """One connection; sends any bytes."""

    def __init__(self, port: int, address: str = "127.0.0.1"):
        self.socket = socket.create_connection((address, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def end_sending(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def read_all(self) -> bytes:
        """Until the other side closes; a reset counts as that."""
        while self._receive():
            pass
        data, self.unread = self.unread, b""
        return data

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self.unread += data
        return bool(data)

    def read_answer(self) -> "WireAnswer | None":
        """One answer with a Content-Length, or none if the connection ends first; asserts that it does not end inside."""
        while b"\r\n\r\n" not in self.unread:
            if not self._receive():
                assert not self.unread, f"the answer ends within its headers: {self.unread!r}"
                return None
        head, rest = self.unread.split(b"\r\n\r\n", 1)
        answer = WireAnswer(head)
        length = int(answer.headers.get("content-length", "0"))
        while len(rest) < length:
            self.unread = b""
            assert self._receive(), f"the answer ends within its body: {head!r} {rest!r}"
            rest += self.unread
        answer.body, self.unread = rest[:length], rest[length:]
        return answer

    def is_closed(self) -> bool:
        """Waits for the other side to close, and for nothing else to come."""
        return self.read_all() == b""

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()


class WireAnswer:
    def __init__(self, head: bytes):
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
        self.body = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def exchange(port: int, data: bytes, count: int = 0, address: str = "127.0.0.1") -> list[WireAnswer]:
    """Sends all of it on one connection and returns so many answers, or, if not told, all until the other side closes."""
    with Wire(port, address) as wire:
        wire.send(data)
        answers: list[WireAnswer] = []
        while not count or len(answers) < count:
            answer = wire.read_answer()
            if answer is None:
                break
            answers.append(answer)
        return answers
