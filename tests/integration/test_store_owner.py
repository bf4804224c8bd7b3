# SPDX-License-Identifier: Apache-2.0
"""A store knows whose it is: a wrong STORE_URI neither serves another service's records nor makes a store on the way."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pymongo
import pytest

from engines import MongoServer
from harness import BUILD, PATIENCE, System
from wire import token_of

FAILED = 1
SELLER = "5e11e45e11e45e11e45e11e4"


class Files:
    def uri(self, folder: Path, service: str) -> str:
        return f"sqlite:{folder}/{service}.db"

    def disown(self, uri: str) -> None:
        """As a store is that was made before owners were noted."""
        with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:"))) as database:
            database.execute("DROP TABLE store_owner")

    def content(self, uri: str) -> Any:
        with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:"))) as database:
            return list(database.iterdump())


class Databases:
    def __init__(self, server: MongoServer):
        self.server = server

    def uri(self, folder: Path, service: str) -> str:
        return self.server.uri(service)

    def disown(self, uri: str) -> None:
        with contextlib.closing(pymongo.MongoClient(uri)) as client:
            assert client.get_default_database()["store_meta"].delete_one({"_id": "owner"}).deleted_count == 1

    def content(self, uri: str) -> Any:
        with contextlib.closing(pymongo.MongoClient(uri)) as client:
            database = client.get_default_database()
            return {name: (list(database[name].find()), database[name].index_information())
                    for name in database.list_collection_names()}


@pytest.fixture(params=["sqlite", "mongo"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files | Databases]:
    if request.param == "sqlite":
        yield Files()
        return
    server = MongoServer(tmp_path)
    server.start()
    try:
        yield Databases(server)
    finally:
        server.stop()


def run(service: str, uri: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """To its end: of what is wrong with a store nothing is waited for."""
    env = {"STORE_URI": uri, "JWT_KEY": "k" * 40, "BUS_URI": "stan://127.0.0.1:1/nobody"}
    return subprocess.run(
        [str(BUILD / service), *arguments], env=env, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.parametrize("arguments", [(), ("--restored",), ("--republish",)], ids=["start", "restored", "republish"])
def test_the_store_of_another_service_is_refused(
    system: System, engine: Files | Databases, arguments: tuple[str, ...]
) -> None:
    uri = engine.uri(system.folder, "orders")
    orders = system.service("orders", STORE_URI=uri)
    ended = run("tickets", uri, *arguments)
    assert ended.returncode == FAILED
    assert ended.stdout == ""
    place = uri.removeprefix("sqlite:")
    assert f"{place}: this is the store of orders, and not of tickets" in ended.stderr, ended.stderr
    assert orders.client().get("/readyz").status == 200
    assert orders.stop() == 0
    orders.start()


@pytest.mark.parametrize("arguments", [("--restored",), ("--republish",)], ids=["restored", "republish"])
def test_an_operation_on_a_store_that_is_not_there_says_so_and_makes_none(
    system: System, engine: Files | Databases, arguments: tuple[str, ...]
) -> None:
    tickets = system.service("tickets", STORE_URI=engine.uri(system.folder, "tickets"))
    assert tickets.stop() == 0
    before = {path.name for path in system.folder.iterdir()}
    mistyped = engine.uri(system.folder, "tickest")
    for _ in range(2):
        ended = run("tickets", mistyped, *arguments)
        assert ended.returncode == FAILED
        assert ended.stdout == ""
        assert f"{mistyped.removeprefix('sqlite:')}: no store is there" in ended.stderr, ended.stderr
    assert {path.name for path in system.folder.iterdir()} == before


@pytest.mark.parametrize("arguments", [("--restored",), ("--republish",)], ids=["restored", "republish"])
def test_an_operation_neither_takes_nor_changes_a_store_of_nobody(
    system: System, engine: Files | Databases, arguments: tuple[str, ...]
) -> None:
    """One from before owners were noted is that of the service which has worked with it, whoever is asked first."""
    uri = engine.uri(system.folder, "tickets")
    tickets = system.service("tickets", STORE_URI=uri)
    assert tickets.client(token_of(SELLER)).post("/api/tickets", {"title": "Concert", "price": 20}).status == 201
    assert tickets.stop() == 0
    engine.disown(uri)
    before = engine.content(uri)
    for service in ("orders", "tickets"):
        ended = run(service, uri, *arguments)
        assert ended.returncode == FAILED
        assert ended.stdout == ""
        said = f"{uri.removeprefix('sqlite:')}: not yet opened by this version of {service}, .*start {service} once first"
        assert re.search(said, ended.stderr), ended.stderr
        assert engine.content(uri) == before
    tickets.start()
    assert tickets.stop() == 0
    ended = run("tickets", uri, "--restored")
    assert ended.returncode == 0, ended.stderr
