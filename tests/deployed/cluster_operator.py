# SPDX-License-Identifier: Apache-2.0
"""The operator of a system in a cluster: what tests do to its pods, by kubectl.

Nothing stays away by itself here: what is killed, the cluster makes anew at once. A container of a pod gets SIGTERM and
two seconds before it is killed, whoever asks for less: the cluster knows no harsher way.
"""

from __future__ import annotations

import atexit
import re
from datetime import datetime, timezone
from pathlib import Path

from kubectl import Failure, Kubectl, Pod, Pods, wait_for
from operators import BUS, SERVICES, STORE

SECONDS_MAX = 120.0
APPS = {BUS: "nats", STORE: "mongo"}
# Not --force: then the pod is said to be gone while its container still runs.
AT_ONCE = "--grace-period=1"
STAMPED = re.compile(r"^(\S+Z) ?(.*)$")


class ClusterOperator:
    parts = (*SERVICES, BUS, STORE)
    keeps_logs = False  # the last lines of what was killed may be missing

    def __init__(self, context: str, namespace: str, logs: str):
        """`logs`: the folder in which the logs of all pods are kept as they are written."""
        self._kubectl = Kubectl(namespace, context)
        self._logs = Path(logs)
        owners = {item["spec"]["selector"]["matchLabels"]["app"]: item
                  for item in self._kubectl.get("deployments,statefulsets")["items"]}
        # What makes the pods of a part: deployment/tickets-depl.
        self._owners = {part: f"{owners[app(part)]['kind'].lower()}/{owners[app(part)]['metadata']['name']}"
                        for part in self.parts}
        self._counts = {part: int(owners[app(part)]["spec"]["replicas"]) for part in self.parts}
        self._wanted = dict(self._counts)
        self._pods = Pods(self._kubectl)
        atexit.register(self.close)
        wait_for(lambda: all(self.is_ready(part) for part in self.parts), "all parts are ready", SECONDS_MAX)

    def close(self) -> None:
        """Sees nothing from now on."""
        self._pods.close()

    def running(self, part: str) -> list[str]:
        return sorted(pod.name for pod in self._present(part) if pod.is_running and not pod.is_leaving)

    def delete(self, container: str) -> None:
        """Its pod may take the time that it needs; another one is made at once."""
        self._kubectl.run("delete", "pod", container, "--wait=false")

    def kill(self, container: str) -> None:
        pod = next(pod for part in self.parts for pod in self._present(part) if pod.name == container)
        self._kubectl.run("delete", "pod", container, "--wait=false", AT_ONCE)
        wait_for(lambda: pod.is_gone, f"{container} is gone", SECONDS_MAX)

    def stop(self, part: str) -> None:
        self._scale(part, 0)
        wait_for(lambda: not self._present(part), f"no pod of {part} is left", SECONDS_MAX)

    def start(self, part: str) -> None:
        self._scale(part, self._counts[part])

    def scale(self, service: str, count: int) -> None:
        self._counts[service] = count
        self._scale(service, count)

    def is_ready(self, part: str) -> bool:
        """And of those that are about to end none is left, which may still be at something."""
        there = self._present(part)
        return len(there) == self._wanted[part] and all(pod.is_known_to_be_ready for pod in there)

    def freeze(self, part: str) -> None:
        raise NotImplementedError("a cluster freezes nothing: this deployment does not have the feature")

    def thaw(self, part: str) -> None:
        pass

    def logs(self, part: str, since: float = 0.0) -> dict[str, str]:
        found: dict[str, str] = {}
        for pod in self._pods.all(app(part)):
            log = self._log(pod, since)
            # Of all the pods that there ever were, those that had anything to say then. Two of a StatefulSet, one after
            # the other, have one name.
            if log or not pod.is_gone:
                found[pod.name] = found.get(pod.name, "") + log
        return found

    def surprises(self) -> list[str]:
        return self._pods.restarts()

    def _log(self, pod: Pod, since: float) -> str:
        """From the cluster as long as it knows; else what was kept. Each line comes with its time."""
        text = None
        if not pod.is_gone:
            # Whole seconds are all that the cluster understands, so it may be too much.
            moment = datetime.fromtimestamp(since, timezone.utc).isoformat(timespec="seconds")
            result = self._kubectl.ask("logs", pod.name, "--all-containers", "--timestamps", f"--since-time={moment}")
            text = result.stdout if result.returncode == 0 else None
        if text is None:
            kept = self._logs / f"{pod.log_name}.log"
            text = kept.read_text(errors="replace") if kept.exists() else ""
        lines = (STAMPED.match(line) for line in text.splitlines())
        return "".join(f"{match[2]}\n" for match in lines if match and seconds_of(match[1]) >= since)

    def _scale(self, part: str, count: int) -> None:
        if self._wanted[part] != count:
            self._wanted[part] = count
            self._kubectl.run("scale", self._owners[part], f"--replicas={count}")

    def _present(self, part: str) -> list[Pod]:
        return self._pods.present(app(part))


def app(part: str) -> str:
    """The label of its pods."""
    return APPS.get(part, part)


def seconds_of(stamp: str) -> float:
    """A time as the cluster writes it, to the nanosecond, in seconds since 1970."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp() + float(f"0.{fraction or 0}")
