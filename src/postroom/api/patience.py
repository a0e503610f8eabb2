"""How long a client may take: connections that hold a place without using it are let go.

The server underneath waits without end for the rest of a request, and for a client to read its answer. `Patient`
goes in front of its protocol class; it notes when things began, and one look around a second does the rest, so
that a request costs next to nothing more.
"""

import asyncio
import resource
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from postroom.api.envelope import failure
from postroom.errors import HeadTooLarge, Overloaded, Problem, TooSlow

HEAD_SECONDS = 10.0  # from the connection, or the first byte of a request, to the end of its head
MOST_HEAD = 65_536  # bytes
BODY_SECONDS = 20.0  # and then as long as it goes at this rate:
BODY_RATE = 50_000.0  # bytes a second
# Between requests: longer than proxies and clients keep a connection, or a request would meet one that is closing.
IDLE_SECONDS = 75.0
WRITE_SECONDS = 30.0  # in which a client must read something of what waits for it
LINGER_SECONDS = 2.0  # in which a client may read why it was refused
LOOK_SECONDS = 1.0
# Files that are no connections: the database's, Redis's, the vendors', and some to spare.
OTHER_FILES = 200
MOST_CONNECTIONS = 10_000
# So many more may first say what they want, as a client that is still talking hears no refusal.
REFUSED_AT_LEISURE = 50

TOO_SLOW = "The request did not arrive in time."
HEAD_TOO_LARGE = "The head of a request has at most 64 kB."
TOO_MANY = "Too many connections at the moment. Please try again."


def most_connections() -> int:
    """How many connections this process may hold, with the files that it may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(MOST_CONNECTIONS, files - OTHER_FILES))


class Lookout:
    """Looks at every connection of one event loop, once a second while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._most = most_connections()
        self._watched: set[Patient] = set()
        self._next: asyncio.TimerHandle | None = None

    def watch(self, connection: "Patient") -> int:
        """How many more there is room for; it is looked at in any case."""
        self._watched.add(connection)
        if self._next is None:
            self._next = self._loop.call_later(LOOK_SECONDS, self._look)
        return self._most - len(self._watched)

    def leave(self, connection: "Patient") -> None:
        self._watched.discard(connection)

    def _look(self) -> None:
        now = self._loop.time()
        for connection in list(self._watched):
            connection.look(now)
        again = bool(self._watched)
        self._next = self._loop.call_later(LOOK_SECONDS, self._look) if again else None


_lookouts: dict[asyncio.AbstractEventLoop, Lookout] = {}


def lookout_of(loop: asyncio.AbstractEventLoop) -> Lookout:
    """The one of this loop; a process that serves has one loop."""
    if loop not in _lookouts:
        _lookouts.clear()
        _lookouts[loop] = Lookout(loop)
    return _lookouts[loop]


if TYPE_CHECKING:
    _Protocol = HttpToolsProtocol
else:
    _Protocol = object


class Patient(_Protocol):
    """Goes in front of a protocol class of uvicorn over httptools: `class Ours(Patient, HttpToolsProtocol)`."""

    _lookout: Lookout
    _welcome = True
    _refused = False
    _since: float | None = None  # when we began to wait for this client; None while it waits for us
    _received = 0  # bytes since then
    _in_head = True
    _unread_since: float | None = None
    _unread = 0

    # ── What the server tells ────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._since = self.loop.time()
        self._lookout = lookout_of(self.loop)
        room = self._lookout.watch(self)
        self._welcome = room >= 0
        if room < -REFUSED_AT_LEISURE:
            self._refuse(Overloaded(TOO_MANY, retry_after=1))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lookout.leave(self)
        super().connection_lost(exc)
        # What still refers to a connection that is over keeps a dozen kilobytes: the server's timer, which it
        # leaves running when a connection broke, and the last request, until the collector comes by.
        self._unset_keepalive_if_required()
        if self.cycle is not None and self.cycle.response_complete:
            self.cycle = None  # type: ignore[assignment]  # as before its first request

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if not self._welcome:
            self._refuse(Overloaded(TOO_MANY, retry_after=1))
            return
        super().data_received(data)
        self._received += len(data)
        if self._in_head and self._received > MOST_HEAD:
            self._refuse(HeadTooLarge(HEAD_TOO_LARGE))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._since, self._received, self._in_head = self.loop.time(), 0, True

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._since, self._received = None, 0
        super().on_message_complete()

    # ── Looking ──────────────────────────────────────────────────────────────────────────────────

    def look(self, now: float) -> None:
        """Let the client go if it has taken too long; the lookout asks this once a second."""
        if self._is_stuck(now) or (self._refused and now - (self._since or now) > LINGER_SECONDS):
            self.transport.abort()
        elif self._refused or self.transport.is_closing():
            return
        elif self._since is None:
            self._rest(now)
        elif self.flow.read_paused:
            # It is us who do not read: that is not held against the client.
            self._since += LOOK_SECONDS
        elif now - self._since > self._allowed():
            self._refuse(TooSlow(TOO_SLOW))

    def _is_stuck(self, now: float) -> bool:
        """Whether nothing of what waits to be read was read for too long, or a closed connection lingers."""
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or unread != self._unread:
            self._unread, self._unread_since = unread, now
        return unread > 0 and now - (self._unread_since or now) > WRITE_SECONDS

    def _rest(self, now: float) -> None:
        """Between requests the clock begins anew."""
        if self.cycle is None or self.cycle.response_complete:
            self._since, self._received, self._in_head = now, 0, False

    def _allowed(self) -> float:
        if not self._welcome:
            return LOOK_SECONDS
        if self._is_between():
            return IDLE_SECONDS
        return HEAD_SECONDS if self._in_head else BODY_SECONDS + self._received / BODY_RATE

    def _is_between(self) -> bool:
        done = self.cycle is not None and self.cycle.response_complete
        return done and not self._in_head and self._received == 0

    # ── Refusing ─────────────────────────────────────────────────────────────────────────────────

    def _refuse(self, problem: Problem) -> None:
        """Say why, unless an answer is under way or nothing was asked, and listen no more."""
        if not self._may_answer():
            self.transport.close()
            return
        self._refused, self._since = True, self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            # Whoever waits for the rest of the request need not.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_raw(problem))
        # Closing at once, with bytes unread, would take the answer away from a client that is still talking.
        self.transport.write_eof()

    def _may_answer(self) -> bool:
        if self.transport.is_closing() or self._is_between():
            return False
        started = self.cycle is not None and self.cycle.response_started
        if not self._in_head:
            return not started
        asked = self._received > 0 or not self._welcome
        return asked and (not started or self.cycle.response_complete)


def _raw(problem: Problem) -> bytes:
    """A refusal as it goes over the wire, for a request that never gets as far as the app."""
    answer = failure(problem)
    reason = _REASONS[problem.status]
    lines = [b"HTTP/1.1 %d %s" % (problem.status, reason), b"connection: close"]
    lines += [b"%s: %s" % header for header in answer.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])


_REASONS = {
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}
