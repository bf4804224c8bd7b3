# SPDX-License-Identifier: Apache-2.0
"""What was asked, and what was answered: the clients' side of the story, which the stores' side is compared with."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

DONE, REFUSED, UNKNOWN = "done", "refused", "unknown"
# Answers by which a service says that it decided against it, and wrote nothing.
REFUSALS = frozenset({400, 401, 403, 404, 409, 412, 413, 415, 422, 429})


@dataclass
class Answer:
    """One request that writes. Times are the client's clock, in seconds: one clock for all of them."""

    kind: str  # "sign-up", "create", "edit", "reserve", "cancel"
    service: str
    sent: float
    received: float
    status: int | None = None  # None: no answer came
    user: str = ""
    id: str = ""  # of the record, where it is known: from the answer, or from the path
    key: str = ""  # the Idempotency-Key
    asked: dict[str, Any] = field(default_factory=dict)
    body: Any = None

    @property
    def outcome(self) -> str:
        if self.status is not None and 200 <= self.status < 300:
            return DONE
        return REFUSED if self.status in REFUSALS else UNKNOWN

    @property
    def version(self) -> int:
        return int(self.body["version"]) if isinstance(self.body, dict) and "version" in self.body else 0


class Journal:
    """Kept by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: list[Answer] = []

    def add(self, answer: Answer) -> None:
        with self._lock:
            self._answers.append(answer)

    def answers(self, start: int = 0) -> list[Answer]:
        """Those from this one on, in the order in which they came."""
        with self._lock:
            return self._answers[start:]

    def __len__(self) -> int:
        with self._lock:
            return len(self._answers)

    def counts(self) -> dict[str, Counter[str]]:
        """By kind, how many had which outcome."""
        counts: dict[str, Counter[str]] = {}
        for answer in self.answers():
            counts.setdefault(answer.kind, Counter())[answer.outcome] += 1
        return counts
