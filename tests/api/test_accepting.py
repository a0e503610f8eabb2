"""The serving loop lets newcomers in by the dozen, and nobody any more once its server is closed."""

import asyncio
import socket
from collections.abc import Callable

import uvloop

from postroom.api.accepting import new_loop

NEWCOMERS = 40


class Guest(asyncio.Protocol):
    def __init__(self, came: list[asyncio.BaseTransport]) -> None:
        self._came = came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._came.append(transport)


async def rounds_until_all_are_in() -> int:
    loop, came = asyncio.get_running_loop(), []
    server = await loop.create_server(lambda: Guest(came), "127.0.0.1", 0)
    clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(NEWCOMERS)]
    rounds = 0
    while len(came) < NEWCOMERS and rounds < 1000:
        await asyncio.sleep(0)
        rounds += 1
    for transport in came:
        transport.abort()
    server.close()
    await server.wait_closed()
    for client in clients:
        client.close()
    assert len(came) == NEWCOMERS
    return rounds


def rounds_on(factory: Callable[[], asyncio.AbstractEventLoop]) -> int:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(rounds_until_all_are_in())


def test_newcomers_do_not_wait_for_a_round_each() -> None:
    assert rounds_on(new_loop) < NEWCOMERS / 2
    # What it is for: when this is no longer so, the loop of our own may go.
    assert rounds_on(uvloop.new_event_loop) >= NEWCOMERS / 2


def test_a_closed_server_lets_nobody_in() -> None:
    async def visit() -> tuple[int, bytes | None]:
        loop, came = asyncio.get_running_loop(), []
        server = await loop.create_server(lambda: Guest(came), "127.0.0.1", 0)
        where = server.sockets[0].getsockname()
        server.close()
        await server.wait_closed()
        try:
            with socket.create_connection(where, timeout=2) as late:
                for _ in range(20):
                    await asyncio.sleep(0.01)
                return len(came), late.recv(1)
        except OSError:
            return len(came), None

    with asyncio.Runner(loop_factory=new_loop) as runner:
        came, heard = runner.run(visit())
    assert came == 0
    assert not heard
