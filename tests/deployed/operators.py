# SPDX-License-Identifier: Apache-2.0
"""Who acts on the containers of a deployed system: what tests ask of docker and of kubectl alike.

An operator knows `parts`: the services by their names, "bus", "store", and "ingress" where it is the system's own. A part
has one container or several, each with a name, which may be another one after the container was replaced.

Which class it is, and its keyword arguments, are in the file that tests/integration/deployed.py describes. It is made once
for each run of pytest, when the system is up, and has to find out by itself how many containers each part has: that is what
start() goes back to, and what is_ready() expects.
"""

from __future__ import annotations

from typing import Protocol

SERVICES = ("auth", "tickets", "orders")
BUS, STORE, INGRESS = "bus", "store", "ingress"


class Operator(Protocol):
    parts: tuple[str, ...]  # all that may be killed
    keeps_logs: bool  # logs() has every line that a container ever wrote, also of those that were killed

    def running(self, part: str) -> list[str]:
        """The containers of a part that run now, in the order of their names."""

    def kill(self, container: str) -> None:
        """kill -9; returns when it is dead. Compose: it stays so until start(part). Cluster: the pod is deleted without
        grace, and the cluster makes another one."""

    def stop(self, part: str) -> None:
        """Lets all containers of a part end in their own time (SIGTERM), and keeps them away; returns when they are."""

    def start(self, part: str) -> None:
        """Starts what is killed or stopped of a part, as many as there were; need not wait until they are ready. With
        nothing to do it does nothing."""

    def scale(self, service: str, count: int) -> None:
        """From now on the service has so many instances; need not wait until they are ready."""

    def is_ready(self, part: str) -> bool:
        """All containers that the part should have run, and are ready by their own account. (Of the ingress that need not
        be asked: what it answers is looked at.)"""

    def freeze(self, part: str) -> None:
        """Stops all containers of a part in the middle of what they do; only with the feature "freeze"."""

    def thaw(self, part: str) -> None:
        """Lets them go on. With nothing frozen it does nothing."""

    def logs(self, part: str, since: float = 0.0) -> dict[str, str]:
        """What each container of a part, also those that ended, has written since then (seconds since 1970), by its name,
        as the services write it in the human format."""

    def surprises(self) -> list[str]:
        """Containers that ended by themselves since all of it was deployed, whatever has become of them: one line each time,
        which is never right."""
