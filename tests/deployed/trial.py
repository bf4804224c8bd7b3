# SPDX-License-Identifier: Apache-2.0
"""What test_containers.py does to a deployed system: people are at it, while its containers are killed, and when all is
quiet again the evidence is gathered for the checker of tests/chaos."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from buses import LISTENING
from checker import Evidence, Letter, Record
from deployed import BUS, INGRESS, STORE, DeployedSystem
from gather import gather, read_letters
from harness import BUILD, wait_until
from journal import DONE, UNKNOWN, Journal
from load import Load
from replicas import differences
from stores import HEAD

ACCOUNTS = 4
RATE = 40.0
SEED = 20
# What people go on with while a part is away: enough of each to see that it goes on.
ENOUGH = 2
WHILE_FROZEN = 10
WAIT_SECONDS_MAX = 120.0
# With more signing up than people do, so that auth has its share.
ACTIONS = (("create", 20), ("edit", 20), ("reserve", 26), ("cancel", 22), ("sign-up", 10), ("look", 2))
# What can only be done with the help of this service.
KINDS = {"auth": ("sign-up",), "tickets": ("create", "edit"), "orders": ("reserve", "cancel")}
ALL_KINDS = tuple(kind for kinds in KINDS.values() for kind in kinds)
# Nobody can reserve what orders has not heard of.
WITHOUT_BUS = ("sign-up", "create", "edit")
# What an ingress says for a service that does not, and what a service says for its store.
UNAVAILABLE = frozenset({502, 503, 504})


@dataclass
class Death:
    name: str
    time: float  # seconds since 1970, as in the logs


class People:
    """Some who sign up, list, change, reserve and cancel, until they are told to stop."""

    def __init__(self, system: DeployedSystem, mark: str):
        self.journal = Journal()
        deployment = system.deployment
        # One address, whichever service it is about.
        ports = dict.fromkeys(KINDS, [deployment.port])
        self.load = Load(ports, self.journal, SEED, ACCOUNTS, RATE,
                         lambda _, token, seconds: deployment.client(token, seconds), f"-{mark}", ACTIONS)

    def start(self) -> None:
        self.load.start()
        self.wait_done(ALL_KINDS)

    def wait_done(self, kinds: tuple[str, ...], count: int = ENOUGH) -> None:
        """So many more of each kind are answered as they should be."""
        self._wait(kinds, DONE, count)

    def wait_unanswered(self, kinds: tuple[str, ...]) -> None:
        """One of these kinds gets no answer, or none that tells what became of it."""
        start = len(self.journal)
        wait_until(lambda: any(self._counts(start, UNKNOWN)[kind] for kind in kinds),
                   f"somebody learns that {' or '.join(kinds)} cannot be done now", WAIT_SECONDS_MAX)

    def _wait(self, kinds: tuple[str, ...], outcome: str, count: int) -> None:
        start = len(self.journal)
        wait_until(lambda: all(self._counts(start, outcome)[kind] >= count for kind in kinds),
                   f"{count} more of each of {', '.join(kinds)} are {outcome}", WAIT_SECONDS_MAX)

    def _counts(self, start: int, outcome: str) -> Counter[str]:
        return Counter(answer.kind for answer in self.journal.answers(start) if answer.outcome == outcome)

    def stop(self) -> None:
        self.load.stop()
        wait_until(lambda: not self.load.is_running(), "the last of them is answered", WAIT_SECONDS_MAX)
        canary = self.load.canary(0)
        wait_until(canary.step, "a ticket is listed, reserved and freed", WAIT_SECONDS_MAX)
        assert not self.load.problems, self.load.problems

    def users(self) -> set[str]:
        return {answer.id for answer in self.journal.answers() if answer.kind == "sign-up" and answer.outcome == DONE}


class Trial:
    """One container of each kind after the other is killed, then all of each, then all there are."""

    def __init__(self, system: DeployedSystem, folder: Path):
        self.system = system
        self.operator = system.deployment.operator
        self.people = People(system, system.mark)
        self.deaths: list[Death] = []
        self.killed: Counter[str] = Counter()
        self._frozen = 0.0
        self._folder = folder

    def run(self) -> Evidence:
        letters = Counter(map(describe_letter, read_letters(self._world())))
        try:
            self.people.start()
            self._kill()
        finally:
            self.people.load.stop()
        self.people.stop()
        self.system.wait_quiet()
        self._wait_acknowledged()
        return self._evidence(letters)

    # ---- what is killed ----

    def _kill(self) -> None:
        for service in KINDS:
            self._kill_one(service)
        self._kill_bus()
        self._kill_store()
        if "freeze" in self.system.deployment.features:
            self._freeze(BUS, DONE, WITHOUT_BUS)
            self._freeze(STORE, UNKNOWN, ALL_KINDS)
        for service in KINDS:
            self._kill_all_of(service)
        if INGRESS in self.operator.parts:
            self._kill_ingress()
        self._kill_everything()

    def _kill_container(self, part: str, container: str) -> None:
        self.system.deployment.is_intact = False
        self.deaths.append(Death(f"{part}-{container}", time.time()))
        self.killed[part] += 1
        self.operator.kill(container)

    def _start(self, part: str) -> None:
        self.operator.start(part)
        self.system.deployment.wait_ready(part)

    def _kill_one(self, service: str) -> None:
        """What it does, others do meanwhile."""
        self._kill_container(service, self.operator.running(service)[0])
        self.people.wait_done(KINDS[service])
        self._start(service)
        self.people.wait_done(ALL_KINDS)

    def _kill_bus(self) -> None:
        """One server after the other. If it is the only one, tickets are listed and changed meanwhile, while orders learn
        of none of that; a cluster goes on."""
        servers = self.operator.running(BUS)
        for server in servers:
            self._kill_container(BUS, server)
            self.people.wait_done(ALL_KINDS if len(servers) > 1 else WITHOUT_BUS)
            self.system.broker.start()
            self.people.wait_done(ALL_KINDS)

    def _kill_store(self) -> None:
        """Nothing can be done meanwhile, and everybody is told so."""
        for server in self.operator.running(STORE):
            self._kill_container(STORE, server)
        self._wait_trouble(ALL_KINDS)
        self._start(STORE)
        self.people.wait_done(ALL_KINDS)

    def _kill_all_of(self, service: str) -> None:
        for container in self.operator.running(service):
            self._kill_container(service, container)
        self._wait_trouble(KINDS[service])
        self._start(service)
        self.people.wait_done(ALL_KINDS)

    def _freeze(self, part: str, outcome: str, kinds: tuple[str, ...]) -> None:
        """Until it has had the outcome that it must have for those who are at it."""
        start = time.monotonic()
        self.system.deployment.is_intact = False
        self.operator.freeze(part)
        if outcome == DONE:
            self.people.wait_done(kinds, WHILE_FROZEN)
        else:
            self.people.wait_unanswered(kinds)
        self.operator.thaw(part)
        self.people.wait_done(ALL_KINDS)
        self._frozen = max(self._frozen, time.monotonic() - start)

    def _kill_ingress(self) -> None:
        for container in self.operator.running(INGRESS):
            self._kill_container(INGRESS, container)
        self._wait_trouble(ALL_KINDS)
        self._start(INGRESS)
        self.people.wait_done(ALL_KINDS)

    def _kill_everything(self) -> None:
        """As when the power fails."""
        for part in self.operator.parts:
            for container in self.operator.running(part):
                self._kill_container(part, container)
        self._wait_trouble(ALL_KINDS)
        self.system.deployment.heal()
        self.people.wait_done(ALL_KINDS)

    def _wait_trouble(self, kinds: tuple[str, ...]) -> None:
        """Where what is killed comes back by itself, perhaps nobody notices."""
        if "stays" in self.system.deployment.features:
            self.people.wait_unanswered(kinds)

    # ---- what is found in the end ----

    def _wait_acknowledged(self) -> None:
        """Snapshots, too."""
        wait_until(lambda: not self._waiting(), "all events are acknowledged", WAIT_SECONDS_MAX)

    def _waiting(self) -> dict[str, int]:
        return {subject: 1 for group, subjects in LISTENING.items() for subject in subjects
                if not self.system.broker.settled(subject, group)}

    def _evidence(self, letters: Counter[str]) -> Evidence:
        for service in KINDS:
            for container, log in self.operator.logs(service, self.system.began).items():
                (self._folder / f"{service}-{container}.log").write_text(log)
        evidence = gather(self._world(), self.people.journal, SimpleNamespace(done=[], problems=[]), self._frozen)
        evidence.unavailable = UNAVAILABLE
        evidence.logs_are_complete = self.operator.keeps_logs
        evidence.problems += self.people.load.problems + differences(self.system.stores)
        restrict(evidence, self.people.users())
        for letter in list(evidence.letters):
            if letters[describe_letter(letter)] > 0:
                letters[describe_letter(letter)] -= 1
                evidence.letters.remove(letter)
        return evidence

    def _world(self) -> Any:
        """What chaos calls so."""
        return SimpleNamespace(
            folder=self._folder,
            build=BUILD,
            store=SimpleNamespace(server=self.operator, records=self._records, outbox=self.system.stores.outbox),
            bus=SimpleNamespace(port=0, uri=lambda _: self.system.broker.uri, waiting=self._waiting),
            deaths=self.deaths,
            surprises=[],
        )

    def _records(self, service: str, collection: str) -> dict[str, Record]:
        return {
            id: Record(record["version"], record["epoch"], {name: record[name] for name in record.keys() - HEAD})
            for id, record in self.system.stores.records(service, collection).items()
        }


def describe_letter(letter: Letter) -> str:
    return f"{letter.subject} {letter.text}"


def restrict(evidence: Evidence, users: set[str]) -> None:
    """To what these users have to do with: a deployed system knows others, too."""
    for collections in evidence.stores.values():
        for name in collections.keys() - {"users"}:
            collections[name] = {id: record for id, record in collections[name].items()
                                 if record.fields.get("userId") in users}
    ids = {id for collections in evidence.stores.values() for records in collections.values() for id in records}
    evidence.events = [event for event in evidence.events if event.id in ids or event.fields.get("userId") in users]
    evidence.applied = [line for line in evidence.applied if line.id in ids]
    evidence.changed = [line for line in evidence.changed if line.id in ids]
