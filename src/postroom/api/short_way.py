"""The short way for the one route that is asked thousands of times a second.

`POST /api/mail/send` with a known key and an ordinary body goes from the HTTP parser straight to the domain,
past ASGI, routing, dependencies and a task of its own. It does what the documented route does, with the same
functions; whatever is out of the ordinary (an unknown key, a spent minute, a browser's Origin, a body of
unknown or great length) takes the long way.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import orjson
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from postroom import log
from postroom.api import send
from postroom.api.envelope import failure, unexpected
from postroom.api.patience import Patient
from postroom.api.shell import ANSWER_HEADERS, request_id_of
from postroom.domain.accept import Acceptor
from postroom.domain.projects import Caller, CallerCache
from postroom.domain.rates import Rates
from postroom.domain.submissions import Accepted, busy
from postroom.errors import Overloaded, Problem

PATH = b"/api/mail/send"
ORDINARY = 65_536  # bytes
REST = 1.0  # seconds for which a client that was refused for too large a load is not read
STATE = "short_way"  # its name in the lifespan's state
_JSON = (b"application/json", b"application/json; charset=utf-8")
_UNUSUAL = frozenset((b"origin", b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"))

Headers = dict[bytes, bytes]
Pairs = Iterable[tuple[bytes, bytes]]


def _lines(pairs: Pairs) -> bytes:
    return b"".join(b"%s: %s\r\n" % pair for pair in pairs)


_as_lines = lru_cache(maxsize=2)(_lines)  # for what changes once a second


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + _lines(ANSWER_HEADERS)


class Desk:
    """What the short way needs of the app."""

    def __init__(self, callers: CallerCache, rates: Rates, acceptor: Acceptor) -> None:
        self._callers = callers
        self._rates = rates
        self._acceptor = acceptor

    def admit(self, headers: Headers) -> Caller | None:
        """Who calls, if this process knows them and still holds leave for them."""
        caller = self._callers.peek(headers[b"x-api-key"].decode("latin-1"))
        if caller is None:
            return None
        limit = caller.plan.rate_per_minute
        return caller if self._rates.admits_now(caller.project_id, limit) else None

    def take(self, caller: Caller, headers: Headers, body: bytes) -> asyncio.Future[Accepted]:
        """Have the mail written down; raises what is wrong with it, Overloaded before anything else."""
        if self._acceptor.is_late:
            # Checking and sealing cost more than refusing: under a load that is too large that would be all we do.
            raise busy()
        key = headers.get(b"idempotency-key")
        named = None if key is None else key.decode("latin-1")
        return send.accept_now(self._acceptor, caller, body, named)


class ShortWay(Patient, HttpToolsProtocol):
    """uvicorn's own HTTP protocol with an end to its patience, but for ordinary sends."""

    def on_headers_complete(self) -> None:
        headers = self._ordinary_headers()
        desk: Desk | None = self.app_state.get(STATE)
        caller = desk.admit(headers) if headers is not None and desk is not None else None
        if headers is None or desk is None or caller is None:
            super().on_headers_complete()
            return
        # It stands where the server's own cycle would: a request that is sent behind it waits for it.
        self.cycle = _Cycle(self, desk, caller, headers)  # type: ignore[assignment]

    def _ordinary_headers(self) -> Headers | None:
        """The headers of a request that may go the short way."""
        if self.url != PATH or self.parser.get_method() != b"POST":
            return None
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        ordinary = (
            len(headers) == len(self.headers)
            and b"x-api-key" in headers
            and headers.get(b"content-type", b"").lower() in _JSON
            and length.isdigit()
            and 0 < int(length) <= ORDINARY
            and _UNUSUAL.isdisjoint(headers)
        )
        return headers if ordinary and self._is_free() else None

    def rest(self) -> None:
        """Read nothing more from a client that was told to come again later.

        Under a flood refusals would otherwise be all we do: libuv reads on for as long as a thousand connections
        have something to say, and the writer would not have its turn for seconds.
        """
        self.flow.pause_reading()
        self.loop.call_later(REST, self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _is_free(self) -> bool:
        """Whether nothing is under way on this connection, and it stays open afterwards."""
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            return False
        idle = self.cycle is None or self.cycle.response_complete
        modern: bool = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        return idle and modern


class _Cycle:
    """One request on its short way, with what the server's protocol asks of a cycle."""

    __slots__ = (
        "_caller", "_desk", "_headers", "_protocol", "_request_id", "_taken",
        "body", "disconnected", "keep_alive", "more_body", "response_complete",
    )  # fmt: skip

    def __init__(self, protocol: ShortWay, desk: Desk, caller: Caller, headers: Headers) -> None:
        self._protocol = protocol
        self._desk = desk
        self._caller = caller
        self._headers = headers
        self._request_id = request_id_of(headers.get(b"x-request-id"))
        self._taken: asyncio.Future[Accepted] | None = None
        self.body = b""
        self.more_body = True
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False

    @property
    def message_event(self) -> "_Cycle":
        return self

    @property
    def response_started(self) -> bool:
        return self.response_complete

    def set(self) -> None:
        """Something came in: more of the body, its end, or the end of the connection."""
        if self.response_complete:
            return
        if self.disconnected:
            if self._taken is not None:
                self._taken.cancel()
        elif not self.more_body and self._taken is None:
            self._guarded(self._take)

    def _take(self) -> None:
        self._taken = self._desk.take(self._caller, self._headers, self.body)
        self._taken.add_done_callback(self._written)

    def _written(self, taken: asyncio.Future[Accepted]) -> None:
        if not taken.cancelled():
            self._guarded(lambda: self._tell(taken.result()))

    def _tell(self, accepted: Accepted) -> None:
        extra = _lines(_encoded(send.replayed(accepted))) if accepted.replayed else b""
        self._answer(_OK, extra, orjson.dumps(accepted.answer))

    def _guarded(self, step: Callable[[], None]) -> None:
        """Take a step; what goes wrong in it is the answer."""
        token = log.request_id.set(self._request_id)
        try:
            step()
        except Overloaded as problem:
            self._refuse(failure(problem))
            self._protocol.rest()
        except Problem as problem:
            self._refuse(failure(problem))
        except Exception as error:  # noqa: BLE001 - the last net, as around every other route
            self._refuse(unexpected(error))
        finally:
            log.request_id.reset(token)

    def _refuse(self, answer: Response) -> None:
        """An answer of the long way's making, in the words of this one."""
        own = [(k, v) for k, v in answer.raw_headers if k != b"content-length"]
        head = STATUS_LINE[answer.status_code] + _lines(ANSWER_HEADERS)
        self._answer(head, _lines(own), bytes(answer.body))

    def _answer(self, head: bytes, extra: bytes, body: bytes) -> None:
        protocol = self._protocol
        self.response_complete = True
        if protocol.transport.is_closing():
            return
        if not self.keep_alive:
            extra += b"connection: close\r\n"
        protocol.transport.write(
            b"%s%s%sx-request-id: %s\r\ncontent-length: %d\r\n\r\n%s"
            % (head, _server_lines(protocol), extra, self._request_id.encode(), len(body), body)
        )
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


def _server_lines(protocol: ShortWay) -> bytes:
    """The server's own headers (the date): new ones each second."""
    return _as_lines(tuple(protocol.server_state.default_headers))
