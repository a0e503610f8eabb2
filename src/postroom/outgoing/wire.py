"""One HTTP/1.1 connection: a request is written once, its answer read whole, both within bounds."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httptools
import httpx

LARGEST_HEAD = 65_536
LARGEST_BODY = 16_000_000
_JOINED = 65_536  # a smaller body goes out with its head in one write


@dataclass(slots=True)
class Answer:
    """A whole answer."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    head_bytes: int = 0
    until_closed: bool = (
        True  # no length was told: the end of the connection is the end of the body
    )
    encoded: bool = False  # compressed, which nobody asked for


class Wire(asyncio.Protocol):
    """A connection to one origin. What it raises tells whether the server may have seen the request."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: Any = None
        self._answer = Answer()
        self._done: asyncio.Future[Answer] | None = None
        self._keep = False
        self.closed = False
        self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether another request may be written: nothing is under way, and nobody has hung up."""
        return self._done is None and not self.closed and not self._transport.is_closing()

    async def exchange(self, head: bytes, body: bytes, until: float) -> Answer:
        """Write a request, once, and read its answer before the loop's time `until`.

        Raises ConnectError when nothing was written; everything else leaves open what the server has.
        """
        if not self.is_usable:
            raise httpx.ConnectError("The server closed the connection before the request.")
        if self._loop.time() >= until:
            self.close()
            raise httpx.ConnectTimeout("No time was left to write the request.")
        self._answer = Answer()
        self._keep = False
        self._done = self._loop.create_future()
        try:
            if len(body) <= _JOINED:
                self._transport.write(head + body)
            else:
                self._transport.write(head)
                self._transport.write(body)
            async with asyncio.timeout_at(until):
                answer = await self._done
        except TimeoutError:
            self.close()
            raise httpx.ReadTimeout("The server did not answer in time.") from None
        except BaseException:
            self.close()
            raise
        self._done = None
        if not self._keep:
            self.close()
        return answer

    def close(self) -> None:
        """Hang up at once; an answer under way is given up."""
        self.closed = True
        self._transport.abort()

    # ── What asyncio tells ───────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._done is None or self._done.done():
            # Nobody asked: what comes now could pass for the answer to the next request.
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(httpx.RemoteProtocolError("The answer is not HTTP."))

    def eof_received(self) -> None:
        self.closed = True

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._done is None or self._done.done():
            return
        if error is None and self._answer.status and self._answer.until_closed:
            self._done.set_result(self._answer)
        elif error is None:
            self._fail(httpx.RemoteProtocolError("The server hung up before its answer's end."))
        else:
            self._fail(httpx.ReadError("The connection broke."))

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)
        self.close()

    # ── What httptools calls while it reads ──────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        if self._done is not None and self._done.done():
            self._keep = False
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        answer = self._answer
        answer.head_bytes += len(name) + len(value)
        if answer.head_bytes > LARGEST_HEAD:
            self._fail(httpx.RemoteProtocolError("The answer's head is too long."))
            return
        answer.headers.append((name, value))
        known = name.lower()
        if known in {b"content-length", b"transfer-encoding"}:
            answer.until_closed = False
        elif known == b"content-encoding":
            answer.encoded = value.lower() != b"identity"

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._answer.body += body
        if len(self._answer.body) > LARGEST_BODY:
            self._fail(httpx.ReadError("The answer is too long."))

    def on_message_complete(self) -> None:
        done = self._done
        if done is None or done.done():
            return
        # Whatever follows belongs to another answer.
        answer, self._answer = self._answer, Answer()
        if answer.status >= 200:  # else an interim answer: the real one follows
            self._keep = self._parser.should_keep_alive()
            done.set_result(answer)
