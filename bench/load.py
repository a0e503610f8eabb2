"""A load generator on bare protocols: many keep-alive connections, one request at a time on each.

`run` is a closed loop: so many connections, each asking again as soon as it is answered. `run_at_rate` is an open
loop: requests start at a fixed rate whatever becomes of those before them, and a latency counts from the moment
at which its request was meant to start. A request costs the generator about ten microseconds on uvloop, so that
what is measured is the server.
"""

import asyncio
import re
import resource
from array import array
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import orjson

T = TypeVar("T")
Numbered = Callable[[int], bytes]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *\d", re.IGNORECASE)
_REST = 0.05  # seconds before a request is repeated
_TICK = 0.001
# Connections that are being made at once: the kernel turns more away, and tries those again after whole seconds.
_OPENING = 500
GIVE_UP = 5.0  # seconds for which an open loop's request waits for a connection
_IDLE = 3.0  # seconds; servers close idle connections after five


@dataclass
class Load:
    """What a run of requests gave."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    # One entry an answer: seconds it took, when it was meant to start (since the run began), its status.
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    starts: "array[float]" = field(default_factory=lambda: array("d"))
    codes: "array[int]" = field(default_factory=lambda: array("H"))
    bodies: list[bytes] = field(default_factory=list)
    lost: int = 0  # connections that broke in mid-request, or could not be made
    why: Counter[str] = field(default_factory=Counter)  # how they were lost
    gave_up: int = 0  # requests for which an open loop had no connection in time
    unanswered: int = 0  # requests that were still waiting when an open loop's patience ended
    silent: int = 0  # answers of 429 and 503 that did not say Retry-After

    @property
    def rate(self) -> float:
        return sum(self.statuses.values()) / self.seconds

    def percentile(self, share: float) -> float:
        return percentile(self.latencies, share)

    def latencies_of(
        self, status: int, since: float = 0.0, until: float = float("inf")
    ) -> list[float]:
        """The latencies of answers with this status to requests that started in this time."""
        rows = zip(self.latencies, self.starts, self.codes, strict=True)
        return [took for took, at, code in rows if code == status and since <= at < until]


def percentile(values: Any, share: float) -> float:
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))])


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run a bench on uvloop, with as many open files as the system allows."""
    import uvloop  # noqa: PLC0415 - a test that only sends does without

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


# ── Requests ─────────────────────────────────────────────────────────────────────────────────────


