# SPDX-License-Identifier: Apache-2.0
"""Containers of a Compose project that end though nobody told them to: all of them, from the first one's start on.

Docker forgets a container that is removed, and counts from 0 again how often it has restarted one that somebody started. So
what happens is noted when it happens, as Docker tells it, by the one who has started the project; the tests read it in a file.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from docker_command import NUMBER_LABEL, PART_LABEL, PROJECT_LABEL, docker

KINDS = ("start", "kill", "oom", "die")
# What freezes a container, and lets it go on.
HARMLESS_SIGNALS = ("18", "19")
STOP_SECONDS_MAX = 10.0


class Endings:
    """Follows the project's containers until it is closed; each line of the file is one that ended by itself."""

    def __init__(self, project: str, file: Path):
        self.file = file
        self._told: set[str] = set()  # the containers that somebody has told to end
        self._without_memory: set[str] = set()
        self._heard: set[str] = set()  # what docker has said, which is asked twice
        self._is_closing = False
        file.touch()
        filters = ["type=container", f"label={PROJECT_LABEL}={project}", *(f"event={kind}" for kind in KINDS)]
        # Also what happens before docker listens.
        self._question = ["events", "--since", f"{time.time():.6f}", "--format", "{{json .}}",
                          *(part for each in filters for part in ("--filter", each))]
        self._process = subprocess.Popen(["docker", *self._question], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True, errors="replace", process_group=0)
        self._thread = threading.Thread(target=self._follow, name=f"endings of {project}", daemon=True)
        self._thread.start()

    def close(self) -> list[str]:
        """All that has happened until now."""
        now = time.time()
        self._is_closing = True
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        self._catch_up(now)
        return self.file.read_text().splitlines()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as lines:
                for line in lines:
                    self._hear(line.strip())
        finally:
            if not self._is_closing:
                self._note("docker events has ended: from now on nobody sees whether a container ends by itself")

    def _catch_up(self, until: float) -> None:
        """With what was still on its way when the watch ended."""
        try:
            for line in docker(*self._question, "--until", f"{until:.6f}").splitlines():
                self._hear(line.strip())
        except (RuntimeError, OSError, subprocess.SubprocessError) as problem:
            self._note(f"nobody sees whether a container has ended by itself at the last moment: {problem}")

    def _hear(self, line: str) -> None:
        if line in self._heard:
            return
        self._heard.add(line)
        try:
            event = json.loads(line)
        except ValueError:
            # Some versions of docker have a last word when they are told to end, or end within a line.
            if not self._is_closing:
                self._note(f"docker events said {line}")
            return
        try:
            self._take(event)
        except Exception as problem:  # whatever it is: it must not end the watch
            self._note(f"docker events said {line}, which is no event: {problem!r}")

    def _take(self, event: dict[str, Any]) -> None:
        container, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
        kind = event["Action"]
        if kind == "start":
            self._told.discard(container)
            self._without_memory.discard(container)
        elif kind == "kill" and attributes["signal"] not in HARMLESS_SIGNALS:
            self._told.add(container)
        elif kind == "oom":
            self._without_memory.add(container)
        elif kind == "die" and container not in self._told:
            moment = datetime.datetime.fromtimestamp(event["time"], datetime.timezone.utc)
            why = ": it had run out of memory" if container in self._without_memory else ""
            name = f"{attributes.get(PART_LABEL, attributes['name'])}-{attributes.get(NUMBER_LABEL, '')}".rstrip("-")
            self._note(f"{name} ended by itself at {moment:%H:%M:%S} with status {attributes['exitCode']}{why}")

    def _note(self, line: str) -> None:
        with self.file.open("a") as file:
            file.write(line + "\n")
