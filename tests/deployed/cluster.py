#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Deploys Turnstile to the cluster that kubectl points to, in a namespace of its own, and tests it: `make test-cluster`.

The images are built and brought to the cluster; what is deployed is an overlay of infra/k8s, with an ingress host of its
own, so that nothing that is there already is disturbed. Then, all of it through the ingress:

- the tour, https, what must not be reachable, errors in the errors format;
- the integration tests that have the marker `deployed`, and those that delete pods at random while people are at it;
- a rolling update of every service, during which not one request may fail;
- in the end no container has restarted by itself, nothing waits, and the replicas are what their owners have.

Whatever happens, also after SIGINT and SIGTERM, the namespace is deleted at the end. What is needed to understand a failure
stays in build/test-cluster. Exit status 0: all is as it should be; 1: not so; 130: interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "integration")]

import interrupts  # noqa: E402
from cluster_system import OVERLAYS, ClusterSystem, remove_forgotten  # noqa: E402
from databases import MongoStores, Stores  # noqa: E402
from harness import ROOT  # noqa: E402
from images import Pulling, images_of  # noqa: E402
from kubectl import Failure, Kubectl, stop, wait_for  # noqa: E402
from outside import check_outside, take_tour  # noqa: E402
from replicas import differences  # noqa: E402
from traffic import Traffic  # noqa: E402

# What is deployed if nobody says so: the published images of MongoDB and NATS, or stand-ins where they cannot be pulled.
PUBLISHED, STAND_IN = "local", "debian"
# preStop.sleep
OLDEST = (1, 30)
TESTS = ("tests/integration", "tests/deployed/test_containers.py", "tests/deployed/test_pods.py")
TESTS_SECONDS_MAX = 1800
STOP_SECONDS_MAX = 60
ROLLOUT_SECONDS_MAX = 300.0
SETTLE_SECONDS_MAX = 120.0
PEOPLE, RATE = 8, 40.0
# How long people are at it before the update and after it.
BEFORE_SECONDS, AFTER_SECONDS = 3.0, 3.0
SHOWN_MAX = 10
SEED_MAX = 10**6


@dataclass
class Step:
    name: str
    seconds: float
    said: str
    problem: str


@dataclass
class Options:
    services: list[str]
    build: Path
    overlay: str
    registry: str
    ingress: str
    ingress_tls: str
    only: str
    seed: int


