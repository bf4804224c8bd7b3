# SPDX-License-Identifier: Apache-2.0
"""GET /metrics: that it is well-formed, that the numbers follow what happens, and that nothing keeps it from answering."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest

from engines import MongoServer
from harness import ROOT, Service, System, wait_until
from market import Market, new_id, ticket_event
from wire import check_errors, token_of

SELLER = "5e11e45e11e45e11e45e11e4"
TICKET = {"title": "Concert", "price": 20}
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
WORKERS = 8


class Metrics:
    """What a service answered, and what is in it."""

    def __init__(self, text: str):
        self.text = text
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                match = SAMPLE.match(line)
                assert match, line
                labels = frozenset(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
                assert (match[1], labels) not in self.samples, f"twice: {line}"
                self.samples[match[1], labels] = float(match[3])

    def get(self, name: str, **labels: str) -> float:
        """One sample; 0 if it is not there, as of a counter that has not been used."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def has(self, name: str, **labels: str) -> bool:
        return (name, frozenset(labels.items())) in self.samples


def scrape(service: Service) -> Metrics:
    client = service.client()
    try:
        answer = client.get("/metrics")
    finally:
        client.close()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Metrics(answer.body.decode())


def wait_metric(service: Service, expected: float, name: str, **labels: str) -> None:
    wait_until(lambda: scrape(service).get(name, **labels) == expected, f"{service.name}: {name} {labels} is {expected}")


def promtool(*arguments: str, text: str) -> None:
    """Finds nothing to say."""
    result = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", ""), text


# ---- well-formed ----


def test_promtool_finds_nothing_in_what_any_service_answers(system: System) -> None:
    market = Market(system)
    ann, bob = market.user(), market.user()
    ticket = market.list_ticket(ann)["id"]
    market.change_ticket(ann, ticket, 30)
    market.wait_replica(ticket, 2)
    market.cancel(bob, market.reserve(bob, ticket)["id"])
    system.publish("ticket:created", "no event")
    wait_until(lambda: system.broker.last_sequence("dead:ticket:created") == 1, "it is a dead letter")
    check_errors(market.client(market.auth).post("/api/users/signin", {"email": ann.email, "password": "wrong one"}), 401)
    for service in (market.auth, market.tickets[0], market.orders[0]):
        check_errors(service.client().get("/nowhere"), 404)
        metrics = scrape(service)
        promtool("check", "metrics", text=metrics.text)
        assert metrics.get("turnstile_store_up") == 1
        assert metrics.get("process_resident_memory_bytes") > 1 << 20
        assert metrics.get("process_cpu_seconds_total") > 0
        assert metrics.get("process_open_fds") > 3
        assert metrics.get("process_start_time_seconds") > 1.7e9
        assert metrics.get("process_threads") > 10
        assert metrics.has("turnstile_bus_up") == (service is not market.auth)
    assert scrape(market.auth).get("turnstile_auth_password_hash_duration_seconds_count") == 3


def test_the_alarms_that_are_suggested_can_be_evaluated(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "OPERATIONS.md").read_text().partition("## Alarms")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| `(.+)` \| (\w+) \|$", page, re.MULTILINE)
    assert len(rows) >= 5
    rules = "groups:\n- name: turnstile\n  rules:\n"
    for name, expression, duration in rows:
        rules += f"  - alert: {name.title().replace(' ', '')}\n    expr: '{expression}'\n    for: {duration}\n"
    path = tmp_path / "rules.yml"
    path.write_text(rules)
    result = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_other_methods_are_refused_and_head_is_answered(system: System) -> None:
    client = system.service("auth").client()
    head = client.request("HEAD", "/metrics")
    assert head.status == 200 and head.body == b"" and int(head.headers["Content-Length"]) > 1000
    refused = client.post("/metrics", {})
    check_errors(refused, 405)
    assert refused.headers["Allow"] == "GET, HEAD, OPTIONS"


# ---- requests ----


