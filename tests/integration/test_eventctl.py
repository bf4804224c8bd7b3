# SPDX-License-Identifier: Apache-2.0
"""eventctl against a real broker: every command and option, signals, outages and broken pipes."""

from __future__ import annotations

import array
import base64
import fcntl
import json
import os
import re
import secrets
import signal
import subprocess
import termios
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any

import pytest

from harness import BUILD, PATIENCE, SANITIZER_REPORT, Process, System, wait_until

EVENTCTL = str(BUILD / "eventctl")
MESSAGE_MAX = 1000000
USAGE, DATA, NO_INPUT, UNAVAILABLE, OUTPUT, CONFIG = 64, 65, 66, 69, 74, 78
SUBJECTS = [
    "ticket:created", "ticket:updated", "order:created", "order:updated", "order:cancelled",
    "payment:requested", "payment:created", "payment:failed", "payment:refunded", "expiration:complete",
]
ID = "5f43c0de5f43c0de5f43c0de"
TICKET = {
    "id": ID, "version": 1, "title": "Concert", "price": 20.5, "userId": ID,
    "createdAt": "2026-01-31T12:00:00.000Z", "updatedAt": "2026-01-31T12:00:00.000Z",
}


@pytest.fixture
def subject() -> str:
    """One that nobody else uses, wherever the test is run."""
    return f"x:{secrets.token_hex(4)}"


class Run:
    """An eventctl that goes on while the test does something else."""

    def __init__(self, system: System, *arguments: str, wait: bool = True, **env: str):
        self.system = system
        name = f"eventctl-{len(system.processes) + 1}"
        settings = {"BUS_URI": system.broker.uri, "NATS_CLIENT_ID": name, **env}
        self.process = Process(name, [EVENTCTL, *arguments], system.folder, settings)
        system.processes.append(self.process)
        self.process.start()
        if wait:
            self.process.wait_log("connected to NATS")

    @property
    def name(self) -> str:
        return self.process.name

    def messages(self) -> list[str]:
        return [line for line in self.process.log().splitlines() if re.match(r"\S+ #\d+ ", line)]

    def wait_messages(self, count: int) -> list[str]:
        wait_until(lambda: len(self.messages()) >= count, f"{self.name} prints {count} messages")
        return self.messages()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send(number)
        return self.wait()

    def wait(self) -> int:
        assert self.process.process is not None
        return self.process.process.wait(PATIENCE)


def publish(system: System, subject: str, *events: str) -> None:
    """In this order."""
    if events:
        system.eventctl("publish", subject, "-", "--lines", stdin="\n".join(events))


def numbers(lines: list[str]) -> list[int]:
    return [int(line.rsplit(" ", 1)[1]) for line in lines]


def texts(lines: list[str]) -> list[str]:
    """What comes behind subject and sequence."""
    return [line.split(" ", 2)[2] for line in lines]


def listened(system: System, subject: str, count: int, *options: str) -> list[str]:
    """What a listener prints that ends after so many messages."""
    result = system.eventctl("listen", subject, "--count", str(count), "--timeout", str(PATIENCE), *options)
    return [line for line in result.stdout.splitlines() if line != "connected to NATS"]


def run_bytes(system: System, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [EVENTCTL, *arguments], env={**os.environ, "BUS_URI": system.broker.uri}, input=data, capture_output=True,
        timeout=PATIENCE,
    )


# ---- publish ----


def test_publish_says_so_once_the_bus_has_stored_the_event(system: System) -> None:
    result = system.eventctl("publish", "ticket:created", json.dumps(TICKET))
    assert result.stdout == "Event published to subject ticket:created\n"
    assert result.stderr == ""
    assert system.broker.last_sequence("ticket:created") == 1
    assert listened(system, "ticket:created", 1, "--deliver-all") == ["ticket:created #1 " + json.dumps(TICKET)]


def test_publish_leaves_no_client_behind(system: System) -> None:
    system.eventctl("publish", "x", "1")
    assert system.broker.clients() == []


@pytest.mark.deployed
def test_publish_takes_any_bytes_from_argument_file_and_stdin(system: System, subject: str) -> None:
    data = bytes(range(256)) * 4 + "é\n".encode()
    file = system.folder / "event"
    file.write_bytes(data)
    assert run_bytes(system, "publish", subject, "-", data=data).returncode == 0
    assert run_bytes(system, "publish", subject, f"@{file}").returncode == 0
    system.eventctl("publish", subject, "not JSON {")
    system.eventctl("publish", subject, "")
    system.eventctl("publish", subject, "--", "-5")
    got = [json.loads(line) for line in listened(system, subject, 5, "--deliver-all", "--json")]
    assert base64.b64decode(got[0]["dataBase64"]) == data
    assert base64.b64decode(got[1]["dataBase64"]) == data
    assert [message["data"] for message in got[2:]] == ["not JSON {", "", "-5"]


def test_publish_warns_of_an_event_that_breaks_the_schema(system: System) -> None:
    result = system.eventctl("publish", "ticket:created", json.dumps({**TICKET, "title": "", "price": "free"}))
    assert result.stdout == "Event published to subject ticket:created\n"
    assert len(result.stderr.splitlines()) == 2
    for line, field in zip(result.stderr.splitlines(), ("title", "price")):
        assert line.startswith(f"eventctl: warning: the event breaks the schema of ticket:created: {field}: ")
    assert system.broker.last_sequence("ticket:created") == 1


def test_strict_publish_refuses_an_event_that_breaks_the_schema_and_lists_every_error(system: System) -> None:
    broken = json.dumps({"id": "1", "version": 0, "title": " "})
    result = system.eventctl("publish", "ticket:created", broken, "--strict", check=False)
    assert result.returncode == DATA
    assert result.stdout == ""
    for field in ("id", "title", "price", "userId", "createdAt", "updatedAt"):
        assert f"refused: the event breaks the schema of ticket:created: {field}: " in result.stderr
    assert system.broker.last_sequence("ticket:created") == 0
    assert system.eventctl("publish", "ticket:created", "{", "--strict", check=False).returncode == DATA
    system.eventctl("publish", "ticket:created", json.dumps(TICKET), "--strict")
    assert system.broker.last_sequence("ticket:created") == 1


def test_strict_publish_refuses_subjects_that_are_not_in_the_catalogue(system: System) -> None:
    result = system.eventctl("publish", "tickets:created", json.dumps(TICKET), "--strict", check=False)
    assert result.returncode == USAGE
    assert "tickets:created is not in the catalogue" in result.stderr


def unknown(*subjects: str) -> str:
    """What is told of them."""
    return "".join(f"eventctl: warning: {subject} is not in the catalogue (eventctl schema lists it)\n"
                   for subject in subjects)


