# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a system of real processes for each test; or, where TEST_DEPLOYMENT names one, the system that is deployed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterator

import pytest

from harness import DEPLOYMENT, System
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
    config.addinivalue_line("markers", "deployed(feature, ...): is run on deployed systems that have the features, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Nothing is run on a system that is deployed but what is meant for it."""
    if DEPLOYMENT:
        from deployed import deselect_others

        deselect_others(config, items)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """Engines that run, and services that the test starts; all is stopped and checked at the end."""
    if DEPLOYMENT:
        from deployed import deployed_system

        with deployed_system(tmp_path) as running:
            yield running
        return
    running = new_system(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.end()
