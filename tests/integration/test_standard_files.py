# SPDX-License-Identifier: Apache-2.0
"""Services whose standard files are closed, or are read by nobody."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from harness import PATIENCE, System


def test_a_service_without_standard_files_does_not_log_into_others(system: System) -> None:
    service = system.service("tickets", start=False)
    command = ["sh", "-c", f"exec {service.command[0]} 2>&-"]
    service.process = subprocess.Popen(command, cwd=system.folder, env=service.env, stdin=subprocess.DEVNULL)
    service.wait_ready()
    files = Path(f"/proc/{service.pid}/fd")
    assert os.readlink(files / "2") == "/dev/null"
    assert service.stop() == 0
    assert Path(f"{system.store_path('tickets')}.lock").read_bytes() == b""


def test_a_service_whose_log_nobody_reads_serves_and_stops(system: System) -> None:
    service = system.service("tickets", start=False)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, bytes(4096)):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    service.process = subprocess.Popen(
        service.command, cwd=system.folder, env=service.env, stdin=subprocess.DEVNULL, stderr=writer
    )
    os.close(writer)
    service.wait_ready()
    client = service.client()
    assert all(client.get("/api/tickets").status == 200 for _ in range(50))
    client.close()
    service.send(signal.SIGTERM)
    assert service.process.wait(PATIENCE) == 0
    os.close(reader)