def request_bytes(url: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> bytes:
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def send_requests(
    url: str, key: str, *, keyed: str | None = None, text: str = "x" * 900
) -> Numbered:
    """Numbered sends of about 1 kB; with `keyed` each carries an Idempotency-Key of its own."""
    body = {"to": "user%08d@example.com", "subject": "Mail %08d", "text": text}
    headers = {"x-api-key": key}
    if keyed:
        headers["Idempotency-Key"] = f"{keyed}-%08d"
    encoded = orjson.dumps(body)
    # A number always has eight digits, so that each request is the same bytes but for its number.
    width = len(encoded % (0, 0))
    whole = request_bytes(url, encoded, headers)
    whole = whole.replace(b"Content-Length: %d" % len(encoded), b"Content-Length: %d" % width)
    numbers = 3 if keyed else 2
    return lambda number: whole % ((number,) * numbers)


# ── One connection ───────────────────────────────────────────────────────────────────────────────


class Client(asyncio.Protocol):
    """One keep-alive connection; whoever asks is told the answer, or None when it broke."""

    __slots__ = (
        "_address",
        "_body_ends",
        "_buffer",
        "_then",
        "_transport",
        "broke_by",
        "free_since",
    )

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._then: Callable[[bytes | None], None] | None = None
        self._buffer = b""
        self._body_ends = 0
        self._address = ("", 0)
        self.free_since = 0.0
        self.broke_by = ""

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    async def open(self, host: str, port: int) -> None:
        self._address = (host, port)
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        except OSError as error:
            self.broke_by = f"not made: {type(error).__name__}"
            raise

    async def open_again(self) -> None:
        await self.open(*self._address)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, then: Callable[[bytes | None], None]) -> None:
        """Send one request; `then` gets the whole answer."""
        assert self._transport is not None
        self._then = then
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        if not self._body_ends:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                self._buffer = data
                return
            length = _LENGTH.search(data, 0, head)
            if length is None:
                raise RuntimeError(f"an answer without a length: {data[:head]!r}")
            self._body_ends = head + 4 + int(length[1])
        if len(data) < self._body_ends:
            self._buffer = data
            return
        self._buffer, self._body_ends = b"", 0
        then, self._then = self._then, None
        if then is not None:
            then(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport, self._buffer, self._body_ends = None, b"", 0
        self.broke_by = "closed by the server" if error is None else type(error).__name__
        then, self._then = self._then, None
        if then is not None:
            then(None)

    def close(self) -> None:
        if self._transport is not None:
            self._then = None
            self._transport.abort()
            self._transport = None


async def ask(client: Client, request: bytes) -> bytes:
    """One request and its answer, for whoever asks now and then (a server closes what is long idle)."""
    if not client.is_open:
        await client.open_again()
    answered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
    client.ask(request, answered.set_result)
    answer = await answered
    if answer is None:
        raise ConnectionError("the connection broke")
    return answer


def status_of(answer: bytes) -> int:
    return int(answer[9:12])


def body_of(answer: bytes) -> bytes:
    return answer[answer.index(b"\r\n\r\n") + 4 :]


# ── A run ────────────────────────────────────────────────────────────────────────────────────────


class _Run:
    """A run under way: who asks next, and what the answers were."""

    def __init__(self, url: str, request: Numbered, *, keep_bodies: bool, insist: bool) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.request = request
        self.load = Load()
        self.keep_bodies, self.insist = keep_bodies, insist
        self.began = perf_counter()
        self.tasks: set[asyncio.Task[None]] = set()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note(self, answer: bytes, meant: float) -> None:
        load, status = self.load, status_of(answer)
        load.statuses[status] += 1
        load.latencies.append(perf_counter() - meant)
        load.starts.append(meant - self.began)
        load.codes.append(status)
        if status in {429, 503} and _RETRY_AFTER.search(answer) is None:
            load.silent += 1
        if self.keep_bodies:
            load.bodies.append(body_of(answer))

    def lose(self, client: Client) -> None:
        self.load.lost += 1
        self.load.why[client.broke_by] += 1

    def end(self) -> None:
        """Raise what broke the generator itself, if anything did."""
        if self.broken.done():
            self.broken.result()
        self.broken.cancel()

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.broken.done():
            # A generator that is broken must not look like a server that is slow.
            self.broken.set_exception(error)


class _Closed:
    """One of the connections of a closed loop."""

    def __init__(self, run: _Run, numbers: Any) -> None:
        self.run, self.numbers = run, numbers
        self.client = Client()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.current = b""
        self.meant = 0.0

    def next(self) -> None:
        number = next(self.numbers, None)
        if number is None:
            self.client.close()
            self.done.set_result(None)
            return
        self.current = self.run.request(number)
        self.send()

    def send(self) -> None:
        self.meant = perf_counter()
        if self.client.is_open:
            self.client.ask(self.current, self.answered)
        else:
            self.run.later(self.connect_and_send())

    async def connect_and_send(self) -> None:
        try:
            await self.client.open(self.run.host, self.run.port)
        except OSError:
            self.answered(None)
        else:
            self.client.ask(self.current, self.answered)

    def answered(self, answer: bytes | None) -> None:
        """The next request; with `insist` the same one until it is answered."""
        again = answer is None or status_of(answer) in {409, 503}
        if answer is None:
            self.run.lose(self.client)
        if self.run.insist and again:
            asyncio.get_running_loop().call_later(_REST, self.send)
            return
        if answer is not None:
            self.run.note(answer, self.meant)
        elif not self.client.is_open:
            # Without a rest, a server that is away would be asked in a circle.
            asyncio.get_running_loop().call_later(_REST, self.next)
            return
        self.next()


async def run(
    url: str,
    request: Numbered,
    count: int,
    connections: int,
    *,
    keep_bodies: bool = False,
    insist: bool = False,
) -> Load:
    """Send `count` requests over so many connections.

    With `insist` a request whose connection broke, or that was answered 409 or 503, is repeated.
    """
    state = _Run(url, request, keep_bodies=keep_bodies, insist=insist)
    numbers = iter(range(count))
    clients = [_Closed(state, numbers) for _ in range(min(connections, count))]
    for client in clients:
        client.next()
    try:
        everyone = asyncio.gather(*(client.done for client in clients))
        await asyncio.wait({everyone, state.broken}, return_when=asyncio.FIRST_COMPLETED)
        state.end()
    finally:
        for client in clients:
            client.client.close()
    state.load.seconds = perf_counter() - state.began
    return state.load


class _Open:
    """The connections of an open loop: those that are free, and the requests that wait for one."""

    def __init__(self, run: _Run, connections: int) -> None:
        self.run, self.most = run, connections
        self.all: list[Client] = []
        self.free: list[Client] = []
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.under_way = 0
        self.opening = 0

    def start(self, number: int, meant: float) -> None:
        request = self.run.request(number)
        self.under_way += 1
        if self.free and not self.is_fresh(self.free[-1]):
            self.close_stale()
        if self.free:
            self.send(self.free.pop(), request, meant)
        elif len(self.all) < self.most and self.opening < _OPENING:
            client = Client()
            self.all.append(client)
            self.run.later(self.connect_and_send(client, request, meant))
        else:
            self.waiting.append((request, meant))

    def is_fresh(self, client: Client) -> bool:
        return client.is_open and perf_counter() - client.free_since < _IDLE

    def close_stale(self) -> None:
        """The latest of them is stale, so all are: the server closes them, and no request must meet that."""
        for client in self.free:
            client.close()
            self.all.remove(client)
        self.free.clear()

    async def connect_and_send(self, client: Client, request: bytes, meant: float) -> None:
        self.opening += 1
        try:
            await client.open(self.run.host, self.run.port)
        except OSError:
            self.lose(client)
        else:
            self.send(client, request, meant)
        finally:
            self.opening -= 1

    def send(self, client: Client, request: bytes, meant: float) -> None:
        client.ask(request, lambda answer: self.answered(client, answer, meant))

    def answered(self, client: Client, answer: bytes | None, meant: float) -> None:
        if answer is None:
            self.lose(client)
            return
        self.under_way -= 1
        self.run.note(answer, meant)
        self.go_on(client)

    def go_on(self, client: Client) -> None:
        if (waiting := self.next_waiting()) is not None:
            self.send(client, *waiting)
        else:
            client.free_since = perf_counter()
            self.free.append(client)

    def lose(self, client: Client) -> None:
        self.run.lose(client)
        self.under_way -= 1
        self.all.remove(client)
        if (waiting := self.next_waiting()) is not None:
            fresh = Client()
            self.all.append(fresh)
            self.run.later(self.connect_and_send(fresh, *waiting))

    def next_waiting(self) -> tuple[bytes, float] | None:
        """The next request that waits for a connection, without those whose senders have lost their patience."""
        oldest = perf_counter() - GIVE_UP
        while self.waiting:
            request, meant = self.waiting.popleft()
            if meant > oldest:
                return request, meant
            self.under_way -= 1
            self.run.load.gave_up += 1
        return None


async def run_at_rate(
    url: str,
    request: Numbered,
    rate: float,
    seconds: float,
    connections: int,
    *,
    patience: float = 30.0,
) -> Load:
    """Start requests at a fixed rate, over as many connections as they need and at most so many."""
    state = _Run(url, request, keep_bodies=False, insist=False)
    pool = _Open(state, connections)
    count, number = int(rate * seconds), 0
    state.began = began = perf_counter()
    while number < count:
        due = min(count, int((perf_counter() - began) * rate) + 1)
        while number < due:
            pool.start(number, began + number / rate)
            number += 1
        await asyncio.sleep(_TICK)
    give_up = perf_counter() + patience
    while pool.under_way and perf_counter() < give_up:
        await asyncio.sleep(_TICK)
    state.end()
    state.load.unanswered = pool.under_way
    for client in pool.all:
        client.close()
    for task in list(state.tasks):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    state.load.seconds = perf_counter() - began
    return state.load