class Run:
    """The steps from the images to the memory that all of it takes in the end."""

    def __init__(self, options: Options, context: str):
        self.system = ClusterSystem(context, options.services, options.registry)
        self.steps: list[Step] = []
        self._options = options
        self._overlay = options.overlay

    def all(self) -> bool:
        """Whether all is as it should be. Without what is deployed the rest makes no sense; else one failure is none of
        the next step's business."""
        if all(self._step(*step) for step in (("images", self._images), ("manifests", self._manifests),
                                              ("deployment", self._deploy), ("ingress", self._reach),
                                              ("events", self._wait_for_events))):
            self._step("tour", self._tour)
            self._step("what is let through", self._outside_checks)
            self._step("tests", self._tests)
            self._step("rolling update", self._rolling_update)
            self._step("replicas", self._replicas)
            self._step("restarts", self._restarts)
            self._step("memory", self._memory)
        return not any(step.problem for step in self.steps)

    def _step(self, name: str, do: Callable[[], str]) -> bool:
        print(f"==== {name}", flush=True)
        begun = time.monotonic()
        said = problem = ""
        try:
            said = do()
        except (Failure, AssertionError, subprocess.SubprocessError, OSError) as failure:
            problem = str(failure) or repr(failure)
        seconds = time.monotonic() - begun
        self.steps.append(Step(name, seconds, said, problem))
        print(f"---- {name}: {f'FAILED: {problem}' if problem else said} ({seconds:.1f} s)", flush=True)
        return not problem

    def summary(self) -> str:
        width = max(len(step.name) for step in self.steps)
        return "\n".join(f"  {step.name:<{width}}  {step.seconds:6.1f} s  {'FAILED' if step.problem else step.said}"
                         for step in self.steps)

    # ---- what is deployed ----

    def _images(self) -> str:
        builder = self.system.builder
        pulling = None if self._overlay else Pulling(self.system.kubectl, self._published_images())
        builder.build_programs(self._options.services)
        if pulling is not None:
            problem = pulling.problem()
            self._overlay = STAND_IN if problem else PUBLISHED
            if problem:
                print(f"MongoDB and NATS are stood in for (overlay {STAND_IN}), as the cluster cannot pull their images: "
                      f"{problem}", flush=True)
        if self._overlay.endswith(STAND_IN):
            builder.build_stand_ins()
        builder.deliver()
        return f"overlay {self._overlay}, tag {builder.tag}"

    def _published_images(self) -> set[str]:
        """Those that are not built here."""
        return {image for image in images_of(self.system.kubectl, OVERLAYS / PUBLISHED) if not image.startswith("turnstile-")}

    def _manifests(self) -> str:
        return f"taken by the server: {', '.join(self.system.check_overlays())}"

    def _deploy(self) -> str:
        begun = time.monotonic()
        security = self.system.deploy(self._overlay)
        return (f"{len(self.system.pods.present())} pods are ready after {time.monotonic() - begun:.1f} s, "
                f"Pod Security {security}")

    def _reach(self) -> str:
        self._outside = self.system.reach(self._options.ingress, self._options.ingress_tls)
        plain = self._outside.plain
        return f"at {plain.machine}:{plain.port}, host {plain.host}"

    def _wait_for_events(self) -> str:
        self._outside.wait_for_events()
        return "tickets can be reserved"

    # ---- what is tested ----

    def _tour(self) -> str:
        take_tour(self._outside.plain, self.system.make_folder("tour"))
        return "does what it says"

    def _outside_checks(self) -> str:
        return f"{check_outside(self._outside)} requests are answered as they should be"

    def _tests(self) -> str:
        """By pytest, which prints what it does."""
        description, counts = self.system.folder / "deployment.json", self.system.folder / "counts"
        description.write_text(json.dumps(self.system.description(self._outside), indent=2))
        environment = os.environ | {
            "TEST_DEPLOYMENT": str(description), "TEST_SEED": str(self._options.seed), "TURNSTILE_COUNTS": str(counts),
            "TURNSTILE_BUILD": str(self._options.build), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short", "--durations=10",
                   "-m", "deployed", *TESTS, *(["-k", self._options.only] if self._options.only else [])]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
        try:
            status = process.wait(TESTS_SECONDS_MAX)
        finally:
            end(process)
        passed, failed, skipped = counts.read_text().split()
        said = f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped != "0" else "")
        if status != 0 or passed == "0":
            raise Failure(f"{said}; pytest ended with status {status}")
        return said

    def _rolling_update(self) -> str:
        """Every Deployment at once; people are at it from before the first pod goes until after the last one is gone."""
        system = self.system
        traffic = Traffic(self._outside.plain, f"rolling-{system.run}", PEOPLE, RATE)
        old = {pod.uid for service in system.services for pod in system.pods.present(service)}
        traffic.start()
        try:
            time.sleep(BEFORE_SECONDS)
            begun = time.monotonic()
            system.kubectl.run("rollout", "restart", *(f"deployment/{service}-depl" for service in system.services))
            for service in system.services:
                system.kubectl.run("rollout", "status", f"deployment/{service}-depl", seconds=ROLLOUT_SECONDS_MAX)
            wait_for(lambda: not any(pod.uid in old for pod in system.pods.present()), "the old pods are gone",
                     ROLLOUT_SECONDS_MAX)
            seconds = time.monotonic() - begun
            time.sleep(AFTER_SECONDS)
        finally:
            traffic.stop()
        if traffic.failures:
            raise Failure("\n".join([f"{len(traffic.failures)} of {traffic.count} requests failed:",
                                     *traffic.failures[:SHOWN_MAX]]))
        kinds = ", ".join(f"{count} by {kind}" for kind, count in sorted(traffic.answered.items()))
        return (f"{len(old)} pods replaced in {seconds:.1f} s, {traffic.count} requests ({kinds}), none failed, "
                f"the slowest took {traffic.slowest * 1000:.0f} ms")

    # ---- the end ----

    def _replicas(self) -> str:
        stores = MongoStores(self.system.store_uri)
        try:
            wait_for(lambda: not any(stores.outbox(service) for service in self.system.services),
                     "all outboxes are empty", SETTLE_SECONDS_MAX)
            wait_for(lambda: not disagreements(stores), "services agree", SETTLE_SECONDS_MAX)
            tickets, orders = (len(stores.records(service, service)) for service in ("tickets", "orders"))
            return f"all outboxes are empty; {tickets} tickets, their replicas and {orders} orders agree"
        except Failure as failure:
            raise Failure("\n".join([str(failure), *disagreements(stores)[:SHOWN_MAX]])) from failure
        finally:
            stores.stop()

    def _restarts(self) -> str:
        if found := self.system.pods.restarts():
            raise Failure("\n".join(found))
        return f"none, in {len(self.system.pods.all())} pods"

    def _memory(self) -> str:
        used = self.system.memory()
        for name, size in sorted(used.items()):
            print(f"  {name:<32} {size:6.1f} MiB", flush=True)
        return f"{sum(used.values()):.0f} MiB in {len(used)} pods, {max(used.values()):.0f} MiB at most"


