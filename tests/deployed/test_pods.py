# SPDX-License-Identifier: Apache-2.0
"""Pods that are deleted at random while people are at it, as when nodes are emptied or lost: nothing is lost, doubled or
sold twice. TEST_SEED decides which pods, when and how."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from checker import CHECKS, SHOWN_MAX, Evidence
from deployed import BUS, STORE, DeployedSystem, deployed_system
from harness import wait_until
from journal import DONE
from trial import ALL_KINDS, Trial

pytestmark = pytest.mark.deployed("pods")

SEED_MAX = 10**6
# Of each part so many deletions.
ROUNDS = 3
PAUSE_SECONDS_MAX = 4.0


class Deletions(Trial):
    """One deletion after the other, whether what the last one did is over or not."""

    def __init__(self, system: DeployedSystem, folder: Path, seed: int):
        super().__init__(system, folder)
        self.seed = seed

    def _kill(self) -> None:
        rng = random.Random(self.seed)
        parts = list(self.operator.parts) * ROUNDS
        rng.shuffle(parts)
        for part in parts:
            self._delete_one(part, rng)
            time.sleep(rng.uniform(0, PAUSE_SECONDS_MAX))
        self.system.deployment.heal()
        self.people.wait_done(ALL_KINDS)

    def summary(self) -> str:
        deleted = ", ".join(f"{count} of {part}" for part, count in sorted(self.killed.items()))
        outcomes = Counter(answer.outcome for answer in self.people.journal.answers())
        return (f"seed {self.seed}: {self.killed.total()} pods deleted ({deleted}), {len(self.deaths)} of them at once; "
                f"{outcomes.total()} requests that write: {', '.join(f'{n} {kind}' for kind, n in outcomes.most_common())}")

    def _delete_one(self, part: str, rng: random.Random) -> None:
        wait_until(lambda: self.operator.running(part), f"a pod of {part} runs")
        pod = rng.choice(self.operator.running(part))
        at_once = rng.random() < 0.5
        print(f"deleting {pod}{', at once' if at_once else ''}", flush=True)
        if at_once:
            self._kill_container(part, pod)
        else:
            self.system.deployment.is_intact = False
            self.killed[part] += 1
            self.operator.delete(pod)


@pytest.fixture(scope="module")
def deletions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Deletions, Evidence]:
    """Done once; each test looks at one side of what was found."""
    folder = tmp_path_factory.mktemp("deletions")
    seed = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(SEED_MAX))
    print(f"seed {seed}", flush=True)
    with deployed_system(folder) as system:
        deletions = Deletions(system, folder, seed)
        return deletions, deletions.run()


def test_pods_of_all_parts_are_deleted_while_people_are_at_it(deletions: tuple[Deletions, Evidence],
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    done, evidence = deletions
    with capsys.disabled():
        print(f"\n{done.summary()}")
    assert done.killed == Counter({part: ROUNDS for part in done.operator.parts})
    assert {BUS, STORE} <= set(done.killed)
    counts = done.people.journal.counts()
    assert all(counts[kind][DONE] for kind in ALL_KINDS), counts
    assert evidence.events and evidence.changed


@pytest.mark.parametrize("claim", CHECKS)
def test_when_all_is_quiet_again(deletions: tuple[Deletions, Evidence], claim: str) -> None:
    found = CHECKS[claim](deletions[1])
    assert not found, "\n".join([f"seed {deletions[0].seed}", *found[:SHOWN_MAX], f"{len(found)} in all"])
