# SPDX-License-Identifier: Apache-2.0
"""Containers that are killed while people are at it, added, and restarted: nothing is lost, doubled or sold twice."""

from __future__ import annotations

from typing import Any

import pytest
from checker import CHECKS, SHOWN_MAX, Evidence
from deployed import ASK_SECONDS, DeployedSystem, deployed_system
from harness import wait_until
from journal import DONE, UNKNOWN
from market import Market
from replicas import differences
from trial import ALL_KINDS, KINDS, People, Trial

pytestmark = pytest.mark.deployed

INSTANCES = 3
GOODBYE = "NATS connection closed!"


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, Evidence]:
    """Done once; each test looks at one side of what was found."""
    folder = tmp_path_factory.mktemp("trial")
    with deployed_system(folder) as system:
        trial = Trial(system, folder)
        return trial, trial.run()


def test_every_kind_of_container_is_killed_while_people_are_at_it(trial: tuple[Trial, Evidence]) -> None:
    done, evidence = trial
    assert set(done.killed) == set(done.operator.parts)
    for service in KINDS:
        assert done.killed[service] >= 1 + 2 * 2, f"of {service} one, and all of them twice"
    counts = done.people.journal.counts()
    assert all(counts[kind][DONE] for kind in ALL_KINDS), counts
    assert evidence.events and evidence.changed and len(evidence.owned("ticket")) > len(done.deaths)


@pytest.mark.parametrize("claim", CHECKS)
def test_when_all_is_quiet_again(trial: tuple[Trial, Evidence], claim: str) -> None:
    found = CHECKS[claim](trial[1])
    assert not found, "\n".join([*found[:SHOWN_MAX], f"{len(found)} in all"])


def test_a_third_instance_takes_its_share_and_nobody_notices(system: DeployedSystem) -> None:
    operator = system.deployment.operator
    before = len(operator.running("tickets"))
    people = People(system, system.mark)
    people.start()
    system.deployment.is_intact = False
    try:
        operator.scale("tickets", INSTANCES)
        system.deployment.wait_ready("tickets")
        assert len(operator.running("tickets")) == INSTANCES
        if "balanced" in system.deployment.features:
            wait_until(lambda: all(" /api/tickets" in log for log in operator.logs("tickets", system.began).values()),
                       "each of them has been asked", pause=ASK_SECONDS)
        people.wait_done(ALL_KINDS)
        # A store that is slow for a moment is told of by 503, and has nothing to do with it.
        unanswered = [each for each in people.journal.answers() if each.outcome == UNKNOWN and each.status != 503]
        assert not unanswered, unanswered
    finally:
        people.load.stop()
        operator.scale("tickets", before)
    people.stop()
    system.wait_quiet()
    assert differences(system.stores) == []


def records(system: DeployedSystem) -> dict[tuple[str, str], Any]:
    collections = (("auth", "users"), ("tickets", "tickets"), ("orders", "orders"), ("orders", "tickets"))
    return {place: system.stores.records(*place) for place in collections}


def test_all_is_there_after_everything_was_stopped_and_started(system: DeployedSystem) -> None:
    market = Market(system)
    seller, buyer = market.user(), market.user()
    ticket, other = (market.list_ticket(seller)["id"] for _ in range(2))
    market.wait_replica(ticket)
    market.wait_replica(other)
    order = market.reserve(buyer, ticket)
    wait_until(lambda: market.holder(ticket) == order["id"], "the ticket is reserved")
    market.wait_settled()
    operator = system.deployment.operator
    events = {subject: system.broker.message_count(subject) for subject in ("ticket:created", "order:created")}
    before = records(system)
    system.deployment.is_intact = False
    for part in reversed(operator.parts):
        operator.stop(part)
    for service in KINDS:
        logs = operator.logs(service, system.began).values() if operator.keeps_logs else []
        assert all(GOODBYE in log for log in logs) or service == "auth", f"not every instance of {service} left the bus"
    system.deployment.heal()
    assert records(system) == before
    assert {subject: system.broker.message_count(subject) for subject in events} == events
    assert market.ticket(ticket)["orderId"] == order["id"]
    market.cancel(buyer, order["id"])
    again = market.reserve(buyer, other)
    wait_until(lambda: market.holder(ticket) is None and market.holder(other) == again["id"], "all works as before")
