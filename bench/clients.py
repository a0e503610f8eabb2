"""Clients that do what the documentation tells them to: repeat a request under its key until it is answered."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson

from bench.load import request_bytes

COME_BACK = {409, 429, 503}  # still running, or busy: the same request again
REST = 0.05
STAY = 25  # requests after which a client asks another process, as behind a balancer

Body = Callable[[int], dict[str, Any]]
Pace = Callable[[int], Awaitable[None]]


@dataclass
class Answers:
    """What the clients of one project were told."""

    bodies: dict[int, bytes] = field(default_factory=dict)  # by the request's number
    broken: int = 0  # connections that broke before the answer
    put_off: Counter[int] = field(default_factory=Counter)
    replayed: int = 0

    def ids(self) -> dict[int, str]:
        """The mail that each request became."""
        return {n: str(orjson.loads(body)["data"]["id"]) for n, body in self.bodies.items()}


async def at_once(number: int) -> None:
    """No pace: as fast as they are answered."""


@dataclass
class Clients:
    """Clients of one project, which go to the next API process when one breaks off."""

    ports: Sequence[int]
    key: str
    prefix: str  # of their Idempotency-Keys
    body: Body
    pace: Pace = at_once
    answers: Answers = field(default_factory=Answers)

    async def send(self, numbers: Iterable[int], connections: int) -> Answers:
        """Send these requests over so many connections; returns when all are answered 200."""
        left = iter(numbers)

        async def one(place: int) -> None:
            client = _Client(self, place)
            try:
                for number in left:
                    await self.pace(number)
                    await client.insist(number)
            finally:
                client.close()

        await asyncio.gather(*(one(place) for place in range(connections)))
        return self.answers


@dataclass
class _Client:
    """One keep-alive connection."""

    of: Clients
    place: int
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def insist(self, number: int) -> None:
        if number % STAY == 0:
            self._go_on()
        for _ in count():
            answer = await self._once(number)
            if answer is None:
                self.of.answers.broken += 1
                self._go_on()
            elif answer[0] == 200:
                self.of.answers.bodies[number] = answer[2]
                self.of.answers.replayed += b"\r\nidempotent-replayed: true" in answer[1]
                return
            else:
                self.of.answers.put_off[answer[0]] += 1
                if answer[0] not in COME_BACK:
                    raise AssertionError(
                        f"request {number} was answered {answer[0]}: {answer[2]!r}"
                    )
            await asyncio.sleep(REST)

    async def _once(self, number: int) -> tuple[int, bytes, bytes] | None:
        port = self.of.ports[self.place % len(self.of.ports)]
        headers = {"x-api-key": self.of.key, "Idempotency-Key": f"{self.of.prefix}-{number}"}
        url = f"http://127.0.0.1:{port}/api/mail/send"
        try:
            if self.streams is None:
                self.streams = await asyncio.open_connection("127.0.0.1", port)
            reader, writer = self.streams
            writer.write(request_bytes(url, orjson.dumps(self.of.body(number)), headers))
            return await _read(reader)
        except (OSError, asyncio.IncompleteReadError):
            return None

    def _go_on(self) -> None:
        self.close()
        self.place += 1

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].transport.abort()
            self.streams = None


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.index(b"content-length:")
    length = int(head[at + 15 : head.index(b"\r\n", at)])
    return int(head[9:12]), head, await reader.readexactly(length)


def plain_mail(number: int) -> dict[str, Any]:
    """About 300 bytes to an address that exists."""
    return {"to": f"user{number}@example.com", "subject": f"Mail {number}", "text": "x" * 200}
