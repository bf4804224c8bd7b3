# SPDX-License-Identifier: Apache-2.0
"""What must be true when all is over. Pure functions over what was gathered; each returns what it found wrong, in lines.

What is claimed, and what cannot be:

- *Answered writes.* A 2xx names a record and, but for a cancel, its version and what it says. The record is in its
  owner's store at that version or a later one, the event of that version says what the answer said, and a cancelled
  order is cancelled. A request that was refused (4xx) or whose outcome is unknown (503, no answer) claims nothing. An
  Idempotency-Key has made at most one record. Any other answer (500, …) is a violation.
- *Events.* The bus holds each version of each record, from 1 to the one in the store, on the right subject; all copies
  say the same, and the last one says what the store says. Nothing is there of a version that the store does not have.
  No version came to the bus for the first time before a lower one of its record, but for those that were injected.
- *Replicas* equal their owner's records, version for version and field for field, and there are no others.
- *Applies.* "Applied <record>/<version>" is logged after the write, so over the logs of all instances no version of a
  record is there twice, and what is missing must have a reason: a later state was applied at once (the log says
  "snapshot"); or an instance was killed between the write and the line, which can only be where an instance died after
  the event came to the bus, and before the next version was applied, give or take how long a process may have been
  frozen, and to at most one record for each of its threads and death; or, where the store is a server, the answer to the
  write was lost, in which case the instance finds its own write when it looks again, and says "Already applied" of this
  version or a later one. A write by a process that is alive and has its answer cannot be missing.
- *Two buyers.* The orders of a ticket are numbered 1, 2, 3, … without hole or double, all but the last are cancelled,
  and of no two of them it is certain that they lived at the same time. It is certain that an order lived from when its
  201 was received until its first cancel was sent; that is not all of its life, but no more is known outside.
- *Rest.* Outboxes are empty, nothing waits unacknowledged, each ticket is held by its live order and by no other, and
  the dead letters are those of the garbage that was injected, and no others.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from journal import DONE, REFUSED, UNKNOWN, Answer

EVENT_WORKERS = 16
SHOWN_MAX = 12
# What may pass between a write and its line in the log, besides a freeze.
LATE_SECONDS = 10.0
CREATED = {"ticket": "ticket:created", "order": "order:created"}
CHANGED = {"ticket": ("ticket:updated",), "order": ("order:updated", "order:cancelled")}
OWNERS = {"ticket": ("tickets", "tickets"), "order": ("orders", "orders")}
# Of the owner alone: a replica does not have it.
PRIVATE = {"tickets": frozenset({"reservation", "request"}), "orders": frozenset({"request"})}


@dataclass
class Record:
    version: int
    epoch: int
    fields: dict[str, Any]  # as the store has them: money in cents, times in ms, nested by "outer.inner"; absent: absent


@dataclass
class Event:
    """What the bus has, in the order in which it has it."""

    subject: str
    sequence: int
    time: float  # of storing, seconds since 1970
    id: str
    version: int
    fields: dict[str, Any]  # as in Record

    @property
    def entity(self) -> str:
        return self.subject.partition(":")[0]

    @property
    def is_snapshot(self) -> bool:
        return self.subject.endswith(":snapshot")


@dataclass
class Apply:
    """A line of a log that says that a version was written because of an event."""

    instance: str
    time: float
    entity: str
    id: str
    version: int
    is_snapshot: bool = False


@dataclass
class Letter:
    subject: str
    text: str  # the event as it was received


@dataclass
class Evidence:
    answers: list[Answer] = field(default_factory=list)
    # service → collection → id → record
    stores: dict[str, dict[str, dict[str, Record]]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    applied: list[Apply] = field(default_factory=list)  # by replicas
    changed: list[Apply] = field(default_factory=list)  # by effects
    already: dict[str, int] = field(default_factory=dict)  # ticket id → highest version found applied already
    deaths: list[tuple[str, float]] = field(default_factory=list)  # instance, when it was killed
    frozen_max: float = 0.0
    store_is_server: bool = False
    unavailable: frozenset[int] = frozenset({503})  # by which clients are told that they will not be told what became of it
    logs_are_complete: bool = True
    outboxes: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    garbage: list[tuple[str, str, bool]] = field(default_factory=list)  # subject, text, whether it is surely on the bus
    injected: set[tuple[str, int]] = field(default_factory=set)  # id, version: published by others than its owner
    problems: list[str] = field(default_factory=list)  # what was noticed on the way

    def records(self, service: str, collection: str) -> dict[str, Record]:
        return self.stores.get(service, {}).get(collection, {})

    def owned(self, entity: str) -> dict[str, Record]:
        return self.records(*OWNERS[entity])


# ---- answered writes ----


def check_answers(evidence: Evidence) -> list[str]:
    """Every answer is one that a service may give."""
    return [f"{describe(answer)}: answered {answer.status}, which is neither done, refused nor unavailable"
            for answer in evidence.answers
            if answer.outcome == UNKNOWN and answer.status not in (None, *evidence.unavailable)]


def check_answered_writes(evidence: Evidence) -> list[str]:
    """Every answered write is there."""
    said = {(event.id, event.version): event.fields for event in evidence.events if not event.is_snapshot}
    found = []
    for answer in evidence.answers:
        if answer.outcome != DONE:
            continue
        if answer.kind == "sign-up":
            record = evidence.records("auth", "users").get(answer.id)
            if record is None or record.fields.get("email") != answer.asked["email"]:
                found.append(f"{describe(answer)}: the user is not there")
            continue
        entity = "ticket" if answer.service == "tickets" else "order"
        record = evidence.owned(entity).get(answer.id)
        if record is None:
            found.append(f"{describe(answer)}: the {entity} is not there")
        elif answer.kind == "cancel":
            if record.fields.get("status") != "cancelled":
                found.append(f"{describe(answer)}: the order is {record.fields.get('status')}")
        elif record.version < answer.version:
            found.append(f"{describe(answer)}: version {answer.version} was answered, the store has {record.version}")
        elif answer.version < 1:
            found.append(f"{describe(answer)}: answered without a version")
        else:
            event = said.get((answer.id, answer.version))
            if event is not None and event != flatten(answer.body):
                found.append(f"{describe(answer)}: answered {flatten(answer.body)}, the event says {event}")
            found += check_asked(answer)
    return found


def check_asked(answer: Answer) -> list[str]:
    """A change that is answered with its own version says what was asked for. A retry is told the record as it is."""
    if answer.kind == "edit" or (answer.kind == "create" and answer.version == 1):
        wrong = [name for name in ("title", "price") if answer.body.get(name) != answer.asked[name]]
        return [f"{describe(answer)}: asked {answer.asked}, answered {answer.body}"] if wrong else []
    if answer.kind == "reserve" and answer.body["ticket"]["id"] != answer.asked["ticketId"]:
        return [f"{describe(answer)}: another ticket than the one that was asked for: {answer.body}"]
    return []


def check_keys(evidence: Evidence) -> list[str]:
    """A key has made one record, however often it was used."""
    made: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for answer in evidence.answers:
        if answer.key and answer.outcome == DONE:
            made[answer.service, answer.user, answer.key].add(answer.id)
    return [f"key {key} of user {user} made {sorted(ids)}" for (_, user, key), ids in made.items() if len(ids) > 1]


# ---- events ----


def check_events(evidence: Evidence) -> list[str]:
    """Every version is on the bus, says what it should, and nothing else is."""
    found = []
    for entity in OWNERS:
        owned = evidence.owned(entity)
        versions: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        for event in evidence.events:
            if event.entity != entity or event.is_snapshot:
                continue
            name = f"{entity}/{event.id}/{event.version}"
            if event.id not in owned or event.version > owned[event.id].version:
                found.append(f"{event.subject} #{event.sequence}: {name} is on the bus, and not in the store")
            if event.subject not in ((CREATED[entity],) if event.version == 1 else CHANGED[entity]):
                found.append(f"{name} is on {event.subject}")
            if versions[event.id].setdefault(event.version, event.fields) != event.fields:
                found.append(f"{name} says two things: {versions[event.id][event.version]} and {event.fields}")
        for id, record in owned.items():
            missing = [version for version in range(1, record.version + 1) if version not in versions[id]]
            if missing:
                found.append(f"{entity}/{id}: versions {missing} of {record.version} never came to the bus")
            elif versions[id][record.version] != public(OWNERS[entity][1], record):
                found.append(f"{entity}/{id}/{record.version}: the event says {versions[id][record.version]}, "
                             f"the store {public(OWNERS[entity][1], record)}")
    return found


def check_order_of_publishing(evidence: Evidence) -> list[str]:
    """No version came first before a lower one, unless somebody else published it."""
    first: dict[tuple[str, str], dict[int, Event]] = defaultdict(dict)
    for event in evidence.events:
        if not event.is_snapshot and (event.id, event.version) not in evidence.injected:
            known = first[event.entity, event.id].setdefault(event.version, event)
            if (event.time, event.sequence) < (known.time, known.sequence):
                first[event.entity, event.id][event.version] = event
    found = []
    for (entity, id), versions in first.items():
        ordered = [versions[version] for version in sorted(versions)]
        for earlier, later in zip(ordered, ordered[1:]):
            is_wrong = later.time < earlier.time or (
                later.subject == earlier.subject and later.sequence < earlier.sequence)
            if is_wrong:
                found.append(f"{entity}/{id}: version {later.version} came to the bus before {earlier.version}")
    return found


# ---- replicas ----


def check_replicas(evidence: Evidence) -> list[str]:
    """The tickets that orders knows are those that tickets has."""
    owned, replicas = evidence.owned("ticket"), evidence.records("orders", "tickets")
    found = [f"ticket/{id}: orders has no replica" for id in owned if id not in replicas]
    for id, replica in replicas.items():
        record = owned.get(id)
        if record is None:
            found.append(f"ticket/{id}: orders has a replica, tickets does not have it")
        elif replica.version != record.version:
            found.append(f"ticket/{id}: version {record.version}, the replica has {replica.version}")
        elif public("tickets", replica) != public("tickets", record):
            found.append(f"ticket/{id}/{record.version}: {public('tickets', record)}, "
                         f"the replica: {public('tickets', replica)}")
    return found


def check_applied(evidence: Evidence) -> list[str]:
    """Nothing is applied twice, and what the logs do not tell has a reason."""
    found = twice(evidence.applied, "applied") + twice(evidence.changed, "changed")
    came = first_times(evidence.events)
    lines: dict[str, list[Apply]] = defaultdict(list)
    for line in evidence.applied:
        lines[line.id].append(line)
    silent: list[tuple[str, int, float, float]] = []
    for id, replica in evidence.records("orders", "tickets").items():
        ordered = sorted(lines.pop(id, []), key=lambda line: line.version)
        if ordered and ordered[-1].version > replica.version:
            found.append(f"ticket/{id}/{ordered[-1].version} was applied, the replica has {replica.version}")
        silent += unlogged(id, replica.version, ordered, came)
    found += [f"ticket/{id} was applied, and orders does not have it" for id in lines]
    return found + (unexplained(evidence, silent) if evidence.logs_are_complete else [])


def unlogged(id: str, last: int, ordered: list[Apply], came: dict[tuple[str, int], float]
             ) -> list[tuple[str, int, float, float]]:
    """The versions that no line tells of and no snapshot makes up for: id, version, and between when and when it must
    have been written."""
    missing = []
    logged = {line.version: line for line in ordered}
    for version in range(1, last + 1):
        if version in logged:
            continue
        later = next((line for line in ordered if line.version > version), None)
        if later is None or not later.is_snapshot:
            missing.append((id, version, came.get((id, version), 0.0), later.time if later else float("inf")))
    return missing


def unexplained(evidence: Evidence, silent: list[tuple[str, int, float, float]]) -> list[str]:
    """Those for which no instance died at the time, or more than it had threads."""
    free = [[when, set()] for name, when in evidence.deaths if name.startswith("orders-")]  # type: ignore[var-annotated]
    found = []
    for id, version, since, until in sorted(silent, key=lambda each: each[3]):
        if evidence.store_is_server and evidence.already.get(id, 0) >= version:
            continue
        for death in free:
            in_time = since <= death[0] <= until + evidence.frozen_max + LATE_SECONDS
            if in_time and (id in death[1] or len(death[1]) < EVENT_WORKERS):
                death[1].add(id)
                break
        else:
            found.append(f"ticket/{id}/{version}: no log says that it was applied, and nobody died who might have done it")
    return found


def twice(lines: Iterable[Apply], how: str) -> list[str]:
    seen: dict[tuple[str, str, int], Apply] = {}
    found = []
    for line in lines:
        before = seen.setdefault((line.entity, line.id, line.version), line)
        if before is not line:
            found.append(f"{line.entity}/{line.id}/{line.version} was {how} twice: by {before.instance} and "
                         f"{line.instance}")
    return found


def first_times(events: Iterable[Event]) -> dict[tuple[str, int], float]:
    times: dict[tuple[str, int], float] = {}
    for event in events:
        place = (event.id, event.version)
        times[place] = min(times.get(place, event.time), event.time)
    return times


# ---- two buyers ----


def check_reservations(evidence: Evidence) -> list[str]:
    """No ticket had two live orders at any time."""
    by_ticket: dict[str, list[tuple[int, str, Record]]] = defaultdict(list)
    for id, order in evidence.owned("order").items():
        by_ticket[order.fields["ticket.id"]].append((order.fields["reservation"], id, order))
    received, cancelled = lives(evidence.answers)
    found = []
    for ticket, orders in by_ticket.items():
        orders.sort(key=lambda each: each[0])
        numbers = [number for number, _, _ in orders]
        if numbers != list(range(1, len(numbers) + 1)):
            found.append(f"ticket/{ticket}: its reservations are numbered {numbers}")
        live = [id for _, id, order in orders if order.fields["status"] != "cancelled"]
        if len(live) > 1 or (live and live[0] != orders[-1][1]):
            found.append(f"ticket/{ticket}: live orders {live} of {[id for _, id, _ in orders]}")
        spans = sorted((received[id], cancelled.get(id, float("inf")), id) for _, id, _ in orders if id in received)
        for (_, end, id), (begin, _, other) in zip(spans, spans[1:]):
            if begin < end:
                found.append(f"ticket/{ticket}: orders {id} and {other} lived at the same time")
    return found


def lives(answers: Iterable[Answer]) -> tuple[dict[str, float], dict[str, float]]:
    """When an order's first answer came that says that it is live, and when its first cancel was sent."""
    received: dict[str, float] = {}
    cancelled: dict[str, float] = {}
    for answer in answers:
        if answer.kind == "reserve" and answer.outcome == DONE and answer.body["status"] == "created":
            received[answer.id] = min(received.get(answer.id, answer.received), answer.received)
        elif answer.kind == "cancel" and answer.outcome != REFUSED:
            cancelled[answer.id] = min(cancelled.get(answer.id, answer.sent), answer.sent)
    return received, cancelled


