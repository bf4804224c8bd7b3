# SPDX-License-Identifier: Apache-2.0
"""A small TCP proxy: one link stands between one service and one of its engines, and can be broken in many ways.

All links live on one thread with an event loop of its own. The methods of a link may be called from any thread; they
return when what they ask for is done.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

HOST = "127.0.0.1"
CHUNK_BYTES = 65536
CALL_SECONDS_MAX = 10.0
CONNECT_SECONDS_MAX = 5.0
# Closing with this makes the kernel send a reset.
LINGER_RESET = struct.pack("ii", 1, 0)
UP, DOWN = "up", "down"

T = TypeVar("T")


class Loop:
    """The thread of the links."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS_MAX)

    def stop(self) -> None:
        async def cancel_all() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.call(cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Link:
    """Listens on `port` and passes on what comes to `target`, both ports on loopback."""

    def __init__(self, loop: Loop, name: str, port: int, target: int):
        self.name = name
        self.port = port
        self._target = target
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._connections: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._flows: dict[str, asyncio.Event] = {}
        loop.call(self._open())

    def reset(self) -> None:
        """Ends all connections with a reset; new ones are taken."""
        self._loop.call(self._reset())

    def refuse(self) -> None:
        """Ends all connections with a reset, and takes no new ones: nobody listens."""
        self._loop.call(self._refuse())

    def stall(self, *directions: str) -> None:
        """Nothing passes any more, and nobody is told: UP towards the engine, DOWN towards the service."""
        self._loop.call(self._stall(directions or (UP, DOWN)))

    def resume(self) -> None:
        """All is well again; what was held up goes on."""
        self._loop.call(self._resume())

    # ---- on the loop ----

    async def _open(self) -> None:
        if not self._flows:
            self._flows = {UP: asyncio.Event(), DOWN: asyncio.Event()}
            for flow in self._flows.values():
                flow.set()
        self._server = await asyncio.start_server(self._serve, HOST, self.port, limit=CHUNK_BYTES)

    async def _reset(self) -> None:
        for pair in list(self._connections):
            for writer in pair:
                cut(writer)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    async def _stall(self, directions: tuple[str, ...]) -> None:
        for direction in directions:
            self._flows[direction].clear()

    async def _resume(self) -> None:
        for flow in self._flows.values():
            flow.set()
        if self._server is None:
            await self._open()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            connecting = asyncio.open_connection(HOST, self._target, limit=CHUNK_BYTES)
            engine_reader, engine_writer = await asyncio.wait_for(connecting, CONNECT_SECONDS_MAX)
        except (OSError, asyncio.TimeoutError):
            cut(writer)
            return
        pair = (writer, engine_writer)
        self._connections.add(pair)
        try:
            await asyncio.gather(self._pump(reader, engine_writer, UP), self._pump(engine_reader, writer, DOWN))
        finally:
            self._connections.discard(pair)
            for each in pair:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        """Whatever comes, an end too, waits while this direction is stalled."""
        try:
            while True:
                data = await reader.read(CHUNK_BYTES)
                await self._flows[direction].wait()
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
        except OSError:
            await self._flows[direction].wait()
            cut(writer)


def cut(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with a reset."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    writer.transport.abort()
