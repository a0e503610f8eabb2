"""The real `postroom` command, which kills itself at one exact boundary: `kill -9`, no handler, no farewell.

    python -m tests.crash.doomed --at mails-committed --nth 2 -- api --port 8000

The product knows nothing of it. The boundaries are those that can be seen on the wires of a process: which
statement a transaction has made and whether its COMMIT has gone out, what Redis was asked and has answered, and
the provider's `send`. So they stay where they are when the code between them changes; a boundary that is never
reached leaves the process alive, which its test takes for a failure.
"""

import argparse
import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, NoReturn

from asyncpg.connection import Connection
from asyncpg.prepared_stmt import PreparedStatement
from redis.asyncio.connection import AbstractConnection

from postroom import cli
from postroom.outgoing.wire import Wire
from postroom.providers import PROVIDERS

IN_MID_CALL = 0.1  # seconds after the request is out


@dataclass(frozen=True)
class Commit:
    """Before or after the COMMIT of a transaction that made such a statement."""

    made: str
    after: bool


@dataclass(frozen=True)
class Rows:
    """After the answer to such a statement, in the midst of its transaction."""

    of: str


@dataclass(frozen=True)
class Asking:
    """Before such a command goes to Redis."""

    command: bytes


@dataclass(frozen=True)
class Granted:
    """After Redis has granted what such a script asked for."""

    command: bytes


@dataclass(frozen=True)
class Call:
    """While the provider is called, or when its answer has been read."""

    answered: bool


_MAILS = r"insert into outbox\b"
_EVENTS = r"insert into provider_events\b"
_ATTEMPT = r"insert into attempts\b"
_RESULTS = r"delete from attempts \w+\s+using"
_PARKED = r"update attempts\b.*set parked = true"
_TAKEN_OVER = r"update attempts\b.*\bworker = "

POINTS: dict[str, Commit | Rows | Asking | Granted | Call] = {
    # An API process, from the request to the bell.
    "slots-reserved": Granted(rb"EVALSHA.*project:mail:count:"),
    "mails-written": Commit(_MAILS, after=False),
    "mails-committed": Commit(_MAILS, after=True),
    "bell-due": Asking(rb"ZADD.*bell:[01]"),
    # An API process, taking in a webhook.
    "events-written": Commit(_EVENTS, after=False),
    "events-committed": Commit(_EVENTS, after=True),
    # A worker, from the bell to the bookkeeping.
    "mails-found": Rows(r"from outbox\b.*order by \w+\.turn\b.*skip locked"),
    "attempt-written": Commit(_ATTEMPT, after=False),
    "attempt-committed": Commit(_ATTEMPT, after=True),
    "calling": Call(answered=False),
    "call-answered": Call(answered=True),
    "results-written": Commit(_RESULTS, after=False),
    "results-committed": Commit(_RESULTS, after=True),
    # A worker that finds what a dead one left behind.
    "takeover-written": Commit(_TAKEN_OVER, after=False),
    "takeover-committed": Commit(_TAKEN_OVER, after=True),
    "parking-written": Commit(_PARKED, after=False),
    "parking-committed": Commit(_PARKED, after=True),
}


