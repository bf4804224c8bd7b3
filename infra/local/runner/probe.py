# SPDX-License-Identifier: Apache-2.0
"""Asks what runs whether it is ready, without waiting for long."""

import json
import urllib.error
import urllib.request

from runner.settings import HOST

PROBE_SECONDS_MAX = 1.0
PROBE_BYTES_MAX = 65536

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str) -> tuple[int, bytes] | None:
    """Status and body of an answer, or None where nobody answers in time."""
    try:
        with opener.open(url, timeout=PROBE_SECONDS_MAX) as response:
            return response.status, response.read(PROBE_BYTES_MAX)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except (OSError, ValueError, EOFError) as error:
        del error
        return None


def answers(url: str) -> bool:
    return fetch(url) is not None


def answers_well(url: str) -> bool:
    answer = fetch(url)
    return answer is not None and answer[0] == 200


def service_is_ready(port: int) -> bool:
    """Its store answers, and it has found the bus, if it has any use for one."""
    answer = fetch(f"http://{HOST}:{port}/readyz")
    if answer is None or answer[0] != 200:
        return False
    try:
        body = json.loads(answer[1])
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("bus", "up") == "up"
