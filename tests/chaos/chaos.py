#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lets everything go wrong at once for a while, and then checks that nothing was lost, doubled or sold twice.

Real processes, two instances of each service, several users; kills, freezes, cut connections, doubles and garbage at
random from a seed. Exit status 0: all is as it should be; 1: it is not, and the logs are kept; 130: interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from buses import BUSES  # noqa: E402
from checker import SHOWN_MAX, Evidence, check  # noqa: E402
from faults import Faults, Limits  # noqa: E402
from gather import gather  # noqa: E402
from injector import Injector  # noqa: E402
from journal import Journal  # noqa: E402
from load import Load  # noqa: E402
from stores import COLLECTIONS, STORES  # noqa: E402
from table import table  # noqa: E402
from world import INSTANCES, WITH_BUS, World  # noqa: E402

TICK_SECONDS = 0.02
LOOK_SECONDS = 0.25
MEASURE_SECONDS = 5.0
SETTLE_SECONDS_MAX = 120.0
SEED_MAX = 10**6
ACCOUNTS = 5
BUILD = ROOT / "build" / "release"
RATE = 60.0


@dataclass
class Options:
    build: Path
    folder: Path
    store: str
    bus: str
    seed: int
    seconds: float
    rate: float
    limits: Limits
    verbose: bool

    @property
    def pair(self) -> str:
        return f"{self.store}, {self.bus}"

    @property
    def again(self) -> str:
        """How to run it again, with the same programs and limits: with other limits, a seed makes other faults."""
        if (self.build, self.rate, self.limits) == (BUILD, RATE, Limits()):
            return f"make chaos SEED={self.seed} STORE={self.store} BUS={self.bus} SECONDS={self.seconds:g}"
        return (f"{sys.executable} -B tests/chaos/chaos.py --build {os.path.relpath(self.build, ROOT)}"
                f" --store {self.store} --bus {self.bus} --seconds {self.seconds:g} --seed {self.seed}"
                f" --rate {self.rate:g} --frozen-max {self.limits.frozen:g} --away-max {self.limits.away:g}")


