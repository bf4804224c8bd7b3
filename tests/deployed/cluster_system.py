# SPDX-License-Identifier: Apache-2.0
"""Turnstile as `make test-cluster` puts it on a cluster: a namespace of its own, an overlay with images of its own and an
ingress host of its own, ways from this machine to the ingress, the bus and the stores, and the end of all that."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import secrets
import socket
import subprocess
from pathlib import Path
from typing import Any

from harness import ROOT, free_port
from images import STAND_INS, Builder
from kubectl import Failure, Forward, Kubectl, Logs, Pods, wait_for
from outside import Outside
from traffic import Address

OVERLAYS = ROOT / "infra" / "k8s" / "overlays"
SECRETS = ROOT / "infra" / "k8s" / "secrets.sh"
FOLDER = ROOT / "build" / "test-cluster"
DOMAIN = "ticketing.dev"
INGRESS = "ingress-service"
PREFIX, LABEL = "turnstile-test-", "turnstile-test"
TOKEN_BYTES, KEY_BYTES = 3, 32
# A namespace that is older was left behind by somebody who could not delete it any more.
AGE_SECONDS_MAX = 2 * 3600
READY_SECONDS_MAX = 300.0
INGRESS_SECONDS_MAX = 60.0
MEASURE_SECONDS_MAX = 60.0
DELETE_SECONDS_MAX = 180
CLIENT_PORT, MONITOR_PORT, STORE_PORT = 4222, 8222, 27017
HTTP_PORT, TLS_PORT = 80, 443
# Hundreds of users come from one address.
SIGNUPS_PER_MINUTE = 1_000_000
ENFORCE, WARN = "pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/warn"
RESTRICTED, BASELINE = "restricted", "baseline"
# The one container that is root, where volumes have to be opened for the others (infra/k8s/components/open-volumes).
OPENS_VOLUME = "open-volume"
CONTAINER = re.compile(r'container "([^"]+)"')
MIB = 2**20


class ClusterSystem:
    def __init__(self, context: str, services: list[str], registry: str):
        self.run = secrets.token_hex(TOKEN_BYTES)
        self.namespace = f"{PREFIX}{self.run}"
        self.host = f"{self.namespace}.{DOMAIN}"
        self.services = services
        self.folder = FOLDER / self.namespace
        self.kubectl = Kubectl(self.namespace, context)
        self.builder = Builder(self.kubectl, f"test-{self.run}", registry)
        self._key = secrets.token_hex(KEY_BYTES)
        self._closing = contextlib.ExitStack()

    def begin(self) -> None:
        """Makes the namespace."""
        self.folder.mkdir(parents=True)
        labels = {ENFORCE: RESTRICTED, WARN: RESTRICTED, LABEL: self.run}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}
        self.kubectl.run("create", "--filename=-", text=json.dumps(namespace))

    def make_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder

    # ---- deploying ----

    def check_overlays(self) -> list[str]:
        """The server takes every overlay, and has nothing to say against letting its pods run under restrictions."""
        overlays = sorted(path.name for path in OVERLAYS.iterdir() if (path / "kustomization.yaml").exists())
        for overlay in overlays:
            result = self.kubectl.ask("apply", "--dry-run=server", "--kustomize", str(OVERLAYS / overlay))
            warnings = [line for line in result.stderr.splitlines() if set(CONTAINER.findall(line)) != {OPENS_VOLUME}]
            if result.returncode != 0 or warnings:
                raise Failure(f"overlay {overlay}: {result.stderr.strip()}")
        return overlays

    def deploy(self, overlay: str) -> str:
        """Returns, when all pods are ready, to which standard of Pod Security they are held."""
        self._make_secrets()
        folder = self.make_folder("overlay")
        (folder / "kustomization.yaml").write_text(json.dumps(self._kustomization(folder, overlay), indent=2))
        self.pods = Pods(self.kubectl)
        self._closing.callback(self.pods.close)
        logs = Logs(self.kubectl, self.pods, self.make_folder("logs"))
        self._closing.callback(logs.close)
        security = BASELINE if OPENS_VOLUME in self.kubectl.run("kustomize", str(folder)) else RESTRICTED
        self.kubectl.run("label", "namespace", self.namespace, f"{ENFORCE}={security}", "--overwrite")
        self.kubectl.run("apply", "--kustomize", str(folder))
        self._wait_ready()
        return security

    def _make_secrets(self) -> None:
        command = [str(SECRETS), "--context", self.kubectl.context, "--namespace", self.namespace]
        result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JWT_KEY": self._key})
        if result.returncode != 0:
            raise Failure(f"{SECRETS.name} failed: {result.stderr}")

    def _kustomization(self, folder: Path, overlay: str) -> dict[str, Any]:
        """The overlay, with our namespace, images and host. JSON is YAML, too."""
        images = [*(f"turnstile-{service}" for service in self.services), *STAND_INS]
        hosts = ("/spec/rules/0/host", "/spec/tls/0/hosts/0")
        host = [{"op": "replace", "path": path, "value": self.host} for path in hosts]
        users = [{"op": "add", "path": "/spec/template/spec/containers/0/env/-",
                  "value": {"name": "SIGNUPS_PER_MINUTE", "value": str(SIGNUPS_PER_MINUTE)}}]
        return {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": self.namespace,
            "resources": [os.path.relpath(OVERLAYS / overlay, folder)],
            "images": [{"name": name, "newName": self.builder.name(name), "newTag": self.builder.tag} for name in images],
            "patches": [
                {"target": {"kind": "Ingress", "name": INGRESS}, "patch": json.dumps(host)},
                {"target": {"kind": "Deployment", "name": "auth-depl"}, "patch": json.dumps(users)},
            ],
        }

    def _wait_ready(self) -> None:
        """All that was deployed is there; what cannot get there ends it at once."""
        wanted = {item["spec"]["selector"]["matchLabels"]["app"]: item["spec"]["replicas"]
                  for item in self.kubectl.get("deployments,statefulsets")["items"]}

        def is_ready() -> bool:
            if hopeless := self.pods.hopeless():
                raise Failure("\n".join(hopeless))
            return all([pod.is_known_to_be_ready for pod in self.pods.present(app)] == [True] * count
                       for app, count in wanted.items())

        wait_for(is_ready, f"all pods are ready; see {self.folder}", READY_SECONDS_MAX)

    # ---- ways to it ----

    def reach(self, ingress: str, ingress_tls: str) -> Outside:
        """Opens ways to the bus and the stores, too. `ingress`: as the Ingress says, if empty; `ingress_tls`: port 443
        there, if empty."""
        what = "the Ingress has an address: is there an ingress controller of class nginx? INGRESS=host:port names one"
        machine, port = split(ingress or wait_for(self._ingress_address, what, INGRESS_SECONDS_MAX), HTTP_PORT)
        tls_machine, tls_port = split(ingress_tls or machine, TLS_PORT)
        outside = Outside(Address(machine, port, self.host), Address(tls_machine, tls_port, self.host))
        self._local = {port: free_port() for port in (CLIENT_PORT, MONITOR_PORT, STORE_PORT)}
        for app, ports in (("nats", (CLIENT_PORT, MONITOR_PORT)), ("mongo", (STORE_PORT,))):
            local = {self._local[port]: port for port in ports}
            forward = Forward(self.kubectl, self.pods, app, local, self.folder / f"forward-{app}.log")
            self._closing.callback(forward.close)
            forward.wait_open()
        wait_for(outside.answers, f"http://{machine}:{port} leads to all services, for the host {self.host}",
                 INGRESS_SECONDS_MAX)
        return outside

    def _ingress_address(self) -> str:
        status = self.kubectl.get("ingress", INGRESS).get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
        return str(status[0].get("ip") or status[0].get("hostname") or "")

    def store_uri(self, service: str) -> str:
        return f"mongodb://127.0.0.1:{self._local[STORE_PORT]}/{service}?directConnection=true"

    def _bus_uri(self) -> str:
        """The scheme and the path of what the services are told."""
        told = [item["data"]["BUS_URI"] for item in self.kubectl.get("configmaps")["items"] if "BUS_URI" in item["data"]]
        scheme, _, rest = told[0].partition("://")
        path = rest.partition("/")[2]
        return f"{scheme}://127.0.0.1:{self._local[CLIENT_PORT]}" + (f"/{path}" if path else "")

    def description(self, outside: Outside) -> dict[str, Any]:
        """As tests/integration/deployed.py wants it."""
        settings = {"context": self.kubectl.context, "namespace": self.namespace, "logs": str(self.folder / "logs")}
        return {
            "ingress": {"address": outside.plain.machine, "port": outside.plain.port, "host": outside.plain.host_header},
            "bus": {"uri": self._bus_uri(), "monitor": f"http://127.0.0.1:{self._local[MONITOR_PORT]}"},
            "stores": {service: self.store_uri(service) for service in self.services},
            "jwt_key": self._key,
            "features": ["pods"],
            "operator": {"class": "cluster_operator.ClusterOperator", "settings": settings},
        }

    # ---- what is seen of it ----

    def memory(self) -> dict[str, float]:
        """MiB of each pod, as the nodes measure it every now and then."""
        present = {pod.name for pod in self.pods.present()}

        def measured() -> dict[str, float] | None:
            found = self._measured()
            return found if present <= found.keys() else None

        used: dict[str, float] = wait_for(measured, "the nodes have measured all pods", MEASURE_SECONDS_MAX)
        return used

    def _measured(self) -> dict[str, float]:
        """Of the pods that were measured since they were started."""
        used = {}
        for node in sorted({pod.node for pod in self.pods.present()}):
            summary = json.loads(self.kubectl.run("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))
            used |= {pod["podRef"]["name"]: pod["memory"]["workingSetBytes"] / MIB for pod in summary["pods"]
                     if pod["podRef"]["namespace"] == self.namespace and pod.get("memory", {}).get("workingSetBytes")}
        return used

    def gather(self) -> None:
        """What is needed to understand a failure, before all of it is deleted. The logs are there already."""
        questions = {
            "pods.txt": ("get", "all,ingress,persistentvolumeclaims", "--output=wide"),
            "describe.txt": ("describe", "deployments,statefulsets,pods,ingress,persistentvolumeclaims"),
            "events.txt": ("get", "events", "--sort-by=.lastTimestamp"),
        }
        for name, question in questions.items():
            with contextlib.suppress(Failure):
                (self.folder / name).write_text(self.kubectl.ask(*question).stdout)

    # ---- the end ----

    def end(self) -> None:
        """Whatever fails of it, the rest is done."""
        try:
            self._closing.close()
        finally:
            self.builder.remove()
            self.kubectl.run("delete", "namespace", self.namespace, "--ignore-not-found", seconds=DELETE_SECONDS_MAX)


def remove_forgotten(kubectl: Kubectl) -> list[str]:
    """The namespaces of those who could not delete them; returns their names."""
    found = []
    for item in kubectl.get("namespaces", f"--selector={LABEL}")["items"]:
        created = datetime.datetime.fromisoformat(item["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
        age = datetime.datetime.now(datetime.timezone.utc) - created
        if age.total_seconds() > AGE_SECONDS_MAX:
            found.append(item["metadata"]["name"])
    if found:
        kubectl.run("delete", "namespace", *found, "--ignore-not-found", "--wait=false")
    return found


def split(address: str, default: int) -> tuple[str, int]:
    """host:port, or host alone; as an address of digits."""
    machine, _, port = address.partition(":")
    try:
        return socket.gethostbyname(machine), int(port or default)
    except (OSError, ValueError) as problem:
        raise Failure(f"{address} is not an address: {problem}") from problem
