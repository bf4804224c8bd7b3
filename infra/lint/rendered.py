# SPDX-License-Identifier: Apache-2.0
"""The deployment files as they come out: each overlay as kustomize builds it, the compose files with each set of
overrides as compose reads them, and what the code says that these have to agree with."""

import importlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from checks import Tree

KUSTOMIZE = Path(__file__).resolve().parents[2] / ".deps/bin/kustomize"
OVERLAYS = Path("infra/k8s/overlays")
COMPONENTS = Path("infra/k8s/components")
# The overlay that a component is tried on which no overlay of ours takes.
PLAIN_OVERLAY = "local"
KUSTOMIZATION = "kustomization.yaml"
ORIGIN = "config.kubernetes.io/origin"

COMPOSE = "docker-compose.yml"
# The sets of files that are run, each over the one before it.
COMPOSE_SETS = (
    (COMPOSE,),
    (COMPOSE, "docker-compose.debian.yml"),
    (COMPOSE, "docker-compose.jetstream.yml"),
    (COMPOSE, "docker-compose.debian.yml", "docker-compose.jetstream.yml", "docker-compose.jetstream.debian.yml"),
)
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RenderError(Exception):
    """The problems, one line each."""


def dig(data: Any, *way: str | int, default: Any = None) -> Any:
    """What is at the end of the way, or the default where the way ends early."""
    for step in way:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return default
    return default if data is None else data


# ---- Kubernetes ----


@dataclass(frozen=True)
class Manifest:
    """One object of an overlay, and the file that it comes from."""

    data: dict[str, Any]
    origin: str = ""

    @property
    def kind(self) -> str:
        return str(self.data.get("kind"))

    @property
    def name(self) -> str:
        return str(dig(self.data, "metadata", "name"))

    def __str__(self) -> str:
        return f"{self.origin}: {self.kind} {self.name}"


@dataclass(frozen=True)
class Pod:
    """The pods that an object makes: what is the same for all of them."""

    owner: Manifest
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return list(dig(self.spec, "containers", default=[]))

    @property
    def all_containers(self) -> list[dict[str, Any]]:
        return [*dig(self.spec, "initContainers", default=[]), *self.containers]

    def container(self, name: str) -> dict[str, Any] | None:
        return next((container for container in self.containers if container.get("name") == name), None)

    @property
    def ports(self) -> dict[str | int, int]:
        """The containers' ports, by number and by name."""
        found: dict[str | int, int] = {}
        for port in (port for container in self.containers for port in container.get("ports", [])):
            found[port["containerPort"]] = port["containerPort"]
            if "name" in port:
                found[port["name"]] = port["containerPort"]
        return found

    @property
    def claims(self) -> set[str]:
        """The volumes that a StatefulSet makes for each of its pods, and keeps."""
        return {dig(claim, "metadata", "name")
                for claim in dig(self.owner.data, "spec", "volumeClaimTemplates", default=[])}

    def has_labels(self, wanted: dict[str, str]) -> bool:
        return all(self.labels.get(name) == value for name, value in wanted.items())


TEMPLATES = {"Deployment": ("spec", "template"), "StatefulSet": ("spec", "template"), "DaemonSet": ("spec", "template"),
             "Job": ("spec", "template"), "CronJob": ("spec", "jobTemplate", "spec", "template"), "Pod": ()}


@dataclass(frozen=True)
class Overlay:
    name: str
    manifests: list[Manifest]

    def of(self, *kinds: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest.kind in kinds]

    def find(self, kind: str, name: str) -> Manifest | None:
        return next((manifest for manifest in self.of(kind) if manifest.name == name), None)

    @cached_property
    def pods(self) -> list[Pod]:
        found = []
        for manifest in self.of(*TEMPLATES):
            template = dig(manifest.data, *TEMPLATES[manifest.kind], default={})
            found.append(Pod(manifest, dig(template, "metadata", "labels", default={}),
                             dig(template, "spec", default={})))
        return found

    def service_pod(self, service: str) -> Pod | None:
        """The pod that runs one of our services: its container is named like the service."""
        return next((pod for pod in self.pods if pod.container(service)), None)


