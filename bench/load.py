"""A load generator on bare asyncio streams: many keep-alive connections, one request at a time on each."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from urllib.parse import urlsplit

import orjson


@dataclass
class Load:
    """What a run of requests gave."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    lost: int = 0  # connections that broke in mid-request

    @property
    def rate(self) -> float:
        return sum(self.statuses.values()) / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def request_bytes(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    lines = [
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    at = head.lower().index(b"content-length:")
    length = int(head[at + 15 : head.index(b"\r\n", at)])
    return status, await reader.readexactly(length)


Numbered = Callable[[int], bytes]


@dataclass
class _Client:
    """One keep-alive connection."""

    host: str
    port: int
    load: Load
    keep_bodies: bool
    insist: bool
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> None:
        """Send one request; with `insist` until it is answered."""
        while (answer := await self._once(request)) is None or self._try_again(answer[0]):
            if answer is None and not self.insist:
                return
            await asyncio.sleep(0.05)
        self.load.statuses[answer[0]] += 1
        if self.keep_bodies:
            self.load.bodies.append(answer[1])

    def _try_again(self, status: int) -> bool:
        return self.insist and status in {409, 503}

    async def _once(self, request: bytes) -> tuple[int, bytes] | None:
        began = perf_counter()
        try:
            if self.streams is None:
                self.streams = await asyncio.open_connection(self.host, self.port)
            self.streams[1].write(request)
            answer = await _answer(self.streams[0])
        except (OSError, asyncio.IncompleteReadError):
            self.load.lost += 1
            self.close()
            return None
        self.load.latencies.append(perf_counter() - began)
        return answer

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].transport.abort()
            self.streams = None


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
    parts = urlsplit(url)
    load = Load()
    numbers = iter(range(count))

    async def client() -> None:
        one = _Client(parts.hostname or "", parts.port or 80, load, keep_bodies, insist)
        for number in numbers:
            await one.ask(request(number))
        one.close()

    began = perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    load.seconds = perf_counter() - began
    return load


def send_requests(
    url: str, key: str, *, keyed: str | None = None, text: str = "x" * 900
) -> Numbered:
    """Numbered sends of about 1 kB; with `keyed` each carries an Idempotency-Key of its own."""

    def make(number: int) -> bytes:
        body = {"to": f"user{number}@example.com", "subject": f"Mail {number}", "text": text}
        headers = {"x-api-key": key}
        if keyed:
            headers["Idempotency-Key"] = f"{keyed}-{number}"
        return request_bytes(url, orjson.dumps(body), headers)

    return make
