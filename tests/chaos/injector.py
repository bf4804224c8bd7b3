# SPDX-License-Identifier: Apache-2.0
"""Events that nobody meant to publish: old ones again, later ones before earlier ones, and garbage; by eventctl."""

from __future__ import annotations

import json
import os
import queue
import random
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buses import PUBLISHED, Bus
from harness import SANITIZER_REPORT
from journal import DONE, Answer, Journal

EVENTS_AT_ONCE_MAX = 12
PUBLISH_SECONDS_MAX = 30
CONNECT_SECONDS_MAX = 10
RECENT_ANSWERS = 2000


@dataclass(frozen=True)
class Injected:
    subject: str
    text: str
    is_garbage: bool
    is_certain: bool  # the bus has confirmed it


def event_of(answer: Answer) -> tuple[str, dict[str, Any]] | None:
    """The event that this answer's version has emitted: it carries what the answer says."""
    if answer.outcome != DONE or not isinstance(answer.body, dict):
        return None
    if answer.kind in ("create", "edit"):
        return ("ticket:created" if answer.version == 1 else "ticket:updated"), answer.body
    if answer.kind == "reserve" and answer.body["status"] == "created":
        return "order:created", answer.body
    return None


def make_garbage(rng: random.Random) -> tuple[str, str]:
    """A subject, and something that no listener can take. Each is like no other."""
    mark = f"{rng.getrandbits(96):024x}"
    subject = rng.choice([subject for subject in PUBLISHED if not subject.endswith(":snapshot")])
    return subject, rng.choice((
        f"garbage {mark}",
        f'{{"id":"{mark}"}}',
        f'{{"id":"{mark}","version":"one"}}',
        f'{{"id":"{mark}","version":0,"title":"x","price":1}}',
        f'["{mark}"]',
        f'{{"id":"{mark}","version":1,',
    ))


class Injector:
    """Works off what it is asked for on a thread of its own: the bus may be away or frozen."""

    def __init__(self, bus: Bus, build: Path, journal: Journal):
        self.done: list[Injected] = []
        self.problems: list[str] = []
        self._bus = bus
        self._build = build
        self._journal = journal
        self._work: queue.Queue[tuple[list[tuple[str, str]], bool] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="injector", daemon=True)
        self._thread.start()

    def mark(self) -> int:
        """Now, for overtake."""
        return len(self._journal)

    def repeat(self, seed: int) -> None:
        """Publishes some old events again, in no order."""
        rng = random.Random(seed)
        known = self._known(max(0, len(self._journal) - RECENT_ANSWERS))
        self._put(rng.sample(known, min(len(known), rng.randint(1, EVENTS_AT_ONCE_MAX))), False)

    def overtake(self, mark: int) -> None:
        """Publishes what has been answered since the mark, the latest first."""
        self._put(self._known(mark)[::-1][:EVENTS_AT_ONCE_MAX], False)

    def garbage(self, seed: int) -> None:
        self._put([make_garbage(random.Random(seed))], True)

    def finish(self) -> None:
        """Asks it to end when all has been published."""
        self._work.put(None)

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _known(self, start: int) -> list[tuple[str, str]]:
        events = [event_of(answer) for answer in self._journal.answers(start)]
        return [(event[0], json.dumps(event[1], ensure_ascii=False)) for event in events if event is not None]

    def _put(self, events: list[tuple[str, str]], is_garbage: bool) -> None:
        if events:
            self._work.put((events, is_garbage))

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            events, is_garbage = work
            for subject, text in events:
                self.done.append(Injected(subject, text, is_garbage, self._publish(subject, text)))

    def _publish(self, subject: str, text: str) -> bool:
        command = [str(self._build / "eventctl"), "publish", subject, "-", "--connect-timeout", str(CONNECT_SECONDS_MAX)]
        environment = {**os.environ, "BUS_URI": self._bus.uri(self._bus.port)}
        try:
            result = subprocess.run(command, env=environment, input=text, capture_output=True, text=True,
                                    timeout=PUBLISH_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            return False
        if SANITIZER_REPORT.search(result.stderr):
            self.problems.append(f"eventctl: {result.stderr}")
        return result.returncode == 0
