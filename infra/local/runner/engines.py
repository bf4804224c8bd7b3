# SPDX-License-Identifier: Apache-2.0
"""The engines beneath the services: how each broker is run, and by which URIs services find broker and store."""

import os
import shutil
from functools import partial
from pathlib import Path

from runner.probe import answers, answers_well
from runner.process import Spec, base_environment
from runner.settings import HOST, JETSTREAM, Settings, SettingsError

NATS_STREAMING = ".deps/bin/nats-streaming-server"
CLUSTER = "ticketing"
# How its lines about each connection and subscription are marked.
BROKER_CHATTER = b"[DBG]"
NATS_SERVER_PATH = "/usr/sbin:/usr/local/bin"
# As docs/CONFIGURATION.md says to run it.
JETSTREAM_CONFIGURATION = """listen: "{host}:{port}"
http: "{host}:{monitor_port}"
ping_interval: "5s"
ping_max: 2
jetstream {{ store_dir: "{store}" }}
"""


def bus_uri(settings: Settings, host: str = HOST) -> str:
    if settings.bus == JETSTREAM:
        return f"nats://{host}:{settings.nats_port}"
    return f"stan://{host}:{settings.nats_port}/{CLUSTER}"


def store_uri(settings: Settings, service: str) -> str:
    """On a server, each service has a database of its own name."""
    if not settings.store:
        return f"sqlite:{settings.run_dir / service}.db"
    address, mark, options = settings.store.partition("?")
    return f"{address.rstrip('/')}/{service}{mark}{options}"


def broker_page(settings: Settings) -> str:
    """Where the broker tells its state."""
    return f"http://localhost:{settings.nats_monitor_port}/{'jsz' if settings.bus == JETSTREAM else 'streaming'}"


def check_broker(settings: Settings) -> None:
    program = jetstream_program() if settings.bus == JETSTREAM else settings.root / NATS_STREAMING
    if not os.access(program, os.X_OK):
        raise SettingsError(f"{program} is missing: make deps makes it")


def broker_spec(settings: Settings) -> Spec:
    return jetstream_spec(settings) if settings.bus == JETSTREAM else nats_streaming_spec(settings)


def nats_streaming_spec(settings: Settings) -> Spec:
    directory = settings.run_dir / "nats"
    command = [str(settings.root / NATS_STREAMING), "-a", HOST, "-p", str(settings.nats_port),
               "-m", str(settings.nats_monitor_port), "-hbi", "5s", "-hbt", "5s", "-hbf", "2", "-SD", "-cid", CLUSTER,
               "-st", "file", "-dir", str(directory), "-mm", "0", "-mb", "0", "-ma", "0s", "-mi", "0"]
    return Spec("nats", command, partial(answers, f"http://{HOST}:{settings.nats_monitor_port}/streaming/serverz"),
                base_environment(os.environ), chatter=BROKER_CHATTER)


def jetstream_spec(settings: Settings) -> Spec:
    directory = settings.run_dir / "jetstream"
    directory.mkdir(exist_ok=True)
    configuration = directory / "nats-server.conf"
    configuration.write_text(JETSTREAM_CONFIGURATION.format(
        host=HOST, port=settings.nats_port, monitor_port=settings.nats_monitor_port, store=directory / "store"))
    return Spec("nats", [str(jetstream_program()), "-c", str(configuration)],
                partial(answers_well, f"http://{HOST}:{settings.nats_monitor_port}/healthz"),
                base_environment(os.environ))


def jetstream_program() -> Path:
    return Path(shutil.which("nats-server", path=f"{os.environ.get('PATH', '')}:{NATS_SERVER_PATH}") or "nats-server")
