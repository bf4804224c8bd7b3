# SPDX-License-Identifier: Apache-2.0
"""The command that `make chaos` runs: what it says when something is wrong, and that it leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness import BUILD, ROOT
from runner_support import PYTHON, default_signals, processes_mentioning, wait_until

COMMAND = [PYTHON, "-B", str(ROOT / "tests/chaos/chaos.py"), "--store", "sqlite", "--bus", "stan", "--seed", "7"]


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """The programs, in a folder of this test's own."""
    for name in ("auth", "tickets", "orders", "eventctl"):
        (tmp_path / name).symlink_to(BUILD / name)
    return tmp_path


def test_what_goes_wrong_is_told_with_the_seed_and_how_to_run_it_again(build: Path) -> None:
    (build / "orders").unlink()
    shutil.copy("/bin/false", build / "orders")
    command = [*COMMAND, "--build", str(build), "--seconds", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert result.returncode == 1, result.stdout
    assert "FAILED with seed 7; the logs are in " in result.stdout
    # These programs are not those of `make chaos`.
    again = f"chaos.py --build {os.path.relpath(build, ROOT)} --store sqlite --bus stan --seconds 1 --seed 7 --rate 60"
    assert f"{again} --frozen-max 20 --away-max 12" in result.stdout
    assert list(build.glob("chaos/sqlite-stan-*/tickets-1.log"))
    assert processes_mentioning(str(build)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_interrupts_it_finds_nothing_left(build: Path, number: signal.Signals) -> None:
    command = [*COMMAND, "--build", str(build), "--seconds", "600", "--verbose"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=default_signals)
    assert process.stdout is not None
    for line in process.stdout:
        if "kill -9 of a service" in line:
            break
    assert len(processes_mentioning(str(build))) > 6
    os.kill(process.pid, number)
    assert process.wait(60) == (-number if number == signal.SIGKILL else 130)
    wait_until(lambda: processes_mentioning(str(build)) == [], "something is left")
    process.stdout.close()
