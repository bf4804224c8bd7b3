# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a system of real processes for each test."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from harness import System


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A broker that runs, and services that the test starts; all is stopped and checked at the end."""
    running = System(tmp_path)
    running.broker.start()
    try:
        yield running
    finally:
        running.end()
