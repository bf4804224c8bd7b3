# SPDX-License-Identifier: Apache-2.0
"""`make up` and `make down`, with the real broker and nginx and with fake services."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from engines import MongoServer
from harness import BUILD, JWT_KEY, Client
from runner_support import PYTHON, ROOT, RUNNER, SERVICES, House, house, is_alive, wait_until
from wire import token_of

sys.path.insert(0, str(ROOT / "infra/local"))
from runner.output import LINE_BYTES_MAX, LOGS_KEPT, LineSplitter, LogFile, Terminal  # noqa: E402


NOBODY = 65534


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as home:
        yield home


def can_listen(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
            return True
        except OSError:
            return False


# ---- up and down ----


def test_up_detached_serves_every_prefix_and_down_leaves_nothing(home: House) -> None:
    home.up()
    pids = home.pids()
    assert set(pids) == {"turnstile", "nats", "nginx", *SERVICES}
    assert all(is_alive(pid) for pid in pids.values())
    for path, name in {"/api/users": "auth", "/api/tickets/mine": "tickets", "/api/orders/1": "orders"}.items():
        status, _, body = home.fetch(path)
        assert (status, json.loads(body)["name"], json.loads(body)["path"]) == (200, name, path)
    assert "stopped" in home.down()
    assert not any(is_alive(pid) for pid in pids.values())
    assert home.processes() == []
    assert home.pids() == {}
    for name in SERVICES:
        assert f"{name} says goodbye" in home.log(name)


def test_up_says_where_everything_is(home: House) -> None:
    said = home.up()
    command = f"BUS_URI=stan://localhost:{home.nats_port}/ticketing {home.build}/eventctl listen ticket:created"
    assert command in said.replace("'", "")
    [services] = re.findall(r"Services: +(.*)", said)
    for name, address in (each.split() for each in services.split(", ")):
        with urllib.request.urlopen(f"http://{address}/who") as response:
            assert json.load(response)["name"] == name
    assert [each.split()[0] for each in services.split(", ")] == list(SERVICES)


def test_the_runners_log_has_times_as_the_services_have_them(home: House) -> None:
    home.up(TZ="Asia/Tokyo")
    home.down()
    for line in home.log("turnstile").splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \w", line), line
    first = datetime.strptime(home.log("turnstile")[:24], "%Y-%m-%dT%H:%M:%S.%f%z")
    assert abs((datetime.now(timezone.utc) - first).total_seconds()) < 600


def test_down_with_nothing_running_says_so(home: House) -> None:
    assert "nothing is running" in home.down()
    home.up()
    home.down()
    assert "nothing is running" in home.down()


def test_a_second_up_says_that_it_runs_already(home: House) -> None:
    home.up()
    before = home.pids()
    again = home.run("up")
    assert again.returncode == 1
    assert f"already running in {home.run_dir} (process {before['turnstile']}); make down stops it" in again.stdout
    assert home.pids() == before


def test_up_after_down_works_with_the_same_key(home: House) -> None:
    home.up()
    key = (home.run_dir / "jwt.key").read_text()
    assert re.fullmatch(r"[0-9a-f]{64}\n", key)
    assert (home.run_dir / "jwt.key").stat().st_mode & 0o777 == 0o600
    home.down()
    home.up()
    assert (home.run_dir / "jwt.key").read_text() == key


def test_services_get_their_environment_and_what_else_is_set(home: House) -> None:
    said = home.up(ORDER_HOLD_SECONDS="60", MAKEFLAGS="j2", STORE_URI="mongodb://elsewhere/x")
    assert "STORE_URI is set in the environment and not used" in said
    environment = json.loads(home.fetch("/api/orders")[2])["environment"]
    assert environment["STORE_URI"] == f"sqlite:{home.run_dir}/orders.db"
    assert environment["BUS_URI"] == f"stan://127.0.0.1:{home.nats_port}/ticketing"
    assert environment["JWT_KEY_FILE"] == f"{home.run_dir}/jwt.key"
    assert environment["NATS_CLIENT_ID"] == "orders-1"
    assert environment["TRUSTED_PROXIES"] == "127.0.0.1"
    assert environment["ORDER_HOLD_SECONDS"] == "60"
    assert "MAKEFLAGS" not in environment


def test_jetstream_runs_in_place_of_nats_streaming(home: House) -> None:
    said = home.up(BUS="jetstream")
    assert f"BUS_URI=nats://localhost:{home.nats_port} " in said and f":{home.monitor_port}/jsz" in said
    environment = json.loads(home.fetch("/api/orders")[2])["environment"]
    assert environment["BUS_URI"] == f"nats://127.0.0.1:{home.nats_port}"
    with urllib.request.urlopen(f"http://127.0.0.1:{home.monitor_port}/jsz") as response:
        assert json.load(response)["config"]["store_dir"].startswith(f"{home.run_dir}/jetstream/")
    home.down()
    assert home.processes() == []


def test_on_a_server_each_service_has_a_database_of_its_name(home: House) -> None:
    for store, uri in {
        "mongodb://db:27017": "mongodb://db:27017/orders",
        "mongodb://me:hunter2@db,other:1/?replicaSet=rs": "mongodb://me:hunter2@db,other:1/orders?replicaSet=rs",
    }.items():
        assert "hunter2" not in home.up(STORE=store)
        assert json.loads(home.fetch("/api/orders")[2])["environment"]["STORE_URI"] == uri
        home.down()


@pytest.mark.parametrize("bus", ["stan", "jetstream"])
@pytest.mark.parametrize("store", ["sqlite", "mongo"])
def test_the_real_services_run_on_every_pair_of_engines(tmp_path: Path, store: str, bus: str) -> None:
    server = MongoServer(tmp_path) if store == "mongo" else None
    with contextlib.ExitStack() as stack:
        if server is not None:
            stack.callback(server.kill)
            server.start()
        home = stack.enter_context(house(tmp_path, BUILD))
        home.up(BUS=bus, STORE=f"mongodb://127.0.0.1:{server.port}" if server is not None else "", JWT_KEY=JWT_KEY)
        client = Client(home.http_port, token_of("5e11e45e11e45e11e45e11e4"))
        ticket = client.post("/api/tickets", {"title": "Concert", "price": 20}).json["id"]
        wait_until(lambda: client.post("/api/orders", {"ticketId": ticket}).status == 201, "it cannot be reserved")
        wait_until(lambda: "orderId" in client.get(f"/api/tickets/{ticket}").json, "it is not held")
        assert (home.run_dir / "orders.db").exists() == (store == "sqlite")
        assert (home.run_dir / "jetstream").exists() == (bus == "jetstream")


def test_a_key_that_is_set_is_left_alone(home: House) -> None:
    home.up(JWT_KEY="k" * 32)
    environment = json.loads(home.fetch("/api/orders")[2])["environment"]
    assert environment["JWT_KEY"] == "k" * 32
    assert "JWT_KEY_FILE" not in environment
    assert not (home.run_dir / "jwt.key").exists()


def test_scale_runs_two_of_each_behind_one_address(home: House) -> None:
    home.up(SCALE="2")
    instances = {f"{name}-{number}" for name in SERVICES for number in (1, 2)}
    assert set(home.pids()) == {"turnstile", "nats", "nginx", *instances}
    clients: set[str] = set()
    wait_until(lambda: clients.add(json.loads(home.fetch("/api/tickets")[2])["client"]) or len(clients) == 2,
               "only one instance of tickets is used")
    assert clients == {"tickets-1", "tickets-2"}


def test_two_houses_run_side_by_side(home: House, tmp_path: Path) -> None:
    home.up()
    (tmp_path / "other").mkdir()
    with house(tmp_path / "other") as other:
        other.up()
        other.down()
    assert home.fetch("/api/tickets")[0] == 200


# ---- in the foreground ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_of_it_in_order(home: House, tmp_path: Path, number: signal.Signals) -> None:
    process = home.up_in_foreground(tmp_path / "out")
    pids = home.pids()
    # As a terminal does, to the whole process group.
    os.killpg(process.pid, number)
    assert process.wait(60) == 0
    assert not any(is_alive(pid) for pid in pids.values())
    output = (tmp_path / "out").read_text()
    assert re.search(r"^tickets +\| tickets says goodbye$", output, re.MULTILINE)
    assert output.index("says goodbye") < output.index("STREAM: Shutting down")
    assert output.rstrip().endswith("all stopped")
    assert "[DBG]" in home.log("nats")
    assert "[DBG]" not in output


def test_an_early_ctrl_c_ends_it_without_a_word(home: House) -> None:
    # It comes when the first of the runner's modules is looked for.
    script = f"import runpy, signal, sys; sys.path.insert(0, {str(RUNNER.parent)!r})\n" \
             "signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background\n" \
             "class Finder:\n" \
             "    def find_spec(self, name, *rest):\n" \
             "        if name.startswith('runner'): signal.raise_signal(signal.SIGINT)\n" \
             f"sys.meta_path.insert(0, Finder()); runpy.run_path({str(RUNNER)!r}, run_name='__main__')"
    result = subprocess.run([PYTHON, "-c", script, "up"], env=home.environment(), capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")


def test_a_service_that_does_not_stop_is_killed_and_that_is_said(home: House, tmp_path: Path) -> None:
    process = home.up_in_foreground(tmp_path / "out", FAKE_ORDERS="stubborn")
    process.terminate()
    assert process.wait(60) == 0
    output = (tmp_path / "out").read_text()
    assert "orders does not stop within 12 s; killing it" in output
    assert "tickets does not stop" not in output
    assert home.processes() == []


def test_up_goes_on_when_nobody_reads_its_output_any_more(home: House) -> None:
    reader, writer = os.pipe()
    process = subprocess.Popen(["/usr/bin/python3", str(ROOT / "infra/local/run.py"), "up"], env=home.environment(),
                               stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, start_new_session=True)
    os.close(writer)
    os.close(reader)
    wait_until(lambda: "ready" in (home.log("turnstile") if home.run_dir.exists() and "turnstile" in home.pids() else ""),
               "not ready")
    os.kill(home.pid("tickets"), signal.SIGKILL)
    wait_until(lambda: "tickets was killed by SIGKILL" in home.log("turnstile"), "the death was not noticed")
    wait_until(lambda: home.serves("/api/tickets"), "tickets did not come back")
    home.down()
    assert process.wait(60) == 0


# ---- what dies comes back ----


@pytest.mark.parametrize("name", ["tickets", "nats", "nginx"])
def test_a_process_that_is_killed_comes_back_on_its_port(home: House, name: str) -> None:
    home.up()
    before = home.pid(name)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: home.pid(name) != before, f"{name} was not started again")
    wait_until(lambda: home.serves("/api/tickets"), "tickets cannot be reached")
    assert is_alive(home.pid(name))
    assert f"{name} was killed by SIGKILL; starting it again in 0.1 s" in home.log("turnstile")


def test_restarts_are_spaced_further_and_further(home: House) -> None:
    home.up()
    (home.build / "orders").write_text("#!/bin/sh\nexit 5\n")
    os.kill(home.pid("orders"), signal.SIGKILL)
    wait_until(lambda: "again in 0.8 s" in home.log("turnstile"), "no longer pause")
    pauses = re.findall(r"orders (?:was killed|exited).*again in ([0-9.]+) s", home.log("turnstile"))
    assert pauses[:4] == ["0.1", "0.2", "0.4", "0.8"]
    assert home.fetch("/api/tickets")[0] == 200


def test_a_program_that_has_gone_is_named(home: House) -> None:
    home.up()
    (home.build / "orders").unlink()
    os.kill(home.pid("orders"), signal.SIGKILL)
    words = f"orders cannot be started: {home.build}/orders: No such file or directory"
    wait_until(lambda: words in home.log("turnstile"), "the file is not named")


@pytest.mark.parametrize("detach", ["0", "1"])
def test_a_killed_runner_leaves_nothing_behind_and_can_be_started_again(home: House, tmp_path: Path,
                                                                       detach: str) -> None:
    if detach == "1":
        home.up()
    else:
        home.up_in_foreground(tmp_path / "out")
    os.kill(home.pid("turnstile"), signal.SIGKILL)
    wait_until(lambda: not home.processes(), "something outlived the runner")
    wait_until(lambda: can_listen(home.http_port), "a worker of nginx outlived the runner")
    assert home.pids() != {}
    home.up()
    assert home.fetch("/api/tickets")[0] == 200


def test_down_after_the_runner_was_killed_says_that_nothing_runs(home: House) -> None:
    home.up()
    os.kill(home.pid("turnstile"), signal.SIGKILL)
    wait_until(lambda: not home.processes(), "something outlived the runner")
    assert "nothing is running" in home.down()
    assert home.pids() == {}


# ---- what cannot start ----


def test_a_service_that_refuses_its_configuration_fails_up_with_its_words(home: House) -> None:
    result = home.run("up", DETACH="1", FAKE_ORDERS="misconfigured")
    assert result.returncode == 1
    assert "orders does not accept its configuration" in result.stdout
    assert "ORDER_HOLD_SECONDS: not a number" in result.stdout
    assert "is up at" not in result.stdout
    assert home.processes() == []
    assert home.pids() == {}


def test_a_service_that_keeps_dying_fails_up_with_its_last_words(home: House) -> None:
    result = home.run("up", FAKE_TICKETS="dies")
    assert result.returncode == 1
    assert "tickets exited with status 3, 5 times, without ever being ready" in result.stdout
    assert "something is badly wrong" in result.stdout
    assert home.processes() == []


def test_up_waits_for_the_bus(home: House, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        process = subprocess.Popen(["/usr/bin/python3", str(ROOT / "infra/local/run.py"), "up"], stdout=file,
                                   env=home.environment(FAKE_AUTH="cut off"), stderr=subprocess.STDOUT)
    home.foreground.append(process)
    wait_until(lambda: (home.run_dir / "auth.log").exists() and "auth says hello" in home.log("auth"), "no auth")
    # The bus never comes up for auth, so that nginx, which comes last, is never started.
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    assert not (home.run_dir / "nginx.pid").exists()
    assert "is up at" not in (tmp_path / "out").read_text()
    process.terminate()
    assert process.wait(60) == 1


def test_a_service_that_knows_no_bus_need_not_wait_for_it(home: House) -> None:
    home.up(FAKE_AUTH="knows no bus")
    assert home.fetch("/api/users")[0] == 200


@pytest.mark.parametrize("variable", ["HTTP_PORT", "NATS_PORT", "NATS_MONITOR_PORT"])
def test_a_port_that_is_taken_is_named_with_the_variable_that_moves_it(home: House, variable: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = home.run("up", **{variable: str(port)})
    assert result.returncode == 1
    assert re.search(rf"port {port} is taken: {variable}=\d+ make up uses another", result.stdout)
    assert home.processes() == []
    assert not (home.run_dir / "nats.log").exists()


@pytest.mark.parametrize("changes, words", [
    ({"HTTP_PORT": "http"}, "HTTP_PORT is a number from 1 to 65535, not 'http'"),
    ({"NATS_PORT": "65536"}, "NATS_PORT is a number from 1 to 65535, not '65536'"),
    ({"NATS_PORT": "0"}, "NATS_PORT is a number from 1 to 65535, not '0'"),
    ({"HTTP_PORT": "4222", "NATS_PORT": "4222"}, "HTTP_PORT and NATS_PORT are both 4222"),
    ({"SCALE": "-1"}, "SCALE is a number from 1 to 16, not '-1'"),
    ({"SCALE": "17"}, "SCALE is a number from 1 to 16, not '17'"),
    ({"DETACH": "yes"}, "DETACH is 1 or 0, not 'yes'"),
    ({"BUS": "kafka"}, "BUS is stan or jetstream, not 'kafka'"),
    ({"STORE": "sqlite"}, "STORE is mongodb://[user:password@]host"),
    ({"STORE": "mongodb://localhost/mine"}, "without a database"),
    ({"RUN_DIR": '/tmp/a"b'}, "RUN_DIR has a character"),
    ({"TURNSTILE_BUILD": "/nonexistent"}, "/nonexistent/auth is missing: make build makes it"),
])
def test_settings_that_make_no_sense_are_refused_in_words(home: House, changes: dict[str, str], words: str) -> None:
    result = home.run("up", **changes)
    assert result.returncode == 1
    assert words in result.stdout
    assert "Traceback" not in result.stdout


def test_a_folder_that_up_makes_is_for_its_owner_only(home: House) -> None:
    home.run("up", FAKE_AUTH="misconfigured")
    assert home.run_dir.stat().st_mode & 0o777 == 0o700


def test_a_folder_with_other_files_is_refused_and_left_as_it_was(home: House) -> None:
    home.run_dir.mkdir()
    (home.run_dir / "letter.txt").write_text("Dear")
    result = home.run("up")
    assert (result.returncode, list(home.run_dir.iterdir())) == (1, [home.run_dir / "letter.txt"])
    assert f"RUN_DIR: {home.run_dir} holds other files" in result.stdout


@pytest.mark.parametrize("run_dir, words", [
    ("/dev/null", "RUN_DIR: /dev/null is not a folder"),
    ("/dev/null/x", "RUN_DIR: cannot make /dev/null/x: Not a directory"),
    ("/proc/x", "RUN_DIR: cannot make /proc/x: No such file or directory"),
])
def test_a_folder_that_cannot_be_is_told_with_its_variable(home: House, run_dir: str, words: str) -> None:
    result = home.run("up", RUN_DIR=run_dir)
    assert (result.returncode, result.stdout.strip()) == (1, f"turnstile: {words}")


def test_a_folder_of_another_user_is_refused(home: House) -> None:
    folder = Path("/usr")  # root's, and nothing is written there
    if os.geteuid() == 0:
        folder = home.run_dir
        folder.mkdir()
        os.chown(folder, NOBODY, NOBODY)
    result = home.run("up", RUN_DIR=str(folder))
    assert (result.returncode, result.stdout.strip()) == (
        1, f"turnstile: RUN_DIR: {folder} belongs to another user")


def test_all_problems_are_told_at_once(home: House) -> None:
    result = home.run("up", HTTP_PORT="x", SCALE="y")
    assert "HTTP_PORT" in result.stdout and "SCALE" in result.stdout


# ---- output ----


def test_a_full_log_is_rotated_and_only_a_few_are_kept(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "x.log", bytes_max=100)
    for number in range(100):
        log.write(b"line %06d" % number)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["x.log", *(f"x.log.{number}" for number in range(1, LOGS_KEPT + 1))]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    newest_first = "".join((tmp_path / name).read_text() for name in reversed(files))
    assert newest_first.endswith("line 000099\n")
    numbers = [int(number) for number in re.findall(r"\d{6}", newest_first)]
    assert numbers == list(range(numbers[0], 100))


def test_lines_are_cut_where_they_end_or_are_too_long() -> None:
    lines = LineSplitter()
    assert list(lines.feed(b"one\ntw")) == [b"one"]
    assert list(lines.feed(b"o\n")) == [b"two"]
    assert list(lines.feed(b"x" * (LINE_BYTES_MAX + 1))) == [b"x" * LINE_BYTES_MAX]
    assert list(lines.end()) == [b"x"]
    assert list(lines.end()) == []


def test_a_terminal_that_stands_still_holds_nobody_up() -> None:
    reader, writer = os.pipe()
    terminal = Terminal(writer)
    for _ in range(3000):
        terminal.write(b"x" * 1000)
        terminal.flush()
    assert terminal.pending
    received = b""
    while terminal.pending:
        received += os.read(reader, 65536)
        terminal.flush()
    terminal.write(b"after")
    terminal.close()
    while data := os.read(reader, 65536):
        received += data
    os.close(reader)
    assert b"lines are only in the log files)\nafter\n" in received
    assert len(received) < 3000 * 1001
