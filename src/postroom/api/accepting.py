"""The event loop of a serving process: newcomers do not wait behind thousands who are already in.

libuv, on which uvloop stands, takes one new connection in each round of its loop. Under a flood a round is a
thousand requests long, and somebody who connects waits for half a minute without a word. This loop takes as
many as wait, up to AT_ONCE in a round.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any, cast

import uvloop

AT_ONCE = 1024

Factory = Callable[[], asyncio.BaseProtocol]


class EagerLoop(uvloop.Loop):
    """uvloop's loop, whose servers take several new connections in one round."""

    def __init__(self) -> None:
        super().__init__()
        self.doors: set[_Door] = set()

    def close(self) -> None:
        while self.doors:
            self.doors.pop().close()
        super().close()

    async def create_server(
        self, protocol_factory: Factory, *given: Any, **named: Any
    ) -> asyncio.Server:
        made = await super().create_server(protocol_factory, *given, **named)
        server = cast(asyncio.Server, made)
        for listening in server.sockets:
            _Door(self, server, protocol_factory, listening.fileno()).open()
        return server


class _Door:
    """A second pair of hands at a listening socket."""

    def __init__(
        self, loop: EagerLoop, server: asyncio.Server, factory: Factory, number: int
    ) -> None:
        self._loop, self._server, self._factory = loop, server, factory
        self._socket = socket.socket(fileno=os.dup(number))
        self._socket.setblocking(False)
        self._coming: set[asyncio.Task[Any]] = set()

    def open(self) -> None:
        self._loop.add_reader(self._socket, self._take)
        self._loop.doors.add(self)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _take(self) -> None:
        if not self._server.is_serving():
            self._loop.doors.discard(self)
            self.close()
            return
        # Whoever gave up while waiting, or was taken by the loop itself, is nobody to wait for.
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            for _ in range(AT_ONCE):
                self._let_in(self._socket.accept()[0])

    def _let_in(self, newcomer: socket.socket) -> None:
        newcomer.setblocking(False)
        coming = self._loop.connect_accepted_socket(self._factory, newcomer)
        task = self._loop.create_task(coming)
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)


def new_loop() -> asyncio.AbstractEventLoop:
    """The loop that the server runs on."""
    return EagerLoop()
