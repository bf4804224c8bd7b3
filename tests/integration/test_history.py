# SPDX-License-Identifier: Apache-2.0
"""What a bus has lost, a restored store has forgotten, and a new service never had: every replica is right again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from datetime import datetime
from pathlib import Path

import pytest

from engines import JetStreamServer
from harness import BUILD, PATIENCE, SANITIZER_REPORT, Broker, Service, System, wait_until
from market import Load, Market, new_id
from replicas import differences, wait_replicas_equal

pytestmark = pytest.mark.any_pair


class MemoryBroker(Broker):
    """Forgets everything when it stops, as NATS Streaming does unless it is told otherwise."""

    def __init__(self, folder: Path):
        super().__init__(folder, "memory-broker")
        at = self.command.index("file")
        del self.command[at + 1 : at + 3]
        self.command[at] = "memory"


def use(system: System, broker: Broker | JetStreamServer) -> None:
    """In place of the broker that runs already."""
    system.broker.stop()
    system.broker = broker
    broker.start()


def operate(instance: Service, *arguments: str, status: int = 0, **env: str) -> "subprocess.CompletedProcess[str]":
    """Runs the service's program with the instance's own configuration, to its end."""
    ended = subprocess.run(
        [*instance.command, *arguments], cwd=instance.folder, env={**instance.env, **env}, capture_output=True,
        text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
    )
    assert not SANITIZER_REPORT.search(ended.stderr), ended.stderr
    assert ended.returncode == status, (ended.returncode, ended.stdout, ended.stderr)
    return ended


def wait_whole(market: Market) -> None:
    """Every replica is right, and every ticket is held by the order that has it."""
    wait_until(lambda: market.outbox("tickets") == 0 and market.outbox("orders") == 0, "all events are published")

    def is_whole() -> bool:
        if differences(market.system.stores):
            return False
        live = {order["ticket.id"]: id for id, order in market.records("orders", "orders").items()
                if order["status"] != "cancelled"}
        return all(live.get(id) == ticket.get("orderId") for id, ticket in market.records("tickets").items())

    wait_until(is_whole, "every replica is right, and every ticket is held by its order")
    market.check_converged()


def is_fulfilled(system: System, service: str) -> bool:
    """Nothing is to be published again, or it was."""
    known = system.stores.facts(service)
    return known.get("republish.wanted") == known.get("republish.done")


# ---- history that is lost ----


def lose_all(system: System) -> None:
    system.broker.kill()
    shutil.rmtree(system.broker.store)
    system.broker.start()


def restart_memory(system: System) -> None:
    system.broker.kill()
    system.broker.start()


@pytest.mark.parametrize("how", [pytest.param("memory", marks=pytest.mark.own_pair("of NATS Streaming")), "wiped"])
@pytest.mark.parametrize("instances", [1, 2])
def test_a_broker_that_loses_everything_under_load_leaves_every_replica_right(
    system: System, how: str, instances: int
) -> None:
    if how == "memory":
        use(system, MemoryBroker(system.folder))
    market = Market(system, instances)
    load = Load(market, threads=2)
    try:
        for _ in range(2):
            load.wait_for(20)
            restart_memory(system) if how == "memory" else lose_all(system)
            for instance in market.tickets:
                instance.wait_ready(bus=True)
        load.wait_for(20)
    finally:
        load.stop()
    assert not load.failures, load.failures[:5]
    wait_whole(market)
    logs = "".join(instance.log() for instance in market.tickets)
    assert "the event bus has lost history: ticket:created" in logs
    assert "republish.wanted" in system.stores.facts("tickets")
    for service in ("tickets", "orders"):
        wait_until(lambda: is_fulfilled(system, service), f"{service} has published everything again")


def test_a_broker_whose_older_files_were_put_back_leaves_every_replica_right(system: System) -> None:
    market = Market(system)
    seller = market.user()
    old = market.list_ticket(seller)["id"]
    market.wait_replica(old)
    market.wait_settled()
    system.broker.stop()
    shutil.copytree(system.broker.store, system.folder / "older")
    system.broker.start()
    market.tickets[0].wait_ready(bus=True)
    for instance in market.orders:
        instance.kill()
    lost = [market.list_ticket(seller)["id"] for _ in range(20)]
    market.change_ticket(seller, old, 30)
    wait_until(lambda: market.outbox("tickets") == 0, "all of it is confirmed")
    system.broker.kill()
    shutil.rmtree(system.broker.store)
    shutil.move(system.folder / "older", system.broker.store)
    system.broker.start()
    for instance in market.orders:
        instance.start()
    for ticket in lost:
        market.wait_replica(ticket)
    wait_whole(market)
    market.tickets[0].wait_log("the event bus has lost history: ticket:created ends at 1, it was at 21")


def test_what_was_published_again_is_lost_again_before_anyone_has_it(system: System) -> None:
    market = Market(system)
    seller = market.user()
    market.orders[0].stop()
    tickets = [market.list_ticket(seller)["id"] for _ in range(5)]
    wait_until(lambda: market.outbox("tickets") == 0, "all of it is confirmed")
    wishes = set()
    for _ in range(2):
        lose_all(system)
        wait_until(lambda: system.stores.facts("tickets").get("republish.done", 0) not in {0, *wishes}, "it is noted")
        wishes.add(system.stores.facts("tickets")["republish.done"])
    market.orders[0].start()
    for ticket in tickets:
        market.wait_replica(ticket)
    wait_whole(market)


def test_history_is_lost_while_nobody_runs(system: System) -> None:
    market = Market(system)
    seller = market.user()
    for instance in market.orders:
        instance.stop()
    tickets = [market.list_ticket(seller)["id"] for _ in range(5)]
    wait_until(lambda: market.outbox("tickets") == 0, "all of it is confirmed")
    market.tickets[0].kill()  # the position is known from before it removed the last one
    lose_all(system)
    market.tickets[0].start()
    for instance in market.orders:
        instance.start()
    for ticket in tickets:
        market.wait_replica(ticket)
    wait_whole(market)
    wait_until(lambda: is_fulfilled(system, "tickets"), "it is done")

    def metrics() -> dict[str, str]:
        lines = market.tickets[0].client().get("/metrics").body.decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    wait_until(lambda: metrics()["turnstile_republish_pending"] == "0", "nothing is pending")
    assert metrics()["turnstile_republished_snapshots_total"] == "5"
    assert metrics()['turnstile_bus_history_lost_total{subject="ticket:created"}'] == "1"


def test_a_bus_that_kept_everything_is_not_published_to_again(system: System) -> None:
    market = Market(system, 2)
    load = Load(market, threads=2)
    try:
        load.wait_for(10)
        system.broker.restart()
        load.wait_for(10)
        system.broker.kill()
        system.broker.start()
        load.wait_for(10)
    finally:
        load.stop()
    market.wait_settled()
    market.tickets[0].kill()
    market.tickets[0].start()
    wait_whole(market)
    assert not any("lost history" in instance.log() for instance in market.tickets + market.orders)
    assert not any("republish.wanted" in system.stores.facts(service) for service in ("tickets", "orders"))


def test_what_others_publish_while_an_instance_connects_is_not_lost(system: System) -> None:
    market = Market(system, 2)
    seller = market.user()
    is_over = threading.Event()

    def list_tickets() -> None:
        while not is_over.is_set():
            market.list_ticket(seller, at=market.tickets[1])

    lists = [threading.Thread(target=list_tickets) for _ in range(4)]
    for thread in lists:
        thread.start()
    try:
        for _ in range(4):
            market.tickets[0].kill()
            market.tickets[0].start()
    finally:
        is_over.set()
        for thread in lists:
            thread.join()
    assert not any("lost history" in instance.log() for instance in market.tickets)
    assert "republish.wanted" not in system.stores.facts("tickets")


@pytest.mark.own_pair("it takes long, and another one says nothing new")
def test_an_instance_that_dies_while_it_publishes_everything_again_is_replaced(system: System) -> None:
    market = Market(system, 2)
    seller = market.user()
    for i in range(600):  # more than the rate of one second
        market.list_ticket(seller, f"Concert {i}")
    market.wait_settled()
    for instance in market.orders:
        instance.kill()
    system.stores.forget("orders")
    for instance in market.tickets:
        instance.stop()
        instance.env["FAILPOINTS"] = "tickets.upkeep.republishing=stop"
    lose_all(system)
    for instance in market.tickets:
        instance.start(wait=False)
    wait_until(lambda: any(i.is_frozen() for i in market.tickets), "an instance stops in the middle")
    victim = next(i for i in market.tickets if i.is_frozen())
    other = next(i for i in market.tickets if i is not victim)
    assert "Publishing everything again" not in other.log()
    victim.kill()
    other.wait_log("Publishing everything again")
    other.wait_frozen()
    other.thaw()
    other.wait_log("Everything was published again: 600 snapshots")
    assert system.broker.message_count("ticket:snapshot") > 600  # what the first had published, too
    for instance in market.orders:
        instance.start()
    wait_replicas_equal(system.stores)
    assert len(system.stores.records("orders", "tickets")) == 600


# ---- --republish ----


def test_republish_fills_the_store_of_a_new_service_from_snapshots_alone(system: System) -> None:
    market = Market(system)
    seller = market.user()
    for i in range(30):
        ticket = market.list_ticket(seller, f"Concert {i}")["id"]
        market.change_ticket(seller, ticket, 30 + i)
    market.wait_settled()
    for instance in market.orders:
        instance.stop()
    system.stores.forget("orders")
    market.tickets[0].stop()
    lose_all(system)
    ended = operate(market.tickets[0], "--republish")
    assert re.fullmatch(r"republished 30 tickets in \d+\.\d s\n", ended.stdout), ended.stdout
    assert ended.stderr == ""
    assert system.broker.message_count("ticket:created") == 0 and system.broker.message_count("ticket:snapshot") == 30
    for instance in market.orders:
        instance.start()
    wait_replicas_equal(system.stores)
    assert len(system.stores.records("orders", "tickets")) == 30


def test_republish_of_one_that_is_there_and_of_one_that_is_not(system: System) -> None:
    market = Market(system)
    tickets = [market.list_ticket(market.user())["id"] for _ in range(2)]
    ended = operate(market.tickets[0], "--republish", "--id", tickets[0])
    assert ended.stdout.startswith("republished 1 ticket in ")
    absent = new_id()
    ended = operate(market.tickets[0], "--republish", f"--id={absent}")
    assert ended.stdout == f"there is no {absent}: published that\n"
    events = [message["data"] for message in market.messages("ticket:snapshot")]
    assert [(event["id"], event["version"]) for event in events] == [(tickets[0], 1), (absent, 0)]
    wait_replicas_equal(system.stores)


def test_republish_of_what_was_written_since(system: System) -> None:
    market = Market(system)
    seller = market.user()
    tickets = [market.list_ticket(seller)["id"] for _ in range(5)]
    written = {id: ticket["changed"] for id, ticket in market.records("tickets").items()}
    changed = market.change_ticket(seller, tickets[3], 40)["updatedAt"]
    expected = {i for i, moment in written.items() if moment >= iso_ms(changed)} | {tickets[3]}
    ended = operate(market.tickets[0], "--republish", "--since", changed)
    assert ended.stdout.startswith(f"republished {len(expected)} ticket")
    assert {message["data"]["id"] for message in market.messages("ticket:snapshot")} == expected
    assert operate(market.tickets[0], "--republish", "--since", "1h").stdout.startswith("republished 5 tickets")
    assert operate(market.tickets[0], "--republish", "--since", "0s").stdout.startswith("republished 0 tickets")


def iso_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.own_pair("the engines have no part in it")
def test_republish_keeps_its_rate_tells_how_far_it_is_and_can_be_interrupted(system: System) -> None:
    market = Market(system)
    seller = market.user()
    for i in range(30):
        market.list_ticket(seller, f"Concert {i}")
    command = [*market.tickets[0].command, "--republish", "--rate", "5"]
    master, terminal = os.openpty()
    running = subprocess.Popen(
        command, env=market.tickets[0].env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal, text=True
    )
    os.close(terminal)
    shown = b""
    while b"republished 7 tickets" not in shown:
        shown += os.read(master, 4096)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=PATIENCE)
    try:
        while more := os.read(master, 4096):
            shown += more
    except OSError:
        pass  # the other end is closed
    os.close(master)
    assert running.returncode == 1 and output == ""
    lines = shown.decode().replace("\r\n", "\n").split("\n")
    assert re.fullmatch(r"(\r\x1b\[Krepublished \d+ tickets?(, waiting for the event bus)?)+", lines[0]), lines
    assert re.fullmatch(r"tickets: interrupted; republished \d+ tickets, the rest is not", lines[1]), lines
    assert 7 <= system.broker.message_count("ticket:snapshot") < 30


@pytest.mark.own_pair("it takes long, and another one says nothing new")
def test_republish_waits_for_a_bus_that_is_away(system: System) -> None:
    market = Market(system)
    ticket = market.list_ticket(market.user())["id"]
    market.wait_replica(ticket)
    system.broker.stop()
    with open(system.folder / "republish.log", "wb") as log:
        running = subprocess.Popen(
            [*market.tickets[0].command, "--republish"], env=market.tickets[0].env, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log,
        )
    path = system.folder / "republish.log"
    wait_until(lambda: "republished 0 tickets so far, waiting for the event bus" in path.read_text(), "it says so")
    assert running.poll() is None
    system.broker.start()
    assert running.wait(PATIENCE) == 0
    assert "republished 1 ticket in " in path.read_text()


@pytest.mark.own_pair("of NATS Streaming, which can forget everything")
def test_republish_begins_anew_when_the_bus_loses_what_it_was_given(system: System) -> None:
    use(system, MemoryBroker(system.folder))
    market = Market(system)
    seller = market.user()
    tickets = {market.list_ticket(seller)["id"] for _ in range(40)}
    for instance in market.tickets + market.orders:
        instance.stop()
    running = subprocess.Popen(
        [*market.tickets[0].command, "--republish", "--rate", "20"], env=market.tickets[0].env,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    wait_until(lambda: system.broker.message_count("ticket:snapshot") >= 10, "it is in the middle of it")
    restart_memory(system)
    output, complaints = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0 and output.startswith("republished 40 tickets in ")
    assert "the event bus has lost what was published: beginning anew" in complaints
    assert {message["data"]["id"] for message in market.messages("ticket:snapshot")} == tickets


@pytest.mark.own_pair("no engine has a part in it")
@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--republish", "--id", "xyz"], "--id must be 24 hex digits"),
        (["--republish", "--id"], "--id needs a value"),
        (["--republish", "--since", "yesterday"], "--since must be like"),
        (["--republish", "--rate", "0"], "--rate must be 1 to"),
        (["--republish", "--rate", "fast"], "--rate must be 1 to"),
        (["--republish", "--restored"], "only one of"),
        (["--republish", "--republish"], "only one of"),
        (["--republish", "more"], 'unknown argument "more"'),
        (["--republish", "--id", "a" * 24, "--since", "1h"], "only one of --id and --since"),
        (["--since", "1h"], "go with --republish only"),
        (["--restored", "--rate", "5"], "go with --republish only"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    ended = subprocess.run([str(BUILD / "tickets"), *arguments], env={}, capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout) == (64, "")
    assert complaint in ended.stderr and "--help" in ended.stderr and ended.stderr.count("\n") == 1


@pytest.mark.own_pair("no engine has a part in it")
def test_a_service_that_publishes_nothing_says_so(tmp_path: Path) -> None:
    ended = subprocess.run([str(BUILD / "auth"), "--republish"], env={}, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 64 and "auth publishes nothing" in ended.stderr


@pytest.mark.own_pair("it brings its own")
@pytest.mark.parametrize("operation", ["--republish", "--restored"])
def test_an_operation_needs_the_services_configuration_and_its_store(tmp_path: Path, operation: str) -> None:
    command = [str(BUILD / "tickets"), operation]
    ended = subprocess.run(command, env={}, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 78 and "STORE_URI: missing" in ended.stderr
    env = {"STORE_URI": f"sqlite:{tmp_path}/no/tickets.db", "JWT_KEY": "k" * 40, "BUS_URI": "stan://127.0.0.1:1/c"}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 1 and "tickets.db" in ended.stderr and ended.stdout == ""


# ---- stores that were restored ----


def test_an_owner_restored_from_an_older_backup_is_followed_by_every_replica(system: System) -> None:
    market = Market(system)
    seller = market.user()
    kept = [market.list_ticket(seller)["id"] for _ in range(5)]
    market.wait_settled()
    system.stores.back_up("tickets")
    for version in range(3):
        for ticket in kept:
            market.change_ticket(seller, ticket, 30 + version)
    vanished = [market.list_ticket(seller)["id"] for _ in range(5)]
    market.wait_settled()
    assert market.replica_version(kept[0]) == 4
    market.tickets[0].stop()
    system.stores.restore("tickets")
    ended = operate(market.tickets[0], "--restored")
    assert "publishes everything again" in ended.stdout and ended.stderr == ""
    market.tickets[0].start()
    wait_replicas_equal(system.stores)
    assert system.stores.records("orders", "tickets").keys() == set(kept)
    assert not system.stores.records("orders", "tickets").keys() & set(vanished)
    assert market.change_ticket(seller, kept[0], 50)["version"] == 2
    market.change_ticket(seller, kept[1], 51)
    new = market.list_ticket(seller)["id"]
    for ticket, version in ((kept[0], 2), (kept[1], 2), (new, 1)):
        wait_until(lambda: market.replica_version(ticket) == version, f"version {version} of {ticket}")
    wait_replicas_equal(system.stores)
    wait_until(lambda: system.stores.facts("orders").get("audited/tickets"), "no replica is of an earlier epoch")
    assert market.reserve(market.user(), kept[0])["ticket"]["price"] == 50


def test_an_owner_can_be_restored_twice_from_the_same_backup(system: System) -> None:
    market = Market(system)
    seller = market.user()
    ticket = market.list_ticket(seller)["id"]
    market.wait_settled()
    system.stores.back_up("tickets")
    for _ in range(2):
        market.change_ticket(seller, ticket, 30)
        market.change_ticket(seller, ticket, 31)
        market.wait_replica(ticket, 3)
        market.tickets[0].stop()
        system.stores.restore("tickets")
        operate(market.tickets[0], "--restored")
        market.tickets[0].start()
        wait_until(lambda: market.replica_version(ticket) == 1, "the replica follows")
    wait_replicas_equal(system.stores)


def test_a_consumer_restored_from_an_older_backup_asks_for_what_it_missed(system: System) -> None:
    market = Market(system)
    seller = market.user()
    quiet = [market.list_ticket(seller)["id"] for _ in range(5)]
    market.wait_settled()
    system.stores.back_up("orders")
    for ticket in quiet:
        market.change_ticket(seller, ticket, 30)
    later = [market.list_ticket(seller)["id"] for _ in range(5)]
    market.wait_settled()
    market.orders[0].stop()
    system.stores.restore("orders")
    ended = operate(market.orders[0], "--restored")
    assert "asks" in ended.stdout
    market.tickets[0].stop()
    market.orders[0].start()  # its owner is away at first: it is asked until it is there
    market.tickets[0].start()
    wait_replicas_equal(system.stores)
    assert system.stores.records("orders", "tickets").keys() == set(quiet + later)
    wanted = system.stores.facts("orders")["refresh/tickets"]
    wait_until(lambda: system.stores.facts("orders").get("refreshed/tickets") == wanted, "it is noted")
    wait_until(lambda: is_fulfilled(system, "tickets"), "it is done")


# ---- another bus ----


@pytest.mark.own_pair("it brings its own")
def test_a_running_system_moves_from_nats_streaming_to_jetstream(system: System) -> None:
    market = Market(system, 2)
    load = Load(market, threads=2)
    try:
        load.wait_for(20)
    finally:
        load.stop()  # and what is under way may be lost with the old server
    new = JetStreamServer(system.folder, "jetstream")
    services = market.tickets + market.orders
    for instance in services:
        instance.stop()
    use(system, new)
    for instance in services:
        instance.env["BUS_URI"] = new.uri
        instance.start(wait=False)
    for instance in services:
        instance.wait_ready(bus=True)
    wait_whole(market)
    for service in ("tickets", "orders"):
        assert "republish.wanted" in system.stores.facts(service)
        wait_until(lambda: is_fulfilled(system, service), f"{service} has published everything again")
    load = Load(market, threads=2)
    try:
        load.wait_for(20)
    finally:
        load.stop()
    assert not load.failures, load.failures[:5]
    wait_whole(market)
    ended = operate(market.tickets[0], "--republish")
    assert ended.stdout.startswith(f"republished {len(system.stores.records('tickets', 'tickets'))} tickets in ")
    wait_whole(market)


@pytest.mark.own_pair("it brings its own")
def test_jetstream_whose_older_files_were_put_back_leaves_every_replica_right(system: System) -> None:
    """As after a power cut: what it has confirmed within the last minutes may not have been on its disk."""
    server = JetStreamServer(system.folder, "jetstream")
    use(system, server)
    market = Market(system)
    seller = market.user()
    for instance in market.tickets + market.orders:
        instance.wait_ready(bus=True)
    old = market.list_ticket(seller)["id"]
    market.wait_replica(old)
    server.stop()
    shutil.copytree(server.store, system.folder / "older")
    server.start()
    market.tickets[0].wait_ready(bus=True)
    for instance in market.orders:
        instance.kill()
    lost = [market.list_ticket(seller)["id"] for _ in range(20)]
    market.change_ticket(seller, old, 30)
    wait_until(lambda: market.outbox("tickets") == 0, "all of it is confirmed")
    market.tickets[0].kill()  # it goes down together with the server
    server.kill()
    shutil.rmtree(server.store)
    shutil.move(system.folder / "older", server.store)
    server.start()
    for instance in market.tickets + market.orders:
        instance.start(wait=False)
    for instance in market.tickets + market.orders:
        instance.wait_ready(bus=True)
    for ticket in lost:
        market.wait_replica(ticket)
    wait_whole(market)
    market.tickets[0].wait_log("the event bus has lost history: ticket:created")
