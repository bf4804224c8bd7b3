#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Turnstile costs on this machine: requests a second, latencies, memory, and how soon others know.

Runs the release build with real processes, as one instance each, and prints what it measured. `make bench` builds what
it needs; wrk (Debian's package) makes the load.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("TURNSTILE_BUILD", str(ROOT / "build" / "release"))
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from harness import BUILD, Service, System, wait_until  # noqa: E402
from market import Market, new_id, ticket_event  # noqa: E402

SECONDS = int(os.environ.get("BENCH_SECONDS", "10"))
CONNECTIONS = 64
SAMPLES = 100

POST_SCRIPT = """
wrk.method = "POST"
wrk.body = '{"title":"Concert","price":20}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer TOKEN"
local failed = 0
function response(status) if status ~= 201 then failed = failed + 1; wrk.thread:set("failed", failed) end end
local threads = {}
function setup(thread) table.insert(threads, thread) end
function done(summary, latency)
  local failures = 0
  for _, thread in ipairs(threads) do failures = failures + (thread:get("failed") or 0) end
  io.write(string.format("RESULT %d %d %.3f %.3f %d\\n", summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, failures))
end
"""


def wrk(folder: Path, url: str, token: str | None, post: bool) -> str:
    script = folder / "wrk.lua"
    text = POST_SCRIPT.replace("TOKEN", token or "")
    if not post:
        text = text.replace('wrk.method = "POST"', "").replace("status ~= 201", "status ~= 200")
        text = re.sub(r"wrk\.body = .*\n", "", text)
    script.write_text(text)
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}", "-s", str(script), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) ([\d.]+) ([\d.]+) (\d+)", output)
    assert found, output
    requests, duration = int(found[1]), int(found[2]) / 1e6
    return f"{requests / duration:8.0f} requests/s   p50 {found[3]} ms   p99 {found[4]} ms   {found[5]} failed"


def resident_mib(service: Service) -> float:
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def orderable_ms(market: Market) -> list[float]:
    """From a POST's 201 to the moment when orders takes an order of the ticket."""
    seller, buyer = market.user(), market.user()
    sellers, buyers = market.tickets[0].client(seller.token), market.orders[0].client(buyer.token)
    times = []
    for _ in range(SAMPLES):
        ticket = sellers.post("/api/tickets", {"title": "Concert", "price": 20}).json["id"]
        start = time.perf_counter()
        while buyers.post("/api/orders", {"ticketId": ticket}).status == 404:
            pass
        times.append((time.perf_counter() - start) * 1000)
    return times



def gap_ms(market: Market) -> list[float]:
    """From the receipt of version n+1 to version n+3 being applied, by the times in the log of orders."""
    seller = market.user()
    times = []
    for _ in range(10):
        ticket = market.list_ticket(seller)["id"]
        market.wait_replica(ticket)
        for version in (3, 4):
            market.system.publish("ticket:updated", ticket_event(ticket, version))
        wait_until(lambda: market.broker.pending("ticket:updated", "orders-service") == 2, "both wait")
        market.system.publish("ticket:updated", ticket_event(ticket, 2))
        market.wait_replica(ticket, 4)

        def moment(version: int, what: str) -> float:
            line = next(l for l in market.orders[0].log().splitlines() if what in l and f"{ticket}/{version}" in l)
            hours, minutes, seconds = re.search(r"T(\d\d):(\d\d):(\d\d\.\d{3})Z", line).groups()  # type: ignore
            return (int(hours) * 60 + int(minutes)) * 60 + float(seconds)

        times.append((moment(4, "Applied") - moment(2, "Message received")) * 1000)
    return times


def figures(times: list[float]) -> str:
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"median {statistics.median(ordered):.1f} ms   p99 {p99:.1f} ms   max {ordered[-1]:.1f} ms"


def main() -> int:
    if shutil.which("wrk") is None:
        print("bench: wrk is missing; on Debian: apt-get install wrk", file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="turnstile-bench-"))
    (folder / "store").mkdir()
    subprocess.run([str(BUILD / "tests/bench/store_insert"), str(folder / "store")], check=True)
    system = System(folder)
    system.broker.start()
    try:
        market = Market(system, LOG_LEVEL="info")
        seller = market.user()
        ticket = market.list_ticket(seller)["id"]
        base = f"http://127.0.0.1:{market.tickets[0].port}/api/tickets"
        print("POST /api/tickets      ", wrk(folder, base, seller.token, post=True), flush=True)
        start = time.perf_counter()
        market.wait_settled()
        market.check_converged()
        print(f"  then, until every event of it was applied: {time.perf_counter() - start:.1f} s", flush=True)
        print("GET  /api/tickets/:id  ", wrk(folder, f"{base}/{ticket}", None, post=False), flush=True)
        print("GET  /api/tickets?limit=20", wrk(folder, f"{base}?limit=20", None, post=False), flush=True)
        print("201 to orderable       ", figures(orderable_ms(market)), flush=True)
        print("n+1 to n+3 applied     ", figures(gap_ms(market)), flush=True)
        for service in (market.auth, *market.tickets, *market.orders):
            print(f"memory of {service.name:12}  {resident_mib(service):6.1f} MiB resident")
    finally:
        system.end()
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
