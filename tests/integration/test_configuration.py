# SPDX-License-Identifier: Apache-2.0
"""How services are configured, and what they say when that, or what they need to start, is wrong."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from harness import BUILD, JWT_KEY, SANITIZER_REPORT, Service, System, free_port, wait_until
from wire import token_of

INVALID = 78
USAGE = 64
FAILED = 1
NOBODY = 65534
SERVICES = ("auth", "tickets", "orders")
OWN = {
    "auth": {"TOKEN_LIFETIME_SECONDS", "COOKIE_SECURE", "SIGNUPS_PER_MINUTE"},
    "tickets": set(),
    "orders": {"ORDER_HOLD_SECONDS"},
}
COMMON = {"LISTEN_ADDRESS", "PORT", "STORE_URI", "JWT_KEY", "JWT_KEY_PREVIOUS", "SESSION_COOKIE", "TRUSTED_PROXIES"}
COMMON |= {"LOG_LEVEL", "LOG_FORMAT", "WORKERS", "REQUEST_TIMEOUT_MS", "FAILPOINTS"}
BUS = {"BUS_URI", "NATS_CLIENT_ID", "EVENT_WORKERS", "EVENTS_IN_FLIGHT"}
REQUIRED = {"STORE_URI", "JWT_KEY", "BUS_URI"}


def good(folder: Path, **changes: str | None) -> dict[str, str]:
    """Settings to start with; None leaves a variable out."""
    settings: dict[str, str | None] = {
        "PORT": str(free_port()),
        "STORE_URI": f"sqlite:{folder}/store.db",
        "BUS_URI": "stan://127.0.0.1:1/ticketing",
        "JWT_KEY": JWT_KEY,
    }
    settings.update(changes)
    return {name: value for name, value in settings.items() if value is not None}


def run(service: str, settings: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs a service that is expected to end by itself."""
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.endswith("SAN_OPTIONS")}
    ended = subprocess.run(
        [str(BUILD / service), *arguments],
        env={**kept, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert not SANITIZER_REPORT.search(ended.stderr), ended.stderr
    return ended


def check_problems(ended: "subprocess.CompletedProcess[str]", *patterns: str) -> None:
    """Exit status 78, and on stderr one line for each of these and nothing else."""
    lines = ended.stderr.splitlines()
    assert ended.returncode == INVALID and ended.stdout == "", (ended.returncode, ended.stderr)
    assert len(lines) == len(patterns), lines
    for pattern in patterns:
        assert [line for line in lines if re.match(pattern, line)], (pattern, lines)


# ---- the command line ----


@pytest.mark.parametrize("service", SERVICES)
def test_help_shows_every_variable_and_needs_none(service: str) -> None:
    ended = run(service, {}, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    names = set(run(service, {}, "--config-names").stdout.split())
    assert names >= OWN[service] | COMMON | (BUS if service != "auth" else set())
    assert service != "auth" or not names & BUS
    rows = {line.split()[0]: line for line in ended.stdout.splitlines() if line[:1].isupper() and "  " in line}
    assert names <= rows.keys()
    for name in names:
        assert ("required" in rows[name]) == (name in REQUIRED), rows[name]
    assert "openssl rand -hex 32" in rows["JWT_KEY"]
    assert service in ended.stdout.splitlines()[0]


@pytest.mark.parametrize("service", SERVICES)
def test_the_command_line_is_understood_or_refused(service: str) -> None:
    version = run(service, {}, "--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert re.match(rf"{service} \d+\.\d+\.\d+\n\Z", version.stdout)
    for arguments in (["--unknown"], ["help"], [""], ["--help", "more"], ["-x", "--version"]):
        ended = run(service, {}, *arguments)
        assert ended.returncode == USAGE and ended.stdout == "", arguments
        assert len(ended.stderr.splitlines()) == 1 and "--help" in ended.stderr


# ---- one variable at a time ----


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_required_has_no_default(tmp_path: Path, service: str) -> None:
    wanted = sorted(REQUIRED if service != "auth" else REQUIRED - {"BUS_URI"})
    for name in wanted:
        check_problems(run(service, good(tmp_path, **{name: None})), f"{name}: missing: ")
        check_problems(run(service, good(tmp_path, **{name: ""})), f"{name}: missing: ")
    check_problems(run(service, {}), *(f"{name}: missing: " for name in wanted))
    assert "openssl rand -hex 32" in run(service, {}).stderr
    assert list(tmp_path.iterdir()) == [], "nothing was opened before all was checked"


@pytest.mark.parametrize(
    "service, name, values",
    [
        ("tickets", "PORT", ["0", "65536", "-1", "http", "80x", " 80", "8080.0", "0x50", "99999999999999999999", "+80"]),
        ("tickets", "WORKERS", ["0", "257", "many"]),
        ("tickets", "REQUEST_TIMEOUT_MS", ["99", "600001", "10s"]),
        ("tickets", "EVENT_WORKERS", ["0", "65", "x"]),
        ("tickets", "EVENTS_IN_FLIGHT", ["7", "1025", "x"]),
        ("tickets", "LISTEN_ADDRESS", ["localhost", "1.2.3", "256.1.1.1", "x" * 65, "127.0.0.1:80", "::g"]),
        ("tickets", "STORE_URI", ["tickets.db", "sqlite:", "sqlite:dir/", "mysql://host/db", "sqlit", "x" * 600,
                                   "mongodb://host", "mongodb://host:x/db"]),
        ("tickets", "BUS_URI", ["localhost:4222", "stan://localhost:4222", "stan://:4222/c", "stan://h:x/c", "stan://h:70000/c",
                                "kafka://h:1/c", "stan://"]),
        ("tickets", "NATS_CLIENT_ID", ["a b", "a.b", "größe", "x" * 64]),
        ("tickets", "SESSION_COOKIE", ["a b", "a=b", "a;b", "x" * 65, "sé"]),
        ("tickets", "TRUSTED_PROXIES", ["localhost", "10.0.0.0/33", "10.0.0.1,,10.0.0.2", "10.0.0.0/x"]),
        ("tickets", "LOG_LEVEL", ["verbose", "x" * 17]),
        ("tickets", "LOG_FORMAT", ["xml"]),
        ("tickets", "JWT_KEY", ["short", "x" * 31, "x" * 512]),
        ("tickets", "JWT_KEY_PREVIOUS", ["short", "x" * 31]),
        ("tickets", "FAILPOINTS", ["nonsense", "a=explode"]),
        ("auth", "TOKEN_LIFETIME_SECONDS", ["0", "31536001", "1d"]),
        ("auth", "COOKIE_SECURE", ["maybe", "2", "tru"]),
        ("auth", "SIGNUPS_PER_MINUTE", ["0", "1000001", "x"]),
        ("orders", "ORDER_HOLD_SECONDS", ["0", "-5", "31536001", "15m"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_malformed_variable_is_one_line_that_names_it(tmp_path: Path, service: str, name: str, values: list[str]) -> None:
    for value in values:
        ended = run(service, good(tmp_path, **{name: value}))
        check_problems(ended, rf"{name}: \S+")
        if not name.startswith("JWT_KEY") and name != "FAILPOINTS" and "must have at most" not in ended.stderr:
            assert f'"{value}"' in ended.stderr, ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    wrong = {"PORT": "0", "JWT_KEY": "short", "STORE_URI": None, "BUS_URI": "x", "LOG_LEVEL": "loud", "WORKERS": "no"}
    wrong |= {"ORDER_HOLD_SECONDS": "soon", "TRUSTED_PROXIES": "everybody"}
    check_problems(run("orders", good(tmp_path, **wrong)), *(f"{name}: " for name in wrong))


def test_secrets_are_not_printed_whatever_is_wrong_with_them(tmp_path: Path) -> None:
    secret = "hunter2-hunter2"
    file = tmp_path / "key"
    file.write_text(secret)
    for settings in (
        good(tmp_path, JWT_KEY=secret),
        good(tmp_path, JWT_KEY_PREVIOUS=secret),
        good(tmp_path, JWT_KEY=None, JWT_KEY_FILE=str(file)),
        good(tmp_path, JWT_KEY=secret * 3, JWT_KEY_FILE=str(file)),
        good(tmp_path, BUS_URI=f"stan://user:{secret}@host/"),
        good(tmp_path, BUS_URI=f"stan://{secret}@host:4222"),
        good(tmp_path, STORE_URI=f"mysql://user:{secret}@host/tickets"),
    ):
        ended = run("tickets", settings)
        assert ended.returncode == INVALID and len(ended.stderr.splitlines()) == 1
        assert "hunter2" not in ended.stderr + ended.stdout, ended.stderr


def test_values_can_come_from_files(system: System) -> None:
    files = {
        "JWT_KEY": JWT_KEY + "\n",
        "STORE_URI": f"sqlite:{system.folder}/from-a-file.db\n",
        "BUS_URI": system.broker.uri,
        "SESSION_COOKIE": "sid",
    }
    settings = {}
    for name, text in files.items():
        path = system.folder / name.lower()
        path.write_text(text)
        settings |= {name: "", f"{name}_FILE": str(path)}
    tickets = system.service("tickets", **settings)
    assert tickets.client(token_of("5e11e45e11e45e11e45e11e4")).get("/api/tickets/mine").status == 200
    assert (system.folder / "from-a-file.db").exists()


def test_files_that_cannot_be_read_are_said_with_their_path(tmp_path: Path) -> None:
    empty, long, nul, short = (tmp_path / name for name in ("empty", "long", "nul", "short"))
    empty.write_text("\n")
    long.write_text("x" * 5000)
    nul.write_bytes(b"x" * 20 + b"\0" + b"x" * 20)
    short.write_text("short\n")
    for path in (tmp_path / "missing", tmp_path, empty, long, nul):
        ended = run("tickets", good(tmp_path, JWT_KEY=None, JWT_KEY_FILE=str(path)))
        check_problems(ended, rf"JWT_KEY_FILE: cannot read {re.escape(str(path))}: \S+")
    check_problems(run("tickets", good(tmp_path, JWT_KEY=None, JWT_KEY_FILE=str(short))),
                   rf"JWT_KEY \(from JWT_KEY_FILE={re.escape(str(short))}\): must have at least 32")
    both = run("tickets", good(tmp_path, JWT_KEY_FILE=str(short)))
    check_problems(both, "JWT_KEY: set together with JWT_KEY_FILE")


def test_good_values_at_the_edges_are_accepted(system: System) -> None:
    longest = "127.0.0.1, 10.0.0.0/8,::1 , fd00::/8"
    tickets = system.service(
        "tickets", WORKERS="1", REQUEST_TIMEOUT_MS="600000", EVENT_WORKERS="1", EVENTS_IN_FLIGHT="8", LOG_LEVEL="ERROR",
        LOG_FORMAT="JSON", TRUSTED_PROXIES=longest, JWT_KEY="x" * 32, JWT_KEY_PREVIOUS="y" * 511, SESSION_COOKIE="s" * 64,
    )  # fmt: skip
    assert tickets.client().get("/api/tickets").status == 200
    system.service("tickets", WORKERS="256", EVENT_WORKERS="64", EVENTS_IN_FLIGHT="1024", LISTEN_ADDRESS="0.0.0.0")
    for yes in ("TRUE", "1", "yes"):
        auth = system.service("auth", COOKIE_SECURE=yes)
        cookie = auth.client().post("/api/users/signout", {}).headers["Set-Cookie"]
        assert "; Secure" in cookie


def test_a_client_id_is_made_where_none_is_given(system: System) -> None:
    system.service("tickets", NATS_CLIENT_ID="")
    made = wait_until(lambda: [c for c in system.broker.clients() if c.startswith("tickets-")], "tickets has connected")
    assert len(made) == 1 and re.match(r"tickets-[0-9a-f]{8}\Z", made[0])


# ---- what is needed to start ----


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for service in SERVICES:
            ended = run(service, good(tmp_path, PORT=str(port), STORE_URI=f"sqlite:{tmp_path}/{service}.db"))
            assert ended.returncode == FAILED
            assert re.search(rf"ERROR {service} cannot start: .*\b{port}\b.* taken", ended.stderr), ended.stderr


def test_an_address_that_is_not_ours_is_named(tmp_path: Path) -> None:
    ended = run("auth", good(tmp_path, LISTEN_ADDRESS="192.0.2.1"))
    assert ended.returncode == FAILED and re.search(r"ERROR auth cannot start: .*192\.0\.2\.1", ended.stderr), ended.stderr


def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "garbage.db").write_bytes(b"this is no database, however long it is " * 200)
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "file").write_text("")
    wrong = ["missing/store.db", "folder.db", "garbage.db", "file/store.db"]
    for name in wrong:
        path = f"{tmp_path}/{name}"
        ended = run("tickets", good(tmp_path, STORE_URI=f"sqlite:{path}"))
        assert ended.returncode == FAILED, name
        lines = [line for line in ended.stderr.splitlines() if "ERROR" in line]
        assert len(lines) == 1 and f"cannot start: {path}: " in lines[0], ended.stderr
    assert (tmp_path / "garbage.db").read_bytes().startswith(b"this is no database")


@pytest.fixture
def others_folder() -> Iterator[Path]:
    """A folder that users other than the one who runs the tests can look into."""
    folder = Path(tempfile.mkdtemp(prefix="turnstile-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_store_that_must_not_be_written_is_named(others_folder: Path) -> None:
    program = others_folder / "auth"
    shutil.copy(BUILD / "auth", program)
    store = others_folder / "store.db"

    def start() -> "subprocess.CompletedProcess[str]":
        is_root = os.geteuid() == 0
        return subprocess.run(
            [str(program)], env={**os.environ, **good(others_folder)}, capture_output=True, text=True, timeout=30,
            user=NOBODY if is_root else None, group=NOBODY if is_root else None, extra_groups=[] if is_root else None,
        )  # fmt: skip

    others_folder.chmod(0o555)
    cannot_create = start()
    others_folder.chmod(0o755)
    store.write_bytes(b"")
    store.chmod(0o444)
    cannot_write = start()
    for ended in (cannot_create, cannot_write):
        assert ended.returncode == FAILED
        assert f"ERROR auth cannot start: {store}" in ended.stderr, ended.stderr
        assert re.search("[Pp]ermission denied|not writable", ended.stderr), ended.stderr


def test_a_service_that_failed_to_start_has_left_nothing_in_the_way(system: System) -> None:
    """The same settings work as soon as the port is free."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        tickets: Service = system.service("tickets", start=False, PORT=port)
        ended = run("tickets", {name: tickets.env[name] for name in ("STORE_URI", "BUS_URI", "JWT_KEY", "PORT", "NATS_CLIENT_ID")})
        assert ended.returncode == FAILED
    tickets.port = int(port)
    tickets.start()
    wait_until(lambda: "tickets-1" in system.broker.clients(), "the client id is free again")
    assert tickets.client().get("/api/tickets").json == []
