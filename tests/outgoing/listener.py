"""A listener on loopback that counts who comes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """A request's head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().find(b"content-length:")
    length = int(head[at + 15 : head.index(b"\r\n", at)]) if at >= 0 else 0
    return head + await reader.readexactly(length)


class Listener:
    """Counts connections and requests; `talk` is what it does with each connection."""

    def __init__(self, talk: Talk | None = None, host: str = "127.0.0.1", **how: Any) -> None:
        self._talk = talk or self.answer_all
        self._host = host
        self._how = how
        self.connections = 0
        self.requests: list[bytes] = []

    async def answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self.take(reader)
            writer.write(OK)

    async def take(self, reader: asyncio.StreamReader) -> bytes:
        self.requests.append(await read_request(reader))
        return self.requests[-1]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._met, self._host, **({"port": 0} | self._how)
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        await asyncio.sleep(0.01)

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.transport.abort()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
