# SPDX-License-Identifier: Apache-2.0
"""A system that is deployed already, in containers behind an ingress, for the tests that have the marker `deployed`.

TEST_DEPLOYMENT=<file> chooses it: then the fixture `system` is a DeployedSystem, and only tests with the marker are run.
Whoever deploys it (tests/deployed/compose.py, tests/deployed/cluster.py) writes the file, in JSON:

    {
      "ingress": {"address": "127.0.0.1", "port": 8080, "host": "ticketing.dev"},
      "bus": {"uri": "stan://127.0.0.1:4222/ticketing", "monitor": "http://127.0.0.1:8222"},
      "stores": {"auth": "mongodb://127.0.0.1:27017/auth", "tickets": "…", "orders": "…"},
      "jwt_key": "…",
      "features": ["nginx", "freeze"],
      "operator": {"class": "compose_operator.ComposeOperator", "settings": {"project": "turnstile-test-1a2b"}}
    }

- ingress: where clients of the system speak to. `host` is sent as their Host header; it may be left out.
- bus: as this machine reaches it, for eventctl and for looking at its monitoring pages, both at one address. These ports,
  like those of the stores, stay the same for as long as the tests run, whatever is killed; while the bus is away
  connections to them fail.
- stores: as this machine reaches them, with a user that may read and write.
- jwt_key: what the services verify tokens with; tests make tokens of their own.
- features: what only some deployments have. A test that needs one says so, @pytest.mark.deployed("nginx"), and is not
  run on others. "nginx": the ingress is this project's own nginx. "freeze": its operator can freeze and thaw. "stays":
  what the operator kills stays away until it is started. "balanced": the ingress chooses an instance for each request, so
  that a new one has its share at once. "pods": the containers are pods, and the operator can delete them.
- operator: the class, in a module in tests/deployed, that acts on the containers, and the keyword arguments that it is
  made with. What it has to do is said in tests/deployed/operators.py.

Tests have the marker, unless they can hold on a system of their own only, being of one of these kinds:

- they give a service settings or failpoints, or look at what follows from them: holds and timeouts, one worker, limits on
  signing in and up, which moreover go by an address that no ingress takes from a client;
- they are about one process: its own port (/healthz, /readyz, /metrics, HTTP that an ingress would mend or refuse), its log,
  memory and descriptors, signals to it, how it starts, stops, and is called from a command line;
- they let a broker or a store forget, put other files in its place, bring one of their own, or look at those of SQLite;
- they say on the bus what an owner's records contradict, or replay and discard whatever is open;
- they count from nothing: all tickets there are, the numbers of a channel's messages, the clients of the bus;
- what they ask is answered by stand-ins for services, or by eventctl alone;
- they kill or restart much, which takes long in containers, and tests/deployed does so with all that people can do.

The stores and the bus are shared by all tests, and not empty. So a test that has the marker makes users of its own
(Market.user), looks at its own records only, and publishes nothing in the name of a service that this service's records
contradict, or sets it right at its end. A service has as many instances as were deployed, behind one address: which of
them gets a request nobody knows. The handles that a test has of one service share its containers between them, so that who
has one handle kills all instances by it, and who has two, half of them each.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import importlib
import json
import re
import secrets
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any, Iterator

import pymongo
import pytest

from databases import MongoStores
from engines import STREAM
from harness import DEPLOYMENT, INGRESS_HOST, PATIENCE, ROOT, Broker, Client, System, wait_until
from market import is_settled
from pairs import JetStreamBroker
from runner_support import Front

TOUR = ROOT / "infra" / "local" / "tour.sh"
TOUR_ADDRESS = "http://localhost:8080"
OPERATORS = ROOT / "tests" / "deployed"
BUS, STORE, INGRESS = "bus", "store", "ingress"
# What anybody may ask the ingress for, and what it is answered when services and stores are well.
PROBES = (("/api/users/currentuser", 200), ("/api/tickets?limit=1", 200), ("/api/orders", 401))
PROBE_SECONDS_MAX = 5.0
READY_SECONDS_MAX = 120.0
# To ask a container is a program's start, and costs those who are asked what they need to get ready.
ASK_SECONDS = 0.25


class Deployment:
    """What the file says, and who acts on the containers."""

    def __init__(self, path: Path):
        said = json.loads(path.read_text())
        self.address: str = said["ingress"]["address"]
        self.port: int = said["ingress"]["port"]
        self.host: str = said["ingress"].get("host", "")
        self.bus_uri: str = said["bus"]["uri"]
        self.monitor: str = said["bus"]["monitor"]
        self.store_uris: dict[str, str] = said["stores"]
        self.features = frozenset(said["features"])
        module, name = said["operator"]["class"].rsplit(".", 1)
        if str(OPERATORS) not in sys.path:
            sys.path.append(str(OPERATORS))
        self.operator = getattr(importlib.import_module(module), name)(**said["operator"]["settings"])
        # Nobody has done anything to it since all of it was seen to be well.
        self.is_intact = False
        self.known_surprises: set[str] = set()

    def client(self, token: str | None = None, seconds: float = PATIENCE) -> Client:
        return Client(self.port, token, self.address, self.host, seconds)

    def answers(self) -> bool:
        """The ingress finds the services, and they their stores."""
        client = self.client(seconds=PROBE_SECONDS_MAX)
        try:
            return all(client.get(path).status == status for path, status in PROBES)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            client.close()

    def heal(self) -> None:
        """Starts what is down, and waits until all are ready."""
        operator = self.operator
        for part in operator.parts:
            operator.start(part)
        for part in operator.parts:
            self.wait_ready(part)
        wait_until(self.answers, "the ingress finds all services", READY_SECONDS_MAX)
        self.is_intact = True

    def wait_ready(self, part: str) -> None:
        wait_until(lambda: self.operator.is_ready(part), f"{part} is ready", READY_SECONDS_MAX, ASK_SECONDS)

    def check_surprises(self) -> None:
        """Nobody has ended by themselves since this was looked at last."""
        found = [line for line in self.operator.surprises() if line not in self.known_surprises]
        self.known_surprises.update(found)
        assert not found, "\n".join(found)


class DeployedBroker:
    """What a test does to a broker, done to containers. It comes before the class of a broker, of which it leaves what
    looks at the monitoring pages."""

    name = BUS

    def __init__(self, deployment: Deployment):
        bus, monitor = urllib.parse.urlsplit(deployment.bus_uri), urllib.parse.urlsplit(deployment.monitor)
        self.deployment = deployment
        # Of a list of servers, the first one.
        self.port = int(bus.netloc.rpartition("@")[2].split(",")[0].rpartition(":")[2])
        self.address, self.monitor_port = monitor.hostname, monitor.port

    @property
    def uri(self) -> str:
        return self.deployment.bus_uri

    @property
    def running(self) -> bool:
        return bool(self.deployment.operator.running(BUS))

    def start(self) -> None:
        self.deployment.operator.start(BUS)
        wait_until(self.answers, "the broker answers", READY_SECONDS_MAX)

    def stop(self) -> int:
        self.deployment.is_intact = False
        self.deployment.operator.stop(BUS)
        return 0

    def kill(self) -> None:
        self.deployment.is_intact = False
        for container in self.deployment.operator.running(BUS):
            self.deployment.operator.kill(container)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        self.deployment.is_intact = False
        self.deployment.operator.freeze(BUS)

    def thaw(self) -> None:
        self.deployment.operator.thaw(BUS)

    def log(self) -> str:
        return "".join(self.deployment.operator.logs(BUS).values())


class DeployedStan(DeployedBroker, Broker):
    def answers(self) -> bool:
        with contextlib.suppress(OSError, ValueError, KeyError, http.client.HTTPException):
            return self.monitor("/streaming/serverz")["state"] == "STANDALONE"
        return False


class DeployedJetStream(DeployedBroker, JetStreamBroker):
    def answers(self) -> bool:
        """And all servers of a cluster have all that is there, so that the next one may be killed."""
        cluster = self._asked(f"STREAM.INFO.{STREAM}").get("cluster", {})
        return bool(cluster.get("leader")) and all(
            replica["current"] and not replica.get("offline") for replica in cluster.get("replicas") or []
        )

    def consumer(self, subject: str, queue: str) -> dict[str, Any]:
        """As its leader knows it: the monitoring page of another server of the cluster may be behind."""
        found = self._asked(f"CONSUMER.INFO.{STREAM}.{queue}:{subject}")
        return found if "error" not in found else {}

    def _asked(self, what: str) -> Any:
        with contextlib.suppress(OSError, ValueError):
            return self._request(f"$JS.API.{what}", {})
        return {}


class DeployedFront(Front):
    def __init__(self) -> None:
        self.address, self.http_port = deployment().address, deployment().port


class DeployedService:
    """What a test does to an instance of a service, done to its share of the containers."""

    def __init__(self, system: DeployedSystem, service: str, number: int):
        self.system = system
        self.service = service
        self.number = number
        self.name = f"{service}-{number + 1}"
        self.address, self.port = system.deployment.address, system.deployment.port

    def client(self, token: str | None = None) -> Client:
        return self.system.deployment.client(token)

    @property
    def running(self) -> bool:
        return any(self._is_mine(container) for container in self.system.deployment.operator.running(self.service))

    def kill(self) -> None:
        self.system.deployment.is_intact = False
        for container in filter(self._is_mine, self.system.deployment.operator.running(self.service)):
            self.system.deployment.operator.kill(container)

    def stop(self) -> int:
        assert self.system.handles[self.service] == 1, "one instance of several cannot be stopped everywhere: kill it"
        self.system.deployment.is_intact = False
        self.system.deployment.operator.stop(self.service)
        return 0

    def start(self, wait: bool = True) -> None:
        self.system.deployment.operator.start(self.service)
        if wait:
            self.wait_ready()

    def wait_ready(self, bus: bool | None = None) -> None:
        """Ready to serve. Whether the bus is there nobody is told from outside."""
        self.system.deployment.wait_ready(self.service)
        wait_until(self.system.deployment.answers, "the ingress finds all services", READY_SECONDS_MAX)

    def log(self) -> str:
        """Since the test began."""
        logs = self.system.deployment.operator.logs(self.service, self.system.began)
        return "".join(text for container, text in logs.items() if self._is_mine(container))

    def wait_log(self, pattern: str, count: int = 1) -> list[str]:
        what = f"{count} lines of {self.name}'s log match {pattern!r}"
        return wait_until(lambda: self._lines(pattern, count), what, pause=ASK_SECONDS)

    def _lines(self, pattern: str, count: int) -> list[str]:
        found = [line for line in self.log().splitlines() if re.search(pattern, line)]
        return found if len(found) >= count else []

    def _is_mine(self, container: str) -> bool:
        return self.system.place(self.service, container) % self.system.handles[self.service] == self.number


class DeployedSystem(System):
    # To stop and start a container takes time, in which no more is to come together than is needed.
    pause = 0.1

    def __init__(self, deployment: Deployment, folder: Path):
        self.deployment = deployment
        is_jetstream = deployment.bus_uri.startswith("nats:")
        broker = DeployedJetStream(deployment) if is_jetstream else DeployedStan(deployment)
        super().__init__(folder, broker, MongoStores(lambda service: deployment.store_uris[service]))
        self.began = time.time()
        self.handles: dict[str, int] = {}
        self.mark = secrets.token_hex(4)
        self._containers: dict[str, list[str]] = {}

    def start(self) -> None:
        if not self.deployment.is_intact:
            self.deployment.heal()
            self.wait_quiet()

    def service(self, service: str, name: str | None = None, start: bool = True, **env: str) -> DeployedService:
        assert start and not env, f"{service} is deployed already, with the settings that it has"
        number = self.handles.get(service, 0)
        self.handles[service] = number + 1
        return DeployedService(self, service, number)

    def place(self, service: str, container: str) -> int:
        """Of a container among all of the service that this test has come across."""
        known = self._containers.setdefault(service, [])
        if container not in known:
            known.append(container)
        return known.index(container)

    def email(self, number: int) -> str:
        return f"user{number}-{self.mark}@example.com"

    def wait_quiet(self) -> None:
        """Every event is published, received and acknowledged: the next test finds nothing of this one under way."""
        wait_until(self._is_quiet, "all events are published, received and acknowledged", READY_SECONDS_MAX)

    def _is_quiet(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException, pymongo.errors.ConnectionFailure):
            return is_settled(self)
        return False

    def end(self) -> None:
        try:
            problems = self.end_processes() + self.reports()
            assert not problems, "\n".join(problems)
            if not self.deployment.is_intact:
                self.deployment.heal()
            self.wait_quiet()
            self.deployment.check_surprises()
        except BaseException:
            self.deployment.is_intact = False
            raise
        finally:
            self.stores.stop()


class DeployedMarket:
    """What test_whole.py looks at."""

    def __init__(self, system: DeployedSystem):
        self.front = DeployedFront()
        self.stores = system.stores
        self.address = f"http://{INGRESS_HOST}:{self.front.http_port}"
        self.tour = TOUR.read_text().replace(TOUR_ADDRESS, self.address)
        # For curl, whatever the host is called.
        (system.folder / ".curlrc").write_text(f'connect-to = "::{self.front.address}:{self.front.http_port}"\n')
        self.environment = {"CURL_HOME": str(system.folder)}
        self._system = system

    def log(self, service: str) -> str:
        return "".join(self._system.deployment.operator.logs(service, self._system.began).values())


@functools.cache
def deployment() -> Deployment:
    """The one that all tests of this run are run on."""
    assert DEPLOYMENT, "TEST_DEPLOYMENT names no system: make test-compose and make test-cluster start one, and set it"
    return Deployment(Path(DEPLOYMENT))


@contextlib.contextmanager
def deployed_system(folder: Path) -> Iterator[DeployedSystem]:
    """For one test; what it has killed runs again at its end."""
    system = DeployedSystem(deployment(), folder)
    try:
        system.start()
        yield system
    finally:
        system.end()


def can_be_run(test: pytest.Item) -> bool:
    """On what is deployed."""
    markers = list(test.iter_markers("deployed"))
    return bool(markers) and all(deployment().features.issuperset(marker.args) for marker in markers)


def deselect_others(config: pytest.Config, tests: list[pytest.Item]) -> None:
    others = [test for test in tests if not can_be_run(test)]
    config.hook.pytest_deselected(items=others)
    tests[:] = [test for test in tests if test not in others]