class Doom:
    """Counts down to the end of this process."""

    def __init__(self, point: str, nth: int) -> None:
        self._point, self._left = point, nth

    def strike(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.die()

    def die(self) -> NoReturn:
        os.write(2, f"killed itself at {self._point}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("SIGKILL was survived")


Strike = Callable[[], None]


def watch_rows(strike: Strike, of: str) -> None:
    wanted = re.compile(of, re.DOTALL)

    def seen(connection: Any, query: str) -> None:
        if wanted.search(query):
            strike()

    _watch_statements(lambda connection, query: None, seen)


def watch_commits(strike: Strike, made: str, *, after: bool) -> None:
    """Strike around the COMMIT of a transaction that made this statement, or of a statement without one."""
    wanted = re.compile(made, re.DOTALL)
    marked: set[int] = set()  # connections whose open transaction made it

    def before_statement(connection: Any, query: str) -> None:
        alone = not connection.is_in_transaction()
        if wanted.search(query) and alone and not after:
            strike()
        if _is_commit(query) and not after and id(connection) in marked:
            marked.discard(id(connection))
            strike()

    def after_statement(connection: Any, query: str) -> None:
        if wanted.search(query):
            marked.add(id(connection))
        ends = _is_commit(query) or not connection.is_in_transaction()
        if ends and id(connection) in marked:
            marked.discard(id(connection))
            if after and "rollback" not in query.lower():
                strike()

    _watch_statements(before_statement, after_statement)


def _is_commit(query: str) -> bool:
    return query.strip().rstrip(";").lower() == "commit"


Seen = Callable[[Any, str], None]


def _watch_statements(before: Seen, after: Seen) -> None:
    """Tell of every statement that a connection makes, whoever makes it."""

    def plain(name: str) -> None:
        run = getattr(Connection, name)

        @wraps(run)
        async def watched(self: Any, query: str, *args: Any, **more: Any) -> Any:
            before(self, query)
            answer = await run(self, query, *args, **more)
            after(self, query)
            return answer

        setattr(Connection, name, watched)

    for name in ("execute", "_execute", "_executemany"):
        plain(name)
    bound = PreparedStatement._PreparedStatement__bind_execute

    @wraps(bound)
    async def watched(self: Any, *args: Any) -> Any:
        before(self._connection, self.get_query())
        answer = await bound(self, *args)
        after(self._connection, self.get_query())
        return answer

    PreparedStatement._PreparedStatement__bind_execute = watched


def watch_redis(strike: Strike, command: bytes, *, granted: bool) -> None:
    wanted = re.compile(command, re.DOTALL)
    asked: set[int] = set()
    send, read = AbstractConnection.send_packed_command, AbstractConnection.read_response

    @wraps(send)
    async def sending(self: Any, packed: Any, *args: Any, **more: Any) -> None:
        whole = packed if isinstance(packed, bytes) else b"".join(packed)
        if wanted.search(whole):
            if not granted:
                strike()
            asked.add(id(self))
        await send(self, packed, *args, **more)

    @wraps(read)
    async def reading(self: Any, *args: Any, **more: Any) -> Any:
        answer = await read(self, *args, **more)
        if id(self) in asked:
            asked.discard(id(self))
            # [0, ...] says that the gate must be seeded first; a number is the answer to a refund.
            if granted and isinstance(answer, list) and answer[0] == 1:
                strike()
        return answer

    AbstractConnection.send_packed_command, AbstractConnection.read_response = sending, reading


def watch_requests(strike: Strike) -> None:
    """Strike when a request to a vendor is out on an open connection, and its answer is not there yet."""
    exchange = Wire.exchange

    @wraps(exchange)
    async def asking(self: Any, head: bytes, *args: Any, **more: Any) -> Any:
        if head.startswith(b"POST "):
            asyncio.get_running_loop().call_later(IN_MID_CALL, strike)
        return await exchange(self, head, *args, **more)

    Wire.exchange = asking  # type: ignore[method-assign]


def watch_answers(strike: Strike) -> None:
    """Strike when a vendor's answer has been read and understood."""

    def watched(send: Any) -> Any:
        @wraps(send)
        async def calling(self: Any, *args: Any, **more: Any) -> Any:
            answer = await send(self, *args, **more)
            strike()
            return answer

        return calling

    for provider in PROVIDERS:
        provider.send = watched(provider.send)  # type: ignore[method-assign]


def arm(point: str, nth: int) -> None:
    """Let this process die when it comes to this boundary for the nth time."""
    strike = Doom(point, nth).strike
    match POINTS[point]:
        case Commit(made, after):
            watch_commits(strike, made, after=after)
        case Rows(of):
            watch_rows(strike, of)
        case Asking(command):
            watch_redis(strike, command, granted=False)
        case Granted(command):
            watch_redis(strike, command, granted=True)
        case Call(answered=False):
            watch_requests(strike)
        case Call(answered=True):
            watch_answers(strike)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.doomed")
    parser.add_argument("--at", choices=sorted(POINTS), required=True)
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("command", nargs="+", help="what `postroom` is told")
    given = parser.parse_args()
    arm(given.at, given.nth)
    return cli.main(given.command)


if __name__ == "__main__":
    sys.exit(main())
