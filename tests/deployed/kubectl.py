# SPDX-License-Identifier: Apache-2.0
"""A cluster as kubectl sees it: commands in one namespace, what becomes of its pods, their logs, and ports of theirs on
this machine."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND_SECONDS_MAX = 120.0
ANSWER_SECONDS_MAX = 10
STOP_SECONDS_MAX = 5.0
POLL_SECONDS = 0.1
RETRY_SECONDS = 0.5
UID_SHOWN = 8
HEARD_SECONDS = 2.0
HOPELESS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
            "CrashLoopBackOff")
FORWARDING = re.compile(r"^Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)", re.MULTILINE)


class Failure(Exception):
    """Something outside this program is not as it has to be; the message is for whoever started it."""


def stop(process: subprocess.Popen[Any]) -> None:
    """SIGTERM, and SIGKILL if that is not enough."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


class Kubectl:
    """Commands to the cluster that was the current one when this began, whatever is chosen later."""

    def __init__(self, namespace: str = "", context: str = ""):
        program = shutil.which("kubectl")
        if program is None:
            raise Failure("kubectl is not installed: https://kubernetes.io/docs/tasks/tools/ says how to get it")
        self.program = program
        self.namespace = namespace
        self.context = context or self._current_context()

    def _current_context(self) -> str:
        found = subprocess.run([self.program, "config", "current-context"], capture_output=True, text=True)
        if found.returncode != 0:
            raise Failure("kubectl points to no cluster: there is no current context. `kind create cluster` or "
                          "`minikube start` makes a cluster on this machine")
        return found.stdout.strip()

    def command(self, *arguments: str) -> list[str]:
        where = ["--namespace", self.namespace] if self.namespace else []
        return [self.program, "--context", self.context, *where, *arguments]

    def ask(self, *arguments: str, text: str | None = None, seconds: float = COMMAND_SECONDS_MAX
            ) -> subprocess.CompletedProcess[str]:
        """Whatever comes of it."""
        try:
            return subprocess.run(self.command(*arguments), input=text, capture_output=True, text=True, timeout=seconds,
                                  stdin=subprocess.DEVNULL if text is None else None)
        except subprocess.TimeoutExpired as expired:
            raise Failure(f"kubectl {' '.join(arguments)}: no end after {seconds:.0f} s") from expired

    def run(self, *arguments: str, text: str | None = None, seconds: float = COMMAND_SECONDS_MAX) -> str:
        """What it says, if it succeeds."""
        result = self.ask(*arguments, text=text, seconds=seconds)
        if result.returncode != 0:
            raise Failure(f"kubectl {' '.join(arguments)} failed: {result.stderr.strip() or result.stdout.strip()}")
        return result.stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.run("get", *arguments, "--output=json"))

    def version(self) -> tuple[int, int]:
        """Of the cluster; the first thing to ask, since it shows whether there is one."""
        result = self.ask("version", "--output=json", f"--request-timeout={ANSWER_SECONDS_MAX}s", seconds=60)
        server = json.loads(result.stdout or "{}").get("serverVersion") if result.stdout.startswith("{") else None
        if not server:
            last = (result.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise Failure(f"no cluster answers for the context {self.context}: {last}")
        return int(server["major"]), int(re.sub(r"\D.*", "", server["minor"]))


# ---- pods ----


@dataclass
class Pod:
    """The last that was heard of a pod. Its name may be another one's later, its uid never is."""

    uid: str
    data: dict[str, Any]
    is_gone: bool = False
    ready_since: float | None = None  # by time.monotonic()
    restarts: dict[str, int] = field(default_factory=dict)  # of each container, as far as it was seen

    @property
    def name(self) -> str:
        return str(self.data["metadata"]["name"])

    @property
    def app(self) -> str:
        return str(self.data["metadata"].get("labels", {}).get("app", ""))

    @property
    def log_name(self) -> str:
        return f"{self.name}.{self.uid[:UID_SHOWN]}"

    @property
    def is_running(self) -> bool:
        return not self.is_gone and self.data.get("status", {}).get("phase") == "Running"

    @property
    def is_leaving(self) -> bool:
        return self.is_gone or "deletionTimestamp" in self.data["metadata"]

    @property
    def is_ready(self) -> bool:
        conditions = self.data.get("status", {}).get("conditions", [])
        return not self.is_leaving and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    @property
    def is_known_to_be_ready(self) -> bool:
        """By those, too, who send it requests: every node, and the ingress controller, hear of it a little later."""
        return self.ready_since is not None and time.monotonic() - self.ready_since > HEARD_SECONDS

    @property
    def node(self) -> str:
        return str(self.data["spec"].get("nodeName", ""))

    def hopeless(self) -> list[str]:
        """Why it will not start, where waiting does not help."""
        states = [each["state"].get("waiting", {}) for each in self.data.get("status", {}).get("containerStatuses", [])]
        return [f"{self.name}: {state['reason']}: {state.get('message', 'no more is said')}"
                for state in states if not self.is_leaving and state.get("reason") in HOPELESS]

    def last_end(self, container: str) -> str:
        """Why it was started again the last time."""
        for each in self.data.get("status", {}).get("containerStatuses", []):
            if each["name"] == container and (end := each.get("lastState", {}).get("terminated")):
                return f"{end.get('reason', 'ended')}, exit status {end.get('exitCode')}"
        return "for no reason that is known"


class Pods:
    """Watches all pods of the namespace, those that come and go included."""

    def __init__(self, kubectl: Kubectl):
        self._kubectl = kubectl
        self._lock = threading.Lock()
        self._pods: dict[str, Pod] = {}
        self._process: subprocess.Popen[str] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pods", daemon=True)
        self._thread.start()

    def all(self, app: str | None = None) -> list[Pod]:
        """Also those that are gone."""
        with self._lock:
            return [pod for pod in self._pods.values() if app is None or pod.app == app]

    def present(self, app: str | None = None) -> list[Pod]:
        return [pod for pod in self.all(app) if not pod.is_gone]

    def ready(self, app: str) -> list[Pod]:
        return [pod for pod in self.all(app) if pod.is_ready]

    def restarts(self) -> list[str]:
        """The containers that were started again in their pods: each ended by itself, or was found dead by a probe."""
        return [f"{pod.name}: {name} was started again {count} times: {pod.last_end(name)}"
                for pod in self.all() for name, count in pod.restarts.items() if count]

    def hopeless(self) -> list[str]:
        return [line for pod in self.present() for line in pod.hopeless()]

    def close(self) -> None:
        self._stopping.set()
        if self._process is not None:
            stop(self._process)
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            command = self._kubectl.command("get", "pods", "--watch", "--output-watch-events", "--output=json")
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                             stderr=subprocess.DEVNULL, text=True)
            with contextlib.suppress(ValueError):
                self._read(self._process)
            stop(self._process)
            if self._stopping.wait(RETRY_SECONDS):
                return
            self._forget_others()

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Objects of JSON one after the other, each on a line, or on several of which only the last begins with a brace."""
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith('{"') or line.startswith("}"):
                event = json.loads("".join(lines))
                lines.clear()
                if event.get("object", {}).get("kind") == "Pod":
                    self._note(event["type"], event["object"])

    def _note(self, kind: str, data: dict[str, Any]) -> None:
        with self._lock:
            pod = self._pods.setdefault(data["metadata"]["uid"], Pod(data["metadata"]["uid"], data))
            pod.data = data
            pod.is_gone = kind == "DELETED"
            pod.ready_since = (pod.ready_since or time.monotonic()) if pod.is_ready else None
            for each in data.get("status", {}).get("containerStatuses", []):
                pod.restarts[each["name"]] = max(pod.restarts.get(each["name"], 0), each["restartCount"])

    def _forget_others(self) -> None:
        """A watch that ended may have missed who went."""
        with contextlib.suppress(Failure, ValueError):
            there = {item["metadata"]["uid"] for item in self._kubectl.get("pods")["items"]}
            with self._lock:
                for uid, pod in self._pods.items():
                    pod.is_gone = pod.is_gone or uid not in there


# ---- logs ----


class Logs:
    """Keeps the logs of all pods in files, as they are written: with a pod its log goes. Each line begins with its time."""

    def __init__(self, kubectl: Kubectl, pods: Pods, folder: Path):
        self._kubectl = kubectl
        self._pods = pods
        self._folder = folder
        self._followers: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            for pod in self._pods.present():
                follower = self._followers.get(pod.uid)
                # One that came too soon is told that there is nothing yet, and ends.
                if pod.is_running and (follower is None or follower.poll() not in (None, 0)):
                    self._followers[pod.uid] = self._follow(pod)
        for follower in self._followers.values():
            stop(follower)

    def _follow(self, pod: Pod) -> subprocess.Popen[bytes]:
        command = self._kubectl.command("logs", "--follow", "--timestamps", "--all-containers", f"pod/{pod.name}")
        with open(self._folder / f"{pod.log_name}.log", "wb") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.DEVNULL)


# ---- ports ----


class Forward:
    """Ports of one pod of an application, on 127.0.0.1, for as long as this lives: of another pod when that one goes.

    kubectl goes on listening for a while when the pod behind it is gone, and its connections lead nowhere; so it is
    started anew as soon as the watch of the pods says so.
    """

    def __init__(self, kubectl: Kubectl, pods: Pods, app: str, ports: dict[int, int], log: Path):
        """`ports`: those on this machine, and what they lead to."""
        self.app = app
        self.starts = 0
        self._kubectl = kubectl
        self._pods = pods
        self._ports = ports
        self._log = log
        self._is_open = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"forward-{app}", daemon=True)
        self._thread.start()

    def wait_open(self, seconds: float = COMMAND_SECONDS_MAX) -> None:
        if not self._is_open.wait(seconds):
            raise Failure(f"kubectl port-forward to {self.app}: not there after {seconds:.0f} s; see {self._log}")

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            ready = self._pods.ready(self.app)
            if ready:
                self._follow(ready[0])
            self._stopping.wait(RETRY_SECONDS if not ready else POLL_SECONDS)

    def _follow(self, pod: Pod) -> None:
        wanted = [f"{local}:{remote}" for local, remote in self._ports.items()]
        begin = self._log.stat().st_size if self._log.exists() else 0
        with open(self._log, "ab") as log:
            process = subprocess.Popen(self._kubectl.command("port-forward", f"pod/{pod.name}", *wanted),
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.starts += 1
        try:
            while process.poll() is None and not pod.is_gone and not self._stopping.is_set():
                if not self._is_open.is_set():
                    said = self._log.read_bytes()[begin:].decode(errors="replace")
                    if len(FORWARDING.findall(said)) == len(self._ports):
                        self._is_open.set()
                self._stopping.wait(POLL_SECONDS)
        finally:
            self._is_open.clear()
            stop(process)


def wait_for(check: Callable[[], Any], what: str, seconds: float) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        if time.monotonic() > deadline:
            raise Failure(f"still not so after {seconds:.0f} s: {what}")
        time.sleep(POLL_SECONDS)
    return value
