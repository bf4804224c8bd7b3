#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that check.py finds what it is there to find: breaks a copy of the tree, one thing at a time."""

import shutil
import sys
import tempfile
from pathlib import Path

from check import CHECKS, SOURCE_FOLDERS, Tree

ROOT = Path(__file__).resolve().parents[2]
# A file, what is replaced in it by what, and words that must be among the problems then. The first match is replaced.
BREAKAGES = [
    ("services/orders/routes.c", '{"DELETE", "/api/orders/:id"', '{"PATCH", "/api/orders/:id"',
     "docs/openapi.yaml: the route PATCH /api/orders/:id is missing"),
    ("docs/openapi.yaml", "  /api/tickets/mine:", "  /api/tickets/yours:",
     "docs/openapi.yaml: the route GET /api/tickets/yours is not in the code"),
    ("docs/openapi.yaml", "    delete:", "    put:", "docs/openapi.yaml: the route DELETE /api/orders/:id is missing"),
    ("common/service/health.c", '.path = "/healthz"', '.path = "/alive"', "docs/API.md: the route GET /alive is missing"),
    ("docs/API.md", "| `GET /readyz`", "| `GET /ready`", "docs/API.md: the route GET /readyz is missing"),
    ("common/events/catalogue.h", '"ticket:updated"', '"ticket:changed"', "the subject ticket:changed is missing"),
    ("docs/ARCHITECTURE.md", "`ticket:created`, ", "", "the subject ticket:created is missing"),
    ("docs/ARCHITECTURE.md", "orderId?, createdAt", "orderId, createdAt", "ticket's field orderId? is missing"),
    ("common/events/entities.c", 'FIELD_NAMED("expiresAt"', 'FIELD_NAMED("endsAt"',
     "docs/openapi.yaml: Order's property endsAt is missing"),
    ("docs/openapi.yaml", "required: [id, version, title, price, userId, createdAt",
     "required: [id, version, title, price, createdAt", "Ticket's required property userId is missing"),
    ("common/events/relay.c", "%s.relay.after_confirm", "%s.relay.confirmed",
     "the failpoint <service>.relay.confirmed is missing"),
    ("common/bus/metrics.c", '"turnstile_bus_up"', '"turnstile_bus_connected"',
     "the metric turnstile_bus_connected is missing"),
    ("docs/OPERATIONS.md", "| `turnstile_store_up` | gauge |", "| `turnstile_store_up` | counter |",
     "the metric turnstile_store_up is a gauge"),
    ("common/bus/metrics.c", '"subject", "outcome"', '"subject"',
     "the metric turnstile_bus_publishes_total is a counter with the labels subject"),
    ("docs/OPERATIONS.md", "(turnstile_bus_up)", "(turnstile_bus_down)", "turnstile_bus_down is not in the code"),
    ("docs/ARCHITECTURE.md", "`common/bus/stan/`", "`common/bus/kafka/`", "common/bus/kafka/ does not exist"),
    ("README.md", "(docs/API.md)", "(API.md)", "the link API.md leads nowhere"),
    ("docs/ARCHITECTURE.md", "`store_write()`", "`store_insert()`", "there is no function store_insert()"),
    ("infra/local/tour.sh", "sleep 1", "sleep 2", "README.md: its tour is not that of infra/local/tour.sh"),
]


def problems_of(root: Path) -> list[str]:
    return [problem for check in CHECKS.values() for problem in check(Tree(root))]


def main() -> int:
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in (*SOURCE_FOLDERS, "docs"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for page in ("README.md", "LICENSE"):
            shutil.copy(ROOT / page, copy / page)
        before = set(problems_of(copy))
        for file, old, new, words in BREAKAGES:
            path = copy / file
            text = path.read_text()
            if old not in text:
                failures.append(f"{file} does not contain {old}: nothing to break")
                continue
            path.write_text(text.replace(old, new, 1))
            if not any(words in problem for problem in set(problems_of(copy)) - before):
                failures.append(f"{file} with {new or 'nothing'} in place of {old}: not found")
            path.write_text(text)
    for failure in failures:
        print(f"tests/docs/selftest.py: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
