# SPDX-License-Identifier: Apache-2.0
"""tests/deployed/cluster.py and what it is made of: what it says when it cannot begin, that it takes its namespace away
whatever becomes of it, and that it sees what happens to pods.

kubectl, docker and make are scripts here; no cluster is asked."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import wait_until
from runner_support import PYTHON, ROOT, is_alive

DEPLOYED_TESTS = ROOT / "tests" / "deployed"
sys.path.append(str(DEPLOYED_TESTS))

import kubectl as kubectl_module  # noqa: E402
from cluster_operator import ClusterOperator, seconds_of  # noqa: E402
from kubectl import Forward, Kubectl, Logs, Pods  # noqa: E402
from outside import Outside, check_outside  # noqa: E402
from traffic import Address  # noqa: E402

RUNNER = DEPLOYED_TESTS / "cluster.py"
LABEL = "turnstile-test"

# What it is asked for goes to $CLUSTER/calls. `get pods --watch` tells what is written to $CLUSTER/watch.
KUBECTL = """#!/usr/bin/python3
import json, os, sys, time
folder, behaviour = os.environ["CLUSTER"], os.environ.get("BEHAVIOUR", "")
told = [word for word in sys.argv[1:]]
while told[0] in ("--context", "--namespace"):
    del told[:2]
open(folder + "/calls", "a").write(" ".join(told) + "\\n")
if told[:2] == ["config", "current-context"]:
    if behaviour == "no context":
        sys.exit("error: current-context is not set")
    print("somewhere" if behaviour == "of no known kind" else "kind-fake")
elif told[:2] == ["config", "view"]:
    print("clusters: []")
elif told[0] == "version":
    if behaviour == "does not answer":
        sys.exit("error: it is not there")
    print(json.dumps({"serverVersion": {"major": "1", "minor": "29" if behaviour == "old" else "31+"}}))
