# SPDX-License-Identifier: Apache-2.0
"""`<service> --healthcheck`, which a container engine asks whether the service beside it can serve."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from engines import MongoServer
from harness import BUILD, SANITIZER_REPORT, Service, System, free_port, wait_until

SERVICES = ("auth", "tickets", "orders")
NOT_READY, USAGE, INVALID = 1, 64, 78
DEADLINE_SECONDS = 2
# Far more than the deadline, and far less than a connection that nobody answers would take to end.
SECONDS_MAX = 20
# Guests who sign in, one after the other: together far more than it takes to ask a few times meanwhile.
GUESTS = 8
PASSWORD_SECONDS = 5


def healthcheck(
    service: str = "tickets", *arguments: str, timeout: float = SECONDS_MAX, **settings: str
) -> "subprocess.CompletedProcess[str]":
    """Has nothing but the settings that are given: no store, no bus, no key."""
    kept = {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
    ended = subprocess.run(
        [str(BUILD / service), "--healthcheck", *arguments],
        env={**kept, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert not SANITIZER_REPORT.search(ended.stderr), ended.stderr
    assert ended.stdout == ""
    return ended


def check_healthy(ended: "subprocess.CompletedProcess[str]") -> None:
    assert (ended.returncode, ended.stderr) == (0, "")


def check_not_ready(ended: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """Exit status 1, and one line with these words."""
    assert ended.returncode == NOT_READY, (ended.returncode, ended.stderr)
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    for word in words:
        assert word in ended.stderr, ended.stderr


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


# ---- what runs ----


@pytest.mark.parametrize("service", SERVICES)
def test_is_well_while_the_service_is_ready_and_not_when_it_has_ended(system: System, service: str) -> None:
    instance = system.service(service)
    for _ in range(3):
        check_healthy(healthcheck(service, PORT=str(instance.port)))
    assert "readyz" not in instance.log(), "probes that go well fill no log"
    assert instance.stop() == 0
    check_not_ready(
        healthcheck(service, PORT=str(instance.port)), service, "127.0.0.1", str(instance.port), "Connection refused"
    )


def test_a_bus_that_is_away_does_no_harm(system: System) -> None:
    instance = system.service("tickets")
    system.broker.stop()
    check_healthy(healthcheck(PORT=str(instance.port)))


def test_is_not_well_while_the_store_is_away(system: System, tmp_path: Path) -> None:
    server = MongoServer(tmp_path)
    server.start()
    try:
        instance = system.service("tickets", STORE_URI=server.uri())
        check_healthy(healthcheck(PORT=str(instance.port)))
        server.kill()
        ended = wait_until(lambda: refused(instance.port), "the service says itself that it is not ready")
        check_not_ready(ended, "not ready: 503", '"store":"down"')
        server.start()
        wait_until(lambda: healthcheck(PORT=str(instance.port)).returncode == 0, "it is well again")
    finally:
        server.kill()


def refused(port: int) -> "subprocess.CompletedProcess[str] | None":
    ended = healthcheck(PORT=str(port))
    return ended if ended.returncode != 0 else None


def test_a_server_that_hangs_is_found_out_though_it_is_still_waited_for(system: System, tmp_path: Path) -> None:
    """By this URI an answer may take longer than it is of use."""
    server = MongoServer(tmp_path)
    server.start()
    try:
        instance = system.service("tickets", STORE_URI=server.uri(options="socketTimeoutMS=600000"))
        server.freeze()
        ended = wait_until(lambda: refused(instance.port), "the service says itself that it is not ready")
        check_not_ready(ended, "not ready: 503", '"store":"down"')
        instance.wait_log("the store does not answer: no look at it has ended for 5 s$")
        server.thaw()
        instance.wait_ready()
        instance.wait_log("the store answers again$")
        assert instance.log().count("the store does not answer") == 1
        assert instance.stop() == 0
    finally:
        server.kill()


# ---- a service that has much to do ----


def test_a_service_that_is_busy_with_passwords_is_ready(system: System) -> None:
    """What is asked here takes no turn behind what waits for its only worker."""
    auth = system.service("auth", WORKERS="1", FAILPOINTS=f"auth.password.verify=sleep:{PASSWORD_SECONDS * 1000}")
    guests = [threading.Thread(target=sign_in, args=(auth, f"guest{number}@example.com")) for number in range(GUESTS)]
    for guest in guests:
        guest.start()
    wait_until(lambda: waiting_requests(auth) == GUESTS - 1, "all but one wait for the worker")
    for _ in range(5):
        check_healthy(healthcheck("auth", PORT=str(auth.port)))
        answer = auth.client().get("/readyz")
        assert (answer.status, answer.json) == (200, {"status": "ready", "store": "up"})
    assert waiting_requests(auth) > 0, "these have been asked while others waited"
    auth.kill()
    for guest in guests:
        guest.join()


def sign_in(auth: Service, email: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        auth.client().post("/api/users/signin", {"email": email, "password": "password"})


def waiting_requests(service: Service) -> int:
    lines = service.client().get("/metrics").body.decode().splitlines()
    name = "turnstile_http_queue_length "
    return next(int(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_a_frozen_service_is_found_out_in_time(system: System) -> None:
    instance = system.service("tickets")
    instance.freeze()
    try:
        start = time.monotonic()
        check_not_ready(healthcheck(PORT=str(instance.port)), f"no answer within {DEADLINE_SECONDS * 1000} ms")
        assert time.monotonic() - start >= DEADLINE_SECONDS
    finally:
        instance.thaw()
    wait_until(lambda: healthcheck(PORT=str(instance.port)).returncode == 0, "it is well again")


# ---- where it listens ----


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_finds_the_service_where_it_listens(system: System, address: str) -> None:
    instance = system.service("tickets", LISTEN_ADDRESS=address)
    check_healthy(healthcheck(PORT=str(instance.port), LISTEN_ADDRESS=address))


def test_an_address_is_taken_by_its_word(system: System) -> None:
    instance = system.service("tickets", LISTEN_ADDRESS="127.0.0.1")
    check_not_ready(healthcheck(PORT=str(instance.port), LISTEN_ADDRESS="127.0.0.2"), "127.0.0.2", "refused")


def test_finds_the_service_on_ipv6_and_only_there(system: System) -> None:
    port = free_port()
    settings = {"LISTEN_ADDRESS": "::1", "PORT": str(port)}
    if not has_ipv6():
        check_not_ready(healthcheck(**settings), "::1", "cannot connect")
        return
    instance = system.service("tickets", start=False, **settings)
    instance.start(wait=False)
    wait_until(lambda: instance.running and healthcheck(**settings).returncode == 0, "it is ready at ::1")
    check_not_ready(healthcheck(PORT=str(port)), "refused")


# ---- who else may listen there ----


class Other:
    """Takes one connection after another and writes `pieces` to it, with a pause before each."""

    def __init__(self, pieces: list[bytes], pause: float = 0.0):
        self.pieces, self.pause = pieces, pause
        self.listener = socket.create_server(("127.0.0.1", free_port()))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.write(connection)

    def write(self, connection: socket.socket) -> None:
        try:
            connection.recv(4096)
            for piece in self.pieces:
                time.sleep(self.pause)
                connection.sendall(piece)
        except OSError:
            pass

    def __enter__(self) -> "Other":
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 ", b"HTTP/1.1 2", b"HTTP/1.1 abc", b"220 mail.example ESMTP\r\n", b"\x00\xff" * 3000],
    ids=["nothing", "half", "digit", "letters", "mail", "long"],
)
def test_what_does_not_speak_http_is_not_well(answer: bytes) -> None:
    with Other([answer] if answer else []) as other:
        ended = healthcheck(PORT=str(other.port))
    assert ended.returncode == NOT_READY and len(ended.stderr.splitlines()) == 1, ended


@pytest.mark.parametrize("status", [b"404 Not Found", b"503 Service Unavailable", b"204 No Content"])
def test_nothing_but_200_is_well(status: bytes) -> None:
    with Other([b"HTTP/1.1 " + status + b"\r\n\r\n"]) as other:
        check_not_ready(healthcheck(PORT=str(other.port)), status[:3].decode())


def test_an_answer_may_come_in_pieces() -> None:
    pieces = [b"HTT", b"P/1.1 20", b"0 OK\r\nContent-Length: 2\r\n\r\n", b"{}"]
    with Other(pieces, pause=0.05) as other:
        check_healthy(healthcheck(PORT=str(other.port)))


def test_one_that_never_ends_is_cut_off_at_the_deadline() -> None:
    with Other([b"HTTP/1.1 200 OK\r\n\r\n", *[b"x"] * 1000], pause=0.1) as other:
        check_not_ready(healthcheck(PORT=str(other.port)), "no answer within")


# ---- its own configuration ----


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_wrong_with_its_two_variables_is_told(service: str) -> None:
    ended = healthcheck(service, PORT="http", LISTEN_ADDRESS="localhost", JWT_KEY="short", STORE_URI="nonsense")
    lines = sorted(ended.stderr.splitlines())
    assert ended.returncode == INVALID and len(lines) == 2, ended
    assert lines[0].startswith("LISTEN_ADDRESS: ") and lines[1].startswith("PORT: ")


@pytest.mark.parametrize("arguments", [["more"], ["--healthcheck"], ["--version"], ["--id", "x"]])
def test_takes_no_more_arguments(arguments: list[str]) -> None:
    ended = healthcheck("tickets", *arguments)
    assert ended.returncode == USAGE and len(ended.stderr.splitlines()) == 1 and "--help" in ended.stderr