def check_holders(evidence: Evidence) -> list[str]:
    """Every ticket is held by its live order, or free."""
    live = {order.fields["ticket.id"]: id for id, order in evidence.owned("order").items()
            if order.fields["status"] != "cancelled"}
    return [f"ticket/{id}: held by {ticket.fields.get('orderId')}, its live order is {live.get(id)}"
            for id, ticket in evidence.owned("ticket").items() if ticket.fields.get("orderId") != live.get(id)]


# ---- rest ----


def check_rest(evidence: Evidence) -> list[str]:
    """Nothing is under way any more."""
    found = [f"{count} events wait in the outbox of {service}" for service, count in evidence.outboxes.items() if count]
    return found + [f"{count} events of {subject} are not acknowledged" for subject, count in evidence.waiting.items()]


def check_letters(evidence: Evidence) -> list[str]:
    """The dead letters are the garbage."""
    injected = {(subject, canonical(text)) for subject, text, _ in evidence.garbage}
    letters = {(letter.subject, canonical(letter.text)) for letter in evidence.letters}
    found = [f"a dead letter of {subject} that nobody injected: {text}" for subject, text in letters - injected]
    return found + [f"garbage on {subject} is in no dead letter: {text}" for subject, text, is_certain in evidence.garbage
                    if is_certain and (subject, canonical(text)) not in letters]


