# SPDX-License-Identifier: Apache-2.0
"""The table at the end: what happened, in numbers."""

from __future__ import annotations

from collections import Counter

from checker import Evidence
from faults import Faults
from injector import Injector
from journal import DONE, REFUSED, UNKNOWN, Journal
from world import WITH_BUS, World

KIB_A_MIB = 1024
LOG_WORDS = {
    "events received": "Message received: ",
    "of these redelivered": ", redelivered)",
    "doubles, not applied again": "Already applied: ",
    "events held at a gap": " is held: ",
    "owners asked": "Asked for ",
    "connections to the bus lost": "the connection to NATS is lost",
    "histories taken for lost": "the event bus has lost history",
}


def count_words(world: World) -> Counter[str]:
    counts: Counter[str] = Counter()
    for service in WITH_BUS:
        for log in world.folder.glob(f"{service}-*.log"):
            text = log.read_text(errors="replace")
            counts.update({name: text.count(word) for name, word in LOG_WORDS.items()})
    return counts


def table(world: World, journal: Journal, faults: Faults, injector: Injector, evidence: Evidence,
          seconds: dict[str, float]) -> str:
    rows: list[tuple[str, str]] = []
    for kind, counts in sorted(journal.counts().items()):
        rows.append((f"requests: {kind}", ", ".join(f"{counts[outcome]} {outcome}"
                                                    for outcome in (DONE, REFUSED, UNKNOWN))))
    for collection, service in (("users", "auth"), ("tickets", "tickets"), ("orders", "orders")):
        records = evidence.records(service, collection)
        versions = sum(record.version for record in records.values())
        rows.append((f"in the store: {collection}", f"{len(records)}, with {versions} versions"))
    events = [event for event in evidence.events if not event.is_snapshot]
    snapshots = len(evidence.events) - len(events)
    rows.append(("events on the bus", f"{len(events)}, {len({(e.id, e.version) for e in events})} different; "
                                      f"{snapshots} snapshots"))
    jumps = sum(line.is_snapshot for line in evidence.applied)
    rows.append(("applied to replicas", f"{len(evidence.applied)}, {jumps} of them snapshots"))
    rows.append(("effects", f"{len(evidence.changed)}"))
    rows += [(f"in the logs: {name}", str(count)) for name, count in count_words(world).items()]
    doubles = [each for each in injector.done if not each.is_garbage]
    rows.append(("injected", f"{len(doubles)} events, {len(injector.done) - len(doubles)} pieces of garbage; "
                             f"{len(evidence.letters)} dead letters"))
    rows += [(f"faults: {kind}", str(count)) for kind, count in sorted(faults.counts.items())]
    for group in dict.fromkeys(target.group for target in world.targets.values()):
        targets = [target for target in world.targets.values() if target.group == group]
        starts = sum(target.starts for target in targets) - len(targets)
        memory = max(target.memory for target in targets) / KIB_A_MIB
        rows.append((f"process: {group}", f"{starts} restarts, at most {memory:.0f} MiB"))
    rows.append(("seconds", ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)
