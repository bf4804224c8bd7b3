# SPDX-License-Identifier: Apache-2.0
"""auth: signing up, in and out, what the token and the cookie are, and how guessing is slowed down."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.cookies
import json
import re
import secrets
import time
from typing import Any

import pytest

from harness import JWT_KEY, PATIENCE, Client, Response, System, wait_until
from wire import DAY, at_once, base64url, check_errors, claims_of, cookie_of, decode_part, sign, token_of

ANOTHER_KEY = "another-key-for-tests-that-is-long-enough-98765"
ID = re.compile(r"[0-9a-f]{24}\Z")
SIGNUP = "/api/users/signup"
SIGNIN = "/api/users/signin"
SIGNOUT = "/api/users/signout"
CURRENT = "/api/users/currentuser"
ACCOUNT_FAILURES = 10  # a minute
ADDRESS_FAILURES = 30  # a minute
WINDOW = 60.0


def credentials(email: str = "ann@example.com", password: str = "correct horse") -> dict[str, str]:
    return {"email": email, "password": password}


@pytest.fixture
def ann() -> str:
    """An address that nobody has signed up with, wherever the test is run."""
    return f"ann-{secrets.token_hex(4)}@example.com"


def session_cookie(answer: Response, name: str = "session") -> Any:
    header = answer.headers.get_all("Set-Cookie")
    assert header is not None and len(header) == 1, header
    cookie = http.cookies.SimpleCookie(header[0])
    assert list(cookie) == [name], header
    return cookie[name]


def current_user(client: Client, **headers: str) -> Any:
    answer = client.get(CURRENT, **headers)
    assert answer.status == 200 and set(answer.json) == {"currentUser"}, answer.body
    return answer.json["currentUser"]


# ---- signing up ----


@pytest.mark.deployed
def test_signing_up_answers_the_user_a_token_and_a_cookie_that_cookie_session_can_read(system: System, ann: str) -> None:
    client = system.service("auth").client()
    before = int(time.time())
    answer = client.post(SIGNUP, credentials(ann))
    assert answer.status == 201
    assert set(answer.json) == {"id", "email", "token"}
    assert ID.match(answer.json["id"]) and answer.json["email"] == ann
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"

    cookie = session_cookie(answer)
    assert json.loads(base64.b64decode(cookie.value, validate=True)) == {"jwt": answer.json["token"]}
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/", True, "Lax")
    assert not cookie["secure"] and not cookie["domain"] and not cookie["expires"] and not cookie["max-age"]

    header, claims, signature = answer.json["token"].split(".")
    assert decode_part(header)["alg"] == "HS256"
    assert set(decode_part(claims)) == {"id", "email", "iat", "exp"}
    assert decode_part(claims)["id"] == answer.json["id"] and decode_part(claims)["email"] == ann
    assert before <= decode_part(claims)["iat"] <= time.time()
    assert decode_part(claims)["exp"] == decode_part(claims)["iat"] + DAY
    expected = hmac.new(JWT_KEY.encode(), f"{header}.{claims}".encode(), hashlib.sha256).digest()
    assert signature == base64url(expected)


def test_cookie_and_lifetime_are_as_configured(system: System) -> None:
    settings = {"COOKIE_SECURE": "true", "SESSION_COOKIE": "sid", "TOKEN_LIFETIME_SECONDS": "90"}
    auth = system.service("auth", **settings)
    client = auth.client()
    signed_up = client.post(SIGNUP, credentials())
    for answer in (signed_up, client.post(SIGNIN, credentials()), client.post(SIGNOUT, {})):
        cookie = session_cookie(answer, "sid")
        assert (cookie["path"], cookie["httponly"], cookie["samesite"], cookie["secure"]) == ("/", True, "Lax", True)
    token = signed_up.json["token"]
    claims = decode_part(token.split(".")[1])
    assert claims["exp"] - claims["iat"] == 90
    assert current_user(client, Cookie=f"session={cookie_of(token)}") is None
    assert current_user(client, Cookie=f"sid={cookie_of(token)}")["id"] == signed_up.json["id"]
    # And where the other services look for it.
    tickets = system.service("tickets", SESSION_COOKIE="sid").client()
    assert tickets.get("/api/tickets/mine", Cookie=f"session={cookie_of(token)}").status == 401
    assert tickets.get("/api/tickets/mine", Cookie=f"sid={cookie_of(token)}").status == 200


@pytest.mark.deployed
def test_emails_are_normalised_and_taken_once(system: System, ann: str) -> None:
    client = system.service("auth").client()
    answer = client.post(SIGNUP, credentials(f"  Ann.Smith+Tag-{ann.upper()}\t"))
    assert answer.status == 201 and answer.json["email"] == f"ann.smith+tag-{ann}"
    for email in (f"ann.smith+tag-{ann}", f"ANN.SMITH+TAG-{ann.upper()}", f" Ann.Smith+tag-{ann} "):
        check_errors(client.post(SIGNUP, credentials(email, "another password")), 409, "email")
        again = client.post(SIGNIN, credentials(email))
        assert again.status == 200 and again.json["id"] == answer.json["id"]
        assert again.json["email"] == f"ann.smith+tag-{ann}"
    # What differs otherwise is somebody else.
    assert client.post(SIGNUP, credentials(f"annsmith+tag-{ann}")).status == 201


@pytest.mark.deployed
@pytest.mark.parametrize(
    "body, fields",
    [
        ({}, ["email", "password"]),
        ({"email": None, "password": None}, ["email", "password"]),
        ({"email": "ann", "password": "    "}, ["email", "password"]),
        ({"email": 7, "password": ["password"]}, ["email", "password"]),
        ({"email": "", "password": ""}, ["email", "password"]),
        ({"email": "ann@example.com"}, ["password"]),
        ({"password": "password"}, ["email"]),
        ([], [""]),
        ("text", [""]),
        ({"email": "ann@example.com", "password": "pass\0word"}, [""]),
    ],
)
def test_every_invalid_field_of_a_sign_up_is_reported(system: System, ann: str, body: Any, fields: list[str]) -> None:
    client = system.service("auth").client()
    check_errors(client.post(SIGNUP, json.dumps(body).encode()), 400, *fields)
    assert client.post(SIGNUP, credentials(ann)).status == 201


@pytest.mark.deployed
def test_emails_that_are_none_are_refused(system: System) -> None:
    client = system.service("auth").client()
    wrong = ["ann", "@example.com", "ann@", "ann@example", "ann@@example.com", "a nn@example.com", "ann@exa mple.com"]
    wrong += ["ann@-example.com", "ann@example..com", "ann\n@example.com", "ann@example.com, bob@example.com"]
    wrong += ["<ann@example.com>", "a" * 243 + "@example.com"]
    for email in wrong:
        for path in (SIGNUP, SIGNIN):
            check_errors(client.post(path, credentials(email)), 400, "email")
    mark = secrets.token_hex(4)
    assert client.post(SIGNUP, credentials(mark.ljust(242, "a") + "@example.com")).status == 201
    assert client.post(SIGNUP, credentials(f"jürgen-{mark}@bücher.example")).status == 201


@pytest.mark.deployed
def test_passwords_have_4_to_128_characters_of_any_kind(system: System, ann: str) -> None:
    client = system.service("auth").client()
    good = ["abcd", " a  ", "🎟🎟🎟🎟", "🎟" * 128, "x" * 128, "tab\tand\nnewline", "пароль", "e\u0301e\u0301"]
    for i, password in enumerate(good):
        email = f"good{i}-{ann}"
        assert client.post(SIGNUP, credentials(email, password)).status == 201, password
        assert client.post(SIGNIN, credentials(email, password)).status == 200, password
        # All of it counts: nothing is cut off, trimmed or folded.
        for other in (password[:-1] + "Y", password + " ", password.upper() + "!"):
            if len(other) <= 128:
                check_errors(client.post(SIGNIN, credentials(email, other)), 401)
    for password in ("abc", "🎟🎟🎟", "🎟" * 129, "x" * 129, "     ", "\u3000\u2003\u00a0\t"):
        check_errors(client.post(SIGNUP, credentials(ann, password)), 400, "password")
    assert client.post(SIGNUP, credentials(ann)).status == 201


@pytest.mark.deployed
def test_twenty_sign_ups_with_one_email_on_two_instances_make_one_user(system: System, ann: str) -> None:
    instances = [system.service("auth"), system.service("auth")]
    answers = at_once(20, lambda i: instances[i % 2].client().post(SIGNUP, credentials(ann, f"password {i}")))
    won = [i for i, answer in enumerate(answers) if answer.status == 201]
    assert len(won) == 1, [answer.status for answer in answers]
    for i, answer in enumerate(answers):
        if i != won[0]:
            check_errors(answer, 409, "email")
    for instance in instances:
        answer = instance.client().post(SIGNIN, credentials(ann, f"password {won[0]}"))
        assert answer.status == 200 and answer.json["id"] == answers[won[0]].json["id"]


# ---- Idempotency-Key ----


@pytest.mark.deployed
def test_a_sign_up_can_be_repeated_under_its_key_even_after_a_crash(system: System, ann: str) -> None:
    auth, other_instance = system.service("auth"), system.service("auth")
    client = auth.client()
    first = client.post(SIGNUP, credentials(ann), Idempotency_Key="key-1")
    assert first.status == 201
    check_errors(client.post(SIGNUP, credentials(ann)), 409, "email")
    check_errors(client.post(SIGNUP, credentials(ann), Idempotency_Key="key-2"), 409, "email")
    check_errors(client.post(SIGNUP, credentials(ann, "wrong"), Idempotency_Key="key-1"), 422)
    auth.kill()
    auth.start()
    for instance in (auth, other_instance):
        again = instance.client().post(SIGNUP, credentials(f" {ann.upper()}"), Idempotency_Key="key-1")
        assert again.status == 201 and again.json["id"] == first.json["id"]
        assert again.json["email"] == ann
        assert current_user(instance.client(again.json["token"]))["id"] == first.json["id"]
        assert session_cookie(again).value == cookie_of(again.json["token"])
    bob = auth.client().post(SIGNUP, credentials(f"bob-{ann}"), Idempotency_Key="key-1")
    assert bob.status == 201 and bob.json["id"] != first.json["id"]


@pytest.mark.deployed
def test_concurrent_sign_ups_under_one_key_are_one(system: System, ann: str) -> None:
    instances = [system.service("auth"), system.service("auth")]
    answers = at_once(10, lambda i: instances[i % 2].client().post(SIGNUP, credentials(ann), Idempotency_Key="key"))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.json["id"] for answer in answers}) == 1


@pytest.mark.deployed
def test_keys_that_are_none_are_refused(system: System, ann: str) -> None:
    client = system.service("auth").client()
    for key in ("x" * 65, "", "tab\tinside", "größe"):
        check_errors(client.request("POST", SIGNUP, credentials(ann), {"Idempotency-Key": key}), 400)
    assert client.post(SIGNUP, credentials(ann), Idempotency_Key="x" * 64).status == 201


# ---- signing in and out ----


@pytest.mark.deployed
def test_signing_in_answers_as_signing_up_does(system: System, ann: str) -> None:
    client = system.service("auth").client()
    signed_up = client.post(SIGNUP, credentials(ann))
    answer = client.post(SIGNIN, credentials(ann))
    assert answer.status == 200 and answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json) == {"id", "email", "token"} and answer.json["id"] == signed_up.json["id"]
    assert session_cookie(answer).value == cookie_of(answer.json["token"])
    assert current_user(client, Authorization=f"Bearer {answer.json['token']}")["id"] == signed_up.json["id"]


def test_a_wrong_email_and_a_wrong_password_cannot_be_told_apart(system: System) -> None:
    auth = system.service("auth", FAILPOINTS="auth.password.verify=sleep:0")
    client = auth.client()
    assert client.post(SIGNUP, credentials()).status == 201
    volatile = {"date", "x-request-id"}
    shapes = set()
    for i in range(6):
        for email in ("ann@example.com", "nobody@example.com"):
            compared = auth.log().count("failpoint auth.password.verify")
            answer = client.post(SIGNIN, credentials(email, "wrong"), X_Forwarded_For=f"10.0.0.{i}")
            # Nearly all of the time goes into the one comparison, which costs the same for nobody's password.
            assert auth.log().count("failpoint auth.password.verify") == compared + 1
            check_errors(answer, 401)
            assert answer.headers["Cache-Control"] == "no-store" and "Set-Cookie" not in answer.headers
            headers = [(n.lower(), v) for n, v in answer.headers.items() if n.lower() not in volatile]
            shapes.add((answer.body, tuple(sorted(headers))))
    assert len(shapes) == 1


@pytest.mark.deployed
def test_every_invalid_field_of_a_sign_in_is_reported(system: System, ann: str) -> None:
    client = system.service("auth").client()
    check_errors(client.post(SIGNIN, {}), 400, "email", "password")
    check_errors(client.post(SIGNIN, {"email": "ann", "password": 7}), 400, "email", "password")
    check_errors(client.post(SIGNIN, credentials("ann")), 400, "email")
    # Nobody has such a password, but that is no news for whoever tries it.
    check_errors(client.post(SIGNIN, credentials(ann, "abc")), 401)
    check_errors(client.post(SIGNIN, credentials(ann, "     ")), 401)


@pytest.mark.deployed
def test_signing_out_clears_the_cookie(system: System, ann: str) -> None:
    client = system.service("auth").client()
    token = client.post(SIGNUP, credentials(ann)).json["token"]
    for body in ({}, None, b"whatever"):
        answer = client.request("POST", SIGNOUT, body, {"Cookie": f"session={cookie_of(token)}"})
        assert answer.status == 200 and answer.json == {}
        assert answer.headers["Cache-Control"] == "no-store"
        cookie = session_cookie(answer)
        assert cookie.value == "" and cookie["expires"].endswith("1970 00:00:00 GMT")
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/", True, "Lax")


@pytest.mark.deployed
def test_nothing_is_for_caches_to_keep_refusals_neither(system: System) -> None:
    client = system.service("auth").client()
    for status, method, path, headers in (
        (200, "GET", CURRENT, {}),
        (400, "GET", f"{CURRENT}?x=%zz", {}),
        (404, "GET", f"{CURRENT}/x", {}),
        (405, "GET", SIGNIN, {}),
        (415, "POST", SIGNIN, {"Content-Type": "text/plain"}),
        (200, "POST", "/api/users/signout", {}),
    ):
        answer = client.request(method, path, b"x" if status == 415 else None, headers)
        assert (answer.status, answer.headers["Cache-Control"]) == (status, "no-store"), (method, path)


@pytest.mark.deployed
def test_the_current_user_is_whom_cookie_or_token_say_or_nobody(system: System, ann: str) -> None:
    client = system.service("auth").client()
    user = client.post(SIGNUP, credentials(ann)).json
    token = user.pop("token")
    cookie = cookie_of(token)
    assert client.get(CURRENT).headers["Cache-Control"] == "no-store"
    assert current_user(client) is None
    assert current_user(client, Cookie=f"session={cookie}") == user
    assert current_user(client, Cookie=f"a=b; session={cookie}; c=d") == user
    assert current_user(client, Authorization=f"Bearer {token}") == user
    assert current_user(client, Authorization=f"bearer   {token}") == user
    assert current_user(client, Cookie=f"Session={cookie}") is None
    assert current_user(client, Cookie=f"session={token}") is None
    assert current_user(client, Cookie="session=e30=") is None
    assert current_user(client, Cookie="session=%%%") is None
    assert current_user(client, Authorization=f"Basic {token}") is None
    assert current_user(client, Authorization="Bearer") is None
    # A token that was given on purpose counts, not the cookie that happens to be there.
    assert current_user(client, Authorization="Bearer wrong", Cookie=f"session={cookie}") is None
    head = client.request("HEAD", CURRENT, headers={"Cookie": f"session={cookie}"})
    assert head.status == 200 and head.body == b"" and int(head.headers["Content-Length"]) > len('{"currentUser":null}')


# ---- tokens ----


def bad_tokens(user: str) -> dict[str, str]:
    good = token_of(user)
    header, claims, signature = good.split(".")
    hs256 = {"alg": "HS256", "typ": "JWT"}
    now = int(time.time())
    someone_else = base64url(json.dumps(claims_of("0" * 24)).encode())
    return {
        "no signature": f"{header}.{claims}.",
        "two parts": f"{header}.{claims}",
        "four parts": f"{good}.{signature}",
        "alg none": sign({"alg": "none"}, claims_of(user)),
        "alg none, unsigned": f"{base64url(json.dumps({'alg': 'none'}).encode())}.{claims}.",
        "alg HS512": sign({"alg": "HS512", "typ": "JWT"}, claims_of(user), digest="sha512"),
        "no alg": sign({"typ": "JWT"}, claims_of(user)),
        "alg in lower case": sign({"alg": "hs256"}, claims_of(user)),
        "another key": token_of(user, key=ANOTHER_KEY),
        "another's claims": f"{header}.{someone_else}.{signature}",
        "expired": token_of(user, exp=now - 1),
        "expires now": token_of(user, exp=now),
        "not valid yet": token_of(user, nbf=now + 1000),
        "no exp": sign(hs256, {k: v for k, v in claims_of(user).items() if k != "exp"}),
        "exp as text": token_of(user, exp=str(now + DAY)),
        "no id": sign(hs256, {k: v for k, v in claims_of(user).items() if k != "id"}),
        "id that is none": token_of(user, id="not-an-id"),
        "no email": sign(hs256, {k: v for k, v in claims_of(user).items() if k != "email"}),
        "critical extension": sign({"alg": "HS256", "crit": ["b64"]}, claims_of(user)),
        "claims are no object": sign(hs256, [1, 2]),
        "flipped signature": good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1],
        "garbage": "garbage",
        "very long": "a" * 5000,
    }


@pytest.mark.deployed
def test_no_service_accepts_a_token_that_auth_has_not_made(system: System) -> None:
    user = "5f43c0de5f43c0de5f43c0de"
    auth = system.service("auth").client()
    tickets, orders = system.service("tickets").client(), system.service("orders").client()
    assert current_user(auth, Authorization=f"Bearer {token_of(user)}")["id"] == user
    assert tickets.get("/api/tickets/mine", Authorization=f"Bearer {token_of(user)}").status == 200
    assert orders.get("/api/orders", Cookie=f"session={cookie_of(token_of(user))}").status == 200
    for why, token in bad_tokens(user).items():
        for headers in ({"Authorization": f"Bearer {token}"}, {"Cookie": f"session={cookie_of(token)}"}):
            assert current_user(auth, **headers) is None, why
            check_errors(tickets.get("/api/tickets/mine", **headers), 401)
            check_errors(tickets.post("/api/tickets", {"title": "t", "price": 1}, **headers), 401)
            check_errors(orders.get("/api/orders", **headers), 401)
            check_errors(orders.post("/api/orders", {"ticketId": "0" * 24}, **headers), 401)


@pytest.mark.deployed
def test_a_token_runs_out_while_it_is_in_use(system: System) -> None:
    """A verified token is remembered, but not for longer than it is valid."""
    tickets = system.service("tickets").client()
    token = token_of("5f43c0de5f43c0de5f43c0de", exp=int(time.time()) + 5)
    statuses = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and statuses[-1:] != [401]:
        statuses.append(tickets.get("/api/tickets/mine", Authorization=f"Bearer {token}").status)
        time.sleep(0.05)
    assert statuses[0] == 200 and statuses[-1] == 401
    assert time.time() >= decode_part(token.split(".")[1])["exp"]


def test_the_key_can_be_rotated_without_signing_anybody_out(system: System) -> None:
    first = system.service("auth")
    signed_up = first.client().post(SIGNUP, credentials()).json
    first.stop()
    rotated = {"JWT_KEY": ANOTHER_KEY, "JWT_KEY_PREVIOUS": JWT_KEY}
    auth, tickets = system.service("auth", **rotated), system.service("tickets", **rotated)
    assert current_user(auth.client(signed_up["token"]))["id"] == signed_up["id"]
    assert tickets.client(signed_up["token"]).get("/api/tickets/mine").status == 200
    new_token = auth.client().post(SIGNIN, credentials()).json["token"]
    # The new key signs, the previous one only verifies: who knows the new one alone accepts new tokens alone.
    done = system.service("tickets", JWT_KEY=ANOTHER_KEY)
    assert done.client(new_token).get("/api/tickets/mine").status == 200
    check_errors(done.client(signed_up["token"]).get("/api/tickets/mine"), 401)
    check_errors(tickets.client(token_of(signed_up["id"], key="x" * 40)).get("/api/tickets/mine"), 401)


# ---- what stays, what is shared, what is not told ----


@pytest.mark.deployed
def test_users_outlive_the_process_and_are_shared_by_instances(system: System, ann: str) -> None:
    auth = system.service("auth")
    signed_up = auth.client().post(SIGNUP, credentials(ann)).json
    auth.kill()
    auth.start()
    other = system.service("auth")
    for instance in (auth, other):
        answer = instance.client().post(SIGNIN, credentials(ann))
        assert answer.status == 200 and answer.json["id"] == signed_up["id"]
        assert current_user(instance.client(signed_up["token"]))["id"] == signed_up["id"]
        check_errors(instance.client().post(SIGNUP, credentials(ann)), 409, "email")


def test_passwords_and_tokens_are_neither_logged_nor_stored(system: System) -> None:
    auth = system.service("auth", LOG_LEVEL="debug")
    client = auth.client()
    password = "unforgettable-secret"
    token = client.post(SIGNUP, credentials(password=password)).json["token"]
    client.post(SIGNIN, credentials(password=password))
    client.post(SIGNUP, {"email": "broken", "password": password})
    current_user(client, Authorization=f"Bearer {token}", Cookie=f"session={cookie_of(token)}")
    assert auth.stop() == 0
    secrets = [password, token, cookie_of(token), JWT_KEY]
    written = {path.name: path.read_bytes() for path in system.folder.iterdir() if path.is_file()}
    assert b"ann@example.com" in b"".join(data for name, data in written.items() if name.startswith("auth.db"))
    for name, data in written.items():
        for secret in secrets:
            assert secret.encode() not in data, f"{name} tells {secret}"


# ---- guessing ----


def attempts_until_refused(client: Client, limit: int, email: str, address: str, attempt: int = 0) -> tuple[int, Response]:
    """Tries wrong passwords until it is told to wait. Attempts come back while it tries, some more on a slow machine."""
    start = time.monotonic()
    for count in range(attempt, 3 * limit):
        answer = client.post(
            SIGNIN, credentials(email.format(count), "wrong"), X_Forwarded_For=address.format(count)
        )
        if answer.status == 429:
            extra = (time.monotonic() - start) / (WINDOW / limit) + 1
            assert count - attempt <= limit + extra, f"{count - attempt} attempts, not {limit}"
            return count - attempt, answer
        check_errors(answer, 401)
    raise AssertionError("never refused")


def test_guessing_at_one_account_is_slowed_down_from_wherever_it_comes(system: System) -> None:
    client = system.service("auth").client()
    for email in ("ann@example.com", "bob@example.com"):
        assert client.post(SIGNUP, credentials(email)).status == 201
    count, refused = attempts_until_refused(client, ACCOUNT_FAILURES, "ann@example.com", "10.0.0.{}")
    assert count >= ACCOUNT_FAILURES
    check_errors(refused, 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= WINDOW / ACCOUNT_FAILURES
    assert refused.headers["Cache-Control"] == "no-store"
    # Not even the right password is looked at now, nor does another spelling get around it; other accounts go on.
    check_errors(client.post(SIGNIN, credentials(), X_Forwarded_For="10.1.0.1"), 429)
    check_errors(client.post(SIGNIN, credentials(" ANN@example.com"), X_Forwarded_For="10.1.0.2"), 429)
    assert client.post(SIGNIN, credentials("bob@example.com"), X_Forwarded_For="10.0.0.1").status == 200
    # An account that does not exist is no different.
    count, refused = attempts_until_refused(client, ACCOUNT_FAILURES, "nobody@example.com", "10.2.0.{}")
    assert count >= ACCOUNT_FAILURES
    check_errors(refused, 429)


def test_signing_in_forgets_the_failures_of_the_account(system: System) -> None:
    client = system.service("auth").client()
    assert client.post(SIGNUP, credentials()).status == 201
    for round_number in range(3):
        for i in range(ACCOUNT_FAILURES - 1):
            address = f"10.0.{round_number}.{i}"
            check_errors(client.post(SIGNIN, credentials(password="wrong"), X_Forwarded_For=address), 401)
        assert client.post(SIGNIN, credentials()).status == 200


def test_guessing_from_one_address_is_slowed_down_at_whatever_account(system: System) -> None:
    client = system.service("auth").client()
    assert client.post(SIGNUP, credentials()).status == 201
    count, refused = attempts_until_refused(client, ADDRESS_FAILURES, "user{}@example.com", "192.0.2.7")
    assert count >= ADDRESS_FAILURES
    check_errors(refused, 429)
    check_errors(client.post(SIGNIN, credentials(), X_Forwarded_For="192.0.2.7"), 429)
    # What a client claims in front of what the proxy says does not count, what the proxy says does.
    check_errors(client.post(SIGNIN, credentials(), X_Forwarded_For="198.51.100.9, 192.0.2.7"), 429)
    assert client.post(SIGNIN, credentials(), X_Forwarded_For="192.0.2.7, 198.51.100.9").status == 200


def test_forwarded_addresses_are_believed_from_trusted_proxies_only(system: System) -> None:
    client = system.service("auth", TRUSTED_PROXIES="").client()
    count, refused = attempts_until_refused(client, ADDRESS_FAILURES, "user{}@example.com", "10.0.0.{}")
    assert count >= ADDRESS_FAILURES
    check_errors(refused, 429)


def test_sign_ups_of_one_address_are_limited(system: System) -> None:
    client = system.service("auth", SIGNUPS_PER_MINUTE="3").client()

    def sign_up(i: int, address: str) -> Response:
        return client.post(SIGNUP, credentials(f"user{i}@example.com"), X_Forwarded_For=address)

    answers = [sign_up(i, "192.0.2.7") for i in range(4)]
    assert [answer.status for answer in answers[:3]] == [201, 201, 201]
    check_errors(answers[3], 429)
    assert 1 <= int(answers[3].headers["Retry-After"]) <= WINDOW / 3
    assert sign_up(5, "192.0.2.8").status == 201
    # Signing in is none of its business.
    assert client.post(SIGNIN, credentials("user0@example.com"), X_Forwarded_For="192.0.2.7").status == 200
    # Nor is what was refused a user.
    check_errors(client.post(SIGNIN, credentials("user3@example.com"), X_Forwarded_For="192.0.2.8"), 401)


def test_who_is_signed_in_is_told_while_every_worker_hashes(system: System) -> None:
    auth = system.service("auth", WORKERS="1")
    done: list[int] = []

    def call(i: int) -> Response:
        if i > 0:
            answer = auth.client().post(SIGNUP, credentials(f"user{i}@example.com"))
            done.append(i)
            return answer
        wait_until(lambda: done, "the first has signed up, and the others queue for the only worker")
        answer = auth.client().get(CURRENT)
        assert len(done) < 30
        return answer

    answers = at_once(31, call)
    assert [answer.status for answer in answers] == [200] + [201] * 30