class Run:
    """One pair of engines."""

    def __init__(self, options: Options):
        self._options = options
        self._started = time.monotonic()
        self.world = World(options.folder, options.build, STORES[options.store](options.folder),
                           BUSES[options.bus](options.folder))
        self._journal = Journal()
        self._diary = open(options.folder / "chaos.log", "w", encoding="utf-8")
        self._measured = 0.0

    def say(self, text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {time.monotonic() - self._started:6.1f} s  {text}"
        print(line, file=self._diary, flush=True)
        if self._options.verbose:
            print(line, flush=True)

    def run(self) -> list[str]:
        """Returns what was found wrong, in lines; prints the table."""
        world, options = self.world, self._options
        world.start()
        injector = Injector(world.bus, options.build, self._journal)
        ports = {service: world.ports(service) for service in COLLECTIONS}
        load = Load(ports, self._journal, options.seed, ACCOUNTS, options.rate)
        load.start()
        faults = Faults(world, injector, options.seed, options.limits, self.say)
        begun = time.monotonic()
        while (now := time.monotonic()) < begun + options.seconds:
            faults.tick(now)
            self._tick()
        self.say("the load stops, all faults end")
        load.stop()
        world.heal()
        injector.finish()
        healed = time.monotonic()
        problems = self._settle(load, injector)
        self.say("settled")
        settled = time.monotonic()
        evidence = gather(world, self._journal, injector, options.limits.frozen)
        evidence.problems += problems + load.problems + world.stop() + world.reports()
        found = [f"{name}: {line}" for name, lines in check(evidence).items() for line in shorten(lines)]
        print(table(world, self._journal, faults, injector, evidence,
                    {"load": healed - begun, "settling": settled - healed, "all": time.monotonic() - self._started}))
        return found

    def _tick(self) -> None:
        self.world.tick()
        if time.monotonic() - self._measured > MEASURE_SECONDS:
            self.world.measure()
            self._measured = time.monotonic()
        time.sleep(TICK_SECONDS)

    def _settle(self, load: Load, injector: Injector) -> list[str]:
        """Waits until all is quiet; returns what is not."""
        canaries = [load.canary(number) for number in range(INSTANCES)]
        conditions: list[tuple[str, Callable[[], bool]]] = [
            ("the load has ended", lambda: not load.is_running()),
            ("all that was to be injected is on the bus", lambda: not injector.is_running()),
            ("all services are ready", self.world.is_ready),
            *((f"a ticket is listed, reserved and freed at the instances {number}", canary.step)
              for number, canary in enumerate(canaries, 1)),
            ("outboxes are empty, and everything is acknowledged", self._is_quiet),
            ("replicas have caught up", self._is_converged),
        ]
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        looked = 0.0
        while conditions:
            self._tick()
            if time.monotonic() - looked < LOOK_SECONDS:
                continue
            while conditions and conditions[0][1]():
                self.say(conditions.pop(0)[0])
            looked = time.monotonic()
            if looked > deadline:
                return [f"still not so after {SETTLE_SECONDS_MAX:.0f} s: {what}" for what, _ in conditions]
        return []

    def _is_quiet(self) -> bool:
        return not any(self.world.store.outbox(service) for service in WITH_BUS) and not self.world.bus.waiting()

    def _is_converged(self) -> bool:
        versions = [{id: record.version for id, record in self.world.store.records(service, "tickets").items()}
                    for service in ("tickets", "orders")]
        return versions[0] == versions[1]

    def close(self) -> None:
        self.world.abandon()
        self._diary.close()


def shorten(lines: list[str]) -> list[str]:
    return lines[:SHOWN_MAX] + ([f"and {len(lines) - SHOWN_MAX} more"] if len(lines) > SHOWN_MAX else [])


def run_pair(options: Options) -> bool:
    print(f"chaos [{options.pair}]: seed {options.seed}, {options.seconds:g} s", flush=True)
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    found: list[str] = []
    with contextlib.ExitStack() as stack:
        run = Run(options)
        stack.callback(run.close)
        try:
            found = run.run()
        except KeyboardInterrupt:
            raise
        except Exception as problem:  # whatever it is, the seed and the logs are to be known
            found = [f"{type(problem).__name__}: {problem}"]
            if options.verbose:
                raise
    if not found:
        shutil.rmtree(options.folder, ignore_errors=True)
        print(f"chaos [{options.pair}]: all is as it should be", flush=True)
        return True
    for line in found:
        print(f"  {line}")
    print(f"chaos [{options.pair}]: FAILED with seed {options.seed}; the logs are in {options.folder}\n"
          f"  to run it again: {options.again}", flush=True)
    return False


def pairs(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    for store in [options.store] if options.store else STORES:
        for bus in [options.bus] if options.bus else BUSES:
            yield store, bus


def interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=BUILD, help="where the programs are")
    parser.add_argument("--store", choices=STORES, help="one store; else each in turn")
    parser.add_argument("--bus", choices=BUSES, help="one bus; else each in turn")
    parser.add_argument("--seconds", type=float, default=600, help="how long each pair has to endure it")
    parser.add_argument("--seed", type=int, help="what goes wrong, and when; else at random")
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second")
    parser.add_argument("--frozen-max", type=float, default=Limits.frozen,
                        help="seconds for which a process is frozen at most")
    parser.add_argument("--away-max", type=float, default=Limits.away,
                        help="seconds for which anything else lasts at most")
    parser.add_argument("--verbose", action="store_true", help="tell each fault")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    limits = Limits(options.frozen_max, options.away_max, options.away_max)
    succeeded = True
    for store, bus in pairs(options):
        seed = options.seed if options.seed is not None else random.SystemRandom().randrange(SEED_MAX)
        folder = options.build.resolve() / "chaos" / f"{store}-{bus}-{os.getpid()}"
        succeeded &= run_pair(Options(options.build.resolve(), folder, store, bus, seed, options.seconds, options.rate,
                                      limits, options.verbose))
    return 0 if succeeded else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
