# SPDX-License-Identifier: Apache-2.0
"""Retries of a sign-up under its idempotency key."""

from __future__ import annotations

from harness import System


def test_guessing_passwords_by_retries_of_a_sign_up_is_limited_as_signing_in_is(system: System) -> None:
    client = system.service("auth").client()
    user = {"email": "owner@example.com", "password": "the right one"}
    assert client.post("/api/users/signup", user, Idempotency_Key="signup").status == 201
    guess = {**user, "password": "a wrong one"}
    answers = [client.post("/api/users/signup", guess, Idempotency_Key="signup") for _ in range(20)]
    # The limit is 10 a minute; a few may come back while this runs.
    statuses = [answer.status for answer in answers]
    assert statuses[:10] == [422] * 10 and statuses[-1] == 429, statuses
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert client.post("/api/users/signin", guess).status == 429
