# SPDX-License-Identifier: Apache-2.0
"""Commands to the Docker engine."""

from __future__ import annotations

import subprocess
from typing import Any

COMMAND_SECONDS_MAX = 60.0
# What Compose puts on all that it makes.
PROJECT_LABEL = "com.docker.compose.project"
PART_LABEL = "com.docker.compose.service"
NUMBER_LABEL = "com.docker.compose.container-number"


def docker(*arguments: str, seconds: float = COMMAND_SECONDS_MAX, **options: Any) -> str:
    """What it prints. If it fails, the exception says what it said."""
    options = {"stderr": subprocess.PIPE} | options
    result = subprocess.run(["docker", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                            errors="replace", timeout=seconds, **options)
    if result.returncode != 0:
        raise RuntimeError(f"docker {' '.join(arguments)} ended with status {result.returncode}: "
                           f"{(result.stderr or result.stdout).strip()}")
    return result.stdout