def read_manifests(text: str, path_of: Callable[[str], str] = str) -> list[Manifest]:
    """kustomize's output; path_of makes of each object's origin a path below the root."""
    found = []
    for data in yaml.load_all(text, LOADER):
        if not isinstance(data, dict):
            continue
        annotations = dig(data, "metadata", "annotations", default={})
        origin = dig(yaml.load(annotations.pop(ORIGIN, ""), LOADER), "path", default="")
        found.append(Manifest(data, path_of(origin)))
    return found


def kustomize(tree: Tree, name: str, resource: Path, components: list[Path]) -> Overlay:
    """Builds a kustomization around the one that is meant, which has the files' names noted in the objects."""
    with tempfile.TemporaryDirectory() as scratch:
        def from_scratch(path: Path) -> str:
            return os.path.relpath((tree.root / path).resolve(), Path(scratch).resolve())

        def from_root(origin: str) -> str:
            return os.path.relpath((Path(scratch) / origin).resolve(), tree.root.resolve())

        around = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                  "buildMetadata": ["originAnnotations"], "resources": [from_scratch(resource)],
                  "components": list(map(from_scratch, components))}
        (Path(scratch) / KUSTOMIZATION).write_text(json.dumps(around))
        status, output = tree.run([str(KUSTOMIZE), "build", scratch])
        if status != 0:
            what = " with ".join(map(str, [resource, *components]))
            raise RenderError(f"{what}: kustomize cannot build it: {output.strip()}")
        return Overlay(name, read_manifests(output, from_root))


def folders_of(tree: Tree, path: Path) -> list[Path]:
    return sorted(found.parent.relative_to(tree.root) for found in (tree.root / path).glob(f"*/{KUSTOMIZATION}"))


def overlays_to_build(tree: Tree) -> Iterator[tuple[str, Path, list[Path]]]:
    """Every overlay; and each component that none of them takes, on the plain one."""
    overlays = folders_of(tree, OVERLAYS)
    taken = set()
    for overlay in overlays:
        components = dig(yaml.load(tree.text(overlay / KUSTOMIZATION), LOADER), "components", default=[])
        taken |= {os.path.normpath(overlay / component) for component in components}
        yield overlay.name, overlay, []
    for component in folders_of(tree, COMPONENTS):
        if str(component) not in taken:
            yield f"{PLAIN_OVERLAY} with {component.name}", OVERLAYS / PLAIN_OVERLAY, [component]


# ---- compose ----


@dataclass(frozen=True)
class Composition:
    """The compose files together."""

    files: tuple[str, ...]
    data: dict[str, Any]

    @property
    def name(self) -> str:
        return " + ".join(self.files)

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        return dict(dig(self.data, "services", default={}))


def compose_command() -> list[str]:
    """Debian's, or else the plugin."""
    return ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]


def compose(tree: Tree, files: tuple[str, ...]) -> Composition:
    """Neither the caller's environment nor a file .env has a say."""
    missing = [name for name in files if not (tree.root / name).exists()]
    if missing:
        raise RenderError(f"{missing[0]}: is missing")
    with tempfile.NamedTemporaryFile() as empty:
        command = ["env", "-i", f"PATH={os.environ.get('PATH', os.defpath)}", f"HOME={os.environ.get('HOME', '/')}",
                   *compose_command(), "--env-file", empty.name, "-p", "lint"]
        for name in files:
            command += ["-f", name]
        status, output = tree.run([*command, "config"])
    if status != 0:
        raise RenderError(f"{' + '.join(files)}: compose cannot read it: {output.strip()}")
    return Composition(files, yaml.load(output, LOADER))