def test_requests_count_by_route_method_and_status(system: System) -> None:
    tickets = system.service("tickets")
    client = tickets.client(token_of(SELLER))
    before = scrape(tickets)
    created = [client.post("/api/tickets", TICKET).json["id"] for _ in range(3)]
    check_errors(client.post("/api/tickets", {}), 400, "title", "price")
    for ticket in created:
        assert client.get(f"/api/tickets/{ticket}").status == 200
    for path in ("/nowhere", "/api/nowhere", f"/{new_id()}", "/wp-admin.php"):
        check_errors(client.get(path), 404)
    after = scrape(tickets)

    def rise(name: str, **labels: str) -> float:
        return after.get(name, **labels) - before.get(name, **labels)

    for route, method, status, count in (
        ("/api/tickets", "POST", "201", 3),
        ("/api/tickets", "POST", "400", 1),
        ("/api/tickets/:id", "GET", "200", 3),
        ("unknown", "unknown", "404", 4),
    ):
        labels = {"route": route, "method": method, "status": status}
        assert rise("turnstile_http_requests_total", **labels) == count
        assert rise("turnstile_http_request_duration_seconds_count", **labels) == count
        assert rise("turnstile_http_request_duration_seconds_bucket", le="+Inf", **labels) == count
        assert rise("turnstile_http_request_duration_seconds_sum", **labels) > 0
    assert rise("turnstile_http_queue_wait_seconds_count") == 7
    assert rise("turnstile_store_operation_duration_seconds_count", operation="write", result="done") == 3
    assert rise("turnstile_auth_token_cache_lookups_total", result="miss") == 1
    assert not any("nowhere" in line for line in after.text.splitlines())


# ---- events ----


def test_events_count_from_the_outbox_to_the_replica(system: System) -> None:
    market = Market(system)
    tickets, orders = market.tickets[0], market.orders[0]
    seller = market.user()
    listed = [market.list_ticket(seller)["id"] for _ in range(5)]
    for ticket in listed:
        market.wait_replica(ticket)
    subject = {"subject": "ticket:created"}
    wait_metric(orders, 5, "turnstile_events_last_applied_sequence", **subject)
    metrics = scrape(orders)
    assert metrics.get("turnstile_events_last_received_sequence", **subject) == 5
    assert metrics.get("turnstile_events_lag", **subject) == 0
    assert metrics.get("turnstile_events_outcomes_total", outcome="applied", **subject) == 5
    assert metrics.get("turnstile_events_delay_seconds_count", **subject) == 5
    assert metrics.get("turnstile_bus_acknowledgements_total", **subject) >= 5
    published = scrape(tickets)
    assert published.get("turnstile_bus_publishes_total", outcome="stored", **subject) >= 5
    assert published.get("turnstile_bus_confirm_duration_seconds_count") >= 5
    wait_metric(tickets, 0, "turnstile_outbox_events")


def test_dead_letters_count_by_reason(system: System) -> None:
    orders = system.service("orders")
    labels = {"subject": "ticket:updated", "reason": "malformed"}
    before = scrape(orders)
    assert before.has("turnstile_dead_letters_total", **labels)
    assert before.get("turnstile_dead_letters_total", **labels) == 0
    system.publish("ticket:updated", "no event")
    wait_metric(orders, 1, "turnstile_dead_letters_total", **labels)
    assert scrape(orders).get("turnstile_dead_letters_total", subject="ticket:updated", reason="failed") == 0


def test_what_is_held_shows_until_its_predecessor_comes(system: System) -> None:
    orders = system.service("orders")
    ticket = new_id()
    subject = {"subject": "ticket:updated"}
    system.publish("ticket:updated", ticket_event(ticket, 2, price=30))
    wait_metric(orders, 1, "turnstile_events_outcomes_total", outcome="gap", **subject)
    held = scrape(orders)
    system.publish("ticket:created", ticket_event(ticket, 1))
    wait_metric(orders, 0, "turnstile_events_held", **subject)
    wait_metric(orders, 0, "turnstile_events_held_oldest_age_seconds", **subject)
    # Where this took longer than an owner is waited for, it may have ended as a stray before it was looked at.
    buried = held.get("turnstile_dead_letters_total", reason="stray", **subject)
    assert held.get("turnstile_events_held", **subject) == 1 - buried


def test_without_the_broker_the_outbox_shows_and_with_it_empties(system: System) -> None:
    tickets = system.service("tickets")
    client = tickets.client(token_of(SELLER))
    assert client.post("/api/tickets", TICKET).status == 201
    wait_metric(tickets, 1, "turnstile_bus_up")
    wait_metric(tickets, 0, "turnstile_outbox_events")
    system.broker.stop()
    wait_metric(tickets, 0, "turnstile_bus_up")
    assert scrape(tickets).get("turnstile_bus_connection_losses_total") >= 1
    for _ in range(7):
        assert client.post("/api/tickets", TICKET).status == 201
    wait_metric(tickets, 7, "turnstile_outbox_events")
    age = scrape(tickets).get("turnstile_outbox_oldest_age_seconds")
    wait_until(lambda: scrape(tickets).get("turnstile_outbox_oldest_age_seconds") > age, "the oldest grows older")
    wait_metric(tickets, 7, "turnstile_relay_records")
    system.broker.start()
    wait_metric(tickets, 1, "turnstile_bus_up")
    wait_metric(tickets, 0, "turnstile_outbox_events")
    wait_metric(tickets, 0, "turnstile_outbox_oldest_age_seconds")
    wait_metric(tickets, 0, "turnstile_relay_records")
    assert scrape(tickets).get("turnstile_bus_connects_total") >= 2


