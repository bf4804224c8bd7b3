# SPDX-License-Identifier: Apache-2.0
"""Being interrupted: it ends what is done, but not the tidying up after it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def begin() -> None:
    """From now on every signal that asks for an end is like Ctrl-C."""
    for number in NUMBERS:
        signal.signal(number, interrupt)


@contextlib.contextmanager
def signals_ignored() -> Iterator[None]:
    """Also by the programs that are started meanwhile."""
    before = [signal.signal(number, signal.SIG_IGN) for number in NUMBERS]
    try:
        yield
    finally:
        for number, handler in zip(NUMBERS, before):
            signal.signal(number, handler)
