"""A small HTTP/1.1 server for doubles: fast enough that the program under test is the slow one."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic
from typing import Any

import httptools
import orjson

_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Exchange:
    """One request, and the way to answer it; the client may be gone by then."""

    method: str
    path: str
    headers: dict[bytes, bytes]  # names in lower case
    body: bytes
    arrived: float  # monotonic, when its first bytes came
    keep_alive: bool
    transport: asyncio.Transport
    query: str = ""

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    def answer(
        self, status: int, body: bytes, extra: str = "", kind: str = "application/json"
    ) -> None:
        if self.transport.is_closing():
            return
        head = (
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n"
            f"content-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
        )
        self.transport.write(head.encode("latin-1") + body)
        if not self.keep_alive:
            self.transport.close()

    def answer_json(self, status: int, value: Any, extra: str = "") -> None:
        self.answer(status, orjson.dumps(value), extra)

    def hang_up(self) -> None:
        """Close without a word, as a server that dies does."""
        self.transport.abort()


Handler = Callable[[Exchange], None]


class _Connection(asyncio.Protocol):
    """One client; requests come one after the other (nobody pipelines here)."""

    def __init__(self, handle: Handler, open_connections: "set[_Connection]") -> None:
        self._handle = handle
        self._open = open_connections
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    # What httptools calls while it reads:

    def on_message_begin(self) -> None:
        self._arrived = monotonic()
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._handle(
            Exchange(
                method=self._parser.get_method().decode(),
                path=self._url.decode("latin-1").partition("?")[0],
                headers=self._headers,
                body=b"".join(self._body),
                arrived=self._arrived,
                keep_alive=self._parser.should_keep_alive(),
                transport=self.transport,
                query=self._url.decode("latin-1").partition("?")[2],
            )
        )


@dataclass(slots=True)
class HttpServer:
    """Listens on loopback; `stop` cuts every connection."""

    handle: Handler
    port: int = 0
    _server: asyncio.Server | None = None
    _open: set[_Connection] = field(default_factory=set)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self.handle, self._open), "127.0.0.1", self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._open):
            connection.transport.abort()
        await asyncio.sleep(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
