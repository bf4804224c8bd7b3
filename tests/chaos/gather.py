# SPDX-License-Identifier: Apache-2.0
"""Gathers, when all is quiet, what the checker compares: stores, bus, logs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

from buses import PUBLISHED
from checker import Apply, Event, Evidence, Letter, flatten, seconds_of
from harness import SANITIZER_REPORT
from injector import Injector
from journal import Journal
from stores import COLLECTIONS
from world import WITH_BUS, World

APPLIED = re.compile(r"^(\S+) .*\b(Applied|Changed) (\w+)/([0-9a-f]{24})/(\d+)(.*)$")
ALREADY = re.compile(r"Already applied: ticket/([0-9a-f]{24}) is at version (\d+)")
SILENCE_SECONDS = 5
LISTEN_SECONDS_MAX = 300


def gather(world: World, journal: Journal, injector: Injector, frozen_max: float) -> Evidence:
    evidence = Evidence(answers=journal.answers(), frozen_max=frozen_max)
    evidence.store_is_server = world.store.server is not None
    for service, collections in COLLECTIONS.items():
        evidence.stores[service] = {name: world.store.records(service, name) for name in collections}
    evidence.outboxes = {service: world.store.outbox(service) for service in WITH_BUS}
    evidence.waiting = world.bus.waiting()
    evidence.deaths = [(death.name, death.time) for death in world.deaths]
    evidence.events = read_events(world)
    evidence.letters = read_letters(world)
    evidence.garbage = [(each.subject, each.text, each.is_certain) for each in injector.done if each.is_garbage]
    for each in injector.done:
        if not each.is_garbage:
            event = json.loads(each.text)
            evidence.injected.add((event["id"], event["version"]))
    read_logs(world, evidence)
    evidence.problems += world.surprises + injector.problems
    return evidence


def read_events(world: World) -> list[Event]:
    """All that is on the subjects, but what is no event: that is for the dead letters to tell."""
    events = []
    for line in listen(world, *PUBLISHED):
        data = line["data"]
        if isinstance(data, dict) and isinstance(data.get("version"), int) and "createdAt" in data:
            events.append(Event(line["subject"], line["sequence"], seconds_of(line["time"]), data["id"],
                                data["version"], flatten(data)))
    return events


def read_letters(world: World) -> list[Letter]:
    letters = []
    for line in eventctl(world, "dead", "list", "--json"):
        text = line["eventText"] if "eventText" in line else line["event"]
        letters.append(Letter(line["subject"], text if isinstance(text, str) else json.dumps(text)))
    return letters


def read_logs(world: World, evidence: Evidence) -> None:
    for service in WITH_BUS:
        for log in sorted(world.folder.glob(f"{service}-*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if match := APPLIED.match(line):
                    time, how, entity, id, version, rest = match.groups()
                    apply = Apply(log.stem, seconds_of(time), entity, id, int(version), "snapshot" in rest)
                    (evidence.applied if how == "Applied" else evidence.changed).append(apply)
                elif match := ALREADY.search(line):
                    evidence.already[match[1]] = max(evidence.already.get(match[1], 0), int(match[2]))


def listen(world: World, *subjects: str) -> list[Any]:
    return eventctl(world, "listen", *subjects, "--deliver-all", "--json", "--timeout", str(SILENCE_SECONDS))


def eventctl(world: World, *arguments: str) -> list[Any]:
    result = subprocess.run([str(world.build / "eventctl"), *arguments], capture_output=True, text=True,
                            env={**os.environ, "BUS_URI": world.bus.uri(world.bus.port)}, timeout=LISTEN_SECONDS_MAX)
    if result.returncode != 0 or SANITIZER_REPORT.search(result.stderr):
        raise AssertionError(f"eventctl {arguments} ended with status {result.returncode}: {result.stderr}")
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