def disagreements(stores: Stores) -> list[str]:
    """Between tickets and their replicas, and between tickets and the orders that hold them."""
    live: dict[str, list[str]] = {}
    for id, order in stores.records("orders", "orders").items():
        if order["status"] != "cancelled":
            live.setdefault(str(order["ticket.id"]), []).append(id)
    found = differences(stores)
    for id, ticket in stores.records("tickets", "tickets").items():
        holders = [str(ticket["orderId"])] if "orderId" in ticket else []
        if holders != live.get(id, []):
            found.append(f"tickets/{id}: held by {holders}, its live orders are {live.get(id, [])}")
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """Interrupts it, so that it can end what it has begun."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            stop(process)


def test(options: Options) -> bool:
    begun = time.monotonic()
    kubectl = Kubectl()
    version = kubectl.version()
    if version < OLDEST:
        raise Failure(f"the cluster is Kubernetes {version[0]}.{version[1]}; {OLDEST[0]}.{OLDEST[1]} is the oldest that "
                      "will do")
    if options.overlay and not (OVERLAYS / options.overlay).is_dir():
        raise Failure(f"there is no overlay {options.overlay} in {OVERLAYS.relative_to(ROOT)}")
    run = Run(options, kubectl.context)
    run.system.builder.check()
    for name in remove_forgotten(kubectl):
        print(f"test-cluster: deleting {name}, which was left behind", flush=True)
    print(f"test-cluster: context {kubectl.context}, Kubernetes {version[0]}.{version[1]}, namespace "
          f"{run.system.namespace}, seed {options.seed}", flush=True)
    succeeded = False
    try:
        run.system.begin()
        succeeded = run.all()
    finally:
        with interrupts.signals_ignored():
            if not succeeded:
                run.system.gather()
            run.system.end()
    print(f"\ntest-cluster: {'all is as it should be' if succeeded else 'FAILED'} after "
          f"{time.monotonic() - begun:.0f} s\n{run.summary()}", flush=True)
    if succeeded:
        shutil.rmtree(run.system.folder)
    else:
        print(f"Logs, events and descriptions are in {run.system.folder.relative_to(ROOT)}; seed {options.seed}", flush=True)
    return succeeded


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", default="auth tickets orders", help="what is deployed")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release", help="where eventctl is")
    parser.add_argument("--overlay", default="", help=f"of infra/k8s/overlays; else {PUBLISHED}, or {STAND_IN} where images "
                        "cannot be pulled")
    parser.add_argument("--registry", default="", help="host/path where the cluster gets images; else they are loaded into it")
    parser.add_argument("--ingress", default="", help="host:port; else as the Ingress says")
    parser.add_argument("--ingress-tls", default="", help="host:port; else port 443 of the same host")
    parser.add_argument("--only", default="", help="of the tests by pytest, those whose names contain this")
    parser.add_argument("--seed", type=int, help="which pods are deleted, and when; else at random")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(SEED_MAX)
    interrupts.begin()
    return 0 if test(Options(given.services.split(), given.build.resolve(), given.overlay, given.registry, given.ingress,
                             given.ingress_tls, given.only, seed)) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"test-cluster: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
