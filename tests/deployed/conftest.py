# SPDX-License-Identifier: Apache-2.0
"""For tests of systems that are deployed: what they share with the integration tests and with chaos."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "chaos"), str(TESTS / "integration")]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "deployed(feature, ...): is run on deployed systems that have the features")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Not what needs a feature that this system does not have."""
    from harness import DEPLOYMENT

    if DEPLOYMENT:
        from deployed import deselect_others

        deselect_others(config, items)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Any]:
    """The system that TEST_DEPLOYMENT names; at the end all of it runs again, and nothing is under way."""
    from deployed import deployed_system

    with deployed_system(tmp_path) as running:
        yield running