def words_of(value: Any) -> list[str]:
    """A command, which may be one text or a list."""
    return shlex.split(value) if isinstance(value, str) else [str(word) for word in value or []]


@dataclass(frozen=True)
class Port:
    address: str
    published: str
    target: int


def ports_of(service: dict[str, Any]) -> list[Port]:
    """What is published, which the versions of compose tell in different ways."""
    found = []
    for port in service.get("ports", []):
        if isinstance(port, dict):
            found.append(Port(port.get("host_ip", ""), str(port.get("published", "")), int(port["target"])))
        else:
            address, _, rest = port.partition("/")[0].rpartition(":")
            host, _, published = address.rpartition(":")
            found.append(Port(host, published, int(rest)))
    return found


@dataclass(frozen=True)
class Mount:
    kind: str
    source: str
    target: str


def mounts_of(service: dict[str, Any]) -> list[Mount]:
    found = []
    for mount in service.get("volumes", []):
        if isinstance(mount, dict):
            found.append(Mount(mount["type"], mount.get("source", ""), mount["target"]))
        else:
            source, target = mount.split(":")[:2]
            found.append(Mount("bind" if source.startswith("/") else "volume", source, target))
    return found


# ---- what the code says ----


@dataclass(frozen=True)
class Facts:
    """What deployment files have to agree with."""

    keys: dict[str, list[str]] = field(default_factory=dict)  # the variables that each service reads
    prefixes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # the paths that are each one's
    broker: list[str] = field(default_factory=list)  # the arguments of NATS Streaming in the local runner
    jetstream: dict[str, str] = field(default_factory=dict)  # what is set there for JetStream
    version: str = ""


def read_keys(tree: Tree) -> dict[str, list[str]]:
    keys = {}
    for service in tree.services:
        program = tree.build / service
        try:
            status, output = tree.run([str(tree.root / program), "--config-names"])
        except OSError as error:
            raise RenderError(f"{program}: {error.strerror}") from error
        keys[service] = output.split()
        if status != 0 or not keys[service] or not all(re.fullmatch("[A-Z][A-Z0-9_]*", key) for key in keys[service]):
            raise RenderError(f"{program} --config-names does not print the names of its variables")
    return keys


def read_facts(tree: Tree) -> Facts:
    sys.path.insert(0, str(tree.root / "infra/local"))
    try:
        engines = importlib.import_module("runner.engines")
        settings = importlib.import_module("runner.settings").read_settings({"RUN_DIR": "/data"}, tree.root)
        table = importlib.import_module("runner.services").SERVICES
    finally:
        sys.path.pop(0)
    version = re.search(r"^VERSION := (\S+)$", tree.text(Path("Makefile")), re.MULTILINE)
    jetstream = dict(re.findall(r"^(ping_\w+): (.*)$", engines.JETSTREAM_CONFIGURATION, re.MULTILINE))
    return Facts(read_keys(tree), {service.name: service.prefixes for service in table},
                 engines.nats_streaming_spec(settings).command[1:], jetstream, version[1] if version else "")


@dataclass(frozen=True)
class Rendered:
    facts: Facts
    overlays: list[Overlay]
    compositions: list[Composition]
    problems: list[str]


def render(tree: Tree) -> Rendered:
    """All of it; what cannot be rendered is among the problems."""
    problems: list[str] = []

    def attempt(function: Any, *arguments: Any) -> Any:
        try:
            return function(tree, *arguments)
        except RenderError as error:
            problems.append(str(error))
            return None

    facts = attempt(read_facts) or Facts()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        overlays = [pool.submit(attempt, kustomize, *what) for what in overlays_to_build(tree)]
        compositions = [pool.submit(attempt, compose, files) for files in COMPOSE_SETS]
    if not overlays:
        problems.append(f"{OVERLAYS}: there is no overlay")
    return Rendered(facts, [made for waiting in overlays if (made := waiting.result())],
                    [made for waiting in compositions if (made := waiting.result())], problems)
