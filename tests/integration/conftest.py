# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a system of real processes for each test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterator

import pytest

from harness import System
from pairs import new_system


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Leaves the numbers of tests that passed, failed and were skipped for tests/run.py, which asks for them."""
    if path := os.environ.get("TURNSTILE_COUNTS"):
        kinds = (("passed",), ("failed", "error"), ("skipped",))
        numbers = [sum(len(terminalreporter.stats.get(word, [])) for word in words) for words in kinds]
        Path(path).write_text(" ".join(map(str, numbers)) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "any_pair: is run on every pair of engines that tests/run.py is told of")
    config.addinivalue_line("markers", "own_pair(reason): not on other pairs, though the rest of the file is")


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """Engines that run, and services that the test starts; all is stopped and checked at the end."""
    running = new_system(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.end()