def check_problems(evidence: Evidence) -> list[str]:
    """What was noticed on the way: who ended by itself, what sanitizers reported."""
    return list(evidence.problems)


CHECKS: dict[str, Callable[[Evidence], list[str]]] = {
    "answers": check_answers,
    "answered writes are there": check_answered_writes,
    "a key makes one record": check_keys,
    "every version is on the bus": check_events,
    "lower versions first": check_order_of_publishing,
    "replicas equal their owners": check_replicas,
    "applied 1, 2, 3, …, once": check_applied,
    "one live order a ticket": check_reservations,
    "held by the live order": check_holders,
    "nothing waits": check_rest,
    "dead letters": check_letters,
    "nothing else went wrong": check_problems,
}


def check(evidence: Evidence) -> dict[str, list[str]]:
    return {name: function(evidence) for name, function in CHECKS.items()}


# ---- helpers ----


def public(collection: str, record: Record) -> dict[str, Any]:
    return {name: value for name, value in record.fields.items() if name not in PRIVATE.get(collection, ())}


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """JSON of an entity as a store has it: without id, version and meta, money in cents, times in ms."""
    fields: dict[str, Any] = {}
    for name, inner in value.items():
        path = prefix + name
        if not prefix and name in ("id", "version", "meta"):
            continue
        if isinstance(inner, dict):
            fields |= flatten(inner, f"{path}.")
        elif name == "price":
            fields[path] = round(inner * 100)
        elif name.endswith("At"):
            fields[path] = milliseconds(inner)
        else:
            fields[path] = inner
    return fields


def seconds_of(text: str) -> float:
    """A time as services and buses write it, in seconds since 1970."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def milliseconds(text: str) -> int:
    return round(seconds_of(text) * 1000)


def canonical(text: str) -> str:
    """JSON in one form, however it was written; all else as it is."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except ValueError:
        return text


def describe(answer: Answer) -> str:
    return f"{answer.kind} {answer.id or answer.asked}"
