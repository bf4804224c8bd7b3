# SPDX-License-Identifier: Apache-2.0
"""The images that a deployed system consists of: built here, and brought to where the cluster finds them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from kubectl import HOPELESS, Failure, Kubectl, wait_for

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = {f"turnstile-debian-{name}": f"infra/debian/{name}/Dockerfile" for name in ("mongo", "nats")}
BUILD_SECONDS_MAX = 1800
DELIVER_SECONDS_MAX = 600
PULL_SECONDS_MAX = 600
PROBE, USER = "can-it-pull", 65532
IMAGE = re.compile(r"^\s*(?:- )?image: (\S+)$", re.MULTILINE)
# Clusters that run containers of the same engine that builds the images.
MAKE_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
SHARING = ("docker-desktop", "orbstack", "rancher-desktop", "colima")


def run(command: list[str], seconds: float) -> None:
    """What the command says is only shown when it fails."""
    # What make was told is not for the make that builds the images.
    environment = {name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES}
    result = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds)
    if result.returncode != 0:
        print(result.stdout, file=sys.stderr)
        raise Failure(f"{' '.join(command)}: exit status {result.returncode}; what it said is above")


def images_of(kubectl: Kubectl, overlay: Path) -> set[str]:
    """All images that an overlay names."""
    return set(IMAGE.findall(kubectl.run("kustomize", str(overlay))))


class Builder:
    def __init__(self, kubectl: Kubectl, tag: str, registry: str):
        self._kubectl = kubectl
        self.tag = tag
        self._registry = registry.rstrip("/")
        self._built: list[str] = []

    def name(self, image: str) -> str:
        return f"{self._registry}/{image}" if self._registry else image

    def check(self) -> None:
        """Is there an engine, and a way from it to the cluster?"""
        if shutil.which("docker") is None:
            raise Failure("docker is not installed, and builds the images")
        if subprocess.run(["docker", "version"], capture_output=True).returncode != 0:
            raise Failure("no Docker engine answers, which builds the images: is it running?")
        if not self._registry:
            self._loading([])

    def build_programs(self, services: list[str]) -> None:
        """As `make images` does."""
        self._built += [self.name(f"turnstile-{service}") for service in services]
        target = "push" if self._registry else "images"
        run(["make", target, f"TAG={self.tag}", f"REGISTRY={self._registry}"], BUILD_SECONDS_MAX)

    def build_stand_ins(self) -> None:
        run(["infra/local/deps.sh", "stand-ins"], BUILD_SECONDS_MAX)
        for image, dockerfile in STAND_INS.items():
            name = f"{self.name(image)}:{self.tag}"
            self._built.append(self.name(image))
            run(["docker", "build", "--file", dockerfile, "--tag", name, "."], BUILD_SECONDS_MAX)
            if self._registry:
                run(["docker", "push", name], DELIVER_SECONDS_MAX)

    def deliver(self) -> None:
        """Into the cluster; with a registry, they are there already."""
        if not self._registry:
            for command in self._loading([f"{name}:{self.tag}" for name in self._built]):
                run(command, DELIVER_SECONDS_MAX)

    def remove(self) -> None:
        """All that has the tag. Layers that the next build starts from stay."""
        command = ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]
        names = subprocess.run(command, capture_output=True, text=True).stdout.split()
        ours = [name for name in names if name.endswith(f":{self.tag}")]
        if ours:
            subprocess.run(["docker", "image", "rm", "--no-prune", *ours], capture_output=True)

    def _loading(self, images: list[str]) -> list[list[str]]:
        """The commands that bring images into the cluster."""
        context = self._kubectl.context
        if context.startswith("kind-"):
            return [["kind", "load", "docker-image", "--name", context.removeprefix("kind-"), *images]]
        if context.startswith("k3d-"):
            return [["k3d", "image", "import", "--cluster", context.removeprefix("k3d-"), *images]]
        if context in SHARING:
            return []
        if "minikube.sigs.k8s.io" in self._kubectl.run("config", "view", "--minify"):
            return [["minikube", "--profile", context, "image", "load", image] for image in images]
        raise Failure(f"how do images get into the cluster of the context {context}? It is neither of kind nor of "
                      "minikube or k3d: name a registry that both sides reach, REGISTRY=host/path")


class Pulling:
    """Tries whether the cluster gets images from where they are published: by a pod of all of them that does nothing."""

    def __init__(self, kubectl: Kubectl, images: set[str]):
        self._kubectl = kubectl
        security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        containers = [{"name": f"image-{number}", "image": image, "command": ["true"], "securityContext": security}
                      for number, image in enumerate(sorted(images))]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": PROBE}, "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": False, "containers": containers,
            "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"}}}}
        kubectl.run("apply", "--filename=-", text=json.dumps(pod))

    def problem(self) -> str:
        """Empty if all of them came."""
        found: str | None = wait_for(self._verdict, "the cluster has pulled the images", PULL_SECONDS_MAX)
        self._kubectl.run("delete", "pod", PROBE, "--grace-period=1")
        return (found or "").strip()

    def _verdict(self) -> str:
        """Empty as long as it is not known; a blank if they came."""
        pod: Any = self._kubectl.get("pod", PROBE)
        states = [each["state"] for each in pod["status"].get("containerStatuses", [])]
        for waiting in (state.get("waiting", {}) for state in states):
            if waiting.get("reason") in HOPELESS:
                return str(waiting.get("message") or waiting["reason"])
        return " " if states and not any("waiting" in state for state in states) else ""