elif told[:2] == ["get", "namespaces"]:
    assert told[2] == "--selector=turnstile-test", told
    times = {"old": "2026-01-31T12:00:00Z", "young": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    print(json.dumps({"items": [{"metadata": {"name": f"turnstile-test-{name}", "creationTimestamp": made}}
                                for name, made in times.items()]}))
elif told[0] == "create":
    open(folder + "/created", "a").write(sys.stdin.read())
elif told[0] == "kustomize":
    print("image: mongo:7.0\\nimage: turnstile-auth")
elif told[0] == "apply" and told[1] == "--filename=-":
    open(folder + "/applied", "a").write(sys.stdin.read())
elif told[:2] == ["get", "pod"]:
    print(json.dumps({"status": {"containerStatuses": [
        {"state": {"waiting": {"reason": "ErrImagePull", "message": "there is no way"}}}]}}))
elif told[:2] == ["get", "deployments,statefulsets"]:
    print(json.dumps({"items": [
        {"kind": kind, "metadata": {"name": f"{app}-depl"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": app}}}}
        for kind, app in (("Deployment", "auth"), ("Deployment", "tickets"), ("Deployment", "orders"),
                          ("StatefulSet", "nats"), ("StatefulSet", "mongo"))]}))
elif told[:3] == ["get", "pods", "--watch"]:
    with open(folder + "/watch") as watch:
        while True:
            sys.stdout.write(watch.read())
            sys.stdout.flush()
            time.sleep(0.02)
elif told[0] == "port-forward":
    for port in told[2:]:
        local, remote = port.split(":")
        print(f"Forwarding from 127.0.0.1:{local} -> {remote}", flush=True)
    time.sleep(600)
elif told[0] == "logs":
    print(open(folder + "/log").read(), end="", flush=True)
elif told[0] not in ("delete", "get", "describe", "scale"):
    sys.exit(f"{told} is not known here")
"""
OTHERS = {
    "docker": '[ "$BEHAVIOUR" != "no engine" ]',
    "make": '[ "$BEHAVIOUR" != hangs ] || { echo $$ >"$CLUSTER/hangs"; exec sleep 600; }; echo "nothing can be built" >&2; exit 2',
}


class Cluster:
    def __init__(self, folder: Path):
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()
        self._script("kubectl", KUBECTL)
        for name, text in OTHERS.items():
            self._script(name, f"#!/bin/sh\n{text}\n")
        (folder / "watch").touch()
        (folder / "log").touch()

    def _script(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def environment(self, behaviour: str = "") -> dict[str, str]:
        return os.environ | {"PATH": f"{self.programs}:{os.environ['PATH']}", "CLUSTER": str(self.folder),
                             "BEHAVIOUR": behaviour}

    def start(self, behaviour: str = "", *arguments: str, path: str | None = None) -> subprocess.Popen[str]:
        environment = self.environment(behaviour) | ({"PATH": path} if path else {})
        return subprocess.Popen([PYTHON, "-B", str(RUNNER), *arguments], env=environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, behaviour: str = "", *arguments: str, path: str | None = None) -> tuple[int, str]:
        process = self.start(behaviour, *arguments, path=path)
        said, _ = process.communicate(timeout=60)
        return process.returncode, said

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def namespace(self) -> dict[str, Any]:
        return json.loads((self.folder / "created").read_text())["metadata"]

    def tell(self, kind: str, name: str, uid: str, indent: int | None = None, **more: Any) -> None:
        """Of a pod, to those who watch."""
        pod = {"kind": "Pod", "metadata": {"name": name, "uid": uid, "labels": {"app": name.split("-")[0]},
                                           **more.pop("metadata", {})}, "spec": {"nodeName": "n"}, "status": more}
        with open(self.folder / "watch", "a") as watch:
            watch.write(json.dumps({"type": kind, "object": pod}, indent=indent, separators=(",", ":")) + "\n")


READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(tmp_path)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(kubectl_module, "HEARD_SECONDS", 0.0)
    return made


# ---- the beginning and the end ----


@pytest.mark.parametrize(
    "behaviour, expected",
    [
        ("no context", "kubectl points to no cluster: there is no current context"),
        ("does not answer", "no cluster answers for the context kind-fake: error: it is not there"),
        ("old", "the cluster is Kubernetes 1.29; 1.30 is the oldest that will do"),
        ("no engine", "no Docker engine answers"),
        ("of no known kind", "REGISTRY=host/path"),
    ],
)
def test_what_it_needs_and_has_not_is_said(cluster: Cluster, behaviour: str, expected: str) -> None:
    status, said = cluster.run(behaviour)
    assert status == 1 and expected in said and "Traceback" not in said, said
    assert not (cluster.folder / "created").exists()


def test_without_kubectl_it_says_so(cluster: Cluster) -> None:
    status, said = cluster.run(path="/nonexistent")
    assert (status, said) == (1, "test-cluster: kubectl is not installed: https://kubernetes.io/docs/tasks/tools/ says how "
                                 "to get it\n")


def test_an_overlay_that_there_is_not_is_no_overlay(cluster: Cluster) -> None:
    status, said = cluster.run("", "--overlay", "lokal")
    assert (status, said) == (1, "test-cluster: there is no overlay lokal in infra/k8s/overlays\n")


def test_what_fails_is_said_and_gathered_and_the_namespace_goes(cluster: Cluster) -> None:
    status, said = cluster.run("", "--overlay", "local", "--seed", "7")
    name = cluster.namespace["name"]
    folder = ROOT / "build" / "test-cluster" / name
    try:
        assert status == 1 and "nothing can be built" in said and "test-cluster: FAILED" in said, said
        assert f"build/test-cluster/{name}; seed 7" in said
        assert {path.name for path in folder.iterdir()} == {"pods.txt", "describe.txt", "events.txt"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert f"delete namespace {name} --ignore-not-found" in cluster.calls
    labels = cluster.namespace["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted" and labels[LABEL] in name


def test_whether_images_can_be_pulled_is_tried_unless_somebody_says_what_to_deploy(cluster: Cluster) -> None:
    cluster.run()
    shutil.rmtree(ROOT / "build" / "test-cluster" / cluster.namespace["name"], ignore_errors=True)
    containers = json.loads((cluster.folder / "applied").read_text())["spec"]["containers"]
    assert [container["image"] for container in containers] == ["mongo:7.0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_interrupts_it_finds_no_namespace_left(cluster: Cluster, number: signal.Signals) -> None:
    process = cluster.start("hangs", "--overlay", "local")
    try:
        wait_until(lambda: (cluster.folder / "hangs").exists() and (cluster.folder / "hangs").read_text(), "make runs")
        builder = int((cluster.folder / "hangs").read_text())
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    name = cluster.namespace["name"]
    shutil.rmtree(ROOT / "build" / "test-cluster" / name, ignore_errors=True)
    assert process.returncode == 130, said
    assert f"delete namespace {name} --ignore-not-found" in cluster.calls
    assert not is_alive(builder)


def test_what_others_left_behind_goes_when_it_is_old(cluster: Cluster) -> None:
    _, said = cluster.run("", "--overlay", "local")
    shutil.rmtree(ROOT / "build" / "test-cluster" / cluster.namespace["name"], ignore_errors=True)
    assert "deleting turnstile-test-old, which was left behind" in said
    assert "delete namespace turnstile-test-old --ignore-not-found --wait=false" in cluster.calls
    assert not any("turnstile-test-young" in call for call in cluster.calls)


# ---- pods ----


@contextlib.contextmanager
def watched() -> Iterator[Pods]:
    pods = Pods(Kubectl("here", "kind-fake"))
    try:
        yield pods
    finally:
        pods.close()


@pytest.mark.parametrize("indent", [None, 4], ids=["on a line", "on several lines"])
def test_pods_are_seen_as_they_come_and_go(cluster: Cluster, indent: int | None) -> None:
    with watched() as pods:
        cluster.tell("ADDED", "auth-1", "u1", indent, phase="Pending")
        cluster.tell("MODIFIED", "auth-1", "u1", indent, **READY)
        cluster.tell("ADDED", "mongo-0", "u2", indent, **READY)
        wait_until(lambda: pods.ready("auth") and pods.ready("mongo"), "both are ready")
        cluster.tell("MODIFIED", "auth-1", "u1", indent, metadata={"deletionTimestamp": "2026-01-31T12:00:00Z"}, **READY)
        wait_until(lambda: not pods.ready("auth"), "a pod that is about to end is not ready")
        assert [pod.name for pod in pods.present("auth")] == ["auth-1"]
        cluster.tell("DELETED", "auth-1", "u1", indent, **READY)
        cluster.tell("ADDED", "auth-1", "u3", indent, **READY)
        wait_until(lambda: [pod.uid for pod in pods.ready("auth")] == ["u3"], "its successor of the same name is another pod")
        assert [pod.uid for pod in pods.all("auth") if pod.is_gone] == ["u1"]


def test_who_restarts_and_who_will_never_start_is_told(cluster: Cluster) -> None:
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    with watched() as pods:
        cluster.tell("ADDED", "auth-1", "u1", phase="Running", containerStatuses=[
            {"name": "auth", "restartCount": 2, "state": {}, "lastState": ended}])
        cluster.tell("ADDED", "auth-2", "u2", phase="Pending", containerStatuses=[
            {"name": "auth", "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull", "message": "no way"}}}])
        wait_until(lambda: len(pods.all()) == 2, "both are seen")
        assert pods.restarts() == ["auth-1: auth was started again 2 times: OOMKilled, exit status 137"]
        assert pods.hopeless() == ["auth-2: ErrImagePull: no way"]


def test_a_forwarded_port_leads_to_the_pod_that_took_the_place_of_another(cluster: Cluster) -> None:
    def forwards() -> list[str]:
        return [call for call in cluster.calls if call.startswith("port-forward")]

    with watched() as pods:
        cluster.tell("ADDED", "nats-0", "u1", **READY)
        forward = Forward(Kubectl("here", "kind-fake"), pods, "nats", {14222: 4222, 18222: 8222}, cluster.folder / "forward")
        try:
            forward.wait_open()
            assert forwards() == ["port-forward pod/nats-0 14222:4222 18222:8222"]
            cluster.tell("DELETED", "nats-0", "u1", **READY)
            cluster.tell("ADDED", "nats-1", "u2", **READY)
            wait_until(lambda: len(forwards()) == 2, "it is started anew")
            forward.wait_open()
            assert forwards()[1] == "port-forward pod/nats-1 14222:4222 18222:8222"
        finally:
            forward.close()


def test_logs_are_kept_when_their_pods_are_gone(cluster: Cluster) -> None:
    kept = cluster.folder / "logs"
    kept.mkdir()
    (cluster.folder / "log").write_text("2026-01-31T12:00:00.5Z one\n2026-01-31T12:00:01.25Z two\n")
    with watched() as pods:
        cluster.tell("ADDED", "auth-1", "u1", **READY)
        logs = Logs(Kubectl("here", "kind-fake"), pods, kept)
        try:
            wait_until(lambda: (kept / "auth-1.u1.log").exists() and "two" in (kept / "auth-1.u1.log").read_text(), "it is kept")
        finally:
            logs.close()
    for name, uid in (("tickets-1", "u2"), ("orders-1", "u3"), ("nats-0", "u4"), ("mongo-0", "u5")):
        cluster.tell("ADDED", name, uid, **READY)
    with contextlib.closing(ClusterOperator("kind-fake", "here", str(kept))) as operator:
        assert operator.logs("auth", seconds_of("2026-01-31T12:00:00.75Z")) == {"auth-1": "two\n"}
        cluster.tell("DELETED", "auth-1", "u1", **READY)
        wait_until(lambda: not operator.running("auth"), "it is gone")
        (cluster.folder / "log").write_text("")
        assert operator.logs("auth", seconds_of("2026-01-31T12:00:01.25Z")) == {"auth-1": "two\n"}
        assert operator.logs("auth", seconds_of("2026-01-31T12:00:01.3Z")) == {}


def test_a_part_is_ready_when_none_is_missing_and_none_is_about_to_end(cluster: Cluster) -> None:
    for number, name in enumerate(("auth-1", "tickets-1", "orders-1", "nats-0", "mongo-0")):
        cluster.tell("ADDED", name, f"u{number}", **READY)
    with contextlib.closing(ClusterOperator("kind-fake", "here", str(cluster.folder))) as operator:
        killing = threading.Thread(target=operator.kill, args=("auth-1",))
        killing.start()
        wait_until(lambda: "delete pod auth-1 --wait=false --grace-period=1" in cluster.calls, "its deletion is asked for")
        cluster.tell("ADDED", "auth-2", "u9", **READY)
        wait_until(lambda: "auth-2" in operator.running("auth"), "there is another one")
        assert not operator.is_ready("auth") and killing.is_alive()
        cluster.tell("DELETED", "auth-1", "u0", **READY)
        killing.join()
        wait_until(lambda: operator.is_ready("auth"), "the other one is enough")
        operator.scale("auth", 2)
        assert "scale deployment/auth-depl --replicas=2" in cluster.calls and not operator.is_ready("auth")


# ---- from outside ----


class LetsEverythingThrough(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"errors":[]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *arguments: Any) -> None:
        pass


def test_an_ingress_that_lets_too_much_through_is_found_out() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), LetsEverythingThrough)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = Address("127.0.0.1", server.server_address[1], "ticketing.dev")
        outside = Outside(address, address)
        outside.ask_tls = lambda path: outside.ask("GET", path)  # type: ignore[method-assign]
        with pytest.raises(kubectl_module.Failure) as problem:
            check_outside(outside)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    for what in ("GET /metrics:", "GET /api/../readyz:", "GET /api/nothing:", "a large body:", "another host:"):
        assert what in str(problem.value)
    assert "https" not in str(problem.value)
