# SPDX-License-Identifier: Apache-2.0
"""The pair of engines that a system of a test runs on is the one that is asked for."""

from __future__ import annotations

import os

import pytest

from harness import System

SCHEMES = {"sqlite": "sqlite:", "mongo": "mongodb://", "stan": "stan://", "jetstream": "nats://"}


@pytest.mark.any_pair
def test_a_system_has_the_engines_that_are_asked_for(system: System) -> None:
    store, bus = os.environ.get("TEST_STORE", "sqlite"), os.environ.get("TEST_BUS", "stan")
    assert system.stores.uri("tickets").startswith(SCHEMES[store])
    assert system.broker.uri.startswith(SCHEMES[bus])
    assert system.broker.message_count("ticket:created") == 0
