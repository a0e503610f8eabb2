"""httpx's transport as we want it: checked addresses, kept connections, one attempt for each request.

Nothing is ever tried again here, whatever the method: a request that may have reached the server is reported
as what it is, and whoever called decides. A kept connection is used only when it is known to be open at the
moment of writing.
"""

import asyncio
import socket
import ssl
from collections import defaultdict
from collections.abc import Mapping

import httpx

from postroom.outgoing.dial import Dialer, PrivateAddress
from postroom.outgoing.wire import Wire

AT_ONCE = 400  # requests under way in one process
LONGEST = 30.0  # seconds from the first try for a connection to the last byte, where nothing else was said
CONNECT = 5.0
KEPT_SECONDS = 4.0  # many servers hang up after five: a request must not meet their farewell
_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]


class PrivateAddressError(httpx.ConnectError):
    """The request's host leads to a private address; nothing was sent."""


class Transport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over connections that the dialer makes."""

    def __init__(self, dialer: Dialer, tls: ssl.SSLContext | None = None) -> None:
        self._dialer = dialer
        self._tls = tls
        self._room = asyncio.Semaphore(AT_ONCE)
        self._idle: dict[Origin, list[Wire]] = defaultdict(list)  # the warmest is the last
        self._sweep: asyncio.TimerHandle | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        origin, head = origin_of(request.url), _head(request)
        limits = request.extensions.get("timeout", {})
        until = asyncio.get_running_loop().time() + _seconds(limits, "read", LONGEST)
        await self._enter(_seconds(limits, "pool", CONNECT))
        try:
            wire = self._take(origin)
            if wire is None:
                wire = await self._open(origin, _seconds(limits, "connect", CONNECT))
            answer = await wire.exchange(head, body, until)
        finally:
            self._room.release()
        self._give_back(origin, wire)
        if answer.encoded:
            # A few bytes may unfold to any number.
            raise httpx.DecodingError("The answer is compressed, which was not asked for.")
        stream = httpx.ByteStream(bytes(answer.body))
        return httpx.Response(answer.status, headers=answer.headers, stream=stream)

    async def aclose(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for kept in self._idle.values():
            for wire in kept:
                wire.close()
        self._idle.clear()
        await asyncio.sleep(0)  # sockets are closed in the loop's next round

    # ── Connections ──────────────────────────────────────────────────────────────────────────────

    async def _enter(self, seconds: float) -> None:
        if not self._room.locked():
            await self._room.acquire()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._room.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("Too many requests are under way.") from None

    def _take(self, origin: Origin) -> Wire | None:
        kept = self._idle.get(origin)
        oldest = asyncio.get_running_loop().time() - KEPT_SECONDS
        while kept:
            wire = kept.pop()
            if wire.is_usable and wire.idle_since > oldest:
                return wire
            wire.close()
        return None

    def _give_back(self, origin: Origin, wire: Wire) -> None:
        if not wire.is_usable:
            return
        loop = asyncio.get_running_loop()
        wire.idle_since = loop.time()
        self._idle[origin].append(wire)
        if self._sweep is None:
            self._sweep = loop.call_later(KEPT_SECONDS, self._close_cold)

    def _close_cold(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEPT_SECONDS
        for origin, kept in list(self._idle.items()):
            warm = [wire for wire in kept if wire.is_usable and wire.idle_since > oldest]
            for wire in kept:
                if wire not in warm:
                    wire.close()
            if warm:
                self._idle[origin] = warm
            else:
                del self._idle[origin]
        self._sweep = loop.call_later(KEPT_SECONDS, self._close_cold) if self._idle else None

    async def _open(self, origin: Origin, seconds: float) -> Wire:
        scheme, host, port = origin
        try:
            async with asyncio.timeout(seconds):
                sock = await self._dialer.connect(host, port, seconds)
                # From here the loop owns the socket, and closes it when the handshake fails.
                return await self._speak(scheme, host, sock)
        except TimeoutError:
            raise httpx.ConnectTimeout("The server could not be reached in time.") from None
        except PrivateAddress:
            raise PrivateAddressError("The server is at a private address.") from None
        except OSError:  # of which a failed TLS handshake is one
            raise httpx.ConnectError("The server could not be reached.") from None

    async def _speak(self, scheme: str, host: str, sock: socket.socket) -> Wire:
        """A connection over a connected socket; TLS proves the name that was asked for."""
        loop = asyncio.get_running_loop()
        if scheme == "http":
            _, wire = await loop.create_connection(Wire, sock=sock)
            return wire
        if self._tls is None:
            # Made when first needed: it reads every authority there is.
            self._tls = _tls_context()
        _, wire = await loop.create_connection(
            Wire, sock=sock, ssl=self._tls, server_hostname=host, ssl_shutdown_timeout=1
        )
        return wire


def _seconds(limits: Mapping[str, float | None], name: str, usual: float) -> float:
    given = limits.get(name)
    return usual if given is None else given


def _tls_context() -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def origin_of(url: httpx.URL) -> Origin:
    """Scheme, host and port of what is asked for. Raises UnsupportedProtocol."""
    scheme, host = url.scheme, url.raw_host.decode("ascii")
    if scheme not in _PORTS or not host:
        raise httpx.UnsupportedProtocol(
            "The address must begin with http:// or https:// and a host."
        )
    return scheme, host, url.port or _PORTS[scheme]


def _head(request: httpx.Request) -> bytes:
    """The request's first line and headers; nothing in a value may end its line."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    head = b"\r\n".join(lines)
    ends = len(lines) - 1
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise httpx.LocalProtocolError("A header holds characters that no header may hold.")
    if request.method == "HEAD" or "transfer-encoding" in request.headers:
        raise httpx.UnsupportedProtocol(
            "Requests here have an answer with a body, and a known length."
        )
    return head + b"\r\n\r\n"