# ---- nothing keeps it from answering ----


def test_200_scrapes_at_once_and_a_load_do_each_other_no_harm(system: System) -> None:
    tickets = system.service("tickets", LOG_LEVEL="warning")
    problems: list[str] = []

    def watch() -> None:
        try:
            scrape(tickets)
        except (AssertionError, OSError) as problem:
            problems.append(f"a scrape: {problem}")

    def sell() -> None:
        client = tickets.client(token_of(SELLER))
        for _ in range(25):
            answer = client.post("/api/tickets", TICKET)
            if answer.status != 201:
                problems.append(f"a sale: {answer.status}")
        client.close()

    threads = [threading.Thread(target=work) for work in [sell] * 4 + [watch] * 200]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    metrics = scrape(tickets)
    sold = metrics.get("turnstile_http_requests_total", method="POST", route="/api/tickets", status="201")
    scraped = metrics.get("turnstile_http_requests_total", method="GET", route="/metrics", status="200")
    assert (sold, scraped) == (100, 200)


@pytest.fixture
def held_store(system: System):
    """A function that keeps everyone from changing a store until it is called again."""
    databases: list[sqlite3.Connection] = []

    def toggle(service: str) -> None:
        if databases:
            databases.pop().close()
        else:
            database = sqlite3.connect(system.store_path(service), timeout=60, isolation_level=None)
            database.execute("BEGIN IMMEDIATE")
            databases.append(database)

    yield toggle
    for database in databases:
        database.close()


def test_a_scrape_does_not_wait_behind_requests_that_wait_for_the_store(system: System, held_store) -> None:
    tickets = system.service("tickets", WORKERS=str(WORKERS))
    held_store("tickets")
    statuses: list[int] = []

    def sell() -> None:
        client = tickets.client(token_of(SELLER))
        statuses.append(client.post("/api/tickets", TICKET).status)
        client.close()

    threads = [threading.Thread(target=sell) for _ in range(2 * WORKERS)]
    for thread in threads:
        thread.start()
    # Every worker waits for the store and requests wait for a worker: whoever can tell that has not waited with them.
    wait_until(lambda: scrape(tickets).get("turnstile_http_queue_length") > 0, "there is a queue")
    wait_until(lambda: scrape(tickets).get("turnstile_store_up") == 0, "the store is seen to be away")
    for thread in threads:
        thread.join()
    assert set(statuses) == {503}
    metrics = scrape(tickets)
    labels = {"operation": "write", "result": "unavailable"}
    assert metrics.get("turnstile_store_operation_duration_seconds_count", **labels) == len(statuses)
    assert metrics.get("turnstile_http_requests_in_flight") == 0
    held_store("tickets")
    tickets.wait_ready()
    wait_metric(tickets, 1, "turnstile_store_up")


def test_a_scrape_does_not_wait_for_a_database_server_that_is_frozen(system: System) -> None:
    mongo = MongoServer(system.folder)
    mongo.start()
    try:
        tickets = system.service("tickets", STORE_URI=mongo.uri("tickets"))
        assert tickets.client(token_of(SELLER)).post("/api/tickets", TICKET).status == 201
        wait_metric(tickets, 0, "turnstile_outbox_events")
        wait_metric(tickets, 1, "turnstile_store_up")
        mongo.freeze()
        wait_metric(tickets, 0, "turnstile_store_up")
        # What is not known is not told; all else is.
        wait_until(lambda: not scrape(tickets).has("turnstile_outbox_events"), "the outbox's depth is unknown")
        metrics = scrape(tickets)
        assert not metrics.has("turnstile_outbox_oldest_age_seconds")
        assert metrics.get("turnstile_bus_up") == 1
        mongo.thaw()
        tickets.wait_ready()
        wait_metric(tickets, 1, "turnstile_store_up")
        wait_until(lambda: scrape(tickets).has("turnstile_outbox_events"), "the outbox's depth is known again")
        assert tickets.stop() == 0
    finally:
        mongo.kill()