def test_subjects_that_are_not_in_the_catalogue_get_a_warning_and_are_used(system: System) -> None:
    mistyped = ["ticket:craeted", "dead:ticket:craeted", "resolved:x", "dead:", "dead:dead:ticket:created"]
    for subject in mistyped:
        result = system.eventctl("publish", subject, "1")
        assert result.stdout == f"Event published to subject {subject}\n"
        assert result.stderr == unknown(subject)
    result = system.eventctl("listen", "ticket:created", *mistyped, "--deliver-all", "--count", "5")
    assert sorted(result.stdout.splitlines()) == sorted(["connected to NATS", *(f"{one} #1 1" for one in mistyped)])
    assert result.stderr == unknown(*mistyped) + "NATS connection closed!\n"
    put_letters(system, "ticket:craeted", dead_letter("ticket:craeted", "{}"))
    result = system.eventctl(
        "dead", "list", "--subject", "dead:ticket:craeted", "order:created", "resolved:ticket:created")
    assert result.stdout.startswith("dead:ticket:craeted #1 ")
    assert result.stderr == unknown("ticket:craeted", "resolved:ticket:created")
    result = system.eventctl("dead", "replay", "--subject", "ticket:craeted", "--sequence", "2")
    assert result.stdout.endswith("dead letters replayed: 1\n")
    assert result.stderr == unknown("ticket:craeted")


def test_subjects_of_the_catalogue_their_dead_letters_and_resolutions_get_no_warning(system: System) -> None:
    channels = ["ticket:created", "dead:order:created", "resolved:expiration:complete"]
    for channel in channels:
        event = json.dumps(TICKET) if channel == "ticket:created" else "{}"
        assert system.eventctl("publish", channel, event).stderr == ""
    result = system.eventctl("listen", *channels, "--deliver-all", "--count", "3")
    assert result.stderr == "NATS connection closed!\n"
    for options in ([], ["--subject", "dead:ticket:created"], ["--subject", "ticket:created"]):
        assert system.eventctl("dead", "list", *options).stderr == ""
        assert system.eventctl("dead", "replay", *options, check=False).stderr.count("warning") == 0


@pytest.mark.deployed
def test_publish_repeats_an_event(system: System, subject: str) -> None:
    result = system.eventctl("publish", subject, "1", "--count", "200")
    assert result.stdout == f"Event published to subject {subject}\n" * 200
    assert system.broker.message_count(subject) == 200


@pytest.mark.deployed
def test_publish_takes_one_event_a_line_in_order(system: System, subject: str) -> None:
    lines = [str(number) for number in range(300)]
    result = system.eventctl("publish", subject, "-", "--lines", stdin="\n\n".join(lines))
    assert result.stdout.count(f"Event published to subject {subject}\n") == 300
    assert numbers(listened(system, subject, 300, "--deliver-all")) == list(range(300))
    file = system.folder / "lines"
    file.write_text("a\nb\n")
    system.eventctl("publish", subject, f"@{file}", "--lines", "--count", "2")
    assert texts(listened(system, subject, 304, "--deliver-all")[300:]) == ["a", "a", "b", "b"]


def test_lines_are_published_as_they_come(system: System) -> None:
    process = subprocess.Popen(
        [EVENTCTL, "publish", "x", "-", "--lines"], env={**os.environ, "BUS_URI": system.broker.uri},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
    )
    assert process.stdin is not None and process.stdout is not None
    for part in (b"1\n", b"2", b"\n", b"3\n"):
        process.stdin.write(part)
        if part.endswith(b"\n"):
            assert process.stdout.readline() == b"Event published to subject x\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 1
    process.stdin.close()
    process.stdout.close()
    assert system.broker.last_sequence("x") == 3
    assert system.broker.clients() == []


def test_strict_lines_stop_at_the_first_that_is_broken(system: System) -> None:
    good = json.dumps(TICKET)
    result = system.eventctl(
        "publish", "ticket:created", "-", "--lines", "--strict", stdin=f"{good}\n\n{{}}\n{good}\n", check=False
    )
    assert result.returncode == DATA
    assert "refused: line 3: the event breaks the schema of ticket:created: title: " in result.stderr
    assert "events published before that: 1" in result.stderr
    assert system.broker.last_sequence("ticket:created") == 1


@pytest.mark.deployed
def test_the_largest_event_passes_and_a_larger_one_is_refused(system: System, subject: str) -> None:
    largest = "x" * MESSAGE_MAX
    system.eventctl("publish", subject, "-", stdin=largest)
    assert texts(listened(system, subject, 1, "--deliver-all")) == [largest]
    assert json.loads(listened(system, subject, 1, "--deliver-all", "--json")[0])["data"] == largest
    system.eventctl("publish", subject, "-", "--lines", stdin=largest + "\n" + largest)
    assert system.broker.message_count(subject) == 3
    for options, text, place in (
        ([], largest + "x", "stdin: the event"),
        ([], largest * 3, "stdin: the event"),
        (["--lines"], "1\n" + largest + "x", "stdin: line 2: the event"),
        (["--lines"], "1\n" + largest + "x\n", "stdin: line 2: the event"),
    ):
        result = system.eventctl("publish", subject, "-", *options, stdin=text, check=False)
        assert result.returncode == DATA
        assert f"{place} is too large: the bus takes at most 1000000 bytes" in result.stderr
    assert system.broker.message_count(subject) == 5


def test_publish_says_which_file_it_cannot_read(system: System) -> None:
    for path, why in (("missing", "No such file or directory"), (str(system.folder), "Is a directory")):
        result = system.eventctl("publish", "x", f"@{path}", check=False)
        assert result.returncode == NO_INPUT
        assert f"cannot read {path}: {why}" in result.stderr


def test_publish_waits_for_stdin_without_a_connection_and_can_be_interrupted(system: System) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [EVENTCTL, "publish", "x", "-"], env={**os.environ, "BUS_URI": system.broker.uri}, stdin=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        assert process.stdin is not None and process.stderr is not None
        wait_until(lambda: blocks_signals(process.pid), "it has begun")
        process.send_signal(number)
        assert process.wait(PATIENCE) == 1
        assert process.stderr.read() == unknown("x") + "eventctl: interrupted\n"
        process.stdin.close()
        process.stderr.close()


def blocks_signals(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = int(re.search(r"SigBlk:\s*(\w+)", status).group(1), 16)  # type: ignore[union-attr]
    return bool(blocked >> (signal.SIGTERM - 1) & 1)


# ---- listen: what comes ----


def test_a_listener_prints_subject_sequence_and_data_of_several_subjects(system: System) -> None:
    publish(system, "x", "before")
    run = Run(system, "listen", "x", "y", "z:1")
    publish(system, "x", "one")
    publish(system, "y", '{"two": 2}')
    publish(system, "z:1", "three")
    assert sorted(run.wait_messages(3)) == ["x #2 one", 'y #1 {"two": 2}', "z:1 #1 three"]
    assert run.end() == 0


@pytest.mark.deployed
def test_control_characters_and_what_is_no_text_are_escaped(system: System, subject: str) -> None:
    run_bytes(system, "publish", subject, "-", data=b"a\n\x1b[31m\xff\x00\xc3\xa9")
    assert texts(listened(system, subject, 1, "--deliver-all")) == [r"a\x0a\x1b[31m\xff\x00é"]


def test_json_has_one_object_a_line_and_nothing_else(system: System) -> None:
    events = ['{\n "a": [1,\r\n 2], "é": "\\u0001\\n"}', "[1]", "a\n\"b\\", "\xff"]
    for event in events:
        run_bytes(system, "publish", "x", "-", data=event.encode("latin-1" if event == "\xff" else "utf-8"))
    result = system.eventctl("listen", "x", "--deliver-all", "--count", "4", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.stderr == unknown("x") + "connected to NATS\nNATS connection closed!\n"
    assert [line["sequence"] for line in lines] == [1, 2, 3, 4]
    assert all(line["subject"] == "x" and line["redelivered"] is False for line in lines)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    assert lines[0]["data"] == {"a": [1, 2], "é": "\x01\n"}
    assert [line["data"] for line in lines[1:3]] == events[1:3]
    assert base64.b64decode(lines[3]["dataBase64"]) == b"\xff" and "data" not in lines[3]


def test_a_listener_begins_where_it_is_told(system: System) -> None:
    publish(system, "x", "1", "2")
    stored = datetime.fromisoformat(json.loads(listened(system, "x", 2, "--deliver-all", "--json")[1])["time"])
    between = (stored + timedelta(seconds=0.1)).isoformat(timespec="milliseconds")
    # A request that is late by less than this still begins before the third.
    third = stored + timedelta(seconds=1)
    wait_until(lambda: datetime.now(timezone.utc) >= third, "there is a time between the second and the third")
    publish(system, "x", "3", "4")
    assert numbers(listened(system, "x", 4, "--deliver-all")) == [1, 2, 3, 4]
    assert numbers(listened(system, "x", 1, "--last-received")) == [4]
    assert numbers(listened(system, "x", 3, "--start-sequence", "2")) == [2, 3, 4]

    def since_then() -> bool:
        """The bus counts back from when it gets the request: one that is late begins later, and never earlier."""
        result = system.eventctl("listen", "x", "--start-time", between, "--count", "2", "--timeout", "2", check=False)
        found = numbers([line for line in result.stdout.splitlines() if line.startswith("x #")])
        assert found == [3, 4][2 - len(found):], result.stdout
        return len(found) == 2

    wait_until(since_then, "all that came later is printed")
    assert numbers(listened(system, "x", 4, "--start-time", "1h")) == [1, 2, 3, 4]
    for options in ([], ["--start-time", "0s"]):
        run = Run(system, "listen", "x", *options)
        publish(system, "x", "5")
        assert numbers(run.wait_messages(1)) == [5]
        assert run.end() == 0


def test_a_durable_goes_on_where_it_has_stopped(system: System) -> None:
    publish(system, "x", *map(str, range(1, 11)))
    durable = ("--durable", "d", "--deliver-all")
    assert numbers(listened(system, "x", 3, *durable)) == [1, 2, 3]
    # What it had been sent but had not printed comes again.
    assert numbers(listened(system, "x", 2, *durable, "--manual-ack")) == [4, 5]
    run = Run(system, "listen", "x", *durable, NATS_CLIENT_ID="other")
    assert numbers(run.wait_messages(10)) == list(range(1, 11)), "a durable belongs to its client"
    assert run.end() == 0


def test_a_durable_of_a_long_name_goes_on_too(system: System) -> None:
    publish(system, "x", "1", "2", "3")
    durable = ("--durable", "d" * 63, "--deliver-all")
    assert numbers(listened(system, "x", 2, *durable)) == [1, 2]
    assert numbers(listened(system, "x", 1, *durable)) == [3]


def test_a_durable_is_not_moved_by_start_options(system: System) -> None:
    publish(system, "x", "1", "2", "3", "4")
    first = Run(system, "listen", "x", "--durable", "d", "--start-sequence", "2", "--count", "1", wait=False,
                NATS_CLIENT_ID="me")
    assert first.wait() == 0
    second = Run(system, "listen", "x", "--durable", "d", "--deliver-all", "--count", "2", wait=False,
                 NATS_CLIENT_ID="me")
    assert second.wait() == 0
    assert numbers(first.messages()) == [2]
    assert numbers(second.messages()) == [3, 4]


@pytest.mark.deployed
def test_members_of_a_queue_group_share_the_messages(system: System, subject: str) -> None:
    group = ("listen", subject, "--queue-group", "g")
    members = [Run(system, *group), Run(system, *group)]
    alone = Run(system, "listen", subject)
    publish(system, subject, *map(str, range(60)))
    assert numbers(alone.wait_messages(60)) == list(range(60))
    wait_until(lambda: sum(len(member.messages()) for member in members) >= 60, "the group has all")
    got = [numbers(member.messages()) for member in members]
    assert sorted(got[0] + got[1]) == list(range(60)), "each message comes to one member"
    assert got[0] and got[1]
    for run in [*members, alone]:
        assert run.end() == 0


def test_a_durable_queue_group_goes_on_with_other_members(system: System, subject: str) -> None:
    options = ("--queue-group", "g", "--durable", "g", "--deliver-all")
    publish(system, subject, "1", "2", "3", "4", "5")
    assert numbers(listened(system, subject, 2, *options)) == [1, 2]
    assert numbers(listened(system, subject, 3, *options)) == [3, 4, 5]
    wait_until(lambda: system.broker.settled(subject, "g"), "all are acknowledged")


# ---- listen: acknowledgements ----


def test_what_is_not_acknowledged_comes_again_after_the_ack_wait(system: System) -> None:
    run = Run(system, "listen", "x", "--manual-ack", "--no-ack", "--ack-wait", "1", "--in-flight", "2")
    subscription = system.broker.subscriptions("x")[0]
    assert (subscription["ack_wait"], subscription["max_inflight"]) == (1, 2)
    publish(system, "x", "1", "2", "3")
    lines = run.wait_messages(4)
    assert lines[:2] == ["x #1 1", "x #2 2"]
    assert sorted(lines[2:4]) == ["x #1 (redelivered) 1", "x #2 (redelivered) 2"]
    assert not any("#3" in line for line in run.messages()), "no more are in flight than it allows"
    assert run.end() == 0


@pytest.mark.parametrize("options", [[], ["--manual-ack"]])
def test_what_is_printed_is_acknowledged(system: System, options: list[str]) -> None:
    run = Run(system, "listen", "x", "--in-flight", "1", *options)
    publish(system, "x", *map(str, range(20)))
    assert numbers(run.wait_messages(20)) == list(range(20))
    wait_until(lambda: system.broker.subscriptions("x")[0]["pending_count"] == 0, "all are acknowledged")
    assert run.end() == 0


@pytest.mark.parametrize("options, next_one", [(["--manual-ack"], 1), ([], 2)])
def test_by_hand_what_could_not_be_printed_is_not_acknowledged(
    system: System, options: list[str], next_one: int
) -> None:
    """Nobody reads what the first listener prints; in JSON nothing but messages is there to print."""
    publish(system, "x", "1", "2", "3")
    listen = [EVENTCTL, "listen", "x", "--durable", "d", "--deliver-all", "--json", *options]
    reader, writer = os.pipe()
    os.close(reader)
    first = subprocess.run(listen, env={**os.environ, "BUS_URI": system.broker.uri}, stdout=writer,
                           stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    os.close(writer)
    assert (first.returncode, first.stderr) == (0, unknown("x") + "connected to NATS\nNATS connection closed!\n")
    second = listened(system, "x", 1, "--durable", "d", "--json")
    assert json.loads(second[0])["sequence"] == next_one


# ---- listen: when it ends ----


def test_a_listener_ends_after_some_messages_or_without_any(system: System) -> None:
    publish(system, "x", "1", "2", "3")
    assert numbers(listened(system, "x", 2, "--deliver-all")) == [1, 2]
    result = system.eventctl("listen", "x", "--deliver-all", "--timeout", "2")
    assert result.stdout.count("x #") == 3
    result = system.eventctl("listen", "x", "--deliver-all", "--timeout", "2", "--count", "4", check=False)
    assert result.returncode == 1
    assert "3 of 4 messages came in time" in result.stderr


def test_a_message_begins_the_timeout_anew(system: System) -> None:
    timeout = 5.0  # many times what lies between two messages
    run = Run(system, "listen", "x", "--timeout", str(timeout))
    publisher = subprocess.Popen([EVENTCTL, "publish", "x", "-", "--lines"], stdin=subprocess.PIPE, bufsize=0,
                                 env={**os.environ, "BUS_URI": system.broker.uri}, stdout=subprocess.DEVNULL)
    assert publisher.stdin is not None
    number, begun = 0, time.monotonic()
    while time.monotonic() < begun + timeout + 1:
        number += 1
        publisher.stdin.write(f"{number}\n".encode())
        run.wait_messages(number)
    assert run.process.running, "more than the timeout has passed since the first"
    publisher.stdin.close()
    assert publisher.wait(PATIENCE) == 0
    assert run.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_connection_cleanly(system: System, subject: str, number: signal.Signals) -> None:
    run = Run(system, "listen", subject, "--durable", "d")
    publish(system, subject, "1")
    run.wait_messages(1)
    assert run.name in system.broker.clients()
    assert run.end(number) == 0
    assert run.name not in system.broker.clients(), "the server knows at once"
    assert run.process.log().splitlines()[-1] == "NATS connection closed!"


def test_sigint_works_in_the_background_of_a_script_too(system: System) -> None:
    """A shell without job control starts its background commands with SIGINT ignored."""
    script = f'"{EVENTCTL}" listen x & pid=$!; read line; kill -INT $pid; wait $pid; echo status $?'
    process = subprocess.Popen(["sh", "-c", script], env={**os.environ, "BUS_URI": system.broker.uri},
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "connected to NATS\n"
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stdout.read() == "status 0\n"
    process.stdout.close()
    assert process.wait(PATIENCE) == 0


def test_a_signal_ends_a_listener_whose_reader_does_not_read(system: System) -> None:
    big = "x" * 500000
    publish(system, "x", big, big, big)
    process = subprocess.Popen([EVENTCTL, "listen", "x", "--deliver-all"],
                               env={**os.environ, "BUS_URI": system.broker.uri}, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None and process.stderr is not None
    full = fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ)
    wait_until(lambda: unread(process.stdout) > full - 2 * 4096, "the pipe is full, but for pieces of its pages")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert process.stderr.read().decode() == unknown("x") + "NATS connection closed!\n"
    process.stdout.close()
    process.stderr.close()
    assert system.broker.clients() == []


def unread(pipe: IO[bytes]) -> int:
    """Bytes that wait in it."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


@pytest.mark.parametrize("arguments", [["listen", "x", "--deliver-all"], ["schema"], ["--help"], ["publish", "x", "1"]])
def test_a_reader_that_goes_away_ends_it_quietly(system: System, arguments: list[str]) -> None:
    publish(system, "x", "1", "2")
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([EVENTCTL, *arguments], env={**os.environ, "BUS_URI": system.broker.uri}, stdout=writer,
                            stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    os.close(writer)
    assert result.returncode == 0
    assert "cannot write" not in result.stderr and not SANITIZER_REPORT.search(result.stderr)
    assert system.broker.clients() == []


@pytest.mark.parametrize("arguments", [["listen", "x", "--deliver-all"], ["schema"], ["--version"], ["publish", "x", "1"]])
def test_output_that_cannot_be_written_is_an_error(system: System, arguments: list[str]) -> None:
    publish(system, "x", "1", "2")
    with open("/dev/full", "wb") as full:
        result = subprocess.run([EVENTCTL, *arguments], env={**os.environ, "BUS_URI": system.broker.uri}, stdout=full,
                                stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert result.returncode == OUTPUT
    assert result.stderr.count("eventctl: cannot write: No space left on device") == 1
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", EVENTCTL, *arguments], text=True, timeout=PATIENCE,
                            env={**os.environ, "BUS_URI": system.broker.uri}, stderr=subprocess.PIPE)
    assert closed.returncode == OUTPUT
    assert system.broker.clients() == []


# ---- the connection ----


def test_without_a_bus_publishing_and_reading_give_up_and_say_so(system: System) -> None:
    system.broker.stop()
    for arguments in (["publish", "x", "1"], ["publish", "x", "1", "--lines"], ["dead", "list"], ["dead", "replay"],
                      ["listen", "x"]):
        result = system.eventctl(*arguments, "--connect-timeout", "0.3", check=False)
        assert result.returncode == UNAVAILABLE, arguments
        assert result.stdout == ""
        assert "Connection refused" in result.stderr
        assert "eventctl: the event bus could not be reached" in result.stderr
    result = system.eventctl("listen", "x", "--timeout", "0.3", check=False)
    assert result.returncode == UNAVAILABLE


def test_a_listener_waits_for_the_bus_and_outlives_its_restart(system: System) -> None:
    system.broker.stop()
    run = Run(system, "listen", "x", "--deliver-all", wait=False)
    run.process.wait_log("Connection refused, retrying in ")
    system.broker.start()
    run.process.wait_log("^connected to NATS$", 1)
    publish(system, "x", "1")
    run.wait_messages(1)
    system.broker.restart()
    run.process.wait_log("^connected to NATS$", 2)
    publish(system, "x", "2")
    wait_until(lambda: "x #2 2" in run.messages(), "it goes on")
    assert run.end() == 0


def test_a_listener_without_a_bus_can_be_stopped(system: System) -> None:
    system.broker.stop()
    run = Run(system, "listen", "x", wait=False)
    run.process.wait_log("retrying in ")
    assert run.end(signal.SIGINT) == 0


def test_a_client_id_that_is_in_use_is_said(system: System) -> None:
    run = Run(system, "listen", "x", NATS_CLIENT_ID="me")
    second = Run(system, "publish", "x", "1", "--connect-timeout", "2", wait=False, NATS_CLIENT_ID="me")
    second.process.may_fail = True  # type: ignore[attr-defined]
    assert second.wait() == UNAVAILABLE
    assert 'client id "me" is already in use on the bus' in second.process.log().replace('\\"', '"')
    publish(system, "x", "2")
    assert numbers(run.wait_messages(1)) == [2], "the first is not disturbed"
    assert run.end() == 0


def test_a_wrong_cluster_id_is_said(system: System) -> None:
    uri = f"stan://127.0.0.1:{system.broker.port}/nowhere"
    result = system.eventctl("publish", "x", "1", "--bus", uri, "--connect-timeout", "1", check=False)
    assert result.returncode == UNAVAILABLE
    assert "no streaming server with cluster id" in result.stderr


def test_settings_that_are_missing_or_malformed_are_listed(system: System) -> None:
    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name not in ("BUS_URI", "NATS_CLIENT_ID")}
        return subprocess.run([EVENTCTL, *arguments], env={**clean, **env}, capture_output=True, text=True,
                              timeout=PATIENCE)

    for arguments in (["publish", "dead:order:created", "1"], ["listen", "order:created"], ["dead", "list"],
                      ["dead", "replay"]):
        missing = run(*arguments)
        assert missing.returncode == CONFIG
        assert missing.stderr.startswith("BUS_URI: missing: ")
        malformed = run(*arguments, BUS_URI="http://x", NATS_CLIENT_ID="a b", LOG_LEVEL="loud")
        assert malformed.returncode == CONFIG
        assert [line.split(":")[0] for line in malformed.stderr.splitlines()] == [
            "BUS_URI", "NATS_CLIENT_ID", "LOG_LEVEL"]
    assert run("publish", "x", "1", "--bus", system.broker.uri).returncode == 0
    assert run("publish", "x", "1", "--bus", system.broker.uri, BUS_URI="http://x").returncode == 0


# ---- dead letters ----


def dead_letter(subject: str, event: str | bytes, **fields: Any) -> str:
    data = event.encode() if isinstance(event, str) else event
    letter = {
        "channel": subject, "sequence": 12, "reason": "title: must not be blank", "listener": "orders-service",
        "attempts": 5, "time": "2026-01-31T12:00:00.000Z", "event": base64.b64encode(data).decode(),
    }
    return json.dumps({**letter, **fields})


def put_letters(system: System, subject: str, *letters: str) -> None:
    publish(system, f"dead:{subject}", *letters)


def dead_list(system: System, *options: str) -> list[dict[str, Any]]:
    lines = system.eventctl("dead", "list", "--json", *options).stdout.splitlines()
    return [json.loads(line) for line in lines]


def positions(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(row["subject"], row["sequence"]) for row in rows]


def test_where_there_are_no_dead_letters_none_are_listed(system: System) -> None:
    result = system.eventctl("dead", "list")
    assert result.stdout == "open dead letters: 0\n"
    assert dead_list(system) == []
    assert system.eventctl("dead", "replay").stdout == "dead letters replayed: 0\n"


def test_dead_letters_are_listed_with_what_is_known_of_them(system: System) -> None:
    named = json.dumps({**TICKET, "title": " ", "meta": {"eventId": f"ticket/{ID}/1"}})
    put_letters(system, "ticket:created", dead_letter("ticket:created", named, reason="évil \x1b"),
                dead_letter("ticket:created", json.dumps(TICKET)))
    put_letters(system, "order:created", dead_letter("order:created", '{"beginning', cut=True), "rubbish")
    rows = dead_list(system)
    assert positions(rows) == [("ticket:created", 1), ("ticket:created", 2), ("order:created", 1), ("order:created", 2)]
    assert rows[0] == {
        "subject": "ticket:created", "sequence": 1, "state": "open", "time": "2026-01-31T12:00:00.000Z",
        "listener": "orders-service", "attempts": 5, "reason": "évil \x1b", "eventId": f"ticket/{ID}/1",
        "eventSequence": 12, "event": json.loads(named),
    }
    assert rows[1]["eventId"] == f"ticket/{ID}/1", "as the event's content has it"
    assert rows[2]["cut"] is True and "eventId" not in rows[2]
    assert "JSON" in rows[3]["problem"]
    lines = system.eventctl("dead", "list").stdout.splitlines()
    assert lines[0] == (
        "dead:ticket:created #1 (open) 2026-01-31T12:00:00.000Z orders-service, "
        rf"event ticket/{ID}/1, 5 attempts: évil \x1b"
    )
    assert lines[2].startswith("dead:order:created #1 (open, cut) ")
    assert lines[3].startswith("dead:order:created #2 (open) cannot be read: ")
    assert lines[4:] == ["open dead letters: 4"]


def test_dead_letters_in_json_have_their_event(system: System) -> None:
    lines = '{"a":\r\n [1.50, "\\u00e9é"]}'
    put_letters(
        system, "ticket:created",
        dead_letter("ticket:created", lines),
        dead_letter("ticket:created", "{}", cut=True),
        dead_letter("ticket:created", '{"a": 1'),
        dead_letter("ticket:created", "[1]"),
        dead_letter("ticket:created", b'\xff\x00"\n' + "é\\".encode()),
        dead_letter("ticket:created", b"\xff" * (256 * 1024)),
        dead_letter("ticket:created", ""),
        "rubbish",
    )
    rows = dead_list(system)
    assert rows[0]["event"] == {"a": [1.5, "éé"]} and "eventText" not in rows[0]
    assert "1.50" in system.eventctl("dead", "list", "--json").stdout, "as it was written"
    assert [row["eventText"] for row in rows[1:7]] == [
        "{}", '{"a": 1', "[1]", r'\xff\x00"\x0aé' + "\\", r"\xff" * (256 * 1024), ""]
    assert not any("event" in row for row in rows[1:])
    assert "eventText" not in rows[7]


def test_dead_letters_are_listed_in_words(system: System) -> None:
    put_letters(system, "order:created", *(
        dead_letter("order:created", "{}", attempts=attempts, reason="") for attempts in (0, 1, 2)))
    lines = system.eventctl("dead", "list").stdout.splitlines()
    ends = [line.split("orders-service, ")[1] for line in lines[:3]]
    assert ends == [f"event without id, {attempts}: " for attempts in ("0 attempts", "1 attempt", "2 attempts")]


def test_a_replayed_event_is_published_as_it_was_and_its_letter_is_dealt_with(system: System) -> None:
    events = [f'{{"n": {number}}} ' for number in range(3)]
    put_letters(system, "ticket:created", *(dead_letter("ticket:created", event) for event in events))
    result = system.eventctl("dead", "replay")
    assert result.stdout.splitlines() == [
        *(f"Replayed dead:ticket:created #{number} to ticket:created" for number in (1, 2, 3)),
        "dead letters replayed: 3",
    ]
    assert listened(system, "ticket:created", 3, "--deliver-all") == [
        f"ticket:created #{number + 1} {events[number]}" for number in range(3)]
    resolved = [json.loads(line)["data"] for line in listened(
        system, "resolved:ticket:created", 3, "--deliver-all", "--json")]
    assert [(one["sequence"], one["action"]) for one in resolved] == [(1, "replayed"), (2, "replayed"), (3, "replayed")]
    assert all("time" in one for one in resolved)
    assert dead_list(system) == []
    assert system.eventctl("dead", "replay").stdout == "dead letters replayed: 0\n"
    assert system.broker.last_sequence("ticket:created") == 3
    assert [row["state"] for row in dead_list(system, "--all")] == ["replayed"] * 3
    put_letters(system, "ticket:created", dead_letter("ticket:created", "again"))
    assert positions(dead_list(system)) == [("ticket:created", 4)]
    last = system.eventctl("dead", "list", "--all").stdout.splitlines()
    assert last[0].startswith("dead:ticket:created #1 (replayed) ") and last[-1] == "dead letters: 4, open: 1"


def test_letters_are_chosen_by_subject_sequence_and_listener(system: System) -> None:
    for subject in ("ticket:created", "order:created", "other"):
        put_letters(system, subject, *(
            dead_letter(subject, f"{listener}{number}", listener=listener)
            for number in range(2) for listener in ("orders-service", "payments-service")))
    assert positions(dead_list(system, "--subject", "other")) == [("other", number) for number in range(1, 5)]
    assert len(dead_list(system)) == 8, "subjects outside the catalogue are named to be seen"
    assert len(dead_list(system, "--subject", "dead:other", "order:created", "--subject", "other")) == 8
    system.eventctl("dead", "replay", "--subject", "order:created", "--listener", "payments-service")
    assert listened(system, "order:created", 2, "--deliver-all") == [
        "order:created #1 payments-service0", "order:created #2 payments-service1"]
    system.eventctl("dead", "replay", "--subject", "other", "--sequence", "3", "1")
    assert listened(system, "other", 2, "--deliver-all") == ["other #1 orders-service0", "other #2 orders-service1"]
    assert positions(dead_list(system, "--subject", "order:created", "other")) == [
        ("order:created", 1), ("order:created", 3), ("other", 2), ("other", 4)]
    assert system.broker.last_sequence("ticket:created") == 0


def test_what_cannot_be_replayed_is_said_and_the_others_are(system: System) -> None:
    put_letters(
        system, "ticket:created",
        dead_letter("ticket:created", "one"),
        dead_letter("ticket:created", "{", cut=True),
        "rubbish",
        dead_letter("not a subject", "four"),
        dead_letter("ticket:created", "five"),
        dead_letter("ticket:created", "{", cut=True, sequence=1),
        dead_letter("ticket:created", "one and more", cut=True, sequence=1),
        dead_letter("ticket:created", "one", cut=True, sequence=0),
    )
    result = system.eventctl("dead", "replay", check=False)
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "dead letters replayed: 2, not replayed: 6"
    # The event is not there, is another one, is shorter than its beginning, has no place.
    for number in (2, 6, 7, 8):
        assert (f"dead:ticket:created #{number} is not replayed: only the beginning of its event is kept"
                in result.stderr)
    assert "dead:ticket:created #3 is not replayed: " in result.stderr
    assert "dead:ticket:created #4 is not replayed: it does not say on what subject its event came" in result.stderr
    assert listened(system, "ticket:created", 2, "--deliver-all") == ["ticket:created #1 one", "ticket:created #2 five"]
    assert [row["sequence"] for row in dead_list(system)] == [2, 3, 4, 6, 7, 8]


@pytest.mark.parametrize("client", [None, "me", "c" * 63], ids=["own-name", "given-name", "long-name"])
def test_an_event_is_replayed_whole_though_its_letter_keeps_the_beginning(
        system: System, monkeypatch: pytest.MonkeyPatch, client: str | None) -> None:
    event = json.dumps({"id": ID, "title": "".join(f"{number:8}" for number in range(65536))})
    assert len(event) > 512 << 10
    publish(system, "ticket:created", "before", event, "after")
    put_letters(system, "ticket:created", dead_letter("ticket:created", event[:256 << 10], cut=True, sequence=2))
    if client is not None:
        monkeypatch.setenv("NATS_CLIENT_ID", client)
    result = system.eventctl("dead", "replay", "--subject", "ticket:created")
    assert result.stdout.splitlines()[-1] == "dead letters replayed: 1"
    assert result.stderr == ""
    lines = listened(system, "ticket:created", 4, "--deliver-all")
    assert lines[3] == "ticket:created #4 " + event
    assert dead_list(system) == []


def test_a_letter_that_is_named_must_be_there_and_open(system: System) -> None:
    put_letters(system, "x", dead_letter("x", "one"), dead_letter("x", "two", listener="payments-service"))
    replay = ("dead", "replay", "--subject", "x", "--sequence")
    system.eventctl(*replay, "1")
    for options, message in (
        (["1"], "dead:x #1 is not replayed: it was dealt with before"),
        (["7"], "there is no dead letter #7"),
        (["2", "--listener", "orders-service"], "dead:x #2 is not replayed: it is of another listener"),
    ):
        result = system.eventctl(*replay, *options, check=False)
        assert result.returncode == 1
        assert message in result.stderr
        assert result.stdout == "dead letters replayed: 0, not replayed: 1\n"
    assert system.broker.last_sequence("x") == 1


def test_letters_are_dealt_with_in_any_order_and_what_is_no_resolution_is_ignored(system: System) -> None:
    put_letters(system, "x", *(dead_letter("x", str(number)) for number in range(1, 6)))
    publish(system, "resolved:x", "rubbish", '{"sequence":5,"action":"discarded"}', '{"sequence":2,"action":"other"}',
            '{"sequence":1}', '{"sequence":4,"action":"discarded"}')
    result = system.eventctl("dead", "list", "--subject", "x", "--all", "--json")
    states = [json.loads(line)["state"] for line in result.stdout.splitlines()]
    assert states == ["open", "other", "open", "discarded", "discarded"]
    assert "resolved:x #1 says nothing of a dead letter, ignored" in result.stderr
    assert "resolved:x #4 says nothing of a dead letter, ignored" in result.stderr


def test_a_letter_is_shown_whole(system: System) -> None:
    event = json.dumps({**TICKET, "meta": {"eventId": f"ticket/{ID}/1"}})
    put_letters(system, "ticket:created", dead_letter("ticket:created", event), dead_letter("ticket:created", "\x1b{"),
                dead_letter("ticket:created", '{"a": 1', cut=True), "rubbish")
    blocks = system.eventctl("dead", "show").stdout.split("\n\n")
    head, _, rest = blocks[0].partition("{")
    assert head.splitlines() == [
        "dead:ticket:created #1 (open)",
        "  reason    title: must not be blank",
        "  listener  orders-service",
        "  time      2026-01-31T12:00:00.000Z",
        "  attempts  5",
        f"  event     ticket/{ID}/1",
        "  from      ticket:created #12",
    ]
    assert json.loads("{" + rest) == json.loads(event) and rest.startswith('\n  "id": ')
    assert blocks[1].splitlines()[-1] == r"\x1b{"
    assert blocks[2].splitlines()[0] == "dead:ticket:created #3 (open, cut)"
    assert "the first 7 bytes" in blocks[2] and blocks[2].splitlines()[-1] == '{"a": 1'
    assert blocks[3].startswith("dead:ticket:created #4 (open) cannot be read: ") and len(blocks) == 4
    assert system.eventctl("dead", "show", "--json").stdout == system.eventctl("dead", "list", "--json").stdout


def test_a_named_letter_is_shown_though_it_was_dealt_with(system: System) -> None:
    put_letters(system, "x", dead_letter("x", "one"), dead_letter("x", "two"))
    system.eventctl("dead", "discard", "--subject", "x", "--sequence", "1")
    shown = system.eventctl("dead", "show", "--subject", "x", "--sequence", "1")
    assert shown.stdout.startswith("dead:x #1 (discarded)\n") and "#2" not in shown.stdout
    assert system.eventctl("dead", "show", "--subject", "x").stdout.startswith("dead:x #2 (open)\n")
    for options, message in (
        (["9"], "there is no dead letter #9"),
        (["2", "--listener", "other"], "dead:x #2 is not shown: it is of another listener"),
    ):
        result = system.eventctl("dead", "show", "--subject", "x", "--sequence", *options, check=False)
        assert result.returncode == 1 and message in result.stderr
    assert system.eventctl("dead", "show", "--subject", "y").stdout == "open dead letters: 0\n"


def test_a_discarded_letter_is_not_open_nor_replayed(system: System) -> None:
    put_letters(system, "x", *(dead_letter("x", str(number)) for number in range(3)))
    result = system.eventctl("dead", "discard", "--subject", "x", "--sequence", "2", "1")
    assert result.stdout.splitlines() == [
        "Discarded dead:x #1", "Discarded dead:x #2", "dead letters discarded: 2"]
    resolved = [json.loads(line)["data"] for line in listened(system, "resolved:x", 2, "--deliver-all", "--json")]
    assert [(one["sequence"], one["action"]) for one in resolved] == [(1, "discarded"), (2, "discarded")]
    again = system.eventctl("dead", "discard", "--subject", "x", "--sequence", "1", "7", check=False)
    assert again.returncode == 1
    assert "dead:x #1 is not discarded: it was dealt with before" in again.stderr
    assert "there is no dead letter #7" in again.stderr
    assert again.stdout == "dead letters discarded: 0, not discarded: 2\n"
    system.eventctl("dead", "replay", "--subject", "x")
    assert listened(system, "x", 1, "--deliver-all") == ["x #1 2"]
    assert [row["state"] for row in dead_list(system, "--subject", "x", "--all")] == [
        "discarded", "discarded", "replayed"]


def test_every_open_letter_can_be_discarded_also_what_cannot_be_read(system: System) -> None:
    put_letters(system, "ticket:created", dead_letter("ticket:created", "one"), "rubbish")
    put_letters(system, "order:created", dead_letter("order:created", "two"))
    result = system.eventctl("dead", "discard", "--every")
    assert result.stdout.splitlines()[-1] == "dead letters discarded: 3"
    assert dead_list(system) == []
    assert system.eventctl("dead", "discard", "--every").stdout == "dead letters discarded: 0\n"


def test_letters_are_chosen_by_reason_and_time(system: System) -> None:
    times = ("2026-01-31T12:00:00.000Z", "2026-02-01T12:00:00.000Z", "2026-02-02T12:00:00.000Z")
    reasons = ("title: must not be blank", "Title: too long", "price: missing")
    put_letters(system, "x", *(
        dead_letter("x", "{}", time=time, reason=reason) for time, reason in zip(times, reasons)), "rubbish")

    def chosen(*options: str) -> list[int]:
        return [row["sequence"] for row in dead_list(system, "--subject", "x", *options)]

    assert chosen() == [1, 2, 3, 4]
    assert chosen("--reason", "TITLE") == [1, 2]
    assert chosen("--since", "2026-02-01T12:00:00Z") == [2, 3]
    assert chosen("--until", "2026-02-01T12:00:00Z") == [1, 2]
    assert chosen("--since", "2026-01-31T13:00:00Z", "--until", "2026-02-02T11:00:00Z", "--reason", "too") == [2]
    assert chosen("--listener", "other") == []
    system.eventctl("dead", "replay", "--subject", "x", "--reason", "price")
    system.eventctl("dead", "discard", "--reason", "too", "--subject", "x")
    assert chosen() == [1, 4]


def test_as_many_subjects_as_fit_are_read_at_once(system: System) -> None:
    """One after another, the waits for empty channels would exceed the patience of the tests by far."""
    subjects = [f"empty:{number}" for number in range(31)]
    put_letters(system, "x", dead_letter("x", "one"))
    assert positions(dead_list(system, "--subject", *subjects, "x")) == [("x", 1)]


def test_many_letters_come_in_order(system: System) -> None:
    put_letters(system, "x", *(dead_letter("x", str(number)) for number in range(700)))
    assert positions(dead_list(system, "--subject", "x")) == [("x", number) for number in range(1, 701)]
    result = system.eventctl("dead", "replay", "--subject", "x")
    assert result.stdout.splitlines()[-1] == "dead letters replayed: 700"
    assert numbers(listened(system, "x", 700, "--deliver-all")) == list(range(700))
    assert dead_list(system, "--subject", "x") == []


@pytest.mark.deployed
def test_large_letters_are_listed_and_replayed(system: System, subject: str) -> None:
    event = "x" * (256 * 1024)
    put_letters(system, subject, *[dead_letter(subject, event)] * 20)
    assert len(dead_list(system, "--subject", subject)) == 20
    system.eventctl("dead", "replay", "--subject", subject)
    assert texts(listened(system, subject, 1, "--last-received")) == [event]
    assert system.broker.message_count(subject) == 20


# ---- schema, help and usage ----


def required(schema: dict[str, Any]) -> set[str]:
    return set(schema["required"])


def run_alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Without a bus, and without any setting."""
    env = {name: value for name, value in os.environ.items() if name != "BUS_URI"}
    return subprocess.run([EVENTCTL, *arguments], env=env, capture_output=True, text=True, timeout=PATIENCE)


def test_schemas_of_all_subjects_are_one_object() -> None:
    result = run_alone("schema")
    assert result.returncode == 0 and result.stderr == ""
    schemas = json.loads(result.stdout)
    assert [subject for subject in schemas if not subject.endswith(":snapshot")] == SUBJECTS
    for subject, schema in schemas.items():
        assert schema["title"] == subject
        assert schema["type"] == "object" and schema["additionalProperties"] is True
        assert set(schema["properties"]["meta"]["properties"]) == {"eventId", "time", "traceparent", "epoch"}
        assert "meta" not in required(schema)
        assert required(schema) <= set(schema["properties"])
        # Listeners take nothing below, and nothing that has only a head.
        if "version" in schema["properties"]:
            whole = schema
            if subject.endswith(":snapshot"):  # of version 0 the head is all there is
                assert required(schema) == {"id", "version"} and schema["properties"]["version"]["minimum"] == 0
                absent, whole = schema["anyOf"]
                assert absent == {"properties": {"version": {"const": 0}}}
                assert required(whole) == required(schemas[subject.replace(":snapshot", ":created")])
            assert whole["properties"]["version"]["minimum"] == 1 and len(required(whole)) > 2
        assert not {"if", "then"} & set(schema)
        one = run_alone("schema", subject)
        assert json.loads(one.stdout) == schema


@pytest.mark.parametrize("arguments", [[], ["order:created"], ["--asyncapi"]])
def test_schemas_are_indented_or_compact(arguments: list[str]) -> None:
    indented = run_alone("schema", *arguments).stdout
    compact = run_alone("schema", *arguments, "--compact").stdout
    document = json.loads(compact)
    assert indented == json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    assert compact.count("\n") == 1 and compact.endswith("\n")
    assert json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n" == compact


def test_a_schema_has_the_fields_of_its_event() -> None:
    ticket = json.loads(run_alone("schema", "ticket:created").stdout)
    assert set(ticket["properties"]) == {
        "id", "version", "title", "price", "userId", "orderId", "createdAt", "updatedAt", "meta"}
    assert required(ticket) == set(TICKET)
    assert ticket["properties"]["id"]["pattern"] == "^[0-9a-f]{24}$"
    assert ticket["properties"]["version"]["type"] == "integer"
    expiration = json.loads(run_alone("schema", "expiration:complete").stdout)
    assert set(expiration["properties"]) == {"orderId", "meta"}
    order = json.loads(run_alone("schema", "order:created").stdout)
    assert set(order["properties"]["ticket"]["properties"]) == {"id", "title", "price"}


def test_asyncapi_names_every_channel_with_its_publisher() -> None:
    result = run_alone("schema", "--asyncapi")
    document = json.loads(result.stdout)
    schemas = json.loads(run_alone("schema").stdout)
    assert document["asyncapi"] == "2.6.0"
    assert {"title", "version"} <= set(document["info"])
    assert list(document["channels"]) == list(schemas)
    publishers = {"ticket": "tickets", "order": "orders", "payment": "payments", "expiration": "expiration"}
    for subject, channel in document["channels"].items():
        operation = channel["subscribe"]
        assert operation["operationId"] == subject
        assert operation["x-publisher"] == publishers[subject.split(":")[0]]
        assert operation["message"]["name"] == subject
        assert operation["message"]["payload"] == schemas[subject]


CHOICE = ["--subject", "--sequence", "--listener", "--reason", "--since", "--until", "--bus"]


def test_help_and_version_need_no_bus() -> None:
    assert re.fullmatch(r"eventctl \d+\.\d+\.\d+\n", run_alone("--version").stdout)
    for arguments, words in (
        ([], ["publish", "listen", "dead", "schema", "BUS_URI", "NATS_CLIENT_ID"]),
        (["publish"], ["--count", "--lines", "--strict", "--bus", "--connect-timeout"]),
        (["listen"], ["--queue-group", "--durable", "--deliver-all", "--last-received", "--start-sequence",
                      "--start-time", "--manual-ack", "--no-ack", "--ack-wait", "--in-flight", "--count", "--timeout",
                      "--json", "--bus"]),
        (["dead"], ["list", "show", "replay", "discard"]),
        (["dead", "list"], [*CHOICE, "--all", "--json"]),
        (["dead", "show"], [*CHOICE, "--all", "--json"]),
        (["dead", "replay"], [*CHOICE, "comes back as a new letter"]),
        (["dead", "discard"], [*CHOICE, "--every", "Nothing is deleted"]),
        (["schema"], ["--asyncapi", "--compact"]),
    ):
        for option in ("--help", "-h"):
            result = run_alone(*arguments, option)
            assert result.returncode == 0 and result.stderr == ""
            assert result.stdout.startswith("Usage: eventctl " + " ".join(arguments))
            for word in words:
                assert word in result.stdout


@pytest.mark.parametrize("command", [
    ["publish"], ["listen"], ["dead", "list"], ["dead", "show"], ["dead", "replay"], ["dead", "discard"], ["schema"],
])
def test_what_options_mean_is_a_column_of_its_own(command: list[str]) -> None:
    options = run_alone(*command, "--help").stdout.split("Options:\n")[1].splitlines()
    matches = [re.fullmatch(r"(  --[a-z-]+(?: [A-Z]+(?:\.\.\.)?)?  +)\S.*", line) for line in options]
    assert all(matches), options
    assert len({match.end(1) for match in matches if match}) == 1, options


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "a command is missing"),
        (["publsh"], 'unknown command "publsh"'),
        (["--verbose"], 'unknown option "--verbose"'),
        (["publish"], "publish takes a subject and an event"),
        (["publish", "x"], "publish takes a subject and an event"),
        (["publish", "x", "1", "2"], "publish takes a subject and an event"),
        (["publish", "X", "1"], "a subject must be"),
        (["publish", "s" * 64, "1"], "a subject must be"),
        (["publish", "x", "1", "--count", "0"], "--count must be an integer from 1 to 1000000"),
        (["publish", "x", "1", "--durable", "d"], 'unknown option "--durable"'),
        (["publish", "x", "1", "--bus", "http://x"], "--bus must be stan://"),
        (["publish", "x", "1", "--bus", "stan://" + "h" * 600], "--bus must be stan://"),
        (["dead", "list", "--bus", "nonsense"], "--bus must be stan://"),
        (["dead", "replay", "--bus", "nonsense"], "--bus must be stan://"),
        (["listen", "x", "--bus", "nonsense"], "--bus must be stan://"),
        (["listen"], "listen needs a subject"),
        (["listen", "x", "--deliver-all", "--last-received"], "exclude each other"),
        (["listen", "x", "--start-sequence", "2", "--start-time", "5m"], "exclude each other"),
        (["listen", "x", "--no-ack"], "--no-ack needs --manual-ack"),
        (["listen", "x", "--start-time", "soon"], "--start-time must be like"),
        (["listen", "x", "x"], "the subject x is given twice"),
        (["dead"], "dead needs a command"),
        (["dead", "bury"], 'unknown command "dead bury"'),
        (["dead", "list", "x"], "dead list takes options only"),
        (["dead", "list", "--subject", "s" * 60], "--subject must be"),
        (["dead", "replay", "x"], "dead replay takes options only"),
        (["dead", "show", "x"], "dead show takes options only"),
        (["dead", "show", "--sequence", "1"], "--sequence needs one --subject"),
        (["dead", "list", "--since", "soon"], "--since must be like"),
        (["dead", "list", "--until", "later"], "--until must be like"),
        (["dead", "discard"], "needs to be told which letters"),
        (["dead", "discard", "--sequence", "1"], "--sequence needs one --subject"),
        (["dead", "discard", "x", "--every"], "dead discard takes options only"),
        (["dead", "replay", "--sequence", "1"], "--sequence needs one --subject"),
        (["dead", "replay", "--sequence", "1", "--subject", "a", "b"], "--sequence needs one --subject"),
        (["schema", "ticket"], "not in the catalogue"),
        (["schema", "ticket:created", "order:created"], "schema takes one subject"),
        (["schema", "ticket:created", "--asyncapi"], "--asyncapi is about all subjects"),
    ],
)
def test_a_wrong_command_line_is_refused_in_words(arguments: list[str], message: str) -> None:
    result = run_alone(*arguments)
    assert result.returncode == USAGE
    assert result.stdout == ""
    assert message in result.stderr and result.stderr.startswith("eventctl: ")
